/*
 * Places are grouped in sets of WAYS; a name can stand in one set only. The state of a place is the
 * one word in `keys`:
 *
 *     0 (free) ──claimed──> CLAIMED | slot ──written──> key of the name
 *                               ^    │                        │
 *                               │    └──── somebody entered ──┤
 *                               └──── unused for a while ─────┘
 *
 * Who enters adds to his cell first and looks at the key again then; who claims does so before he
 * looks at the cells. So one of the two sees the other and steps back. In the same way a name is
 * made once: who claims a place looks at the others of the set then. Of two claims the one behind
 * steps back, and the one in front waits until it has, or has written its name.
 *
 * A worker that is killed in between leaves a claim, which the parent clears with its cells; one
 * that the system has taken off its processor in between goes on some time. Both are waited for,
 * which takes no more than some tens of ms; then the claim counts no more, and at worst a name is
 * made twice.
 */
#include "daemon/shared_table.h"

#include <string.h>
#include <time.h>

enum {
    WAYS = 8,
    SETS = SHARED_ENTRIES / WAYS,
    PATIENCE = 1000, /* looks without a rest */
    NAPS = 200,      /* and looks with one */
    TRIES = 4 * WAYS,
    NAP_NS = 100000,
    NOBODY = -1
};

#define CLAIMED (UINT64_C(1) << 63)

/* --- where things are --- */

static size_t rounded(size_t size)
{
    return (size + 4095) / 4096 * 4096;
}

size_t shared_table_size(unsigned slots)
{
    return rounded(SHARED_ENTRIES * sizeof(uint64_t)) +
           rounded(SHARED_ENTRIES * sizeof(struct shared_entry)) +
           rounded(SHARED_ENTRIES * slots * sizeof(uint32_t));
}

static uint64_t *keys_of(const struct shared *sh)
{
    return sh->table;
}

static struct shared_entry *entries_of(const struct shared *sh)
{
    return (void *)((char *)sh->table + rounded(SHARED_ENTRIES * sizeof(uint64_t)));
}

static uint32_t *cells_of(const struct shared *sh, size_t place)
{
    char *cells = (char *)entries_of(sh) + rounded(SHARED_ENTRIES * sizeof(struct shared_entry));
    return (uint32_t *)(void *)cells + place * sh->slots;
}

/* --- keys --- */

/* With secrets: nobody outside can choose the set. */
static uint64_t mix(uint64_t hash, uint64_t word, const uint64_t *secret)
{
    hash = (hash ^ (word + secret[0])) * (secret[1] | 1);
    hash = (hash ^ hash >> 32) * (secret[2] | 1);
    return hash ^ hash >> 29;
}

static uint64_t mix_bytes(uint64_t hash, const void *data, size_t len, const uint64_t *secret)
{
    const uint8_t *at = data;
    hash = mix(hash, len, secret);
    for (size_t n; len > 0; at += n, len -= n) {
        uint64_t word = 0;
        n = len < sizeof word ? len : sizeof word;
        memcpy(&word, at, n);
        hash = mix(hash, word, secret);
    }
    return hash;
}

static uint64_t key_of(const struct shared *sh, const struct shared_name *name)
{
    uint64_t hash = mix(sh->secret[2], name->kind, sh->secret);
    hash = mix_bytes(hash, name->scope, strlen(name->scope), sh->secret);
    hash = mix_bytes(hash, name->data, name->len, sh->secret) & ~CLAIMED;
    return hash ? hash : 1;
}

uint64_t shared_user_key(const struct shared *sh, const char *name, size_t len)
{
    return mix_bytes(sh->secret[2], name, len, sh->secret);
}

