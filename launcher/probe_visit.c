/*
 *     dial --> talk: send what is pending, take what comes, until a result, or silence
 *
 * Every wait ends: with the visit (end_ns), or with its stage. In a flight the hop in question has
 * max(1 s, 4 round trips) to go on; how far it is away is seen by what went before.
 */
#include "launcher/probe_visit.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "client/addr.h"
#include "proto/err.h"

#define SECOND_NS INT64_C(1000000000)

enum {
    DIAL_S = 3,
    STAGE_S = 5,
    PATIENCE_S = 1,
    PATIENCE_ROUNDS = 4,
    PATIENCE_MAX_S = 5,
    HEARD = 512
};

struct talk {
    int fd;
    bool in_flight;
    bool ended, silent; /* how the stream was lost */
    int64_t began_ns, turn_ns;
    uint8_t turn; /* whose turn it has been since turn_ns */
    struct vd_chain chain;
};

int64_t probe_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * SECOND_NS + now.tv_nsec;
}

/* Whether it came before the time ran out. */
static bool await(int fd, short events, int64_t until_ns)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};
    int64_t left = until_ns - probe_now_ns();

    return left > 0 && poll(&poll_fd, 1, (int)(left / 1000000) + 1) > 0;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* --- dialling -------------------------------------------------------------------------------- */

static bool is_up(int fd, int64_t until_ns)
{
    socklen_t len = sizeof(int);
    int error = 0;

    return await(fd, POLLOUT, until_ns) &&
           getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0;
}

static int dial_ip(const struct vd_ip *ip, uint16_t port, int64_t until_ns)
{
    int family = ip->family == VD_IPV6 ? AF_INET6 : AF_INET, on = 1;
    struct sockaddr_storage to;
    socklen_t len = addr_write(&to, family, ip, port);
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if ((connect(fd, (struct sockaddr *)&to, len) == 0 || errno == EINPROGRESS) &&
        is_up(fd, until_ns))
        return fd;
    close(fd);
    return -1;
}

static int dial(const struct vd_hop *hop, int64_t end_ns)
{
    int fd = -1;

    for (unsigned i = 0; fd < 0 && i < hop->addr_count; i++)
        fd = dial_ip(&hop->addrs[i], hop->at.port,
                     earlier(end_ns, probe_now_ns() + DIAL_S * SECOND_NS));
    return fd;
}

/* --- talking --------------------------------------------------------------------------------- */

static bool is_last(const struct talk *t)
{
    return t->chain.at + 1u == t->chain.path.count;
}

static int64_t stage_end_ns(struct talk *t)
{
    int64_t patience_ns;

    if (t->turn != t->chain.at) {
        t->turn = t->chain.at;
        t->turn_ns = probe_now_ns();
    }
    if (!t->in_flight || !is_last(t))
        return t->turn_ns + STAGE_S * SECOND_NS;
    patience_ns = PATIENCE_ROUNDS * (t->turn_ns - t->began_ns);
    if (patience_ns < PATIENCE_S * SECOND_NS)
        patience_ns = PATIENCE_S * SECOND_NS;
    return t->turn_ns + earlier(patience_ns, PATIENCE_MAX_S * SECOND_NS);
}

static int lose(struct talk *t, enum vd_loss loss)
{
    t->ended = loss != VD_LOSS_SILENT;
    t->silent = loss == VD_LOSS_SILENT;
    return vd_chain_lost(&t->chain, loss);
}

static int say(struct talk *t, int64_t end_ns)
{
    uint8_t buf[VD_FLIGHT_MAX];
    size_t len;

    while ((len = vd_chain_pending(&t->chain, buf, sizeof buf)) > 0) {
        ssize_t n = send(t->fd, buf, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN && await(t->fd, POLLOUT, end_ns))
            continue;
        if (n < 0)
            return lose(t, errno == EAGAIN ? VD_LOSS_SILENT : VD_LOSS_RESET);
        vd_chain_sent(&t->chain, (size_t)n);
    }
    return VD_MORE;
}

static int hear(struct talk *t, int64_t end_ns)
{
    uint8_t buf[HEARD];
    bool peeks = vd_chain_peeks(&t->chain);
    size_t want = peeks ? sizeof buf : vd_chain_want(&t->chain), used;
    ssize_t n;
    int r;

    if (!await(t->fd, POLLIN, earlier(end_ns, stage_end_ns(t))))
        return lose(t, VD_LOSS_SILENT);
    n = recv(t->fd, buf, want, peeks ? MSG_PEEK : 0);
    if (n <= 0)
        return lose(t, n == 0 ? VD_LOSS_EOF : VD_LOSS_RESET);
    r = vd_chain_feed(&t->chain, buf, (size_t)n, &used);
    if (peeks && used > 0)
        recv(t->fd, buf, used, 0);
    return r;
}

static int converse(struct talk *t, int64_t end_ns)
{
    int r = VD_MORE;

    while (r == VD_MORE) {
        r = say(t, end_ns);
        if (r == VD_MORE)
            r = hear(t, end_ns);
    }
    return r;
}

/* --- what to make of it ---------------------------------------------------------------------- */

static enum probe_outcome lost_outcome(const struct talk *t)
{
    if (t->chain.shake.stage < VD_STAGE_REPLY)
        return PROBE_ABSENT;
    return t->silent ? PROBE_SILENT : PROBE_CLOSED;
}

static enum probe_outcome outcome(const struct talk *t, int r)
{
    if (!is_last(t) || t->chain.cause || r == -VD_ERR_LOGIN)
        return PROBE_ABSENT;
    if (r == VD_DONE)
        return PROBE_ANSWERED;
    if (t->chain.shake.stage == VD_STAGE_REPLY && r < 0 && r != -VD_ERR_PROTOCOL &&
        t->chain.shake.code != 0)
        return PROBE_ANSWERED;
    return t->ended || t->silent ? lost_outcome(t) : PROBE_GARBLED;
}

enum probe_outcome probe_visit(struct probe_visit *v, bool in_flight)
{
    static const struct vd_endpoint nowhere = {.ip = {.family = VD_IPV4}}; /* 0.0.0.0:0 */
    struct talk t = {.in_flight = in_flight, .began_ns = probe_now_ns()};
    struct vd_path path = v->path;
    int r;

    path.flights = in_flight ? (uint16_t)(1u << (path.count - 1u)) : 0;
    if (vd_chain_start(&t.chain, &path, VD_PROBE, &nowhere) < 0)
        return PROBE_ABSENT;
    t.fd = dial(vd_path_hop(&path, 0), v->end_ns);
    if (t.fd < 0)
        return PROBE_ABSENT;
    t.turn_ns = probe_now_ns();
    r = converse(&t, v->end_ns);
    close(t.fd);
    v->no_login_wanted = is_last(&t) && t.chain.shake.method == 0;
    return probe_now_ns() < v->end_ns ? outcome(&t, r) : PROBE_ABSENT;
}
