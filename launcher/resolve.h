/*
 * resolve: the names of hops that this machine has to resolve.
 */
#ifndef VIADUCT_LAUNCHER_RESOLVE_H
#define VIADUCT_LAUNCHER_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/url.h"

/* Fills in the addresses of the first hop, and of every hop behind one that takes addresses only,
 * by the system's resolver; where
 * they are taken in any order, of all; those that the hop before cannot carry are left out. Ends
 * the program with status 125 and a line that names chain and hop where none is left. */
void resolve_hops(const char *chain, struct vd_hop *hops, size_t count, bool any_order);

enum { RESOLVE_WHY = 256 };
/* The addresses of the hop's name; false: there are none, `why` says so. `limit_ms`: how long the
 * resolver may take, -1: as long as it takes. */
bool resolve_name(struct vd_hop *hop, int limit_ms, char why[RESOLVE_WHY]);

#endif
