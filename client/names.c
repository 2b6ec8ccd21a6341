/*
 * Two append-only hash tables of one shape: `names` is keyed by name, and its record's index is the
 * placeholder's number; `book` is keyed by address and tells the number of the name it was last
 * given for.
 *
 * Adding: claim a record by counting up, fill it in, then put it before its bucket's head by
 * compare-and-swap. Whoever loses that race looks at what came in between before trying again, so
 * that a name never gets two placeholders; the record of a loser stays unused. A process killed in
 * the middle leaves at most such a record behind.
 */
#include "client/names.h"

#include <assert.h>
#include <string.h>

#include "client/audit.h"
#include "client/plan.h"
#include "client/session_layout.h"
#include "client/session_tables.h"
#include "proto/err.h"

struct record {
    uint32_t next; /* index + 1 of the next one in the bucket */
    uint32_t hash;
    struct vd_ip ip; /* book: the key */
    uint32_t number; /* book: of the name */
    uint8_t published;
    uint8_t given; /* names: its placeholder was, to a program; kept for the audit only */
    uint8_t len;
    char name[VD_NAME_MAX];
};
static_assert(sizeof(struct record) <= SESSION_NAME_SIZE, "a record fits its place");
static_assert(sizeof(struct record) <= SESSION_BOOK_SIZE && _Alignof(struct record) <= 4,
              "a record fits its place, and is the same for 32-bit and 64-bit processes");

struct counters {
    uint32_t used;      /* records claimed */
    uint32_t committed; /* records with storage behind them */
};

struct table {
    uint8_t *base;
    uint32_t max;
    bool by_ip;
};

enum { CHUNK = 128 /* records given storage at a time */ };

static struct counters *counters_of(const struct table *t)
{
    return (struct counters *)t->base;
}

static uint32_t *head_of(const struct table *t, uint32_t hash)
{
    return (uint32_t *)(t->base + SESSION_HEADS_AT) + hash % SESSION_BUCKETS;
}

static struct record *record_at(const struct table *t, uint32_t index)
{
    return (struct record *)(t->base + SESSION_HASHED_RECORDS_AT +
                             (size_t)index * SESSION_NAME_SIZE);
}
static_assert(SESSION_NAME_SIZE == SESSION_BOOK_SIZE, "both tables have the same shape");

/* Counters and heads get their storage when a process first comes by. */
static bool is_open(const struct table *t)
{
    static bool opened[2];

    if (__atomic_load_n(&opened[t->by_ip], __ATOMIC_RELAXED))
        return true;
    if (!t->base || !session_commit(t->base, SESSION_HASHED_RECORDS_AT))
        return false;
    __atomic_store_n(&opened[t->by_ip], true, __ATOMIC_RELAXED);
    return true;
}

static bool open_names(struct table *t)
{
    *t = (struct table){session_names(), SESSION_NAMES_MAX, false};
    return is_open(t);
}

static bool open_book(struct table *t)
{
    *t = (struct table){session_book(), SESSION_BOOK_MAX, true};
    return is_open(t);
}

static uint32_t hash_bytes(const void *data, size_t len)
{
    const char *p = data;
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (uint8_t)vd_lower(p[i])) * 16777619u;
    return hash;
}

static bool same_key(const struct table *t, const struct record *a, const struct record *b)
{
    if (a->hash != b->hash)
        return false;
    if (t->by_ip)
        return vd_ip_same(&a->ip, &b->ip);
    return a->len == b->len && vd_same_text(a->name, b->name, a->len);
}

/* Index + 1 of the record with the key of `like` in the list from `at` on, 0 if there is none. */
static uint32_t find(const struct table *t, uint32_t at, const struct record *like)
{
    while (at && !same_key(t, record_at(t, at - 1), like))
        at = record_at(t, at - 1)->next;
    return at;
}

static uint32_t first(const struct table *t, uint32_t hash)
{
    return __atomic_load_n(head_of(t, hash), __ATOMIC_ACQUIRE);
}

