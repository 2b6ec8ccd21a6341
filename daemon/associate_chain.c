/*
 * How it comes to stand, and ends:
 *
 *     start: a dial per hop, the i-th through the hops before it, with ASSOCIATE
 *         ──all have answered──> the relays are known: UP ──a connection ends──> gone
 *         ──one fails──────────> all are closed: failed
 *
 * Until it is UP datagrams are held, one behind the other, and sent in order then; what does not
 * fit is dropped. Nothing comes by the control connections any more: that they stand is what the
 * association lives by.
 *
 * The relay of the first hop is spoken to by one connected socket, so that the kernel lets nobody
 * else in, from the address that the control connection has: hops look at that. It tells too when
 * nobody listens at the relay's address any more, which is as good as a connection's end.
 *
 *     client ──data──> | to R2 | ... | to the target | data ──> R1 ──> R2 ──> ... ──> target
 *
 * The headers for the relays (`prefix`) are the same for all datagrams.
 */
#include "daemon/associate_chain.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/err.h"
#include "proto/udp.h"

struct control {
    struct loop_io io;
    struct associate_chain *chain;
    struct vd_ip own, bound; /* the hop's address, as far as it is known; its relay's */
    uint16_t port;
};

struct associate_chain {
    struct associate *a;
    struct associate_chain_events events;
    const struct dialer *by;
    struct upstream *via;
    struct vd_path path; /* the hops, for all of it */
    uint8_t count, answered;
    bool starting, up;
    int err;            /* while starting */
    struct dial *dials; /* `count`, until all have answered; NULL afterwards */
    struct vd_endpoint anywhere[VD_HOPS_MAX]; /* what the requests say of where we send from */
    struct control control[VD_HOPS_MAX];
    struct net_addr out, peer; /* of the first control connection */
    struct loop_io relay;
    struct vd_endpoint *relays; /* behind the first */
    uint8_t prefix[BATCH_HEAD - VD_UDP_HEADER_MAX];
    size_t prefix_len;
    struct associate_held held;
    struct loop_task end;
    size_t said_len;
    char said[DIAL_SAID_MAX];
};

/* --- the end --- */

static void close_all(struct associate_chain *c)
{
    for (unsigned i = 0; c->dials && i < c->count; i++)
        dial_stop(&c->dials[i]);
    free(c->dials);
    c->dials = NULL;
    for (unsigned i = 0; i < c->count; i++)
        loop_close(c->a->loop, &c->control[i].io);
    loop_close(c->a->loop, &c->relay);
    loop_task_stop(c->a->loop, &c->end);
    associate_drop_held(&c->held);
    c->up = false;
}

void associate_chain_free(struct associate_chain *c)
{
    if (!c)
        return;
    close_all(c);
    free(c->relays);
    free(c);
}

/* The last thing its caller does, but while starting. */
static void fail(struct associate_chain *c, int err)
{
    c->err = err;
    if (c->starting)
        return;
    close_all(c);
    c->events.ready(c->a, err);
}

static void on_end(struct loop_task *task)
{
    struct associate_chain *c = loop_owner(task, struct associate_chain, end);
    close_all(c);
    c->events.gone(c->a);
}

/* Not at once: somebody may be in the middle of a batch. */
static void end_soon(struct associate_chain *c)
{
    if (c->up)
        loop_later(c->a->loop, &c->end);
}

/* --- what cannot be ------------------------------------------------------------------------- */

static void say_of_hop(struct associate_chain *c, unsigned position, const char *what)
{
    struct vd_out out = vd_out_over(c->said, sizeof c->said);
    vd_out_text(&out, "hop ");
    vd_out_uint(&out, position + 1u);
    vd_out_text(&out, " of ");
    vd_out_uint(&out, c->count);
    vd_out_text(&out, " (");
    vd_url_print(&out, vd_path_hop(&c->path, position));
    vd_out_text(&out, ") ");
    vd_out_text(&out, what);
    c->said_len = out.len;
}

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
        say_of_hop(c, position, why);
    return why ? VD_ERR_FAILED : VD_OK;
}

static bool knows_datagrams(const struct vd_hop *hop)
{
    return hop->scheme == VD_SOCKS5 || hop->scheme == VD_SOCKS5H;
}

static bool is_fit(const struct vd_hop *hop)
{
    return knows_datagrams(hop) && hop->unix_len == 0;
}

