/*
 * c-ares has its connections to name servers made here, as tunnels through an upstream chain. A
 * tunnel's socket is only known when its dial is over, but c-ares wants a descriptor at once: it
 * gets one that is connected to nothing, and the socket takes its place (dup3) when it is there.
 *
 *     asocket ──aconnect──> DIALLING ──done──> STANDS: c-ares reads and writes it
 *                               └──failed, or late──> FAILED: c-ares is told to look, and gets the
 *                                                     error by what it tries
 *
 * What c-ares wants to hear of a tunnel is kept until it stands. A dial may be over at once, inside
 * c-ares, which is told by a task of the loop then.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "daemon/resolve_state.h"
#include "daemon/tls.h"
#include "proto/err.h"

enum { TUNNELS_MAX = 4, LATE_MS = 20000 };

struct resolve_tunnel {
    struct resolve_tunnel *next;
    struct resolve_channel *channel;
    int fd; /* as c-ares knows it */
    bool stands;
    int number;      /* failed: an errno; else 0 */
    uint32_t events; /* what c-ares wants to hear when it stands */
    struct vd_endpoint server;
    struct loop_timer late;
    struct loop_task tell;
    struct tls *tls; /* it has the other end, if a hop speaks TLS */
    struct dial dial;
};

static struct loop *loop_of(const struct resolve_tunnel *t)
{
    return resolve_cares_owner(t->channel)->loop;
}

static struct resolve_tunnel *find(struct resolve_channel *c, int fd)
{
    struct resolve_tunnel *t = *resolve_cares_tunnels(c);
    while (t && t->fd != fd)
        t = t->next;
    return t;
}

bool resolve_chain_defer(struct resolve_channel *c, int fd, uint32_t events)
{
    struct resolve_tunnel *t = find(c, fd);
    if (!t || t->stands)
        return false;
    t->events = events;
    return true;
}

/* --- the dial -------------------------------------------------------------------------------- */

static void on_tell(struct loop_task *task)
{
    struct resolve_tunnel *t = loop_owner(task, struct resolve_tunnel, tell);
    resolve_cares_process(t->channel, t->fd, ARES_SOCKET_BAD);
}

/* Kept for those who get no answer for it. */
static void note(struct resolve_tunnel *t, int err)
{
    struct resolver *r = resolve_cares_owner(t->channel);
    r->said_err = t->dial.said_err ? t->dial.said_err : err;
    r->said_len = t->dial.said_len;
    memcpy(r->said, t->dial.said, r->said_len);
}

static void fail(struct resolve_tunnel *t, int err, int number)
{
    note(t, err);
    t->number = number;
    loop_timer_stop(loop_of(t), &t->late);
    loop_later(loop_of(t), &t->tell);
}

static void on_dialled(struct dial *dial, int err)
{
    struct resolve_tunnel *t = loop_owner(dial, struct resolve_tunnel, dial);
    if (err != VD_OK) {
        fail(t, err, ECONNREFUSED);
        return;
    }
    if (dup3(dial->io.fd, t->fd, O_CLOEXEC) < 0) {
        fail(t, VD_ERR_BUSY, ECONNREFUSED);
        return;
    }
    loop_close(loop_of(t), &dial->io);
    t->tls = dial->tls;
    dial->tls = NULL;
    loop_timer_stop(loop_of(t), &t->late);
    resolve_cares_owner(t->channel)->said_err = VD_OK;
    t->stands = true;
    resolve_cares_watch(t->channel, t->fd, t->events);
}

static void on_late(struct loop_timer *timer)
{
    struct resolve_tunnel *t = loop_owner(timer, struct resolve_tunnel, late);
    int err = dial_timed_out(&t->dial);
    dial_stop(&t->dial);
    fail(t, err, ETIMEDOUT);
}

/* --- what c-ares calls ----------------------------------------------------------------------- */

