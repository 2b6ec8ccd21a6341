/*
 * learned: what a worker knows of the hops of its upstream chain, beside what their URLs say:
 * whether they may be told more than they have answered yet (proto/chain.h, "In one flight").
 *
 * `pipeline=off` never; `lead` always; `auto`: SOCKS4 hops (they are asked one thing only) and HTTP
 * hops that have said yes to this worker; none that a flight went wrong with. SOCKS5 hops are not
 * tried out here: `auto` means message by message. A login goes into a flight only after the chain
 * has come up once.
 */
#ifndef DAEMON_LEARNED_H
#define DAEMON_LEARNED_H

#include "proto/chain.h"

/* A bit for each hop of the chain, from the first; zeros know nothing. */
struct learned {
    uint16_t unfit, proven;
    bool came_up; /* the whole chain */
};

/* Fills in path->flights and path->proven; the path is the whole chain. */
void learned_path(const struct learned *l, struct vd_path *path);
/* The chain came up. */
void learned_up(struct learned *l, const struct vd_chain *chain);
/* VD_AGAIN. */
void learned_unfit(struct learned *l, const struct vd_chain *chain);

#endif
