/*
 * repute: what is remembered of a hop beside what its URL says: whether it may be told more than it
 * has answered yet (proto/chain.h, "In one flight").
 *
 * A record is one per hop; where it stands, and for how long, is the caller's. Several processes
 * may share it: fields are read and written at once, none depends on another.
 * Zeros know nothing. A wrong record costs time, never safety: what went wrong in a flight is done
 * again message by message.
 *
 * `of` below: the records of the path's hops by position; NULL: none is kept of that hop.
 */
#ifndef VD_PROTO_REPUTE_H
#define VD_PROTO_REPUTE_H

#include "proto/chain.h"

enum vd_bears { VD_BEARS_UNKNOWN, VD_BEARS_NOT, VD_BEARS_FLIGHT };

struct vd_repute {
    uint8_t bears; /* enum vd_bears */
    uint8_t proven;
    uint8_t said_yes; /* HTTP: 2xx */
    uint8_t zero;
    uint32_t behind; /* by which way it was last up; 0: never */
};

/* Fills in path->flights and path->proven. `chain` tells chains apart whose hops have the same
 * records, one after the other.
 *
 * `pipeline=off` never; `lead` always; `auto`: SOCKS5 hops that were found to bear it, SOCKS4 hops
 * (they are asked one thing only), and HTTP hops that have said yes; none that a flight went wrong
 * with, and none without a record. A login goes into a flight only on ways that have led to that
 * hop before, or led a probe there: else it could be read by whatever listens where the hop was
 * thought to be. */
void vd_repute_path(struct vd_path *path, struct vd_repute *const of[VD_HOPS_MAX], uint32_t chain);
/* A chain came up; `flown`: in one flight. */
void vd_repute_up(const struct vd_path *path, struct vd_repute *const of[VD_HOPS_MAX],
                  uint32_t chain, bool flown);
/* A flight went wrong while the hop at a position was awaited: it, or one before it, does not bear
 * one. All that have not proved the contrary are taken for such; if all have, that hop and the one
 * before it. A bit for each position of which this is news. */
uint16_t vd_repute_unfit(const struct vd_path *path, struct vd_repute *const of[VD_HOPS_MAX],
                         unsigned position);
/* It was tried out whether the hop bears a flight. */
void vd_repute_found(struct vd_repute *r, bool bears);

#endif
