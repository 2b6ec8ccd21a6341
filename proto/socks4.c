/* SOCKS4 and SOCKS4a: one request, one reply of eight bytes (a second one for BIND). */
#include <string.h>

#include "proto/shake_codec.h"

enum { REPLY_LEN = 8, VERSION = 4 };

/* 0.0.0.x with x > 0 announces a name behind the user: SOCKS4a. */
static bool reads_as_4a(const struct vd_ip *ip)
{
    return !ip->bytes[0] && !ip->bytes[1] && !ip->bytes[2] && ip->bytes[3];
}

static int start(struct vd_shake *s)
{
    bool name = vd_endpoint_is_name(&s->target);

    if (s->command != VD_CONNECT && s->command != VD_BIND)
        return -VD_ERR_COMMAND;
    if (name && s->hop->scheme == VD_SOCKS4)
        return -VD_ERR_ADDRESS_TYPE;
    if (!name && (s->target.ip.family != VD_IPV4 || reads_as_4a(&s->target.ip)))
        return -VD_ERR_ADDRESS_TYPE;
    if (memchr(s->hop->user, 0, s->hop->user_len))
        return -VD_ERR_NAME_FORM;
    vd_shake_enter(s, VD_STAGE_REPLY);
    return VD_OK;
}

static void write(const struct vd_shake *s, struct vd_out *out)
{
    static const uint8_t name_follows[4] = {0, 0, 0, 1};
    bool name = vd_endpoint_is_name(&s->target);

    if (s->stage != VD_STAGE_REPLY)
        return;
    vd_out_u8(out, VERSION);
    vd_out_u8(out, s->command);
    vd_out_u16(out, s->target.port);
    vd_out_bytes(out, name ? name_follows : s->target.ip.bytes, 4);
    vd_out_bytes(out, s->hop->user, s->hop->user_len);
    vd_out_u8(out, 0);
    if (name) {
        vd_out_bytes(out, s->target.name, s->target.name_len);
        vd_out_u8(out, 0);
    }
}

static size_t want(const struct vd_shake *s)
{
    return (size_t)(REPLY_LEN - s->have);
}

/* The version of a reply is 0 by the notes; many servers say 4. */
static int judge(const struct vd_shake *s)
{
    if (s->have > 0 && s->in[0] != 0 && s->in[0] != VERSION)
        return -VD_ERR_PROTOCOL;
    return s->have > 1 ? -(int)vd_err_of_socks4(s->in[1]) : VD_OK;
}

static int parse(struct vd_shake *s)
{
    struct vd_in in = vd_in_over(s->in, s->have);
    int r = judge(s);

    if (s->have > 1 && r != -VD_ERR_PROTOCOL)
        s->code = s->in[1];
    if (r < 0 || s->have < REPLY_LEN)
        return r;
    vd_in_u16(&in);
    s->bound_port = vd_in_u16(&in);
    s->bound_ip = vd_ip4(vd_in_bytes(&in, 4));
    return VD_DONE;
}

static int feed(struct vd_shake *s, const uint8_t *data, size_t len, size_t *used)
{
    return vd_shake_collect(s, data, len, used, parse);
}

static int cut(const struct vd_shake *s, enum vd_loss loss)
{
    (void)loss;
    return judge(s);
}

const struct vd_shake_codec vd_socks4_codec = {start, write, want, feed, cut};
