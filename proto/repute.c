#include "proto/repute.h"

static uint8_t get(const uint8_t *field)
{
    return __atomic_load_n(field, __ATOMIC_RELAXED);
}

/* Most of what is learned was known before. */
static void put(uint8_t *field, uint8_t value)
{
    if (get(field) != value)
        __atomic_store_n(field, value, __ATOMIC_RELAXED);
}

static bool bears(const struct vd_hop *hop, const struct vd_repute *r)
{
    switch ((enum vd_pipeline)hop->pipeline) {
    case VD_PIPELINE_OFF:
        return false;
    case VD_PIPELINE_LEAD:
    case VD_PIPELINE_KNOWN:
        return get(&r->bears) != VD_BEARS_NOT;
    case VD_PIPELINE_AUTO:
        break;
    }
    switch ((enum vd_scheme)hop->scheme) {
    case VD_SOCKS4:
    case VD_SOCKS4A:
        return get(&r->bears) != VD_BEARS_NOT;
    case VD_SOCKS5:
    case VD_SOCKS5H:
        return get(&r->bears) == VD_BEARS_FLIGHT;
    case VD_HTTP:
    case VD_HTTPS:
        break;
    }
    return get(&r->said_yes) && get(&r->bears) != VD_BEARS_NOT;
}

/* Never 0: the hop before it, in this chain. */
static uint32_t way_to(const struct vd_path *path, unsigned position, uint32_t chain)
{
    uint32_t way = position == 0 ? 1 : path->order[position - 1] + 2u;

    return way ^ chain ? way ^ chain : UINT32_MAX;
}

/* Whether the login of the hop, if any, is sure to reach that hop when it is said in a flight. */
static bool is_safe(const struct vd_path *path, struct vd_repute *const *of, unsigned position,
                    uint32_t chain)
{
    const struct vd_hop *hop = vd_path_hop(path, position);
    const struct vd_repute *r = of[position];

    return !hop->has_login || hop->pipeline == VD_PIPELINE_KNOWN ||
           (r && __atomic_load_n(&r->behind, __ATOMIC_RELAXED) == way_to(path, position, chain));
}

static bool flies(const struct vd_path *path, struct vd_repute *const *of, unsigned position,
                  uint32_t chain)
{
    return of[position] && bears(vd_path_hop(path, position), of[position]) &&
           is_safe(path, of, position, chain) &&
           (position + 1u == path->count || is_safe(path, of, position + 1, chain));
}

void vd_repute_path(struct vd_path *path, struct vd_repute *const of[VD_HOPS_MAX], uint32_t chain)
{
    path->flights = path->proven = 0;
    for (unsigned i = 0; i < path->count; i++) {
        if (flies(path, of, i, chain))
            path->flights |= (uint16_t)(1u << i);
        if (of[i] && get(&of[i]->proven))
            path->proven |= (uint16_t)(1u << i);
    }
}

void vd_repute_up(const struct vd_path *path, struct vd_repute *const of[VD_HOPS_MAX],
                  uint32_t chain, bool flown)
{
    unsigned proven = flown ? vd_path_proves(path) : 0;

    for (unsigned i = 0; i < path->count; i++) {
        struct vd_repute *r = of[i];
        uint32_t way = way_to(path, i, chain);

        if (!r)
            continue;
        put(&r->said_yes, 1);
        if (__atomic_load_n(&r->behind, __ATOMIC_RELAXED) != way)
            __atomic_store_n(&r->behind, way, __ATOMIC_RELAXED);
        if (proven >> i & 1)
            put(&r->proven, 1);
    }
}

uint16_t vd_repute_unfit(const struct vd_path *path, struct vd_repute *const of[VD_HOPS_MAX],
                         unsigned position)
{
    unsigned unfit = vd_path_suspects(path, position), news = 0;

    for (unsigned i = 0; i <= position; i++) {
        if (!(unfit >> i & 1) || !of[i] || get(&of[i]->bears) == VD_BEARS_NOT)
            continue;
        put(&of[i]->bears, VD_BEARS_NOT);
        news |= 1u << i;
    }
    return (uint16_t)news;
}

void vd_repute_found(struct vd_repute *r, bool does)
{
    put(&r->bears, does ? VD_BEARS_FLIGHT : VD_BEARS_NOT);
}
