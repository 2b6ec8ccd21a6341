/*
 * shared_table: what all workers know of clients, users and rules, by the name of each.
 *
 * A bounded table in the shared mapping, without locks. An entry has sums and buckets that all
 * workers change, and for each worker a cell with the number of its sessions, so that those of a
 * worker that was killed are not counted any more (shared_clear_slot). An entry that nobody uses,
 * and nobody has for a while, makes room for another one.
 *
 * Which of the few places of its bucket an entry may have is decided by a keyed hash: clients that
 * choose their addresses cannot crowd others out. Without a place nothing can be counted, and a
 * limit counts as reached.
 */
#ifndef DAEMON_SHARED_TABLE_H
#define DAEMON_SHARED_TABLE_H

#include "daemon/shared.h"

enum { SHARED_ENTRIES = 16384, SHARED_KEPT_MS = 60 * 1000 };

enum shared_kind { SHARED_LIMIT, SHARED_USER, SHARED_CLIENT, SHARED_RULE, SHARED_KINDS };

struct shared_entry {
    uint32_t kind;          /* enum shared_kind */
    int64_t used_ms;        /* entered or left */
    int64_t fresh_at_us;    /* bucket of new sessions (shared_take) */
    int64_t rate_at_ns;     /* bucket of bytes (rate.h) */
    uint64_t total;         /* sessions */
    uint64_t refused;       /* sessions or logins */
    uint64_t up, down;      /* bytes */
    char scope[64];         /* the limit's title */
    char text[SHARED_TEXT]; /* the name, as it is shown */
};

/* What names an entry: its kind, the limit's title ("" for others) and the name itself. */
struct shared_name {
    enum shared_kind kind;
    const char *scope;
    const void *data; /* that tells entries apart */
    size_t len;
    const char *text; /* to be shown, ended by NUL */
};

/* The entry of a name, made if there is none, with one session more of this worker in it. NULL if
 * there is no place. */
struct shared_entry *shared_entry_enter(struct shared *sh, const struct shared_name *name,
                                        int64_t now_ms);
void shared_entry_leave(struct shared *sh, struct shared_entry *entry, int64_t now_ms);
/* The sessions of all workers in it. */
uint32_t shared_entry_sessions(const struct shared *sh, const struct shared_entry *entry);

/* For readers: a copy of the entry at `index`, and its sessions. false: there is none. */
bool shared_entry_read(const struct shared *sh, size_t index, struct shared_entry *copy,
                       uint32_t *sessions);

/* A bucket of tokens that fills up with `count` in `period_us`, and is full at first. 0: one was
 * taken; else the microseconds until there is one. */
int64_t shared_take(int64_t *at_us, int64_t now_us, uint32_t count, int64_t period_us);

/* --- for shared.c --- */

size_t shared_table_size(unsigned slots);
/* The worker of the slot is no more. */
void shared_table_clear(struct shared *sh, unsigned slot);

#endif
