/*
 * Two things make a hop down: `dead_until_ms`, which passes, after it failed a session; and `down`,
 * which only checks set and clear. Both stand in memory that all workers share, where each field is
 * changed by one atomic operation; whoever makes the change is the one who logs it.
 */
#include "daemon/upstream.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "daemon/log.h"
#include "proto/err.h"
#include "proto/mode.h"
#include "proto/repute.h"

/* --- what is remembered --- */

static int64_t get_ms(const int64_t *at)
{
    return __atomic_load_n(at, __ATOMIC_RELAXED);
}

static uint32_t get(const uint32_t *at)
{
    return __atomic_load_n(at, __ATOMIC_RELAXED);
}

bool upstream_is_hop_down(const struct upstream *up, unsigned hop)
{
    const struct shared_hop *h = up->hops[hop];
    return get(&h->down) || get_ms(&h->dead_until_ms) > up->loop->now_ms;
}

static void tell(const struct upstream *up, unsigned hop, const char *what, const char *more)
{
    char text[VD_URL_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);
    vd_url_print(&out, &up->conf->chain.hops[hop]);
    log_say(LOG_NORMAL, "upstream %s: hop %s %s%s", up->conf->chain.title, vd_out_string(&out),
            what, more);
}

static void note_change(struct shared_hop *h, int64_t now_ms)
{
    __atomic_store_n(&h->changed_ms, now_ms, __ATOMIC_RELAXED);
}

static void note_failure(struct shared_hop *h, int err)
{
    __atomic_add_fetch(&h->tries, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&h->failures, 1, __ATOMIC_RELAXED);
    shared_set(&h->last_err, (uint32_t)(err < 0 ? -err : err));
}

/* Nothing stands in for a hop of such a chain, and nobody asks how it is: each session tries. */
static bool is_tried_always(const struct upstream *up)
{
    return up->conf->chain.mode == VD_MODE_STRICT && !up->fallback && up->conf->check_ms == 0;
}

void upstream_failed(struct upstream *up, unsigned hop, int err)
{
    struct shared_hop *h = up->hops[hop];
    int64_t now_ms = up->loop->now_ms;
    note_failure(h, err);
    if (is_tried_always(up))
        return;
    if (__atomic_exchange_n(&h->dead_until_ms, now_ms + UPSTREAM_DEAD_MS, __ATOMIC_RELAXED) != 0 ||
        get(&h->down))
        return;
    note_change(h, now_ms);
    tell(up, hop, vd_err_words(err), ": it is down");
}

static void note_up(struct upstream *up, unsigned hop)
{
    struct shared_hop *h = up->hops[hop];
    __atomic_add_fetch(&h->tries, 1, __ATOMIC_RELAXED);
    if (get_ms(&h->dead_until_ms) == 0 ||
        __atomic_exchange_n(&h->dead_until_ms, 0, __ATOMIC_RELAXED) == 0 || get(&h->down))
        return;
    note_change(h, up->loop->now_ms);
    tell(up, hop, "is up again", "");
}

/* --- checks --- */

static void note_bad(struct upstream *up, unsigned hop, int err)
{
    struct shared_hop *h = up->hops[hop];
    shared_set(&h->goods, 0);
    note_failure(h, err);
    if (__atomic_add_fetch(&h->fails, 1, __ATOMIC_RELAXED) < up->conf->fall ||
        __atomic_exchange_n(&h->down, 1, __ATOMIC_RELAXED) == 1)
        return;
    if (get_ms(&h->dead_until_ms) > up->loop->now_ms)
        return;
    note_change(h, up->loop->now_ms);
    tell(up, hop, vd_err_words(err), " when it was checked: it is down");
}

static void note_good(struct upstream *up, unsigned hop)
{
    struct shared_hop *h = up->hops[hop];
    bool was_down = upstream_is_hop_down(up, hop);
    shared_set(&h->fails, 0);
    __atomic_add_fetch(&h->tries, 1, __ATOMIC_RELAXED);
    if (__atomic_add_fetch(&h->goods, 1, __ATOMIC_RELAXED) < up->conf->rise)
        return;
    __atomic_store_n(&h->dead_until_ms, 0, __ATOMIC_RELAXED);
    shared_set(&h->down, 0);
    if (!was_down)
        return;
    note_change(h, up->loop->now_ms);
    tell(up, hop, "is up again", "");
}

void upstream_note_check(struct upstream *up, unsigned hop, int err, int64_t took_ms)
{
    if (err != VD_OK) {
        note_bad(up, hop, err);
        return;
    }
    shared_set(&up->hops[hop]->last_ms, (uint32_t)took_ms);
    note_good(up, hop);
}

/* --- flights --- */

static void reputes_of(const struct upstream *up, const struct vd_path *path,
                       struct vd_repute *of[VD_HOPS_MAX])
{
    for (unsigned i = 0; i < path->count; i++)
        of[i] = &up->hops[path->order[i]]->repute;
}

void upstream_flights(const struct upstream *up, struct vd_path *path)
{
    struct vd_repute *of[VD_HOPS_MAX];
    reputes_of(up, path, of);
    vd_repute_path(path, of, up->number);
}

void upstream_try_flight(const struct upstream *up, struct vd_path *path)
{
    unsigned last = path->count - 1u;
    struct vd_repute *of[VD_HOPS_MAX], as_if;
    reputes_of(up, path, of);
    as_if = *of[last];
    as_if.bears = VD_BEARS_FLIGHT;
    of[last] = &as_if;
    vd_repute_path(path, of, up->number);
}

