/*
 * How it comes to stand, and ends:
 *
 *     start: a dial per hop, the i-th through the hops before it, with ASSOCIATE
 *         ──all have answered──> the relays are known: UP ──a connection ends──> gone
 *         ──one fails──────────> all are closed: failed
 *
 * A way is a choice of hops of an upstream. Where one fails and others can stand in, all is made
 * anew by another way: hops are asked for nothing but to be one, so who fails is to blame himself.
 * Modes that pick hops do not pick those that carry no datagrams; the others take what stands in
 * the chain, and skip none for that. While there is another way, one may take half of the time that
 * is left.
 *
 * Once it is UP nothing comes by the control connections any more: that they stand is what the
 * association lives by. Its datagrams are the matter of associate_relay.c.
 */

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/associate_state.h"
#include "daemon/trace.h"
#include "proto/err.h"

enum { WAYS_MAX = 2 * VD_HOPS_MAX };

static int set_out(struct associate_chain *c, int err);

/* --- the end --- */

static void forget_dials(struct associate_chain *c)
{
    for (unsigned i = 0; c->dials && i < c->count; i++)
        trace_end(c->dials[i].trace, false, 0, 0);
    free(c->dials);
    c->dials = NULL;
}

static void close_way(struct associate_chain *c)
{
    loop_timer_stop(c->a->loop, &c->limit);
    for (unsigned i = 0; c->dials && i < c->count; i++)
        dial_stop(&c->dials[i]);
    forget_dials(c);
    for (unsigned i = 0; i < c->count; i++)
        loop_close(c->a->loop, &c->control[i].io);
    associate_relay_close(c);
    c->answered = 0;
}

static void close_all(struct associate_chain *c)
{
    close_way(c);
    loop_task_stop(c->a->loop, &c->end);
    associate_drop_held(&c->held);
    c->up = false;
}

void associate_chain_free(struct associate_chain *c)
{
    if (!c)
        return;
    close_all(c);
    free(c);
}

/* The hop at `position` did. The last thing its caller does, but while starting. */
static void fail(struct associate_chain *c, unsigned position, int err)
{
    c->err = err;
    c->failed = (uint8_t)position;
    if (c->starting)
        return;
    close_way(c);
    err = set_out(c, err);
    if (err == VD_OK)
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

void associate_chain_end_soon(struct associate_chain *c)
{
    if (c->up)
        loop_later(c->a->loop, &c->end);
}

/* --- what cannot be ------------------------------------------------------------------------- */

void associate_chain_say(struct associate_chain *c, unsigned position, const char *what)
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

/* Each hop has to know UDP ASSOCIATE, and the first one has to have an address at all. */
/* Whether its hops stand in for each other. */
static bool is_picking(const struct upstream *up)
{
    enum vd_mode mode = up->conf->chain.mode;
    return mode != VD_MODE_STRICT && mode != VD_MODE_DYNAMIC;
}

static bool is_socks5(const struct vd_hop *hop)
{
    return hop->scheme == VD_SOCKS5 || hop->scheme == VD_SOCKS5H;
}

static int check_hops(struct associate_chain *c)
{
    for (unsigned i = 0; i < c->count; i++) {
        const struct vd_hop *hop = vd_path_hop(&c->path, i);
        bool knows = is_socks5(hop);
        if (knows && hop->unix_len == 0)
            continue;
        associate_chain_say(c, i, knows ? "has no address for datagrams" : "carries no datagrams");
        c->failed = (uint8_t)i;
        return VD_ERR_COMMAND;
    }
    return VD_OK;
}

/* --- all have answered --- */

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
            associate_chain_end_soon(c);
}

static void come_up(struct associate_chain *c)
{
    unsigned failed = 0;
    int err = associate_relay_open(c, &failed);
    if (err != VD_OK) {
        fail(c, failed, err);
        return;
    }
    loop_timer_stop(c->a->loop, &c->limit);
    forget_dials(c);
    c->up = true;
    associate_relay_begin(c);
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
        associate_chain_end_soon(c);
        return;
    }
    associate_chain_say(c, (unsigned)(k - c->control), "ends the association before it stands");
    fail(c, (unsigned)(k - c->control), VD_ERR_CLOSED);
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

static void keep_said(struct associate_chain *c, const struct dial *dial)
{
    memcpy(c->said, dial->said, dial->said_len);
    c->said_len = dial->said_len;
}

