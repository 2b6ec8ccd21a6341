#include "daemon/admin_view.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t clock_ms(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* What a worker wrote may be anything. */
static void make_text(char *text, size_t size)
{
    text[size - 1] = 0;
    for (; *text; text++)
        if (*text < 0x20 || *text > 0x7e)
            *text = '?';
}

/* --- workers and their sessions --- */

static int newest_first(const void *a, const void *b)
{
    const struct shared_row *one = a, *other = b;
    return (one->started_ms < other->started_ms) - (one->started_ms > other->started_ms);
}

static void read_rows(struct admin_view *v, const struct shared *sh, unsigned slot)
{
    static struct shared_row rows[SHARED_ROWS];
    uint32_t count = shared_read_rows(sh, slot, rows);
    for (uint32_t i = 0; i < count && v->row_count < ADMIN_ROWS; i++) {
        struct shared_row *row = &v->rows[v->row_count++];
        *row = rows[i];
        make_text(row->client, sizeof row->client);
        make_text(row->user, sizeof row->user);
        make_text(row->protocol, sizeof row->protocol);
        make_text(row->command, sizeof row->command);
        make_text(row->target, sizeof row->target);
        make_text(row->chain, sizeof row->chain);
    }
}

static void read_workers(struct admin_view *v, const struct shared *sh)
{
    for (unsigned i = 0; i < shared_used(sh) && v->worker_count < ADMIN_WORKERS; i++) {
        const struct shared_worker *w = &sh->workers[i];
        int32_t pid = __atomic_load_n(&w->pid, __ATOMIC_ACQUIRE);
        if (pid <= 0)
            continue;
        v->workers[v->worker_count++] = (struct admin_worker){.pid = pid,
                                                              .sessions = w->sessions,
                                                              .handshakes = w->handshakes,
                                                              .paused = w->paused != 0,
                                                              .draining = w->draining != 0};
        v->paused += w->paused != 0;
        read_rows(v, sh, i);
    }
    qsort(v->rows, v->row_count, sizeof *v->rows, newest_first);
}

/* --- clients, users, rules, limits --- */

static int busiest_first(const void *a, const void *b)
{
    const struct admin_entry *one = a, *other = b;
    if (one->sessions != other->sessions)
        return one->sessions < other->sessions ? 1 : -1;
    if (one->is.total != other->is.total)
        return one->is.total < other->is.total ? 1 : -1;
    return strcmp(one->is.text, other->is.text);
}

/* When there is no room any more, the last of those so far gives way to whoever is busier. */
static void keep_entry(struct admin_view *v, const struct admin_entry *e)
{
    enum shared_kind kind = (enum shared_kind)e->is.kind;
    struct admin_entry *all = v->entries[kind];
    if (v->entry_count[kind] < ADMIN_ENTRIES) {
        all[v->entry_count[kind]++] = *e;
        return;
    }
    v->entry_more[kind]++;
    size_t least = 0;
    for (size_t i = 1; i < ADMIN_ENTRIES; i++)
        if (busiest_first(&all[i], &all[least]) > 0)
            least = i;
    if (busiest_first(e, &all[least]) < 0)
        all[least] = *e;
}

static void read_entries(struct admin_view *v, const struct shared *sh)
{
    struct admin_entry e;
    for (size_t i = 0; i < SHARED_ENTRIES; i++) {
        if (!shared_entry_read(sh, i, &e.is, &e.sessions) || e.is.kind >= SHARED_KINDS)
            continue;
        make_text(e.is.text, sizeof e.is.text);
        make_text(e.is.scope, sizeof e.is.scope);
        keep_entry(v, &e);
    }
    for (int kind = 0; kind < SHARED_KINDS; kind++)
        qsort(v->entries[kind], v->entry_count[kind], sizeof *v->entries[kind], busiest_first);
}

/* --- hops and targets --- */

static int by_group(const void *a, const void *b)
{
    const struct admin_hop *one = a, *other = b;
    int order = strcmp(one->is.group, other->is.group);
    return order ? order : strcmp(one->is.text, other->is.text);
}

/* Those of the past that still have sessions are told too. */
static void read_hops(struct admin_view *v, const struct shared *sh)
{
    for (size_t i = 0; i < SHARED_HOPS; i++) {
        struct admin_hop *hop = &v->hops[v->hop_count];
        if (__atomic_load_n(&sh->hops[i].key, __ATOMIC_ACQUIRE) == 0)
            continue;
        hop->is = sh->hops[i];
        hop->sessions = shared_hop_sessions(sh, &sh->hops[i]);
        hop->down = hop->is.down != 0 || hop->is.dead_until_ms > v->now_ms;
        make_text(hop->is.group, sizeof hop->is.group);
        make_text(hop->is.text, sizeof hop->is.text);
        v->hop_count += hop->is.generation == shared_generation(sh) || hop->sessions > 0;
    }
    qsort(v->hops, v->hop_count, sizeof *v->hops, by_group);
}

/* --- samples --- */

static void read_samples(struct admin_view *v, const struct shared *sh)
{
    const struct shared_history *h = sh->history;
    uint64_t count = __atomic_load_n(&h->count, __ATOMIC_ACQUIRE);
    uint64_t first = count > SHARED_SAMPLES ? count - SHARED_SAMPLES : 0;
    for (uint64_t i = first; i < count; i++)
        v->samples[v->sample_count++] = h->at[i % SHARED_SAMPLES];
}

void admin_view_sample(const struct shared *sh)
{
    struct shared_history *h = sh->history;
    struct shared_counts sums;
    shared_sums(sh, &sums);
    h->at[h->count % SHARED_SAMPLES] =
        (struct shared_sample){.at_ms = clock_ms(CLOCK_MONOTONIC),
                               .accepted = sums.accepted,
                               .bytes_up = sums.bytes_up,
                               .bytes_down = sums.bytes_down,
                               .refused = admin_view_ended(&sums, SHARED_REFUSED),
                               .sessions = shared_total(sh, &sh->workers[0].sessions)};
    __atomic_store_n(&h->count, h->count + 1, __ATOMIC_RELEASE);
}

/* --- the whole --- */

uint64_t admin_view_ended(const struct shared_counts *sums, enum shared_end end)
{
    uint64_t sum = 0;
    for (int i = 0; i < SHARED_PROTOCOLS; i++)
        sum += sums->ended[i][end];
    return sum;
}

uint64_t admin_view_ended_in_all(const struct shared_counts *sums)
{
    uint64_t sum = 0;
    for (int end = 0; end < SHARED_ENDS; end++)
        sum += admin_view_ended(sums, (enum shared_end)end);
    return sum;
}

void admin_view_read(struct admin_view *v, const struct shared *sh)
{
    memset(v, 0, sizeof *v);
    v->now_ms = clock_ms(CLOCK_MONOTONIC);
    v->wall_s = clock_ms(CLOCK_REALTIME) / 1000;
    v->started_ms = shared_started_ms(sh);
    shared_sums(sh, &v->sums);
    v->sessions = shared_total(sh, &sh->workers[0].sessions);
    v->handshakes = shared_total(sh, &sh->workers[0].handshakes);
    read_workers(v, sh);
    read_entries(v, sh);
    read_hops(v, sh);
    read_samples(v, sh);
}
