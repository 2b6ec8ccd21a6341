/*
 * limit: what clients and users may have at a time: sessions, new sessions, bytes for each second;
 * and how many handshakes may be under way.
 *
 * A session is judged once it is known who it is and what it asks for, so that the refusal can be
 * said in its own protocol. All limits that fit the client and the user hold, over all workers
 * (shared_table.h). With --admin clients and users are counted in any case.
 *
 * When there are too many handshakes, the oldest of this worker ends: who is honest is through
 * within a round trip or two, and is not kept waiting by those who never will be.
 */
#ifndef DAEMON_LIMIT_H
#define DAEMON_LIMIT_H

#include "daemon/loop.h"
#include "daemon/rate.h"
#include "daemon/shared_table.h"

struct session;

enum { LIMIT_ENTRIES = 16 };

/* What a session holds; only where there are limits, or somebody wants to know. */
struct limit_hold {
    uint8_t count;
    bool has_rate;
    uint8_t user_len; /* whom it was judged for */
    char user[256];
    struct shared_entry *entries[LIMIT_ENTRIES];
    struct rate rate;
    struct loop_timer timer; /* of the rate */
    uint64_t before[2];      /* bytes up and down that its entries have already */
    struct session *session;
};

/* The session has a request: VD_OK, or the reason, with s->setup->accept.retry_s and a line in the
 * log. A second request of the same user is judged no more. */
int limit_enter(struct session *s);
/* The session ends; harmless where it holds nothing. */
void limit_leave(struct session *s);
/* Adds what was carried since the last time to the worker's sums, and to those of its client and
 * user. */
void limit_count_bytes(struct session *s);
/* The session was refused by the rule of this title (it is kept for the log). */
void limit_note_rule(struct session *s, const char *title);
/* How much may be received from `side` now; 0: nothing, and the session goes on when it may. */
size_t limit_room(struct limit_hold *hold, int side);

/* Whether a datagram from `side` may pass, by the limits of a session that has any. */
bool limit_passes(struct limit_hold *hold, int side, size_t len);

/* A handshake begins; then its request has come, or it is over: harmless to say twice. */
void limit_shake(struct session *s);
void limit_shaken(struct session *s);

#endif
