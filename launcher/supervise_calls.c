/*
 * Which call is whose. Arguments that are numbers are judged as they came: they lie in registers,
 * which nobody but the caller changes. What lies in memory was copied before it is judged, and what
 * is about INET addresses is done here, on the copy. Calls go on as they stand only on sockets that
 * take no INET address, and where they change nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client/addr.h"
#include "client/judge.h"
#include "client/lookup.h"
#include "client/say.h"
#include "client/session.h"
#include "client/sockets.h"
#include "client/supervised.h"
#include "launcher/supervise.h"
#include "launcher/supervise_origin.h"

static struct tracee_message message; /* the one that is being handled */

/* A caller that cannot be looked into; said once for each of his calls. */
static int64_t explain(int64_t error)
{
    if (error != -EPERM)
        return error;
    say(PLAN_FAILURES, NULL,
        "a call is refused: this process does not let its supervisor look into it");
    return -EACCES;
}

static bool is_inet(const struct supervise_socket *s)
{
    return s->domain == AF_INET || s->domain == AF_INET6;
}

/* Takes the socket of descriptor `number`; 0 or -errno. */
static int take_socket(const struct supervise_call *c, uint64_t number, struct supervise_socket *s)
{
    socklen_t len = sizeof s->domain;

    s->fd = tracee_fd(c->thread, (int)number);
    if (s->fd < 0)
        return s->fd;
    if (getsockopt(s->fd, SOL_SOCKET, SO_DOMAIN, &s->domain, &len) < 0) {
        close(s->fd);
        return -ENOTSOCK;
    }
    s->cookie = is_inet(s) ? sockets_cookie(s->fd) : 0;
    s->blocks = !(fcntl(s->fd, F_GETFL) & O_NONBLOCK);
    return 0;
}

/* --- connect --------------------------------------------------------------------------------- */

/* A resolver beside this machine's programs would ask the network for names that the proxy should
 * be asked for. */
static void connect_elsewhere(struct supervise_call *c, const struct supervise_socket *s,
                              const struct sockaddr_storage *addr, socklen_t len)
{
    const char *why = judge_socket(s->domain, SOCK_STREAM, 0);

    if (why)
        say(PLAN_FAILURES, NULL, why);
    if (why)
        supervise_answer(c, -EACCES);
    else if (judge_is_resolver((const struct sockaddr *)addr, len) && !lookup_may_query(NULL))
        supervise_answer(c, -ECONNREFUSED);
    else
        supervise_let_pass(c);
    close(s->fd);
}

/* The kernel knows what to say of an address that is none of INET. */
static void connect_as_given(struct supervise_call *c, const struct supervise_socket *s,
                             const struct sockaddr_storage *addr, socklen_t len)
{
    int r = connect(s->fd, (const struct sockaddr *)addr, len);

    supervise_answer(c, r < 0 ? -errno : r);
    close(s->fd);
}

static void connect_inet(struct supervise_call *c, const struct supervise_socket *s,
                         const struct sockaddr_storage *addr, socklen_t len)
{
    enum carries carries = judge_carries(s->fd);
    struct vd_endpoint given;

    if (len >= sizeof addr->ss_family && addr->ss_family == AF_UNSPEC)
        stream_dissolve(c, s);
    else if (!addr_read(&given, (const struct sockaddr *)addr, len))
        connect_as_given(c, s, addr, len);
    else if (carries == CARRIES_STREAM)
        stream_connect(c, s, addr, len, NULL, 0);
    else
        datagram_connect(c, s, addr, len);
}

static void on_connect(struct supervise_call *c)
{
    struct sockaddr_storage addr;
    struct supervise_socket s;
    socklen_t len;
    int read = tracee_read_address(c->thread, c->args[1], c->args[2], &addr, &len), r;

    if ((int)c->args[0] == -1 && read == 0 && supervised_is_asked(&addr, len)) {
        supervise_answer(c, SUPERVISED_YES);
        return;
    }
    r = take_socket(c, c->args[0], &s);
    if (r < 0 || !supervise_waits(c)) {
        supervise_answer(c, explain(r));
        return;
    }
    if (read < 0) {
        supervise_answer(c, explain(read));
        close(s.fd);
    } else if (is_inet(&s)) {
        connect_inet(c, &s, &addr, len);
    } else {
        connect_elsewhere(c, &s, &addr, len);
    }
}

/* --- sending --------------------------------------------------------------------------------- */

/* What a stream is sent goes where it is connected, but for MSG_FASTOPEN, which connects it. */
static void send_on_stream(struct supervise_call *c, const struct supervise_socket *s, int flags)
{
    struct vd_endpoint given;

    if (!(flags & MSG_FASTOPEN)) {
        supervise_let_pass(c);
        close(s->fd);
    } else if (addr_read(&given, (struct sockaddr *)&message.name, message.name_len)) {
        stream_connect(c, s, &message.name, message.name_len, &message, flags);
    } else {
        supervise_answer(c, message.name_len ? -EOPNOTSUPP : -EDESTADDRREQ);
        close(s->fd);
    }
}

static int read_message(const struct supervise_call *c)
{
    return c->number == SYS_sendto ? tracee_read_send(c, &message)
                                   : tracee_read_message(c->thread, c->args[1], &message);
}

