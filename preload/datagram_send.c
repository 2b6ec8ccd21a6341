/*
 * Sending, by socket and by destination. (A stream's sendto() and sendmsg() with MSG_FASTOPEN come
 * by here too: they are connect() and send() in one.)
 */
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>

#include "client/addr.h"
#include "client/assoc.h"
#include "client/origins.h"
#include "client/pending.h"
#include "preload/datagram.h"
#include "preload/io.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY 60
#endif

/* --- what is carried, or answered ------------------------------------------------------------ */

/* MSG_ZEROCOPY would have the kernel read headers that are gone by then. */
static ssize_t carry(int fd, uint64_t cookie, const struct target *t, const struct msghdr *m,
                     int flags)
{
    ssize_t n = assoc_send(fd, cookie, t->route.chain, &t->at, m->msg_iov, m->msg_iovlen,
                           m->msg_control, m->msg_controllen, flags & ~MSG_ZEROCOPY);

    if (audit_is_on())
        audit_add(AUDIT_DATAGRAMS, n < 0 ? AUDIT_REFUSED : AUDIT_BY_CHAIN, &t->at, &t->route,
                  n < 0 ? (int)-n : 0, 0);
    return n < 0 ? hook_fail((int)-n) : n;
}

/* From the first datagram on the socket is to be connected to the relay. */
static int open_once(int fd, const struct sockets_datagram *d, const struct plan_chain *chain)
{
    int number = d->opened ? 0 : assoc_open(fd, d->cookie, chain, true);

    if (number == 0 && !d->opened)
        sockets_note_opened(d->cookie);
    return number;
}

/* The name server itself is asked: its answers come from outside, so the socket can no longer be
 * connected to itself. */
static ssize_t ask(int fd, const struct sockets_datagram *d, const struct msghdr *m, int flags)
{
    struct msghdr named = *m;

    if (d->kind == SOCKETS_NAMES && !d->asked && self_come_loose(fd) < 0)
        return -1;
    sockets_note_asked(d->cookie);
    if (d->len) {
        named.msg_name = (void *)&d->target;
        named.msg_namelen = d->len;
    }
    return sys.sendmsg(fd, &named, flags);
}

static ssize_t answer(int fd, const struct sockets_datagram *d, const struct sockaddr *server,
                      socklen_t len, const struct msghdr *m, int flags)
{
    bool pass;
    ssize_t n = self_answer(fd, server, len, m, &pass);

    return pass ? ask(fd, d, m, flags) : n;
}

/* --- by socket ------------------------------------------------------------------------------- */

static ssize_t carry_to_target(int fd, const struct sockets_datagram *d, const struct msghdr *m,
                               int flags)
{
    struct vd_endpoint given;
    struct target t;
    int way, number;

    if (d->shut)
        return hook_fail(EPIPE);
    if (!addr_read(&given, (const struct sockaddr *)&d->target, d->len))
        return hook_fail(EACCES);
    way = judge_datagram(&t, &given, CARRIES_DATAGRAMS);
    if (way != WAY_CHAIN)
        return hook_fail(way < 0 ? -way : EACCES);
    number = open_once(fd, d, t.route.chain);
    return number ? hook_fail(number) : carry(fd, d->cookie, &t, m, flags);
}

ssize_t datagram_send(int fd, const struct sockets_datagram *d, const struct msghdr *m, int flags)
{
    switch (d->kind) {
    case SOCKETS_DENIED:
        return io_deny(fd);
    case SOCKETS_NAMES:
        return answer(fd, d, (const struct sockaddr *)&d->target, d->len, m, flags);
    case SOCKETS_CARRIED:
        return carry_to_target(fd, d, m, flags);
    case SOCKETS_LOOSE:
    case SOCKETS_UNKNOWN:
    case SOCKETS_STREAM:
    case SOCKETS_DIRECT:
        break;
    }
    return sys.sendmsg(fd, m, flags);
}

ssize_t datagram_send_parts(int fd, const struct sockets_datagram *d, const struct iovec *parts,
                            size_t count, int flags)
{
    struct msghdr m = {.msg_iov = (struct iovec *)parts, .msg_iovlen = count};

    return datagram_send(fd, d, &m, flags);
}

