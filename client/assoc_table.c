/*
 * The records, as client/sockets.c keeps its own: a record lies at its cookie modulo the table's
 * size or in one of the places behind it, since cookies are given out in order.
 *
 * `version` is odd while a record is written. A writer makes it odd by compare-and-swap, so that
 * there is one at a time whatever process it is in; if it dies meanwhile, the place is lost, and no
 * more.
 */
#include <assert.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>

#include "client/assoc_entry.h"
#include "client/session_tables.h"

struct record {
    _Alignas(8) uint64_t cookie; /* 0: free */
    uint32_t version;
    uint32_t turn; /* when it was taken: the order decides who makes room */
    uint32_t chain;
    uint32_t connected;
    struct assoc_told told;
    uint8_t zero[SESSION_ASSOC_SIZE - 24 - sizeof(struct assoc_told)];
};
static_assert(sizeof(struct record) == SESSION_ASSOC_SIZE, "a record fits its place");
static_assert(sizeof(struct assoc_told) == 780 && offsetof(struct record, told) == 24,
              "the same for 32-bit and 64-bit processes");
static_assert(sizeof(struct assoc_told) % 4 == 0, "copied in words");
static_assert(offsetof(struct assoc_told, prefix) % 4 == 0, "copied in words");

enum { WINDOW = 16, PART = 64 /* records that get storage at a time */, TRIES = 1000 };

/* What stands in the table's first page. */
struct head {
    uint32_t turn; /* above 0: there was an association */
};

static struct head *head(void)
{
    static bool has_head;

    if (session_state() != SESSION_READY)
        return NULL;
    if (!__atomic_load_n(&has_head, __ATOMIC_RELAXED)) {
        if (!session_commit(session_assocs(), SESSION_PAGE))
            return NULL;
        __atomic_store_n(&has_head, true, __ATOMIC_RELAXED);
    }
    return session_assocs();
}

bool assoc_any(void)
{
    const struct head *h = head();

    return h && __atomic_load_n(&h->turn, __ATOMIC_RELAXED) > 0;
}

static struct record *records(void)
{
    return (struct record *)((uint8_t *)session_assocs() + SESSION_PLAIN_RECORDS_AT);
}

static bool has_storage(unsigned part)
{
    static uint8_t parts[SESSION_ASSOCS_MAX / PART];

    if (__atomic_load_n(&parts[part], __ATOMIC_RELAXED))
        return true;
    if (!head() ||
        !session_commit(records() + (size_t)part * PART, (size_t)PART * SESSION_ASSOC_SIZE))
        return false;
    __atomic_store_n(&parts[part], 1, __ATOMIC_RELAXED);
    return true;
}

/* The i-th place where a cookie may stand, -1 without storage. */
static int place(uint64_t cookie, unsigned i)
{
    unsigned at = (unsigned)((cookie + i) % SESSION_ASSOCS_MAX);

    return session_state() == SESSION_READY && has_storage(at / PART) ? (int)at : -1;
}

static bool is_of(const struct record *r, uint64_t cookie)
{
    return __atomic_load_n(&r->cookie, __ATOMIC_ACQUIRE) == cookie;
}

int assoc_find_next(uint64_t cookie, unsigned *step)
{
    while (cookie && *step < WINDOW) {
        int at = place(cookie, (*step)++);

        if (at >= 0 && is_of(&records()[at], cookie))
            return at;
    }
    return -1;
}

int assoc_find(uint64_t cookie, unsigned chain)
{
    unsigned step = 0;
    int at = assoc_find_next(cookie, &step);

    while (at >= 0 && assoc_chain_of(at) != chain)
        at = assoc_find_next(cookie, &step);
    return at;
}

unsigned assoc_chain_of(int at)
{
    return __atomic_load_n(&records()[at].chain, __ATOMIC_RELAXED);
}

/* --- reading and writing --------------------------------------------------------------------- */

/* Whoever writes may have been stopped in the middle of it. */
static void be_patient(int tries)
{
    if (tries > TRIES / 10)
        sched_yield();
}

