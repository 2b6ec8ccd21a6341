/*
 * supervise_relay: datagrams of supervised programs through the chain.
 *
 * The program's socket is in the room (supervise_room.h). For each target a socket of ours there
 * has the target's very address, and hears this program's socket alone; what it hears goes on from
 * a socket of ours outside, which has the association (client/assoc.h), and answers come back the
 * same way. So the program's own calls, and its poll(), need no help once a target is known.
 */
#ifndef VIADUCT_LAUNCHER_SUPERVISE_RELAY_H
#define VIADUCT_LAUNCHER_SUPERVISE_RELAY_H

#include "client/route.h"
#include "launcher/supervise.h"

/* Sees to it that what the socket, in the room and about to send to `addr` or connected there,
 * sends to it goes on: through the chain of t->route, or directly. 0 or -errno. At most
 * RELAY_FLOWS_MAX sockets, each with RELAY_PEERS_MAX targets, are known: the ones longest unused
 * make room. */
enum { RELAY_FLOWS_MAX = 256, RELAY_PEERS_MAX = 64 };
int relay_reach(const struct supervise_socket *s, const struct sockaddr_storage *addr,
                socklen_t len, const struct target *t);

/* Before the supervisor ends: what was sent goes on, as far as that takes no more than seconds. */
void relay_drain(void);

#endif
