/*
 * shared: what all processes of one viaductd know together.
 *
 * One anonymous mapping, made by the parent before the first worker; every process it forks
 * inherits it, over crashes and reloads. There are no locks in it: each word is changed by one
 * process only, or by one atomic operation.
 *
 * What is the case now (sessions that are open) stands in a worker's slot, or in a cell of that
 * slot, where nobody else writes. So a worker may be killed at any point: the parent clears the
 * slot, and nothing of it is counted any more. What only grows is added to the sums of those that
 * are gone.
 *
 * A worker that was taken over can write anything here. So it holds no pointers, and whoever reads
 * it keeps to the bounds of a text.
 */
#ifndef DAEMON_SHARED_H
#define DAEMON_SHARED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/repute.h"
#include "proto/url.h"

enum {
    SHARED_HOPS = 1024, /* records of hops and targets */
    SHARED_TEXT = 128,  /* bytes of a name that is shown, its NUL included */
    SHARED_TIMES = 9, /* classes of a duration: up to 1, 5, 10, 50, 100, 500, 1000, 5000 ms; more */
    SHARED_REASONS = 64,
    SHARED_ROWS = 256, /* sessions of a worker that are shown */
    SHARED_SAMPLES = 150,
    SHARED_SAMPLE_MS = 2000
};

/* What a session spoke, and how it ended: the words of log.h, in this order. */
enum shared_protocol {
    SHARED_SOCKS4,
    SHARED_SOCKS4A,
    SHARED_SOCKS5,
    SHARED_HTTP,
    SHARED_TCP,
    SHARED_UDP,
    SHARED_UNKNOWN,
    SHARED_PROTOCOLS
};
enum shared_end {
    SHARED_CLOSED,
    SHARED_RESET_BY_CLIENT,
    SHARED_RESET_BY_TARGET,
    SHARED_CLIENT_GONE,
    SHARED_UPSTREAM_GONE,
    SHARED_CROWDED_OUT,
    SHARED_HANDSHAKE_TIMEOUT,
    SHARED_IDLE_TIMEOUT,
    SHARED_HALF_CLOSED_TIMEOUT,
    SHARED_HANDSHAKE_CROWDED,
    SHARED_BAD_PROXY_LINE,
    SHARED_USER_REMOVED,
    SHARED_DRAINED,
    SHARED_FAILED,
    SHARED_REFUSED,
    SHARED_OTHERWISE,
    SHARED_ENDS
};
extern const char *const shared_protocols[SHARED_PROTOCOLS];
extern const char *const shared_ends[SHARED_ENDS];
/* The upper bounds of SHARED_TIMES, in ms, but for the last one. */
extern const unsigned shared_times[SHARED_TIMES - 1];

/* Sums since the start. Nothing but uint64_t: they are added up as an array. */
struct shared_counts {
    uint64_t accepted;
    uint64_t ended[SHARED_PROTOCOLS][SHARED_ENDS];
    uint64_t refused[SHARED_REASONS]; /* by enum vd_err, the first of those with the same word */
    uint64_t logins_refused;
    uint64_t bytes_up, bytes_down; /* of the data, towards targets and back */
    uint64_t datagrams_up, datagrams_down, datagrams_dropped;
    uint64_t lookups[SHARED_TIMES], lookups_ms, lookups_failed; /* of names */
    uint64_t pauses;                                            /* of accepting */
};

/* A worker's slot; written by this worker only, unless it says otherwise. */
struct shared_worker {
    int32_t pid;                                 /* of the parent: 0 while nobody has the slot */
    uint32_t generation;                         /* of the parent: which reload it belongs to */
    uint32_t sessions, handshakes, associations; /* that are open */
    uint32_t paused, draining;                   /* 1 or 0 */
    struct shared_counts counts;
} __attribute__((aligned(64)));

/* What is known of a hop or of a target of forward://; of the same one by all workers, over
 * reloads. All of it is zero at first. Read and changed by __atomic_* operations, relaxed unless
 * more is needed: many write here. Times are CLOCK_MONOTONIC, as loop->now_ms. */
struct shared_hop {
    uint64_t key;          /* 0: free */
    int64_t dead_until_ms; /* not to be tried before; 0: nothing speaks against it */
    int64_t check_due_ms;  /* the next check; see shared_due */
    int64_t changed_ms;    /* when it went down or came up again */
    uint64_t tries, failures;
    uint32_t fails, goods;   /* in a row, of checks or of sessions */
    uint32_t down;           /* 1: taken for dead */
    uint32_t last_err;       /* enum vd_err of the last failure */
    uint32_t last_ms;        /* how long the last success took */
    uint32_t next;           /* whose turn it is, for who goes round */
    uint32_t generation;     /* the last one that asked for it */
    struct vd_repute repute; /* a hop: whether it may be told more than it has answered yet */
    char group[SHARED_TEXT]; /* the listener or upstream it belongs to */
    char text[SHARED_TEXT];  /* as it is shown: without a password */
};

enum { SHARED_REVOKED = 4096 };

