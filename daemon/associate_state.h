/*
 * associate_state: what associate_chain.c and associate_relay.c share; private to them.
 */
#ifndef DAEMON_ASSOCIATE_STATE_H
#define DAEMON_ASSOCIATE_STATE_H

#include "daemon/associate_chain.h"
#include "proto/udp.h"

struct control {
    struct loop_io io;
    struct associate_chain *chain;
    struct vd_ip own, bound; /* the hop's address, as far as it is known; its relay's */
    uint16_t port;
};

struct associate_chain {
    struct associate *a;
    struct associate_chain_events events;
    const struct dialer *by;
    struct upstream *via;
    struct vd_path path; /* the hops, for all of it */
    uint8_t count, answered;
    uint8_t failed; /* position of the hop that was the first to fail */
    uint8_t ways;   /* that were tried */
    uint16_t avoid; /* hops of the upstream that are not tried again, as bits */
    bool starting, up;
    int err;                 /* while starting */
    int64_t until_ms;        /* when the owner's patience ends */
    struct loop_timer limit; /* of a way */
    struct dial *dials;      /* `count`, until all have answered; NULL afterwards */
    struct vd_endpoint anywhere[VD_HOPS_MAX]; /* what the requests say of where we send from */
    struct control control[VD_HOPS_MAX];
    struct net_addr out, peer; /* of the first control connection */
    struct loop_io relay;
    struct vd_endpoint *relays; /* behind the first */
    uint8_t prefix[BATCH_HEAD - VD_UDP_HEADER_MAX];
    size_t prefix_len;
    struct associate_held held;
    struct loop_task end;
    size_t said_len;
    char said[DIAL_SAID_MAX];
};

/* associate_chain.c */

/* It has ended, but not at once: somebody may be in the middle of a batch. */
void associate_chain_end_soon(struct associate_chain *c);
/* Keeps "hop 2 of 3 (URL) " and this for the log. */
void associate_chain_say(struct associate_chain *c, unsigned position, const char *what);

/* associate_relay.c */

/* All hops have answered: the way for datagrams is made of what they said. VD_OK, or a reason, and
 * *failed is the position of the hop to blame. */
int associate_relay_open(struct associate_chain *c, unsigned *failed);
/* It can be used: what was held goes. */
void associate_relay_begin(struct associate_chain *c);
void associate_relay_close(struct associate_chain *c);

#endif
