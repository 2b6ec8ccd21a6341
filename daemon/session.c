/*
 * A session is one struct that goes through these states:
 *
 *               listener: accept4
 *                      │
 *                      v
 *   ┌────────────── ACCEPT <───right───┐        bytes into proto/accept until it asks
 *   │                │   │             │
 *   │ bad message    │   └──login──> AUTH       the login helper is asked (login.h)
 *   │                │ request         │
 *   │                v                 │
 *   │ not allowed  DIAL ──fails─────┐  │        lookup, race and chain (dial.h): RESOLVE and DIAL
 *   │<───────────────│              │  │ wrong
 *   │                │ connected    │  │
 *   │                v              │  │
 *   │              REPLY            │  │        the success is sent; early data is kept
 *   │                │              │  │
 *   │                v              v  v
 *   │          RELAY, FORWARD     REFUSED <────── the refusal is sent, then shutdown(SHUT_WR) and
 *   │                │              │             read to EOF: unread bytes would make close() a
 *   │                │ reset by     │             reset that overtakes the refusal
 *   │                │ one side     │
 *   │                v              │
 *   │             RESETTING         │          the other side still has bytes to get; then its
 *   │                │              │          reset
 *   v                v              v
 *   └───────────> CLOSED: logged, closed, freed after the batch of events
 *
 * FORWARD is HTTP without CONNECT (forward.c); each of its requests goes through ACCEPT, AUTH and
 * DIAL, and its last response through REFUSED, which waits for the client in the same way.
 *
 * One timer limits each state: handshake_ms to ACCEPT and AUTH together, connect_ms to DIAL and
 * REPLY, idle_ms or half_closed_ms to RELAY (data extends it: the timer looks at the clock of the
 * last byte when it fires), a fixed time to REFUSED and RESETTING.
 *
 * What only the handshake needs (codec, dial, input) stands in a session_setup, which goes back to
 * a free list when the tunnel or a response begins; an idle tunnel keeps the session alone. The
 * client's and the target's sockets are registered with epoll once, edge-triggered, for everything.
 *
 * A function that may end the session (its name says so, or it calls one) is the last thing its
 * caller does; the struct stays readable until the batch is over.
 */
#include "daemon/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/associate.h"
#include "daemon/limit.h"
#include "daemon/revoke.h"
#include "daemon/session_state.h"
#include "daemon/tproxy.h"

enum {
    RESETTING_MS = 20,
    RESETTING_TRIES = 50,
    FREE_SESSIONS = 256, /* kept of each kind */
    FREE_SETUPS = 128
};

static void relay_on(struct session *s);

/* --- memory --- */

/* In pages of their own: between the sessions, which outlive them, they would leave holes in the
 * heap that nobody can use or give back. */
