/*
 * dial_state: what dial.c, dial_race.c and dial_chain.c share; private to them.
 */
#ifndef DAEMON_DIAL_STATE_H
#define DAEMON_DIAL_STATE_H

#include "daemon/dial.h"

enum dial_phase { DIAL_NONE, DIAL_TARGET, DIAL_RACE, DIAL_CHAIN, DIAL_OVER };

static inline struct loop *dial_loop(const struct dial *d)
{
    return d->by->loop;
}

/* dial.c */

/* The end: tells the owner, after which nothing of the dial is touched. */
void dial_finish(struct dial *d, int err);
/* Looks the target up, then goes on with dial_chain_set_out. May finish. */
void dial_lookup(struct dial *d);
/* A reason (positive), kept unless one that tells a client more about its target is there. */
void dial_blame(struct dial *d, int err);

/* Closes the socket, with the TLS on it. */
void dial_close(struct dial *d);

/* dial_tls.c */

/* The stream has come to a hop that speaks TLS: puts TLS on it. VD_OK, or a reason below 0. */
int dial_tls_start(struct dial *d);
/* The stream is at its end: a reason below 0, that of TLS if it failed, or VD_AGAIN. */
int dial_tls_lost(struct dial *d, enum vd_loss loss);
/* What TLS has to say about `err`, behind what the chain said. */
void dial_tls_explain(const struct dial *d, struct vd_out *out, int err);

/* dial_race.c; each but the last two may finish */

void dial_race_to(struct dial *d, const struct vd_endpoint *e);
/* `path` ends with a NUL and fits into sun_path. */
void dial_race_to_unix(struct dial *d, const char *path);
/* To where it is reached: its unix socket, the addresses given for it, or those of its name. */
void dial_race_to_hop(struct dial *d, const struct vd_hop *hop);
/* An answer has come, or time has passed. */
void dial_race_on(struct dial *d);
/* Everything of a race that is over, for another one. */
void dial_race_forget(struct dial *d);
void dial_close_attempts(struct dial *d);

/* dial_chain.c; each but the last may finish */

/* By a way of this upstream, or of its fallbacks. */
void dial_chain_start(struct dial *d, struct upstream *via);
/* Sets out for d->final, by d->chosen. */
void dial_chain_set_out(struct dial *d);
/* The way has taken its part of the time. */
void dial_chain_slow(struct dial *d);
/* The race to the first hop was won. */
void dial_chain_connected(struct dial *d);
/* The socket is ready. */
void dial_chain_on(struct dial *d);
/* BIND: the next reply is awaited. */
void dial_chain_next(struct dial *d);
/* The stage has lasted too long. */
void dial_chain_silent(struct dial *d);
/* Nobody reached the first hop, or the like: `err` below 0. */
void dial_chain_failed(struct dial *d, int err);
/* Which reason a client is told for one (of either sign) that its chain gave. */
int dial_chain_for_client(const struct dial *d, int err);
/* The owner's time is over: the reason for the client; d->said says why. */
int dial_chain_late(struct dial *d);

#endif