/* Each hop has to know UDP ASSOCIATE, and the first one has to have an address at all. */
static int check_hops(struct associate_chain *c)
{
    for (unsigned i = 0; i < c->count; i++) {
        const struct vd_hop *hop = vd_path_hop(&c->path, i);
        if (is_fit(hop))
            continue;
        say_of_hop(c, i,
                   knows_datagrams(hop) ? "has no address for datagrams" : "carries no datagrams");
        return VD_ERR_COMMAND;
    }
    return VD_OK;
}

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
        end_soon(c);
    if (c->up)
        send_on(c, target, data, len);
    else if (!c->dials || !associate_hold(&c->held, &head, sizeof head, data, len))
        c->a->dropped++;
}

static void send_held(struct associate_chain *c)
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
        end_soon(c);
    for (unsigned i = 0; i < n; i++) {
        struct batch_in in = batch_get(c->a->batch, i);
        take_from_relay(c, &in);
    }
    batch_flush(c->a->batch);
}

/* --- all have answered --- */

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
    if (associate_socket(c->a, &c->relay, to.any.sa_family, &at, true) != 0 ||
        connect(c->relay.fd, &to.any, net_addr_len(&to)) != 0)
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
        say_of_hop(c, c->count - 1u, "is too far: the headers of a datagram would be too long");
    return prefix.ok ? VD_OK : VD_ERR_FAILED;
}

/* What comes means nothing. */
static bool has_ended(const struct associate_chain *c, int fd)
{
    ssize_t n = 1;
    while (n > 0)
        n = recv(fd, c->by->scratch, c->by->scratch_len, 0);
    return n == 0 || errno != EAGAIN;
}

/* A connection may have ended together with its answer: no event tells of that any more. */
static void look_at_controls(struct associate_chain *c)
{
    for (unsigned i = 0; i < c->count; i++)
        if (has_ended(c, c->control[i].io.fd))
            end_soon(c);
}

static void come_up(struct associate_chain *c)
{
    int err = VD_OK;
    for (unsigned i = 0; i < c->count && err == VD_OK; i++)
        err = judge(c, i);
    if (err == VD_OK)
        err = put_relays(c);
    if (err == VD_OK)
        err = open_relay(c);
    if (err != VD_OK) {
        fail(c, err);
        return;
    }
    free(c->dials);
    c->dials = NULL;
    c->up = true;
    send_held(c);
    look_at_controls(c);
    c->events.ready(c->a, VD_OK);
}

/* --- one of them --- */

static void on_control(struct loop_io *io, uint32_t events)
{
    struct control *k = loop_owner(io, struct control, io);
    struct associate_chain *c = k->chain;
    (void)events;
    if (!has_ended(c, io->fd))
        return;
    if (c->up) {
        end_soon(c);
        return;
    }
    say_of_hop(c, (unsigned)(k - c->control), "ends the association before it stands");
    fail(c, VD_ERR_CLOSED);
}

static unsigned position_of(const struct associate_chain *c, const struct dial *dial)
{
    return (unsigned)(dial - c->dials);
}

/* The hop's own address: of the first one where it was reached, of others as far as it is known. */
static struct vd_ip own_address(const struct associate_chain *c, unsigned position,
                                const struct dial *dial)
{
    const struct vd_hop *hop = vd_path_hop(&c->path, position);
    if (position == 0)
        return net_addr_ip(&dial->peer);
    if (!vd_endpoint_is_name(&hop->at))
        return vd_ip_unmapped(&hop->at.ip);
    return hop->addr_count > 0 ? vd_ip_unmapped(&hop->addrs[0]) : (struct vd_ip){0};
}

