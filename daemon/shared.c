/*
 * The mapping is as long as it can ever get, but memory is taken by the page, when it is touched.
 *
 *     head | workers | hops | cells of the hops: a row for each, a column for each slot |
 *     removed users | samples | rows of sessions for each slot | table of clients and users
 *
 * A slot goes through
 *
 *     free ──take──> taken (pid -1) ──started──> pid ──its end, by waitpid──> cleared: free
 *
 * with the parent as the only one who changes `pid`. Clearing adds the worker's sums to those that
 * are gone, and zeroes the rest, its column of cells included; readers see by `folding`, which is
 * odd meanwhile, that they have to read again.
 */
#include "daemon/shared.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>

#include "daemon/shared_table.h"
#include "proto/err.h"

enum { SPARE_SLOTS = 64, WORDS = sizeof(struct shared_counts) / sizeof(uint64_t) };

struct shared_head {
    uint32_t folding, generation;
    int64_t started_ms;
    uint32_t used; /* no slot from here on was ever taken */
    struct shared_counts gone;
};

const char *const shared_protocols[SHARED_PROTOCOLS] = {
    [SHARED_SOCKS4] = "SOCKS4",  [SHARED_SOCKS4A] = "SOCKS4a", [SHARED_SOCKS5] = "SOCKS5",
    [SHARED_HTTP] = "HTTP",      [SHARED_TCP] = "TCP",         [SHARED_UDP] = "UDP",
    [SHARED_UNKNOWN] = "unknown"};

const char *const shared_ends[SHARED_ENDS] = {[SHARED_CLOSED] = "closed",
                                              [SHARED_RESET_BY_CLIENT] = "reset-by-client",
                                              [SHARED_RESET_BY_TARGET] = "reset-by-target",
                                              [SHARED_CLIENT_GONE] = "client-gone",
                                              [SHARED_UPSTREAM_GONE] = "upstream-gone",
                                              [SHARED_CROWDED_OUT] = "crowded-out",
                                              [SHARED_HANDSHAKE_TIMEOUT] = "handshake-timeout",
                                              [SHARED_IDLE_TIMEOUT] = "idle-timeout",
                                              [SHARED_HALF_CLOSED_TIMEOUT] = "half-closed-timeout",
                                              [SHARED_HANDSHAKE_CROWDED] = "handshake-crowded",
                                              [SHARED_USER_REMOVED] = "user-removed",
                                              [SHARED_BAD_PROXY_LINE] = "bad-proxy-line",
                                              [SHARED_DRAINED] = "drained",
                                              [SHARED_FAILED] = "failed",
                                              [SHARED_REFUSED] = "refused",
                                              [SHARED_OTHERWISE] = "other"};

const unsigned shared_times[SHARED_TIMES - 1] = {1, 5, 10, 50, 100, 500, 1000, 5000};

_Static_assert((int)VD_ERR_COUNT <= (int)SHARED_REASONS, "a reason has no place");

/* --- the mapping --- */

static size_t rounded(size_t size)
{
    return (size + 4095) / 4096 * 4096;
}

int shared_init(struct shared *sh, unsigned workers)
{
    unsigned slots = 4 * workers + SPARE_SLOTS;
    size_t head = rounded(sizeof(struct shared_head));
    size_t slot = rounded(slots * sizeof(struct shared_worker));
    size_t hops = rounded(SHARED_HOPS * sizeof(struct shared_hop));
    size_t cells = rounded((SHARED_HOPS + 1) * slots * sizeof(uint32_t));
    size_t revoked = rounded(sizeof(struct shared_revoked));
    size_t history = rounded(sizeof(struct shared_history));
    size_t rows = rounded(slots * sizeof(struct shared_rows));
    size_t table = head + slot + hops + cells + revoked + history + rows;
    size_t all = table + shared_table_size(slots);
    char *at =
        mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        return -1;
    *sh = (struct shared){.slots = slots,
                          .own = -1,
                          .head = (void *)at,
                          .workers = (void *)(at + head),
                          .hops = (void *)(at + head + slot),
                          .hop_cells = (void *)(at + head + slot + hops),
                          .revoked = (void *)(at + head + slot + hops + cells),
                          .history = (void *)(at + head + slot + hops + cells + revoked),
                          .rows = (void *)(at + head + slot + hops + cells + revoked + history),
                          .table = at + table,
                          .size = all};
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    sh->head->started_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    return getrandom(sh->secret, sizeof sh->secret, 0) == sizeof sh->secret ? 0 : -1;
}

void shared_free(struct shared *sh)
{
    munmap(sh->head, sh->size);
}

/* --- slots --- */

int shared_take_slot(struct shared *sh)
{
    for (unsigned i = 0; i < sh->slots; i++) {
        struct shared_worker *w = &sh->workers[i];
        if (w->pid != 0)
            continue;
        w->generation = sh->head->generation;
        if (sh->head->used <= i)
            shared_set(&sh->head->used, i + 1);
        __atomic_store_n(&w->pid, -1, __ATOMIC_RELEASE);
        return (int)i;
    }
    return -1;
}

