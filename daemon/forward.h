/*
 * forward: HTTP requests with a URL, one after the other on a client's connection.
 *
 * Each request is logged in, judged, resolved and dialled as a CONNECT to its host would be, and
 * refused with the same words. A session holds at most one connection to an origin, which is used
 * again while the requests are for the same host and port.
 *
 * Memory: what a peer does not take yet, or what is not whole yet, at most FORWARD_HALF bytes each
 * way; bodies pass through the worker's shared buffer.
 */
#ifndef DAEMON_FORWARD_H
#define DAEMON_FORWARD_H

#include "daemon/session_state.h"
#include "proto/http_body.h"

enum {
    FORWARD_HALF = RELAY_BUFFER / 2, /* of the worker's buffer: one for input, one for output */
    FORWARD_READ = 48 * 1024,        /* received at a time, behind an unfinished head */
    FORWARD_METHOD = 24,             /* kept of a method, for the log */
    FORWARD_KEEP_ALIVE_MS = 60 * 1000
};

enum forward_up { UP_HEAD, UP_ASKED, UP_BODY, UP_DONE };
enum forward_down { DOWN_IDLE, DOWN_HEAD, DOWN_BODY, DOWN_DONE };

/* One direction. */
struct forward_flow {
    uint8_t *kept; /* received and not understood yet */
    uint8_t *held; /* to be sent, not accepted yet */
    uint32_t kept_len, held_at, held_len;
    size_t searched; /* of `kept`, for the end of a head */
    struct vd_http_body body;
    uint8_t framing; /* enum vd_http_framing: as it is sent on */
    bool eof;        /* nothing more comes */
};

struct forward {
    uint8_t up_state, down_state; /* enum forward_up, enum forward_down */
    uint8_t offers;
    bool old_client;  /* HTTP/1.0 */
    bool last;        /* the client's connection ends behind this response */
    bool origin_last; /* the origin's does */
    bool to_head, repeatable;
    bool reused;                /* the origin's connection had served before */
    struct vd_endpoint at;      /* what the origin's connection is for */
    const struct upstream *via; /* by which it was dialled; NULL: directly */
    struct egress egress;       /* and where it left */
    struct forward_flow up, down;
    uint8_t *request; /* the head as it is sent, until it is known to have arrived */
    uint32_t request_len;
    uint16_t status;
    uint8_t method_len;
    char method[FORWARD_METHOD];
    uint64_t bytes_before[2]; /* enum relay_side: when the request came */
    int64_t began_ms;
};

/* forward_flow.c */

/* What was received, at the beginning of the worker's buffer. */
struct forward_view {
    const uint8_t *data;
    size_t len;
};

enum forward_sent { FORWARD_SENT, FORWARD_FULL, FORWARD_LOST, FORWARD_NO_MEMORY };

/* What is kept of a side, with what can be received behind it. */
struct forward_view forward_fill(struct session *s, enum relay_side from);
/* Keeps what was not understood in place of what was kept. 0, or -1 without memory. */
int forward_keep(struct forward_flow *flow, const uint8_t *data, size_t len);
/* Sends what is held, then this; keeps the rest. */
enum forward_sent forward_send(struct session *s, enum relay_side to, const uint8_t *data,
                               size_t len);
void forward_drop(struct forward_flow *flow);
/* The output half of the worker's buffer. */
struct vd_out forward_out(const struct session *s);

/* forward.c */

/* What a step came to: nothing more can be done now; go on; or the state FORWARD was left, and
 * nothing of the session may be touched. */
enum forward_turn { FORWARD_STOP, FORWARD_ON, FORWARD_GONE };

void forward_close_origin(struct session *s);
void forward_drop_unsent(struct forward_flow *flow);
void forward_forget_request(struct forward *f);
/* Ends the session, with the words of log.h. */
enum forward_turn forward_end(struct session *s, const char *how);
/* The same by a reset, `by` whom it came. */
enum forward_turn forward_cut(struct session *s, enum relay_side by, const char *how);
enum forward_turn forward_lost_client(struct session *s);
/* Answers a fault while nothing of a response was passed on; else the client is cut off. */
enum forward_turn forward_refuse(struct session *s, enum vd_http_fault fault);
/* Sends a request once more, on a new connection. */
enum forward_turn forward_repeat(struct session *s);
/* What was received is not enough: is there more? Epoll does not tell twice. */
enum forward_turn forward_more(struct session *s, enum relay_side from);
/* Whether the origin's connection is there and says nothing. */
bool forward_is_origin_quiet(struct session *s);
/* Writes what is there of a body in its new framing. 1: it is whole; 0; or -1. */
int forward_rewrite(struct forward_flow *flow, struct vd_out *out, const uint8_t *data, size_t len,
                    size_t *taken);

/* forward_up.c, forward_down.c: a step of each direction. */
enum forward_turn forward_up_on(struct session *s);
enum forward_turn forward_down_on(struct session *s);

static inline struct forward_flow *forward_flow(struct session *s, enum relay_side from)
{
    return from == RELAY_CLIENT ? &s->forward->up : &s->forward->down;
}

#endif
