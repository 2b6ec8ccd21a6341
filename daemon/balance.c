#include "daemon/balance.h"

#include <stdlib.h>

#include "daemon/log.h"
#include "daemon/worker.h"
#include "proto/err.h"

struct target {
    struct balance *owner;
    struct shared_hop *known;
    bool under_way;
    int64_t began_ms;
    struct dial *dial; /* of checks; NULL without them */
};

struct balance {
    struct worker *worker;
    const struct vd_conf_listener *conf;
    struct loop_timer timer;
    size_t count;
    struct target at[];
};

static uint32_t load(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static bool is_down(const struct target *t)
{
    return load(&t->known->down) != 0;
}

/* --- checks --- */

static void print_target(struct vd_out *out, const struct vd_conf_target *target)
{
    if (target->unix_path[0])
        vd_out_text(out, target->unix_path);
    else
        vd_endpoint_print(out, &target->at);
}

static void tell(const struct balance *b, const struct target *t, int err)
{
    char text[VD_ENDPOINT_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);
    print_target(&out, &b->conf->targets[t - b->at]);
    log_say(LOG_NORMAL, "target %s of %s is %s%s%s", vd_out_string(&out), b->conf->title,
            err ? "down: " : "up", err ? vd_err_proxy_status(err) : "", err ? "" : " again");
}

/* Who turns it over tells it. */
static void turn(struct target *t, int err)
{
    uint32_t before = err ? 0 : 1;
    if (!__atomic_compare_exchange_n(&t->known->down, &before, !before, false, __ATOMIC_RELAXED,
                                     __ATOMIC_RELAXED))
        return;
    __atomic_store_n(&t->known->changed_ms, t->owner->worker->loop.now_ms, __ATOMIC_RELAXED);
    tell(t->owner, t, err);
}

static void note(struct target *t, int err)
{
    struct shared_hop *k = t->known;
    const struct vd_conf_listener *conf = t->owner->conf;
    shared_set(err ? &k->goods : &k->fails, 0);
    uint32_t streak = __atomic_add_fetch(err ? &k->fails : &k->goods, 1, __ATOMIC_RELAXED);
    if (err)
        shared_set(&k->last_err, (uint32_t)err);
    else
        shared_set(&k->last_ms, (uint32_t)(t->owner->worker->loop.now_ms - t->began_ms));
    if (streak >= (err ? conf->fall : conf->rise))
        turn(t, err);
}

static void on_checked(struct dial *dial, int err)
{
    struct target *t = dial->context;
    t->under_way = false;
    dial_stop(dial);
    note(t, err);
}

static void check(struct target *t, const struct vd_conf_target *target)
{
    if (t->under_way) {
        dial_stop(t->dial);
        note(t, VD_ERR_TTL);
    }
    dial_init(t->dial, &t->owner->worker->dialer);
    t->dial->context = t;
    t->dial->done = on_checked;
    t->dial->may_reach = dial_reach_all;
    t->dial->introduce = dial_introduce_nobody;
    t->under_way = true;
    t->began_ms = t->owner->worker->loop.now_ms;
    if (target->unix_path[0])
        dial_start_unix(t->dial, target->unix_path);
    else
        dial_start(t->dial, upstreams_by_rule(&t->owner->worker->upstreams, NULL), &target->at);
}

static void on_timer(struct loop_timer *timer)
{
    struct balance *b = loop_owner(timer, struct balance, timer);
    struct loop *loop = &b->worker->loop;
    loop_timer_in(loop, &b->timer, b->conf->check_ms);
    for (size_t i = 0; i < b->count; i++)
        if (shared_due(b->at[i].known, loop->now_ms, b->conf->check_ms))
            check(&b->at[i], &b->conf->targets[i]);
}

/* --- picking --- */

static bool is_tried(uint64_t tried, size_t i)
{
    return tried >> i & 1;
}

static bool is_one_up(const struct balance *b, uint64_t tried)
{
    for (size_t i = 0; i < b->count; i++)
        if (!is_tried(tried, i) && !is_down(&b->at[i]))
            return true;
    return false;
}

/* The highest of these numbers wins (rendezvous hashing): when a target goes, only its own clients
 * move. */
static uint64_t score(const struct net_addr *client, size_t i)
{
    struct vd_ip ip = net_addr_ip(client);
    uint64_t hash = 0xcbf29ce484222325u ^ i;
    for (size_t k = 0; k < sizeof ip.bytes; k++)
        hash = (hash ^ ip.bytes[k]) * 0x100000001b3u;
    hash = (hash ^ hash >> 29) * 0xbf58476d1ce4e5b9u;
    return hash ^ hash >> 32;
}

/* Whether target i is better than the best one so far. */
static bool is_better(const struct balance *b, const struct net_addr *client, size_t i, size_t best)
{
    const struct shared *sh = b->worker->shared;
    if (b->conf->balance == VD_BALANCE_LEASTCONN)
        return shared_hop_sessions(sh, b->at[i].known) < shared_hop_sessions(sh, b->at[best].known);
    if (b->conf->balance == VD_BALANCE_SOURCE)
        return score(client, i) > score(client, best);
    return false;
}

static int pick_from(const struct balance *b, const struct net_addr *client, uint64_t tried,
                     size_t first)
{
    bool any = !is_one_up(b, tried);
    int best = -1;
    for (size_t n = 0; n < b->count; n++) {
        size_t i = (first + n) % b->count;
        if (is_tried(tried, i) || (is_down(&b->at[i]) && !any))
            continue;
        if (best < 0 || is_better(b, client, i, (size_t)best))
            best = (int)i;
    }
    return best;
}

/* Of several workers that pick at once each goes on behind what the one before has picked. */
int balance_pick(struct balance *b, const struct net_addr *client, uint64_t tried)
{
    uint32_t *next = &b->at[0].known->next, first = load(next);
    int best;
    do {
        best = pick_from(b, client, tried, first);
    } while (best >= 0 && !__atomic_compare_exchange_n(next, &first, (uint32_t)best + 1, false,
                                                       __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return best;
}

const struct vd_conf_target *balance_target(const struct balance *b, int index)
{
    return &b->conf->targets[index];
}

void balance_enter(struct balance *b, int index)
{
    struct shared_hop *known = b->at[index].known;
    __atomic_add_fetch(&known->tries, 1, __ATOMIC_RELAXED);
    shared_hop_enter(b->worker->shared, known);
}

void balance_leave(struct balance *b, int index)
{
    shared_hop_leave(b->worker->shared, b->at[index].known);
}

void balance_failed(struct balance *b, int index)
{
    __atomic_add_fetch(&b->at[index].known->failures, 1, __ATOMIC_RELAXED);
}

/* --- the beginning and the end --- */

static int start_checks(struct balance *b)
{
    b->worker->more_timers += b->count * DIAL_TIMERS + 1;
    if (loop_reserve(&b->worker->loop, b->worker->more_timers + 64) != 0)
        return -1;
    for (size_t i = 0; i < b->count; i++) {
        b->at[i].dial = calloc(1, sizeof *b->at[i].dial);
        if (!b->at[i].dial)
            return -1;
    }
    loop_timer_in(&b->worker->loop, &b->timer, 0);
    return 0;
}

/* Without checks nobody would find out that a target is up again. */
static void find_known(struct balance *b, struct target *t, const struct vd_conf_target *target)
{
    char text[VD_ENDPOINT_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);
    print_target(&out, target);
    t->owner = b;
    t->known = shared_hop(b->worker->shared, b->conf->title, vd_out_string(&out));
    if (b->conf->check_ms == 0)
        shared_set(&t->known->down, 0);
}

struct balance *balance_new(struct worker *worker, const struct vd_conf_listener *conf)
{
    struct balance *b = calloc(1, sizeof *b + conf->target_count * sizeof *b->at);
    if (!b)
        return NULL;
    b->worker = worker;
    b->conf = conf;
    b->count = conf->target_count;
    b->timer.fire = on_timer;
    for (size_t i = 0; i < b->count; i++)
        find_known(b, &b->at[i], &conf->targets[i]);
    if (conf->check_ms > 0 && start_checks(b) != 0) {
        balance_free(b);
        return NULL;
    }
    return b;
}

void balance_free(struct balance *b)
{
    if (!b)
        return;
    loop_timer_stop(&b->worker->loop, &b->timer);
    for (size_t i = 0; i < b->count; i++) {
        if (b->at[i].under_way)
            dial_stop(b->at[i].dial);
        free(b->at[i].dial);
    }
    free(b);
}
