#include "daemon/balance.h"

#include <stdlib.h>

#include "daemon/log.h"
#include "daemon/worker.h"
#include "proto/err.h"

struct target {
    struct balance *owner;
    size_t sessions;
    bool down;
    uint32_t streak; /* checks in a row that say otherwise */
    bool under_way;
    struct dial *dial; /* of checks; NULL without them */
};

struct balance {
    struct worker *worker;
    const struct vd_conf_listener *conf;
    struct loop_timer timer;
    size_t next; /* roundrobin */
    size_t count;
    struct target at[];
};

/* --- checks --- */

static void tell(const struct balance *b, const struct target *t, int err)
{
    const struct vd_conf_target *target = &b->conf->targets[t - b->at];
    char text[VD_ENDPOINT_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);
    if (target->unix_path[0])
        vd_out_text(&out, target->unix_path);
    else
        vd_endpoint_print(&out, &target->at);
    log_say(LOG_NORMAL, "target %s of %s is %s%s%s", vd_out_string(&out), b->conf->title,
            t->down ? "down: " : "up", t->down ? vd_err_proxy_status(err) : "",
            t->down ? "" : " again");
}

static void note(struct target *t, int err)
{
    struct balance *b = t->owner;
    bool good = err == VD_OK;
    t->streak = good == t->down ? t->streak + 1 : 0;
    if (t->streak < (t->down ? b->conf->rise : b->conf->fall))
        return;
    t->streak = 0;
    t->down = !good;
    tell(b, t, err);
}

static void on_checked(struct dial *dial, int err)
{
    struct target *t = dial->context;
    t->under_way = false;
    dial_stop(dial);
    note(t, err);
}

static bool may_reach_all(struct dial *dial, const struct vd_ip *ip)
{
    (void)dial, (void)ip;
    return true;
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
    t->dial->may_reach = may_reach_all;
    t->under_way = true;
    if (target->unix_path[0])
        dial_start_unix(t->dial, target->unix_path);
    else
        dial_start(t->dial, &target->at);
}

static void on_timer(struct loop_timer *timer)
{
    struct balance *b = loop_owner(timer, struct balance, timer);
    loop_timer_in(&b->worker->loop, &b->timer, b->conf->check_ms);
    for (size_t i = 0; i < b->count; i++)
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
        if (!is_tried(tried, i) && !b->at[i].down)
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
    if (b->conf->balance == VD_BALANCE_LEASTCONN)
        return b->at[i].sessions < b->at[best].sessions;
    if (b->conf->balance == VD_BALANCE_SOURCE)
        return score(client, i) > score(client, best);
    return false;
}

int balance_pick(struct balance *b, const struct net_addr *client, uint64_t tried)
{
    bool any = !is_one_up(b, tried);
    int best = -1;
    for (size_t n = 0; n < b->count; n++) {
        size_t i = (b->next + n) % b->count;
        if (is_tried(tried, i) || (b->at[i].down && !any))
            continue;
        if (best < 0 || is_better(b, client, i, (size_t)best))
            best = (int)i;
    }
    if (best >= 0)
        b->next = (size_t)best + 1;
    return best;
}

const struct vd_conf_target *balance_target(const struct balance *b, int index)
{
    return &b->conf->targets[index];
}

void balance_enter(struct balance *b, int index)
{
    b->at[index].sessions++;
}

void balance_leave(struct balance *b, int index)
{
    b->at[index].sessions--;
}

/* --- the beginning and the end --- */

static int start_checks(struct balance *b)
{
    b->worker->more_timers += b->count + 1;
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
        b->at[i].owner = b;
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
