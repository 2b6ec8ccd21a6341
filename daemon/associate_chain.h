/*
 * associate_chain: an association's way through a chain of SOCKS5 hops.
 *
 * Each hop gets an association of its own, by a control connection through the hops before it, and
 * datagrams carry one header for each relay (proto/udp.h): hops that know RFC 1928 suffice. It
 * lasts as long as all of these connections.
 */
#ifndef DAEMON_ASSOCIATE_CHAIN_H
#define DAEMON_ASSOCIATE_CHAIN_H

#include "daemon/associate.h"
#include "daemon/dial.h"

struct associate_chain;

enum { ASSOCIATE_CHAIN_TIMERS = 1 }; /* beside those of its dials */

struct associate_chain_events {
    /* It stands, or does not: VD_OK, or a reason (positive) for the client. Once, never from inside
     * associate_chain_start. */
    void (*ready)(struct associate *a, int err);
    /* It stood, and a hop has gone, or says that it is not there. Once. */
    void (*gone)(struct associate *a);
    /* What the first hop is sent before anything else: as dial->introduce. */
    void (*introduce)(struct associate *a, struct dial *dial);
};

/* Sets out for a->chain, over hops of `via` or of its fallbacks, by which datagrams go from now on;
 * until it stands they are held. VD_OK, or a reason (positive): then all that a->chain does any
 * more is to say why. `by` and its hops outlive it. */
int associate_chain_start(struct associate *a, const struct dialer *by, struct upstream *via,
                          const struct associate_chain_events *events);
/* The time is over before it stood: what to tell the client. */
int associate_chain_late(struct associate_chain *c);
/* Why it did not come to stand, in words, which are the chain's; *len 0 if there are none. */
const char *associate_chain_said(const struct associate_chain *c, size_t *len);
/* Whether the last hop looks names up. */
bool associate_chain_takes_names(const struct associate_chain *c);
/* The local address towards the first hop, and that hop's: for the log. */
void associate_chain_ends(const struct associate_chain *c, struct net_addr *out,
                          struct net_addr *peer);
/* The hops that it goes over, and the upstream that they are of. */
const struct vd_path *associate_chain_path(const struct associate_chain *c, struct upstream **via);
void associate_chain_free(struct associate_chain *c);

/* For associate.c: sends on, or holds. */
void associate_chain_send(struct associate_chain *c, const struct vd_endpoint *target,
                          const uint8_t *data, size_t len);

#endif
