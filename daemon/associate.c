/*
 * One socket faces the client, at the address where its connection arrived; one per family of
 * addresses faces all targets, so that a client has one port for all the world (RFC 4787: endpoint-
 * independent mapping) and may be called back through it.
 *
 *     client ──header, data──> client socket ──data──> out socket ──> target
 *                │ from the client's address, and then from one port only
 *                │ FRAG 0, a target that rules and guard allow; names: associate_names.c
 *
 *     client <──header, data── client socket <──data── out socket <── target
 *                                   │ whom the client has sent to (udp_filter)
 *
 * What is not so is counted and dropped, and so is what a socket does not take: these are
 * datagrams. No error of sending or receiving one ends anything.
 *
 * Datagrams are received, BATCH at a time, into the worker's buffer and sent from there in the same
 * call; a header towards the client is written into the room before the data. Sockets are watched
 * by level: what is left is for the next turn, after others had theirs.
 */
#include "daemon/associate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/err.h"
#include "proto/udp.h"

enum {
    BATCH = 16,
    HEADROOM = 32, /* for VD_UDP_HEADER_IPV6 */
    DATAGRAM = 65536,
    SLOT = HEADROOM + DATAGRAM,
    SOCKET_BUFFER = 1 << 20
};

struct associate_batch {
    struct mmsghdr in[BATCH], out[BATCH];
    struct iovec in_iov[BATCH], out_iov[BATCH];
    struct net_addr in_addr[BATCH], out_addr[BATCH];
    unsigned pending; /* of `out` */
    int fd;           /* where they go */
    struct associate_count *counts;
    size_t header; /* of what is pending: not counted */
    uint8_t data[BATCH][SLOT];
};

/* --- sending --- */

static void account(struct associate *a, const struct associate_batch *b, unsigned at, unsigned n)
{
    for (unsigned i = at; i < at + n; i++)
        b->counts->bytes += b->out_iov[i].iov_len - b->header;
    b->counts->datagrams += n;
    a->last_ms = a->loop->now_ms;
}

/* An error belongs to the first datagram, or to one that was sent long ago: a connected socket
 * tells of those with ECONNREFUSED, once. A full socket takes none of the rest. */
void associate_flush(struct associate *a)
{
    struct associate_batch *b = a->batch;
    unsigned at = 0;
    bool again = true;
    while (at < b->pending) {
        int n = sendmmsg(b->fd, b->out + at, b->pending - at, MSG_NOSIGNAL);
        if (n > 0) {
            account(a, b, at, (unsigned)n);
            at += (unsigned)n;
            again = true;
            continue;
        }
        if (errno == ECONNREFUSED && again) {
            again = false;
            continue;
        }
        unsigned lost = errno == EAGAIN ? b->pending - at : 1;
        a->dropped += lost;
        at += lost;
    }
    b->pending = 0;
}

