/*
 * A lookup is made by the first who asks, and lives in a hash table:
 *
 *     asked ──a family answered──> waiters are called ──both──> kept until `expires_ms`, then
 *                                                               dropped when its bucket is cleaned
 *
 * It is never freed while a family is outstanding (whoever asks holds its address) or somebody
 * waits (they read the addresses in place). Answers may come from inside the asking, for names of
 * /etc/hosts: before the first waiter is on the list.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/resolve_state.h"
#include "daemon/shared.h"
#include "proto/err.h"

enum { KEPT_MAX = 2048, TTL_MAX_MS = 3600 * 1000 };

/* --- the table --- */

static unsigned bucket_of(const char *name, size_t len)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)name[i]) * 16777619u;
    return (h ^ h >> 16) % RESOLVE_BUCKETS;
}

static bool is_asked(const struct resolve_lookup *l)
{
    return !l->family[RESOLVE_V4].here || !l->family[RESOLVE_V6].here;
}

static bool in_use(const struct resolve_lookup *l)
{
    return l->waiters || l->telling || is_asked(l);
}

static void clean(struct resolver *r, unsigned bucket, bool all)
{
    struct resolve_lookup **at = &r->buckets[bucket];
    while (*at) {
        struct resolve_lookup *l = *at;
        if (in_use(l) || (!all && l->expires_ms > r->loop->now_ms)) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        r->kept--;
        free(l);
    }
}

static bool is_fresh(const struct resolve_lookup *l)
{
    return is_asked(l) || l->expires_ms > l->resolver->loop->now_ms;
}

static struct resolve_lookup *find(struct resolver *r, unsigned bucket, const char *name,
                                   size_t len)
{
    struct resolve_lookup *l = r->buckets[bucket];
    while (l && (l->len != len || memcmp(l->name, name, len) != 0 || !is_fresh(l)))
        l = l->next;
    return l;
}

/* --- answers --- */

static void link_wait(struct resolve_wait *w, struct resolve_wait **list)
{
    w->next = *list;
    w->link = list;
    if (w->next)
        w->next->link = &w->next;
    *list = w;
}

static void unlink_wait(struct resolve_wait *w)
{
    *w->link = w->next;
    if (w->next)
        w->next->link = w->link;
}

void resolve_add(struct resolve_result *f, const struct vd_ip *ip, int64_t ttl_ms)
{
    int64_t ttl = ttl_ms < 0 ? 0 : ttl_ms > TTL_MAX_MS ? TTL_MAX_MS : ttl_ms;
    if (f->count == RESOLVE_IPS_MAX)
        return;
    f->ips[f->count++] = *ip;
    if (f->count == 1 || ttl < f->ttl_ms)
        f->ttl_ms = ttl;
}

/* How long both answers together hold: an unknown name and a silent server are asked anew. */
static int64_t lifetime_ms(const struct resolve_lookup *l)
{
    const struct resolve_result *a = &l->family[0], *b = &l->family[1];
    if (a->err == VD_ERR_TTL || b->err == VD_ERR_TTL)
        return 0;
    if (a->count && b->count)
        return a->ttl_ms < b->ttl_ms ? a->ttl_ms : b->ttl_ms;
    return a->count ? a->ttl_ms : b->count ? b->ttl_ms : 0;
}

/* Each waiter is moved to a list of those who know before it is called: it may leave either list,
 * others may come. */
static void tell(struct resolve_lookup *l)
{
    struct resolve_wait *told = NULL;
    l->telling = true;
    while (l->waiters) {
        struct resolve_wait *w = l->waiters;
        unlink_wait(w);
        link_wait(w, &told);
        w->answered(w);
    }
    while (told) {
        struct resolve_wait *w = told;
        unlink_wait(w);
        link_wait(w, &l->waiters);
    }
    l->telling = false;
}

static void count(const struct resolve_lookup *l)
{
    struct shared_counts *counts = l->resolver->setup.counts;
    int64_t ms = l->resolver->loop->now_ms - l->asked_ms;
    if (!counts)
        return;
    shared_add(&counts->lookups[shared_time_class(ms)], 1);
    shared_add(&counts->lookups_ms, (uint64_t)ms);
    shared_add(&counts->lookups_failed, l->family[0].count + l->family[1].count == 0);
}

