/*
 * master: the parent: keeps a worker running on each slot, and ends them.
 */
#ifndef DAEMON_MASTER_H
#define DAEMON_MASTER_H

#include "daemon/listener.h"
#include "daemon/options.h"

/* Takes over what both hold, and leaves in them what to free. `given` are the sockets that were
 * opened for us. Returns the exit status: in the parent after the end of all workers, in a worker
 * after its own. */
int master_run(struct options *options, struct listen_set *set, const struct listen_set *given);

#endif
