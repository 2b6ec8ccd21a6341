/*
 * The datagrams of an association through a chain.
 *
 *     client ──data──> | to R2 | ... | to the target | data ──> R1 ──> R2 ──> ... ──> target
 *
 * The relay of the first hop is spoken to by one connected socket, so that the kernel lets nobody
 * else in, from the address that the control connection has: hops look at that. It tells too when
 * nobody listens at the relay's address any more, which is as good as a connection's end. The
 * headers for the relays behind it (`prefix`) are the same for all datagrams.
 *
 * Until the chain stands datagrams are held, one behind the other, and sent in order then; what
 * does not fit is dropped.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/associate_state.h"
#include "proto/err.h"

/* --- datagrams --- */

struct held {
    struct vd_endpoint target;
    uint32_t len;
};

static void send_on(struct associate_chain *c, const struct vd_endpoint *target,
                    const uint8_t *data, size_t len)
{
    uint8_t head[BATCH_HEAD];
    struct vd_out out = vd_out_over(head, sizeof head);
    vd_out_bytes(&out, c->prefix, c->prefix_len);
    vd_udp_write(&out, target);
    batch_add(c->a->batch, c->relay.fd, &c->a->up,
              &(struct batch_out){.head = head, .head_len = out.len, .data = data, .len = len});
}

void associate_chain_send(struct associate_chain *c, const struct vd_endpoint *target,
                          const uint8_t *data, size_t len)
{
    struct held head = {.target = *target, .len = (uint32_t)len};
    if (c->up && c->a->up.refused)
        associate_chain_end_soon(c);
    if (c->up)
        send_on(c, target, data, len);
    else if (!c->dials || !associate_hold(&c->held, &head, sizeof head, data, len))
        c->a->dropped++;
}

void associate_relay_begin(struct associate_chain *c)
{
    struct held head;
    for (size_t at = 0; at < c->held.len; at += sizeof head + head.len) {
        memcpy(&head, c->held.bytes + at, sizeof head);
        send_on(c, &head.target, c->held.bytes + at + sizeof head, head.len);
    }
    batch_flush(c->a->batch);
    associate_drop_held(&c->held);
}

static void take_from_relay(struct associate_chain *c, const struct batch_in *in)
{
    struct vd_endpoint from;
    size_t payload;
    if (vd_udp_unwrap(in->data, in->len, c->relays, c->count - 1u, &from, &payload) == VD_OK)
        associate_give(c->a, &from, in->data + payload, in->len - payload);
    else
        c->a->dropped++;
}

static void on_relay(struct loop_io *io, uint32_t events)
{
    struct associate_chain *c = loop_owner(io, struct associate_chain, relay);
    errno = 0;
    unsigned n = batch_receive(c->a->batch, io->fd);
    (void)events;
    if (n == 0 && errno == ECONNREFUSED)
        associate_chain_end_soon(c);
    for (unsigned i = 0; i < n; i++) {
        struct batch_in in = batch_get(c->a->batch, i);
        take_from_relay(c, &in);
    }
    batch_flush(c->a->batch);
}

/* --- what the hops have said --- */

/* VD_OK, or why its relay cannot be used. */
static int judge(struct associate_chain *c, unsigned position)
{
    const struct control *k = &c->control[position];
    const char *why = NULL;
    if (k->bound.family == VD_NO_IP)
        why = "gives a name for the address of its relay, which is not followed";
    else if (k->port == 0)
        why = "gives no port for its relay";
    else if (!vd_udp_may_relay(&k->bound, k->own.family ? vd_ip_class(&k->own) : VD_CLASS_GLOBAL))
        why = "wants datagrams sent to an address that no relay has";
    if (why)
        associate_chain_say(c, position, why);
    return why ? VD_ERR_FAILED : VD_OK;
}

/* Where the socket sends. VD_OK, or why not. */
static int open_relay(struct associate_chain *c)
{
    struct control *k = &c->control[0];
    struct net_addr to, at = {.any.sa_family = AF_UNSPEC};
    bool own = vd_ip_class(&k->bound) == VD_CLASS_UNSPECIFIED;
    struct vd_ip relay = own ? k->own : k->bound, from = net_addr_ip(&c->out);
    if (relay.family == VD_IPV6)
        relay.scope = k->own.scope;
    net_addr_set(&to, &relay, k->port);
    if (relay.family == from.family)
        net_addr_set(&at, &from, 0);
    else if (!egress_uses(&c->a->egress, relay.family)) {
        associate_chain_say(c, 0, "has a relay at a family of addresses that is not used here");
        return VD_ERR_FAILED;
    }
    c->relay = (struct loop_io){.fd = -1, .ready = on_relay};
    if (associate_out(c->a, &c->relay, to.any.sa_family, &at) != EGRESS_FINE)
        return VD_ERR_FAILED;
    if (c->relay.fd < 0 || connect(c->relay.fd, &to.any, net_addr_len(&to)) != 0)
        return net_err(errno);
    return VD_OK;
}

/* What the relay before it is told: the hop's own address as configured, or that of the reply. */
static struct vd_endpoint next_relay(const struct associate_chain *c, unsigned position)
{
    const struct vd_hop *hop = vd_path_hop(&c->path, position);
    const struct control *k = &c->control[position];
    struct vd_endpoint relay = hop->at;
    if (vd_ip_class(&k->bound) != VD_CLASS_UNSPECIFIED)
        vd_endpoint_set_ip(&relay, &k->bound, 0);
    else if (!vd_hop_takes_names(vd_path_hop(&c->path, position - 1)) &&
             vd_endpoint_is_name(&relay))
        vd_endpoint_set_ip(&relay, &hop->addrs[0], 0);
    relay.port = k->port;
    return relay;
}

static int put_relays(struct associate_chain *c)
{
    struct vd_out prefix = vd_out_over(c->prefix, sizeof c->prefix);
    c->relays = calloc(c->count, sizeof *c->relays);
    if (!c->relays)
        return VD_ERR_BUSY;
    for (unsigned i = 1; i < c->count; i++) {
        c->relays[i - 1] = next_relay(c, i);
        vd_udp_write(&prefix, &c->relays[i - 1]);
    }
    c->prefix_len = prefix.len;
    if (!prefix.ok)
        associate_chain_say(c, c->count - 1u,
                            "is too far: the headers of a datagram would be too long");
    return prefix.ok ? VD_OK : VD_ERR_FAILED;
}

int associate_relay_open(struct associate_chain *c, unsigned *failed)
{
    int err = VD_OK;
    for (unsigned i = 0; i < c->count && err == VD_OK; i++)
        err = judge(c, *failed = i);
    if (err == VD_OK)
        err = put_relays(c);
    return err == VD_OK ? open_relay(c) : err;
}

void associate_relay_close(struct associate_chain *c)
{
    loop_close(c->a->loop, &c->relay);
    free(c->relays);
    c->relays = NULL;
}