static struct session_setup *new_setup(struct worker *w)
{
    struct session_setup *setup = w->free_setups;
    if (setup) {
        w->free_setups = setup->next;
        w->free_setup_count--;
        return setup;
    }
    setup = mmap(NULL, sizeof *setup, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return setup == MAP_FAILED ? NULL : setup;
}

static void drop_setup(struct session_setup *setup)
{
    munmap(setup, sizeof *setup);
}

void session_free_setup(struct session *s)
{
    struct worker *w = s->worker;
    struct session_setup *setup = s->setup;
    if (!setup)
        return;
    limit_shaken(s);
    login_stop(w->login, &setup->login);
    dial_stop(&setup->dial);
    bind_stop(s);
    explicit_bzero(setup->accept.password, sizeof setup->accept.password);
    s->setup = NULL;
    if (w->free_setup_count >= FREE_SETUPS) {
        drop_setup(setup);
        return;
    }
    setup->next = w->free_setups;
    w->free_setups = setup;
    w->free_setup_count++;
}

int session_renew_setup(struct session *s, unsigned offers)
{
    session_free_setup(s);
    s->setup = new_setup(s->worker);
    if (!s->setup)
        return -1;
    handshake_set_up(s, offers);
    return 0;
}

static struct session *new_session(struct worker *w)
{
    struct session *s = w->free_sessions;
    if (!s)
        return malloc(sizeof *s);
    w->free_sessions = s->next;
    w->free_session_count--;
    return s;
}

void session_reap(struct worker *w)
{
    while (w->ended) {
        struct session *s = w->ended;
        w->ended = s->next;
        if (w->free_session_count >= FREE_SESSIONS) {
            free(s);
            continue;
        }
        s->next = w->free_sessions;
        w->free_sessions = s;
        w->free_session_count++;
    }
}

void session_free_all(struct worker *w)
{
    session_reap(w);
    while (w->free_sessions) {
        struct session *s = w->free_sessions;
        w->free_sessions = s->next;
        free(s);
    }
    while (w->free_setups) {
        struct session_setup *setup = w->free_setups;
        w->free_setups = setup->next;
        drop_setup(setup);
    }
    w->free_session_count = w->free_setup_count = 0;
}

int session_keep_names(struct session *s)
{
    free(s->names);
    char text[VD_ENDPOINT_TEXT];
    const struct vd_accept *a = &s->setup->accept;
    struct vd_out out = vd_out_over(text, sizeof text);
    session_print_target(&out, s->setup);
    s->names = malloc(a->user_len + out.len);
    if (!s->names)
        return -1;
    memcpy(s->names, a->user, a->user_len);
    memcpy(s->names + a->user_len, text, out.len);
    s->user_len = a->user_len;
    s->target_len = (uint16_t)out.len;
    s->protocol = vd_accept_name(a);
    return 0;
}

/* --- the end --- */

static void end_trace(struct session *s, bool by_reset)
{
    trace_end(s->trace, by_reset, s->relay.flow[RELAY_CLIENT].bytes,
              s->relay.flow[RELAY_TARGET].bytes);
    s->trace = s->relay.trace = NULL;
}

/* Frees everything; the log has been written. */
void session_close(struct session *s)
{
    struct worker *w = s->worker;
    bool refused = s->state == SESSION_REFUSED;
    s->state = SESSION_CLOSED;
    session_free_setup(s);
    end_trace(s, false);
    relay_stop(&s->relay);
    udp_stop(s);
    if (s->caught)
        tproxy_left(s->caught, refused);
    forward_stop(s);
    session_drop_way(s);
    fixed_stop(s);
    limit_leave(s);
    loop_timer_stop(&w->loop, &s->timer);
    relay_close(&s->relay, RELAY_CLIENT, TLS_IN_ORDER);
    relay_close(&s->relay, RELAY_TARGET, TLS_IN_ORDER);
    free(s->names);
    *s->link = s->next;
    if (s->next)
        s->next->link = s->link;
    s->next = w->ended;
    w->ended = s;
    w->session_count--;
    worker_leave(w);
}

void session_end(struct session *s, const char *end)
{
    if (s->state != SESSION_REFUSED && s->state != SESSION_RESETTING)
        session_log_end(s, end, NULL);
    session_close(s);
}

void session_end_all(struct worker *w, const char *end)
{
    while (w->sessions)
        session_end(w->sessions, end);
}

bool session_is_removed(const struct session *s)
{
    const struct worker *w = s->worker;
    const char *name = s->setup ? s->setup->accept.user : s->names;
    size_t len = s->setup ? s->setup->accept.user_len : s->user_len;
    return s->logged_in && revoke_is(w->shared, w->revoked, name, len);
}

/* An end in order would make a whole answer of a part. */
static void cut(struct session *s, const char *end)
{
    session_log_end(s, end, NULL);
    relay_stop(&s->relay);
    relay_close(&s->relay, RELAY_CLIENT, TLS_BY_RESET);
    relay_close(&s->relay, RELAY_TARGET, TLS_BY_RESET);
    session_close(s);
}

void session_end_removed(struct worker *w)
{
    struct session *next;
    for (struct session *s = w->sessions; s; s = next) {
        bool over = s->state == SESSION_REFUSED || s->state == SESSION_RESETTING;
        next = s->next;
        if (!over && session_is_removed(s))
            cut(s, "user-removed");
    }
}

void session_end_idle(struct worker *w)
{
    struct session *next;
    for (struct session *s = w->sessions; s; s = next) {
        next = s->next;
        if (forward_is_idle(s))
            session_end(s, "closed");
    }
}

/* A reset throws away what the kernel has not delivered yet: that goes first, for a while. */
static void reset_on(struct session *s)
{
    enum relay_side side = session_leg(s, RELAY_CLIENT)->io.fd >= 0 ? RELAY_CLIENT : RELAY_TARGET;
    if (s->tries++ < RESETTING_TRIES && relay_is_sending(&s->relay, side)) {
        loop_timer_in(session_loop(s), &s->timer, RESETTING_MS);
        return;
    }
    relay_close(&s->relay, side, TLS_BY_RESET);
    session_close(s);
}

void session_end_by_reset(struct session *s, enum relay_side by, const char *end)
{
    session_log_end(s, end, NULL);
    end_trace(s, true);
    s->state = SESSION_RESETTING;
    s->tries = 0;
    relay_stop(&s->relay);
    relay_close(&s->relay, by, TLS_IN_ORDER);
    reset_on(s);
}

/* --- RELAY --- */

void session_watch(struct session *s)
{
    const struct vd_conf_daemon *conf = s->worker->conf;
    int64_t last_ms = s->udp ? associate_last_ms(s->udp) : relay_last_ms(&s->relay);
    bool half = relay_is_half_closed(&s->relay);
    uint32_t limit = half ? conf->half_closed_ms : conf->idle_ms;
    if (s->caught)
        limit = s->worker->draining ? TPROXY_DRAINING_MS : conf->udp_idle_ms;
    int64_t left = last_ms + limit - s->worker->loop.now_ms;
    if (left > 0)
        loop_timer_in(session_loop(s), &s->timer, left);
    else
        session_end(s, half ? "half-closed-timeout" : "idle-timeout");
}

static void relay_on(struct session *s)
{
    bool half = relay_is_half_closed(&s->relay);
    switch (relay_go_on(&s->relay)) {
    case RELAY_GOES_ON:
        if (half != relay_is_half_closed(&s->relay))
            session_watch(s);
        break;
    case RELAY_ENDED:
        session_end(s, "closed");
        break;
    case RELAY_RESET_BY_CLIENT:
        session_end_by_reset(s, RELAY_CLIENT, "reset-by-client");
        break;
    case RELAY_RESET_BY_TARGET:
        session_end_by_reset(s, RELAY_TARGET, "reset-by-target");
        break;
    case RELAY_FAILED:
        session_end(s, "failed");
        break;
    }
}

static void on_relay_task(struct loop_task *task)
{
    struct session *s = loop_owner(task, struct session, relay.task);
    if (s->state == SESSION_UDP)
        udp_control(s);
    else if (s->state == SESSION_RELAY)
        relay_on(s);
    else if (s->state == SESSION_FORWARD)
        forward_on(s);
}

void session_start_relay(struct session *s)
{
    struct session_setup *setup = s->setup;
    s->relay.flow[RELAY_TARGET].last_ms = s->worker->loop.now_ms;
    s->relay.trace = s->trace;
    if (session_keep_names(s) != 0 ||
        relay_hold(&s->relay, RELAY_CLIENT, setup->in + setup->at, setup->len - setup->at) != 0) {
        session_end(s, "failed");
        return;
    }
    session_free_setup(s);
    s->state = SESSION_RELAY;
    session_log_open(s);
    loop_timer_in(session_loop(s), &s->timer, s->worker->conf->idle_ms);
    relay_on(s);
}

/* --- events --- */

static void on_client(struct loop_io *io, uint32_t events)
{
    struct session *s = loop_owner(io, struct session, relay.leg[RELAY_CLIENT].io);
    relay_note(&s->relay, RELAY_CLIENT, events);
    switch ((enum session_state)s->state) {
    case SESSION_ACCEPT:
        handshake_on(s);
        break;
    case SESSION_AUTH:
    case SESSION_DIAL:
        if (events & (EPOLLERR | EPOLLHUP))
            session_end(s, "client-gone");
        break;
    case SESSION_BIND:
        bind_on_client(s, events);
        break;
    case SESSION_REPLY:
        handshake_reply(s);
        break;
    case SESSION_RELAY:
        relay_on(s);
        break;
    case SESSION_FORWARD:
        if (events & (EPOLLERR | EPOLLHUP))
            forward_client_gone(s);
        else
            forward_on(s);
        break;
    case SESSION_UDP:
        udp_control(s);
        break;
    case SESSION_REFUSED:
        handshake_refused(s);
        break;
    case SESSION_RESETTING:
    case SESSION_CLOSED:
        break;
    }
}

static void on_target(struct loop_io *io, uint32_t events)
{
    struct session *s = loop_owner(io, struct session, relay.leg[RELAY_TARGET].io);
    relay_note(&s->relay, RELAY_TARGET, events);
    if (s->state == SESSION_RELAY)
        relay_on(s);
    else if (s->state == SESSION_FORWARD)
        forward_on(s);
}

static void on_timer(struct loop_timer *timer)
{
    struct session *s = loop_owner(timer, struct session, timer);
    switch ((enum session_state)s->state) {
    case SESSION_ACCEPT:
    case SESSION_AUTH:
        session_end(s, "handshake-timeout");
        break;
    case SESSION_DIAL:
        handshake_late(s);
        break;
    case SESSION_BIND:
        bind_late(s);
        break;
    case SESSION_REPLY:
        session_end(s, "client-gone");
        break;
    case SESSION_RELAY:
    case SESSION_UDP:
        session_watch(s);
        break;
    case SESSION_FORWARD:
        forward_late(s);
        break;
    case SESSION_RESETTING:
        reset_on(s);
        break;
    case SESSION_REFUSED:
    case SESSION_CLOSED:
        session_close(s);
        break;
    }
}

/* --- the beginning --- */

static void set_up(struct session *s, const struct listener *from)
{
    struct worker *w = from->worker;
    s->relay.pool = &w->pool;
    s->relay.task.run = on_relay_task;
    s->relay.leg[RELAY_TARGET].io = (struct loop_io){.fd = -1, .ready = on_target};
    s->timer.fire = on_timer;
    s->started_ms = w->loop.now_ms;
    s->from = from;
    s->local = from->addr;
    if (from->wildcard)
        net_addr_local(&s->local, session_leg(s, RELAY_CLIENT)->io.fd);
    handshake_set_up(s, from->offers);
    s->setup->line_due = from->conf->proxy_line;
    s->setup->tls_due = from->tls != NULL;
}

int session_reserve_timers(struct worker *w)
{
    size_t sessions = w->session_count + 1;
    return loop_reserve(&w->loop, sessions * SESSION_TIMERS + w->more_timers + 16);
}

static void enlist(struct session *s)
{
    struct worker *w = s->worker;
    s->next = w->sessions;
    s->link = &w->sessions;
    if (s->next)
        s->next->link = &s->next;
    w->sessions = s;
    w->session_count++;
    shared_add(&w->counts->accepted, 1);
}

/* NULL without memory: then there is no session, and was none. */
static struct session *begin(struct listener *from, int fd, const struct net_addr *client)
{
    struct worker *w = from->worker;
    struct session_setup *setup = new_setup(w);
    struct session *s = setup ? new_session(w) : NULL;
    if (!s || session_reserve_timers(w) != 0) {
        if (setup)
            drop_setup(setup);
        free(s);
        worker_leave(w);
        return NULL;
    }
    memset(s, 0, sizeof *s);
    s->worker = w;
    s->setup = setup;
    s->client = *client;
    s->relay.leg[RELAY_CLIENT].io = (struct loop_io){.fd = fd, .ready = on_client};
    set_up(s, from);
    enlist(s);
    return s;
}

struct session *session_new_caught(struct listener *from, const struct net_addr *client,
                                   const struct net_addr *to)
{
    struct session *s = begin(from, -1, client);
    if (s)
        s->local = *to;
    return s;
}

void session_start_caught(struct session *s)
{
    struct vd_ip ip = net_addr_ip(&s->local);
    struct vd_endpoint target;
    vd_endpoint_set_ip(&target, &ip, net_addr_port(&s->local));
    vd_accept_fixed(&s->setup->accept, VD_ASSOCIATE, &target);
    handshake_request(s);
}

void session_new(struct listener *from, int fd, const struct net_addr *client)
{
    struct worker *w = from->worker;
    struct session *s = begin(from, fd, client);
    if (!s) {
        close(fd);
        return;
    }
    limit_shake(s);
    loop_timer_in(&w->loop, &s->timer, w->conf->handshake_ms);
    if (loop_watch(&w->loop, &s->relay.leg[RELAY_CLIENT].io, loop_everything) != 0)
        session_end(s, "failed");
    else if (fixed_is(s) && !from->conf->proxy_line)
        fixed_start(s);
}
