/*
 * talk: a conversation with the hops of a way on a connection of the launcher's own, from the dial
 * to the last answer, in the caller's thread; for the probe and for --check.
 *
 * Every wait ends. Hops of the scheme https are passed where path.tls says so. The bytes are
 * proto/chain.h's business; this is its fourth driver.
 */
#ifndef LAUNCHER_TALK_H
#define LAUNCHER_TALK_H

#include <stdbool.h>
#include <stdint.h>

#include "client/trace.h"
#include "proto/chain.h"

enum { TALK_MARKS = 3 * VD_HOPS_MAX, TALK_HEARD = 1024 };

/* A mark that is of no stage: TLS stands. */
enum { TALK_TLS = 0xff };

/* The answer to this stage was whole at that time. */
struct talk_mark {
    uint8_t at, stage;
    uint16_t code; /* what it said */
    int64_t ns;
};

/* TLS for one hop (talk_tls.h). */
struct talk_secure {
    int asks;  /* its end ends it */
    int below; /* the stream without it */
    int pid;
};

struct talk {
    /* given; all else zero */
    struct vd_path path; /* no bit is set in it */
    enum vd_command command;
    struct vd_endpoint target;
    int64_t end_ns;    /* CLOCK_MONOTONIC, as all times: by then it is over */
    uint32_t dial_ms;  /* the most for an address of the first hop; 0: until the end */
    uint32_t greet_ms; /* the most for an answer to a greeting or a login; 0: as stage_ms */
    uint32_t stage_ms; /* the most for an answer; 0 */
    bool in_flight;    /* the last hop is told all at once */
    bool fast_open;    /* by TCP Fast Open, if the system knows how */
    void (*progress)(void *whom, const struct talk *t); /* may be NULL: something has come */
    void *whom;

    /* told */
    struct vd_chain chain;
    int fd;             /* closed when it is over, -1 */
    bool ended, silent; /* how the stream was lost */
    bool up;            /* the first hop has accepted */
    int number;         /* errno of the dial that failed */
    uint8_t addr;       /* which address of the first hop was dialled last */
    bool syn_carried;   /* the first bytes went with the SYN */
    int64_t began_ns, up_ns, over_ns;
    struct talk_mark marks[TALK_MARKS];
    unsigned mark_count;
    uint8_t heard[TALK_HEARD]; /* the beginning of what came for the answer heard last */
    uint16_t heard_len;
    bool tls_is_due;    /* over while TLS was made, for the hop at chain.at */
    char tls_said[512]; /* TLS's version, or what is wrong with it */

    /* its own */
    int line; /* the connection itself, below all TLS; for its addresses */
    struct talk_secure secure[VD_HOPS_MAX];
    unsigned secure_count;
    bool another; /* what comes belongs to another answer */
    int64_t turn_ns;
    uint8_t turn; /* whose turn it has been since turn_ns */
    struct trace trace;
};

int64_t talk_now_ns(void);
/* VD_DONE, VD_AGAIN, or a reason (negative); -VD_ERR_UNREACHABLE of hop 1 with `number`. Where the
 * chain cannot be started nothing is dialled, and began_ns is 0. */
int talk(struct talk *t);
/* Whether the last hop has answered what it was asked for, whatever, since it refused nothing that
 * comes before. `r` is talk's. */
bool talk_was_answered(const struct talk *t, int r);

#endif
