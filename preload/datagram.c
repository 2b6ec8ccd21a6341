/*
 * Datagrams are not carried: what no rule lets pass is refused. (A stream's sendto() and sendmsg()
 * with MSG_FASTOPEN come by here too: they are connect() and send() in one.)
 *
 * connect() on a UDP socket sends nothing, and programs use it to learn their source address; so it
 * succeeds, but the socket is connected to that very address, port 9 (discard): whatever is written
 * to it, even by libc itself, stays on this machine.
 */
#include <netinet/in.h>
#include <string.h>

#include "client/addr.h"
#include "client/drive.h"
#include "client/names.h"
#include "client/say.h"
#include "client/sockets.h"
#include "preload/hook.h"
#include "preload/io.h"

enum { DISCARD = 9 };

static bool direct_udp(void)
{
    return session_plan()->udp == PLAN_UDP_DIRECT;
}

/* A program that repeats itself is told once. */
static void say_refused(const struct target *t, enum carries carries)
{
    static uint32_t last;
    const uint8_t *p = (const uint8_t *)&t->at;
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < sizeof t->at; i++)
        hash = (hash ^ p[i]) * 16777619u;
    if (__atomic_exchange_n(&last, hash, __ATOMIC_RELAXED) != hash)
        say(PLAN_FAILURES, &t->at,
            carries == CARRIES_DATAGRAMS ? "UDP is refused: the chain does not carry it"
                                         : "refused: only TCP can go through the chain");
}

/* 0: may go out as it is; an errno (negative): refused. */
static int judge(struct target *t, const struct vd_endpoint *given, enum carries carries)
{
    int r = hook_judge(t, given);

    if (r <= 0 ||
        (carries == CARRIES_DATAGRAMS && direct_udp() && !names_is_placeholder(&given->ip)))
        return r < 0 ? r : 0;
    say_refused(t, carries);
    return -EACCES;
}

/* Gives the socket the source address it would have had, and no way out. */
static int connect_to_itself(int fd, const struct sockaddr *addr, socklen_t len)
{
    struct sockaddr_storage own;
    socklen_t own_len = sizeof own;
    struct vd_endpoint self;

    if (sys.connect(fd, addr, len) < 0)
        return -1;
    if (getsockname(fd, (struct sockaddr *)&own, &own_len) < 0 ||
        !addr_read(&self, (struct sockaddr *)&own, own_len))
        return hook_fail(EACCES);
    own_len = addr_write(&own, addr->sa_family, &self.ip, DISCARD);
    if (!own_len || sys.connect(fd, (struct sockaddr *)&own, own_len) < 0) {
        drive_undo(fd);
        return hook_fail(EACCES);
    }
    sockets_deny(sockets_cookie(fd), addr, len);
    return 0;
}

int datagram_connect(int fd, const struct sockaddr *addr, socklen_t len,
                     const struct vd_endpoint *given, enum carries carries)
{
    struct target t;
    int r = judge(&t, given, carries);

    if (r == 0) {
        sockets_drop(sockets_cookie(fd));
        return sys.connect(fd, addr, len);
    }
    if (r == -EACCES && carries == CARRIES_DATAGRAMS && t.route.action == PLAN_CHAIN)
        return connect_to_itself(fd, addr, len);
    return hook_fail(-r);
}

/* Linux takes an address without a family for an IPv4 one when it sends from an IPv4 socket. */
static bool read_destination(struct vd_endpoint *e, const struct sockaddr *addr, socklen_t len)
{
    struct sockaddr_in in4;

    if (addr && len >= (socklen_t)sizeof in4 && addr->sa_family == AF_UNSPEC) {
        memcpy(&in4, addr, sizeof in4);
        in4.sin_family = AF_INET;
        return addr_read(e, (struct sockaddr *)&in4, sizeof in4);
    }
    return addr_read(e, addr, len);
}

/* Whether a datagram to this address may leave as it is: 0, or an errno. */
static int judge_destination(const struct sockaddr *addr, socklen_t len, enum carries carries)
{
    struct vd_endpoint given;
    struct target t;

    if (!read_destination(&given, addr, len))
        return 0; /* the kernel will not take it either */
    if (!hook_ready())
        return ENETUNREACH;
    return -judge(&t, &given, carries);
}

/* What to do with a message that names its destination. */
enum fate { PASSES, CONNECTS, FAILS };