static void keep_alive(int fd)
{
    static const int on = 1, idle_s = 30, interval_s = 10, probes = 3;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

static void on_dialed(struct dial *dial, int err)
{
    struct associate_chain *c = dial->context;
    unsigned position = position_of(c, dial);
    struct control *k = &c->control[position];
    if (err != VD_OK) {
        memcpy(c->said, dial->said, dial->said_len);
        c->said_len = dial->said_len;
        fail(c, err);
        return;
    }
    k->own = own_address(c, position, dial);
    k->bound = vd_ip_unmapped(&dial->bound.ip);
    k->port = dial->bound.port;
    if (position == 0) {
        net_addr_local(&c->out, dial->io.fd);
        c->peer = dial->peer;
    }
    keep_alive(dial->io.fd);
    loop_hand_over(c->a->loop, &dial->io, &k->io);
    if (++c->answered == c->count)
        come_up(c);
}

/* Who dials a hop that the configuration names needs nobody's leave. */
static bool may_reach(struct dial *dial, const struct vd_ip *ip)
{
    (void)dial, (void)ip;
    return true;
}

/* --- the beginning --- */

/* The address is not known yet, so it is none, of the family that the hop has. */
static void set_anywhere(struct vd_endpoint *anywhere, const struct vd_hop *hop)
{
    bool six = vd_endpoint_is_name(&hop->at)
                   ? hop->addr_count > 0 && hop->addrs[0].family == VD_IPV6
                   : hop->at.ip.family == VD_IPV6;
    struct vd_ip none = {.family = six ? VD_IPV6 : VD_IPV4};
    vd_endpoint_set_ip(anywhere, &none, 0);
}

static void introduce(struct dial *dial)
{
    struct associate_chain *c = dial->context;
    c->events.introduce(c->a, dial);
}

static void dial_all(struct associate_chain *c)
{
    for (unsigned i = 0; i < c->count; i++) {
        struct dial *dial = &c->dials[i];
        dial_init(dial, c->by);
        dial->context = c;
        dial->done = on_dialed;
        dial->may_reach = may_reach;
        dial->command = VD_ASSOCIATE;
        dial->path = c->path;
        dial->path.count = (uint8_t)(i + 1);
        dial->introduce = introduce;
        set_anywhere(&c->anywhere[i], vd_path_hop(&c->path, i));
        c->control[i] = (struct control){.io = {.fd = -1, .ready = on_control}, .chain = c};
    }
    c->starting = true;
    for (unsigned i = 0; i < c->count && c->err == VD_OK; i++)
        dial_start(&c->dials[i], c->via, &c->anywhere[i]);
    c->starting = false;
}

/* Where hops stand in for each other those that carry no datagrams are left out, as bits. */
static uint16_t unfit_hops(const struct vd_conf_chain *chain)
{
    unsigned unfit = 0;
    for (unsigned i = 0; i < chain->hop_count && chain->mode >= VD_MODE_RANDOM; i++)
        unfit |= is_fit(&chain->hops[i]) ? 0 : 1u << i;
    return (uint16_t)unfit;
}

int associate_chain_start(struct associate *a, const struct dialer *by, struct upstream *via,
                          const struct associate_chain_events *events)
{
    struct associate_chain *c = calloc(1, sizeof *c);
    if (!c)
        return VD_ERR_BUSY;
    a->chain = c;
    *c = (struct associate_chain){.a = a,
                                  .events = *events,
                                  .by = by,
                                  .via = via,
                                  .relay = {.fd = -1, .ready = on_relay},
                                  .end.run = on_end};
    upstream_path(via, unfit_hops(&via->conf->chain), &c->path);
    c->count = c->path.count;
    for (unsigned i = 0; i < c->count; i++)
        c->control[i].io.fd = -1;
    int err = check_hops(c);
    if (err != VD_OK)
        return err;
    c->dials = calloc(c->count, sizeof *c->dials);
    if (!c->dials)
        return VD_ERR_BUSY;
    dial_all(c);
    if (c->err != VD_OK)
        close_all(c);
    return c->err;
}

/* --- what is asked --- */

int associate_chain_late(struct associate_chain *c)
{
    int err = VD_ERR_SILENT;
    for (unsigned i = 0; c->dials && i < c->count; i++) {
        struct dial *dial = &c->dials[i];
        if (c->control[i].io.fd >= 0)
            continue;
        err = dial_timed_out(dial);
        memcpy(c->said, dial->said, dial->said_len);
        c->said_len = dial->said_len;
        break;
    }
    close_all(c);
    return err;
}

const char *associate_chain_said(const struct associate_chain *c, size_t *len)
{
    *len = c->said_len;
    return c->said;
}

bool associate_chain_takes_names(const struct associate_chain *c)
{
    return vd_hop_takes_names(vd_path_hop(&c->path, c->count - 1));
}

void associate_chain_ends(const struct associate_chain *c, struct net_addr *out,
                          struct net_addr *peer)
{
    *out = c->out;
    *peer = c->peer;
}

const struct vd_path *associate_chain_path(const struct associate_chain *c)
{
    return &c->path;
}
