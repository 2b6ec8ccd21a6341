/*
 * A binary message is a list of parts, each of which knows from the bytes before it how long it is.
 * The same lists say where a message ends and what its fields are called. HTTP is made of lines:
 * proto/describe_http.c.
 *
 * The first byte tells whether it is such a message at all; if not it has no end and one field.
 */
#include "proto/describe.h"

#include <string.h>

#include "proto/describe_part.h"
#include "proto/socks5_address.h"

/* How long a part is. */
enum shape {
    FIXED,   /* size bytes */
    COUNTED, /* as many as the byte before says */
    ADDRESS, /* as the ATYP before says */
    TEXT,    /* up to a NUL */
    TEXT_4A  /* the same, if DSTIP is 0.0.0.x */
};

enum { ENDLESS = 1 << 20 /* it is not known yet how long */, PARTS_MAX = 7 };

struct part {
    const char *name;
    enum shape shape;
    uint8_t size;
    void (*mean)(struct vd_out *out, const uint8_t *data, size_t len);
};

static const struct part socks4_request[PARTS_MAX] = {
    {"VN", FIXED, 1, vd_mean_version},   {"CD", FIXED, 1, vd_mean_command},
    {"DSTPORT", FIXED, 2, vd_mean_port}, {"DSTIP", FIXED, 4, vd_mean_ip4a},
    {"USERID", TEXT, 0, vd_mean_text},   {"DOMAIN", TEXT_4A, 0, vd_mean_text},
};
static const struct part socks4_reply[PARTS_MAX] = {
    {"VN", FIXED, 1, vd_mean_version},
    {"CD", FIXED, 1, vd_mean_socks4_code},
    {"DSTPORT", FIXED, 2, vd_mean_port},
    {"DSTIP", FIXED, 4, vd_mean_ip4},
};
static const struct part methods[PARTS_MAX] = {
    {"VER", FIXED, 1, vd_mean_version},
    {"NMETHODS", FIXED, 1, vd_mean_count},
    {"METHODS", COUNTED, 0, vd_mean_methods},
};
static const struct part method[PARTS_MAX] = {
    {"VER", FIXED, 1, vd_mean_version},
    {"METHOD", FIXED, 1, vd_mean_methods},
};
static const struct part login[PARTS_MAX] = {
    {"VER", FIXED, 1, vd_mean_login_version}, {"ULEN", FIXED, 1, vd_mean_count},
    {"UNAME", COUNTED, 0, vd_mean_text},      {"PLEN", FIXED, 1, vd_mean_count},
    {"PASSWD", COUNTED, 0, vd_mean_text},
};
static const struct part status[PARTS_MAX] = {
    {"VER", FIXED, 1, vd_mean_login_version},
    {"STATUS", FIXED, 1, vd_mean_status},
};
static const struct part request[PARTS_MAX] = {
    {"VER", FIXED, 1, vd_mean_version},        {"CMD", FIXED, 1, vd_mean_command},
    {"RSV", FIXED, 1, vd_mean_reserved},       {"ATYP", FIXED, 1, vd_mean_address_type},
    {"DST.ADDR", ADDRESS, 0, vd_mean_address}, {"DST.PORT", FIXED, 2, vd_mean_port},
};
static const struct part reply[PARTS_MAX] = {
    {"VER", FIXED, 1, vd_mean_version},        {"REP", FIXED, 1, vd_mean_reply},
    {"RSV", FIXED, 1, vd_mean_reserved},       {"ATYP", FIXED, 1, vd_mean_address_type},
    {"BND.ADDR", ADDRESS, 0, vd_mean_address}, {"BND.PORT", FIXED, 2, vd_mean_port},
};

/* `first`: the bytes with which it may begin, as a text; none of them is NUL but that of SOCKS4's
 * reply. */