/* Slots are taken from the first on. */
unsigned shared_used(const struct shared *sh)
{
    uint32_t count = __atomic_load_n(&sh->head->used, __ATOMIC_SEQ_CST);
    return count < sh->slots ? count : sh->slots;
}

void shared_started(struct shared *sh, int slot, int pid)
{
    __atomic_store_n(&sh->workers[slot].pid, pid, __ATOMIC_RELEASE);
}

unsigned shared_free_slots(const struct shared *sh)
{
    unsigned count = 0;
    for (unsigned i = 0; i < sh->slots; i++)
        count += sh->workers[i].pid == 0;
    return count;
}

static void fold(struct shared_counts *to, const struct shared_counts *from)
{
    uint64_t *sums = (uint64_t *)to;
    const uint64_t *more = (const uint64_t *)from;
    for (size_t i = 0; i < WORDS; i++)
        sums[i] += __atomic_load_n(&more[i], __ATOMIC_RELAXED);
}

void shared_clear_slot(struct shared *sh, int slot)
{
    struct shared_worker *w = &sh->workers[slot];
    uint32_t *folding = &sh->head->folding;
    __atomic_add_fetch(folding, 1, __ATOMIC_SEQ_CST);
    fold(&sh->head->gone, &w->counts);
    for (size_t i = 0; i <= SHARED_HOPS; i++)
        if (i == SHARED_HOPS || sh->hops[i].key != 0)
            shared_set(&sh->hop_cells[i * sh->slots + (unsigned)slot], 0);
    shared_table_clear(sh, (unsigned)slot);
    shared_set(&sh->rows[slot].count, 0);
    shared_set(&sh->rows[slot].seq, 0);
    memset(w, 0, sizeof *w);
    __atomic_add_fetch(folding, 1, __ATOMIC_SEQ_CST);
}

void shared_next_generation(struct shared *sh, bool alone)
{
    for (size_t i = 0; i < SHARED_HOPS && alone; i++)
        if (sh->hops[i].key != 0 && sh->hops[i].generation != sh->head->generation)
            memset(&sh->hops[i], 0, sizeof sh->hops[i]);
    shared_set(&sh->head->generation, sh->head->generation + 1);
}

int64_t shared_started_ms(const struct shared *sh)
{
    return sh->head->started_ms;
}

uint32_t shared_generation(const struct shared *sh)
{
    return __atomic_load_n(&sh->head->generation, __ATOMIC_RELAXED);
}

/* --- a worker's own --- */

uint32_t shared_total(const struct shared *sh, const uint32_t *one)
{
    uint32_t total = 0;
    for (unsigned i = shared_used(sh); i > 0; i--) {
        total += __atomic_load_n(one, __ATOMIC_SEQ_CST);
        one = (const uint32_t *)(const void *)((const char *)one + sizeof *sh->workers);
    }
    return total;
}

/* First counted, then looked: who comes later sees this one. */
bool shared_enter(struct shared *sh, uint32_t most)
{
    uint32_t *own = &shared_own(sh)->sessions;
    __atomic_store_n(own, *own + 1, __ATOMIC_SEQ_CST);
    if (most == 0 || shared_total(sh, &sh->workers[0].sessions) <= most)
        return true;
    shared_set(own, *own - 1);
    return false;
}

void shared_leave(struct shared *sh)
{
    shared_set(&shared_own(sh)->sessions, shared_own(sh)->sessions - 1);
}

unsigned shared_time_class(int64_t ms)
{
    unsigned i = 0;
    while (i < SHARED_TIMES - 1 && ms > shared_times[i])
        i++;
    return i;
}

static unsigned place_of(const char *const *words, unsigned count, const char *word)
{
    unsigned i = 0;
    while (i < count - 1 && strcmp(words[i], word) != 0)
        i++;
    return i;
}

/* Several reasons have the same word; the first one stands for them. */
static unsigned reason_of(const char *error)
{
    for (int i = VD_OK + 1; i < VD_ERR_COUNT; i++)
        if (strcmp(vd_err_proxy_status(i), error) == 0)
            return (unsigned)i;
    return VD_ERR_FAILED;
}

void shared_note_end(struct shared_counts *c, const char *protocol, const char *end,
                     const char *error)
{
    unsigned spoken = place_of(shared_protocols, SHARED_PROTOCOLS, protocol);
    shared_add(&c->ended[spoken][place_of(shared_ends, SHARED_ENDS, end)], 1);
    if (error)
        shared_add(&c->refused[reason_of(error)], 1);
}

/* --- hops and targets --- */