static struct resolve_tunnel *new_tunnel(struct resolve_channel *c)
{
    struct resolve_tunnel **all = resolve_cares_tunnels(c);
    unsigned count = 0;
    for (const struct resolve_tunnel *t = *all; t; t = t->next)
        count++;
    struct resolve_tunnel *t = count < TUNNELS_MAX ? calloc(1, sizeof *t) : NULL;
    if (!t)
        return NULL;
    t->channel = c;
    t->late.fire = on_late;
    t->tell.run = on_tell;
    dial_init(&t->dial, resolve_cares_owner(c)->setup.through);
    t->dial.done = on_dialled;
    t->dial.may_reach = dial_reach_all;
    return t;
}

/* Datagrams would leave this machine by themselves. */
static ares_socket_t make_socket(int family, int type, int protocol, void *data)
{
    struct resolve_tunnel **all = resolve_cares_tunnels(data);
    struct resolve_tunnel *t = type == SOCK_STREAM ? new_tunnel(data) : NULL;
    (void)family, (void)protocol;
    if (!t) {
        errno = type == SOCK_STREAM ? EMFILE : EAFNOSUPPORT;
        return ARES_SOCKET_BAD;
    }
    t->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (t->fd < 0) {
        free(t);
        return ARES_SOCKET_BAD;
    }
    t->next = *all;
    *all = t;
    return t->fd;
}

static int close_socket(ares_socket_t fd, void *data)
{
    struct resolve_tunnel **at = resolve_cares_tunnels(data);
    while (*at && (*at)->fd != fd)
        at = &(*at)->next;
    struct resolve_tunnel *t = *at;
    if (!t)
        return -1;
    *at = t->next;
    loop_task_stop(loop_of(t), &t->tell);
    loop_timer_stop(loop_of(t), &t->late);
    dial_stop(&t->dial);
    close(t->fd);
    tls_end(t->tls, TLS_IN_ORDER);
    free(t);
    return 0;
}

static int connect_socket(ares_socket_t fd, const struct sockaddr *to, ares_socklen_t len,
                          void *data)
{
    struct resolve_tunnel *t = find(data, fd);
    struct net_addr addr = {0};
    if (!t || len > sizeof addr) {
        errno = EINVAL;
        return -1;
    }
    memcpy(&addr, to, len);
    struct vd_ip ip = net_addr_ip(&addr);
    vd_endpoint_set_ip(&t->server, &ip, net_addr_port(&addr));
    loop_timer_in(loop_of(t), &t->late, LATE_MS);
    dial_start(&t->dial, resolve_cares_owner(t->channel)->setup.via, &t->server);
    errno = EINPROGRESS;
    return -1;
}

/* NULL, with errno: nothing can be moved now, or any more. */
static struct resolve_tunnel *standing(int fd, void *data)
{
    struct resolve_tunnel *t = find(data, fd);
    if (t && t->stands)
        return t;
    errno = t && !t->number ? EAGAIN : t ? t->number : EBADF;
    return NULL;
}

static ares_ssize_t receive(ares_socket_t fd, void *to, size_t len, int flags,
                            struct sockaddr *from, ares_socklen_t *from_len, void *data)
{
    (void)from, (void)from_len;
    return standing(fd, data) ? recv(fd, to, len, flags) : -1;
}

static ares_ssize_t send_all(ares_socket_t fd, const struct iovec *parts, int count, void *data)
{
    struct msghdr message = {.msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)count};
    return standing(fd, data) ? sendmsg(fd, &message, MSG_NOSIGNAL) : -1;
}

void resolve_chain_use(ares_channel ares, struct resolve_channel *c)
{
    static const struct ares_socket_functions functions = {.asocket = make_socket,
                                                           .aclose = close_socket,
                                                           .aconnect = connect_socket,
                                                           .arecvfrom = receive,
                                                           .asendv = send_all};
    ares_set_socket_functions(ares, &functions, c);
}
