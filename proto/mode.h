/*
 * mode: which hops of a chain a connection takes, and whose fault it is when they fail.
 *
 *     strict       all, in order
 *     dynamic      all that are not known to be dead, in order
 *     random       `pick` of them, in any order
 *     round_robin  the next `pick`, in turn
 *     failover     the first `pick`
 *
 * The last three prefer hops that are not known to be dead, and never take fewer than `pick` (0
 * means 1). Where all are dead they are taken as if none were. What is remembered of hops, and for
 * how long, is the caller's.
 */
#ifndef VD_PROTO_MODE_H
#define VD_PROTO_MODE_H

#include "proto/chain.h"

enum vd_mode {
    VD_MODE_STRICT,
    VD_MODE_DYNAMIC,
    VD_MODE_RANDOM,
    VD_MODE_ROUND_ROBIN,
    VD_MODE_FAILOVER
};

struct vd_mode_question {
    enum vd_mode mode;
    uint8_t pick;  /* at most `count` */
    uint8_t count; /* of the chain's hops, 1 to VD_HOPS_MAX */
    uint16_t dead; /* a bit for each of them */
};

/* Places in the chain's list of hops. */
struct vd_mode_choice {
    uint8_t count;
    uint8_t place[VD_HOPS_MAX];
};

/* Whether vd_mode_choose looks at its numbers. */
bool vd_mode_wants_numbers(enum vd_mode mode);
/* `numbers`: for random VD_HOPS_MAX random ones; for round_robin the first is the turn, how many
 * choices there were before. Else NULL will do. */
struct vd_mode_choice vd_mode_choose(const struct vd_mode_question *q, const uint32_t *numbers);
/* Whether what is alive suffices for another try without the dead ones. strict: all must be. */
bool vd_mode_has_others(const struct vd_mode_question *q);

/* A handshake failed with `err` (negative) while the hop at c->at was awaited: whether that was
 * this hop's doing, rather than the target's or the request's. Some hops close, or say nothing,
 * when the target cannot be reached: of the last hop that means nothing. */
bool vd_mode_blames_hop(const struct vd_chain *c, int err);
/* This is such a case: it may have been the target, but the hop too. */
bool vd_mode_may_be_either(const struct vd_chain *c, int err);
/* The stream ended, or fell silent, where that may be the doing of any hop up to the one at c->at,
 * or of the one behind it: another try tells. */
bool vd_mode_is_doubtful(const struct vd_chain *c, int err);

#endif
