/*
 * A plan that came through a file: what was built is taken, and every way in which it may be
 * damaged is refused before anybody follows an offset.
 */
#include <stdlib.h>
#include <string.h>

#include "client/plan.h"
#include "tests/unit/tap.h"

static struct plan *build(void)
{
    static struct vd_hop hops[3];
    static struct vd_pattern patterns[2];
    struct plan_chain chains[2] = {{.title = "default", .count = 2, .hops = {0, 2}},
                                   {.title = "other", .count = 1, .hops = {1}}};
    struct plan_rule rules[2] = {
        {.title = "one", .action = PLAN_CHAIN, .chain = 1, .pattern_first = 0, .pattern_count = 1},
        {.title = "two", .action = PLAN_REFUSE, .pattern_first = 1, .pattern_count = 1}};
    struct plan head = {.hop_count = 3, .chain_count = 2, .rule_count = 2, .pattern_count = 2};

    for (int i = 0; i < 3; i++)
        hops[i] = (struct vd_hop){.scheme = VD_SOCKS5H, .timeout_ms = (uint32_t)i};
    patterns[1].port = 25;
    head.placeholder4.family = VD_IPV4;
    head.placeholder4_bits = 15;
    head.placeholder6.family = VD_IPV6;
    return plan_make(&head, hops, chains, rules, patterns);
}

static void test_built(void)
{
    struct plan *p = build();

    tap_ok(p && plan_is_sound(p, p->size), "what was built is sound");
    tap_ok(p && plan_is_sound(p, p->size + 100), "also with something behind it");
    tap_ok(p && plan_hops(p)[2].timeout_ms == 2, "hops");
    tap_ok(p && !strcmp(plan_chain(p, 1)->title, "other") && plan_chain(p, 0)->hops[1] == 2,
           "chains");
    tap_ok(p && !strcmp(plan_rule(p, 1)->title, "two") && plan_pattern(p, 1)->port == 25,
           "rules and patterns");
    free(p);
}

static void test_too_many(void)
{
    struct plan head = {.hop_count = PLAN_COUNT_MAX + 1};

    tap_ok(!plan_make(&head, NULL, NULL, NULL, NULL), "more hops than there may be");
    head = (struct plan){.pattern_count = PLAN_COUNT_MAX + 1};
    tap_ok(!plan_make(&head, NULL, NULL, NULL, NULL), "more patterns than there may be");
}

/* --- damage ---------------------------------------------------------------------------------- */

#define DAMAGE(name, statement)                                                                    \
    static void name(struct plan *p)                                                               \
    {                                                                                              \
        statement;                                                                                 \
    }

/* The arrays are read-only for everybody but this test. */
#define CHAIN(p, i) ((struct plan_chain *)plan_chain(p, i))
#define RULE(p, i)  ((struct plan_rule *)plan_rule(p, i))
#define HOP(p, i)   ((struct vd_hop *)&plan_hops(p)[i])