static uint64_t load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static bool change(uint64_t *word, uint64_t from, uint64_t to)
{
    return __atomic_compare_exchange_n(word, &from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* --- sessions --- */

static uint32_t sessions_at(const struct shared *sh, size_t place)
{
    const uint32_t *cells = cells_of(sh, place);
    uint32_t sum = 0;
    for (unsigned i = shared_used(sh); i > 0; i--)
        sum += __atomic_load_n(&cells[i - 1], __ATOMIC_SEQ_CST);
    return sum;
}

static void add_to_cell(struct shared *sh, size_t place, uint32_t n)
{
    uint32_t *cell = &cells_of(sh, place)[sh->own];
    __atomic_store_n(cell, *cell + n, __ATOMIC_SEQ_CST);
}

/* --- finding and making --- */

/* What an entering still waits for others. */
struct patience {
    int looks, naps;
};

/* Before another look at what somebody has claimed; false: that was long enough. */
static bool wait_on(struct patience *p)
{
    static const struct timespec nap = {.tv_nsec = NAP_NS};
    if (p->looks > 0) {
        p->looks--;
        return true;
    }
    if (p->naps == 0)
        return false;
    p->naps--;
    nanosleep(&nap, NULL);
    return true;
}

/* Whether the worker is in, in this place. */
static bool try_enter(struct shared *sh, size_t place, uint64_t key)
{
    uint64_t *word = &keys_of(sh)[place];
    if (load(word) != key)
        return false;
    add_to_cell(sh, place, 1);
    if (load(word) == key)
        return true;
    add_to_cell(sh, place, (uint32_t)-1);
    return false;
}

static bool may_go(const struct shared *sh, size_t place, int64_t now_ms)
{
    const struct shared_entry *e = &entries_of(sh)[place];
    return now_ms - e->used_ms >= SHARED_KEPT_MS && e->fresh_at_us <= now_ms * 1000 &&
           e->rate_at_ns <= now_ms * 1000000 && sessions_at(sh, place) == 0;
}

/* A free place of the set, else the one that was not used for the longest time. */
static int victim(const struct shared *sh, size_t first, int64_t now_ms)
{
    int best = NOBODY;
    for (int i = 0; i < WAYS; i++) {
        size_t place = first + (size_t)i;
        uint64_t key = load(&keys_of(sh)[place]);
        if (key == 0)
            return i;
        if ((key & CLAIMED) || !may_go(sh, place, now_ms))
            continue;
        if (best < 0 ||
            entries_of(sh)[place].used_ms < entries_of(sh)[first + (size_t)best].used_ms)
            best = i;
    }
    return best;
}

/* Into a place of zeros; a long one is cut. */
static void keep_text(char *to, size_t size, const char *text)
{
    size_t len = strlen(text);
    memcpy(to, text, len < size ? len : size - 1);
}

static void write_entry(struct shared_entry *e, const struct shared_name *name, int64_t now_ms)
{
    memset(e, 0, sizeof *e);
    e->kind = name->kind;
    e->used_ms = now_ms;
    keep_text(e->scope, sizeof e->scope, name->scope);
    keep_text(e->text, sizeof e->text, name->text);
}

/* Whether nobody else makes the name, or has made it, while `way` is claimed. */
static bool is_alone(const struct shared *sh, size_t first, size_t way, uint64_t key,
                     struct patience *p)
{
    bool waits = true;
    while (waits) {
        waits = false;
        for (size_t i = 0; i < WAYS; i++) {
            uint64_t other = i == way ? 0 : load(&keys_of(sh)[first + i]);
            if (other == key || ((other & CLAIMED) && i < way && p->naps > 0))
                return false;
            waits |= (other & CLAIMED) != 0;
        }
        waits = waits && wait_on(p);
    }
    return true;
}

/* false: somebody was faster, or entered; look again. */
static bool make(struct shared *sh, size_t place, uint64_t key, const struct shared_name *name,
                 int64_t now_ms, struct patience *p)
{
    uint64_t *word = &keys_of(sh)[place], before = load(word);
    uint64_t claim = CLAIMED | (uint64_t)sh->own;
    if ((before & CLAIMED) || !change(word, before, claim))
        return false;
    if ((before != 0 && !may_go(sh, place, now_ms)) ||
        !is_alone(sh, place - place % WAYS, place % WAYS, key, p)) {
        change(word, claim, before);
        return false;
    }
    write_entry(&entries_of(sh)[place], name, now_ms);
    add_to_cell(sh, place, 1);
    return change(word, claim, key);
}

static bool is_claimed(const struct shared *sh, size_t first)
{
    bool any = false;
    for (size_t i = 0; i < WAYS; i++)
        any |= (load(&keys_of(sh)[first + i]) & CLAIMED) != 0;
    return any;
}

/* The place of the name in its set, entered; NOBODY if there is none. */
static int find(struct shared *sh, size_t first, uint64_t key, struct patience *p)
{
    do {
        for (int i = 0; i < WAYS; i++)
            if (try_enter(sh, first + (size_t)i, key))
                return i;
    } while (is_claimed(sh, first) && wait_on(p)); /* what is being written might be this name */
    return NOBODY;
}

static struct shared_entry *note_use(struct shared *sh, size_t place, int64_t now_ms)
{
    struct shared_entry *e = &entries_of(sh)[place];
    __atomic_store_n(&e->used_ms, now_ms, __ATOMIC_RELAXED);
    __atomic_add_fetch(&e->total, 1, __ATOMIC_RELAXED);
    return e;
}

struct shared_entry *shared_entry_enter(struct shared *sh, const struct shared_name *name,
                                        int64_t now_ms)
{
    uint64_t key = key_of(sh, name);
    size_t first = key % SETS * WAYS;
    struct patience p = {PATIENCE, NAPS};
    for (int tries = 0; tries < TRIES; tries++) {
        int way = find(sh, first, key, &p);
        if (way < 0) {
            way = victim(sh, first, now_ms);
            if (way < 0)
                return NULL;
            if (!make(sh, first + (size_t)way, key, name, now_ms, &p))
                continue;
        }
        return note_use(sh, first + (size_t)way, now_ms);
    }
    return NULL;
}

void shared_entry_leave(struct shared *sh, struct shared_entry *entry, int64_t now_ms)
{
    __atomic_store_n(&entry->used_ms, now_ms, __ATOMIC_RELAXED);
    add_to_cell(sh, (size_t)(entry - entries_of(sh)), (uint32_t)-1);
}

uint32_t shared_entry_sessions(const struct shared *sh, const struct shared_entry *entry)
{
    return sessions_at(sh, (size_t)(entry - entries_of(sh)));
}

bool shared_entry_read(const struct shared *sh, size_t index, struct shared_entry *copy,
                       uint32_t *sessions)
{
    uint64_t key = load(&keys_of(sh)[index]);
    if (key == 0 || (key & CLAIMED))
        return false;
    *copy = entries_of(sh)[index];
    copy->text[SHARED_TEXT - 1] = 0;
    *sessions = sessions_at(sh, index);
    return load(&keys_of(sh)[index]) == key;
}

void shared_table_clear(struct shared *sh, unsigned slot)
{
    for (size_t i = 0; i < SHARED_ENTRIES; i++) {
        uint64_t *word = &keys_of(sh)[i], key = load(word);
        if (key == 0)
            continue;
        __atomic_store_n(&cells_of(sh, i)[slot], 0, __ATOMIC_SEQ_CST);
        if (key == (CLAIMED | slot))
            change(word, key, 0);
    }
}

/* --- tokens --- */

/* The time at which the bucket would be full again is all there is to know: a token moves it on by
 * its share of the period, and it may not be further off than one period. */
int64_t shared_take(int64_t *at_us, int64_t now_us, uint32_t count, int64_t period_us)
{
    int64_t share = period_us / count, at = __atomic_load_n(at_us, __ATOMIC_RELAXED), next;
    do {
        next = (at > now_us ? at : now_us) + share;
        if (next - now_us > share * count)
            return next - now_us - share * count;
    } while (
        !__atomic_compare_exchange_n(at_us, &at, next, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return 0;
}
