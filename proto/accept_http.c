/*
 * The server side of HTTP CONNECT: RFC 9110 section 9.3.6, RFC 9112, Basic logins RFC 7617.
 *
 * The first byte that CONNECT does not have there makes it a request to be forwarded, whose head is
 * not this codec's (proto/http_message.h); who has read it comes back with vd_accept_forwarded, and
 * login, request and refusal go on as for CONNECT.
 *
 * The head is taken byte by byte and judged line by line. A line is gathered in `in`; one that is
 * longer is refused if it matters (MESSAGE) and otherwise skipped to its end (SKIPPED). What is
 * remembered between lines stands in the target, the login and the flags:
 *
 *     request line -> fields ... -> blank line -> login asked -> request asked
 *
 * The byte behind the blank line is the tunnel's, whatever Content-Length or Transfer-Encoding say.
 */
#include <string.h>

#include "proto/accept_codec.h"
#include "proto/err.h"

/* a->flags */
enum {
    REQUEST_LINE = 1, /* was read */
    OLD = 2,          /* HTTP/1.0: needs no Host */
    HOST = 4,
    LENGTH = 8,
    ENCODING = 16,
    AUTHORIZATION = 32,
    LOGIN = 64, /* and it was a Basic one */
    CR = 128    /* the byte before */
};

/* --- refusals that the codec decides --- */

static int complain(struct vd_accept *a, enum vd_http_fault fault)
{
    a->fault = (uint8_t)fault;
    return vd_accept_refuse(a, -(int)vd_http_fault_row(fault)->reason);
}

/* --- request line --- */

/* "HTTP/1.0" and every later HTTP/1.x, which RFC 9110 section 2.5 makes readable as 1.1. */
static enum vd_http_fault take_version(struct vd_accept *a, struct vd_text version)
{
    bool formed = version.len == 8 && !memcmp(version.at, "HTTP/", 5) && version.at[6] == '.' &&
                  vd_uint_read(version.at + 5, 1, 9) >= 0 &&
                  vd_uint_read(version.at + 7, 1, 9) >= 0;

    if (!formed)
        return VD_HTTP_BAD_FORM;
    if (version.at[5] != '1')
        return VD_HTTP_NO_VERSION;
    if (version.at[7] == '0')
        a->flags |= OLD;
    return VD_HTTP_GOOD;
}

static int request_line(struct vd_accept *a, struct vd_text line)
{
    struct vd_text method, target;
    enum vd_http_fault fault;

    if (!vd_text_cut(&line, ' ', &method) || !vd_text_cut(&line, ' ', &target))
        return complain(a, VD_HTTP_BAD_FORM);
    if (target.len == 0 || memchr(target.at, '\t', target.len))
        return complain(a, VD_HTTP_BAD_FORM);
    fault = take_version(a, line);
    if (fault)
        return complain(a, fault);
    if (vd_endpoint_read(&a->target, target.at, target.len, 0) < 0)
        return complain(a, VD_HTTP_BAD_TARGET);
    a->command = VD_CONNECT;
    a->flags |= REQUEST_LINE;
    return VD_MORE;
}

/* --- fields --- */

/* Whether a flag of a field that may stand once was set before. */
static bool again(struct vd_accept *a, uint8_t flag)
{
    bool before = a->flags & flag;

    a->flags |= flag;
    return before;
}

static int take_host(struct vd_accept *a, struct vd_text value)
{
    bool spaced = memchr(value.at, ' ', value.len) || memchr(value.at, '\t', value.len);

    return again(a, HOST) || spaced ? complain(a, VD_HTTP_BAD_FORM) : VD_MORE;
}

