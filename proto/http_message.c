#include "proto/http_message.h"

#include <string.h>

#include "proto/shake.h"

/* --- fields --- */

/* What this proxy does with a field, rather than pass it on. */
enum field {
    FIELD_OTHER,
    FIELD_DROPPED,
    FIELD_CONNECTION,
    FIELD_ENCODING,
    FIELD_HOPS,
    FIELD_HOST,
    FIELD_LENGTH,
    FIELD_LOGIN,
    FIELD_TE
};

static enum field field_of(struct vd_text name)
{
    static const struct {
        const char *name;
        enum field field;
    } known[] = {
        {"Connection", FIELD_CONNECTION},
        {"Content-Length", FIELD_LENGTH},
        {"Host", FIELD_HOST},
        {"Keep-Alive", FIELD_DROPPED},
        {"Max-Forwards", FIELD_HOPS},
        {"Proxy-Authenticate", FIELD_DROPPED},
        {"Proxy-Authentication-Info", FIELD_DROPPED},
        {"Proxy-Authorization", FIELD_LOGIN},
        {"Proxy-Connection", FIELD_DROPPED},
        {"TE", FIELD_TE},
        {"Transfer-Encoding", FIELD_ENCODING},
        {"Upgrade", FIELD_DROPPED},
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (vd_text_is(name, known[i].name))
            return known[i].field;
    return FIELD_OTHER;
}

/* Takes a line off the front, without its end. `strict`: it must end with CR LF. */
static bool take_line(struct vd_text *rest, bool strict, struct vd_text *line)
{
    if (!vd_text_cut(rest, '\n', line))
        return false;
    if (line->len > 0 && line->at[line->len - 1] == '\r')
        line->len--;
    else if (strict)
        return false;
    return !vd_text_has_control(*line);
}

/* A folded line begins with a blank, which no name does. */
static bool take_field(struct vd_text *rest, bool strict, struct vd_text *name,
                       struct vd_text *value)
{
    struct vd_text line;

    if (!take_line(rest, strict, &line) || !vd_text_cut(&line, ':', name) ||
        !vd_text_is_token(*name))
        return false;
    *value = vd_text_trimmed(line);
    return true;
}

static enum vd_http_fault take_connection(struct vd_http_head *h, struct vd_text value)
{
    struct vd_text member;

    while (vd_text_member(&value, &member)) {
        if (!vd_text_is_token(member))
            return VD_HTTP_BAD_FORM;
        if (h->option_count == VD_HTTP_OPTIONS_MAX)
            return VD_HTTP_LONG_HEAD;
        h->last |= vd_text_is(member, "close");
        h->options[h->option_count++] = member;
    }
    return VD_HTTP_GOOD;
}

/* Servers in the field send the same length twice; clients that do hope to be misread. */
static enum vd_http_fault take_length(struct vd_http_head *h, struct vd_text value)
{
    int64_t length = vd_uint_read(value.at, value.len, INT64_MAX);

    if (length < 0 || (h->has_length && (!h->response || h->length != (uint64_t)length)))
        return VD_HTTP_BAD_FORM;
    h->has_length = true;
    h->length = (uint64_t)length;
    return VD_HTTP_GOOD;
}

/* Who ends with another coding than chunked leaves the end of the body open. */
static enum vd_http_fault take_encoding(struct vd_http_head *h, struct vd_text value)
{
    struct vd_text member;
    bool chunked = false;
    size_t count = 0;

    if (h->has_encoding)
        return VD_HTTP_BAD_FORM;
    h->has_encoding = true;
    for (; vd_text_member(&value, &member); count++) {
        if (chunked)
            return VD_HTTP_BAD_FORM;
        chunked = vd_text_is(member, "chunked");
    }
    if (!chunked)
        return VD_HTTP_BAD_FORM;
    return count == 1 ? VD_HTTP_GOOD : VD_HTTP_NO_CODING;
}

static enum vd_http_fault take_host(struct vd_http_head *h, struct vd_text value)
{
    bool spaced =
        value.len > 0 && (memchr(value.at, ' ', value.len) || memchr(value.at, '\t', value.len));