/* FNV-1a; what is hashed is the configuration's. */
static uint64_t key_of(const char *group, const char *text)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *group; group++)
        hash = (hash ^ (uint8_t)*group) * 0x100000001b3u;
    hash *= 0x100000001b3u;
    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * 0x100000001b3u;
    return hash ? hash : 1;
}

static void keep_text(char *to, const char *text)
{
    size_t len = strlen(text);
    len = len < SHARED_TEXT ? len : SHARED_TEXT - 1;
    memcpy(to, text, len);
    to[len] = 0;
}

/* Two workers that make the same record write the same texts. */
static struct shared_hop *found(struct shared *sh, struct shared_hop *hop, const char *group,
                                const char *text)
{
    keep_text(hop->group, group);
    keep_text(hop->text, text);
    shared_set(&hop->generation, shared_generation(sh));
    return hop;
}

/* A record that only this process knows; without memory even for that, one for all. */
static struct shared_hop *own_hop(uint64_t key)
{
    static struct own {
        struct own *next;
        struct shared_hop hop;
    } spare, *all;
    struct own *own = all;
    while (own && own->hop.key != key)
        own = own->next;
    if (own)
        return &own->hop;
    own = calloc(1, sizeof *own);
    if (!own)
        return &spare.hop;
    *own = (struct own){.next = all, .hop.key = key};
    all = own;
    return &own->hop;
}

struct shared_hop *shared_hop(struct shared *sh, const char *group, const char *text)
{
    uint64_t key = key_of(group, text);
    for (size_t i = 0; i < SHARED_HOPS; i++) {
        struct shared_hop *hop = &sh->hops[i];
        uint64_t have = 0;
        if (__atomic_compare_exchange_n(&hop->key, &have, key, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST) ||
            have == key)
            return found(sh, hop, group, text);
    }
    return found(sh, own_hop(key), group, text);
}

struct shared_hop *shared_hop_of(struct shared *sh, const char *group, const struct vd_hop *hop)
{
    char text[VD_URL_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);
    vd_url_print(&out, hop);
    return shared_hop(sh, group, vd_out_string(&out));
}

static uint32_t *cell_of(const struct shared *sh, const struct shared_hop *hop, unsigned slot)
{
    bool inside = hop >= sh->hops && hop < sh->hops + SHARED_HOPS;
    size_t row = inside ? (size_t)(hop - sh->hops) : SHARED_HOPS;
    return &sh->hop_cells[row * sh->slots + slot];
}

void shared_hop_enter(struct shared *sh, const struct shared_hop *hop)
{
    uint32_t *cell = cell_of(sh, hop, (unsigned)sh->own);
    shared_set(cell, *cell + 1);
}

void shared_hop_leave(struct shared *sh, const struct shared_hop *hop)
{
    uint32_t *cell = cell_of(sh, hop, (unsigned)sh->own);
    shared_set(cell, *cell - 1);
}

uint32_t shared_hop_sessions(const struct shared *sh, const struct shared_hop *hop)
{
    const uint32_t *cell = cell_of(sh, hop, 0);
    uint32_t total = 0;
    for (unsigned i = shared_used(sh); i > 0; i--)
        total += __atomic_load_n(&cell[i - 1], __ATOMIC_RELAXED);
    return total;
}

bool shared_due(struct shared_hop *hop, int64_t now_ms, int64_t every_ms)
{
    int64_t due = __atomic_load_n(&hop->check_due_ms, __ATOMIC_RELAXED);
    return due <= now_ms && __atomic_compare_exchange_n(&hop->check_due_ms, &due, now_ms + every_ms,
                                                        false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

/* --- readers --- */

void shared_sums(const struct shared *sh, struct shared_counts *sums)
{
    uint32_t before, after;
    do {
        before = __atomic_load_n(&sh->head->folding, __ATOMIC_SEQ_CST);
        memset(sums, 0, sizeof *sums);
        fold(sums, &sh->head->gone);
        for (unsigned i = shared_used(sh); i > 0; i--)
            fold(sums, &sh->workers[i - 1].counts);
        after = __atomic_load_n(&sh->head->folding, __ATOMIC_SEQ_CST);
    } while (before != after || before % 2 == 1);
}

uint32_t shared_read_rows(const struct shared *sh, unsigned slot, struct shared_row *rows)
{
    enum { TRIES = 100 };
    const struct shared_rows *from = &sh->rows[slot];
    for (int i = 0; i < TRIES; i++) {
        uint32_t seq = __atomic_load_n(&from->seq, __ATOMIC_ACQUIRE);
        uint32_t count = __atomic_load_n(&from->count, __ATOMIC_RELAXED);
        count = count < SHARED_ROWS ? count : SHARED_ROWS;
        memcpy(rows, from->at, count * sizeof *rows);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (seq % 2 == 0 && seq == __atomic_load_n(&from->seq, __ATOMIC_RELAXED))
            return count;
    }
    return 0;
}
