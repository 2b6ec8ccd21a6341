#include "client/plan.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Fields of fixed width that fill the same room in both have the same places in it. */
static_assert(sizeof(struct plan) == 1876 && sizeof(struct plan_chain) == 100 &&
                  sizeof(struct plan_rule) == 72 && sizeof(struct vd_hop) == 1368 &&
                  sizeof(struct vd_pattern) == 284,
              "the same for 32-bit and 64-bit processes");
static_assert(_Alignof(struct vd_hop) <= 4 && _Alignof(struct vd_pattern) <= 4 &&
                  _Alignof(struct plan) <= 4,
              "arrays stand at multiples of 4");

static const void *at(const struct plan *p, uint32_t offset)
{
    return (const char *)p + offset;
}

const struct vd_hop *plan_hops(const struct plan *p)
{
    return at(p, p->hops_at);
}

const struct plan_chain *plan_chain(const struct plan *p, unsigned index)
{
    return (const struct plan_chain *)at(p, p->chains_at) + index;
}

const struct plan_rule *plan_rule(const struct plan *p, unsigned index)
{
    return (const struct plan_rule *)at(p, p->rules_at) + index;
}

const struct vd_pattern *plan_pattern(const struct plan *p, unsigned index)
{
    return (const struct vd_pattern *)at(p, p->patterns_at) + index;
}

void plan_hop_name(struct vd_out *out, const struct plan *p, const struct plan_chain *chain,
                   unsigned position)
{
    struct vd_path path = {.hops = plan_hops(p), .count = chain->count};

    memcpy(path.order, chain->hops, chain->count * sizeof *chain->hops);
    vd_path_name(out, &path, position);
}

/* --- checking -------------------------------------------------------------------------------- */

static bool is_array_sound(const struct plan *p, uint32_t offset, unsigned count, size_t size)
{
    return offset % 4 == 0 && offset >= sizeof *p && count <= PLAN_COUNT_MAX && offset <= p->size &&
           count * size <= p->size - offset;
}

static bool is_text(const char *text, size_t cap)
{
    return memchr(text, 0, cap) != NULL;
}

static bool is_hop_sound(const struct plan *p, unsigned index)
{
    const struct vd_hop *hop = &plan_hops(p)[index];

    return hop->stands_for < p->hop_count - index && hop->scheme >= VD_SOCKS4 &&
           hop->scheme <= VD_HTTPS && hop->addr_count <= VD_HOP_ADDRS_MAX &&
           hop->unix_len <= VD_UNIX_PATH_MAX && hop->pipeline <= VD_PIPELINE_KNOWN &&
           is_text(hop->user, sizeof hop->user) && is_text(hop->password, sizeof hop->password) &&
           is_text(hop->ca, sizeof hop->ca) && is_text(hop->at.name, sizeof hop->at.name);
}

static bool is_chain_sound(const struct plan *p, const struct plan_chain *chain)
{
    if (chain->count < 1 || chain->count > VD_HOPS_MAX || chain->pick > chain->count ||
        chain->mode > VD_MODE_FAILOVER || !is_text(chain->title, sizeof chain->title))
        return false;
    for (unsigned i = 0; i < chain->count; i++)
        if (chain->hops[i] >= p->hop_count)
            return false;
    return true;
}

static bool is_rule_sound(const struct plan *p, const struct plan_rule *rule)
{
    return rule->action <= PLAN_REFUSE && rule->listen <= PLAN_LISTEN_DIRECT &&
           rule->pattern_first <= p->pattern_count &&
           rule->pattern_count <= p->pattern_count - rule->pattern_first &&
           (rule->action != PLAN_CHAIN || rule->chain < p->chain_count) &&
           is_text(rule->title, sizeof rule->title);
}

static bool is_head_sound(const struct plan *p)
{
    return p->chain < p->chain_count && p->dns <= PLAN_DNS_CHAIN && p->udp <= PLAN_UDP_DIRECT &&
           p->verbosity <= PLAN_HOPS && p->listen <= PLAN_LISTEN_DIRECT &&
           p->placeholder4.family == VD_IPV4 && p->placeholder6.family == VD_IPV6 &&
           p->placeholder4_bits >= 8 && p->placeholder4_bits <= 30 &&
           is_text(p->log, sizeof p->log) && (!p->has_log || p->log[0] == '/') &&
           is_text(p->cache, sizeof p->cache) && (!p->cache[0] || p->cache[0] == '/') &&
           p->trace <= PLAN_TRACE_PCAP && is_text(p->trace_file, sizeof p->trace_file) &&
           (!p->trace_file[0] || p->trace_file[0] == '/') && p->server_count <= PLAN_SERVERS_MAX;
}

bool plan_is_sound(const struct plan *p, size_t len)
{
    if (len < sizeof *p || p->size > len || !is_head_sound(p) ||
        !is_array_sound(p, p->hops_at, p->hop_count, sizeof(struct vd_hop)) ||
        !is_array_sound(p, p->chains_at, p->chain_count, sizeof(struct plan_chain)) ||
        !is_array_sound(p, p->rules_at, p->rule_count, sizeof(struct plan_rule)) ||
        !is_array_sound(p, p->patterns_at, p->pattern_count, sizeof(struct vd_pattern)))
        return false;
    for (unsigned i = 0; i < p->hop_count; i++)
        if (!is_hop_sound(p, i))
            return false;
    for (unsigned i = 0; i < p->chain_count; i++)
        if (!is_chain_sound(p, plan_chain(p, i)))
            return false;
    for (unsigned i = 0; i < p->rule_count; i++)
        if (!is_rule_sound(p, plan_rule(p, i)))
            return false;
    return true;
}

/* --- building -------------------------------------------------------------------------------- */

/* Where an array of `count` items of `size` bytes goes; *end is the end of the block so far. */
static uint32_t place(uint32_t *end, unsigned count, size_t size)
{
    uint32_t offset = (*end + 7) / 8 * 8;

    *end = offset + (uint32_t)(count * size);
    return offset;
}

static void put(struct plan *p, uint32_t offset, const void *from, unsigned count, size_t size)
{
    if (count > 0)
        memcpy((char *)p + offset, from, count * size);
}

struct plan *plan_make(const struct plan *head, const struct vd_hop *hops,
                       const struct plan_chain *chains, const struct plan_rule *rules,
                       const struct vd_pattern *patterns)
{
    struct plan layout = *head;

    if (head->hop_count > PLAN_COUNT_MAX || head->chain_count > PLAN_COUNT_MAX ||
        head->rule_count > PLAN_COUNT_MAX || head->pattern_count > PLAN_COUNT_MAX)
        return NULL;
    layout.size = sizeof layout;
    layout.hops_at = place(&layout.size, head->hop_count, sizeof *hops);
    layout.chains_at = place(&layout.size, head->chain_count, sizeof *chains);
    layout.rules_at = place(&layout.size, head->rule_count, sizeof *rules);
    layout.patterns_at = place(&layout.size, head->pattern_count, sizeof *patterns);

    struct plan *p = calloc(1, layout.size);
    if (!p)
        return NULL;
    *p = layout;
    put(p, p->hops_at, hops, p->hop_count, sizeof *hops);
    put(p, p->chains_at, chains, p->chain_count, sizeof *chains);
    put(p, p->rules_at, rules, p->rule_count, sizeof *rules);
    put(p, p->patterns_at, patterns, p->pattern_count, sizeof *patterns);
    return p;
}
