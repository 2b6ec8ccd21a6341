/*
 * The plan of a session file, which another process wrote: one that is found sound can be walked
 * through by every index in it without leaving its block, and all of its texts end inside it.
 *
 * An input changes a plan that is sound: each four bytes are a place, and what is put there. So the
 * fuzzer need not find out first what a plan is.
 */
#include <string.h>

#include "client/plan.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/guard.h"

enum { PATCH = 4, TRUNCATES = 0x8000 };

static struct plan *sound_one(void)
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
        hops[i] = (struct vd_hop){.scheme = VD_SOCKS5H, .at.port = 1080, .timeout_ms = 1};
    patterns[1].port = 25;
    head.placeholder4.family = VD_IPV4;
    head.placeholder4_bits = 15;
    head.placeholder6.family = VD_IPV6;
    return plan_make(&head, hops, chains, rules, patterns);
}

static bool ends(const char *text, size_t size)
{
    return memchr(text, 0, size) != NULL;
}

static void walk_hop(const struct vd_hop *hop)
{
    char text[VD_URL_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);

    vd_url_print(&out, hop);
    PROPERTY(out.ok || hop->stands_for > 0);
    PROPERTY(ends(hop->user, sizeof hop->user) && ends(hop->password, sizeof hop->password));
}

static void walk(const struct plan *p)
{
    PROPERTY(ends(p->log, sizeof p->log) && ends(p->cache, sizeof p->cache));
    PROPERTY(ends(p->trace_file, sizeof p->trace_file));
    PROPERTY(p->chain < p->chain_count);
    for (unsigned i = 0; i < p->hop_count; i++)
        walk_hop(&plan_hops(p)[i]);
    for (unsigned i = 0; i < p->chain_count; i++) {
        const struct plan_chain *c = plan_chain(p, i);

        PROPERTY(c->count >= 1 && c->count <= VD_HOPS_MAX && ends(c->title, sizeof c->title));
        for (unsigned h = 0; h < c->count; h++)
            PROPERTY(c->hops[h] < p->hop_count);
    }
    for (unsigned i = 0; i < p->rule_count; i++) {
        const struct plan_rule *r = plan_rule(p, i);

        PROPERTY(r->action != PLAN_CHAIN || r->chain < p->chain_count);
        PROPERTY(ends(r->title, sizeof r->title));
        for (unsigned n = 0; n < r->pattern_count; n++)
            vd_pattern_matches(plan_pattern(p, r->pattern_first + n), &plan_hops(p)->at);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct plan *p = sound_one();
    const size_t whole = p->size;
    size_t len = whole;
    const void *block;

    for (; size >= PATCH; data += PATCH, size -= PATCH) {
        unsigned where = (unsigned)(data[0] << 8 | data[1]);

        if (where & TRUNCATES)
            len = (where & ~(unsigned)TRUNCATES) % (whole + 1) & ~(size_t)7;
        else
            memcpy((uint8_t *)p + where % (whole - 2), data + 2, 2);
    }
    block = guard_put(p, len);
    if (len >= sizeof *p && plan_is_sound(block, len))
        walk(block);
    free(p);
    return 0;
}
