/*
 * supervise_names: questions to name servers, answered by the supervisor (client/stub.h).
 */
#ifndef VIADUCT_LAUNCHER_SUPERVISE_NAMES_H
#define VIADUCT_LAUNCHER_SUPERVISE_NAMES_H

#include "launcher/supervise.h"

/* Whether somebody listens, in the room, on port 53 of every address. */
bool names_listens(void);

/* Without a room: connects a program's socket to one of ours, which answers for its name server.
 * 0 or -errno. The answers show another source, which some resolvers do not take. */
int names_connect_here(const struct supervise_socket *s);

#endif
