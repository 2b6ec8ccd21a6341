/*
 * relay: bytes between a client and its target, both ways, until both directions have ended.
 *
 * What is small passes through one buffer that all sessions of a worker share; memory is taken only
 * for what the receiver did not accept. A direction that keeps streaming gets a pipe, and its bytes
 * are spliced and never copied; when it pauses, the pipe goes back to the pool. Without a pipe (an
 * unprivileged user may have 64 large ones, or no descriptor is left) the buffer serves as well.
 */
#ifndef DAEMON_RELAY_H
#define DAEMON_RELAY_H

#include "daemon/loop.h"
#include "daemon/tls.h"

enum relay_side { RELAY_CLIENT, RELAY_TARGET };

enum relay_result {
    RELAY_GOES_ON,
    RELAY_ENDED, /* both directions ended in order, and all was sent */
    RELAY_RESET_BY_CLIENT,
    RELAY_RESET_BY_TARGET,
    RELAY_FAILED /* no memory */
};

enum { RELAY_BUFFER = 256 * 1024, RELAY_PIPE = 1024 * 1024, RELAY_PIPES_KEPT = 8 };

struct relay_pipe {
    struct relay_pipe *next;
    int in, out;
    size_t size;
};

/* One per worker. */
struct relay_pool {
    struct loop *loop;
    uint8_t *buffer; /* RELAY_BUFFER bytes */
    struct relay_pipe *pipes;
    unsigned kept;
    struct relay_flow *streaming;
    struct loop_timer sweep;
    int64_t no_pipes_until_ms;
};

struct relay_leg {
    struct loop_io io;
    bool readable, writable; /* as far as is known: edge-triggered */
    bool ended;              /* the peer's FIN has come */
    bool urgent;             /* urgent data was seen: a short read does not mean "no more" */
    bool broken;             /* an error is kept in the socket */
    struct tls *tls;         /* whose owner's end it is, or NULL; ended by relay_close */
};

/* One direction, named after the side it comes from. */
struct relay_flow {
    uint64_t bytes; /* received from that side */
    uint8_t *held;  /* what the other side did not accept yet */
    uint32_t held_at, held_len;
    uint32_t streak; /* bytes since the last pause */
    uint32_t piped;  /* bytes in the pipe */
    bool eof, shut;  /* nothing more comes; and that was passed on */
    bool hushed;     /* the loop does not tell of what comes: the pipe is to be emptied first */
    bool waits;      /* for relay_wake: nothing may be received before */
    struct relay_pipe *pipe;
    struct relay_flow *next, **link; /* in pool->streaming while it has a pipe */
    int64_t last_ms;                 /* of data */
};

struct limit_hold;
struct trace;

struct relay {
    struct relay_pool *pool;
    struct limit_hold *limit; /* of bytes for each second; NULL: none */
    struct trace *trace;      /* is told what comes, before it is sent on; NULL: nobody is */
    struct relay_leg leg[2];
    struct relay_flow flow[2];
    struct loop_task task; /* run: by the owner; it calls relay_go_on */
};

int relay_pool_init(struct relay_pool *pool, struct loop *loop); /* 0, or -1 */
void relay_pool_free(struct relay_pool *pool);

/* Closes a leg, with the TLS on it. */
void relay_close(struct relay *r, enum relay_side side, enum tls_end how);
/* Bytes sent to that side are on their way still. */
bool relay_is_sending(const struct relay *r, enum relay_side side);
/* Notes what epoll said of a leg, in any state of the session. */
void relay_note(struct relay *r, enum relay_side side, uint32_t events);
/* Bytes already received from `side`, to be sent first. 0, or -1 without memory. */
int relay_hold(struct relay *r, enum relay_side side, const uint8_t *data, size_t len);
/* Carries what can be carried. When a side has more than its share, the rest is done by r->task. */
enum relay_result relay_go_on(struct relay *r);
/* How many bytes the limit lets through now, at most `most`; 0: flow[side].waits from now on. */
size_t relay_room(struct relay *r, enum relay_side side, size_t most);
/* So many of them came. */
void relay_used(struct relay *r, enum relay_side side, size_t n);
/* What waits for the limit goes on, by r->task. */
void relay_wake(struct relay *r);
/* When data was last seen, either way. */
int64_t relay_last_ms(const struct relay *r);
/* One direction has ended. */
bool relay_is_half_closed(const struct relay *r);
/* Gives back memory and pipes, not the descriptors of the legs. */
void relay_stop(struct relay *r);

#endif
