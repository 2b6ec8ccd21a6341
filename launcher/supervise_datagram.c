/*
 * Datagram sockets of the program.
 *
 *     direct     the kernel's call, made here
 *     names      the program's socket is exchanged for one in the room (supervise_room.h), where
 *                name servers answer that are ours; without a room a connected one is connected to
 *                one of ours on loopback
 *     the chain  the same exchange; who answers there is supervise_relay.h
 *     refused    sending fails. connect() succeeds, as programs use it to learn their own address:
 *                the socket is connected to that very address, port 9, where nobody hears it
 *
 * A socket is exchanged while its owner waits in the call that makes it necessary. Whoever has
 * copied the descriptor before keeps the old one, which is connected to nobody.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/addr.h"
#include "client/judge.h"
#include "client/say.h"
#include "client/session.h"
#include "client/sockets.h"
#include "launcher/supervise.h"
#include "launcher/supervise_names.h"
#include "launcher/supervise_origin.h"
#include "launcher/supervise_relay.h"
#include "launcher/supervise_room.h"
#include "proto/dns.h"

enum { DISCARD = 9 };

static int result(int r)
{
    return r < 0 ? -errno : r;
}

/* --- exchanging ------------------------------------------------------------------------------ */

/* Whether the caller's descriptor is closed by exec. */
static bool closes_on_exec(const struct supervise_call *c)
{
    char path[64], text[512];
    const char *flags;
    unsigned value = 0;
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", (int)c->thread, (int)c->args[0]);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    flags = strstr(text, "flags:\t");
    if (!flags || sscanf(flags + 7, "%o", &value) != 1)
        return true;
    return value & O_CLOEXEC;
}

/* Puts the socket into the room, if it is not there. false: that cannot be. */
static bool move_in(struct supervise_call *c, struct supervise_socket *s)
{
    int fd;

    if (room_has(s->fd))
        return true;
    fd = names_listens() ? room_copy(s) : -1;
    if (fd < 0)
        return false;
    if (!supervise_replace_fd(c, fd, (int)c->args[0], closes_on_exec(c))) {
        close(fd);
        return false;
    }
    close(s->fd);
    s->fd = fd;
    s->cookie = sockets_cookie(fd);
    return true;
}

/* Where there is no room nothing can be carried. Once for a program that repeats itself. */
static int64_t refuse_without_room(const struct vd_endpoint *at)
{
    static struct vd_endpoint last;

    if (!vd_endpoint_same(&last, at))
        say(PLAN_FAILURES, at,
            "UDP is refused: this system lets nobody make a network namespace, in which a "
            "supervised program's could be taken up");
    last = *at;
    return -EACCES;
}

/* --- connecting ------------------------------------------------------------------------------ */

