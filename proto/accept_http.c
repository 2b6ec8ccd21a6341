/*
 * The server side of HTTP CONNECT: RFC 9110 section 9.3.6, RFC 9112, Basic logins RFC 7617.
 *
 * The head is taken byte by byte and judged line by line. A line is gathered in `in`; one that is
 * longer is refused if it matters (MESSAGE) and otherwise skipped to its end (SKIPPED). What is
 * remembered between lines stands in the target, the login and the flags:
 *
 *     request line -> fields ... -> blank line -> login asked -> request asked
 *
 * CONNECT is all that is served: other requests are told what to do instead. The byte behind the
 * blank line is the tunnel's, whatever Content-Length or Transfer-Encoding say.
 */
#include <string.h>

#include "proto/accept_codec.h"
#include "proto/err.h"

/* a->flags; with a->status it holds an enum complaint instead. */
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

enum complaint {
    NO_COMPLAINT,
    BAD_FORM,
    BAD_TARGET,
    NO_HOST,
    NOT_A_SERVER,
    NEEDS_LOGIN,
    LONG_LINE,
    LONG_HEAD,
    NOT_FORWARDED,
    NO_METHOD,
    NO_VERSION
};

static const struct {
    uint16_t status;
    enum vd_err reason;
    const char *text;
} complaints[] = {
    [BAD_FORM] = {400, VD_ERR_PROTOCOL, "This is not a well-formed HTTP/1.1 request."},
    [BAD_TARGET] = {400, VD_ERR_NAME_FORM, "CONNECT needs HOST:PORT, with a port from 1 to 65535."},
    [NO_HOST] = {400, VD_ERR_PROTOCOL, "An HTTP/1.1 request needs a Host field."},
    [NOT_A_SERVER] = {400, VD_ERR_PROTOCOL, "This is a proxy, not a web server."},
    [NEEDS_LOGIN] = {407, VD_ERR_LOGIN, "This proxy needs a login (Basic)."},
    [LONG_LINE] = {431, VD_ERR_TOO_LONG, "A field of the request is too long."},
    [LONG_HEAD] = {431, VD_ERR_TOO_LONG, "The head of the request is longer than 64 KiB."},
    [NOT_FORWARDED] = {501, VD_ERR_COMMAND,
                       "This proxy does not forward requests: use CONNECT HOST:PORT."},
    [NO_METHOD] = {501, VD_ERR_COMMAND, "This proxy serves no method but CONNECT."},
    [NO_VERSION] = {505, VD_ERR_PROTOCOL, "This proxy speaks HTTP/1.0 and HTTP/1.1."},
};

static int complain(struct vd_accept *a, enum complaint complaint)
{
    a->flags = (uint8_t)complaint;
    a->status = complaints[complaint].status;
    return vd_accept_refuse(a, -(int)complaints[complaint].reason);
}

/* --- text: a borrowed piece of a line --- */

struct text {
    const char *at;
    size_t len;
};

static bool is(struct text text, const char *word)
{
    return text.len == strlen(word) && vd_same_text(text.at, word, text.len);
}

static bool starts(struct text text, const char *with)
{
    size_t len = strlen(with);

    return text.len >= len && vd_same_text(text.at, with, len);
}

static struct text trimmed(struct text text)
{
    while (text.len > 0 && (*text.at == ' ' || *text.at == '\t')) {
        text.at++;
        text.len--;
    }
    while (text.len > 0 && (text.at[text.len - 1] == ' ' || text.at[text.len - 1] == '\t'))
        text.len--;
    return text;
}

/* Takes what stands before `end` off the front of *rest, and `end` with it; false without one. */
static bool cut(struct text *rest, char end, struct text *front)
{
    const char *at = memchr(rest->at, end, rest->len);

    if (!at)
        return false;
    *front = (struct text){rest->at, (size_t)(at - rest->at)};
    rest->len -= front->len + 1;
    rest->at = at + 1;
    return true;
}

