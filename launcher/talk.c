/*
 *     dial --> talk: send what is pending, take what comes, until a result, or silence
 *
 * Every wait ends: with the talk (end_ns), or with its stage. In a flight the hop in question has
 * max(1 s, 4 round trips) to go on; how far it is away is seen by what went before.
 */
#include "launcher/talk.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "client/addr.h"
#include "launcher/talk_tls.h"
#include "proto/err.h"

#define SECOND_NS INT64_C(1000000000)
#define MS_NS     INT64_C(1000000)

enum { PATIENCE_S = 1, PATIENCE_ROUNDS = 4, PATIENCE_MAX_S = 5, HEARD = 512 };

int64_t talk_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * SECOND_NS + now.tv_nsec;
}

/* Whether it came before the time ran out. */
static bool await(int fd, short events, int64_t until_ns)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};
    int64_t left = until_ns - talk_now_ns();

    return left > 0 && poll(&poll_fd, 1, (int)(left / MS_NS) + 1) > 0;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t within(int64_t from_ns, uint32_t ms, int64_t end_ns)
{
    return ms ? earlier(from_ns + ms * MS_NS, end_ns) : end_ns;
}

/* Of two limits, where 0 is none. */
static uint32_t shorter(uint32_t a, uint32_t b)
{
    return !a || (b && b < a) ? b : a;
}

/* --- dialling -------------------------------------------------------------------------------- */

/* 0, or an errno. */
static int dial_outcome(int fd, int64_t until_ns)
{
    socklen_t len = sizeof(int);
    int error = 0;

    if (!await(fd, POLLOUT, until_ns))
        return ETIMEDOUT;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ? errno : error;
}

static int finish_dial(struct talk *t, int fd, const struct sockaddr *to, socklen_t len,
                       int64_t until_ns)
{
    if (connect(fd, to, len) < 0 && errno != EINPROGRESS)
        t->number = errno;
    else
        t->number = dial_outcome(fd, until_ns);
    if (t->number == 0)
        return fd;
    close(fd);
    return -1;
}

static int dial_unix(struct talk *t, const struct vd_hop *hop)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    t->number = fd < 0 ? errno : 0;
    if (fd < 0)
        return -1;
    memcpy(to.sun_path, hop->unix_path, hop->unix_len);
    if (trace_is_on())
        trace_dial(&t->trace, &t->chain, fd, NULL);
    return finish_dial(t, fd, (struct sockaddr *)&to, sizeof to, t->end_ns);
}

static int dial_ip(struct talk *t, const struct vd_ip *ip, uint16_t port, int64_t until_ns)
{
    int family = ip->family == VD_IPV6 ? AF_INET6 : AF_INET, on = 1;
    struct sockaddr_storage to;
    socklen_t len = addr_write(&to, family, ip, port);
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    t->number = fd < 0 ? errno : 0;
    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (t->fast_open)
        setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof on);
    if (trace_is_on())
        trace_dial(&t->trace, &t->chain, fd, ip);
    return finish_dial(t, fd, (struct sockaddr *)&to, len, until_ns);
}

static bool dial(struct talk *t)
{
    const struct vd_hop *hop = vd_path_hop(&t->path, 0);

    t->number = EADDRNOTAVAIL;
    if (hop->unix_len > 0)
        t->fd = dial_unix(t, hop);
    for (unsigned i = 0; hop->unix_len == 0 && t->fd < 0 && i < hop->addr_count; i++) {
        t->addr = (uint8_t)i;
        t->fd =
            dial_ip(t, &hop->addrs[i], hop->at.port, within(talk_now_ns(), t->dial_ms, t->end_ns));
    }
    return t->fd >= 0;
}

/* --- talking --------------------------------------------------------------------------------- */

static bool is_last(const struct talk *t)
{
    return t->chain.at + 1u == t->chain.path.count;
}

