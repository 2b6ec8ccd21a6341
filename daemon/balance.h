/*
 * balance: which of the targets of a forward:// listener a connection goes to, and which of them
 * answer.
 *
 * All workers know the same (shared.h): how many sessions go to a target, whose turn it is, and
 * what the last check said, which one of them makes for all. A target is down when `fall` checks in
 * a row failed, and up again after `rise` good ones. Where all are down they are treated as if none
 * were: a check may be wrong, a refusal certainly helps nobody.
 */
#ifndef DAEMON_BALANCE_H
#define DAEMON_BALANCE_H

#include "conf/daemon.h"
#include "daemon/net.h"

struct balance;
struct worker;

/* `conf` outlives it. NULL without memory. */
struct balance *balance_new(struct worker *worker, const struct vd_conf_listener *conf);
void balance_free(struct balance *b); /* NULL is fine */

/* The next target for this client that is not among `tried` (bits), or -1. */
int balance_pick(struct balance *b, const struct net_addr *client, uint64_t tried);
const struct vd_conf_target *balance_target(const struct balance *b, int index);
/* A session goes to the target from now on, or no longer. */
void balance_enter(struct balance *b, int index);
void balance_leave(struct balance *b, int index);
/* One that went there came to nothing. */
void balance_failed(struct balance *b, int index);

#endif