/* RFC 9110 section 5.6.2 */
static bool is_token(struct text text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i], lower = vd_lower(c);
        bool alphanumeric = (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9');

        if (!alphanumeric && !strchr("!#$%&'*+-.^_`|~", c))
            return false;
    }
    return text.len > 0;
}

/* --- request line --- */

static bool is_other_method(struct text method)
{
    static const char *const known[] = {"GET",     "HEAD",  "POST",  "PUT",
                                        "OPTIONS", "TRACE", "PATCH", "DELETE"};

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (method.len == strlen(known[i]) && !memcmp(method.at, known[i], method.len))
            return true;
    return false;
}

static enum complaint complaint_of_other(struct text method, struct text target)
{
    bool absolute = starts(target, "http:") || starts(target, "https:") || starts(target, "ftp:");

    if (absolute)
        return NOT_FORWARDED;
    return is_other_method(method) ? NOT_A_SERVER : NO_METHOD;
}

/* "HTTP/1.0" and every later HTTP/1.x, which RFC 9110 section 2.5 makes readable as 1.1. */
static enum complaint take_version(struct vd_accept *a, struct text version)
{
    bool formed = version.len == 8 && !memcmp(version.at, "HTTP/", 5) && version.at[6] == '.' &&
                  vd_uint_read(version.at + 5, 1, 9) >= 0 &&
                  vd_uint_read(version.at + 7, 1, 9) >= 0;

    if (!formed)
        return BAD_FORM;
    if (version.at[5] != '1')
        return NO_VERSION;
    if (version.at[7] == '0')
        a->flags |= OLD;
    return NO_COMPLAINT;
}

