/*
 * Three streams are cut into messages: what the client says, what it is told, and what the hops
 * say. Which kind of message the client says next is seen by its first byte and by what it was
 * told; everything else is known (proto/describe.h). What we say to hops is built once more,
 * masked.
 *
 * Payload is told once: as the client's, or, where somebody goes on with a trace that another
 * program has begun (`viaduct --trace-data`, which is the client), as that of the last hop.
 */
#include "daemon/trace.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/trace_state.h"
#include "proto/mask.h"

enum { USER_PASSWORD = 2, BLOCK = 16 * 1024 /* of payload */ };

static const struct trace_party client = {TRACE_CLIENT, NULL, 0};

/* --- a session ------------------------------------------------------------------------------- */

static void set_end(struct vd_endpoint *e, const struct net_addr *a, unsigned number)
{
    struct vd_ip ip = net_addr_ip(a);
    uint16_t port = net_addr_port(a);
    bool known = ip.family == VD_IPV4 || ip.family == VD_IPV6;
    if (!known) { /* RFC 5737 */
        ip = vd_ip4((const uint8_t[]){192, 0, 2, (uint8_t)number});
        port = (uint16_t)(number | 0x8000);
    }
    vd_endpoint_set_ip(e, &ip, port);
}

struct trace *trace_begin(struct trace *t, const struct net_addr *from, const struct net_addr *at)
{
    static uint32_t numbers;
    if (!t) {
        t = calloc(1, sizeof *t);
        if (!t)
            return NULL;
        t->number = ++numbers;
        t->from = *from;
        set_end(&t->streams[TRACE_CLIENT].near, from, t->number % 200 + 20);
        set_end(&t->streams[TRACE_CLIENT].far, at, 255);
    }
    t->first = true;
    t->login_due = t->inside = false;
    t->at = 0;
    vd_follow_start(&t->client, VD_SAYS_NOTHING);
    vd_follow_start(&t->answers, VD_SAYS_NOTHING);
    return t;
}

/* Where payload was not told the stream has a gap, which is the truth. */
static void count_untold(struct trace *t, uint64_t up, uint64_t down)
{
    unsigned stream = trace_way.goes_on ? t->count : TRACE_CLIENT;
    struct vd_capture_stream *s = &t->streams[stream];
    s->said += (uint32_t)(up > t->told[0] ? up - t->told[0] : 0);
    s->heard += (uint32_t)(down > t->told[1] ? down - t->told[1] : 0);
}

void trace_end(struct trace *t, bool by_reset, uint64_t up, uint64_t down)
{
    if (!t)
        return;
    count_untold(t, up, down);
    if (trace_wanted)
        trace_tell_end(t, true, by_reset ? VD_CAPTURE_RESET : VD_CAPTURE_CLOSED, "");
    free(t);
}

/* --- clients --------------------------------------------------------------------------------- */

static void tell_of_client(struct trace *t, char way, enum vd_says says, const uint8_t *data,
                           size_t len)
{
    if (!trace_way.goes_on)
        trace_tell_message(t, &client, way, says, data, len);
}

