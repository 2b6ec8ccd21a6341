/*
 * The server side of SOCKS4 and SOCKS4a: one request, one reply.
 *
 *     04 CMD PORT(2) IP(4) USERID 00            SOCKS4
 *     04 CMD PORT(2) 00 00 00 x USERID 00 NAME 00   SOCKS4a, x not 0
 *     00 REP PORT(2) IP(4)                      twice for BIND
 *
 * The request has no length field: where a NUL is awaited, bytes are taken one at a time.
 */
#include <string.h>

#include "proto/accept_codec.h"
#include "proto/err.h"

enum { FIXED = 8, REQUEST_MAX = FIXED + 512 + VD_NAME_MAX + 1 };

enum { NAMED = 1 }; /* a->flags */

bool vd_accept_socks4_named(const struct vd_accept *a)
{
    return a->flags & NAMED;
}

static bool asks_by_name(const uint8_t *ip)
{
    return ip[0] == 0 && ip[1] == 0 && ip[2] == 0 && ip[3] != 0;
}

/* How many bytes the request has at least, as far as it is known; a->have if it is whole. */
static size_t request_len(const struct vd_accept *a)
{
    if (a->have < FIXED)
        return FIXED;
    const uint8_t *user_end = memchr(a->in + FIXED, 0, a->have - FIXED);
    if (!user_end)
        return a->have + 1u;
    if (!asks_by_name(a->in + 4))
        return a->have;
    const uint8_t *name = user_end + 1;
    bool whole = memchr(name, 0, (size_t)(a->in + a->have - name));
    return whole ? a->have : a->have + 1u;
}

/* A USERID is not a login: nothing proves it. */
static void keep_user(struct vd_accept *a, size_t len)
{
    size_t kept = len < VD_LOGIN_MAX ? len : VD_LOGIN_MAX;
    vd_accept_keep_login(a, a->in + FIXED, kept, a->in, 0);
}

/* A name, or the text of an address. */
static int keep_host(struct vd_accept *a, const uint8_t *host, size_t len, uint16_t port)
{
    struct vd_ip ip;
    if (!vd_ip_read(&ip, (const char *)host, len))
        return vd_endpoint_set_name(&a->target, (const char *)host, len, port);
    vd_endpoint_set_ip(&a->target, &ip, port);
    return VD_OK;
}

static int request(struct vd_accept *a)
{
    struct vd_in in = vd_in_over(a->in + 1, FIXED - 1);
    a->command = vd_in_u8(&in);
    uint16_t port = vd_in_u16(&in);
    const uint8_t *ip = vd_in_bytes(&in, 4);
    size_t user_len = strlen((const char *)a->in + FIXED);
    keep_user(a, user_len);

    int err = VD_OK;
    if (asks_by_name(ip)) {
        const uint8_t *name = a->in + FIXED + user_len + 1;
        a->flags |= NAMED;
        err = keep_host(a, name, strlen((const char *)name), port);
    } else {
        struct vd_ip target = vd_ip4(ip);
        vd_endpoint_set_ip(&a->target, &target, port);
    }
    if (a->command != VD_CONNECT && a->command != VD_BIND)
        err = -VD_ERR_COMMAND;
    if (a->offers & VD_OFFER_LOGIN_NEEDED)
        err = -VD_ERR_LOGIN;
    return err < 0 ? vd_accept_refuse(a, err) : vd_accept_ask_request(a);
}

int vd_accept_socks4_step(struct vd_accept *a, const uint8_t *data, size_t len, size_t *used)
{
    size_t need;
    while ((need = request_len(a)) != a->have) {
        if (need > REQUEST_MAX)
            return vd_accept_refuse(a, -VD_ERR_TOO_LONG);
        if (!vd_accept_gather(a, data, len, used, need))
            return VD_MORE;
    }
    return request(a);
}

void vd_accept_socks4_write(const struct vd_accept *a, struct vd_out *out)
{
    static const uint8_t none[4];
    if (a->state != VD_ACCEPTS_ANSWERED && a->state != VD_ACCEPTS_REFUSED)
        return;
    struct vd_ip ip = vd_ip_unmapped(&a->bound.ip);
    bool tells = ip.family == VD_IPV4 && !vd_endpoint_is_name(&a->bound);
    vd_out_u8(out, 0);
    vd_out_u8(out, vd_err_socks4(a->reason));
    vd_out_u16(out, tells ? a->bound.port : 0);
    vd_out_bytes(out, tells ? ip.bytes : none, 4);
}
