/*
 * probe_visit: one connection of the probe: what a SOCKS5 hop answers to a request that no SOCKS5
 * server knows, in one flight or message by message.
 */
#ifndef LAUNCHER_PROBE_VISIT_H
#define LAUNCHER_PROBE_VISIT_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/chain.h"

enum probe_outcome {
    PROBE_ABSENT,   /* the hop was not reached, did not answer the greeting, or refused the login */
    PROBE_ANSWERED, /* it answered the request, whatever */
    PROBE_CLOSED,   /* it answered what came before, and closed */
    PROBE_SILENT,   /* it answered what came before, and no more */
    PROBE_GARBLED   /* what it said is no answer */
};

struct probe_visit {
    struct vd_path path;  /* the last hop is the one in question; no bit is set in it */
    int64_t end_ns;       /* CLOCK_MONOTONIC: by then it is over */
    bool no_login_wanted; /* told: the hop chose method 00 */
};

int64_t probe_now_ns(void);
/* Connects, asks, closes. In a flight that hop alone is told all at once; those before it are told
 * message by message. */
enum probe_outcome probe_visit(struct probe_visit *v, bool in_flight);

#endif