/* Where the kernel would send from, asked by a socket of ours. */
static bool find_source(int domain, const struct sockaddr_storage *addr, socklen_t len,
                        struct sockaddr_storage *own, socklen_t *own_len)
{
    int fd = socket(domain, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && connect(fd, (const struct sockaddr *)addr, len) == 0 &&
              getsockname(fd, (struct sockaddr *)own, own_len) == 0;

    if (fd >= 0)
        close(fd);
    return ok;
}

/* `shown`: the program is told that it is connected to `addr`. */
static int connect_to_nobody(const struct supervise_socket *s, const struct sockaddr_storage *addr,
                             socklen_t len, bool shown)
{
    struct sockaddr_storage own;
    socklen_t own_len = sizeof own;
    int r;

    if (!find_source(s->domain, addr, len, &own, &own_len))
        return -ENETUNREACH;
    ((struct sockaddr_in *)&own)->sin_port = htons(DISCARD);
    r = result(connect(s->fd, (struct sockaddr *)&own, own_len));
    if (r == 0 && shown)
        sockets_put_datagram(s->cookie, SOCKETS_DENIED, (const struct sockaddr *)addr, len);
    return r;
}

static int connect_to_names(struct supervise_call *c, struct supervise_socket *s,
                            const struct sockaddr_storage *addr, socklen_t len)
{
    int r;

    if (move_in(c, s))
        return result(connect(s->fd, (const struct sockaddr *)addr, len));
    r = names_connect_here(s);
    if (r == 0)
        sockets_put_datagram(s->cookie, SOCKETS_NAMES, (const struct sockaddr *)addr, len);
    return r;
}

static int connect_directly(const struct supervise_socket *s, const struct sockaddr_storage *addr,
                            socklen_t len)
{
    int r = result(connect(s->fd, (const struct sockaddr *)addr, len));

    if (r == 0)
        sockets_drop(s->cookie);
    return r;
}

/* What libc connects without sending, or the library to learn its own address, is not said to go
 * anywhere. */
static int connect_with_library(const struct supervise_socket *s, const struct vd_endpoint *given,
                                const struct sockaddr_storage *addr, socklen_t len)
{
    if (origin_may_lead(s, given))
        return result(connect(s->fd, (const struct sockaddr *)addr, len));
    return connect_to_nobody(s, addr, len, false);
}

/* In the room the socket has the address that it would have outside. */
static void take_own_address(const struct supervise_socket *s, const struct sockaddr_storage *addr,
                             socklen_t len)
{
    struct sockaddr_storage own;
    struct vd_endpoint at;
    socklen_t own_len = sizeof own;

    if (getsockname(s->fd, (struct sockaddr *)&own, &own_len) < 0 ||
        !addr_read(&at, (struct sockaddr *)&own, own_len) || at.port != 0)
        return;
    own_len = sizeof own;
    if (!find_source(s->domain, addr, len, &own, &own_len))
        return;
    ((struct sockaddr_in *)&own)->sin_port = 0;
    (void)bind(s->fd, (struct sockaddr *)&own, own_len);
}

static int connect_through(struct supervise_call *c, struct supervise_socket *s,
                           const struct target *t, const struct sockaddr_storage *addr,
                           socklen_t len)
{
    int r;

    if (!move_in(c, s)) {
        refuse_without_room(&t->at);
        return connect_to_nobody(s, addr, len, true);
    }
    take_own_address(s, addr, len);
    r = result(connect(s->fd, (const struct sockaddr *)addr, len));
    return r < 0 ? r : relay_reach(s, addr, len, t);
}

static int judge_and_connect(struct supervise_call *c, struct supervise_socket *s,
                             const struct vd_endpoint *given, const struct sockaddr_storage *addr,
                             socklen_t len)
{
    enum carries carries = judge_carries(s->fd);
    struct target t;
    int way = judge_datagram(&t, given, carries);

    if (way == WAY_DIRECT && !room_has(s->fd))
        return connect_directly(s, addr, len);
    if (way == WAY_NAMES)
        return connect_to_names(c, s, addr, len);
    if (way == WAY_CHAIN || way == WAY_DIRECT)
        return connect_through(c, s, &t, addr, len);
    if (way == -EACCES && carries == CARRIES_DATAGRAMS && t.route.action == PLAN_CHAIN)
        return connect_to_nobody(s, addr, len, true);
    return way;
}

void datagram_connect(struct supervise_call *c, const struct supervise_socket *given_socket,
                      const struct sockaddr_storage *addr, socklen_t len)
{
    struct supervise_socket s = *given_socket;
    struct vd_endpoint given;
    int r;

    addr_read(&given, (const struct sockaddr *)addr, len);
    if (origin_is_system_query(&given))
        r = connect_directly(&s, addr, len);
    else if (origin_has_library(c->thread))
        r = connect_with_library(&s, &given, addr, len);
    else
        r = judge_and_connect(c, &s, &given, addr, len);
    supervise_answer(c, r);
    close(s.fd);
}

/* --- sending --------------------------------------------------------------------------------- */

static int64_t send_as_given(const struct supervise_socket *s, const struct tracee_message *m,
                             int flags)
{
    struct iovec part = {(void *)m->data, m->len};
    struct msghdr head = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t n;

    if (m->name_len) {
        head.msg_name = (void *)&m->name;
        head.msg_namelen = m->name_len;
    }
    if (m->control_len) {
        head.msg_control = (void *)m->control;
        head.msg_controllen = m->control_len;
    }
    n = sendmsg(s->fd, &head, flags | MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

/* Linux takes an address without a family for an IPv4 one when it sends from an IPv4 socket. */
static bool read_destination(struct vd_endpoint *e, const struct tracee_message *m)
{
    struct sockaddr_in in4;

    if (m->name_len < sizeof in4 || m->name.ss_family != AF_UNSPEC)
        return addr_read(e, (const struct sockaddr *)&m->name, m->name_len);
    memcpy(&in4, &m->name, sizeof in4);
    in4.sin_family = AF_INET;
    return addr_read(e, (struct sockaddr *)&in4, sizeof in4);
}

static int64_t send_to_names(struct supervise_call *c, struct supervise_socket *s,
                             const struct tracee_message *m, int flags)
{
    if (move_in(c, s))
        return send_as_given(s, m, flags);
    say(PLAN_FAILURES, NULL,
        "a question for names is refused: this system lets nobody make a network namespace, in "
        "which it could be answered");
    return -EACCES;
}

/* What sends first gets its port before, so that the way back is known. */
static void take_port(const struct supervise_socket *s)
{
    struct sockaddr_in6 any = {.sin6_family = AF_INET6};
    struct sockaddr_storage own;
    struct vd_endpoint at;
    socklen_t len = sizeof own;

    if (getsockname(s->fd, (struct sockaddr *)&own, &len) < 0 ||
        !addr_read(&at, (struct sockaddr *)&own, len) || at.port != 0)
        return;
    any.sin6_family = (sa_family_t)s->domain;
    (void)bind(s->fd, (struct sockaddr *)&any, len);
}

static int64_t send_through(struct supervise_call *c, struct supervise_socket *s,
                            const struct target *t, const struct tracee_message *m, int flags)
{
    int r;

    if (!move_in(c, s))
        return refuse_without_room(&t->at);
    take_port(s);
    r = relay_reach(s, &m->name, m->name_len, t);
    return r < 0 ? r : send_as_given(s, m, flags);
}

static int64_t judge_and_send(struct supervise_call *c, struct supervise_socket *s,
                              const struct vd_endpoint *given, const struct tracee_message *m,
                              int flags)
{
    struct target t;
    int way = judge_datagram(&t, given, judge_carries(s->fd));

    if (way == WAY_DIRECT && !room_has(s->fd))
        return send_as_given(s, m, flags);
    if (way == WAY_NAMES)
        return send_to_names(c, s, m, flags);
    return way < 0 ? way : send_through(c, s, &t, m, flags);
}

int64_t datagram_send(struct supervise_call *c, struct supervise_socket *s,
                      const struct tracee_message *m, int flags)
{
    struct vd_endpoint given;

    if (!m->whole)
        return -EMSGSIZE;
    if (!m->name_len || !read_destination(&given, m))
        return send_as_given(s, m, flags); /* to where it is connected, or nowhere */
    if (origin_is_system_query(&given))
        return send_as_given(s, m, flags);
    if (origin_has_library(c->thread))
        switch (origin_of_datagram(s, &given)) {
        case ORIGIN_PASSES:
        case ORIGIN_SEEN:
            return send_as_given(s, m, flags);
        case ORIGIN_REFUSED:
            return -EACCES;
        case ORIGIN_FOREIGN:
            break;
        }
    return judge_and_send(c, s, &given, m, flags);
}