void upstream_learn(struct upstream *up, const struct vd_chain *chain)
{
    struct vd_repute *of[VD_HOPS_MAX];
    reputes_of(up, &chain->path, of);
    vd_repute_up(&chain->path, of, up->number, chain->flown);
}

void upstream_up(struct upstream *up, const struct vd_chain *chain)
{
    upstream_learn(up, chain);
    for (unsigned i = 0; i < chain->path.count; i++)
        note_up(up, chain->path.order[i]);
}

void upstream_unfit(struct upstream *up, const struct vd_chain *chain)
{
    struct vd_repute *of[VD_HOPS_MAX];
    reputes_of(up, &chain->path, of);
    vd_repute_unfit(&chain->path, of, chain->at);
}

/* --- the choice --- */

static struct vd_mode_question question(const struct upstream *up, uint16_t avoid)
{
    const struct vd_conf_chain *chain = &up->conf->chain;
    struct vd_mode_question q = {.mode = chain->mode,
                                 .pick = (uint8_t)chain->pick,
                                 .count = (uint8_t)chain->hop_count,
                                 .dead = avoid};
    for (unsigned i = 0; i < chain->hop_count; i++)
        if (upstream_is_hop_down(up, i))
            q.dead |= (uint16_t)(1u << i);
    return q;
}

bool upstream_has_others(const struct upstream *up, uint16_t avoid)
{
    struct vd_mode_question q = question(up, avoid);
    return vd_mode_has_others(&q);
}

struct upstream *upstream_in_use(struct upstream *up)
{
    for (struct upstream *one = up; one; one = one->fallback)
        if (upstream_has_others(one, 0))
            return one;
    return up;
}

static void draw(const struct upstream *up, uint32_t numbers[VD_HOPS_MAX])
{
    size_t size = VD_HOPS_MAX * sizeof *numbers;
    uint32_t *turn = &up->hops[0]->next;
    if (up->conf->chain.mode == VD_MODE_ROUND_ROBIN ||
        getrandom(numbers, size, GRND_NONBLOCK) != (ssize_t)size)
        numbers[0] = __atomic_fetch_add(turn, 1, __ATOMIC_RELAXED);
}

void upstream_path(struct upstream *up, uint16_t avoid, struct vd_path *path)
{
    struct vd_mode_question q = question(up, avoid);
    uint32_t numbers[VD_HOPS_MAX] = {0};
    if (vd_mode_wants_numbers(q.mode))
        draw(up, numbers);
    struct vd_mode_choice choice = vd_mode_choose(&q, numbers);
    *path = (struct vd_path){.hops = up->conf->chain.hops, .count = choice.count, .tls = true};
    for (unsigned i = 0; i < choice.count; i++)
        path->order[i] = choice.place[i];
    upstream_flights(up, path);
}

/* --- the beginning and the end --- */

/* FNV-1a, of all hops with their logins: where anything of it changes, logins are shown anew to be
 * said to the right one. */
static uint32_t number_of(const struct vd_conf_chain *chain)
{
    uint32_t hash = 0x811c9dc5;
    for (size_t i = 0; i < chain->hop_count; i++) {
        const uint8_t *at = (const uint8_t *)&chain->hops[i];
        for (size_t k = 0; k < sizeof chain->hops[i]; k++)
            hash = (hash ^ at[k]) * 0x01000193;
    }
    return hash ? hash : 1;
}

static void start(struct upstream *up, const struct vd_conf_upstream *conf, struct shared *shared)
{
    const struct vd_conf_chain *chain = &conf->chain;
    up->conf = conf;
    up->number = number_of(chain);
    for (size_t i = 0; i < chain->hop_count; i++) {
        up->hops[i] = shared_hop_of(shared, chain->title, &chain->hops[i]);
        if (conf->check_ms == 0)
            shared_set(&up->hops[i]->down, 0);
    }
}

int upstreams_start(struct upstreams *all, const struct vd_conf_daemon *conf, struct shared *shared,
                    const struct loop *loop)
{
    *all = (struct upstreams){.count = conf->upstream_count};
    if (all->count == 0)
        return 0;
    all->at = calloc(all->count, sizeof *all->at);
    for (size_t i = 0; all->at && i < all->count; i++) {
        struct upstream *up = &all->at[i];
        start(up, &conf->upstreams[i], shared);
        up->loop = loop;
        up->fallback = up->conf->fallback ? &all->at[up->conf->fallback_index] : NULL;
    }
    return all->at ? 0 : -1;
}

void upstreams_free(struct upstreams *all)
{
    free(all->at);
    *all = (struct upstreams){.count = 0};
}

static struct upstream *default_of(const struct upstreams *all)
{
    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->at[i].conf->chain.title, VD_UPSTREAM_DEFAULT) == 0)
            return &all->at[i];
    return NULL;
}

struct upstream *upstreams_by_rule(const struct upstreams *all, const struct vd_conf_access *rule)
{
    int via = rule ? rule->via : VD_VIA_UNSAID;
    if (via == VD_VIA_UNSAID)
        return default_of(all);
    return via == VD_VIA_DIRECT ? NULL : &all->at[via];
}

size_t upstreams_most_hops(const struct upstreams *all)
{
    size_t most = 0;
    for (size_t i = 0; i < all->count; i++)
        if (all->at[i].conf->chain.hop_count > most)
            most = all->at[i].conf->chain.hop_count;
    return most;
}
