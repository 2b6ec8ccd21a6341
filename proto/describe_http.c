/*
 * A head is told line by line. Of the lines those are explained that decide about a tunnel.
 */
#include <string.h>

#include "proto/describe_part.h"
#include "proto/text.h"

static const char status_form[] = "HTTP/1.";

/* Blank lines before the first line belong to it: RFC 9112 section 2.2. */
static size_t blank_lines(const uint8_t *data, size_t len)
{
    size_t at = 0;

    while (at < len && (data[at] == '\r' || data[at] == '\n'))
        at++;
    return at;
}

static bool may_be_response(const uint8_t *data, size_t len)
{
    size_t least = sizeof status_form - 1;

    return !memcmp(data, status_form, len < least ? len : least);
}

size_t vd_http_head_length(enum vd_says says, const uint8_t *data, size_t len)
{
    size_t at = says == VD_SAYS_HTTP_MORE ? 0 : blank_lines(data, len);

    if (says == VD_SAYS_HTTP_RESPONSE && !may_be_response(data + at, len - at))
        return 0;
    while (at < len) {
        const uint8_t *line = data + at, *end = memchr(line, '\n', len - at);

        if (!end)
            return 0;
        at = (size_t)(end - data) + 1;
        if (end == line || (end == line + 1 && *line == '\r'))
            return at;
    }
    return 0;
}

/* --- what lines mean ------------------------------------------------------------------------- */

static void mean_request_line(struct vd_out *out, struct vd_text line)
{
    struct vd_text method, target;

    if (!vd_text_cut(&line, ' ', &method) || !vd_text_cut(&line, ' ', &target)) {
        vd_out_text(out, "no request-line");
    } else if (vd_text_is(method, "CONNECT")) {
        vd_out_text(out, "a tunnel to ");
        vd_out_shown(out, target.at, target.len);
        vd_out_text(out, " (RFC 9110 section 9.3.6)");
    }
}

static const struct {
    uint16_t status;
    const char *words;
} statuses[] = {
    {200, "the tunnel stands"},
    {400, "the proxy does not understand the request"},
    {401, "a login is wanted, but not for a proxy"},
    {403, "the proxy does not allow this target"},
    {404, "no proxy, or it knows no such target"},
    {405, "CONNECT is not allowed: no proxy, or none for this"},
    {407, "the proxy wants a login, or another one"},
    {500, "the proxy failed"},
    {501, "CONNECT is not known here"},
    {502, "the proxy could not connect"},
    {503, "the proxy is at a limit, or could not connect"},
    {504, "the target did not answer the proxy in time"},
    {511, "a login to the network itself is wanted (captive portal)"},
};

static int status_of(struct vd_text line)
{
    size_t at = sizeof status_form + 1;

    if (line.len < at + 3 || !may_be_response((const uint8_t *)line.at, line.len))
        return -1;
    return (int)vd_uint_read(line.at + at, 3, 999);
}

static void mean_status_line(struct vd_out *out, struct vd_text line)
{
    int status = status_of(line);

    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (statuses[i].status == status) {
            vd_out_text(out, statuses[i].words);
            return;
        }
    if (status < 0)
        vd_out_text(out, "no status-line");
    else if (status < 200)
        vd_out_text(out, "interim: another response follows");
    else if (status < 300)
        vd_out_text(out, "the tunnel stands");
    else if (status < 400)
        vd_out_text(out, "sent elsewhere: no tunnel, maybe a captive portal");
}

/* RFC 7617. */
static void mean_basic(struct vd_out *out, struct vd_text value)
{
    uint8_t pair[2 * VD_LOGIN_MAX + 2];
    struct vd_text scheme, user;
    int len;

    if (!vd_text_cut(&value, ' ', &scheme) || !vd_text_is(scheme, "Basic"))
        return;
    value = vd_text_trimmed(value);
    len = vd_base64_read(value.at, value.len, pair, sizeof pair);
    value = (struct vd_text){(const char *)pair, len < 0 ? 0 : (size_t)len};
    if (!vd_text_cut(&value, ':', &user))
        return;
    vd_out_text(out, "user \"");
    vd_out_shown(out, user.at, user.len);
    vd_out_text(out, "\", password \"");
    vd_out_shown(out, value.at, value.len);
    vd_out_text(out, "\" (RFC 7617)");
}

