/*
 * The system's resolver blocks, and runs whatever NSS modules a site has: it works in a helper
 * process, forked before there is anything of a client's that it could inherit, and confined as the
 * worker is. Worker and helper talk over a socket pair that keeps messages apart, which the
 * helper's threads all receive from, so that a slow name keeps nobody waiting but those who asked
 * for it.
 *
 *     slot: free ──question sent──> asked ──answer──> free; both families are answered at once
 *                                     └──helper gone──> free; the answer is: no answer, for it may
 *                                                       have been the question that killed it
 *
 * As many questions as there are slots may be under way: what comes then is refused at once; one
 * that the helper has not come to for STALE_MS is given up. A helper that has died is replaced when
 * somebody asks, but no more often than HELPER_MS.
 */
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/net.h"
#include "daemon/resolve_state.h"
#include "proto/err.h"

enum { SLOTS = 256, THREADS = 8, STACK = 256 * 1024, HELPER_MS = 1000, STALE_MS = 5000 };

struct question {
    uint32_t slot;
    int64_t asked_ms; /* CLOCK_MONOTONIC */
    char name[VD_NAME_MAX + 1];
};

struct answer {
    uint32_t slot;
    int32_t err; /* enum vd_err, where there is no address */
    uint32_t count;
    struct vd_ip ips[2 * RESOLVE_IPS_MAX];
};

struct resolve_helper {
    struct loop_io io; /* fd -1: it has to be started first */
    struct resolver *resolver;
    int64_t started_ms;
    uint32_t next; /* where a free slot is looked for */
    struct resolve_lookup *slots[SLOTS];
};

/* --- the helper ------------------------------------------------------------------------------ */

static int reason_of(int gai)
{
    switch (gai) {
    case EAI_AGAIN:
        return VD_ERR_TTL;
    case EAI_MEMORY:
    case EAI_SYSTEM:
        return VD_ERR_BUSY;
    default:
        return VD_ERR_NAME;
    }
}

/* As many of each family as will be kept. */
static void add(struct answer *a, const struct addrinfo *at, unsigned count[2])
{
    struct net_addr addr = {0};
    unsigned *have = &count[at->ai_family == AF_INET6];
    if ((at->ai_family != AF_INET && at->ai_family != AF_INET6) || *have == RESOLVE_IPS_MAX)
        return;
    memcpy(&addr, at->ai_addr, at->ai_addrlen < sizeof addr ? at->ai_addrlen : sizeof addr);
    a->ips[a->count++] = net_addr_ip(&addr);
    ++*have;
}

static void look_up(const struct question *q, struct answer *a)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all = NULL;
    unsigned count[2] = {0, 0};
    *a = (struct answer){.slot = q->slot};
    int gai = getaddrinfo(q->name, NULL, &hints, &all);
    a->err = gai ? reason_of(gai) : VD_ERR_NAME;
    for (const struct addrinfo *at = gai ? NULL : all; at; at = at->ai_next)
        add(a, at, count);
    if (!gai)
        freeaddrinfo(all);
}

static int64_t clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* After a crowd of dead names those who come later do not pay for it. */
static bool is_stale(const struct question *q)
{
    return clock_ms() - q->asked_ms > STALE_MS;
}

/* Ends the process with the worker: by EOF. */
static void *serve(void *of)
{
    int fd = *(const int *)of;
    struct question q;
    struct answer a;
    while (recv(fd, &q, sizeof q, 0) == sizeof q) {
        q.name[VD_NAME_MAX] = 0;
        if (is_stale(&q))
            a = (struct answer){.slot = q.slot, .err = VD_ERR_TTL};
        else
            look_up(&q, &a);
        if (send(fd, &a, sizeof a, MSG_NOSIGNAL) != sizeof a)
            break;
    }
    _exit(0);
}

static _Noreturn void be_helper(int fd)
{
    pthread_attr_t attr;
    pthread_t thread;
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    prctl(PR_SET_NAME, "viaductd-names");
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK);
    for (int i = 1; i < THREADS; i++)
        if (pthread_create(&thread, &attr, serve, &fd) != 0)
            break; /* fewer will do */
    serve(&fd);
    _exit(0);
}

