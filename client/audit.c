/*
 * A hash table with open addressing, rows only ever added: claim a free place by compare-and-swap,
 * fill it in, then say that it is written. Who finds a place claimed but not written passes on,
 * since a process killed in the middle leaves it so; two who add the same at once may then make two
 * rows, which the reader joins.
 */
#include "client/audit.h"

#include <errno.h>
#include <string.h>

#include "client/audit_table.h"
#include "client/session_tables.h"

enum { WINDOW = 64, PART = 64 /* rows given storage at a time */ };

static uint8_t has_storage[1 + SESSION_AUDIT_MAX / PART]; /* the head's, then of each part */

static bool commit(unsigned part, void *from, size_t len)
{
    if (__atomic_load_n(&has_storage[part], __ATOMIC_RELAXED))
        return true;
    if (!session_commit(from, len))
        return false;
    __atomic_store_n(&has_storage[part], 1, __ATOMIC_RELAXED);
    return true;
}

static struct audit_head *head(void)
{
    if (session_state() != SESSION_READY || !commit(0, session_audit(), SESSION_PAGE))
        return NULL;
    return session_audit();
}

/* The place at an index, NULL without storage. */
static struct audit_row *place(unsigned index)
{
    uint8_t *rows = (uint8_t *)session_audit() + SESSION_PLAIN_RECORDS_AT;
    unsigned part = index / PART;

    if (!commit(1 + part, rows + (size_t)part * PART * SESSION_AUDIT_SIZE,
                (size_t)PART * SESSION_AUDIT_SIZE))
        return NULL;
    return (struct audit_row *)(rows + (size_t)index * SESSION_AUDIT_SIZE);
}

static uint32_t hash_bytes(uint32_t hash, const void *data, size_t len)
{
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (uint8_t)vd_lower((char)p[i])) * 16777619u;
    return hash;
}

static uint32_t hash_of(const struct audit_row *r)
{
    uint32_t hash = hash_bytes(2166136261u, &r->kind, 2);

    hash = hash_bytes(hash, &r->at.port, sizeof r->at.port);
    hash = hash_bytes(hash, &r->number, sizeof r->number);
    if (vd_endpoint_is_name(&r->at))
        return hash_bytes(hash, r->at.name, r->at.name_len);
    return hash_bytes(hash, r->at.ip.bytes, sizeof r->at.ip.bytes);
}

bool audit_same(const struct audit_row *a, const struct audit_row *b)
{
    return a->hash == b->hash && a->kind == b->kind && a->way == b->way && a->number == b->number &&
           a->chain == b->chain && a->rule == b->rule && vd_endpoint_same(&a->at, &b->at);
}

/* The row like `like`, which is added if need be; NULL: no room. */
static struct audit_row *find_or_add(struct audit_head *h, const struct audit_row *like)
{
    for (unsigned i = 0; i < WINDOW; i++) {
        struct audit_row *r = place((like->hash + i) % SESSION_AUDIT_MAX);
        uint32_t state = r ? __atomic_load_n(&r->state, __ATOMIC_ACQUIRE) : AUDIT_CLAIMED;

        if (state == AUDIT_WRITTEN && audit_same(r, like))
            return r;
        if (state != AUDIT_FREE ||
            !__atomic_compare_exchange_n(&r->state, &state, AUDIT_CLAIMED, false, __ATOMIC_ACQ_REL,
                                         __ATOMIC_RELAXED))
            continue;
        *r = *like;
        __atomic_store_n(&r->state, AUDIT_CLAIMED, __ATOMIC_RELAXED);
        r->turn = __atomic_add_fetch(&h->turn, 1, __ATOMIC_RELAXED);
        __atomic_store_n(&r->state, AUDIT_WRITTEN, __ATOMIC_RELEASE);
        return r;
    }
    return NULL;
}

static void note_ms(struct audit_row *r, uint32_t ms)
{
    uint32_t max = __atomic_load_n(&r->ms_max, __ATOMIC_RELAXED);

    __atomic_fetch_add(&r->ms_total, ms, __ATOMIC_RELAXED);
    while (ms > max && !__atomic_compare_exchange_n(&r->ms_max, &max, ms, false, __ATOMIC_RELAXED,
                                                    __ATOMIC_RELAXED))
        ;
}

static uint16_t chain_index(const struct plan *plan, const struct route *route)
{
    return route->chain ? (uint16_t)(route->chain - plan_chain(plan, 0)) : 0;
}

static uint16_t rule_index(const struct plan *plan, const struct route *route)
{
    return route->rule ? (uint16_t)(route->rule - plan_rule(plan, 0)) : AUDIT_NO_RULE;
}

struct cost {
    uint32_t ms, bytes;
};

static void add(const struct audit_row *given, const struct route *route, struct cost cost)
{
    const struct plan *plan = session_plan();
    struct audit_row like = *given, *r;
    struct audit_head *h = head();
    int saved = errno;

    if (!h)
        return;
    like.state = AUDIT_CLAIMED;
    like.chain = chain_index(plan, route);
    like.rule = rule_index(plan, route);
    like.hash = hash_of(&like);
    r = find_or_add(h, &like);
    if (r) {
        __atomic_fetch_add(&r->count, 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&r->bytes_total, cost.bytes, __ATOMIC_RELAXED);
        note_ms(r, cost.ms);
    } else {
        __atomic_fetch_add(&h->counters[AUDIT_NOT_SHOWN], 1, __ATOMIC_RELAXED);
    }
    errno = saved;
}

static struct audit_row row_of(enum audit_kind kind, enum audit_way way,
                               const struct vd_endpoint *at, int number)
{
    return (struct audit_row){
        .at = *at, .number = (uint16_t)number, .kind = (uint8_t)kind, .way = (uint8_t)way};
}

void audit_add(enum audit_kind kind, enum audit_way way, const struct vd_endpoint *at,
               const struct route *route, int number, uint32_t ms)
{
    struct audit_row row = row_of(kind, way, at, number);

    add(&row, route, (struct cost){.ms = ms});
}

void audit_handshake(const struct vd_endpoint *at, const struct route *route, int number,
                     uint32_t ms, uint32_t bytes)
{
    struct audit_row row = row_of(AUDIT_STREAM, AUDIT_BY_CHAIN, at, number);

    add(&row, route, (struct cost){ms, bytes});
}

void audit_count(enum audit_counter counter)
{
    struct audit_head *h = head();

    if (h)
        __atomic_fetch_add(&h->counters[counter], 1, __ATOMIC_RELAXED);
}

void audit_lacks(const char *what)
{
    struct audit_head *h = audit_is_on() ? head() : NULL;

    if (h && __atomic_exchange_n(&h->lacks_said, 1, __ATOMIC_RELAXED) == 0) {
        struct vd_out out = vd_out_over(h->lacks, sizeof h->lacks);

        vd_out_text(&out, what);
    }
}
