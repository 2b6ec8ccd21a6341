/*
 * audit: what became of each target and name, written down for `viaduct --audit`.
 *
 * Rows lie in the session, one for each different target and outcome, with a count. Their number is
 * bounded; what finds no room is only counted. Adding takes no lock and allocates nothing. Without
 * --audit nothing is written: audit_is_on() is one load.
 */
#ifndef VD_CLIENT_AUDIT_H
#define VD_CLIENT_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/route.h"
#include "client/session.h"

enum audit_kind {
    AUDIT_STREAM,    /* a connection */
    AUDIT_DATAGRAMS, /* the number of datagrams, or of sockets connected */
    AUDIT_ANY,       /* something to that target */
    AUDIT_NAME       /* a lookup; the target's port is 0 */
};

/* For a name: through the chain means that it stayed, and has a placeholder; direct that this
 * machine's resolver was asked. Past: by a program that has the library, but not through it. */
enum audit_way { AUDIT_BY_CHAIN, AUDIT_DIRECT, AUDIT_REFUSED, AUDIT_PAST };

enum audit_counter {
    AUDIT_PLACEHOLDERS, /* different names that stayed */
    AUDIT_STAYED,       /* lookups answered by a placeholder */
    AUDIT_ASKED,        /* lookups that this machine's resolver got, as the plan wants it */
    AUDIT_LEFT,         /* DNS past the chain, although names are the proxy's */
    AUDIT_PAST_LIBRARY, /* connections and datagrams that went past it */
    AUDIT_OBSERVED,     /* system calls are seen, too: how many observers there were */
    AUDIT_NOT_SHOWN,    /* events without a row */
    AUDIT_COUNTERS
};

enum { AUDIT_NO_RULE = 0xffff };

/* Fixed-width, the same for 32-bit and 64-bit processes. */
struct audit_row {
    uint32_t state;
    uint32_t hash;
    uint32_t turn; /* rows by age */
    uint32_t count;
    uint32_t ms_total, ms_max; /* of the handshakes */
    uint32_t bytes_total;      /* of the handshakes, both ways */
    struct vd_endpoint at;
    uint16_t chain;  /* AUDIT_BY_CHAIN: its index in the plan */
    uint16_t rule;   /* the one that decided; AUDIT_NO_RULE */
    uint16_t number; /* the errno that the program was shown; 0: none */
    uint8_t kind, way;
};

/* Where it is decided; only while audit_is_on(). */
static inline bool audit_is_on(void)
{
    const struct plan *plan = session_plan();

    return plan && plan->audit;
}

/* `route` as it was judged. Keeps errno. */
void audit_add(enum audit_kind kind, enum audit_way way, const struct vd_endpoint *at,
               const struct route *route, int number, uint32_t ms);
/* A connection by the chain: how long its handshake took, and how many bytes it was, both ways. */
void audit_handshake(const struct vd_endpoint *at, const struct route *route, int number,
                     uint32_t ms, uint32_t bytes);
void audit_count(enum audit_counter counter);
/* What an observer of system calls would need and does not have here: the first who says so is
 * heard. */
enum { AUDIT_LACK_MAX = 256 };
void audit_lacks(const char *what);

/* --- for the launcher ---------------------------------------------------------------------- */

struct audit_report {
    uint32_t counters[AUDIT_COUNTERS];
    char lacks[AUDIT_LACK_MAX];
    struct audit_row *rows; /* the oldest first; the caller's to free */
    size_t count;
};

/* Reads the audit of a session file by its descriptor. 0, or an errno. */
int audit_read(struct audit_report *report, int fd);

#endif
