#include "proto/endpoint.h"

#include <arpa/inet.h>
#include <string.h>

#include "proto/err.h"

struct vd_ip vd_ip4(const uint8_t bytes[4])
{
    struct vd_ip ip = {.family = VD_IPV4};

    memcpy(ip.bytes, bytes, 4);
    return ip;
}

struct vd_ip vd_ip6(const uint8_t bytes[16], uint32_t scope)
{
    struct vd_ip ip = {.family = VD_IPV6, .scope = scope};

    memcpy(ip.bytes, bytes, 16);
    return ip;
}

bool vd_ip_same(const struct vd_ip *a, const struct vd_ip *b)
{
    size_t len = a->family == VD_IPV4 ? 4 : 16;

    return a->family == b->family && a->scope == b->scope && !memcmp(a->bytes, b->bytes, len);
}

struct vd_ip vd_ip_unmapped(const struct vd_ip *ip)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

    if (ip->family == VD_IPV6 && !memcmp(ip->bytes, mapped, sizeof mapped))
        return vd_ip4(ip->bytes + 12);
    return *ip;
}

bool vd_ip_within(const struct vd_ip *ip, const struct vd_ip *net, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    uint8_t mask = (uint8_t)(0xff00 >> rest);

    if (ip->family != net->family || bits > (ip->family == VD_IPV4 ? 32u : 128u))
        return false;
    if (memcmp(ip->bytes, net->bytes, whole))
        return false;
    return rest == 0 || ((ip->bytes[whole] ^ net->bytes[whole]) & mask) == 0;
}

bool vd_ip_read(struct vd_ip *ip, const char *text, size_t len)
{
    char copy[INET6_ADDRSTRLEN];
    uint8_t bytes[16];

    if (len >= sizeof copy || memchr(text, 0, len))
        return false;
    memcpy(copy, text, len);
    copy[len] = 0;
    if (inet_pton(AF_INET, copy, bytes) == 1)
        *ip = vd_ip4(bytes);
    else if (inet_pton(AF_INET6, copy, bytes) == 1)
        *ip = vd_ip6(bytes, 0);
    else
        return false;
    return true;
}

void vd_ip_print(struct vd_out *out, const struct vd_ip *ip)
{
    char text[INET6_ADDRSTRLEN];

    if (ip->family == VD_NO_IP)
        return;
    vd_out_text(
        out, inet_ntop(ip->family == VD_IPV4 ? AF_INET : AF_INET6, ip->bytes, text, sizeof text));
    if (ip->scope) {
        vd_out_text(out, "%");
        vd_out_uint(out, ip->scope);
    }
}

struct block {
    struct vd_ip net;
    uint8_t bits;
    enum vd_class class;
};

enum vd_class vd_ip_class(const struct vd_ip *ip)
{
    static const struct block blocks[] = {
        {{.family = VD_IPV4, .bytes = {255, 255, 255, 255}}, 32, VD_CLASS_BROADCAST},
        {{.family = VD_IPV4, .bytes = {0}}, 8, VD_CLASS_UNSPECIFIED},
        {{.family = VD_IPV4, .bytes = {127}}, 8, VD_CLASS_LOOPBACK},
        {{.family = VD_IPV4, .bytes = {169, 254}}, 16, VD_CLASS_LINK_LOCAL},
        {{.family = VD_IPV4, .bytes = {10}}, 8, VD_CLASS_PRIVATE},
        {{.family = VD_IPV4, .bytes = {172, 16}}, 12, VD_CLASS_PRIVATE},
        {{.family = VD_IPV4, .bytes = {192, 168}}, 16, VD_CLASS_PRIVATE},
        {{.family = VD_IPV4, .bytes = {100, 64}}, 10, VD_CLASS_PRIVATE},
        {{.family = VD_IPV4, .bytes = {224}}, 4, VD_CLASS_MULTICAST},
        {{.family = VD_IPV6, .bytes = {0}}, 128, VD_CLASS_UNSPECIFIED},
        {{.family = VD_IPV6, .bytes = {[15] = 1}}, 128, VD_CLASS_LOOPBACK},
        {{.family = VD_IPV6, .bytes = {0xfe, 0x80}}, 10, VD_CLASS_LINK_LOCAL},
        {{.family = VD_IPV6, .bytes = {0xfc}}, 7, VD_CLASS_PRIVATE},
        {{.family = VD_IPV6, .bytes = {0xff}}, 8, VD_CLASS_MULTICAST},
    };
    struct vd_ip plain = vd_ip_unmapped(ip);

    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (vd_ip_within(&plain, &blocks[i].net, blocks[i].bits))
            return blocks[i].class;
    return VD_CLASS_GLOBAL;
}

