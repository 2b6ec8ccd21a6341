/*
 * learned: what is known of each hop of the plan, beside what the plan says: whether it may be told
 * more than it has answered yet (proto/chain.h, "In one flight").
 *
 * Kept in the session, so that what one process learns all know. A wrong entry costs time, never
 * safety: what went wrong in a flight is done again message by message.
 */
#ifndef VD_CLIENT_LEARNED_H
#define VD_CLIENT_LEARNED_H

#include <stdbool.h>

#include "proto/chain.h"

/* Fills in path->flights and path->proven.
 *
 * `pipeline=off` never; `lead` always; `auto`: SOCKS5 hops that a probe found to bear it, SOCKS4
 * hops (they are asked one thing only), and HTTP hops that have said yes in this session; none that
 * a flight went wrong with. A login goes into a flight only on ways that have led to that hop
 * before, or led a probe there: else it could be read by whatever listens where the hop was thought
 * to be. */
void learned_path(struct vd_path *path);

/* A chain came up; `flown`: in one flight. */
void learned_up(const struct vd_path *path, bool flown);
/* A flight went wrong while the hop at a position was awaited: it, or one before it, does not bear
 * one. All that have not proved the contrary are taken for such; if all have, that hop and the one
 * before it. */
void learned_unfit(const struct vd_path *path, unsigned position);

/* A hop that failed by itself counts as dead for half a minute, or until it comes up. */
void learned_dead(unsigned hop);
bool learned_is_dead(unsigned hop);

/* How many times this was asked for a chain before, in the whole session; 0 if nothing is kept. */
uint32_t learned_turn(unsigned chain);

/* For the launcher's probe, a process that has not mapped the session: writes whether the hop of
 * this index in the plan bears a flight into the session file. false: there is none any more, or
 * no room. */
bool learned_write(const char *session, unsigned hop, bool flight);

#endif
