/*
 * Three streams are cut into messages: what the client says, what it is told, and what the hops
 * say. Which kind of message the client says next is seen by its first byte and by what it was
 * told; everything else is known (proto/describe.h). What we say to hops is built once more,
 * masked.
 */
#include "daemon/trace.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/describe_print.h"
#include "proto/mask.h"

enum { USER_PASSWORD = 2 };

bool trace_wanted;

static uint8_t room[64 * 1024]; /* for the one block that is being made */

void trace_open(void)
{
    trace_wanted = true;
}

void trace_begin(struct trace *t, const struct net_addr *from)
{
    static uint32_t numbers;

    t->number = ++numbers;
    t->from = *from;
    t->first = true;
    t->login_due = t->inside = false;
    t->at = 0;
    vd_follow_start(&t->client, VD_SAYS_NOTHING);
    vd_follow_start(&t->answers, VD_SAYS_NOTHING);
}

/* --- a block --------------------------------------------------------------------------------- */

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

static void end_block(struct vd_out *out, char way, enum vd_says says, const uint8_t *data,
                      size_t len)
{
    static struct vd_field field;

    vd_out_u8(out, ' ');
    vd_out_u8(out, (uint8_t)way);
    vd_out_u8(out, ' ');
    vd_out_uint(out, len);
    vd_out_text(out, len == 1 ? " byte: " : " bytes: ");
    vd_out_text(out, vd_says_title(says));
    vd_out_text(out, "\n");
    vd_describe_print(out, says, data, len, &field);
    if (write(STDERR_FILENO, out->to, out->len) < 0)
        return; /* nobody is left to tell */
}

static void tell_of_client(const struct trace *t, char way, enum vd_says says, const uint8_t *data,
                           size_t len)
{
    struct vd_out out = begin_block(t);

    vd_out_text(&out, "client ");
    net_addr_print(&out, &t->from);
    end_block(&out, way, says, data, len);
}

static void tell_of_hop(const struct trace *t, const struct vd_chain *c, unsigned at, char way,
                        enum vd_says says, const uint8_t *data, size_t len)
{
    struct vd_out out = begin_block(t);

    vd_out_text(&out, "hop ");
    vd_out_uint(&out, at + 1u);
    vd_out_text(&out, " of ");
    vd_out_uint(&out, c->path.count);
    vd_out_text(&out, " (");
    vd_url_print(&out, vd_path_hop(&c->path, at));
    vd_out_text(&out, ")");
    end_block(&out, way, says, data, len);
}

/* --- clients --------------------------------------------------------------------------------- */

static void tell_client(struct trace *t, size_t len)
{
    uint8_t masked[VD_MASK_ROOM];
    enum vd_says says = (enum vd_says)t->client.says;
    size_t n = vd_mask_said(says, t->client.data, len, t->inside, masked, sizeof masked);

    t->inside = len > 0 && t->client.data[len - 1] != '\n';
    tell_of_client(t, '<', says, masked, n);
}

static enum vd_says answer_to(enum vd_says said)
{
    return said == VD_SAYS_SOCKS4_REQUEST ? VD_SAYS_SOCKS4_REPLY
           : said == VD_SAYS_METHODS      ? VD_SAYS_METHOD
                                          : VD_SAYS_HTTP_RESPONSE;
}

/* The first byte of a message decides what it is. */
static void expect_of_client(struct trace *t, const uint8_t *data, size_t len)
{
    enum vd_says says;

    if (t->client.have > 0 || t->client.says != VD_SAYS_NOTHING)
        return;
    says = vd_says_of_client(data, len, t->first, t->login_due);
    if (t->first)
        vd_follow_start(&t->answers, answer_to(says));
    t->first = false;
    t->inside = false;
    vd_follow_start(&t->client, says);
}

/* What comes in a flight is told before the method is chosen. */
static void note_login(struct trace *t)
{
    if (t->client.says == VD_SAYS_METHODS)
        t->login_due = memchr(t->client.data + 2, USER_PASSWORD, t->client.told - 2u);
    else if (t->client.says == VD_SAYS_LOGIN)
        t->login_due = false;
}

void trace_client(struct trace *t, const uint8_t *data, size_t len)
{
    while (len > 0) {
        bool whole;
        size_t n;

        expect_of_client(t, data, len);
        n = vd_follow_take(&t->client, data, len, &whole);
        data += n;
        len -= n;
        if (!whole)
            continue;
        note_login(t);
        tell_client(t, t->client.told);
        vd_follow_next(&t->client, VD_SAYS_NOTHING);
    }
}

void trace_cut(struct trace *t)
{
    if (t->client.have > 0)
        tell_client(t, t->client.have);
    vd_follow_start(&t->client, VD_SAYS_NOTHING);
}

void trace_answer(struct trace *t, const uint8_t *data, size_t len)
{
    while (len > 0) {
        bool whole;
        size_t n = vd_follow_take(&t->answers, data, len, &whole);

        data += n;
        len -= n;
        if (!whole && t->answers.says != VD_SAYS_NOTHING)
            continue;
        if (!whole)
            t->answers.told = t->answers.have; /* a refusal's text */
        if (t->answers.says == VD_SAYS_METHOD)
            t->login_due = t->answers.data[1] == USER_PASSWORD;
        tell_of_client(t, '>', (enum vd_says)t->answers.says, t->answers.data, t->answers.told);
        vd_follow_next(&t->answers, vd_says_behind((enum vd_says)t->answers.says, t->answers.data,
                                                   t->answers.told));
    }
}

/* --- hops ------------------------------------------------------------------------------------ */

void trace_chain(struct trace *t, const struct vd_chain *c)
{
    if (!t)
        return;
    t->at = 0;
    vd_follow_start(&t->hops, vd_says_first((enum vd_scheme)vd_path_hop(&c->path, 0)->scheme));
}

void trace_said(struct trace *t, const struct vd_chain *c, struct vd_said before)
{
    static struct vd_masked masked;
    struct vd_said now = vd_chain_said(c);

    while (t && (before.at != now.at || before.stage != now.stage)) {
        unsigned at = before.at;
        uint8_t message[VD_SHAKE_MESSAGE_MAX];
        enum vd_says says;
        size_t len = vd_mask_message(&masked, c, &before, false, &says, message, sizeof message);

        tell_of_hop(t, c, at, '>', says, message, len);
    }
}

static void hear_on(struct trace *t, const struct vd_chain *c)
{
    enum vd_says says = vd_says_behind((enum vd_says)t->hops.says, t->hops.data, t->hops.told);

    if (says == VD_SAYS_NOTHING && t->hops.ends && t->at + 1u < c->path.count)
        says = vd_says_first((enum vd_scheme)vd_path_hop(&c->path, ++t->at)->scheme);
    else if (says == VD_SAYS_NOTHING && t->hops.ends && c->command == VD_BIND)
        says = (enum vd_says)t->hops.says;
    vd_follow_next(&t->hops, says);
}

void trace_heard(struct trace *t, const struct vd_chain *c, const uint8_t *data, size_t len)
{
    while (t && len > 0) {
        bool whole;
        size_t n = vd_follow_take(&t->hops, data, len, &whole);

        data += n;
        len -= n;
        if (!whole)
            continue;
        vd_mask_heard(&c->path, t->hops.data, t->hops.told);
        tell_of_hop(t, c, t->at, '<', (enum vd_says)t->hops.says, t->hops.data, t->hops.told);
        hear_on(t, c);
    }
}
