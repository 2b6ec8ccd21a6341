/*
 * One socket faces the client, at the address where its connection arrived; one per family of
 * addresses faces all targets, so that a client has one port for all the world (RFC 4787: endpoint-
 * independent mapping) and may be called back through it. Where they leave is egress.h's matter.
 *
 *     client ──header, data──> client socket ──data──> out socket ──> target
 *                │ from the client's address, and then from one port only
 *                │ FRAG 0, a target that rules and guard allow; names: associate_names.c
 *
 *     client <──header, data── client socket <──data── out socket <── target
 *                                   │ whom the client has sent to (udp_filter)
 *
 * With a chain (associate_chain.c) a socket towards the first relay stands in place of the out
 * sockets. Where the client's datagrams were caught (tproxy.c) there is no client socket: they are
 * brought by associate_take and answered by a->answer.
 *
 * What is not so is counted and dropped, and so is what a socket does not take: these are
 * datagrams. No error of sending or receiving one ends anything.
 *
 * Sockets are watched by level: what is left of a batch is for the next turn, after others had
 * theirs.
 */
#include "daemon/associate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/associate_chain.h"
#include "proto/err.h"
#include "proto/udp.h"

enum { SOCKET_BUFFER = 1 << 20 };

/* --- sockets --- */

static int new_socket(int family)
{
    static const int on = 1, size = SOCKET_BUFFER;
    int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    return fd;
}

static int give_up(struct loop_io *io)
{
    int number = errno;
    if (io->fd >= 0)
        close(io->fd);
    io->fd = -1;
    errno = number;
    return -1;
}

int associate_socket(struct associate *a, struct loop_io *io, const struct net_addr *at)
{
    io->fd = new_socket(at->any.sa_family);
    bool ok = io->fd >= 0 && bind(io->fd, &at->any, net_addr_len(at)) == 0 &&
              loop_watch(a->loop, io, EPOLLIN) == 0;
    return ok ? 0 : give_up(io);
}

enum egress_fault associate_out(struct associate *a, struct loop_io *io, int family,
                                const struct net_addr *at)
{
    bool known = at->any.sa_family;
    io->fd = new_socket(family);
    if (io->fd < 0)
        return EGRESS_FINE;
    enum egress_fault fault =
        known ? egress_tie(&a->egress, io->fd) : egress_bind(&a->egress, io->fd, family);
    if (fault != EGRESS_FINE || (known && bind(io->fd, &at->any, net_addr_len(at)) != 0) ||
        loop_watch(a->loop, io, EPOLLIN) != 0)
        give_up(io);
    return fault;
}

static enum egress_fault open_out(struct associate *a, int family)
{
    static const struct net_addr unsaid;
    struct loop_io *io = &a->out[family == AF_INET6];
    return io->fd < 0 ? associate_out(a, io, family, &unsaid) : EGRESS_FINE;
}