static int request_line(struct vd_accept *a, struct text line)
{
    struct text method, target;
    enum complaint complaint;

    if (!cut(&line, ' ', &method) || !cut(&line, ' ', &target) || !is_token(method))
        return complain(a, BAD_FORM);
    if (target.len == 0 || memchr(target.at, '\t', target.len))
        return complain(a, BAD_FORM);
    complaint = take_version(a, line);
    if (complaint)
        return complain(a, complaint);
    if (method.len != 7 || memcmp(method.at, "CONNECT", 7))
        return complain(a, complaint_of_other(method, target));
    if (vd_endpoint_read(&a->target, target.at, target.len, 0) < 0)
        return complain(a, BAD_TARGET);
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

static int take_host(struct vd_accept *a, struct text value)
{
    bool spaced = memchr(value.at, ' ', value.len) || memchr(value.at, '\t', value.len);

    return again(a, HOST) || spaced ? complain(a, BAD_FORM) : VD_MORE;
}

/* A login in another scheme, or one that cannot be read, is as good as none. */
static int take_authorization(struct vd_accept *a, struct text value)
{
    uint8_t pair[2 * VD_LOGIN_MAX + 1];
    struct text scheme;
    const uint8_t *colon = NULL;
    int len = -1;

    if (again(a, AUTHORIZATION))
        return complain(a, BAD_FORM);
    if (cut(&value, ' ', &scheme) && is(scheme, "Basic")) {
        value = trimmed(value);
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
    return (a->flags & LENGTH) && (a->flags & ENCODING) ? complain(a, BAD_FORM) : VD_MORE;
}

/* `whole`: else the value is longer than what is kept. */
static int field(struct vd_accept *a, struct text line, bool whole)
{
    struct text name;

    if (!cut(&line, ':', &name) || !is_token(name))
        return complain(a, BAD_FORM);
    if (is(name, "Content-Length"))
        return take_framing(a, LENGTH);
    if (is(name, "Transfer-Encoding"))
        return take_framing(a, ENCODING);
    if (is(name, "Host"))
        return whole ? take_host(a, trimmed(line)) : complain(a, LONG_LINE);
    if (is(name, "Proxy-Authorization"))
        return whole ? take_authorization(a, trimmed(line)) : complain(a, LONG_LINE);
    return VD_MORE;
}

/* --- lines --- */

static int end_of_head(struct vd_accept *a)
{
    if (!(a->flags & (OLD | HOST)))
        return complain(a, NO_HOST);
    if (a->flags & LOGIN)
        return vd_accept_ask_login(a);
    if (a->offers & VD_OFFER_LOGIN_NEEDED)
        return complain(a, NEEDS_LOGIN);
    return vd_accept_ask_request(a);
}

static int end_of_line(struct vd_accept *a)
{
    struct text line = {(const char *)a->in, a->have};
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

/* A line that does not fit. A long URI of a request that is not served anyway is told so. */
static int overflow(struct vd_accept *a)
{
    struct text line = {(const char *)a->in, a->have};
    int result;

    if (!(a->flags & REQUEST_LINE))
        return complain(a, starts(line, "CONNECT ") ? BAD_TARGET : NOT_FORWARDED);
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
        return complain(a, LONG_HEAD);
    if (c == '\n')
        return end_of_line(a);
    if (c == '\r' && !after_cr) {
        a->flags |= CR;
        return VD_MORE;
    }
    if (after_cr || is_control(c))
        return complain(a, BAD_FORM);
    if (a->state == VD_ACCEPTS_SKIPPED)
        return VD_MORE;
    if (a->have == sizeof a->in)
        return overflow(a);
    a->in[a->have++] = c;
    return VD_MORE;
}

int vd_accept_http_step(struct vd_accept *a, const uint8_t *data, size_t len, size_t *used)
{
    int result = VD_MORE;

    while (result == VD_MORE && *used < len)
        result = take_byte(a, data[(*used)++]);
    return result;
}

/* --- answers --- */

static const char *phrase(uint16_t status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case 407:
        return "Proxy Authentication Required";
    case 431:
        return "Request Header Fields Too Large";
    case 501:
        return "Not Implemented";
    case 502:
        return "Bad Gateway";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Internal Server Error";
    }
}

static void write_body(const struct vd_accept *a, struct vd_out *out)
{
    if (a->status) {
        vd_out_text(out, complaints[a->flags].text);
    } else {
        vd_out_text(out, "This proxy ");
        vd_out_text(out, vd_err_words(a->reason));
        vd_out_text(out, ".");
    }
    vd_out_text(out, "\n");
}

/* The table's token for bad form tells of a server's; here it is the client's. */
static const char *token(const struct vd_accept *a)
{
    bool own = a->status && a->reason == VD_ERR_PROTOCOL;

    return own ? "http_request_error" : vd_err_proxy_status(a->reason);
}

static void write_refusal(const struct vd_accept *a, struct vd_out *out)
{
    uint16_t status = a->status ? a->status : vd_err_http(a->reason);
    uint8_t text[128];
    struct vd_out body = vd_out_over(text, sizeof text);

    write_body(a, &body);
    vd_out_text(out, "HTTP/1.1 ");
    vd_out_uint(out, status);
    vd_out_text(out, " ");
    vd_out_text(out, phrase(status));
    vd_out_text(out, "\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: ");
    vd_out_uint(out, body.len);
    vd_out_text(out, "\r\nProxy-Status: viaductd; error=");
    vd_out_text(out, token(a));
    if (status == 407)
        vd_out_text(out, "\r\nProxy-Authenticate: Basic realm=\"viaduct\"");
    vd_out_text(out, "\r\n\r\n");
    vd_out_bytes(out, body.to, body.len);
}

void vd_accept_http_write(const struct vd_accept *a, struct vd_out *out)
{
    if (a->state == VD_ACCEPTS_ANSWERED)
        vd_out_text(out, "HTTP/1.1 200 Connection established\r\n\r\n");
    else if (a->state == VD_ACCEPTS_REFUSED)
        write_refusal(a, out);
}
