/*
 * rate: how many bytes of a session may be received now, where limits of bytes per second hold.
 *
 * A limit is one number, the time at which everything granted so far is paid for; it may stand in
 * shared memory and be the same for many sessions of several workers. Each direction of a session
 * asks for a portion, whose turn comes when that time has come: whoever asked first goes first, and
 * nobody has to be woken in vain. What was granted and not used is given back at the end.
 */
#ifndef DAEMON_RATE_H
#define DAEMON_RATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RATE_LIMITS = 8,
    RATE_PORTIONS = 20, /* for each second */
    RATE_PORTION_MIN = 1024,
    RATE_PORTION_MAX = 256 * 1024,
    RATE_CREDIT_MS = 100 /* what was not used before counts for so long */
};

struct rate_limit {
    int64_t *at_ns;
    uint64_t per_second; /* bytes */
};

/* One direction. */
struct rate_flow {
    uint32_t granted; /* bytes */
    int64_t ready_ms; /* not before */
};

struct rate {
    struct rate_limit limits[RATE_LIMITS];
    unsigned count;
    uint32_t portion;
    int64_t own_at_ns; /* of a limit of this session alone */
    struct rate_flow flow[2];
};

/* `rate` is zero at first. `at_ns` NULL: the limit is this session's alone. Beyond RATE_LIMITS the
 * narrowest hold. */
void rate_add(struct rate *rate, int64_t *at_ns, uint64_t per_second);
/* How many bytes of a direction may be received now; 0: none before flow[side].ready_ms. */
size_t rate_room(struct rate *rate, int side, int64_t now_ms);
/* So many were received; at most what rate_room said. */
void rate_used(struct rate *rate, int side, size_t n);
/* For what cannot wait: whether `n` bytes may pass now, all of them or none. They may be more than
 * was granted: what comes later pays for that. */
bool rate_pass(struct rate *rate, int side, size_t n, int64_t now_ms);
/* Gives back what was not used. */
void rate_end(struct rate *rate);

#endif
