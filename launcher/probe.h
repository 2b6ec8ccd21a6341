/*
 * probe: whether SOCKS5 hops bear a flight (proto/chain.h), found out once and kept for a day.
 *
 * A request with a command that does not exist shows it without any side effect: a hop that answers
 * it, though it came in one segment with what goes before, takes what comes early. That is done by
 * a process beside the command, for a probe within a short command would never end. Where the
 * answer could not be kept nothing is asked: there is no extra connection at every start.
 */
#ifndef LAUNCHER_PROBE_H
#define LAUNCHER_PROBE_H

#include "client/plan.h"

/* Puts what the cache knows into the plan: `pipeline` and `no_probe` of its hops. */
void probe_recall(struct plan *plan);

/* Starts the process for what is still unknown, if anything is. It is no child of this one, holds
 * none of its descriptors and ends by itself. What it finds out goes into the session and the
 * cache. */
void probe_start(const struct plan *plan, const char *session);

#endif
