#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/trace_state.h"
#include "proto/describe_print.h"

/* For the one block that is being made: the widest row of payload tells 16 bytes on 90. */
static uint8_t room[128 * 1024];

static bool is_text(void)
{
    return trace_way.format == TRACE_TEXT;
}

static struct vd_capture capture_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (struct vd_capture){trace_way.format == TRACE_PCAP, now.tv_sec, (uint32_t)now.tv_nsec};
}

/* --- text ------------------------------------------------------------------------------------ */

static void put_time(struct vd_out *out)
{
    struct timespec now;
    struct tm tm;
    char text[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    snprintf(text, sizeof text, "%02d:%02d:%02d.%06ld", tm.tm_hour, tm.tm_min, tm.tm_sec,
             now.tv_nsec / 1000);
    vd_out_text(out, text);
}

static struct vd_out begin_block(const struct trace *t)
{
    struct vd_out out = vd_out_over(room, sizeof room);
    put_time(&out);
    vd_out_text(&out, " viaductd[");
    vd_out_uint(&out, (uint64_t)getpid());
    vd_out_text(&out, "] #");
    vd_out_uint(&out, t->number);
    vd_out_text(&out, " ");
    return out;
}

static void put_party(struct vd_out *out, const struct trace *t, const struct trace_party *who)
{
    if (who->stream == TRACE_CLIENT) {
        vd_out_text(out, "client ");
        net_addr_print(out, &t->from);
        return;
    }
    vd_out_text(out, "hop ");
    vd_out_uint(out, who->stream);
    vd_out_text(out, " of ");
    vd_out_uint(out, who->count);
    vd_out_text(out, " (");
    vd_out_text(out, who->url);
    vd_out_text(out, ")");
}

static struct vd_out begin_bytes(const struct trace *t, const struct trace_party *who, char way,
                                 size_t len, const char *title)
{
    struct vd_out out = begin_block(t);
    put_party(&out, t, who);
    vd_out_u8(&out, ' ');
    vd_out_u8(&out, (uint8_t)way);
    vd_out_u8(&out, ' ');
    vd_out_uint(&out, len);
    vd_out_text(&out, len == 1 ? " byte: " : " bytes: ");
    vd_out_text(&out, title);
    vd_out_text(&out, "\n");
    return out;
}

void trace_tell_words(const struct trace *t, const char *what, const char *more, size_t len)
{
    if (!is_text())
        return;
    struct vd_out out = begin_block(t);
    vd_out_text(&out, "- ");
    vd_out_text(&out, what);
    vd_out_bytes(&out, more, len);
    vd_out_text(&out, "\n");
    trace_write(out.to, out.len);
}

/* --- captures -------------------------------------------------------------------------------- */

static void open_stream(struct trace *t, const struct trace_party *who, struct vd_out *out,
                        const struct vd_capture *capture)
{
    char text[VD_URL_TEXT + 64];
    struct vd_out words = vd_out_over(text, sizeof text);
    if (t->opened >> who->stream & 1)
        return;
    t->opened |= 1u << who->stream;
    put_party(&words, t, who);
    vd_out_text(&words, who->stream > 1 ? ", inside the stream of the hop before" : "");
    vd_capture_open(out, capture, &t->streams[who->stream], vd_out_string(&words));
}

static void tell_frame(struct trace *t, const struct trace_party *who, char way,
                       const uint8_t *data, size_t len)
{
    struct vd_capture capture = capture_now();
    struct vd_capture_stream *s = &t->streams[who->stream];
    struct vd_out out = vd_out_over(room, sizeof room);
    bool said = (who->stream == TRACE_CLIENT) == (way == '<'); /* by whoever opened it */
    open_stream(t, who, &out, &capture);
    vd_capture_bytes(&out, &capture, s, said, data, len, "");
    *(said ? &s->said : &s->heard) += (uint32_t)len;
    trace_write(out.to, out.len);
}

void trace_tell_end(struct trace *t, bool all, enum vd_capture_end how, const char *why)
{
    struct vd_capture capture = capture_now();
    struct vd_out out = vd_out_over(room, sizeof room);
    if (is_text())
        return;
    for (unsigned i = all ? 0 : 1; i < TRACE_STREAMS; i++) {
        if (!(t->opened >> i & 1))
            continue;
        vd_capture_end(&out, &capture, &t->streams[i], how, t->opened >> i == 1 ? why : "");
    }
    t->opened &= all ? 0 : 1;
    if (out.len > 0)
        trace_write(out.to, out.len);
}

/* --- either ---------------------------------------------------------------------------------- */

void trace_tell_message(struct trace *t, const struct trace_party *who, char way, enum vd_says says,
                        const uint8_t *data, size_t len)
{
    static struct vd_field field;
    if (!is_text()) {
        tell_frame(t, who, way, data, len);
        return;
    }
    struct vd_out out = begin_bytes(t, who, way, len, vd_says_title(says));
    vd_describe_print(&out, says, data, len, &field);
    trace_write(out.to, out.len);
}

void trace_tell_payload(struct trace *t, const struct trace_party *who, char way,
                        const uint8_t *data, size_t len, uint64_t at)
{
    if (!is_text()) {
        tell_frame(t, who, way, data, len);
        return;
    }
    struct vd_out out = begin_bytes(t, who, way, len, "payload");
    vd_describe_print_payload(&out, data, len, at);
    trace_write(out.to, out.len);
}
