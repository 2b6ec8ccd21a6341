#include "preload/standalone.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/session.h"
#include "proto/err.h"

struct draft {
    struct plan plan;
    struct plan_chain chain;
    struct vd_hop hops[VD_HOPS_MAX];
    struct plan_rule bypass;
    struct vd_pattern patterns[3];
};

static const char *take_hop(struct draft *d, const char *url, size_t len)
{
    struct vd_hop *hop = &d->hops[d->plan.hop_count];
    struct vd_url_error why;

    if (d->plan.hop_count == VD_HOPS_MAX)
        return STANDALONE_ENV " names more than 16 hops";
    if (vd_url_read(hop, url, len, &why) < 0)
        return STANDALONE_ENV " holds a URL that cannot be read";
    if (hop->scheme == VD_HTTPS || hop->unix_len > 0)
        return STANDALONE_ENV " takes neither https nor unix hops";
    if (!vd_endpoint_is_name(&hop->at)) {
        hop->addrs[0] = hop->at.ip;
        hop->addr_count = 1;
    }
    d->chain.hops[d->chain.count++] = d->plan.hop_count++;
    return NULL;
}

static const char *take_hops(struct draft *d, const char *urls)
{
    const char *why = NULL;

    while (!why && *(urls += strspn(urls, " \t\n"))) {
        size_t len = strcspn(urls, " \t\n");

        why = take_hop(d, urls, len);
        urls += len;
    }
    if (!why && d->plan.hop_count == 0)
        why = STANDALONE_ENV " is empty";
    if (!why && d->hops[0].addr_count == 0)
        why = STANDALONE_ENV " needs the first hop by address";
    return why;
}

static void take_defaults(struct draft *d)
{
    static const char *const loopback[] = {"127.0.0.0/8", "::1", "localhost"};
    static const uint8_t range4[4] = {198, 18}, range6[16] = {0xfd, 0x76, 0x69, 0x61};
    const char *allowed;
    struct stat st;

    for (size_t i = 0; i < 3; i++)
        vd_pattern_read(&d->patterns[i], loopback[i], strlen(loopback[i]), &allowed);
    d->bypass = (struct plan_rule){.title = "bypass", .action = PLAN_DIRECT, .pattern_count = 3};
    d->plan.chain_count = d->plan.rule_count = 1;
    d->plan.pattern_count = 3;
    d->plan.verbosity = PLAN_FAILURES;
    d->plan.timeout_ms = 30000;
    d->plan.udp = PLAN_UDP_AUTO;
    d->plan.placeholder4 = vd_ip4(range4);
    d->plan.placeholder4_bits = 15;
    d->plan.placeholder6 = vd_ip6(range6, 0);
    d->plan.has_stderr = fstat(STDERR_FILENO, &st) == 0;
    if (d->plan.has_stderr) {
        d->plan.stderr_dev[0] = (uint32_t)st.st_dev;
        d->plan.stderr_dev[1] = (uint32_t)((uint64_t)st.st_dev >> 32);
        d->plan.stderr_ino[0] = (uint32_t)st.st_ino;
        d->plan.stderr_ino[1] = (uint32_t)((uint64_t)st.st_ino >> 32);
    }
}

void standalone_attach(const char *urls, const char **why)
{
    static struct draft draft;
    const struct plan *plan;

    take_defaults(&draft);
    *why = take_hops(&draft, urls);
    plan = *why ? NULL
                : plan_make(&draft.plan, draft.hops, &draft.chain, &draft.bypass, draft.patterns);
    if (!*why && !plan)
        *why = "no memory";
    if (*why)
        session_fail();
    else
        session_adopt(plan, why);
}
