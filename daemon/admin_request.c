#include "daemon/admin_request.h"

#include <string.h>

#include "proto/http_message.h"

static const char url_start[] = " http://admin";

size_t admin_request_end(const uint8_t *data, size_t len, size_t *searched)
{
    size_t end = vd_http_head_end(data, len, searched);
    if (end > ADMIN_HEAD_MAX || (end == 0 && len >= ADMIN_HEAD_MAX))
        return len + 1;
    return end;
}

/* "GET /path ..." as "GET http://admin/path ...". false: it has another form. */
static bool make_absolute(struct vd_out *out, const uint8_t *data, size_t len)
{
    const uint8_t *space = memchr(data, ' ', len);
    size_t method = space ? (size_t)(space - data) : 0;
    if (method == 0 || method + 1 >= len || space[1] != '/')
        return false;
    vd_out_bytes(out, data, method);
    vd_out_text(out, url_start);
    vd_out_bytes(out, space + 1, len - method - 1);
    return out->ok;
}

static int status_of(enum vd_http_fault fault)
{
    switch (vd_http_fault_row(fault)->status) {
    case 431:
        return 431;
    case 505:
        return 505;
    default:
        return 400;
    }
}

/* The value of a field that may stand once; false without it. */
static bool find_field(const struct vd_http_head *h, const char *wanted, struct vd_text *value)
{
    struct vd_text rest = h->fields, line, name;
    while (rest.len > 0) {
        if (!vd_text_cut(&rest, '\n', &line)) {
            line = rest;
            rest.len = 0;
        }
        if (line.len > 0 && line.at[line.len - 1] == '\r')
            line.len--;
        if (vd_text_cut(&line, ':', &name) && vd_text_is(name, wanted)) {
            *value = vd_text_trimmed(line);
            return true;
        }
    }
    return false;
}

/* An address, or localhost: no name that somebody else's name server could lead here. */
static bool is_own_host(struct vd_text host)
{
    static const char local[] = "localhost";
    struct vd_endpoint at;
    if (vd_endpoint_read(&at, host.at, host.len, 80) < 0)
        return false;
    return !vd_endpoint_is_name(&at) ||
           (at.name_len == sizeof local - 1 && vd_same_text(at.name, local, at.name_len));
}

static void take_login(struct admin_request *r, const struct vd_http_head *h)
{
    struct vd_text value, scheme;
    r->login[0] = 0;
    if (!find_field(h, "Authorization", &value) || !vd_text_cut(&value, ' ', &scheme) ||
        !vd_text_is(scheme, "Basic"))
        return;
    value = vd_text_trimmed(value);
    int n = vd_base64_read(value.at, value.len, (uint8_t *)r->login, sizeof r->login - 1);
    if (n < 0 || memchr(r->login, 0, (size_t)n))
        n = 0;
    r->login[n] = 0;
}

static int take_path(struct admin_request *r, struct vd_text path)
{
    static const struct {
        const char *path;
        enum admin_what what;
    } known[] = {{"/", ADMIN_PAGE}, {"/status.json", ADMIN_JSON}, {"/metrics", ADMIN_METRICS}};
    const char *query = memchr(path.at, '?', path.len);
    size_t len = query ? (size_t)(query - path.at) : path.len;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].path) == len && memcmp(known[i].path, path.at, len) == 0) {
            r->what = known[i].what;
            return 0;
        }
    return 404;
}

int admin_request_read(struct admin_request *r, const uint8_t *data, size_t len, bool any_host)
{
    static uint8_t text[ADMIN_HEAD_MAX + sizeof url_start];
    struct vd_out out = vd_out_over(text, sizeof text);
    struct vd_http_head h;
    struct vd_text host;
    *r = (struct admin_request){.what = ADMIN_PAGE};
    if (!make_absolute(&out, data, len))
        return 400;
    enum vd_http_fault fault = vd_http_read_request(&h, out.to, out.len);
    if (fault != VD_HTTP_GOOD)
        return status_of(fault);
    if (!any_host && find_field(&h, "Host", &host) && !is_own_host(host))
        return 421;
    take_login(r, &h);
    r->head_only = vd_http_is_head(&h);
    if (!r->head_only && !(h.method.len == 3 && memcmp(h.method.at, "GET", 3) == 0))
        return 405;
    return take_path(r, h.path);
}

const char *admin_phrase(int status)
{
    switch (status) {
    case 401:
        return "Unauthorized";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 421:
        return "Misdirected Request";
    default:
        return vd_http_phrase((uint16_t)status);
    }
}