/* `to` NULL: where the socket is connected to. */
static void queue(struct associate *a, int fd, const struct net_addr *to, const uint8_t *data,
                  size_t len, size_t header)
{
    struct associate_batch *b = a->batch;
    if (b->pending == BATCH || (b->pending > 0 && b->fd != fd))
        associate_flush(a);
    unsigned i = b->pending++;
    b->fd = fd;
    b->header = header;
    b->counts = fd == a->client.fd ? &a->down : &a->up;
    b->out_iov[i] = (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    b->out[i].msg_hdr = (struct msghdr){.msg_iov = &b->out_iov[i], .msg_iovlen = 1};
    if (!to)
        return;
    b->out_addr[i] = *to;
    b->out[i].msg_hdr.msg_name = &b->out_addr[i];
    b->out[i].msg_hdr.msg_namelen = net_addr_len(to);
}

/* --- receiving --- */

static void prepare(struct associate_batch *b)
{
    for (unsigned i = 0; i < BATCH; i++) {
        b->in_iov[i] = (struct iovec){.iov_base = b->data[i] + HEADROOM, .iov_len = DATAGRAM};
        b->in[i].msg_hdr = (struct msghdr){.msg_iov = &b->in_iov[i],
                                           .msg_iovlen = 1,
                                           .msg_name = &b->in_addr[i],
                                           .msg_namelen = sizeof b->in_addr[i]};
    }
}

/* How many came. An error kept in the socket is taken by asking. */
static unsigned receive(struct associate *a, int fd)
{
    prepare(a->batch);
    int n = recvmmsg(fd, a->batch->in, BATCH, MSG_DONTWAIT, NULL);
    return n > 0 ? (unsigned)n : 0;
}

/* --- sockets --- */

/* Bound to `at`, or, if that has no address, to none. -1 with errno. */
static int open_socket(struct associate *a, struct loop_io *io, const struct net_addr *at)
{
    static const int on = 1, size = SOCKET_BUFFER;
    int fd = socket(at->any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (at->any.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    io->fd = fd;
    if (bind(fd, &at->any, net_addr_len(at)) == 0 && loop_watch(a->loop, io, EPOLLIN) == 0)
        return 0;
    int number = errno;
    close(fd);
    io->fd = -1;
    errno = number;
    return -1;
}

static int out_socket(struct associate *a, int family)
{
    struct loop_io *io = &a->out[family == AF_INET6];
    if (io->fd < 0) {
        struct net_addr any = {.any.sa_family = (sa_family_t)family};
        open_socket(a, io, &any);
    }
    return io->fd;
}

/* --- client to target --- */

static bool is_client(const struct associate *a, const struct net_addr *from)
{
    struct vd_ip ip = net_addr_ip(from), want = net_addr_ip(&a->from);
    uint16_t port = net_addr_port(&a->from);
    return vd_ip_same(&ip, &want) && (port == 0 || port == net_addr_port(from));
}

/* The port of the first good datagram is the client's from there on. */
static void pin(struct associate *a, const struct net_addr *from)
{
    if (a->connected)
        return;
    a->from = *from;
    a->connected = connect(a->client.fd, &from->any, net_addr_len(from)) == 0;
}

void associate_send(struct associate *a, const struct net_addr *to, const uint8_t *data, size_t len)
{
    int fd = out_socket(a, to->any.sa_family);
    struct vd_ip ip = net_addr_ip(to);
    if (fd < 0) {
        a->dropped++;
        return;
    }
    contacts_add(&a->contacts, &ip, net_addr_port(to));
    queue(a, fd, to, data, len, 0);
}

static void take_from_client(struct associate *a, const struct net_addr *from, const uint8_t *data,
                             size_t len)
{
    struct vd_udp_header h;
    if (!is_client(a, from) || vd_udp_read(&h, data, len) < 0 || h.frag != 0 || h.at.port == 0) {
        a->dropped++;
        return;
    }
    pin(a, from);
    if (vd_endpoint_is_name(&h.at)) {
        associate_send_to_name(a, &h.at, data + h.len, len - h.len);
        return;
    }
    if (!a->may_send(a, &h.at, &h.at.ip)) {
        a->dropped++;
        return;
    }
    struct net_addr to;
    net_addr_set(&to, &h.at.ip, h.at.port);
    associate_send(a, &to, data + h.len, len - h.len);
}

static void on_client(struct loop_io *io, uint32_t events)
{
    struct associate *a = loop_owner(io, struct associate, client);
    struct associate_batch *b = a->batch;
    unsigned n = receive(a, io->fd);
    (void)events;
    for (unsigned i = 0; i < n; i++)
        take_from_client(a, &b->in_addr[i], b->data[i] + HEADROOM, b->in[i].msg_len);
    associate_flush(a);
}

/* --- target to client --- */

static bool may_enter(const struct associate *a, const struct vd_ip *ip, uint16_t port)
{
    switch (a->filter) {
    case VD_UDP_HOST:
        return contacts_has(&a->contacts, ip, 0);
    case VD_UDP_PORT:
        return contacts_has(&a->contacts, ip, port);
    case VD_UDP_ANY:
        break;
    }
    return true;
}

static void take_from_target(struct associate *a, const struct net_addr *from, uint8_t *data,
                             size_t len)
{
    struct vd_ip ip = net_addr_ip(from);
    struct vd_endpoint at;
    vd_endpoint_set_ip(&at, &ip, net_addr_port(from));
    if (net_addr_port(&a->from) == 0 || !may_enter(a, &ip, at.port)) {
        a->dropped++;
        return;
    }
    size_t header = vd_udp_header_len(&at);
    struct vd_out out = vd_out_over(data - header, header);
    vd_udp_write(&out, &at);
    queue(a, a->client.fd, a->connected ? NULL : &a->from, data - header, header + len, header);
}

static void take_all_from_targets(struct associate *a, int fd)
{
    struct associate_batch *b = a->batch;
    unsigned n = receive(a, fd);
    for (unsigned i = 0; i < n; i++)
        take_from_target(a, &b->in_addr[i], b->data[i] + HEADROOM, b->in[i].msg_len);
    associate_flush(a);
}

static void on_target4(struct loop_io *io, uint32_t events)
{
    (void)events;
    take_all_from_targets(loop_owner(io, struct associate, out[0]), io->fd);
}

static void on_target6(struct loop_io *io, uint32_t events)
{
    (void)events;
    take_all_from_targets(loop_owner(io, struct associate, out[1]), io->fd);
}

/* --- beginning and end --- */

struct associate *associate_new(struct loop *loop, struct resolver *resolver,
                                struct associate_batch **batch)
{
    if (!*batch)
        *batch = calloc(1, sizeof **batch);
    struct associate *a = *batch ? calloc(1, sizeof *a) : NULL;
    if (!a)
        return NULL;
    a->loop = loop;
    a->resolver = resolver;
    a->batch = *batch;
    a->client = (struct loop_io){.fd = -1, .ready = on_client};
    a->out[0] = (struct loop_io){.fd = -1, .ready = on_target4};
    a->out[1] = (struct loop_io){.fd = -1, .ready = on_target6};
    return a;
}

int associate_start(struct associate *a, struct net_addr *local, const struct net_addr *from)
{
    struct vd_ip ip = net_addr_ip(local);
    struct net_addr at = *local;
    if (at.any.sa_family == AF_INET6)
        at.in6.sin6_port = 0;
    else
        net_addr_set(&at, &ip, 0);
    a->from = *from;
    a->last_ms = a->loop->now_ms;
    if (open_socket(a, &a->client, &at) != 0)
        return net_err(errno);
    net_addr_local(local, a->client.fd);
    return VD_OK;
}

void associate_free(struct associate *a)
{
    if (!a)
        return;
    associate_forget_names(a);
    loop_close(a->loop, &a->client);
    loop_close(a->loop, &a->out[0]);
    loop_close(a->loop, &a->out[1]);
    free(a);
}

void associate_batch_free(struct associate_batch *batch)
{
    free(batch);
}
