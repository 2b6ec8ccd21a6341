/*
 * modes: which hops of a chain a connection takes: proto/mode.h, with what the session knows.
 *
 * Turns are taken over all connections of the session. A hop that failed is dead for a while, for
 * the whole session; when all are, they are tried as if none were. No locks, no allocation.
 */
#ifndef VD_CLIENT_MODES_H
#define VD_CLIENT_MODES_H

#include <stdbool.h>

#include "client/plan.h"

struct vd_path modes_path(const struct plan_chain *chain);

/* A handshake over a path of this chain failed with `err` (negative) while the hop at c->at was
 * awaited. If that was the hop's doing, and not its target's, it counts as dead. Whether other hops
 * are worth a try. */
bool modes_failed(const struct plan_chain *chain, const struct vd_chain *c, int err);

#endif