static bool commit_up_to(const struct table *t, uint32_t index)
{
    struct counters *c = counters_of(t);
    uint32_t have = __atomic_load_n(&c->committed, __ATOMIC_ACQUIRE);

    while (have <= index) {
        if (!session_commit(record_at(t, have), (size_t)CHUNK * SESSION_NAME_SIZE))
            return false;
        if (__atomic_compare_exchange_n(&c->committed, &have, have + CHUNK, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            have += CHUNK;
    }
    return true;
}

/* An unused record's index + 1, 0 if there is none left. */
static uint32_t claim(const struct table *t)
{
    struct counters *c = counters_of(t);
    uint32_t index = __atomic_load_n(&c->used, __ATOMIC_RELAXED);

    do {
        if (index >= t->max || !commit_up_to(t, index))
            return 0;
    } while (!__atomic_compare_exchange_n(&c->used, &index, index + 1, false, __ATOMIC_ACQ_REL,
                                          __ATOMIC_RELAXED));
    return index + 1;
}

/* Puts a record into its bucket; the index + 1 under which its key then stands: another one's if
 * somebody was quicker. */
static uint32_t publish(const struct table *t, uint32_t at)
{
    struct record *r = record_at(t, at - 1);
    uint32_t head = first(t, r->hash), other;

    do {
        other = find(t, head, r);
        if (other)
            return other;
        r->next = head;
    } while (!__atomic_compare_exchange_n(head_of(t, r->hash), &head, at, false, __ATOMIC_ACQ_REL,
                                          __ATOMIC_ACQUIRE));
    __atomic_store_n(&r->published, 1, __ATOMIC_RELEASE);
    return at;
}

/* Index + 1 of the record with the key of `like`, which is added if need be; 0: no room. */
static uint32_t find_or_add(const struct table *t, const struct record *like)
{
    uint32_t at = find(t, first(t, like->hash), like);

    if (at)
        return at;
    at = claim(t);
    if (!at)
        return 0;
    *record_at(t, at - 1) = *like;
    return publish(t, at);
}

/* What finding takes; names that stand in the table were judged when they were added. */
static bool fill_key(struct record *r, const char *name, size_t len)
{
    if (len == 0 || len > VD_NAME_MAX)
        return false;
    memcpy(r->name, name, len);
    r->len = (uint8_t)len;
    r->hash = hash_bytes(name, len);
    return true;
}

static bool fill(struct record *r, const char *name, size_t len)
{
    struct vd_endpoint judged;

    memset(r, 0, sizeof *r);
    return vd_endpoint_set_name(&judged, name, len, 0) == VD_OK && fill_key(r, name, len);
}

/* Index + 1 of a name that is there already, else 0. */
static uint32_t find_name(const struct table *t, const char *name, size_t len)
{
    struct record key;

    return fill_key(&key, name, len) ? find(t, first(t, key.hash), &key) : 0;
}

static int number_to_ip(uint32_t number, enum vd_family family, struct vd_ip *ip)
{
    const struct plan *plan = session_plan();
    unsigned bits = family == VD_IPV4 ? 32u - plan->placeholder4_bits : 16u;
    size_t end = family == VD_IPV4 ? 4 : 16;

    if (number >= (1u << bits) - 1)
        return -VD_ERR_SPACE;
    *ip = family == VD_IPV4 ? plan->placeholder4 : plan->placeholder6;
    for (size_t i = 1; number > 0; i++, number >>= 8)
        ip->bytes[end - i] = (uint8_t)(ip->bytes[end - i] | number);
    return VD_OK;
}

int names_placeholder(const char *name, size_t len, enum vd_family family, struct vd_ip *ip)
{
    struct record like;
    struct table t;
    uint32_t at;

    if (!open_names(&t))
        return -VD_ERR_SPACE;
    at = find_name(&t, name, len);
    if (!at && !fill(&like, name, len))
        return -VD_ERR_NAME_FORM;
    if (!at)
        at = find_or_add(&t, &like);
    if (at && audit_is_on() &&
        !__atomic_exchange_n(&record_at(&t, at - 1)->given, 1, __ATOMIC_RELAXED))
        audit_count(AUDIT_PLACEHOLDERS);
    return at ? number_to_ip(at, family, ip) : -VD_ERR_SPACE;
}

bool names_is_placeholder(const struct vd_ip *ip)
{
    const struct plan *plan = session_plan();
    struct vd_ip plain = vd_ip_unmapped(ip);

    return vd_ip_within(&plain, &plan->placeholder4, plan->placeholder4_bits) ||
           vd_ip_within(&plain, &plan->placeholder6, 112);
}

static uint32_t ip_to_number(const struct vd_ip *ip)
{
    const struct plan *plan = session_plan();
    const uint8_t *b = ip->bytes;

    if (ip->family == VD_IPV6)
        return (uint32_t)(b[14] << 8 | b[15]);
    return ((uint32_t)b[0] << 24 | (uint32_t)(b[1] << 16 | b[2] << 8 | b[3])) &
           (uint32_t)((1ull << (32u - plan->placeholder4_bits)) - 1);
}

static bool name_of_number(uint32_t number, struct vd_endpoint *e)
{
    const struct record *r;
    struct table t;

    if (!open_names(&t) || number == 0 ||
        number > __atomic_load_n(&counters_of(&t)->used, __ATOMIC_ACQUIRE))
        return false;
    r = record_at(&t, number - 1);
    if (!__atomic_load_n(&r->published, __ATOMIC_ACQUIRE))
        return false;
    return vd_endpoint_set_name(e, r->name, r->len, e->port) == VD_OK;
}

bool names_find(const struct vd_ip *ip, struct vd_endpoint *e)
{
    struct vd_ip plain = vd_ip_unmapped(ip);

    return names_is_placeholder(ip) && name_of_number(ip_to_number(&plain), e);
}

static void fill_ip(struct record *r, const struct vd_ip *ip)
{
    memset(r, 0, sizeof *r);
    r->ip = vd_ip_unmapped(ip);
    r->hash = hash_bytes(r->ip.bytes, sizeof r->ip.bytes);
}

bool names_remember(const struct vd_ip *ip, const char *name, size_t len)
{
    struct record named, like;
    struct table names, book;
    uint32_t number, at;

    if (!fill(&named, name, len) || !open_names(&names) || !open_book(&book))
        return false;
    fill_ip(&like, ip);
    number = find_or_add(&names, &named);
    at = number ? find_or_add(&book, &like) : 0;
    if (at)
        __atomic_store_n(&record_at(&book, at - 1)->number, number, __ATOMIC_RELEASE);
    return at != 0;
}

bool names_recall(const struct vd_ip *ip, struct vd_endpoint *e)
{
    struct record like;
    struct table book;
    uint32_t at;

    if (!open_book(&book) ||
        __atomic_load_n(&counters_of(&book)->used, __ATOMIC_ACQUIRE) == 0) /* as a rule */
        return false;
    fill_ip(&like, ip);
    at = find(&book, first(&book, like.hash), &like);
    return at &&
           name_of_number(__atomic_load_n(&record_at(&book, at - 1)->number, __ATOMIC_ACQUIRE), e);
}
