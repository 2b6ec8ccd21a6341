/*
 * route: what a target is, and what the plan says of it.
 */
#ifndef VD_CLIENT_ROUTE_H
#define VD_CLIENT_ROUTE_H

#include <stdbool.h>
#include <sys/socket.h>

#include "client/plan.h"

struct route {
    enum plan_action action;
    const struct plan_chain *chain; /* PLAN_CHAIN */
    const struct plan_rule *rule;   /* the one that decided; NULL: none did */
};

/* Where a program wants to go. */
struct target {
    struct vd_endpoint
        at; /* what a hop is asked for: the name behind a placeholder, or the address */
    struct route route;
};

/* The route of a name or an address: the first rule that matches, else the plan's chain. */
struct route route_of(const struct vd_endpoint *e);

/* The route of a name that is asked for before the port is known (e->port 0): rules that name a
 * port count only if they let this very name pass, since it must then be resolved here. *known: a
 * rule has something to say of the name, at whatever port. */
struct route route_of_name(const struct vd_endpoint *e, bool *known);

/* Judges an address that a program gave. VD_OK; -VD_ERR_NAME: a placeholder without a name;
 * -VD_ERR_NET: multicast, broadcast, or link-local without a rule that lets it pass; such a target
 * must not be dialled. t->at is always filled in. */
int route_target(struct target *t, const struct vd_endpoint *given);

/* Whether names of this route are left to the last hop (true) or resolved here. */
bool route_names_are_remote(const struct route *r);

/* The hops of a chain, in order. */
struct vd_path route_path(const struct plan_chain *chain);

#endif
