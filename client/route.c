#include "client/route.h"

#include "client/learned.h"
#include "client/modes.h"
#include "client/names.h"
#include "client/session.h"
#include "proto/err.h"

static bool rule_matches(const struct plan *plan, const struct plan_rule *rule,
                         const struct vd_endpoint *e)
{
    for (unsigned i = 0; i < rule->pattern_count; i++)
        if (vd_pattern_matches(plan_pattern(plan, rule->pattern_first + i), e))
            return true;
    return false;
}

static struct route by_rule(const struct plan *plan, const struct plan_rule *rule)
{
    return (struct route){
        .action = (enum plan_action)rule->action,
        .chain = rule->action == PLAN_CHAIN ? plan_chain(plan, rule->chain) : NULL,
        .rule = rule,
    };
}

static struct route by_default(const struct plan *plan)
{
    return (struct route){.action = PLAN_CHAIN, .chain = plan_chain(plan, plan->chain)};
}

struct route route_of(const struct vd_endpoint *e)
{
    const struct plan *plan = session_plan();

    for (unsigned i = 0; i < plan->rule_count; i++)
        if (rule_matches(plan, plan_rule(plan, i), e))
            return by_rule(plan, plan_rule(plan, i));
    return by_default(plan);
}

/* Whether a pattern that asks for a port, and for this name in particular, would match there. */
static bool matches_at_its_port(const struct vd_pattern *p, const struct vd_endpoint *e)
{
    struct vd_endpoint there = *e;

    there.port = p->port;
    return p->port && p->kind != VD_PATTERN_ANY && vd_pattern_matches(p, &there);
}

static bool rule_knows(const struct plan *plan, const struct plan_rule *rule,
                       const struct vd_endpoint *e)
{
    for (unsigned i = 0; i < rule->pattern_count; i++)
        if (matches_at_its_port(plan_pattern(plan, rule->pattern_first + i), e))
            return true;
    return false;
}

struct route route_of_name(const struct vd_endpoint *e, bool *known)
{
    const struct plan *plan = session_plan();

    *known = false;
    for (unsigned i = 0; i < plan->rule_count; i++) {
        const struct plan_rule *rule = plan_rule(plan, i);
        bool matches = rule_matches(plan, rule, e);
        bool knows = !e->port && rule_knows(plan, rule, e);

        *known |= matches || knows;
        if (matches || (knows && rule->action == PLAN_DIRECT))
            return by_rule(plan, rule);
    }
    return by_default(plan);
}

/* The kernel takes the unspecified address of a connect for loopback; so do the rules. */
static struct vd_endpoint as_dialled(const struct vd_endpoint *given)
{
    static const struct vd_ip loopback4 = {.family = VD_IPV4, .bytes = {127, 0, 0, 1}},
                              loopback6 = {.family = VD_IPV6, .bytes = {[15] = 1}};
    struct vd_endpoint e = *given;

    e.ip = vd_ip_unmapped(&e.ip);
    if (vd_ip_within(&e.ip, &(struct vd_ip){.family = VD_IPV4}, 32))
        e.ip = loopback4;
    else if (vd_ip_within(&e.ip, &(struct vd_ip){.family = VD_IPV6}, 128))
        e.ip = loopback6;
    return e;
}

static bool stays_on_the_link(const struct vd_ip *ip)
{
    enum vd_class class = vd_ip_class(ip);

    return class == VD_CLASS_MULTICAST || class == VD_CLASS_BROADCAST ||
           class == VD_CLASS_LINK_LOCAL;
}

/* A name that was resolved here decides if a rule knows it; the hop gets the address. */
static struct route route_of_address(const struct vd_endpoint *address)
{
    struct vd_endpoint name = {.port = address->port};
    struct route by_name;

    if (names_recall(&address->ip, &name)) {
        by_name = route_of(&name);
        if (by_name.rule)
            return by_name;
    }
    return route_of(address);
}

int route_target(struct target *t, const struct vd_endpoint *given)
{
    t->at = as_dialled(given);
    if (names_is_placeholder(&t->at.ip)) {
        if (!names_find(&t->at.ip, &t->at))
            return -VD_ERR_NAME;
        t->route = route_of(&t->at);
        return VD_OK;
    }
    t->route = route_of_address(&t->at);
    if (t->route.action == PLAN_CHAIN && stays_on_the_link(&t->at.ip))
        return -VD_ERR_NET;
    return VD_OK;
}

struct vd_path route_path(const struct plan_chain *chain)
{
    struct vd_path path = modes_path(chain);

    learned_path(&path);
    return path;
}

/* In all modes but one any hop may come to be the last. */
static bool takes_names(const struct plan_chain *chain)
{
    const struct vd_hop *hops = plan_hops(session_plan());

    for (unsigned i = chain->mode == VD_MODE_STRICT ? chain->count - 1u : 0; i < chain->count; i++)
        if (!vd_hop_takes_names(hops + chain->hops[i]))
            return false;
    return true;
}

bool route_names_are_remote(const struct route *r)
{
    const struct plan *plan = session_plan();

    if (r->action == PLAN_REFUSE)
        return true; /* nobody needs to know */
    if (r->action == PLAN_DIRECT)
        return false;
    if (!takes_names(r->chain))
        return false;
    return r->rule || plan->dns != PLAN_DNS_LOCAL;
}
