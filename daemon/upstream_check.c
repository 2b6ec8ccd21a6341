/*
 * One timer per upstream that is checked; at each of its turns the hops that are due, and that no
 * other worker has taken (shared_due), are dialled side by side. One that is not through when its
 * time is over has been silent.
 *
 *     due ──> dial ──well, flights unknown──> dial in one flight ──> noted
 *               └──────────else────────────────────────────────────> noted
 */
#include "daemon/upstream_check.h"

#include <stdlib.h>

#include "daemon/worker.h"
#include "proto/err.h"
#include "proto/mode.h"

struct probe {
    struct checks *of;
    unsigned hop;
    bool under_way, flies;
    int64_t began_ms;
    struct loop_timer limit;
    struct vd_endpoint target;
    struct dial dial;
};

/* Of one upstream. */
struct checks {
    struct worker *worker;
    struct upstream *up;
    struct loop_timer timer;
    struct probe *probes; /* one for each hop */
};

struct upstream_checks {
    size_t count;
    struct checks at[];
};

static const struct vd_conf_chain *chain_of(const struct probe *p)
{
    return &p->of->up->conf->chain;
}

static const struct vd_hop *hop_of(const struct probe *p)
{
    return &chain_of(p)->hops[p->hop];
}

static bool is_socks5(const struct vd_hop *hop)
{
    return hop->scheme == VD_SOCKS5 || hop->scheme == VD_SOCKS5H;
}

static bool is_in_order(const struct probe *p)
{
    return chain_of(p)->mode == VD_MODE_STRICT || chain_of(p)->mode == VD_MODE_DYNAMIC;
}

/* --- what is asked --- */

/* Through the hops that sessions would go through; a dynamic chain leaves out those that are down.
 */
static struct vd_path path_to(const struct probe *p)
{
    struct vd_path path = {.hops = chain_of(p)->hops, .tls = true};
    bool skips = chain_of(p)->mode == VD_MODE_DYNAMIC;
    for (unsigned i = 0; i < p->hop && is_in_order(p); i++)
        if (!skips || !upstream_is_hop_down(p->of->up, i))
            path.order[path.count++] = (uint16_t)i;
    path.order[path.count++] = (uint16_t)p->hop;
    return path;
}

static bool is_last(const struct probe *p)
{
    return !is_in_order(p) || p->hop + 1 == chain_of(p)->hop_count;
}

static bool has_check_target(const struct probe *p)
{
    return is_last(p) && p->of->up->conf->has_check_target;
}

/* The hop behind it, as the hop can be told of it. */
static struct vd_endpoint next_hop(const struct probe *p)
{
    const struct vd_hop *next = hop_of(p) + 1;
    struct vd_endpoint at = next->at;
    if (vd_endpoint_is_name(&at) && !vd_hop_takes_names(hop_of(p)) && next->addr_count > 0)
        vd_endpoint_set_ip(&at, &next->addrs[0], next->at.port);
    return at;
}

static struct vd_endpoint target_of(struct probe *p)
{
    static const uint8_t none[4];
    struct vd_endpoint nowhere;
    struct vd_ip ip = vd_ip4(none);
    if (has_check_target(p))
        return p->of->up->conf->check_target;
    p->dial.command = is_socks5(hop_of(p)) ? VD_PROBE : VD_CONNECT;
    if (p->dial.command == VD_CONNECT)
        return next_hop(p);
    vd_endpoint_set_ip(&nowhere, &ip, 0);
    return nowhere;
}

/* --- what it comes to --- */

/* Whether it is worth knowing, and the login, if any, has been taken on this way before. */
static bool may_fly(const struct probe *p)
{
    const struct vd_repute *r = &p->of->up->hops[p->hop]->repute;
    return is_socks5(hop_of(p)) && hop_of(p)->pipeline == VD_PIPELINE_AUTO &&
           !hop_of(p)->no_probe && __atomic_load_n(&r->bears, __ATOMIC_RELAXED) == VD_BEARS_UNKNOWN;
}

/* The hop has spoken, though it did not do what it was asked for. */
static bool has_answered(const struct dial *d)
{
    int err = -(int)d->said_err;
    if (err == -VD_ERR_SILENT || d->chain.at + 1u < d->chain.path.count)
        return false;
    return !vd_mode_blames_hop(&d->chain, err);
}

static void ask(struct probe *p);

static void end(struct probe *p, int err)
{
    struct loop *loop = &p->of->worker->loop;
    p->under_way = false;
    dial_stop(&p->dial);
    loop_timer_stop(loop, &p->limit);
    upstream_note_check(p->of->up, p->hop, err, loop->now_ms - p->began_ms);
}

