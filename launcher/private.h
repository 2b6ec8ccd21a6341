/*
 * private: a viaductd of this run's own, for hops that a handshake on the program's own socket
 * cannot pass through.
 *
 * It takes the place of the first hops of a chain: of all up to the last one that is reached by TLS
 * or on a unix socket, of one that has IPv6 addresses only, of all hops where names are resolved
 * through the chain or payload is traced, or where any hop may come to be the first. To the program
 * it is one more SOCKS5 hop, on loopback, with a random login; the messages name those that it
 * stands for.
 */
#ifndef VIADUCT_LAUNCHER_PRIVATE_H
#define VIADUCT_LAUNCHER_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>

#include "client/plan.h"
#include "conf/client.h"

/* How many of the first hops of `chain` need it, as `hops` have been resolved; 0: none. */
size_t private_span(const struct vd_conf_chain *chain, const struct vd_hop *hops,
                    enum vd_conf_dns dns);

/* Prepares one for the first `span` of `hops`, which are in use as long as the plan: *front becomes
 * the hop that stands for them, and they must follow it there. Ends the program with status 125
 * where it cannot be done; but for hops that would do without it, false is given then, unless it is
 * asked for. */
bool private_prepare(struct vd_hop *front, const struct vd_conf_chain *chain,
                     const struct vd_hop *hops, size_t span, const struct vd_conf_client *conf,
                     bool asked_for);

/* Starts those that were prepared; they end with the session, or when its file has not been used.
 * Ends the program with status 125, without the session's file, where one does not start. What they
 * have to say later goes to the plan's log; where it is traced, to the standard error too, and
 * their own trace goes on with the one that the launcher has begun: so long it is held open. */
void private_start(const char *session, const struct plan *plan, uint32_t trace_data);

#endif