/* A login in another scheme, or one that cannot be read, is as good as none. */
static int take_authorization(struct vd_accept *a, struct vd_text value)
{
    uint8_t pair[2 * VD_LOGIN_MAX + 1];
    struct vd_text scheme;
    const uint8_t *colon = NULL;
    int len = -1;

    if (again(a, AUTHORIZATION))
        return complain(a, VD_HTTP_BAD_FORM);
    if (vd_text_cut(&value, ' ', &scheme) && vd_text_is(scheme, "Basic")) {
        value = vd_text_trimmed(value);
        len = vd_base64_read(value.at, value.len, pair, sizeof pair);
    }
    if (len >= 0)
        colon = memchr(pair, ':', (size_t)len);
    if (colon && vd_accept_keep_login(a, pair, (size_t)(colon - pair), colon + 1,
                                      (size_t)(pair + len - colon - 1)))
        a->flags |= LOGIN;
    explicit_bzero(pair, sizeof pair);
    return VD_MORE;
}

/* Framing means nothing to CONNECT; but who sends both kinds hopes to be misread by somebody. */
static int take_framing(struct vd_accept *a, uint8_t flag)
{
    a->flags |= flag;
    return (a->flags & LENGTH) && (a->flags & ENCODING) ? complain(a, VD_HTTP_BAD_FORM) : VD_MORE;
}

/* `whole`: else the value is longer than what is kept. */
static int field(struct vd_accept *a, struct vd_text line, bool whole)
{
    struct vd_text name;

    if (!vd_text_cut(&line, ':', &name) || !vd_text_is_token(name))
        return complain(a, VD_HTTP_BAD_FORM);
    if (vd_text_is(name, "Content-Length"))
        return take_framing(a, LENGTH);
    if (vd_text_is(name, "Transfer-Encoding"))
        return take_framing(a, ENCODING);
    if (vd_text_is(name, "Host"))
        return whole ? take_host(a, vd_text_trimmed(line)) : complain(a, VD_HTTP_LONG_LINE);
    if (vd_text_is(name, "Proxy-Authorization"))
        return whole ? take_authorization(a, vd_text_trimmed(line))
                     : complain(a, VD_HTTP_LONG_LINE);
    return VD_MORE;
}

/* --- lines --- */

static int judge_login(struct vd_accept *a)
{
    if (a->flags & LOGIN)
        return vd_accept_ask_login(a);
    if (a->offers & VD_OFFER_LOGIN_NEEDED)
        return complain(a, VD_HTTP_NEEDS_LOGIN);
    return vd_accept_ask_request(a);
}

static int end_of_head(struct vd_accept *a)
{
    return a->flags & (OLD | HOST) ? judge_login(a) : complain(a, VD_HTTP_NO_HOST);
}

static int end_of_line(struct vd_accept *a)
{
    struct vd_text line = {(const char *)a->in, a->have};
    int result;

    if (a->state == VD_ACCEPTS_SKIPPED) {
        a->state = VD_ACCEPTS_MESSAGE;
        result = VD_MORE;
    } else if (!(a->flags & REQUEST_LINE)) {
        result = request_line(a, line);
    } else if (line.len == 0) {
        result = end_of_head(a);
    } else {
        result = field(a, line, true);
    }
    vd_accept_drop(a);
    return result;
}

/* A line that does not fit. */
static int overflow(struct vd_accept *a)
{
    struct vd_text line = {(const char *)a->in, a->have};
    int result;

    if (!(a->flags & REQUEST_LINE))
        return complain(a, VD_HTTP_BAD_TARGET);
    result = field(a, line, false);
    if (result == VD_MORE)
        a->state = VD_ACCEPTS_SKIPPED;
    vd_accept_drop(a);
    return result;
}

static bool is_control(uint8_t c)
{
    return (c < 0x20 && c != '\t') || c == 0x7f;
}

static int take_byte(struct vd_accept *a, uint8_t c)
{
    bool after_cr = a->flags & CR;

    a->flags &= (uint8_t)~CR;
    if (++a->head > VD_HEAD_MAX)
        return complain(a, VD_HTTP_LONG_HEAD);
    if (c == '\n')
        return end_of_line(a);
    if (c == '\r' && !after_cr) {
        a->flags |= CR;
        return VD_MORE;
    }
    if (after_cr || is_control(c))
        return complain(a, VD_HTTP_BAD_FORM);
    if (a->state == VD_ACCEPTS_SKIPPED)
        return VD_MORE;
    if (a->have == sizeof a->in)
        return overflow(a);
    a->in[a->have++] = c;
    return VD_MORE;
}