/* What stopped at a hop before it says nothing of this one. */
static void give_up(struct probe *p)
{
    p->under_way = false;
    dial_stop(&p->dial);
    loop_timer_stop(&p->of->worker->loop, &p->limit);
}

static void on_answer(struct dial *d, int err)
{
    struct probe *p = loop_owner(d, struct probe, dial);
    bool well = err == VD_OK || (!has_check_target(p) && has_answered(d));
    bool elsewhere = d->chain.at + 1u < d->chain.path.count;
    if (well && (err == VD_OK || d->command == VD_PROBE))
        upstream_learn(p->of->up, &d->chain);
    if (p->flies && well && d->chain.flown)
        vd_repute_found(&p->of->up->hops[p->hop]->repute, true);
    if (!well && elsewhere)
        give_up(p);
    else if (well && !p->flies && may_fly(p))
        ask(p);
    else
        end(p, well ? VD_OK : -(int)d->said_err);
}

static void on_limit(struct loop_timer *timer)
{
    struct probe *p = loop_owner(timer, struct probe, limit);
    if (p->dial.chain.at + 1u < p->dial.chain.path.count)
        give_up(p);
    else
        end(p, -VD_ERR_SILENT);
}

/* --- asking --- */

/* Once, or once more in a flight. */
static void ask(struct probe *p)
{
    struct worker *w = p->of->worker;
    p->flies = p->under_way;
    p->under_way = true;
    dial_stop(&p->dial);
    dial_init(&p->dial, &w->dialer);
    p->dial.done = on_answer;
    p->dial.may_reach = dial_reach_all;
    p->dial.introduce = dial_introduce_nobody;
    p->dial.is_check = true;
    p->dial.tries_flight = p->flies;
    p->dial.path = path_to(p);
    p->target = target_of(p);
    dial_start(&p->dial, p->of->up, &p->target);
}

static void start(struct probe *p)
{
    struct worker *w = p->of->worker;
    uint32_t every_ms = p->of->up->conf->check_ms;
    uint32_t limit_ms = every_ms < w->conf->connect_ms ? every_ms : w->conf->connect_ms;
    p->began_ms = w->loop.now_ms;
    loop_timer_in(&w->loop, &p->limit, limit_ms);
    ask(p);
}

static void on_timer(struct loop_timer *timer)
{
    struct checks *c = loop_owner(timer, struct checks, timer);
    struct loop *loop = &c->worker->loop;
    int64_t every_ms = c->up->conf->check_ms;
    if (c->worker->draining)
        return;
    loop_timer_in(loop, &c->timer, every_ms);
    for (unsigned i = 0; i < c->up->conf->chain.hop_count; i++)
        if (!c->probes[i].under_way && shared_due(c->up->hops[i], loop->now_ms, every_ms))
            start(&c->probes[i]);
}

/* --- the beginning and the end --- */

static int set_up(struct checks *c, struct worker *worker, struct upstream *up)
{
    size_t count = up->conf->chain.hop_count;
    c->worker = worker;
    c->up = up;
    c->timer.fire = on_timer;
    worker->more_timers += 1 + count * (1 + DIAL_TIMERS);
    if (loop_reserve(&worker->loop, worker->more_timers + 64) != 0)
        return -1;
    c->probes = calloc(count, sizeof *c->probes);
    if (!c->probes)
        return -1;
    for (unsigned i = 0; i < count; i++) {
        struct probe *p = &c->probes[i];
        p->of = c;
        p->hop = i;
        p->limit.fire = on_limit;
        dial_init(&p->dial, &worker->dialer);
    }
    loop_timer_in(&worker->loop, &c->timer, 0);
    return 0;
}

struct upstream_checks *upstream_checks_new(struct worker *worker)
{
    const struct upstreams *ups = &worker->upstreams;
    struct upstream_checks *all = calloc(1, sizeof *all + ups->count * sizeof *all->at);
    for (size_t i = 0; all && i < ups->count; i++) {
        if (ups->at[i].conf->check_ms == 0)
            continue;
        if (set_up(&all->at[all->count++], worker, &ups->at[i]) != 0) {
            upstream_checks_free(all);
            return NULL;
        }
    }
    return all;
}

void upstream_checks_free(struct upstream_checks *all)
{
    if (!all)
        return;
    for (size_t i = 0; i < all->count; i++) {
        struct checks *c = &all->at[i];
        loop_timer_stop(&c->worker->loop, &c->timer);
        for (size_t k = 0; c->probes && k < c->up->conf->chain.hop_count; k++)
            give_up(&c->probes[k]);
        free(c->probes);
    }
    free(all);
}