int datagram_shutdown(int fd, const struct sockets_datagram *d, int how)
{
    bool sends = d->kind == SOCKETS_CARRIED || d->kind == SOCKETS_LOOSE;

    if (!sends || (how != SHUT_WR && how != SHUT_RDWR))
        return sys.shutdown(fd, how);
    sockets_note_shut(d->cookie);
    if (how == SHUT_RDWR)
        return sys.shutdown(fd, SHUT_RD);
    return d->kind == SOCKETS_CARRIED ? 0
                                      : hook_fail(ENOTCONN); /* as the kernel, who does it too */
}

bool datagram_takes_option(int fd, int level, int name)
{
    const struct plan *plan = session_plan();
    bool may_carry = plan && (plan->udp == PLAN_UDP_AUTO || plan->udp == PLAN_UDP_PROXY);

    if (!may_carry ||
        !((level == SOL_UDP && (name == UDP_SEGMENT || name == UDP_GRO || name == UDP_CORK)) ||
          (level == SOL_SOCKET && name == SO_ZEROCOPY)))
        return true;
    return judge_carries(fd) != CARRIES_DATAGRAMS;
}

/* --- by destination -------------------------------------------------------------------------- */

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

/* What was noted of the socket; a first datagram that is carried makes it one in our care. */
static struct sockets_datagram take_up(int fd, const struct plan_chain *chain)
{
    struct sockets_datagram d;

    if (!datagram_is_ours(fd, &d)) {
        d = (struct sockets_datagram){.cookie = sockets_cookie(fd), .kind = SOCKETS_LOOSE};
        sockets_put_datagram(d.cookie, SOCKETS_LOOSE, NULL, 0);
    }
    if (chain && d.kind == SOCKETS_LOOSE && !d.opened) {
        datagram_fit(fd, chain);
        sockets_note_opened(d.cookie);
    }
    return d;
}

/* A message that names its destination. */
struct letter {
    int fd, flags;
    const struct msghdr *m;
    struct vd_endpoint given;
    struct target target;
    enum way way;
};

static ssize_t send_letter(const struct letter *l)
{
    struct sockets_datagram d = take_up(l->fd, l->way == WAY_CHAIN ? l->target.route.chain : NULL);
    const struct sockaddr *to = l->m->msg_name;
    struct sockaddr_storage server;
    socklen_t len;

    if (d.shut)
        return hook_fail(EPIPE);
    if (l->way == WAY_NAMES) {
        d.len = 0; /* this time it is not the one that the socket is connected to */
        len = addr_write(&server, to->sa_family == AF_INET6 ? AF_INET6 : AF_INET, &l->given.ip,
                         l->given.port);
        return answer(l->fd, &d, (struct sockaddr *)&server, len, l->m, l->flags);
    }
    if (d.kind == SOCKETS_LOOSE)
        origins_note(d.cookie, &l->given);
    return carry(l->fd, d.cookie, &l->target, l->m, l->flags);
}

/* What to do with it. */
enum fate { PASSES, CONNECTS, FAILS /* with errno */, TAKEN /* by send_letter */ };

static enum fate fate_of_datagram(struct letter *l, enum carries carries)
{
    int way;

    if (!read_destination(&l->given, l->m->msg_name, l->m->msg_namelen))
        return PASSES; /* the kernel will not take it either */
    if (!hook_ready()) {
        errno = ENETUNREACH;
        return FAILS;
    }
    way = judge_datagram(&l->target, &l->given, carries);
    if (way == WAY_DIRECT)
        return PASSES;
    l->way = (enum way)way;
    if (way >= 0)
        return TAKEN;
    errno = -way;
    return FAILS;
}

static enum fate fate_of(struct letter *l, enum carries carries)
{
    if (!l->m->msg_name || !hook_is_readable(l->m->msg_name, l->m->msg_namelen))
        return PASSES;
    if (carries == CARRIES_NOTHING_OF_OURS)
        return PASSES;
    if (carries == CARRIES_STREAM)
        return l->flags & MSG_FASTOPEN ? CONNECTS : PASSES;
    return fate_of_datagram(l, carries);
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
    return flags & MSG_FASTOPEN && addr && judge_carries(fd) == CARRIES_STREAM;
}

/* Whatever has no address goes where the socket is connected. */
static bool is_unnamed_of_ours(int fd, const void *addr, struct sockets_datagram *d)
{
    return !addr && datagram_is_ours(fd, d);
}