void resolve_done(struct resolve_lookup *l, struct resolve_result *f, int err)
{
    f->here = true;
    f->err = f->count > 0 ? VD_OK : err;
    if (l->family[0].here && l->family[1].here) {
        l->expires_ms = l->resolver->loop->now_ms + lifetime_ms(l);
        count(l);
    }
    tell(l);
}

/* --- asking --- */

/* RFC 6761 section 6.3: never a question to a name server. (c-ares 1.18 answers it as well, and
 * loses a few bytes each time where /etc/hosts has one family only.) */
static bool is_localhost(const char *name, size_t len)
{
    static const char local[] = ".localhost";
    size_t want = sizeof local - 1;
    if (len > 0 && name[len - 1] == '.')
        len--;
    if (len == want - 1)
        return memcmp(name, local + 1, len) == 0;
    return len >= want && memcmp(name + len - want, local, want) == 0;
}

static void answer_localhost(struct resolve_lookup *l)
{
    static const uint8_t v4[4] = {127, 0, 0, 1}, v6[16] = {[15] = 1};
    l->family[RESOLVE_V4] = (struct resolve_result){.here = true, .count = 1, .ips = {vd_ip4(v4)}};
    l->family[RESOLVE_V6] =
        (struct resolve_result){.here = true, .count = 1, .ips = {vd_ip6(v6, 0)}};
}

static struct resolve_lookup *ask(struct resolver *r, unsigned bucket, const char *name, size_t len)
{
    struct resolve_lookup *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->resolver = r;
    l->asked_ms = r->loop->now_ms;
    l->len = len;
    memcpy(l->name, name, len);
    l->next = r->buckets[bucket];
    r->buckets[bucket] = l;
    r->kept++;
    if (is_localhost(name, len))
        answer_localhost(l);
    else if (r->setup.system)
        resolve_system_ask(l);
    else
        resolve_cares_ask(l);
    return l;
}

void resolve_leave(struct resolver *r)
{
    if (r)
        resolve_cares_close(r);
}

int resolve_start(struct resolver *r, struct resolve_wait *wait, const char *name, size_t len)
{
    char lower[VD_NAME_MAX + 1];
    for (size_t i = 0; i < len; i++)
        lower[i] = vd_lower(name[i]);
    unsigned bucket = bucket_of(lower, len);
    if (r->channels)
        resolve_cares_follow(r);
    clean(r, bucket, false);
    clean(r, r->sweep++ % RESOLVE_BUCKETS, r->kept > KEPT_MAX);
    if (!r->setup.system && !r->channels)
        return -1;
    struct resolve_lookup *l = find(r, bucket, lower, len);
    if (!l)
        l = ask(r, bucket, lower, len);
    if (!l)
        return -1;
    wait->lookup = l;
    link_wait(wait, &l->waiters);
    return 0;
}

struct resolve_answer resolve_answer(const struct resolve_wait *wait, enum resolve_family family)
{
    const struct resolve_result *f = &wait->lookup->family[family];
    return (struct resolve_answer){f->here, f->err, f->count, f->ips};
}

const char *resolve_said(const struct resolve_wait *wait, size_t *len)
{
    const struct resolve_lookup *l = wait->lookup;
    const struct resolver *r = l->resolver;
    *len = r->said_len;
    for (int i = 0; i < 2; i++)
        if (r->said_err != VD_OK && l->family[i].err == r->said_err && r->said_len > 0)
            return r->said;
    return NULL;
}

void resolve_stop(struct resolve_wait *wait)
{
    if (!wait->lookup)
        return;
    unlink_wait(wait);
    wait->lookup = NULL;
}

/* --- life --- */

struct resolver *resolve_new(struct loop *loop, const struct resolve_setup *setup)
{
    struct resolver *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->loop = loop;
    r->setup = *setup;
    if ((setup->system ? resolve_system_start(r) : resolve_cares_open(r)) == 0)
        return r;
    free(r);
    return NULL;
}

void resolve_free(struct resolver *r)
{
    if (!r)
        return;
    resolve_cares_close(r);
    resolve_system_stop(r);
    for (unsigned i = 0; i < RESOLVE_BUCKETS; i++)
        clean(r, i, true);
    free(r);
}
