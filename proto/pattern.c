#include "proto/pattern.h"

#include <string.h>

#include "proto/err.h"

static const char forms[] =
    "an address, ADDRESS/BITS, a name, *.SUFFIX or *, each with an optional :PORT "
    "(IPv6 with a port in brackets)";

/* --- reading --- */

/* Splits off ":PORT"; an IPv6 address without brackets has none. Gives the length of what stands
 * before it, or 0 for a bad port. */
static size_t read_port(struct vd_pattern *p, const char *text, size_t len)
{
    const char *from = len > 0 && *text == '[' ? memchr(text, ']', len) : text;
    const char *colon = from ? memchr(from, ':', len - (size_t)(from - text)) : NULL;
    size_t end = colon ? (size_t)(colon - text) : len;
    int64_t port;

    if (!colon || (from == text && memchr(colon + 1, ':', len - end - 1)))
        return len;
    port = vd_uint_read(colon + 1, len - end - 1, 65535);
    if (port < 1)
        return 0;
    p->port = (uint16_t)port;
    return end;
}

static void clear_host_bits(struct vd_ip *ip, unsigned bits)
{
    for (unsigned i = 0; i < sizeof ip->bytes; i++) {
        unsigned kept = bits > 8 * i ? bits - 8 * i : 0;

        ip->bytes[i] &= (uint8_t)(kept >= 8 ? 0xff : 0xff00 >> kept);
    }
}

/* A block inside ::ffff:0:0/96 is the IPv4 block inside: that is how addresses are compared. */
static void set_net(struct vd_pattern *p, const struct vd_ip *ip, unsigned bits)
{
    p->kind = VD_PATTERN_NET;
    p->net = *ip;
    if (ip->family == VD_IPV6 && bits >= 96) {
        p->net = vd_ip_unmapped(ip);
        bits -= p->net.family == VD_IPV4 ? 96 : 0;
    }
    p->bits = (uint8_t)bits;
    clear_host_bits(&p->net, bits);
}

static bool read_net(struct vd_pattern *p, const char *text, size_t len)
{
    const char *slash;
    size_t end;
    struct vd_ip ip;
    int64_t bits, most;
    bool bracketed = len > 1 && text[0] == '[' && text[len - 1] == ']';

    if (bracketed) {
        text++;
        len -= 2;
    }
    slash = memchr(text, '/', len);
    end = slash ? (size_t)(slash - text) : len;
    if (!vd_ip_read(&ip, text, end) || (bracketed && ip.family != VD_IPV6))
        return false;
    bits = most = ip.family == VD_IPV4 ? 32 : 128;
    if (slash)
        bits = vd_uint_read(slash + 1, len - end - 1, (uint64_t)most);
    if (bits < 0)
        return false;
    set_net(p, &ip, (unsigned)bits);
    return true;
}

/* A last label of digits only is a mistyped address: no such name exists. */
static bool ends_in_number(const char *name, size_t len)
{
    size_t digits = 0;

    while (digits < len && name[len - digits - 1] >= '0' && name[len - digits - 1] <= '9')
        digits++;
    return digits > 0 && (digits == len || name[len - digits - 1] == '.');
}

static bool has_empty_label(const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (name[i] == '.' && (i == 0 || i + 1 == len || name[i + 1] == '.'))
            return true;
    return false;
}

static bool is_name(const char *text, size_t len)
{
    struct vd_endpoint e;

    return vd_endpoint_set_name(&e, text, len, 0) == VD_OK && !memchr(text, '*', len) &&
           !has_empty_label(text, len) && !ends_in_number(text, len);
}

static bool read_name(struct vd_pattern *p, const char *text, size_t len)
{
    bool suffix = len > 2 && text[0] == '*' && text[1] == '.';
    size_t star = suffix ? 1 : 0; /* which is not kept; the dot behind it is */

    if (len > 1 && text[len - 1] == '.')
        len--;
    if (len - star > VD_NAME_MAX || !is_name(text + 2 * star, len - 2 * star))
        return false;
    p->kind = suffix ? VD_PATTERN_SUFFIX : VD_PATTERN_NAME;
    p->name_len = (uint8_t)(len - star);
    memcpy(p->name, text + star, len - star);
    return true;
}

int vd_pattern_read(struct vd_pattern *p, const char *text, size_t len, const char **allowed)
{
    bool ok;

    memset(p, 0, sizeof *p);
    len = read_port(p, text, len);
    if (len == 1 && *text == '*') {
        p->kind = VD_PATTERN_ANY;
        return VD_OK;
    }
    ok = len > 0 && (read_net(p, text, len) || read_name(p, text, len));
    if (!ok)
        *allowed = forms;
    return ok ? VD_OK : -VD_ERR_PROTOCOL;
}

/* --- matching --- */

static bool matches_name(const struct vd_pattern *p, const struct vd_endpoint *e)
{
    size_t len = e->name_len;

    if (len > 1 && e->name[len - 1] == '.')
        len--;
    if (p->kind == VD_PATTERN_NAME)
        return len == p->name_len && vd_same_text(e->name, p->name, len);
    return len > p->name_len && vd_same_text(e->name + len - p->name_len, p->name, p->name_len);
}

bool vd_pattern_matches(const struct vd_pattern *p, const struct vd_endpoint *e)
{
    bool is_name = vd_endpoint_is_name(e);
    struct vd_ip ip;

    if (p->port && p->port != e->port)
        return false;
    switch ((enum vd_pattern_kind)p->kind) {
    case VD_PATTERN_ANY:
        return true;
    case VD_PATTERN_NET:
        ip = vd_ip_unmapped(&e->ip);
        return !is_name && vd_ip_within(&ip, &p->net, p->bits);
    case VD_PATTERN_NAME:
    case VD_PATTERN_SUFFIX:
        return is_name && matches_name(p, e);
    }
    return false;
}

/* --- printing --- */

static void print_net(struct vd_out *out, const struct vd_pattern *p)
{
    bool brackets = p->port && p->net.family == VD_IPV6;

    if (brackets)
        vd_out_text(out, "[");
    vd_ip_print(out, &p->net);
    if (p->bits != (p->net.family == VD_IPV4 ? 32 : 128)) {
        vd_out_text(out, "/");
        vd_out_uint(out, p->bits);
    }
    if (brackets)
        vd_out_text(out, "]");
}

void vd_pattern_print(struct vd_out *out, const struct vd_pattern *p)
{
    if (p->kind == VD_PATTERN_NET)
        print_net(out, p);
    if (p->kind == VD_PATTERN_ANY || p->kind == VD_PATTERN_SUFFIX)
        vd_out_text(out, "*");
    vd_out_bytes(out, p->name, p->name_len);
    if (p->port) {
        vd_out_text(out, ":");
        vd_out_uint(out, p->port);
    }
}
