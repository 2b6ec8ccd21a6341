/*
 * admin_view: what the status page, JSON and metrics tell, read from shared memory at one moment.
 *
 * All texts end with a NUL and are printable ASCII; all counts keep to the sizes of their arrays,
 * whatever a worker has written.
 */
#ifndef DAEMON_ADMIN_VIEW_H
#define DAEMON_ADMIN_VIEW_H

#include "daemon/shared_table.h"

enum { ADMIN_ROWS = 1024, ADMIN_ENTRIES = 256, ADMIN_WORKERS = 256 };

struct admin_worker {
    int32_t pid;
    uint32_t sessions, handshakes;
    bool paused, draining;
};

struct admin_entry {
    struct shared_entry is;
    uint32_t sessions;
};

struct admin_hop {
    struct shared_hop is;
    uint32_t sessions;
    bool down;
};

struct admin_view {
    int64_t now_ms;     /* monotonic, as all others */
    int64_t started_ms; /* of viaductd */
    int64_t wall_s;     /* since 1970 */
    struct shared_counts sums;
    uint32_t sessions, handshakes, paused;
    unsigned worker_count, row_count, hop_count, sample_count;
    struct admin_worker workers[ADMIN_WORKERS];
    struct shared_row rows[ADMIN_ROWS]; /* the newest first */
    /* by kind, those with the most sessions first; `more`: for which there was no room */
    struct admin_entry entries[SHARED_KINDS][ADMIN_ENTRIES];
    unsigned entry_count[SHARED_KINDS], entry_more[SHARED_KINDS];
    struct admin_hop hops[SHARED_HOPS];
    struct shared_sample samples[SHARED_SAMPLES]; /* the oldest first */
};

void admin_view_read(struct admin_view *v, const struct shared *sh);
/* Adds a sample to the history. */
void admin_view_sample(const struct shared *sh);

/* Sessions that ended in a way, of all protocols. */
uint64_t admin_view_ended(const struct shared_counts *sums, enum shared_end end);
uint64_t admin_view_ended_in_all(const struct shared_counts *sums);

#endif