static void tell_client(struct trace *t, size_t len)
{
    uint8_t masked[VD_MASK_ROOM];
    enum vd_says says = (enum vd_says)t->client.says;
    size_t n = len;
    if (trace_way.secrets)
        memcpy(masked, t->client.data, len);
    else
        n = vd_mask_said(says, t->client.data, len, t->inside, masked, sizeof masked);
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
    while (t && len > 0) {
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

void trace_request(struct trace *t, const uint8_t *head, size_t len)
{
    if (!t)
        return;
    vd_follow_start(&t->client, VD_SAYS_NOTHING);
    t->first = true;
    trace_client(t, head, len);
}

void trace_cut(struct trace *t)
{
    if (!t)
        return;
    if (t->client.have > 0)
        tell_client(t, t->client.have);
    vd_follow_start(&t->client, VD_SAYS_NOTHING);
}

void trace_answer(struct trace *t, const uint8_t *data, size_t len)
{
    while (t && len > 0) {
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

static void tell_of_hop(struct trace *t, const struct vd_chain *c, unsigned at, char way,
                        enum vd_says says, const uint8_t *data, size_t len)
{
    char url[VD_URL_TEXT];
    struct vd_out out = vd_out_over(url, sizeof url);
    struct trace_party who = {at + 1, url, c->path.count};
    vd_url_print(&out, vd_path_hop(&c->path, at));
    vd_out_string(&out);
    trace_tell_message(t, &who, way, says, data, len);
}

static void tell_target(struct trace *t, const struct vd_chain *c)
{
    char text[VD_ENDPOINT_TEXT + 64];
    struct vd_out out = vd_out_over(text, sizeof text);
    vd_endpoint_print(&out, &c->target);
    vd_out_text(&out, " for ");
    net_addr_print(&out, &t->from);
    trace_tell_words(t, "", text, out.len);
}

void trace_chain(struct trace *t, const struct vd_chain *c)
{
    struct vd_out out;
    if (!t)
        return;
    trace_tell_end(t, false, VD_CAPTURE_RESET, "it is dialled anew");
    if (trace_way.goes_on)
        tell_target(t, c);
    t->at = 0;
    t->count = c->path.count;
    out = vd_out_over(t->last, sizeof t->last);
    vd_url_print(&out, vd_path_hop(&c->path, c->path.count - 1u));
    vd_out_string(&out);
    vd_follow_start(&t->hops, vd_says_first((enum vd_scheme)vd_path_hop(&c->path, 0)->scheme));
}

/* The addresses are the true ones where they are known; else the hop stands as 192.0.2.N. */
void trace_up(struct trace *t, const struct vd_chain *c, int fd, const struct net_addr *peer)
{
    struct net_addr own = {0}, unknown = {0};
    if (!t)
        return;
    net_addr_local(&own, fd);
    for (unsigned at = 0; at < c->path.count; at++) {
        struct vd_capture_stream *s = &t->streams[at + 1];
        const struct vd_hop *hop = vd_path_hop(&c->path, at);
        s->base += 1u << 20; /* apart from what was dialled before */
        s->said = s->heard = 0;
        set_end(&s->near, &own, at + 1);
        set_end(&s->far, at == 0 ? peer : &unknown, at + 1);
        if (at > 0 && !vd_endpoint_is_name(&hop->at))
            s->far.ip = hop->at.ip;
        if (at > 0 || net_addr_port(peer) == 0)
            s->far.port = hop->at.port;
    }
}

void trace_said(struct trace *t, const struct vd_chain *c, struct vd_said before)
{
    static struct vd_masked masked;
    struct vd_said now = vd_chain_said(c);
    while (t && (before.at != now.at || before.stage != now.stage)) {
        unsigned at = before.at;
        uint8_t message[VD_SHAKE_MESSAGE_MAX];
        enum vd_says says;
        size_t len =
            vd_mask_message(&masked, c, &before, trace_way.secrets, &says, message, sizeof message);
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

static void tell_heard(struct trace *t, const struct vd_chain *c, size_t len)
{
    if (!trace_way.secrets)
        vd_mask_heard(&c->path, t->hops.data, len);
    tell_of_hop(t, c, t->at, '<', (enum vd_says)t->hops.says, t->hops.data, len);
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
        tell_heard(t, c, t->hops.told);
        hear_on(t, c);
    }
}

void trace_failed(struct trace *t, const struct vd_chain *c, const char *why, size_t len)
{
    char text[1024];
    struct vd_out out = vd_out_over(text, sizeof text);
    if (!t)
        return;
    if (t->hops.have > 0)
        tell_heard(t, c, t->hops.have);
    t->hops.have = 0;
    vd_out_bytes(&out, why, len);
    trace_tell_words(t, "failed: ", why, len);
    trace_tell_end(t, false, VD_CAPTURE_RESET, vd_out_string(&out));
}

/* --- payload --------------------------------------------------------------------------------- */

bool trace_follows(const struct trace *t, bool from_client)
{
    return t && t->told[!from_client] < trace_way.payload;
}

static void tell_part(struct trace *t, bool from_client, const uint8_t *data, size_t len)
{
    uint64_t *told = &t->told[!from_client];
    struct trace_party last = {t->count, t->last, t->count};
    if (trace_way.goes_on && t->count == 0)
        return;
    if (trace_way.goes_on)
        trace_tell_payload(t, &last, from_client ? '>' : '<', data, len, *told);
    else
        trace_tell_payload(t, &client, from_client ? '<' : '>', data, len, *told);
    *told += len;
}

void trace_payload(struct trace *t, bool from_client, const uint8_t *data, size_t len)
{
    if (!trace_follows(t, from_client))
        return;
    uint64_t left = trace_way.payload - t->told[!from_client];
    while (len > 0 && left > 0) {
        size_t n = len < BLOCK ? len : BLOCK;
        n = n < left ? n : (size_t)left;
        tell_part(t, from_client, data, n);
        data += n;
        len -= n;
        left -= n;
    }
    if (left == 0)
        trace_tell_words(t,
                         from_client ? "no more is shown of what the client sends"
                                     : "no more is shown of what the target sends",
                         "", 0);
}
