/*
 * trace: --trace, the bytes of viaductd's own handshakes, with clients and with upstream hops.
 *
 *     14:03:22.123999 viaductd[4711] #7 client 127.0.0.1:50000 < 3 bytes: version identifier/...
 *         0000  05                       .         VER          SOCKS version 5
 *     14:03:22.124102 viaductd[4711] #7 hop 1 of 2 (socks5h://gw.example:1080) > 3 bytes: ...
 *
 * `<` is what viaductd got, `>` what it said; the rows are those of proto/describe.h. Whole
 * messages are told, however they came, each by one write to the standard error, which may wait:
 * this is for looking, not for everyday use. Passwords are masked (proto/mask.h). What tunnels
 * carry is not told. Without --trace a call costs a load and a branch.
 */
#ifndef DAEMON_TRACE_H
#define DAEMON_TRACE_H

#include <stdbool.h>

#include "daemon/net.h"
#include "proto/chain.h"
#include "proto/describe.h"

/* What is kept of a session while its handshakes last. */
struct trace {
    uint32_t number;
    struct net_addr from; /* the client's */
    bool first;           /* the client has said nothing yet */
    bool login_due;       /* it offered a login, and was not told that none is wanted */
    bool inside;          /* what comes goes on with a line */
    uint8_t at;           /* position of the hop that is heard */
    struct vd_follow client, answers, hops;
};

extern bool trace_wanted;

static inline bool trace_is_on(void)
{
    return __builtin_expect(trace_wanted, 0);
}

/* Before there are workers. */
void trace_open(void);

/* A session begins. */
void trace_begin(struct trace *t, const struct net_addr *from);
/* The client said this; it was told that (trace_answer). */
void trace_client(struct trace *t, const uint8_t *data, size_t len);
/* No more is taken of what it says: what was held is told. */
void trace_cut(struct trace *t);
void trace_answer(struct trace *t, const uint8_t *data, size_t len);

/* A chain is dialled; it said what lies between `before` and what it says next; it was told. `t`
 * may be NULL: then nothing is told. */
void trace_chain(struct trace *t, const struct vd_chain *chain);
void trace_said(struct trace *t, const struct vd_chain *chain, struct vd_said before);
void trace_heard(struct trace *t, const struct vd_chain *chain, const uint8_t *data, size_t len);

#endif
