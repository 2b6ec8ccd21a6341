/*
 * talk_tls: TLS on the stream of a talk, by a program of its own, viaduct-tls; see there why.
 */
#ifndef LAUNCHER_TALK_TLS_H
#define LAUNCHER_TALK_TLS_H

#include "launcher/talk.h"

/* Puts TLS on t->fd, for the hop that the chain has come to. VD_MORE; or a reason below 0, with
 * what is wrong in t->tls_said. */
int talk_tls(struct talk *t, int64_t until_ns);
/* Ends it, in order, once t->fd is closed. */
void talk_tls_end(struct talk *t);

#endif