static void on_dialed(struct dial *dial, int err)
{
    struct associate_chain *c = dial->context;
    unsigned position = position_of(c, dial);
    struct control *k = &c->control[position];
    if (err != VD_OK) {
        keep_said(c, dial);
        fail(c, dial->chain.at, err);
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

/* Each is told of by itself: they run beside each other. */
static void dial_all(struct associate_chain *c)
{
    static const struct net_addr unknown;
    for (unsigned i = 0; i < c->count; i++) {
        struct dial *dial = &c->dials[i];
        dial_init(dial, c->by);
        dial->context = c;
        dial->done = on_dialed;
        dial->may_reach = dial_reach_all;
        dial->rule = c->a->rule;
        dial->command = VD_ASSOCIATE;
        dial->path = c->path;
        dial->path.count = (uint8_t)(i + 1);
        dial->introduce = introduce;
        if (trace_is_on())
            dial->trace = trace_begin(NULL, &c->a->from, &unknown);
        set_anywhere(&c->anywhere[i], vd_path_hop(&c->path, i));
        c->control[i] = (struct control){.io = {.fd = -1, .ready = on_control}, .chain = c};
    }
    c->starting = true;
    for (unsigned i = 0; i < c->count && c->err == VD_OK; i++)
        dial_start(&c->dials[i], c->via, &c->anywhere[i]);
    c->starting = false;
}

/* --- the choice of a way --- */

/* Hops that are not picked where others can be. */
static uint16_t unfit_hops(const struct upstream *up)
{
    const struct vd_conf_chain *chain = &up->conf->chain;
    uint16_t unfit = 0;
    for (unsigned i = 0; is_picking(up) && i < chain->hop_count; i++)
        if (!is_socks5(&chain->hops[i]) || chain->hops[i].unix_len > 0)
            unfit |= (uint16_t)(1u << i);
    return unfit;
}

static bool is_left_here(const struct associate_chain *c, uint16_t avoid)
{
    return c->via->conf->chain.mode != VD_MODE_STRICT &&
           upstream_has_others(c->via, avoid | unfit_hops(c->via));
}

/* The next upstream on which something is alive; NULL: none. */
static struct upstream *next_upstream(const struct associate_chain *c)
{
    struct upstream *next = c->via->fallback;
    while (next && !upstream_has_others(next, 0))
        next = next->fallback;
    return next;
}

static void choose(struct associate_chain *c, struct upstream *via)
{
    if (c->via != via)
        c->avoid = 0;
    c->via = via;
    c->a->egress = egress_of(c->by->conf, via->conf, c->a->rule);
    upstream_path(via, c->avoid | unfit_hops(via), &c->path);
    c->count = c->path.count;
    for (unsigned i = 0; i < c->count; i++)
        c->control[i].io.fd = -1;
}

/* Whether there is another way than the one that failed; it is chosen then. */
static bool choose_other(struct associate_chain *c)
{
    unsigned hop = c->path.order[c->failed];
    bool down = upstream_is_hop_down(c->via, hop);
    if (++c->ways > WAYS_MAX || (!down && !is_picking(c->via)))
        return false;
    c->avoid |= (uint16_t)(1u << hop);
    struct upstream *next = down ? next_upstream(c) : NULL;
    next = is_left_here(c, c->avoid) ? c->via : next;
    if (next)
        choose(c, next);
    return next;
}

/* The way has taken its part of the time: the first hop that has not answered is to blame. */
static void on_limit(struct loop_timer *timer)
{
    struct associate_chain *c = loop_owner(timer, struct associate_chain, limit);
    unsigned late = 0;
    while (late + 1u < c->count && c->control[late].io.fd >= 0)
        late++;
    dial_timed_out(&c->dials[late]);
    keep_said(c, &c->dials[late]);
    upstream_failed(c->via, c->path.order[c->dials[late].chain.at], -VD_ERR_SILENT);
    fail(c, c->dials[late].chain.at, VD_ERR_SILENT);
}

static void limit_way(struct associate_chain *c)
{
    uint16_t avoid = (uint16_t)(c->avoid | 1u << c->path.order[0]);
    int64_t left = c->until_ms - c->a->loop->now_ms;
    if (left > 1 && c->ways < WAYS_MAX && (is_left_here(c, avoid) || next_upstream(c)))
        loop_timer_in(c->a->loop, &c->limit, left / 2);
}

/* By the way that was chosen. VD_OK, or why not. */
static int try_way(struct associate_chain *c)
{
    c->err = check_hops(c);
    if (c->err != VD_OK)
        return c->err;
    c->dials = calloc(c->count, sizeof *c->dials);
    if (!c->dials)
        return VD_ERR_BUSY;
    limit_way(c);
    dial_all(c);
    if (c->err != VD_OK)
        close_way(c);
    return c->err;
}

/* By other ways, after one has failed with `err` (not VD_OK). */
static int set_out(struct associate_chain *c, int err)
{
    while (err != VD_OK && choose_other(c))
        err = try_way(c);
    return err;
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
                                  .relay.fd = -1,
                                  .limit.fire = on_limit,
                                  .until_ms = a->loop->now_ms + by->limit_ms,
                                  .end.run = on_end};
    choose(c, via);
    int err = set_out(c, try_way(c));
    if (err != VD_OK)
        close_all(c);
    return err;
}

/* --- what is asked --- */

int associate_chain_late(struct associate_chain *c)
{
    int err = VD_ERR_SILENT;
    for (unsigned i = 0; c->dials && i < c->count; i++) {
        if (c->control[i].io.fd >= 0)
            continue;
        err = dial_timed_out(&c->dials[i]);
        keep_said(c, &c->dials[i]);
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

const struct vd_path *associate_chain_path(const struct associate_chain *c, struct upstream **via)
{
    *via = c->via;
    return &c->path;
}