/* The bytes taken so far stand in `in`, for whoever reads the head from its beginning. */
static int hand_over(struct vd_accept *a, uint8_t c)
{
    a->in[a->have++] = c;
    a->state = VD_ACCEPTS_HANDED_OVER;
    return VD_ACCEPT_FORWARD;
}

int vd_accept_http_step(struct vd_accept *a, const uint8_t *data, size_t len, size_t *used)
{
    static const char method[] = "CONNECT ";
    int result = VD_MORE;

    while (result == VD_MORE && *used < len) {
        uint8_t c = data[(*used)++];
        bool other = a->head < sizeof method - 1 && c != (uint8_t)method[a->head];

        result = other ? hand_over(a, c) : take_byte(a, c);
    }
    return result;
}

/* --- forwarded requests --- */

int vd_accept_forwarded(struct vd_accept *a, const struct vd_http_head *request)
{
    a->protocol = VD_SPEAKS_HTTP;
    a->bodiless = vd_http_is_head(request);
    a->command = VD_CONNECT;
    a->target = request->at;
    if (request->login.at)
        take_authorization(a, request->login);
    return judge_login(a);
}

int vd_accept_fault(struct vd_accept *a, enum vd_http_fault fault, bool bodiless)
{
    a->protocol = VD_SPEAKS_HTTP;
    a->bodiless = bodiless;
    return complain(a, fault);
}

/* --- answers --- */

static void write_body(const struct vd_accept *a, struct vd_out *out)
{
    if (a->fault) {
        vd_out_text(out, vd_http_fault_row((enum vd_http_fault)a->fault)->text);
    } else {
        vd_out_text(out, "This proxy ");
        vd_out_text(out, vd_err_words(a->reason));
        vd_out_text(out, ".");
    }
    vd_out_text(out, "\n");
}

/* The table's token for bad form tells of a server's; a fault has its own. */
const char *vd_accept_http_error(const struct vd_accept *a)
{
    return a->fault ? vd_http_fault_row((enum vd_http_fault)a->fault)->token
                    : vd_err_proxy_status(a->reason);
}

static void write_error(const struct vd_accept *a, struct vd_out *out)
{
    const char *error = vd_accept_http_error(a);

    if (!*error)
        return;
    vd_out_text(out, "\r\nProxy-Status: viaductd; error=");
    vd_out_text(out, error);
}

static void write_refusal(const struct vd_accept *a, struct vd_out *out)
{
    uint16_t status =
        a->fault ? vd_http_fault_row((enum vd_http_fault)a->fault)->status : vd_err_http(a->reason);
    uint8_t text[128];
    struct vd_out body = vd_out_over(text, sizeof text);

    write_body(a, &body);
    vd_out_text(out, "HTTP/1.1 ");
    vd_out_uint(out, status);
    vd_out_text(out, " ");
    vd_out_text(out, vd_http_phrase(status));
    vd_out_text(out, "\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: ");
    vd_out_uint(out, body.len);
    write_error(a, out);
    if (status == 407)
        vd_out_text(out, "\r\nProxy-Authenticate: Basic realm=\"viaduct\"");
    if (a->retry_s > 0) {
        vd_out_text(out, "\r\nRetry-After: ");
        vd_out_uint(out, a->retry_s);
    }
    vd_out_text(out, "\r\n\r\n");
    if (!a->bodiless)
        vd_out_bytes(out, body.to, body.len);
}

void vd_accept_http_write(const struct vd_accept *a, struct vd_out *out)
{
    if (a->state == VD_ACCEPTS_ANSWERED)
        vd_out_text(out, "HTTP/1.1 200 Connection established\r\n\r\n");
    else if (a->state == VD_ACCEPTS_REFUSED)
        write_refusal(a, out);
}