static void copy_out(uint32_t *to, const uint32_t *from, size_t len)
{
    for (size_t i = 0; i < (len + 3) / 4; i++)
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

static void copy_in(uint32_t *to, const uint32_t *from, size_t len)
{
    for (size_t i = 0; i < (len + 3) / 4; i++)
        __atomic_store_n(&to[i], from[i], __ATOMIC_RELAXED);
}

/* The session is writable for every process of it. `hops` stands at the end and is looked at by
 * those who use it. */
static bool is_sound(const struct assoc_told *told)
{
    return told->prefix_len <= ASSOC_PREFIX_MAX && told->relay_len <= sizeof told->relay;
}

bool assoc_read_front(int at, uint64_t cookie, struct assoc_told *told, size_t len)
{
    const struct record *r = &records()[at];

    for (int i = 0; i < TRIES; i++) {
        uint32_t version = __atomic_load_n(&r->version, __ATOMIC_ACQUIRE);

        be_patient(i);
        if (version & 1)
            continue;
        if (!is_of(r, cookie))
            return false;
        copy_out((uint32_t *)told, (const uint32_t *)&r->told, len);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (__atomic_load_n(&r->version, __ATOMIC_RELAXED) == version)
            return is_sound(told);
    }
    return false;
}

bool assoc_read(int at, uint64_t cookie, struct assoc_told *told)
{
    return assoc_read_front(at, cookie, told, sizeof *told) && told->hops <= VD_HOPS_MAX;
}

static bool begin_change(struct record *r)
{
    for (int i = 0; i < TRIES; i++) {
        uint32_t version = __atomic_load_n(&r->version, __ATOMIC_RELAXED);

        be_patient(i);
        if (!(version & 1) && __atomic_compare_exchange_n(&r->version, &version, version + 1, false,
                                                          __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            return true;
    }
    return false;
}

static void end_change(struct record *r)
{
    __atomic_fetch_add(&r->version, 1, __ATOMIC_RELEASE);
}

bool assoc_write(int at, uint64_t cookie, uint32_t generation, const struct assoc_told *told)
{
    struct record *r = &records()[at];
    bool same;

    if (!begin_change(r))
        return false;
    same = is_of(r, cookie) && r->told.generation == generation;
    if (same)
        copy_in((uint32_t *)&r->told, (const uint32_t *)told, sizeof *told);
    end_change(r);
    return same;
}

void assoc_set_connected(int at, bool connected)
{
    __atomic_store_n(&records()[at].connected, connected, __ATOMIC_SEQ_CST);
}

bool assoc_is_connected(int at)
{
    return __atomic_load_n(&records()[at].connected, __ATOMIC_SEQ_CST);
}

/* --- places ---------------------------------------------------------------------------------- */

/* How dear a record is: of one whose maker is gone nobody may be left, and the oldest may be. */
static bool is_dearer(const struct record *a, const struct record *b)
{
    bool a_lives = assoc_is_alive(a->told.owner), b_lives = assoc_is_alive(b->told.owner);

    return a_lives != b_lives ? a_lives : (int32_t)(a->turn - b->turn) > 0;
}

/* A free place, or the least dear. *holds is the cookie that stands there. */
static int make_room(uint64_t cookie, uint64_t *holds)
{
    int least = -1;

    *holds = 0;

    for (unsigned i = 0; i < WINDOW; i++) {
        int at = place(cookie, i);

        if (at < 0)
            continue;
        if (is_of(&records()[at], 0))
            return at;
        if (least < 0 || is_dearer(&records()[least], &records()[at]))
            least = at;
    }
    if (least >= 0)
        *holds = __atomic_load_n(&records()[least].cookie, __ATOMIC_RELAXED);
    return least;
}

/* Generations of a cookie that lost its place and got another one are others. */
static void fill(struct record *r, uint64_t cookie, unsigned chain, uint32_t turn)
{
    const struct assoc_told nothing = {.generation = turn << 8};

    __atomic_store_n(&r->cookie, 0, __ATOMIC_RELEASE);
    copy_in((uint32_t *)&r->told, (const uint32_t *)&nothing, sizeof nothing);
    __atomic_store_n(&r->turn, turn, __ATOMIC_RELAXED);
    __atomic_store_n(&r->chain, chain, __ATOMIC_RELAXED);
    __atomic_store_n(&r->connected, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&r->cookie, cookie, __ATOMIC_RELEASE);
}

int assoc_take_place(uint64_t cookie, unsigned chain)
{
    for (int i = 0; cookie && i < TRIES; i++) {
        uint64_t holds;
        int at = make_room(cookie, &holds);
        struct record *r = at < 0 ? NULL : &records()[at];

        if (!r || !begin_change(r))
            return -1;
        if (is_of(r, holds)) {
            fill(r, cookie, chain, __atomic_add_fetch(&head()->turn, 1, __ATOMIC_RELAXED));
            end_change(r);
            return at;
        }
        end_change(r); /* another process was quicker */
    }
    return -1;
}

void assoc_free_place(int at, uint64_t cookie)
{
    struct record *r = &records()[at];

    if (!begin_change(r))
        return;
    if (is_of(r, cookie))
        __atomic_store_n(&r->cookie, 0, __ATOMIC_RELEASE);
    end_change(r);
}