/* revoke.h; written by the parent. */
struct shared_revoked {
    uint64_t count;
    uint64_t keys[SHARED_REVOKED]; /* shared_user_key; the last ones */
};

/* A session as it is shown; shared_rows. */
struct shared_row {
    int64_t started_ms;
    uint64_t up, down; /* bytes */
    /* texts, each ended by NUL, cut if need be */
    char client[56], user[64], protocol[12], command[12], target[SHARED_TEXT], chain[SHARED_TEXT];
};

/* The newest sessions of a worker, written anew each second where there is a status page. `seq` is
 * odd meanwhile. */
struct shared_rows {
    uint32_t seq, count;
    struct shared_row at[SHARED_ROWS];
};

/* The sums, every SHARED_SAMPLE_MS; written by the process of the status page. */
struct shared_sample {
    int64_t at_ms;
    uint64_t accepted, bytes_up, bytes_down, refused;
    uint32_t sessions;
};
struct shared_history {
    uint64_t count; /* in all; number i stands at i % SHARED_SAMPLES */
    struct shared_sample at[SHARED_SAMPLES];
};

struct shared_head;

/* A process's own view of the mapping. */
struct shared {
    unsigned slots;
    int own;     /* the slot of this process; -1: none */
    size_t size; /* of the mapping */
    struct shared_head *head;
    struct shared_worker *workers; /* `slots` of them */
    struct shared_hop *hops;       /* SHARED_HOPS */
    uint32_t *hop_cells;           /* SHARED_HOPS + 1 rows of `slots` */
    struct shared_revoked *revoked;
    struct shared_history *history;
    struct shared_rows *rows; /* `slots` of them */
    void *table;              /* shared_table.h */
    uint64_t secret[3];       /* of its keys */
};

/* In the parent, once, for `workers` at a time and those that live on after reloads. 0, or -1 with
 * errno. */
int shared_init(struct shared *sh, unsigned workers);
void shared_free(struct shared *sh); /* in the parent, at the end */

/* --- slots: the parent --- */

/* A free slot for a worker that will be started, or -1. */
int shared_take_slot(struct shared *sh);
void shared_started(struct shared *sh, int slot, int pid);
/* The worker of the slot is no more, or was never started: nothing of it is open now. */
void shared_clear_slot(struct shared *sh, int slot);
unsigned shared_free_slots(const struct shared *sh);
/* A reload: whoever starts from now on is of the next generation. `alone`: all workers are of this
 * one, so that hops which only those before it asked for can be forgotten. */
void shared_next_generation(struct shared *sh, bool alone);

/* --- a worker's own --- */

static inline struct shared_worker *shared_own(const struct shared *sh)
{
    return &sh->workers[sh->own];
}

/* For words with one writer: readers in other processes see the old value or the new one. */
static inline void shared_add(uint64_t *sum, uint64_t n)
{
    __atomic_store_n(sum, __atomic_load_n(sum, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}
static inline void shared_set(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

/* One more session in the worker's slot, unless there would be more than `most` in all. Never too
 * many; of two workers that ask for the last place at the same time both may be refused. */
bool shared_enter(struct shared *sh, uint32_t most);
void shared_leave(struct shared *sh);

/* The class of a duration. */
unsigned shared_time_class(int64_t ms);
/* A session's end, in the words of log.h; `error` may be NULL. */
void shared_note_end(struct shared_counts *c, const char *protocol, const char *end,
                     const char *error);

/* --- hops and targets --- */

/* The record of `text` in `group`, made if there is none. Never NULL: beyond SHARED_HOPS a record
 * is this process's own. Looks through all records: to be asked once, at the start. */
struct shared_hop *shared_hop(struct shared *sh, const char *group, const char *text);
/* The same, for a hop of a chain: its URL without the password. */
struct shared_hop *shared_hop_of(struct shared *sh, const char *group, const struct vd_hop *hop);
/* A session goes through it from now on, or no longer; and how many do, of all workers. */
void shared_hop_enter(struct shared *sh, const struct shared_hop *hop);
void shared_hop_leave(struct shared *sh, const struct shared_hop *hop);
uint32_t shared_hop_sessions(const struct shared *sh, const struct shared_hop *hop);
/* Whether this process is to do what is due: true for one of all workers every `every_ms`. */
bool shared_due(struct shared_hop *hop, int64_t now_ms, int64_t every_ms);

/* --- readers --- */

/* The sums of those that are gone and of all that run. */
void shared_sums(const struct shared *sh, struct shared_counts *sums);
/* What is open in all workers: *one is the field of shared->workers[0]. */
uint32_t shared_total(const struct shared *sh, const uint32_t *one);
uint32_t shared_generation(const struct shared *sh);
int64_t shared_started_ms(const struct shared *sh); /* when the mapping was made */
/* What stands for a user's name. */
uint64_t shared_user_key(const struct shared *sh, const char *name, size_t len);
/* Copies the rows of a worker, at most SHARED_ROWS; how many. */
uint32_t shared_read_rows(const struct shared *sh, unsigned slot, struct shared_row *rows);
/* No slot from this one on was ever taken. */
unsigned shared_used(const struct shared *sh);

#endif