DAMAGE(size, p->size++)
DAMAGE(hops_odd, p->hops_at++)
DAMAGE(hops_in_head, p->hops_at = 0)
DAMAGE(hops_far, p->hops_at = 0xfffffffc)
DAMAGE(chains_far, p->chains_at = p->size)
DAMAGE(rules_far, p->rules_at = p->size - 72)
DAMAGE(patterns_far, p->patterns_at = p->size - 4)
DAMAGE(many_hops, p->hop_count = 65535)
DAMAGE(many_patterns, p->pattern_count++)
DAMAGE(no_chain, p->chain = 2)
DAMAGE(chain_empty, CHAIN(p, 1)->count = 0)
DAMAGE(chain_long, CHAIN(p, 1)->count = VD_HOPS_MAX + 1)
DAMAGE(chain_hop, CHAIN(p, 0)->hops[1] = 3)
DAMAGE(chain_pick, CHAIN(p, 0)->pick = 3)
DAMAGE(chain_mode, CHAIN(p, 0)->mode = 5)
DAMAGE(chain_title, memset(CHAIN(p, 0)->title, 'x', PLAN_TITLE_MAX + 1))
DAMAGE(rule_action, RULE(p, 0)->action = 3)
DAMAGE(rule_chain, RULE(p, 0)->chain = 2)
DAMAGE(rule_first, RULE(p, 1)->pattern_first = 3)
DAMAGE(rule_count, RULE(p, 1)->pattern_count = 2)
DAMAGE(rule_wraps, RULE(p, 1)->pattern_count = 65535)
DAMAGE(rule_title, memset(RULE(p, 1)->title, 'x', PLAN_TITLE_MAX + 1))
DAMAGE(hop_scheme, HOP(p, 1)->scheme = 0)
DAMAGE(hop_scheme_7, HOP(p, 1)->scheme = 7)
DAMAGE(hop_addrs, HOP(p, 2)->addr_count = VD_HOP_ADDRS_MAX + 1)
DAMAGE(hop_unix, HOP(p, 2)->unix_len = VD_UNIX_PATH_MAX + 1)
DAMAGE(hop_user, memset(HOP(p, 0)->user, 'x', sizeof HOP(p, 0)->user))
DAMAGE(hop_password, memset(HOP(p, 0)->password, 'x', sizeof HOP(p, 0)->password))
DAMAGE(hop_name, memset(HOP(p, 0)->at.name, 'x', sizeof HOP(p, 0)->at.name))
DAMAGE(dns, p->dns = 4)
DAMAGE(udp, p->udp = 4)
DAMAGE(verbosity, p->verbosity = 4)
DAMAGE(listens, p->listen = 4)
DAMAGE(rule_listens, RULE(p, 1)->listen = 4)
DAMAGE(family4, p->placeholder4.family = VD_IPV6)
DAMAGE(family6, p->placeholder6.family = VD_NO_IP)
DAMAGE(bits_0, p->placeholder4_bits = 0)
DAMAGE(bits_33, p->placeholder4_bits = 33)
DAMAGE(log_endless, memset(p->log, '/', sizeof p->log))
DAMAGE(log_relative, (p->has_log = 1, strcpy(p->log, "x")))

static const struct {
    const char *name;
    void (*damage)(struct plan *p);
} rows[] = {
    {"size past the end", size},
    {"hops at an odd place", hops_odd},
    {"hops inside the head", hops_in_head},
    {"hops at the end of the address space", hops_far},
    {"chains at the end", chains_far},
    {"rules with too little room", rules_far},
    {"patterns with too little room", patterns_far},
    {"too many hops", many_hops},
    {"one pattern too many", many_patterns},
    {"a chain that is not there", no_chain},
    {"an empty chain", chain_empty},
    {"a chain too long", chain_long},
    {"a hop that is not there", chain_hop},
    {"more hops to pick than there are", chain_pick},
    {"an unknown mode", chain_mode},
    {"a chain's title without an end", chain_title},
    {"an unknown action", rule_action},
    {"a rule's chain that is not there", rule_chain},
    {"a rule's patterns past the end", rule_first},
    {"a rule with a pattern too many", rule_count},
    {"a rule with patterns that wrap around", rule_wraps},
    {"a rule's title without an end", rule_title},
    {"no scheme", hop_scheme},
    {"an unknown scheme", hop_scheme_7},
    {"too many addresses", hop_addrs},
    {"a unix path too long", hop_unix},
    {"a user without an end", hop_user},
    {"a password without an end", hop_password},
    {"a hop's name without an end", hop_name},
    {"an unknown DNS mode", dns},
    {"an unknown UDP mode", udp},
    {"an unknown verbosity", verbosity},
    {"an unknown way to listen", listens},
    {"a rule with an unknown way to listen", rule_listens},
    {"placeholders that are no IPv4", family4},
    {"placeholders that are no IPv6", family6},
    {"placeholders that are everything", bits_0},
    {"placeholders with 33 bits", bits_33},
    {"a log without an end", log_endless},
    {"a relative log", log_relative},
};

static void test_damage(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct plan *p = build();
        size_t len = p ? p->size : 0;
        if (p)
            rows[i].damage(p);
        tap_ok(p && !plan_is_sound(p, len), "refused: %s", rows[i].name);
        free(p);
    }
}

/* Every head of a plan, in a block of exactly that size: a sanitizer sees a read past it. */
static void test_cut(void)
{
    struct plan *p = build();
    size_t whole = p ? p->size : 0;

    tap_begin();
    for (size_t len = 0; len < whole; len += 3) {
        void *cut = malloc(len + 1);
        memcpy(cut, p, len);
        if (plan_is_sound(cut, len))
            tap_wrong("taken with %zu of %zu bytes", len, whole);
        free(cut);
    }
    tap_end("a plan cut short is refused");
    free(p);
}

int main(void)
{
    test_built();
    test_too_many();
    test_damage();
    test_cut();
    return tap_done();
}