    if (!h->response && (h->has_host || spaced))
        return VD_HTTP_BAD_FORM;
    h->has_host = true;
    return VD_HTTP_GOOD;
}

static enum vd_http_fault take_login(struct vd_http_head *h, struct vd_text value)
{
    if (h->login.at && !h->response)
        return VD_HTTP_BAD_FORM;
    h->login = value;
    return VD_HTTP_GOOD;
}

static enum vd_http_fault take_hops(struct vd_http_head *h, struct vd_text value)
{
    int64_t hops = vd_uint_read(value.at, value.len, INT32_MAX);

    if (!h->response && (h->hops >= 0 || hops < 0))
        return VD_HTTP_BAD_FORM;
    h->hops = hops;
    return VD_HTTP_GOOD;
}

static enum vd_http_fault take_te(struct vd_http_head *h, struct vd_text value)
{
    struct vd_text member;

    while (vd_text_member(&value, &member))
        h->trailers |= vd_text_is(member, "trailers");
    return VD_HTTP_GOOD;
}

static enum vd_http_fault judge_field(struct vd_http_head *h, struct vd_text name,
                                      struct vd_text value)
{
    switch (field_of(name)) {
    case FIELD_CONNECTION:
        return take_connection(h, value);
    case FIELD_LENGTH:
        return take_length(h, value);
    case FIELD_ENCODING:
        return take_encoding(h, value);
    case FIELD_HOST:
        return take_host(h, value);
    case FIELD_LOGIN:
        return take_login(h, value);
    case FIELD_HOPS:
        return take_hops(h, value);
    case FIELD_TE:
        return take_te(h, value);
    case FIELD_OTHER:
    case FIELD_DROPPED:
        break;
    }
    return VD_HTTP_GOOD;
}

static enum vd_http_fault read_fields(struct vd_http_head *h)
{
    struct vd_text rest = h->fields, name, value;
    enum vd_http_fault fault = VD_HTTP_GOOD;

    while (rest.len > 0 && fault == VD_HTTP_GOOD) {
        if (!take_field(&rest, !h->response, &name, &value))
            return VD_HTTP_BAD_FORM;
        if (h->field_count++ == VD_HTTP_FIELDS_MAX)
            return VD_HTTP_LONG_HEAD;
        fault = judge_field(h, name, value);
    }
    return fault;
}

/* --- whole heads --- */

size_t vd_http_head_end(const uint8_t *data, size_t len, size_t *searched)
{
    const uint8_t *at;

    while (*searched < len && (at = memchr(data + *searched, '\n', len - *searched))) {
        size_t end = (size_t)(at - data) + 1;

        if (end < len && data[end] == '\n')
            return end + 1;
        if (end + 1 < len && data[end] == '\r' && data[end + 1] == '\n')
            return end + 2;
        if (end == len || (end + 1 == len && data[end] == '\r')) {
            *searched = end - 1; /* the blank line may still come */
            return 0;
        }
        *searched = end;
    }
    *searched = len;
    return 0;
}

size_t vd_http_blank(const uint8_t *data, size_t len)
{
    size_t n = 0;

    while (n + 1 < len && data[n] == '\r' && data[n + 1] == '\n')
        n += 2;
    return n;
}

/* Takes the first line; what stands between it and the blank line is h->fields. */
static bool split(struct vd_http_head *h, const uint8_t *data, size_t len, struct vd_text *first)
{
    struct vd_text rest = {(const char *)data, len};
    size_t blank = len > 1 && data[len - 2] == '\r' ? 2 : 1;

    if (len < blank || (!h->response && blank == 1) || !take_line(&rest, !h->response, first))
        return false;
    if (rest.len < blank)
        return false;
    h->fields = (struct vd_text){rest.at, rest.len - blank};
    return true;
}

/* "HTTP/1.0" and every later HTTP/1.x, which RFC 9110 section 2.5 makes readable as 1.1. */
static enum vd_http_fault read_version(struct vd_http_head *h, struct vd_text version)
{
    bool formed = version.len == 8 && !memcmp(version.at, "HTTP/", 5) && version.at[6] == '.' &&
                  vd_uint_read(version.at + 5, 1, 9) >= 0 &&
                  vd_uint_read(version.at + 7, 1, 9) >= 0;

