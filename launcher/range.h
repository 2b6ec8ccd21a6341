/*
 * range: where the placeholder addresses of a session lie.
 */
#ifndef VIADUCT_LAUNCHER_RANGE_H
#define VIADUCT_LAUNCHER_RANGE_H

#include "client/plan.h"

/* Fills in placeholder4, its bits and placeholder6 of *head: 198.18.0.0/15 (RFC 2544) unless an
 * interface, a route, a hop or a pattern of the plan lies in it, and a random ULA (RFC 4193).
 * False: no range is free. */
bool range_choose(struct plan *head, const struct vd_hop *hops, const struct vd_pattern *patterns);

#endif
