/*
 * dial: from a target to a connected socket: straight (RFC 8305, happy eyeballs) or by a chain.
 *
 * A dial belongs to a session and reports to it once, by `done`, maybe from inside dial_start.
 * The connected socket is then watched, edge-triggered, by dial->io, which the owner takes over by
 * loop_hand_over.
 */
#ifndef DAEMON_DIAL_H
#define DAEMON_DIAL_H

#include "conf/daemon.h"
#include "daemon/egress.h"
#include "daemon/loop.h"
#include "daemon/net.h"
#include "daemon/resolve.h"
#include "daemon/tls.h"
#include "daemon/upstream.h"
#include "proto/chain.h"
#include "proto/proxyline.h"

enum {
    DIAL_ATTEMPTS = 2 * RESOLVE_IPS_MAX,
    DIAL_STAGGER_MS = 250,   /* RFC 8305 section 5: Connection Attempt Delay */
    DIAL_FIRST_WAIT_MS = 50, /* section 3: Resolution Delay */
    DIAL_SAID_MAX = 384,
    DIAL_TIMERS = 2
};

/* One per worker. */
struct dialer {
    struct loop *loop;
    struct resolver *resolver; /* of this machine: for hops, and for targets without an upstream */
    struct tls_pool *tls;
    const struct tls_contexts *contexts; /* of hops that speak https */
    uint32_t limit_ms;                   /* how long the owners of dials wait */
    const struct vd_conf_daemon *conf;   /* for egress_of */
    bool paced;                          /* what it opens, unless told otherwise: net_is_paced */
    uint8_t *scratch;                    /* the worker's shared buffer */
    size_t scratch_len;
};

struct dial_attempt {
    struct loop_io io;
    struct dial *dial;
    struct vd_ip ip;
};

struct dial_queue {
    uint8_t count, next;
    bool taken; /* the resolver's answer for this family stands here */
    struct vd_ip ips[RESOLVE_IPS_MAX];
};

/* A hop that may have failed, or another one of its way, or the target. */
struct dial_doubt {
    uint16_t hop;    /* of the upstream's list, as a bit; 0: there is no doubt */
    uint16_t before; /* those before it on its way, as bits */
    int err;
    bool is_a_hops; /* it was not the target */
    uint8_t count;  /* of doubts so far */
};

struct trace;

struct dial {
    const struct dialer *by;
    void *context;                            /* the owner's */
    void (*done)(struct dial *dial, int err); /* VD_OK, or a reason (positive) for the client */
    /* The guard on final addresses: before one is dialled, and once more where it turns out to be
     * this machine's. */
    bool (*may_reach)(struct dial *dial, const struct vd_ip *ip, bool is_here);
    struct trace *trace;                  /* of the session, for --trace; NULL: none */
    void (*introduce)(struct dial *dial); /* sets the preface for dial->via; NULL: it stays */

    const struct vd_conf_access *rule; /* that allowed it, for where it leaves; NULL: none */
    uint8_t command;                   /* of a chain, enum vd_command; 0: CONNECT */
    struct vd_path path; /* of a chain: by these hops and no others; count 0: the dial chooses */
    bool is_check;       /* of a chain: what it says of hops is the owner's to note */
    bool tries_flight;   /* with `path`: its last hop is told all at once, if logins are safe */
    uint8_t preface_len; /* set by the owner, if anything is to be sent first of all */
    uint8_t preface[VD_PROXYLINE_OUT];

    struct loop_io io;        /* done: the connected socket */
    uint32_t seen;            /* done: events that came with it */
    struct tls *tls;          /* done: whose owner's end the socket is, or NULL: taken with it */
    struct net_addr out;      /* done, with TLS: the connection's local address */
    struct net_addr peer;     /* done: where it is connected to */
    struct vd_endpoint bound; /* done: a chain's last reply */
    bool chained;
    struct upstream *via; /* chained: the one in use in the end; its hops: chain.path */
    size_t said_len;      /* not done: what the chain has to say */
    uint8_t said_err;     /* and the reason (positive) that it gives; VD_OK: as `done` tells */
    char said[DIAL_SAID_MAX];

    /* private */
    uint8_t phase;
    bool may_start, waited; /* the stagger has passed; the wait for a family is over or needless */
    bool by_v4;             /* the family to be tried next */
    bool unserved;          /* the target has addresses of a family that is not used */
    struct egress egress;   /* of the race */
    uint8_t fault;          /* enum egress_fault: of an attempt, whose errno and family are */
    uint8_t fault_family;
    int fault_number;
    uint16_t port;
    int err;
    int number;           /* errno of the last attempt that failed; 0: none did */
    unsigned alive, used; /* attempts */
    const struct vd_endpoint *target;
    struct vd_endpoint final; /* chain: the target as the last hop takes it */
    struct vd_path chosen;    /* chain: the hops */
    struct resolve_wait wait;
    struct loop_timer timer;
    uint32_t limit_ms;     /* of the chain's stage; 0: none */
    int64_t started_ms;    /* the dial */
    int64_t raced_ms;      /* when the first hop was dialled */
    struct loop_timer way; /* until another way is tried */
    int64_t way_until_ms;  /* the way's part of the time; 0: all of it */
    uint8_t ways;          /* that were tried */
    uint16_t avoid;        /* hops of the upstream that are not tried again, as bits */
    struct dial_doubt doubt;
    struct dial_queue queue[2]; /* enum resolve_family */
    struct dial_attempt attempts[DIAL_ATTEMPTS];
    struct vd_chain chain;
};

/* Sets everything but `done` and `may_reach`; the owner may then set `command` and `path`. */
void dial_init(struct dial *dial, const struct dialer *by);
/* Sets out for `target`, which outlives the dial, by an upstream (NULL: directly). Where its hops
 * fail and others can stand in, those are tried, and then its fallback, within by->limit_ms. The
 * last thing its caller does. */
void dial_start(struct dial *dial, struct upstream *via, const struct vd_endpoint *target);
/* To a unix socket on this machine, which no chain leads to; `path` outlives the dial. */
void dial_start_unix(struct dial *dial, const char *path);
/* After `done` of a chain whose command was BIND, with the socket still the dial's: awaits the
 * second reply, without a limit of time, and calls `done` once more: `bound` is who has come, or a
 * reason why nobody has. The last thing its caller does. */
void dial_await_second(struct dial *dial);
/* For dial->may_reach, where the target is the configuration's own (a hop, a name server, a target
 * that is checked) and no client's: every address. */
bool dial_reach_all(struct dial *dial, const struct vd_ip *ip, bool is_here);
/* For dial->introduce: the first hop, where it awaits a line, is told that nobody is known. */
void dial_introduce_nobody(struct dial *dial);
/* Gives up: closes what is open, calls nobody. Harmless after `done` and without dial_start. */
void dial_stop(struct dial *dial);
/* The time is over: what to tell the client; says why in dial->said where there is a chain. */
int dial_timed_out(struct dial *dial);

#endif