/* Bytes that would end a request line, a header, a URL's authority or a quoted text. */
static bool fits_name(uint8_t c)
{
    return c > 0x20 && c != 0x7f && !strchr(":/\\?#@[]\"<>", c);
}

int vd_endpoint_set_name(struct vd_endpoint *e, const char *name, size_t len, uint16_t port)
{
    if (len == 0 || len > VD_NAME_MAX)
        return -VD_ERR_NAME_FORM;
    for (size_t i = 0; i < len; i++)
        if (!fits_name((uint8_t)name[i]))
            return -VD_ERR_NAME_FORM;
    memset(e, 0, sizeof *e);
    memcpy(e->name, name, len);
    e->name_len = (uint8_t)len;
    e->port = port;
    return VD_OK;
}

void vd_endpoint_set_ip(struct vd_endpoint *e, const struct vd_ip *ip, uint16_t port)
{
    memset(e, 0, sizeof *e);
    e->ip = *ip;
    e->port = port;
}

bool vd_endpoint_is_name(const struct vd_endpoint *e)
{
    return e->name_len > 0;
}

static size_t undotted(const struct vd_endpoint *e)
{
    return e->name_len > 1 && e->name[e->name_len - 1] == '.' ? e->name_len - 1u : e->name_len;
}

bool vd_endpoint_same(const struct vd_endpoint *a, const struct vd_endpoint *b)
{
    size_t len = undotted(a);

    if (a->port != b->port || len != undotted(b))
        return false;
    return len > 0 ? vd_same_text(a->name, b->name, len) : vd_ip_same(&a->ip, &b->ip);
}

int vd_endpoint_read_host(struct vd_endpoint *e, const char *text, size_t len)
{
    bool bracketed = len > 2 && text[0] == '[' && text[len - 1] == ']';
    struct vd_ip ip;

    if (bracketed) {
        if (!vd_ip_read(&ip, text + 1, len - 2) || ip.family != VD_IPV6)
            return -VD_ERR_NAME_FORM;
    } else if (!vd_ip_read(&ip, text, len)) {
        if (len > 0 && memchr(text, ':', len))
            return -VD_ERR_NAME_FORM;
        return vd_endpoint_set_name(e, text, len, 0);
    }
    vd_endpoint_set_ip(e, &ip, 0);
    return VD_OK;
}

/* Where the host of HOST[:PORT] ends. */
static size_t host_end(const char *text, size_t len)
{
    const char *colon = memchr(text, ':', len);
    const char *bracket = len > 0 && text[0] == '[' ? memchr(text, ']', len) : NULL;

    if (bracket)
        return (size_t)(bracket - text) + 1;
    if (!colon || memchr(colon + 1, ':', len - (size_t)(colon + 1 - text)))
        return len; /* two colons and no bracket: a bare IPv6 address */
    return (size_t)(colon - text);
}

int vd_endpoint_read(struct vd_endpoint *e, const char *text, size_t len, uint16_t port)
{
    size_t end = host_end(text, len);
    int64_t given = port;
    int r;

    if (end < len)
        given = text[end] == ':' ? vd_uint_read(text + end + 1, len - end - 1, 65535) : -1;
    r = vd_endpoint_read_host(e, text, end);
    if (r < 0)
        return r;
    if (given < 1)
        return -VD_ERR_PROTOCOL;
    e->port = (uint16_t)given;
    return VD_OK;
}

void vd_endpoint_print_host(struct vd_out *out, const struct vd_endpoint *e)
{
    bool brackets = !vd_endpoint_is_name(e) && e->ip.family == VD_IPV6;

    if (brackets)
        vd_out_text(out, "[");
    if (vd_endpoint_is_name(e))
        vd_out_bytes(out, e->name, e->name_len);
    else
        vd_ip_print(out, &e->ip);
    if (brackets)
        vd_out_text(out, "]");
}

void vd_endpoint_print(struct vd_out *out, const struct vd_endpoint *e)
{
    vd_endpoint_print_host(out, e);
    vd_out_text(out, ":");
    vd_out_uint(out, e->port);
}
