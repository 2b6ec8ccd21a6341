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

/* As vd_repute_path: fills in path->flights and path->proven. */
void learned_path(struct vd_path *path);

/* A chain came up; `flown`: in one flight. */
void learned_up(const struct vd_path *path, bool flown);
/* VD_AGAIN came while the hop at a position was awaited, as vd_repute_unfit; later commands are
 * told too. */
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
