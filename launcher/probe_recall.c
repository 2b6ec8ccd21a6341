/* What is known of the hops before the command starts. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/cache.h"
#include "launcher/probe.h"
#include "launcher/probe_question.h"
#include "proto/bytes.h"

struct probe_questions probe_questions;

static struct cache *cache; /* large, and needed by few: not among what every start touches */

struct vd_path probe_path(const struct plan *plan, const struct probe_question *q)
{
    bool in_order = q->chain->mode == VD_MODE_STRICT || q->chain->mode == VD_MODE_DYNAMIC;
    struct vd_path path = {.hops = plan_hops(plan)};

    for (unsigned i = in_order ? 0 : q->position; i <= q->position; i++)
        path.order[path.count++] = q->chain->hops[i];
    return path;
}

const char *probe_write_way(char way[PROBE_WAY_MAX], const struct vd_path *path)
{
    struct vd_out out = vd_out_over(way, PROBE_WAY_MAX);

    for (unsigned i = 0; i < path->count; i++) {
        vd_out_text(&out, i ? " " : "");
        vd_url_print(&out, vd_path_hop(path, i));
    }
    return vd_out_string(&out);
}

static bool is_question(const struct vd_hop *hop)
{
    return (hop->scheme == VD_SOCKS5 || hop->scheme == VD_SOCKS5H) && !hop->no_probe &&
           hop->unix_len == 0;
}

static void recall(struct plan *plan, const struct probe_question *q, struct vd_hop *hop)
{
    struct vd_path path = probe_path(plan, q);
    char way[PROBE_WAY_MAX];

    switch (cache->len > 0 ? cache_find(cache, probe_write_way(way, &path)) : CACHE_NONE) {
    case CACHE_FLIGHT:
        if (is_question(hop))
            hop->pipeline = VD_PIPELINE_KNOWN;
        break;
    case CACHE_SERIAL:
        hop->pipeline = VD_PIPELINE_OFF;
        break;
    case CACHE_NONE:
        if (is_question(hop) && probe_questions.count < PROBE_QUESTIONS_MAX)
            probe_questions.all[probe_questions.count++] = *q;
        break;
    }
}

/* What the path has no room for is not told to later commands. */
static void read_cache(struct plan *plan)
{
    char path[PATH_MAX];

    cache_read(cache, path);
    if (strlen(path) <= PLAN_CACHE_MAX)
        memcpy(plan->cache, path, strlen(path) + 1);
}

/* A chain of one HTTP or SOCKS4 hop is a single message in any case. */
static bool is_anything_open(const struct plan *plan)
{
    for (unsigned i = 0; i < plan->chain_count; i++)
        for (unsigned j = 0; j < plan_chain(plan, i)->count; j++) {
            const struct vd_hop *hop = plan_hops(plan) + plan_chain(plan, i)->hops[j];

            if (hop->pipeline == VD_PIPELINE_AUTO && (j > 0 || is_question(hop)))
                return true;
        }
    return false;
}

void probe_recall(struct plan *plan)
{
    struct vd_hop *hops = (struct vd_hop *)plan_hops(plan); /* of a plan that may be changed */

    cache = is_anything_open(plan) ? malloc(sizeof *cache) : NULL;
    if (!cache)
        return;
    read_cache(plan);
    for (unsigned i = 0; i < plan->chain_count; i++) {
        struct probe_question q = {.chain = plan_chain(plan, i)};

        for (; q.position < q.chain->count; q.position++) {
            struct vd_hop *hop = hops + q.chain->hops[q.position];

            if (hop->pipeline == VD_PIPELINE_AUTO)
                recall(plan, &q, hop);
        }
    }
}