    if (!formed)
        return VD_HTTP_BAD_FORM;
    h->minor = version.at[7] != '0';
    h->last = !h->minor; /* kept connections of HTTP/1.0 do not pass proxies */
    return version.at[5] == '1' ? VD_HTTP_GOOD : VD_HTTP_NO_VERSION;
}

/* --- requests --- */

/* Methods, unlike names of fields, are told apart by case (RFC 9110 section 9.1). */
static bool is_method(struct vd_text method, const char *word)
{
    return method.len == strlen(word) && !memcmp(method.at, word, method.len);
}

bool vd_http_is_head(const struct vd_http_head *h)
{
    return is_method(h->method, "HEAD");
}

/* Length and chunks together, or chunks from who cannot know them, are read in two ways by somebody
 * (RFC 9112 section 6.1). */
static bool is_ambiguous(const struct vd_http_head *h)
{
    return h->has_encoding && (h->has_length || !h->minor);
}

static enum vd_http_fault fault_of_target(struct vd_text method, struct vd_text target)
{
    static const char *const others[] = {"https:", "ftp:", "ws:", "wss:"};

    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (vd_text_starts(target, others[i]))
            return VD_HTTP_NEEDS_CONNECT;
    if (vd_text_is(target, "*") && is_method(method, "OPTIONS"))
        return VD_HTTP_FOR_PROXY;
    return VD_HTTP_NOT_A_SERVER;
}

/* http://HOST[:PORT][/PATH][?QUERY]; who writes a user into it is not understood by everybody alike
 * (RFC 9110 section 4.2.4). */
static enum vd_http_fault read_url(struct vd_http_head *h, struct vd_text url)
{
    size_t len = 0;

    url.at += strlen("http://");
    url.len -= strlen("http://");
    while (len < url.len && !strchr("/?#", url.at[len]))
        len++;
    h->authority = (struct vd_text){url.at, len};
    h->path = (struct vd_text){url.at + len, url.len - len};
    if (len == 0 || memchr(url.at, '@', len) || memchr(url.at, '\\', url.len) ||
        memchr(url.at, '#', url.len))
        return VD_HTTP_BAD_URL;
    if (url.at[len - 1] == ':')
        h->authority.len--; /* an empty port is the scheme's */
    if (vd_endpoint_read(&h->at, h->authority.at, h->authority.len, 80) < 0 ||
        (h->at.ip.family == VD_IPV6 && *h->authority.at != '['))
        return VD_HTTP_BAD_URL;
    return VD_HTTP_GOOD;
}

static enum vd_http_fault read_request_line(struct vd_http_head *h, struct vd_text line)
{
    struct vd_text target;
    enum vd_http_fault fault;

    if (!vd_text_cut(&line, ' ', &h->method) || !vd_text_cut(&line, ' ', &target) ||
        !vd_text_is_token(h->method))
        return VD_HTTP_BAD_FORM;
    if (target.len == 0 || memchr(target.at, '\t', target.len))
        return VD_HTTP_BAD_FORM;
    fault = read_version(h, line);
    if (fault != VD_HTTP_GOOD)
        return fault;
    if (!vd_text_starts(target, "http://"))
        return fault_of_target(h->method, target);
    return is_method(h->method, "TRACE") ? VD_HTTP_NO_METHOD : read_url(h, target);
}

enum vd_http_fault vd_http_judge_line(const uint8_t *data, size_t len)
{
    struct vd_text rest = {(const char *)data, len}, line;
    struct vd_http_head h = {.minor = 0};
    enum vd_http_fault fault;