int associate_leave(struct associate *a, struct vd_out *out)
{
    static const enum vd_family families[] = {VD_IPV4, VD_IPV6};
    int err = VD_OK;
    bool any = !vd_conf_egress_has_source(a->egress.force.source);
    for (unsigned i = 0; !any && i < 2; i++) {
        if (!egress_uses(&a->egress, families[i]))
            continue;
        enum egress_fault fault = open_out(a, families[i] == VD_IPV6 ? AF_INET6 : AF_INET);
        any |= a->out[i].fd >= 0;
        err = fault != EGRESS_FINE ? VD_ERR_FAILED : net_err(errno);
        if (fault != EGRESS_FINE && !any && out->len == 0)
            egress_explain(&a->egress, out, fault, families[i], errno);
    }
    return any ? VD_OK : err;
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

static void send_directly(struct associate *a, const struct vd_endpoint *target,
                          const uint8_t *data, size_t len)
{
    struct net_addr to;
    net_addr_set(&to, &target->ip, target->port);
    struct loop_io *io = &a->out[to.any.sa_family == AF_INET6];
    if (egress_uses(&a->egress, target->ip.family))
        open_out(a, to.any.sa_family);
    if (io->fd < 0)
        a->dropped++;
    else
        batch_add(a->batch, io->fd, &a->up,
                  &(struct batch_out){.to = &to, .data = data, .len = len});
}

void associate_send(struct associate *a, const struct vd_endpoint *target, const uint8_t *data,
                    size_t len)
{
    struct vd_ip none = {.family = VD_NO_IP};
    if (a->may_pass && !a->may_pass(a, true, len)) {
        a->dropped++;
        return;
    }
    if (a->filter != VD_UDP_ANY)
        contacts_add(&a->contacts, vd_endpoint_is_name(target) ? &none : &target->ip, target->port);
    if (a->chain)
        associate_chain_send(a->chain, target, data, len);
    else
        send_directly(a, target, data, len);
}

void associate_take(struct associate *a, const struct vd_endpoint *target, const uint8_t *data,
                    size_t len)
{
    bool by_name = vd_endpoint_is_name(target);
    if (by_name && !(a->chain && associate_chain_takes_names(a->chain)))
        associate_send_to_name(a, target, data, len);
    else if (a->may_send(a, target, by_name ? NULL : &target->ip))
        associate_send(a, target, data, len);
    else
        a->dropped++;
}

static void take_from_client(struct associate *a, const struct batch_in *in)
{
    struct vd_udp_header h;
    if (!is_client(a, in->from) || vd_udp_read(&h, in->data, in->len) < 0 || h.frag != 0 ||
        h.at.port == 0) {
        a->dropped++;
        return;
    }
    pin(a, in->from);
    associate_take(a, &h.at, in->data + h.len, in->len - h.len);
}

static void on_client(struct loop_io *io, uint32_t events)
{
    struct associate *a = loop_owner(io, struct associate, client);
    unsigned n = batch_receive(a->batch, io->fd);
    (void)events;
    for (unsigned i = 0; i < n; i++) {
        struct batch_in in = batch_get(a->batch, i);
        take_from_client(a, &in);
    }
    batch_flush(a->batch);
}

/* --- target to client --- */

/* Whom a hop asked by name nobody here knows: that hop lets in whom it likes. */
static bool may_enter(const struct associate *a, const struct vd_endpoint *from)
{
    struct vd_ip none = {.family = VD_NO_IP};
    uint16_t port = a->filter == VD_UDP_PORT ? from->port : 0;
    if (a->filter == VD_UDP_ANY)
        return true;
    return contacts_has(&a->contacts, &none, port) ||
           (!vd_endpoint_is_name(from) && contacts_has(&a->contacts, &from->ip, port));
}

/* The header is written into the room before the data: there is the buffer's, or a relay's header
 * that said the same. */
static bool answer(struct associate *a, const struct vd_endpoint *from, uint8_t *data, size_t len)
{
    size_t header = vd_udp_header_len(from);
    struct vd_out out = vd_out_over(data - header, header);
    if (net_addr_port(&a->from) == 0)
        return false;
    vd_udp_write(&out, from);
    batch_add(a->batch, a->client.fd, &a->down,
              &(struct batch_out){.to = a->connected ? NULL : &a->from,
                                  .data = data - header,
                                  .len = header + len,
                                  .header = header});
    return true;
}

void associate_give(struct associate *a, const struct vd_endpoint *from, uint8_t *data, size_t len)
{
    bool may = may_enter(a, from) && (!a->may_pass || a->may_pass(a, false, len));
    if (!may || !(a->answer ? a->answer : answer)(a, from, data, len))
        a->dropped++;
}

static void take_from_targets(struct associate *a, int fd)
{
    unsigned n = batch_receive(a->batch, fd);
    for (unsigned i = 0; i < n; i++) {
        struct batch_in in = batch_get(a->batch, i);
        struct vd_ip ip = net_addr_ip(in.from);
        struct vd_endpoint from;
        vd_endpoint_set_ip(&from, &ip, net_addr_port(in.from));
        associate_give(a, &from, in.data, in.len);
    }
    batch_flush(a->batch);
}

static void on_target4(struct loop_io *io, uint32_t events)
{
    (void)events;
    take_from_targets(loop_owner(io, struct associate, out[0]), io->fd);
}

static void on_target6(struct loop_io *io, uint32_t events)
{
    (void)events;
    take_from_targets(loop_owner(io, struct associate, out[1]), io->fd);
}

/* --- what waits --- */

bool associate_hold(struct associate_held *held, const void *head, size_t head_len,
                    const uint8_t *data, size_t len)
{
    if (!held->bytes)
        held->bytes = malloc(ASSOCIATE_HELD);
    if (!held->bytes || ASSOCIATE_HELD - held->len < head_len + len)
        return false;
    memcpy(held->bytes + held->len, head, head_len);
    if (len > 0)
        memcpy(held->bytes + held->len + head_len, data, len);
    held->len += head_len + len;
    return true;
}

void associate_drop_held(struct associate_held *held)
{
    free(held->bytes);
    *held = (struct associate_held){.bytes = NULL};
}

/* --- beginning and end --- */

struct associate *associate_new(struct loop *loop, struct resolver *resolver, struct batch **batch)
{
    if (!*batch)
        *batch = batch_new(loop);
    struct associate *a = *batch ? calloc(1, sizeof *a) : NULL;
    if (!a)
        return NULL;
    a->loop = loop;
    a->resolver = resolver;
    a->batch = *batch;
    a->began_ms = loop->now_ms;
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
    if (associate_socket(a, &a->client, &at) != 0)
        return net_err(errno);
    net_addr_local(local, a->client.fd);
    return local->any.sa_family == AF_UNSPEC ? net_err(errno) : VD_OK;
}

int64_t associate_last_ms(const struct associate *a)
{
    int64_t last = a->up.last_ms > a->down.last_ms ? a->up.last_ms : a->down.last_ms;
    return last > a->began_ms ? last : a->began_ms;
}

uint64_t associate_dropped(const struct associate *a)
{
    return a->dropped + a->up.lost + a->down.lost;
}

void associate_free(struct associate *a)
{
    if (!a)
        return;
    associate_forget_names(a);
    associate_chain_free(a->chain);
    contacts_free(&a->contacts);
    loop_close(a->loop, &a->client);
    loop_close(a->loop, &a->out[0]);
    loop_close(a->loop, &a->out[1]);
    free(a);
}
