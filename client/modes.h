/*
 * modes: which hops of a chain a connection takes.
 *
 *     strict       all, in order
 *     dynamic      all that are not known to be dead, in order
 *     random       `pick` of them, in any order
 *     round_robin  the next `pick`, in turn over all connections of the session
 *     failover     the first `pick`
 *
 * The last three prefer hops that are not known to be dead, and never take fewer than `pick` (0
 * means 1). A hop that failed is dead for a while, for the whole session; when all are, they are
 * tried as if none were. No locks, no allocation.
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