    if (len == 0 || !memchr(data, '\n', len))
        return VD_HTTP_GOOD;
    if (!take_line(&rest, true, &line))
        return VD_HTTP_BAD_FORM;
    fault = read_request_line(&h, line);
    return fault == VD_HTTP_FOR_PROXY ? VD_HTTP_GOOD : fault;
}

static enum vd_http_fault judge_request(struct vd_http_head *h)
{
    if (h->minor && !h->has_host)
        return VD_HTTP_NO_HOST;
    if (is_ambiguous(h))
        return VD_HTTP_BAD_FORM;
    h->framing = h->has_encoding ? VD_HTTP_CHUNKED
                 : h->has_length ? VD_HTTP_LENGTH
                                 : VD_HTTP_NO_BODY;
    return h->hops == 0 && is_method(h->method, "OPTIONS") ? VD_HTTP_FOR_PROXY : VD_HTTP_GOOD;
}

enum vd_http_fault vd_http_read_request(struct vd_http_head *h, const uint8_t *data, size_t len)
{
    struct vd_text line;
    enum vd_http_fault fault, of_line;

    memset(h, 0, sizeof *h);
    h->hops = -1;
    if (!split(h, data, len, &line))
        return VD_HTTP_BAD_FORM;
    of_line = read_request_line(h, line);
    if (of_line != VD_HTTP_GOOD && of_line != VD_HTTP_FOR_PROXY)
        return of_line;
    fault = read_fields(h);
    if (fault == VD_HTTP_GOOD)
        fault = judge_request(h);
    return fault == VD_HTTP_GOOD ? of_line : fault;
}

bool vd_http_is_repeatable(const struct vd_http_head *h)
{
    static const char *const known[] = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"};
    bool is = false;

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        is |= is_method(h->method, known[i]);
    return is &&
           (h->framing == VD_HTTP_NO_BODY || (h->framing == VD_HTTP_LENGTH && h->length == 0));
}

/* --- responses --- */

/* "HTTP/1.1 200 OK"; the phrase may be empty, and in the field even its space is left out. */
static enum vd_http_fault read_status_line(struct vd_http_head *h, struct vd_text line)
{
    struct vd_text version, status = {0};

