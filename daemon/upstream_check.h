/*
 * upstream_check: how the hops of an upstream are, found out before a client meets them.
 *
 * Each hop is asked every conf->check_ms, by one of all workers, in the way in which sessions reach
 * it: a whole handshake, login included. The last hop (in modes where hops stand in for each other:
 * each of them) is asked for check_target, and is well if it says yes. Without check_target a
 * SOCKS5 hop is asked for a command that none knows, and is well if it answers at all; so is a hop
 * that is asked for the one behind it.
 *
 * A SOCKS5 hop that is well, and of which it is not known, is asked once more in one flight: from
 * then on sessions know whether it bears one.
 */
#ifndef DAEMON_UPSTREAM_CHECK_H
#define DAEMON_UPSTREAM_CHECK_H

#include "daemon/upstream.h"

struct worker;
struct upstream_checks;

/* Of all upstreams of the worker that want them; its loop, dialer and upstreams are there. NULL:
 * without memory. */
struct upstream_checks *upstream_checks_new(struct worker *worker);
void upstream_checks_free(struct upstream_checks *all);

#endif
