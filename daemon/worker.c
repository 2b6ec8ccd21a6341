#include "daemon/worker.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "daemon/batch.h"
#include "daemon/log.h"
#include "daemon/publish.h"
#include "daemon/revoke.h"
#include "daemon/session.h"
#include "daemon/tproxy.h"

enum {
    RESERVED_FDS = 64, /* epoll, signals, c-ares, pipes, a few attempts of happy eyeballs */
    RESUME_MS = 100,   /* accept is tried again this often when nothing else ends a pause */
    TELL_PAUSE_MS = 10000,
    CROWD = 64 /* sessions at once */
};

/* --- accepting --- */

bool worker_enter(struct worker *w)
{
    if (w->session_count >= w->session_max || !shared_enter(w->shared, w->conf->sessions_max)) {
        worker_pause(w, EAGAIN);
        return false;
    }
    return true;
}

static void resume(struct worker *w)
{
    if (!w->paused)
        return;
    w->paused = false;
    shared_set(&shared_own(w->shared)->paused, 0);
    for (size_t i = 0; i < w->listener_count; i++)
        listener_resume(&w->listeners[i]);
}

void worker_leave(struct worker *w)
{
    shared_leave(w->shared);
    resume(w);
}

void worker_pause(struct worker *w, int number)
{
    if (w->paused)
        return;
    w->paused = true;
    shared_add(&w->counts->pauses, !w->retrying);
    shared_set(&shared_own(w->shared)->paused, 1);
    for (size_t i = 0; i < w->listener_count; i++)
        listener_pause(&w->listeners[i]);
    loop_timer_in(&w->loop, &w->resume, RESUME_MS);
    if (w->told_pause_ms && w->loop.now_ms - w->told_pause_ms < TELL_PAUSE_MS)
        return;
    w->told_pause_ms = w->loop.now_ms;
    log_say(LOG_QUIET, "accept paused with %zu sessions: %s", w->session_count,
            number == EAGAIN ? "as many as are allowed" : strerror(number));
}

static void on_resume(struct loop_timer *timer)
{
    struct worker *w = loop_owner(timer, struct worker, resume);
    w->retrying = w->paused;
    resume(w);
}

/* --- ending --- */

static void on_drain(struct loop_timer *timer)
{
    struct worker *w = loop_owner(timer, struct worker, drain);
    log_say(LOG_NORMAL, "drain ends with %zu sessions cut", w->session_count);
    session_end_all(w, "drained");
    w->loop.stop = true;
}

/* SIGTERM sets a limit; SIGHUP does not: others serve from now on, and sessions end when they do.
 */
static void start_drain(struct worker *w, uint32_t number)
{
    if (number == SIGTERM && w->drain.at_ms == 0)
        loop_timer_in(&w->loop, &w->drain, w->conf->drain_ms);
    if (w->draining)
        return;
    w->draining = true;
    shared_set(&shared_own(w->shared)->draining, 1);
    for (size_t i = 0; i < w->listener_count; i++)
        listener_end(&w->listeners[i], number == SIGTERM);
    session_end_idle(w);
    tproxy_drain(w);
}

static void on_signal(struct loop_io *io, uint32_t events)
{
    struct worker *w = loop_owner(io, struct worker, signals);
    struct signalfd_siginfo info;
    (void)events;
    while (read(io->fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGUSR1)
            session_end_removed(w);
        start_drain(w, info.ssi_signo);
    }
}

/* After a crowd has left, what is kept for the next one is more than is ever needed soon. */
static void give_memory_back(struct worker *w)
{
    if (w->session_peak < CROWD)
        return;
    w->session_peak = 0;
    session_free_all(w);
    malloc_trim(0);
}

static void leave_name_servers(struct worker *w)
{
    for (size_t i = 0; i < w->upstreams.count; i++)
        resolve_leave(w->upstreams.at[i].names);
}

static void after_batch(struct loop *loop)
{
    struct worker *w = loop_owner(loop, struct worker, loop);
    session_reap(w);
    if (w->session_count > w->session_peak)
        w->session_peak = w->session_count;
    if (w->session_count == 0)
        give_memory_back(w);
    if (w->draining && w->session_count == 0)
        leave_name_servers(w);
    if (w->draining && w->session_count == 0 && w->tls.count == 0)
        loop->stop = true;
    log_flush();
}

/* --- starting --- */

static size_t tls_hops_of(const struct vd_conf_daemon *conf, size_t upstream)
{
    const struct vd_conf_chain *chain = &conf->upstreams[upstream].chain;
    size_t count = 0;
    for (size_t i = 0; i < chain->hop_count; i++)
        count += chain->hops[i].scheme == VD_HTTPS ? 1 : 0;
    return count;
}

/* Each TLS connection has a socket pair beside it. */
static size_t descriptors_of_session(const struct vd_conf_daemon *conf)
{
    size_t pairs = 0, most = 0;
    for (size_t i = 0; i < conf->listen_count && pairs == 0; i++)
        pairs = conf->listens[i].cert ? 1 : 0;
    for (size_t i = 0; i < conf->upstream_count; i++)
        most = most > tls_hops_of(conf, i) ? most : tls_hops_of(conf, i);
    return 2 + 2 * (pairs + most);
}

