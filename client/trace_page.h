/*
 * trace_page: one block of a trace while it is made; private to client/trace*.c.
 */
#ifndef VD_CLIENT_TRACE_PAGE_H
#define VD_CLIENT_TRACE_PAGE_H

#include <time.h>

#include "client/say.h"
#include "client/trace.h"
#include "proto/mask.h"

enum { TRACE_ROOM = 48 * 1024 };

/* Mapped for each block and given back: there is no memory of ours in the program's own, and too
 * little on the stacks that some programs have. */
struct trace_page {
    const struct trace *trace;
    const struct vd_chain *chain;
    int fd;
    struct say_speaker speaker;
    struct timespec when; /* CLOCK_REALTIME */
    struct vd_out out;    /* over `room` */
    struct vd_field field;
    struct vd_masked masked;
    uint8_t message[VD_SHAKE_MESSAGE_MAX];
    uint8_t room[TRACE_ROOM];
};

struct trace_message {
    unsigned at; /* position of the hop */
    bool said;   /* by us */
    enum vd_says says;
    const uint8_t *data;
    size_t len;
};

/* --- client/trace_text.c: appends to page->out ----------------------------------------------- */

void trace_text_head(struct vd_out *out, bool secrets, time_t now);
/* A line that says something of the connection. */
void trace_text_line(struct trace_page *page, const char *what, const char *more);
void trace_text_message(struct trace_page *page, const struct trace_message *message);

/* --- client/trace_capture.c: the same as frames ---------------------------------------------- */

/* The segments that open the stream of the hop at a position. */
void trace_capture_open(struct trace_page *page, unsigned at);
void trace_capture_message(struct trace_page *page, const struct trace_message *message);
/* The streams that were opened break off; the last of them with a comment. */
void trace_capture_end(struct trace_page *page, const char *why);

#endif