static ssize_t send_named(int fd, const struct msghdr *m, int flags)
{
    struct letter l = {.fd = fd, .flags = flags, .m = m};
    struct msghdr unnamed;

    switch (fate_of(&l, judge_carries(fd))) {
    case PASSES:
        return sys.sendmsg(fd, m, flags);
    case CONNECTS:
        if (fast_open(fd, m->msg_name, m->msg_namelen) < 0)
            return -1;
        unnamed = *m;
        unnamed.msg_name = NULL;
        unnamed.msg_namelen = 0;
        return sys.sendmsg(fd, &unnamed, flags & ~MSG_FASTOPEN);
    case TAKEN:
        return send_letter(&l);
    case FAILS:
        break;
    }
    return -1;
}

SLOW ssize_t sendto_slowly(int fd, const void *data, size_t len, int flags,
                           const struct sockaddr *addr, socklen_t addr_len)
{
    struct iovec part = {(void *)data, len};
    struct msghdr m = {
        .msg_name = (void *)addr, .msg_namelen = addr_len, .msg_iov = &part, .msg_iovlen = 1};
    struct sockets_datagram d;

    if (is_unnamed_of_ours(fd, addr, &d))
        return datagram_send(fd, &d, &m, flags);
    if (!is_fast_open(fd, addr, flags) && !io_sends(fd, flags))
        return -1;
    if (!hook_is_readable(addr, addr_len))
        return sys.sendto(fd, data, len, flags, addr, addr_len);
    return send_named(fd, &m, flags);
}

HOOK ssize_t sendto(int fd, const void *data, size_t len, int flags, const struct sockaddr *addr,
                    socklen_t addr_len)
{
    return !addr && io_is_plain(fd) ? sys.sendto(fd, data, len, flags, addr, addr_len)
                                    : sendto_slowly(fd, data, len, flags, addr, addr_len);
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

    if (!message || !message->msg_control)
        return;
    datagram_before_pass(message);
    if (!pending_any())
        return;
    m = *message;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
            settle_rights(c);
}

SLOW ssize_t sendmsg_slowly(int fd, const struct msghdr *message, int flags)
{
    struct sockets_datagram d;

    settle_passed(message);
    if (message && is_unnamed_of_ours(fd, message->msg_name, &d))
        return datagram_send(fd, &d, message, flags);
    if (!(message && is_fast_open(fd, message->msg_name, flags)) && !io_sends(fd, flags))
        return -1;
    if (!message || !hook_is_readable(message->msg_name, message->msg_namelen))
        return sys.sendmsg(fd, message, flags);
    return send_named(fd, message, flags);
}

HOOK ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    return message && !message->msg_name && !message->msg_control && io_is_plain(fd)
               ? sys.sendmsg(fd, message, flags)
               : sendmsg_slowly(fd, message, flags);
}

/* How many messages from the first on the kernel may have as they are. If that ends before `count`
 * *fate says why. */
static unsigned count_passing(struct letter *l, const struct mmsghdr *messages, unsigned count,
                              enum carries carries, enum fate *fate)
{
    struct sockets_datagram d;
    unsigned i = 0;

    for (; i < count; i++) {
        l->m = &messages[i].msg_hdr;
        settle_passed(l->m);
        *fate = is_unnamed_of_ours(l->fd, l->m->msg_name, &d) ? CONNECTS : fate_of(l, carries);
        if (*fate != PASSES)
            break;
    }
    return i;
}

/* Sends what passes, and one message that does not; how many were sent, or -1. */
static int send_some(int fd, struct mmsghdr *messages, unsigned count, int flags,
                     enum carries carries)
{
    struct letter l = {.fd = fd, .flags = flags};
    enum fate fate = PASSES;
    unsigned passing = count_passing(&l, messages, count, carries, &fate);
    ssize_t n;

    if (passing > 0)
        return sys.sendmmsg(fd, messages, passing, flags);
    if (fate == FAILS)
        return -1;
    n = fate == TAKEN ? send_letter(&l) : sendmsg(fd, &messages[0].msg_hdr, flags);
    if (n < 0)
        return -1;
    messages[0].msg_len = (unsigned)n;
    return 1;
}

HOOK int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
    enum carries carries = judge_carries(fd);
    unsigned sent = 0;

    if (!io_sends(fd, flags))
        return -1;
    if (!messages || !count || carries == CARRIES_NOTHING_OF_OURS)
        return sys.sendmmsg(fd, messages, count, flags);
    while (sent < count) {
        int n = send_some(fd, messages + sent, count - sent, flags, carries);

        if (n <= 0)
            return sent ? (int)sent : n;
        sent += (unsigned)n;
    }
    return (int)sent;
}
