/*
 * tproxy: datagrams that a rule of netfilter brought to a listener as they were (TPROXY): one
 * association (associate.h) for each address and port of a client, which is a session like any
 * other, and answers from the addresses that the client sent to.
 *
 * Clients are remembered for as long as their sessions live, and some time longer if they were
 * refused, so that not every datagram is judged, dialled and logged anew. Where there are too many,
 * the one that was silent for the longest time gives way.
 */
#ifndef DAEMON_TPROXY_H
#define DAEMON_TPROXY_H

#include "daemon/associate.h"
#include "daemon/listener.h"

struct session;
struct tproxy_client;

enum {
    TPROXY_REPLIES = 256,     /* sockets that answer, at most */
    TPROXY_REFUSED_MS = 1000, /* nothing more is heard of who was refused */
    TPROXY_SILENT_MS = 1000,  /* who was heard of so lately gives way to nobody */
    TPROXY_DRAINING_MS = 2000 /* idle limit of a worker that takes no new datagrams */
};

/* The listener's socket is ready. */
void tproxy_ready(struct loop_io *io, uint32_t events);

/* Whether a client's datagram for `to` can be taken at all: not what is for this machine, be it the
 * listener itself (it would come back for ever) or what others serve at an address that we would
 * have to answer from; nor what is for many. */
bool tproxy_may_take(struct worker *w, const struct vd_ip *to);
/* associate->answer of such a session. */
bool tproxy_answer(struct associate *a, const struct vd_endpoint *from, uint8_t *data, size_t len);

/* The session ends. */
void tproxy_left(struct tproxy_client *client, bool refused);
/* Nothing is taken any more: sessions end after a short silence. */
void tproxy_drain(struct worker *w);
void tproxy_free(struct worker *w); /* when no session is left; harmless where there is nothing */

#endif
