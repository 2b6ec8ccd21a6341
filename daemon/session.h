/*
 * session: one client's connection, from accept to the end.
 */
#ifndef DAEMON_SESSION_H
#define DAEMON_SESSION_H

#include "daemon/worker.h"

/* Takes `fd`, a client's connection, for which there was room (worker_enter). Without memory it is
 * closed. */
void session_new(struct listener *from, int fd, const struct net_addr *client);
/* Ends a session at once; `end` is a word of log.h. */
void session_end(struct session *s, const char *end);
void session_end_all(struct worker *w, const char *end);
/* Ends those that wait for a next request. */
void session_end_idle(struct worker *w);
/* Ends those of users that a reload found removed (revoke.h), by a reset both ways. */
void session_end_removed(struct worker *w);
/* Frees what ended during the last batch of events. */
void session_reap(struct worker *w);
/* Frees all memory kept for later. */
void session_free_all(struct worker *w);

#endif
