/*
 * chain: the handshakes of up to 16 hops over one stream; itself a handshake.
 *
 * A driver sees the same face as proto/shake.h, whatever the number of hops: it dials the first
 * hop, then sends what is pending and feeds what it receives until VD_DONE. From then on the stream
 * is the target's. The rules of ownership, purity and copying of proto/shake.h hold.
 *
 * In one flight: a hop that keeps what comes early may be told more than it has answered yet: its
 * own messages at once, and behind them those for the next hop. Which hops are such, the driver
 * knows (vd_path.flights). What can go wrong with it ends with VD_AGAIN: dial anew, and all goes
 * message by message. The program's own bytes are never sent ahead.
 */
#ifndef VD_PROTO_CHAIN_H
#define VD_PROTO_CHAIN_H

#include "proto/shake.h"

/* Which hops, in which order: indices into an array that outlives every use. */
struct vd_path {
    const struct vd_hop *hops; /* borrowed */
    uint8_t count;             /* 1 to VD_HOPS_MAX */
    uint16_t order[VD_HOPS_MAX];
    /* A bit for each position. A flight with a login offers that login alone, and an HTTP hop
     * counts only if it has answered 2xx with this login before: one that refuses may take what
     * follows for its next request. */
    uint16_t flights; /* the hop may be told more before it has answered */
    uint16_t proven;  /* and has done well with that: silence then has another cause */
    bool tls;         /* the driver can put TLS on the stream, for hops of the scheme https */
};

struct vd_chain {
    struct vd_path path;
    struct vd_endpoint target;
    uint8_t command;
    struct vd_shake shake; /* with the hop whose answer is awaited */
    uint8_t at;            /* position of that hop in the path, from 0 */
    uint8_t cause; /* enum vd_err: why the hop before says that this one cannot be reached */
    uint8_t say_at, say_stage;     /* the message said next */
    uint16_t say_sent;             /* bytes of it */
    uint8_t secured;               /* how many hops have TLS, or need none */
    uint8_t flown;                 /* something was said ahead of an answer, */
    uint8_t ahead_at, ahead_stage; /* up to this message */
    uint32_t patience_ms;          /* how long silence may last that can come of the flight */
};

enum {
    VD_AGAIN = 2, /* beside VD_MORE and VD_DONE: the flight went wrong, see vd_chain_again */
    VD_FLIGHT_MAX = 4096,        /* a buffer of this size takes most flights whole */
    VD_FLIGHT_PATIENCE_MS = 2000 /* patience_ms, unless the driver knows better */
};

const struct vd_hop *vd_path_hop(const struct vd_path *path, unsigned position);
/* "hop 2 of 3 (http://10.0.0.2:3128)"; hops that another stands for are counted, not it. */
void vd_path_name(struct vd_out *out, const struct vd_path *path, unsigned position);
/* For the driver's memory, a bit for each position: VD_AGAIN came while the hop at `position` was
 * awaited: who may be to blame, which is whoever has not proved the contrary, or else that hop and
 * the one before it. */
uint16_t vd_path_suspects(const struct vd_path *path, unsigned position);
/* The chain came up in a flight: who was told more than it had answered. */
uint16_t vd_path_proves(const struct vd_path *path);

/* Copies `path` and `target`. Every hop but the last gets CONNECT to the next one: by name where it
 * resolves names, else by the first of the next hop's `addrs`. VD_OK, or as vd_shake_start for any
 * of the hops (all are tried before a byte is sent), -VD_ERR_UNSUPPORTED for a hop this chain
 * cannot carry: https unless path->tls, or a unix socket behind another hop. After an error
 * vd_chain_at names the hop. */
int vd_chain_start(struct vd_chain *c, const struct vd_path *path, enum vd_command command,
                   const struct vd_endpoint *target);
/* As their counterparts of proto/shake.h. What a hop says of its target is, but for the last one,
 * news of the next hop: that becomes -VD_ERR_UNREACHABLE of the latter. vd_chain_feed and
 * vd_chain_lost may give VD_AGAIN: what was awaited of the hop at `at`, and asked for in a flight,
 * did not come, in a way that may come of the flight; if so, it or a hop before it does not bear
 * one. vd_chain_pending writes as many messages as may be said now. */
size_t vd_chain_pending(const struct vd_chain *c, uint8_t *buf, size_t cap);
bool vd_chain_speaks(const struct vd_chain *c);
void vd_chain_sent(struct vd_chain *c, size_t n);
size_t vd_chain_want(const struct vd_chain *c);
size_t vd_chain_usual(const struct vd_chain *c);
bool vd_chain_peeks(const struct vd_chain *c);
int vd_chain_feed(struct vd_chain *c, const uint8_t *data, size_t len, size_t *used);
int vd_chain_lost(struct vd_chain *c, enum vd_loss loss);
void vd_chain_next(struct vd_chain *c);
/* After VD_AGAIN, or when bytes were received that are the tunnel's, on a new connection to the
 * first hop: from the start, message by message. */
void vd_chain_again(struct vd_chain *c);
/* Whether the stream has come to a hop of the scheme https: nothing is said to it, in a flight
 * neither, before the driver has put TLS on the stream and says so. What TLS comes to if it fails
 * the driver knows (VD_ERR_TLS, VD_ERR_CERTIFICATE), or the stream just ends. */
bool vd_chain_awaits_tls(const struct vd_chain *c);
void vd_chain_has_tls(struct vd_chain *c);

/* For who looks on: the message that is said next, as a place in the sequence of all. */
struct vd_said {
    uint8_t at, stage; /* the hop's position, enum vd_stage */
};
struct vd_said vd_chain_said(const struct vd_chain *c);
/* Writes the message at *said whole and sets *said behind it. Its length; VD_SHAKE_MESSAGE_MAX
 * bytes are room enough. */
size_t vd_chain_message(const struct vd_chain *c, struct vd_said *said, uint8_t *buf, size_t cap);

/* The hop whose answer is awaited, or that failed. */
const struct vd_hop *vd_chain_at(const struct vd_chain *c);
/* The time limit of that hop's stage in milliseconds, 0: none of its own. While what was said in a
 * flight by way of unproven hops is not answered it is patience_ms at most. */
uint32_t vd_chain_timeout_ms(const struct vd_chain *c);

/* "hop 2 of 3 (http://10.0.0.2:3128) refused the login (HTTP 407)": which hop, what became of it,
 * what it said. `err` is the reason a verb gave, or one of the driver's own (VD_ERR_UNREACHABLE,
 * VD_ERR_SILENT). Never a secret. */
void vd_chain_explain(struct vd_out *out, const struct vd_chain *c, int err);

#endif
