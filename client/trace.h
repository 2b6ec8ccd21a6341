/*
 * trace: every byte of the handshakes, for `viaduct --trace`.
 *
 * Who drives a chain tells what it said and heard. It is written down message by message, either as
 * text, with the meaning of each field (proto/describe.h), or as a capture for Wireshark, with
 * frames of TCP/IP made up around it: one stream for each hop, as if its bytes were not inside
 * those of the hop before. Passwords are masked before anything is written, unless the plan says
 * otherwise: what is shown is built from a copy of the hop that never had the password.
 *
 * Without --trace each call costs a load and a branch. All calls keep errno, allocate nothing and
 * take no lock; each block is one write(), so that those of several processes do not mix.
 */
#ifndef VD_CLIENT_TRACE_H
#define VD_CLIENT_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/session.h"
#include "proto/chain.h"
#include "proto/describe.h"

/* What the trace keeps of one connection; only meant while trace_is_on(). */
struct trace {
    uint32_t number;                                /* of the connection, in this process */
    uint32_t base;                                  /* of the sequence numbers of this dial */
    uint32_t said[VD_HOPS_MAX], heard[VD_HOPS_MAX]; /* bytes, as a capture counts them */
    uint16_t opened;                                /* a bit for each hop: its stream has begun */
    uint8_t at;                                     /* position of the hop that is heard */
    struct vd_follow follow;
};

static inline bool trace_is_on(void)
{
    const struct plan *plan = session_plan();

    return __builtin_expect(plan && plan->trace, 0);
}

/* A connection begins; *t may be anything. */
void trace_begin(struct trace *t, const struct vd_chain *chain, int fd);
/* The first hop is dialled at this address (NULL: on a unix socket); it has accepted. The chain is
 * at its beginning. */
void trace_dial(struct trace *t, const struct vd_chain *chain, int fd, const struct vd_ip *ip);
void trace_up(struct trace *t, const struct vd_chain *chain, int fd);
/* The chain has said what lies between `before` and what it says next. */
void trace_said(struct trace *t, const struct vd_chain *chain, int fd, struct vd_said before);
/* It has taken these bytes. */
void trace_heard(struct trace *t, const struct vd_chain *chain, int fd, const uint8_t *data,
                 size_t len);
/* This attempt is over: `why` (text), and `failed` if there is no tunnel. */
void trace_end(struct trace *t, const struct vd_chain *chain, int fd, bool failed, const char *why);

/* --- for the launcher ------------------------------------------------------------------------ */

/* What a file of this format (enum plan_trace) begins with; its length. */
enum { TRACE_HEAD_MAX = 256 };
size_t trace_head(uint8_t head[TRACE_HEAD_MAX], unsigned format, bool secrets);

#endif
