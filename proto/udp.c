#include "proto/udp.h"

#include "proto/err.h"
#include "proto/socks5_address.h"

_Static_assert(VD_UDP_HEADER_IPV4 == 10 && VD_UDP_HEADER_IPV6 == 22, "RFC 1928 section 7");

/* As it is told to a relay: an address of IPv4 may stand in an IPv6 socket's form here. */
static struct vd_endpoint plain(const struct vd_endpoint *at)
{
    struct vd_endpoint copy = *at;

    if (!vd_endpoint_is_name(at))
        copy.ip = vd_ip_unmapped(&at->ip);
    return copy;
}

size_t vd_udp_header_len(const struct vd_endpoint *at)
{
    if (vd_endpoint_is_name(at))
        return VD_UDP_HEADER_MAX - VD_NAME_MAX + (size_t)at->name_len;
    return vd_ip_unmapped(&at->ip).family == VD_IPV6 ? VD_UDP_HEADER_IPV6 : VD_UDP_HEADER_IPV4;
}

void vd_udp_write(struct vd_out *out, const struct vd_endpoint *at)
{
    struct vd_endpoint told = plain(at);

    vd_out_bytes(out, (const uint8_t[]){0, 0, 0}, 3);
    vd_socks5_address_write(out, &told);
}

int vd_udp_read(struct vd_udp_header *header, const uint8_t *data, size_t len)
{
    struct vd_in in = vd_in_over(data, len);
    int r;

    vd_in_u16(&in);
    header->frag = vd_in_u8(&in);
    r = vd_socks5_address_read(&in, &header->at);
    if (r < 0)
        return r;
    header->at = plain(&header->at);
    header->len = len - in.left;
    return VD_OK;
}

bool vd_udp_may_relay(const struct vd_ip *relay, enum vd_class own)
{
    enum vd_class class = vd_ip_class(relay);

    switch (class) {
    case VD_CLASS_MULTICAST:
    case VD_CLASS_BROADCAST:
        return false;
    case VD_CLASS_LOOPBACK:
    case VD_CLASS_LINK_LOCAL:
        return own == class;
    case VD_CLASS_GLOBAL:
    case VD_CLASS_PRIVATE:
    case VD_CLASS_UNSPECIFIED:
        break;
    }
    return true;
}

size_t vd_udp_wrap_len(const struct vd_endpoint *relays, size_t count,
                       const struct vd_endpoint *target)
{
    size_t len = vd_udp_header_len(target);

    for (size_t i = 0; i < count; i++)
        len += vd_udp_header_len(&relays[i]);
    return len;
}

void vd_udp_wrap(struct vd_out *out, const struct vd_endpoint *relays, size_t count,
                 const struct vd_endpoint *target)
{
    for (size_t i = 0; i < count; i++)
        vd_udp_write(out, &relays[i]);
    vd_udp_write(out, target);
}

static bool is_from(const struct vd_endpoint *from, const struct vd_endpoint *relay)
{
    struct vd_endpoint told = plain(relay);

    told.ip.scope = 0;
    if (vd_endpoint_is_name(relay))
        return from->port == relay->port;
    return vd_endpoint_same(from, &told);
}

int vd_udp_unwrap(const uint8_t *data, size_t len, const struct vd_endpoint *relays, size_t count,
                  struct vd_endpoint *from, size_t *payload)
{
    struct vd_udp_header header;

    *payload = 0;
    for (size_t i = 0; i <= count; i++) {
        int r = vd_udp_read(&header, data + *payload, len - *payload);

        if (r < 0)
            return r;
        if (header.frag != 0)
            return -VD_ERR_UNSUPPORTED;
        if (i < count && !is_from(&header.at, &relays[i]))
            return -VD_ERR_DENIED;
        *payload += header.len;
    }
    *from = header.at;
    return VD_OK;
}