static const struct kind {
    const char *title, *first;
    const struct part *parts; /* NULL: lines */
} kinds[VD_SAYS_COUNT] = {
    [VD_SAYS_NOTHING] = {"bytes behind the handshake", "", NULL},
    [VD_SAYS_SOCKS4_REQUEST] = {"SOCKS4 request", "\4", socks4_request},
    [VD_SAYS_METHODS] = {"version identifier/method selection message (RFC 1928 section 3)", "\5",
                         methods},
    [VD_SAYS_LOGIN] = {"Username/Password request (RFC 1929 section 2)", "\1", login},
    [VD_SAYS_REQUEST] = {"SOCKS request (RFC 1928 section 4)", "\5", request},
    [VD_SAYS_HTTP_REQUEST] = {"HTTP request (RFC 9112 section 3)", NULL, NULL},
    [VD_SAYS_SOCKS4_REPLY] = {"SOCKS4 reply", "\4\0", socks4_reply},
    [VD_SAYS_METHOD] = {"METHOD selection message (RFC 1928 section 3)", "\5", method},
    [VD_SAYS_STATUS] = {"Username/Password response (RFC 1929 section 2)", "\1\5", status},
    [VD_SAYS_REPLY] = {"SOCKS reply (RFC 1928 section 6)", "\5", reply},
    [VD_SAYS_HTTP_RESPONSE] = {"HTTP response (RFC 9112 section 4)", NULL, NULL},
    [VD_SAYS_HTTP_MORE] = {"HTTP head, continued (RFC 9112 section 5)", NULL, NULL},
};

static bool may_begin(enum vd_says says, uint8_t first)
{
    const char *allowed = kinds[says].first;

    if (first == 0)
        return says == VD_SAYS_SOCKS4_REPLY;
    return strchr(allowed, first);
}

static size_t text_size(const uint8_t *data, size_t len, size_t at)
{
    const uint8_t *end = at < len ? memchr(data + at, 0, len - at) : NULL;

    return end ? (size_t)(end - data) - at + 1 : ENDLESS;
}

static size_t address_size(const uint8_t *data, size_t len, size_t at)
{
    switch (data[at - 1]) {
    case VD_ATYP_IPV4:
        return 4;
    case VD_ATYP_IPV6:
        return 16;
    case VD_ATYP_NAME:
        return at < len ? 1 + (size_t)data[at] : ENDLESS;
    default:
        return ENDLESS;
    }
}

static bool is_4a(const uint8_t *data)
{
    return !data[4] && !data[5] && !data[6] && data[7];
}

/* Of a part that begins at `at`; all before it is there. */
static size_t part_size(const struct part *part, const uint8_t *data, size_t len, size_t at)
{
    switch (part->shape) {
    case FIXED:
        return part->size;
    case COUNTED:
        return data[at - 1];
    case ADDRESS:
        return address_size(data, len, at);
    case TEXT:
        return text_size(data, len, at);
    case TEXT_4A:
        return is_4a(data) ? text_size(data, len, at) : 0;
    }
    return ENDLESS;
}

size_t vd_says_length(enum vd_says says, const uint8_t *data, size_t len)
{
    const struct part *part = kinds[says].parts;
    size_t at = 0;

    if (len == 0 || says == VD_SAYS_NOTHING)
        return 0;
    if (!part)
        return vd_http_head_length(says, data, len);
    if (!may_begin(says, data[0]))
        return 0;
    for (; part->name; part++) {
        at += part_size(part, data, len, at);
        if (at > len)
            return 0;
    }
    return at;
}

const char *vd_says_title(enum vd_says says)
{
    return kinds[says].title;
}

void vd_describe_start(struct vd_describe *d, enum vd_says says, const uint8_t *data, size_t len)
{
    *d = (struct vd_describe){.data = data, .len = len, .says = (uint8_t)says};
}

static void tell(struct vd_describe *d, struct vd_field *field, const char *name, size_t len)
{
    field->at = d->at;
    field->len = len;
    field->name = name;
    field->meaning[0] = 0;
    d->at += len;
}

static void tell_rest(struct vd_describe *d, struct vd_field *field, const char *name,
                      const char *meaning)
{
    struct vd_out out = vd_out_over(field->meaning, sizeof field->meaning);

    tell(d, field, name, d->len - d->at);
    vd_out_text(&out, meaning);
    vd_out_string(&out);
}

static void tell_part(struct vd_describe *d, struct vd_field *field, const struct part *part,
                      size_t size)
{
    struct vd_out out = vd_out_over(field->meaning, sizeof field->meaning);

    tell(d, field, part->name, size);
    part->mean(&out, d->data + field->at, size);
    vd_out_string(&out);
}