static size_t sessions_of(const struct vd_conf_daemon *conf)
{
    struct rlimit files;
    size_t most = 512, each = descriptors_of_session(conf);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        most = (size_t)files.rlim_cur;
    most = most > RESERVED_FDS + each ? (most - RESERVED_FDS) / each : 1;
    return conf->sessions_max && conf->sessions_max < most ? conf->sessions_max : most;
}

/* The parent blocked these; SIGINT goes to the whole terminal and is the parent's business. */
static int watch_signals(struct worker *w)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    w->signals = (struct loop_io){.ready = on_signal};
    w->signals.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return w->signals.fd < 0 ? -1 : loop_watch(&w->loop, &w->signals, EPOLLIN);
}

static int start_listeners(struct worker *w, const struct listen_set *set, int slot)
{
    w->listeners = calloc(set->count, sizeof *w->listeners);
    if (!w->listeners)
        return -1;
    for (size_t i = 0; i < set->count; i++) {
        if (set->at[i].conf->kind == VD_LISTEN_ADMIN)
            continue;
        if (listener_start(&w->listeners[w->listener_count], w, &set->at[i], slot) != 0)
            return -1;
        w->listener_count++;
    }
    return 0;
}

/* That of the machine, and where names are asked for through upstreams one for each of these. */
static int start_resolvers(struct worker *w)
{
    const struct vd_conf_daemon *conf = w->conf;
    struct resolve_setup straight = {.system = conf->resolver_system, .counts = w->counts};
    struct resolve_setup chain = {.counts = w->counts};
    struct resolve_setup *asks = conf->dns_chain ? &chain : &straight;
    asks->servers = conf->nameservers;
    asks->server_count = conf->nameserver_count;
    chain.through = &w->dialer;
    w->more_timers += RESOLVE_TIMERS;
    w->dialer.resolver = resolve_new(&w->loop, &straight);
    for (size_t i = 0; i < w->upstreams.count && conf->dns_chain; i++) {
        chain.via = &w->upstreams.at[i];
        chain.via->names = resolve_new(&w->loop, &chain);
        if (!chain.via->names)
            return -1;
        w->more_timers += RESOLVE_TIMERS;
    }
    return w->dialer.resolver ? 0 : -1;
}

static void stop_resolvers(struct worker *w)
{
    for (size_t i = 0; i < w->upstreams.count; i++)
        resolve_free(w->upstreams.at[i].names);
    resolve_free(w->dialer.resolver);
}

static bool sockets_are_paced(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool paced = fd >= 0 && net_is_paced(fd);
    if (fd >= 0)
        close(fd);
    return paced;
}

/* Helpers are forked before there is anything of a client's that it could inherit. */
static int start(struct worker *w, const struct listen_set *set, int slot)
{
    const struct vd_conf_daemon *conf = w->conf;
    w->resume.fire = on_resume;
    w->drain.fire = on_drain;
    w->session_max = sessions_of(conf);
    if (loop_init(&w->loop) != 0 || watch_signals(w) != 0 || relay_pool_init(&w->pool, &w->loop))
        return -1;
    w->loop.after = after_batch;
    tls_pool_init(&w->tls, &w->loop);
    w->access = access_new(conf);
    w->login = login_new(&w->loop, conf->users, conf->user_count);
    w->dialer = (struct dialer){.loop = &w->loop,
                                .tls = &w->tls,
                                .contexts = w->contexts,
                                .limit_ms = conf->connect_ms,
                                .conf = conf,
                                .paced = sockets_are_paced(),
                                .scratch = w->pool.buffer,
                                .scratch_len = RELAY_BUFFER};
    if (!w->access || !w->login || upstreams_start(&w->upstreams, conf, w->shared, &w->loop) != 0 ||
        start_resolvers(w) != 0 || !(w->checks = upstream_checks_new(w)))
        return -1;
    publish_start(w);
    return start_listeners(w, set, slot);
}

static void stop(struct worker *w)
{
    session_end_all(w, "drained");
    session_free_all(w);
    for (size_t i = 0; i < w->listener_count; i++)
        listener_free(&w->listeners[i]);
    upstream_checks_free(w->checks);
    stop_resolvers(w);
    upstreams_free(&w->upstreams);
    login_free(w->login);
    access_free(w->access);
    tls_pool_free(&w->tls);
    relay_pool_free(&w->pool);
    tproxy_free(w);
    batch_free(w->batch);
    loop_close(&w->loop, &w->signals);
    free(w->listeners);
    loop_free(&w->loop);
}

int worker_run(const struct vd_conf_daemon *conf, const struct tls_contexts *contexts,
               struct listen_set *set, int slot, struct shared *shared)
{
    static struct worker w;
    w = (struct worker){.conf = conf,
                        .contexts = contexts,
                        .shared = shared,
                        .counts = &shared_own(shared)->counts,
                        .revoked = revoke_count(shared)};
    listen_close_others(set, slot);
    if (start(&w, set, slot) != 0) {
        log_say(LOG_QUIET, "worker cannot start: %s", strerror(errno));
        log_flush();
        return 1;
    }
    loop_run(&w.loop);
    stop(&w);
    log_flush();
    return 0;
}