static void send_inet(struct supervise_call *c, struct supervise_socket *s, int flags)
{
    enum carries carries = judge_carries(s->fd);
    bool passes = carries == CARRIES_STREAM && !(flags & MSG_FASTOPEN);
    int r = passes ? 0 : read_message(c);

    if (carries == CARRIES_STREAM && r == 0) {
        send_on_stream(c, s, flags);
        return;
    }
    supervise_answer(c, explain(r < 0 ? r : datagram_send(c, s, &message, flags)));
    close(s->fd);
}

static void on_send(struct supervise_call *c, int flags)
{
    struct supervise_socket s;
    int r = take_socket(c, c->args[0], &s);

    if (r < 0 || !supervise_waits(c)) {
        supervise_answer(c, explain(r));
    } else if (is_inet(&s)) {
        send_inet(c, &s, flags);
    } else {
        supervise_let_pass(c);
        close(s.fd);
    }
}

/* --- sendmmsg -------------------------------------------------------------------------------- */

/* One after the other; the first that fails ends it. How many went, or -errno. */
static int64_t send_many(struct supervise_call *c, struct supervise_socket *s)
{
    size_t count =
        (uint32_t)c->args[2] < TRACEE_PARTS_MAX ? (uint32_t)c->args[2] : TRACEE_PARTS_MAX;

    for (size_t i = 0; i < count; i++) {
        uint64_t at = c->args[1] + i * sizeof(struct mmsghdr);
        int64_t n = tracee_read_message(c->thread, at, &message);
        unsigned sent;

        if (n == 0)
            n = datagram_send(c, s, &message, (int)c->args[3]);
        if (n < 0)
            return i ? (int64_t)i : n;
        sent = (unsigned)n;
        n = tracee_write(c->thread, at + offsetof(struct mmsghdr, msg_len), &sent, sizeof sent);
        if (n < 0)
            return i ? (int64_t)i : n;
    }
    return (int64_t)count;
}

/* Streams are not sent many messages with MSG_FASTOPEN by anybody. */
static void on_send_many(struct supervise_call *c)
{
    struct supervise_socket s;
    int r = take_socket(c, c->args[0], &s);

    if (r < 0 || !supervise_waits(c)) {
        supervise_answer(c, explain(r));
        return;
    }
    if (!is_inet(&s))
        supervise_let_pass(c);
    else if (judge_carries(s.fd) != CARRIES_STREAM)
        supervise_answer(c, explain(send_many(c, &s)));
    else if ((int)c->args[3] & MSG_FASTOPEN)
        supervise_answer(c, -EOPNOTSUPP);
    else
        supervise_let_pass(c);
    close(s.fd);
}

/* --- others ---------------------------------------------------------------------------------- */

static void on_socket(struct supervise_call *c)
{
    const char *why = judge_socket((int)c->args[0], (int)c->args[1], (int)c->args[2]);

    if (why) {
        say(PLAN_FAILURES, NULL, why);
        supervise_answer(c, -EACCES);
    } else {
        supervise_let_pass(c);
    }
}

/* The target's address, as it was given to connect(). */
static int64_t tell_peer(struct supervise_call *c, const struct sockaddr_storage *peer,
                         socklen_t peer_len)
{
    uint32_t room;
    int64_t r = tracee_read(c->thread, c->args[2], &room, sizeof room);

    if (r == 0 && (int32_t)room < 0)
        return -EINVAL;
    if (r == 0)
        r = tracee_write(c->thread, c->args[1], peer, room < peer_len ? room : peer_len);
    return r < 0 ? r : tracee_write(c->thread, c->args[2], &peer_len, sizeof peer_len);
}

static void on_getpeername(struct supervise_call *c)
{
    struct sockaddr_storage peer, target;
    socklen_t peer_len = sizeof peer, len = 0;
    struct supervise_socket s;

    if (take_socket(c, c->args[0], &s) == 0) {
        if (is_inet(&s) && getpeername(s.fd, (struct sockaddr *)&peer, &peer_len) == 0)
            len = sockets_get(s.cookie, &target);
        close(s.fd);
    }
    if (len > 0 && supervise_waits(c) && !origin_has_library(c->thread))
        supervise_answer(c, tell_peer(c, &target, len));
    else
        supervise_let_pass(c);
}

static void on_membership(struct supervise_call *c)
{
    if (origin_has_library(c->thread)) {
        supervise_let_pass(c);
        return;
    }
    say(PLAN_FAILURES, NULL, "multicast groups are refused: they are not carried");
    supervise_answer(c, -EACCES);
}

static void refuse_foreign(struct supervise_call *c)
{
    say(PLAN_FAILURES, NULL,
        "a call is refused: it is one of a 32-bit program, which cannot be carried");
    supervise_answer(c, -EACCES);
}

void supervise_take(struct supervise_call *c)
{
    if (c->foreign) {
        refuse_foreign(c);
        return;
    }
    switch (c->number) {
    case SYS_connect:
        on_connect(c);
        break;
    case SYS_sendto:
        on_send(c, (int)c->args[3]);
        break;
    case SYS_sendmsg:
        on_send(c, (int)c->args[2]);
        break;
    case SYS_sendmmsg:
        on_send_many(c);
        break;
    case SYS_socket:
        on_socket(c);
        break;
    case SYS_getpeername:
        on_getpeername(c);
        break;
    case SYS_setsockopt:
        on_membership(c);
        break;
    default:
        supervise_answer(c, -ENOSYS);
        break;
    }
}