static bool next_part(struct vd_describe *d, struct vd_field *field)
{
    const struct part *part = kinds[d->says].parts + d->step;
    size_t size = 0;

    if (d->at == 0 && !may_begin((enum vd_says)d->says, d->data[0])) {
        tell_rest(d, field, "(bytes)", "no such message");
        return true;
    }
    for (; part->name && size == 0; part++, d->step++)
        size = part_size(part, d->data, d->len, d->at);
    if (size == 0)
        tell_rest(d, field, "(bytes)", "behind the message");
    else if (size > d->len - d->at)
        tell_rest(d, field, part[-1].name, "cut short");
    else
        tell_part(d, field, &part[-1], size);
    return true;
}

bool vd_describe_next(struct vd_describe *d, struct vd_field *field)
{
    if (d->at == d->len)
        return false;
    if (d->says == VD_SAYS_NOTHING)
        tell_rest(d, field, "(bytes)", "");
    else if (kinds[d->says].parts)
        return next_part(d, field);
    else
        vd_http_line(d, field);
    return true;
}

/* --- who says what when ---------------------------------------------------------------------- */

enum vd_says vd_says_first(enum vd_scheme scheme)
{
    switch (scheme) {
    case VD_SOCKS4:
    case VD_SOCKS4A:
        return VD_SAYS_SOCKS4_REPLY;
    case VD_SOCKS5:
    case VD_SOCKS5H:
        return VD_SAYS_METHOD;
    case VD_HTTP:
    case VD_HTTPS:
        return VD_SAYS_HTTP_RESPONSE;
    }
    return VD_SAYS_NOTHING;
}

enum vd_says vd_says_behind(enum vd_says says, const uint8_t *data, size_t len)
{
    if (says == VD_SAYS_METHOD && len >= 2)
        return data[1] == 2 ? VD_SAYS_STATUS : data[1] == 0 ? VD_SAYS_REPLY : VD_SAYS_NOTHING;
    if (says == VD_SAYS_STATUS && len >= 2 && data[1] == 0)
        return VD_SAYS_REPLY;
    if (says == VD_SAYS_HTTP_RESPONSE && vd_http_is_interim(data, len))
        return VD_SAYS_HTTP_RESPONSE;
    return VD_SAYS_NOTHING;
}

enum vd_says vd_says_of_client(const uint8_t *data, size_t len, bool first, bool login_is_due)
{
    if (len == 0)
        return VD_SAYS_NOTHING;
    if (data[0] == 4 && first)
        return VD_SAYS_SOCKS4_REQUEST;
    if (data[0] == 5)
        return first ? VD_SAYS_METHODS : VD_SAYS_REQUEST;
    if (!first)
        return data[0] == 1 && login_is_due ? VD_SAYS_LOGIN : VD_SAYS_NOTHING;
    return VD_SAYS_HTTP_REQUEST;
}

/* --- a stream -------------------------------------------------------------------------------- */

void vd_follow_start(struct vd_follow *f, enum vd_says says)
{
    f->have = f->told = 0;
    f->ends = false;
    f->says = (uint8_t)says;
}

static bool is_head(enum vd_says says)
{
    return says != VD_SAYS_NOTHING && !kinds[says].parts;
}

/* Where a full buffer may be cut: behind a line, else so that what is left begins with the middle
 * of one, which can be taken for no blank line. */
static size_t cut(const struct vd_follow *f)
{
    const uint8_t *end = memrchr(f->data, '\n', f->have);

    if (!is_head((enum vd_says)f->says))
        return f->have;
    return end ? (size_t)(end - f->data) + 1 : f->have - 2u;
}

size_t vd_follow_take(struct vd_follow *f, const uint8_t *data, size_t len, bool *whole)
{
    size_t held = f->have, room = sizeof f->data - held, length;

    if (len > room)
        len = room;
    if (len > 0)
        memcpy(f->data + held, data, len);
    f->have = (uint16_t)(held + len);
    length = vd_says_length((enum vd_says)f->says, f->data, f->have);
    f->ends = length > 0;
    if (length > held) {
        f->have = (uint16_t)length;
        len = length - held;
    }
    f->told = f->ends ? f->have : f->have == sizeof f->data ? (uint16_t)cut(f) : 0;
    *whole = f->told > 0;
    return len;
}

void vd_follow_next(struct vd_follow *f, enum vd_says says)
{
    if (!f->ends)
        says = is_head((enum vd_says)f->says) ? VD_SAYS_HTTP_MORE : VD_SAYS_NOTHING;
    f->have = (uint16_t)(f->have - f->told);
    memmove(f->data, f->data + f->told, f->have);
    f->told = 0;
    f->ends = false;
    f->says = (uint8_t)says;
}
