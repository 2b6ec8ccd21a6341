#include "proto/socks5_address.h"

#include "proto/err.h"

void vd_socks5_address_write(struct vd_out *out, const struct vd_endpoint *e)
{
    if (vd_endpoint_is_name(e)) {
        vd_out_u8(out, VD_ATYP_NAME);
        vd_out_u8(out, e->name_len);
        vd_out_bytes(out, e->name, e->name_len);
    } else if (e->ip.family == VD_IPV6) {
        vd_out_u8(out, VD_ATYP_IPV6);
        vd_out_bytes(out, e->ip.bytes, 16);
    } else {
        static const uint8_t none[4];

        vd_out_u8(out, VD_ATYP_IPV4);
        vd_out_bytes(out, e->ip.family == VD_IPV4 ? e->ip.bytes : none, 4);
    }
    vd_out_u16(out, e->port);
}

static int read_name(struct vd_in *in, struct vd_endpoint *e)
{
    uint8_t len = vd_in_u8(in);
    const char *text = (const char *)vd_in_bytes(in, len);
    uint16_t port = vd_in_u16(in);
    struct vd_ip ip;

    if (!in->ok)
        return -VD_ERR_PROTOCOL;
    if (!vd_ip_read(&ip, text, len))
        return vd_endpoint_set_name(e, text, len, port);
    vd_endpoint_set_ip(e, &ip, port);
    return VD_OK;
}

int vd_socks5_address_read(struct vd_in *in, struct vd_endpoint *e)
{
    uint8_t type = vd_in_u8(in);
    const uint8_t *bytes;
    struct vd_ip ip;

    if (!in->ok)
        return -VD_ERR_PROTOCOL;
    if (type == VD_ATYP_NAME)
        return read_name(in, e);
    if (type != VD_ATYP_IPV4 && type != VD_ATYP_IPV6)
        return -VD_ERR_ADDRESS_TYPE;
    bytes = vd_in_bytes(in, type == VD_ATYP_IPV4 ? 4 : 16);
    if (!bytes || in->left < 2)
        return -VD_ERR_PROTOCOL;
    ip = type == VD_ATYP_IPV4 ? vd_ip4(bytes) : vd_ip6(bytes, 0);
    vd_endpoint_set_ip(e, &ip, vd_in_u16(in));
    return VD_OK;
}