static enum fate fate_of(int fd, const struct sockaddr *addr, socklen_t len, int flags)
{
    enum carries carries = hook_carries(fd);
    int number;

    if (carries == CARRIES_NOTHING_OF_OURS)
        return PASSES;
    if (carries == CARRIES_STREAM)
        return flags & MSG_FASTOPEN ? CONNECTS : PASSES;
    number = judge_destination(addr, len, carries);
    if (number == 0)
        return PASSES;
    errno = number;
    return FAILS;
}

/* The kernel's own checks of MSG_FASTOPEN, in its order. 0, or an errno. */
static int judge_fast_open(int fd, const struct sockaddr *addr)
{
    if (addr->sa_family == AF_UNSPEC)
        return EOPNOTSUPP;
    return pending_any() && pending_state(fd) == PENDING_UNDER_WAY ? EALREADY : 0;
}

/* connect() and send() in one: what connect() says. */
static int fast_open(int fd, const struct sockaddr *addr, socklen_t len)
{
    int number = judge_fast_open(fd, addr);

    return number ? hook_fail(number) : hook_connect(fd, addr, len);
}

/* Its connect() meets a socket under way by itself. */
static bool is_fast_open(int fd, const void *addr, int flags)
{
    return flags & MSG_FASTOPEN && addr && hook_carries(fd) == CARRIES_STREAM;
}

HOOK ssize_t sendto(int fd, const void *data, size_t len, int flags, const struct sockaddr *addr,
                    socklen_t addr_len)
{
    if (!is_fast_open(fd, addr, flags) && !io_sends(fd, flags))
        return -1;
    if (!hook_is_readable(addr, addr_len))
        return sys.sendto(fd, data, len, flags, addr, addr_len);
    switch (fate_of(fd, addr, addr_len, flags)) {
    case PASSES:
        return sys.sendto(fd, data, len, flags, addr, addr_len);
    case CONNECTS:
        if (fast_open(fd, addr, addr_len) < 0)
            return -1;
        return sys.send(fd, data, len, flags & ~MSG_FASTOPEN);
    case FAILS:
        break;
    }
    return -1;
}

static void settle_rights(const struct cmsghdr *c)
{
    for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= c->cmsg_len; at += sizeof(int)) {
        int passed;

        memcpy(&passed, CMSG_DATA(c) + at, sizeof passed);
        pending_before_pass(passed);
    }
}

/* Another process would take a socket under way for one that is connected; so it has to wait, even
 * in a call that should not. */
static void settle_passed(const struct msghdr *message)
{
    struct msghdr m;

    if (!pending_any() || !message || !message->msg_control)
        return;
    m = *message;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
            settle_rights(c);
}

HOOK ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct msghdr unnamed;

    settle_passed(message);
    if (!(message && is_fast_open(fd, message->msg_name, flags)) && !io_sends(fd, flags))
        return -1;
    if (!message || !hook_is_readable(message->msg_name, message->msg_namelen))
        return sys.sendmsg(fd, message, flags);
    switch (fate_of(fd, message->msg_name, message->msg_namelen, flags)) {
    case PASSES:
        return sys.sendmsg(fd, message, flags);
    case CONNECTS:
        if (fast_open(fd, message->msg_name, message->msg_namelen) < 0)
            return -1;
        unnamed = *message;
        unnamed.msg_name = NULL;
        unnamed.msg_namelen = 0;
        return sys.sendmsg(fd, &unnamed, flags & ~MSG_FASTOPEN);
    case FAILS:
        break;
    }
    return -1;
}

/* The messages up to the first that may not go out as it is are sent. */
HOOK int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
    unsigned passing = 0;
    enum fate fate = PASSES;

    if (!io_sends(fd, flags))
        return -1;
    for (; messages && passing < count; passing++) {
        const struct msghdr *m = &messages[passing].msg_hdr;

        settle_passed(m);
        fate = hook_is_readable(m->msg_name, m->msg_namelen)
                   ? fate_of(fd, m->msg_name, m->msg_namelen, flags)
                   : PASSES;
        if (fate != PASSES)
            break;
    }
    if (passing > 0 || fate == PASSES)
        return sys.sendmmsg(fd, messages, messages ? passing : count, flags);
    if (fate == FAILS)
        return -1;
    ssize_t sent = sendmsg(fd, &messages[0].msg_hdr, flags);
    if (sent < 0)
        return -1;
    messages[0].msg_len = (unsigned)sent;
    return 1;
}
