/*
 * publish: the sessions of a worker, for the status page.
 *
 * Each second, and only where there is a status page, the newest sessions are written into the
 * worker's rows in shared memory, and what running sessions have carried is added to the sums. So a
 * session itself costs nothing more.
 */
#ifndef DAEMON_PUBLISH_H
#define DAEMON_PUBLISH_H

#include "daemon/worker.h"

void publish_start(struct worker *w);

#endif