static int64_t stage_end_ns(struct talk *t)
{
    uint32_t limit_ms = vd_path_hop(&t->path, t->chain.at)->timeout_ms;
    int64_t patience_ns;

    if (t->turn != t->chain.at) {
        t->turn = t->chain.at;
        t->turn_ns = talk_now_ns();
    }
    limit_ms = shorter(
        limit_ms, t->chain.shake.stage < VD_STAGE_REPLY && t->greet_ms ? t->greet_ms : t->stage_ms);
    if (!t->in_flight || !is_last(t))
        return within(t->turn_ns, limit_ms, t->end_ns);
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

static void said(struct talk *t, size_t n)
{
    struct vd_said before = vd_chain_said(&t->chain);

    vd_chain_sent(&t->chain, n);
    if (trace_is_on())
        trace_said(&t->trace, &t->chain, t->line, before);
}

static int say(struct talk *t)
{
    uint8_t buf[VD_FLIGHT_MAX];
    size_t len;

    while ((len = vd_chain_pending(&t->chain, buf, sizeof buf)) > 0) {
        ssize_t n = send(t->fd, buf, len, MSG_NOSIGNAL);
        bool later = n < 0 && (errno == EAGAIN || errno == EINPROGRESS);

        if (later && await(t->fd, POLLOUT, t->end_ns))
            continue;
        if (n < 0)
            return lose(t, later ? VD_LOSS_SILENT : VD_LOSS_RESET);
        said(t, (size_t)n);
    }
    return VD_MORE;
}

static void mark(struct talk *t, struct talk_mark before)
{
    if (t->mark_count == TALK_MARKS)
        return;
    before.ns = talk_now_ns();
    t->marks[t->mark_count++] = before;
    t->another = true;
    if (t->progress)
        t->progress(t->whom, t);
}

static void keep(struct talk *t, const uint8_t *data, size_t len)
{
    size_t room;

    if (t->another)
        t->heard_len = 0;
    t->another = false;
    room = sizeof t->heard - t->heard_len;
    if (len > room)
        len = room;
    memcpy(t->heard + t->heard_len, data, len);
    t->heard_len = (uint16_t)(t->heard_len + len);
}

static int feed(struct talk *t, const uint8_t *data, size_t len, size_t *used)
{
    struct talk_mark before = {t->chain.at, t->chain.shake.stage, 0, 0};
    int r = vd_chain_feed(&t->chain, data, len, used);

    keep(t, data, len);
    if (r == VD_DONE || t->chain.at != before.at || t->chain.shake.stage != before.stage) {
        if (t->chain.at == before.at && r == VD_DONE)
            before.code = t->chain.shake.code;
        if (before.stage == VD_STAGE_METHOD)
            before.code = t->chain.shake.method;
        if (r >= 0)
            mark(t, before);
    }
    return r;
}

static int hear(struct talk *t)
{
    uint8_t buf[HEARD];
    bool peeks = vd_chain_peeks(&t->chain);
    size_t want = peeks ? sizeof buf : vd_chain_want(&t->chain), used;
    ssize_t n;
    int r;

    if (!await(t->fd, POLLIN, earlier(t->end_ns, stage_end_ns(t))))
        return lose(t, VD_LOSS_SILENT);
    n = recv(t->fd, buf, want, peeks ? MSG_PEEK : 0);
    if (n <= 0)
        return lose(t, n == 0 ? VD_LOSS_EOF : VD_LOSS_RESET);
    r = feed(t, buf, (size_t)n, &used);
    if (trace_is_on())
        trace_heard(&t->trace, &t->chain, t->line, buf, used);
    if (peeks && used > 0)
        recv(t->fd, buf, used, 0);
    return r;
}

/* As far as it goes, the stream is the next hop's to speak TLS on. */
static int secure(struct talk *t)
{
    struct talk_mark done = {t->chain.at, TALK_TLS, 0, 0};
    int r;

    t->tls_is_due = true;
    r = talk_tls(t, earlier(t->end_ns, stage_end_ns(t)));
    if (r == -VD_ERR_CLOSED || r == -VD_ERR_RESET || r == -VD_ERR_SILENT)
        r = lose(t, r == -VD_ERR_CLOSED  ? VD_LOSS_EOF
                    : r == -VD_ERR_RESET ? VD_LOSS_RESET
                                         : VD_LOSS_SILENT);
    if (r != VD_MORE)
        return r;
    t->tls_is_due = false;
    vd_chain_has_tls(&t->chain);
    done.code = strcmp(t->tls_said, "TLSv1.3") ? 12 : 13;
    mark(t, done);
    return VD_MORE;
}

static int converse(struct talk *t)
{
    int r = VD_MORE;

    while (r == VD_MORE) {
        if (vd_chain_awaits_tls(&t->chain))
            r = secure(t);
        if (r == VD_MORE)
            r = say(t);
        if (r == VD_MORE)
            r = hear(t);
    }
    return r;
}

/* Who speaks another protocol mostly says so in its first line. */
static void hear_more(struct talk *t)
{
    size_t room = sizeof t->heard - t->heard_len;
    ssize_t n = recv(t->fd, t->heard + t->heard_len, room, MSG_DONTWAIT);

    if (n > 0)
        t->heard_len = (uint16_t)(t->heard_len + n);
}

static void see_fast_open(struct talk *t)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;

    if (getsockopt(t->line, IPPROTO_TCP, TCP_INFO, &info, &len) == 0)
        t->syn_carried = info.tcpi_options & TCPI_OPT_SYN_DATA;
}

static void trace_result(struct talk *t, int r)
{
    char text[VD_URL_TEXT + 256] = "complete";
    struct vd_out out = vd_out_over(text, sizeof text);

    if (r < 0)
        vd_chain_explain(&out, &t->chain, r);
    if (r == VD_AGAIN)
        vd_out_text(&out, "no answer to a flight");
    if (r != VD_DONE)
        vd_out_string(&out);
    trace_end(&t->trace, &t->chain, t->line, r != VD_DONE, text);
}

static int talk_on(struct talk *t)
{
    int r;

    if (!dial(t))
        return -VD_ERR_UNREACHABLE;
    t->line = t->fd;
    t->up = true;
    t->turn_ns = t->up_ns = talk_now_ns();
    if (trace_is_on())
        trace_up(&t->trace, &t->chain, t->line);
    if (t->progress)
        t->progress(t->whom, t);
    r = converse(t);
    if (r == -VD_ERR_PROTOCOL)
        hear_more(t);
    if (t->fast_open)
        see_fast_open(t);
    return r;
}

int talk(struct talk *t)
{
    struct vd_path path = t->path;
    int r;

    t->fd = t->line = -1;
    path.flights = t->in_flight ? (uint16_t)(1u << (path.count - 1u)) : 0;
    r = vd_chain_start(&t->chain, &path, t->command, &t->target);
    if (r < 0)
        return r;
    t->began_ns = talk_now_ns();
    if (trace_is_on())
        trace_begin(&t->trace, &t->chain, -1);
    r = talk_on(t);
    t->over_ns = talk_now_ns();
    if (trace_is_on())
        trace_result(t, r);
    if (t->fd >= 0)
        close(t->fd);
    talk_tls_end(t);
    t->fd = t->line = -1;
    return r;
}

bool talk_was_answered(const struct talk *t, int r)
{
    if (!t->up || !is_last(t) || t->chain.cause || r == -VD_ERR_LOGIN)
        return false;
    return r == VD_DONE || (t->chain.shake.stage == VD_STAGE_REPLY && r < 0 &&
                            r != -VD_ERR_PROTOCOL && t->chain.shake.code != 0);
}
