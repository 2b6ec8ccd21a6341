/*
 * setup: from options to listeners, at the start and at a reload: everything that may still say no.
 */
#ifndef DAEMON_SETUP_H
#define DAEMON_SETUP_H

#include "daemon/listener.h"
#include "daemon/options.h"

/* Checks what reading alone does not, fills in what nobody said, reads what hops with TLS need into
 * o->contexts, and plans the listeners; `given` are the sockets that were opened for us. May
 * resolve names, and wait for that. 0, or -1 with *error (freed by the caller) and an empty set. */
int setup_check(struct options *o, const struct listen_set *given, struct listen_set *set,
                char **error);
/* Says what works and should be looked at: a line each, without a newline. */
void setup_warn(const struct options *o, const struct listen_set *set,
                void (*say)(const char *text));
/* Opens what was planned; `have` as in listen_open. 0, or -1 with *error. */
int setup_open(const struct options *o, struct listen_set *set, const struct listen_set *have,
               char **error);

#endif
