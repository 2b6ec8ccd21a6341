/*
 * drive: the chain's handshake on the program's own socket.
 *
 * The driver dials the first hop, then moves bytes between the socket and proto/chain. It never
 * waits by itself: its owner waits for what a verb asked for, and calls again.
 *
 *     r = drive_begin(&d, ...);  r = drive_dial(&d, fd);
 *     while (r > 0)
 *         wait until fd is readable (DRIVE_READ) or writable (DRIVE_WRITE), or drive_deadline_ns
 *         r = came in time ? drive_step(&d, fd) : drive_expire(&d, fd);
 *
 * r == DRIVE_DONE: the socket is the target's. r < 0: -VD_ERR_*; then drive_fail, or drive_undo and
 * drive_errno, tell the rest.
 *
 * What the target says is left on the socket for the program: a handshake that has received bytes
 * behind its end, by asking for as many as a reply mostly has, begins again, more carefully.
 */
#ifndef VD_CLIENT_DRIVE_H
#define VD_CLIENT_DRIVE_H

#include <stdint.h>

#include "client/route.h"
#include "client/trace.h"
#include "proto/chain.h"

enum { DRIVE_DONE = 0, DRIVE_READ = 1, DRIVE_WRITE = 2 };

struct drive {
    struct vd_chain chain;
    struct route route;           /* as it was judged */
    const struct plan_chain *via; /* the chain, if there are other ways through it; else NULL */
    int64_t start_ns;             /* CLOCK_MONOTONIC, as all times here */
    int64_t deadline_ns;          /* for the whole */
    int64_t dial_ns;              /* when the first hop was dialled last, for a flight; else 0 */
    int64_t stage_ns;             /* for this hop, or this address of the first hop; 0: none */
    uint32_t stage_ms;            /* as it was when it began */
    int family;                   /* AF_INET or AF_INET6: the form of the program's address */
    int number;                   /* errno of the last dial that failed */
    uint32_t bytes;               /* of the handshake so far, both ways */
    uint8_t tries;                /* other ways that were tried */
    uint8_t addr;                 /* which address of the first hop is dialled */
    uint8_t dialling;
    uint8_t received;    /* the last step took bytes, and more of them may be there */
    uint8_t interrupted; /* a signal came while a blocking socket dialled, or received */
    uint8_t careful;     /* no byte is asked for that may be the target's */
    uint8_t waits;       /* the socket blocks: receive for as long as its SO_RCVTIMEO says */
    struct trace trace;  /* last: drive_begin clears what is before */
};

int64_t drive_now_ns(void);

/* Prepares the handshake; `limit_ns` is the program's own limit (SO_SNDTIMEO), 0: none. VD_OK or
 * as vd_chain_start. */
int drive_begin(struct drive *d, const struct target *t, int family, int64_t limit_ns);
/* The same with another command than CONNECT for the last hop. After DRIVE_DONE of VD_BIND the
 * caller awaits the second reply: vd_chain_next(&d->chain), then drive_step as before. */
int drive_begin_command(struct drive *d, const struct target *t, enum vd_command command,
                        int family, int64_t limit_ns);

/* Dials the first hop on `fd`, one address after the other. A blocking socket blocks as long as
 * its SO_SNDTIMEO says. */
int drive_dial(struct drive *d, int fd);
int drive_step(struct drive *d, int fd);
/* From the beginning on the same socket, which may be in any state, as `d` may be behind its
 * drive_begin: whoever made the last step has ended within it. As drive_step. */
int drive_anew(struct drive *d, int fd);

/* When to call drive_expire instead of drive_step. */
int64_t drive_deadline_ns(const struct drive *d);
/* Time ran out: may go on with another address of the first hop, else -VD_ERR_SILENT. */
int drive_expire(struct drive *d, int fd);

/* Dissolves the socket's connection, so that the program may connect() again. An error stays behind
 * as the kernel leaves it; drive_dissolve takes it away, too. */
void drive_undo(int fd);
void drive_dissolve(int fd);

/* The errno the program is shown for a result. */
int drive_errno(const struct drive *d, int result);
/* The same where the program waits for it: the socket is dissolved, so that it can be connected
 * anew, but for one that was connected before. */
int drive_fail(const struct drive *d, int fd, int result);

/* Says what failed and where, or (result DRIVE_DONE) that the connection is up. */
void drive_report(const struct drive *d, int result);

#endif
