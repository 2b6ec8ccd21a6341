/*
 * trace_state: what trace.c, trace_open.c and trace_tell.c share; private to them.
 */
#ifndef DAEMON_TRACE_STATE_H
#define DAEMON_TRACE_STATE_H

#include "daemon/trace.h"
#include "proto/capture.h"
#include "proto/describe.h"

enum { TRACE_CLIENT, TRACE_STREAMS = 1 + VD_HOPS_MAX }; /* hop N has stream N, from 1 */

struct trace {
    uint32_t number;
    struct net_addr from; /* the client's */
    bool first;           /* the client has said nothing yet */
    bool login_due;       /* it offered a login, and was not told that none is wanted */
    bool inside;          /* what comes goes on with a line */
    uint8_t at;           /* position of the hop that is heard */
    struct vd_follow client, answers, hops;
    uint8_t count;          /* hops of the chain; 0: none */
    char last[VD_URL_TEXT]; /* the last of them */
    uint64_t told[2];       /* payload, from the client and from the target */
    uint32_t opened;        /* of the streams, as bits: they have begun in the capture */
    struct vd_capture_stream streams[TRACE_STREAMS];
};

/* Whose message it is. */
struct trace_party {
    unsigned stream;
    const char *url; /* of a hop */
    unsigned count;  /* hops of the chain */
};

/* --- trace_open.c ------------------------------------------------------------------------------
 */

extern struct trace_way {
    enum trace_format format;
    bool secrets, goes_on;
    uint32_t payload;
    int fd;
} trace_way;

/* Ends the trace of this process with a line where it cannot be written. */
void trace_write(const void *data, size_t len);

/* --- trace_tell.c: one block each --------------------------------------------------------------
 */

/* A message, `<` if we got it. */
void trace_tell_message(struct trace *t, const struct trace_party *who, char way, enum vd_says says,
                        const uint8_t *data, size_t len);
/* `at`: where it lies in its direction. */
void trace_tell_payload(struct trace *t, const struct trace_party *who, char way,
                        const uint8_t *data, size_t len, uint64_t at);
/* Words; text only. */
void trace_tell_words(const struct trace *t, const char *what, const char *more, size_t len);
/* The streams that are open end, those of hops alone or all; captures only. */
void trace_tell_end(struct trace *t, bool all, enum vd_capture_end how, const char *why);

#endif