static void on_answer(struct loop_io *io, uint32_t events);

static int start_helper(struct resolve_helper *h)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return -1;
    h->started_ms = h->resolver->loop->now_ms;
    pid_t pid = fork();
    if (pid == 0) {
        dup2(pair[1], 3);
        close_range(4, ~0u, 0);
        be_helper(3);
    }
    close(pair[1]);
    h->io = (struct loop_io){.fd = pair[0], .ready = on_answer};
    if (pid > 0 && loop_watch(h->resolver->loop, &h->io, EPOLLIN) == 0)
        return 0;
    close(pair[0]);
    h->io.fd = -1;
    return -1;
}

/* --- answers --------------------------------------------------------------------------------- */

/* The lookup may be freed by whoever is told last. */
static void finish(struct resolve_lookup *l, int err)
{
    struct resolve_result *v4 = &l->family[RESOLVE_V4], *v6 = &l->family[RESOLVE_V6];
    v4->here = true;
    v4->err = v4->count > 0 ? VD_OK : err;
    resolve_done(l, v6, err);
}

static void take(struct resolve_helper *h, const struct answer *a)
{
    struct resolve_lookup *l = a->slot < SLOTS ? h->slots[a->slot] : NULL;
    if (!l || a->count > 2 * RESOLVE_IPS_MAX)
        return;
    h->slots[a->slot] = NULL;
    for (uint32_t i = 0; i < a->count; i++)
        resolve_add(&l->family[a->ips[i].family == VD_IPV4 ? RESOLVE_V4 : RESOLVE_V6], &a->ips[i],
                    RESOLVE_SYSTEM_MS);
    finish(l, a->err);
}

static void give_up_all(struct resolve_helper *h)
{
    for (uint32_t i = 0; i < SLOTS; i++) {
        struct resolve_lookup *l = h->slots[i];
        h->slots[i] = NULL;
        if (l)
            finish(l, VD_ERR_TTL);
    }
}

static void on_answer(struct loop_io *io, uint32_t events)
{
    struct resolve_helper *h = loop_owner(io, struct resolve_helper, io);
    struct answer a;
    (void)events;
    ssize_t n = recv(io->fd, &a, sizeof a, MSG_DONTWAIT);
    if (n == sizeof a) {
        take(h, &a);
        return;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    loop_close(h->resolver->loop, io);
    log_say(LOG_QUIET, "the helper that resolves names ended; another one is started when needed");
    give_up_all(h);
}

/* --- asking ---------------------------------------------------------------------------------- */

static bool is_there(struct resolve_helper *h)
{
    const struct loop *loop = h->resolver->loop;
    if (h->io.fd >= 0)
        return true;
    return loop->now_ms - h->started_ms >= HELPER_MS && start_helper(h) == 0;
}

/* SLOTS: none is free. */
static uint32_t free_slot(struct resolve_helper *h)
{
    for (uint32_t i = 0; i < SLOTS; i++) {
        uint32_t slot = h->next++ % SLOTS;
        if (!h->slots[slot])
            return slot;
    }
    return SLOTS;
}

void resolve_system_ask(struct resolve_lookup *l)
{
    struct resolve_helper *h = l->resolver->helper;
    struct question q = {.slot = is_there(h) ? free_slot(h) : SLOTS, .asked_ms = clock_ms()};
    memcpy(q.name, l->name, l->len);
    if (q.slot < SLOTS &&
        send(h->io.fd, &q, sizeof q, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof q)
        h->slots[q.slot] = l;
    else
        finish(l, VD_ERR_BUSY);
}

int resolve_system_start(struct resolver *r)
{
    r->helper = calloc(1, sizeof *r->helper);
    if (!r->helper)
        return -1;
    r->helper->resolver = r;
    if (start_helper(r->helper) == 0)
        return 0;
    free(r->helper);
    return -1;
}

void resolve_system_stop(struct resolver *r)
{
    if (!r->helper)
        return;
    loop_close(r->loop, &r->helper->io);
    free(r->helper);
}