static const struct {
    const char *name, *words;
} fields[] = {
    {"Host", "the target again"},
    {"Connection", "no other request is to follow on this connection if it is refused"},
    {"Proxy-Status", "why, in the words of RFC 9209"},
    {"Proxy-Authenticate", "which login the proxy takes"},
    {"Proxy-Agent", "what the proxy says it is"},
    {"Server", "what the server says it is"},
    {"Via", "proxies it went through"},
    {"Location", "where it is sent to"},
    {"Content-Length", "of a refusal's text; a tunnel has none"},
    {"Transfer-Encoding", "of a refusal's text; a tunnel has none"},
};

static void mean_field(struct vd_out *out, struct vd_text line)
{
    struct vd_text name;

    if (!vd_text_cut(&line, ':', &name))
        return;
    if (vd_text_is(name, "Proxy-Authorization")) {
        mean_basic(out, vd_text_trimmed(line));
        return;
    }
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (vd_text_is(name, fields[i].name))
            vd_out_text(out, fields[i].words);
}

/* --- the lines ------------------------------------------------------------------------------- */

enum { FIRST_LINE, FIELDS, BEHIND };

static bool in_fields(const struct vd_describe *d)
{
    return d->step == FIELDS || d->says == VD_SAYS_HTTP_MORE;
}

static const char *name_of(const struct vd_describe *d)
{
    if (in_fields(d))
        return "field-line";
    return d->says == VD_SAYS_HTTP_REQUEST ? "request-line" : "status-line";
}

static void mean_line(struct vd_out *out, const struct vd_describe *d, struct vd_text line)
{
    if (in_fields(d))
        mean_field(out, line);
    else if (d->says == VD_SAYS_HTTP_REQUEST)
        mean_request_line(out, line);
    else
        mean_status_line(out, line);
}

/* What is no whole line of the head. */
static void tell_rest(struct vd_describe *d, struct vd_field *field, struct vd_out *out)
{
    field->len = d->len - d->at;
    field->name = d->step == BEHIND ? "(bytes)" : name_of(d);
    if (d->step == BEHIND)
        vd_out_text(out, "behind the head");
    else if (!in_fields(d) && d->says == VD_SAYS_HTTP_RESPONSE &&
             !may_be_response(d->data + d->at, field->len))
        vd_out_text(out, "no HTTP");
    else
        vd_out_text(out, "cut short");
}

static void tell_line(struct vd_describe *d, struct vd_field *field, struct vd_out *out,
                      struct vd_text line)
{
    field->len = line.len + 1;
    if (line.len > 0 && line.at[line.len - 1] == '\r')
        line.len--;
    field->name = line.len > 0 ? name_of(d) : "CRLF";
    if (line.len > 0) {
        mean_line(out, d, line);
        d->step = FIELDS;
    } else if (in_fields(d)) {
        vd_out_text(out, "the head ends");
        d->step = BEHIND;
    }
}

void vd_http_line(struct vd_describe *d, struct vd_field *field)
{
    struct vd_text rest = {(const char *)d->data + d->at, d->len - d->at}, line;
    struct vd_out out = vd_out_over(field->meaning, sizeof field->meaning);

    field->at = d->at;
    if (d->step != BEHIND && vd_text_cut(&rest, '\n', &line))
        tell_line(d, field, &out, line);
    else
        tell_rest(d, field, &out);
    vd_out_string(&out);
    d->at += field->len;
}

bool vd_http_is_interim(const uint8_t *data, size_t len)
{
    size_t at = blank_lines(data, len);
    int status = status_of((struct vd_text){(const char *)data + at, len - at});

    return status >= 100 && status < 200;
}
