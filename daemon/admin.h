/*
 * admin: the status page, in a process of its own beside the workers, confined as they are.
 *
 *     /              the page: sessions, users, clients, hops, rates as plots
 *     /status.json   the same for programs
 *     /metrics       for Prometheus
 *
 * It only reads what is shared, so that whoever looks, however often, costs no session anything; it
 * writes nothing but the history of the plots. It holds none of the workers' sockets.
 */
#ifndef DAEMON_ADMIN_H
#define DAEMON_ADMIN_H

#include "daemon/listener.h"
#include "daemon/shared.h"

/* Runs until SIGTERM, or the end of the parent; the process then exits with the result. Keeps the
 * sockets of the status page and closes the others. */
int admin_run(const struct vd_conf_daemon *conf, struct listen_set *set, struct shared *shared);

#endif