    if (!vd_text_cut(&line, ' ', &version))
        return VD_HTTP_BAD_RESPONSE;
    if (!vd_text_cut(&line, ' ', &status)) {
        status = line;
        line.len = 0;
    }
    int64_t number = status.len == 3 ? vd_uint_read(status.at, 3, 999) : -1;
    if (number < 100 || read_version(h, version) != VD_HTTP_GOOD)
        return VD_HTTP_BAD_RESPONSE;
    h->status = (uint16_t)number;
    h->phrase = line;
    return VD_HTTP_GOOD;
}

static enum vd_http_framing framing_of_response(const struct vd_http_head *h, bool to_head)
{
    if (to_head || h->status < 200 || h->status == 204 || h->status == 304)
        return VD_HTTP_NO_BODY;
    if (h->has_encoding)
        return VD_HTTP_CHUNKED;
    return h->has_length ? VD_HTTP_LENGTH : VD_HTTP_UNTIL_CLOSE;
}

enum vd_http_fault vd_http_read_response(struct vd_http_head *h, const uint8_t *data, size_t len,
                                         bool to_head)
{
    struct vd_text line;
    enum vd_http_fault fault;

    memset(h, 0, sizeof *h);
    h->response = true;
    if (!split(h, data, len, &line))
        return VD_HTTP_BAD_RESPONSE;
    fault = read_status_line(h, line);
    if (fault == VD_HTTP_GOOD)
        fault = read_fields(h);
    if (fault == VD_HTTP_LONG_HEAD)
        return VD_HTTP_LONG_RESPONSE;
    if (fault != VD_HTTP_GOOD || is_ambiguous(h))
        return VD_HTTP_BAD_RESPONSE;
    if (h->status == 101)
        return VD_HTTP_UPGRADED;
    h->framing = (uint8_t)framing_of_response(h, to_head);
    return VD_HTTP_GOOD;
}

/* --- writing --- */

static void write_text(struct vd_out *out, struct vd_text text)
{
    vd_out_bytes(out, text.at, text.len);
}

static bool is_for_this_hop(const struct vd_http_head *h, struct vd_text name)
{
    if (field_of(name) != FIELD_OTHER)
        return true;
    for (size_t i = 0; i < h->option_count; i++)
        if (h->options[i].len == name.len && vd_same_text(h->options[i].at, name.at, name.len))
            return true;
    return false;
}

static void write_field(struct vd_out *out, struct vd_text name, struct vd_text value)
{
    write_text(out, name);
    vd_out_text(out, ": ");
    write_text(out, value);
    vd_out_text(out, "\r\n");
}

static void write_fields(struct vd_out *out, const struct vd_http_head *h)
{
    struct vd_text rest = h->fields, name, value;

    while (take_field(&rest, !h->response, &name, &value))
        if (!is_for_this_hop(h, name))
            write_field(out, name, value);
    vd_out_text(out, h->minor ? "Via: 1.1 viaductd\r\n" : "Via: 1.0 viaductd\r\n");
}

static void write_length(struct vd_out *out, uint64_t length)
{
    vd_out_text(out, "Content-Length: ");
    vd_out_uint(out, length);
    vd_out_text(out, "\r\n");
}

/* OPTIONS of a URL without a path is about the server as a whole (RFC 9112 section 3.2.4). */
static void write_path(struct vd_out *out, const struct vd_http_head *h)
{
    if (h->path.len == 0 && is_method(h->method, "OPTIONS"))
        vd_out_text(out, "*");
    else if (h->path.len == 0 || *h->path.at != '/')
        vd_out_text(out, "/");
    write_text(out, h->path);
}

void vd_http_write_request(struct vd_out *out, const struct vd_http_head *h, bool last)
{
    write_text(out, h->method);
    vd_out_text(out, " ");
    write_path(out, h);
    vd_out_text(out, " HTTP/1.1\r\nHost: ");
    write_text(out, h->authority);
    vd_out_text(out, "\r\n");
    write_fields(out, h);
    if (h->hops > 0) {
        vd_out_text(out, "Max-Forwards: ");
        vd_out_uint(out, (uint64_t)h->hops - 1);
        vd_out_text(out, "\r\n");
    }
    if (h->framing == VD_HTTP_CHUNKED)
        vd_out_text(out, "Transfer-Encoding: chunked\r\n");
    else if (h->framing == VD_HTTP_LENGTH)
        write_length(out, h->length);
    if (h->trailers)
        vd_out_text(out, "TE: trailers\r\n");
    if (last || h->trailers)
        vd_out_text(out, !last         ? "Connection: TE\r\n"
                         : h->trailers ? "Connection: TE, close\r\n"
                                       : "Connection: close\r\n");
    vd_out_text(out, "\r\n");
}

/* HEAD and 304 may tell the length of what is not sent; below 200 and with 204 nothing may. */
static bool tells_length(const struct vd_http_head *h, enum vd_http_framing framing)
{
    if (framing == VD_HTTP_NO_BODY)
        return h->has_length && !h->has_encoding && h->status >= 200 && h->status != 204;
    return framing == VD_HTTP_LENGTH;
}

void vd_http_write_response(struct vd_out *out, const struct vd_http_head *h,
                            enum vd_http_framing framing, bool last)
{
    vd_out_text(out, "HTTP/1.1 ");
    vd_out_uint(out, h->status);
    vd_out_text(out, " ");
    write_text(out, h->phrase);
    vd_out_text(out, "\r\n");
    write_fields(out, h);
    if (framing == VD_HTTP_CHUNKED)
        vd_out_text(out, "Transfer-Encoding: chunked\r\n");
    else if (tells_length(h, framing))
        write_length(out, h->length);
    if (last)
        vd_out_text(out, "Connection: close\r\n");
    vd_out_text(out, "\r\n");
}

/* --- trailers --- */

bool vd_http_are_trailers(struct vd_text trailers)
{
    struct vd_text name, value;

    while (trailers.len > 0)
        if (!take_field(&trailers, true, &name, &value))
            return false;
    return true;
}

void vd_http_write_trailers(struct vd_out *out, struct vd_text trailers)
{
    struct vd_text name, value;

    while (take_field(&trailers, true, &name, &value))
        if (field_of(name) == FIELD_OTHER)
            write_field(out, name, value);
}
