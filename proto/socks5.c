/*
 * SOCKS5: methods, maybe a login, request (RFC 1928, RFC 1929).
 *
 *     METHOD --00--> REPLY --> done
 *        \---02--> LOGIN --00--> REPLY
 */
#include <string.h>

#include "proto/shake_codec.h"
#include "proto/socks5_address.h"

enum {
    VERSION = 5,
    LOGIN_VERSION = 1,
    NO_LOGIN = 0,
    USER_PASSWORD = 2,
    NO_METHOD = 0xff,
    REPLY_LEAST = 4 + 1 + 2 /* with an empty name: the shortest that a reply may be */
};

static int start(struct vd_shake *s)
{
    if (vd_endpoint_is_name(&s->target) && !vd_hop_takes_names(s->hop))
        return -VD_ERR_ADDRESS_TYPE;
    if (s->hop->has_login && s->hop->user_len == 0)
        return -VD_ERR_NAME_FORM;
    vd_shake_enter(s, VD_STAGE_METHOD);
    return VD_OK;
}

static void write_methods(const struct vd_shake *s, struct vd_out *out)
{
    vd_out_u8(out, VERSION);
    if (s->login_only)
        vd_out_bytes(out, (const uint8_t[]){1, USER_PASSWORD}, 2);
    else if (s->hop->has_login)
        vd_out_bytes(out, (const uint8_t[]){2, NO_LOGIN, USER_PASSWORD}, 3);
    else
        vd_out_bytes(out, (const uint8_t[]){1, NO_LOGIN}, 2);
}

static void write_login(const struct vd_hop *hop, struct vd_out *out)
{
    vd_out_u8(out, LOGIN_VERSION);
    vd_out_u8(out, hop->user_len);
    vd_out_bytes(out, hop->user, hop->user_len);
    vd_out_u8(out, hop->password_len);
    vd_out_bytes(out, hop->password, hop->password_len);
}

static void write_request(const struct vd_shake *s, struct vd_out *out)
{
    vd_out_bytes(out, (const uint8_t[]){VERSION, s->command, 0}, 3);
    vd_socks5_address_write(out, &s->target);
}

static void write(const struct vd_shake *s, struct vd_out *out)
{
    switch ((enum vd_stage)s->stage) {
    case VD_STAGE_METHOD:
        write_methods(s, out);
        break;
    case VD_STAGE_LOGIN:
        write_login(s->hop, out);
        break;
    case VD_STAGE_REPLY:
        write_request(s, out);
        break;
    case VD_STAGE_SECOND:
    case VD_STAGE_DONE:
        break;
    }
}

/* The length of the reply that stands in `in`, as far as it can be told. */
static size_t reply_len(const struct vd_shake *s)
{
    if (s->have < 5)
        return REPLY_LEAST;
    switch (s->in[3]) {
    case VD_ATYP_IPV4:
        return 4 + 4 + 2;
    case VD_ATYP_IPV6:
        return 4 + 16 + 2;
    default:
        return 4 + 1 + (size_t)s->in[4] + 2;
    }
}

static size_t want(const struct vd_shake *s)
{
    size_t whole = s->stage < VD_STAGE_REPLY ? 2 : reply_len(s);

    return whole - s->have;
}

static int parse_method(struct vd_shake *s)
{
    if (s->in[0] != VERSION)
        return -VD_ERR_PROTOCOL;
    if (s->have < 2)
        return VD_MORE;
    s->code = s->method = s->in[1];
    if (s->method == NO_METHOD)
        return -VD_ERR_METHOD;
    if (s->method == USER_PASSWORD && s->hop->has_login)
        vd_shake_enter(s, VD_STAGE_LOGIN);
    else if (s->method == NO_LOGIN && !s->login_only)
        vd_shake_enter(s, VD_STAGE_REPLY);
    else
        return -VD_ERR_PROTOCOL;
    return VD_MORE;
}

/* Some servers answer the login with the version of SOCKS instead of the login's. */
static int parse_login(struct vd_shake *s)
{
    if (s->in[0] != LOGIN_VERSION && s->in[0] != VERSION)
        return -VD_ERR_PROTOCOL;
    if (s->have < 2)
        return VD_MORE;
    s->code = s->in[1];
    if (s->code != 0)
        return -VD_ERR_LOGIN;
    vd_shake_enter(s, VD_STAGE_REPLY);
    return VD_MORE;
}

static int take_bound(struct vd_shake *s)
{
    size_t len = s->have;

    if (s->in[3] == VD_ATYP_IPV4)
        s->bound_ip = vd_ip4(s->in + 4);
    else if (s->in[3] == VD_ATYP_IPV6)
        s->bound_ip = vd_ip6(s->in + 4, 0);
    else
        s->bound_ip = (struct vd_ip){0};
    s->bound_port = (uint16_t)(s->in[len - 2] << 8 | s->in[len - 1]);
    return VD_DONE;
}

/* A hop of our own tells the reason itself, where the port of BND stands, and says in a name what
 * it was told. */
static int parse_own_refusal(struct vd_shake *s)
{
    uint16_t reason;

    if (s->have < reply_len(s))
        return VD_MORE;
    reason = (uint16_t)(s->in[s->have - 2] << 8 | s->in[s->have - 1]);
    if (s->in[3] == VD_ATYP_NAME && reason > VD_OK && reason < VD_ERR_COUNT)
        return -(int)reason;
    return -(int)vd_err_of_socks5(s->in[1]);
}

/* A refusal is known from its second byte; many servers cut it short there. */
static int parse_reply(struct vd_shake *s)
{
    if (s->in[0] != VERSION)
        return -VD_ERR_PROTOCOL;
    if (s->have < 2)
        return VD_MORE;
    s->code = s->in[1];
    if (s->code != 0)
        return s->hop->stands_for ? parse_own_refusal(s) : -(int)vd_err_of_socks5(s->in[1]);
    if (s->have > 3 && s->in[3] != VD_ATYP_IPV4 && s->in[3] != VD_ATYP_NAME &&
        s->in[3] != VD_ATYP_IPV6)
        return -VD_ERR_PROTOCOL;
    return s->have < reply_len(s) ? VD_MORE : take_bound(s);
}

static int parse(struct vd_shake *s)
{
    switch ((enum vd_stage)s->stage) {
    case VD_STAGE_METHOD:
        return parse_method(s);
    case VD_STAGE_LOGIN:
        return parse_login(s);
    case VD_STAGE_REPLY:
    case VD_STAGE_SECOND:
    case VD_STAGE_DONE:
        break;
    }
    return parse_reply(s);
}

static int feed(struct vd_shake *s, const uint8_t *data, size_t len, size_t *used)
{
    return vd_shake_collect(s, data, len, used, parse);
}

/* Closing instead of answering a login is how some servers refuse it. */
static int cut(const struct vd_shake *s, enum vd_loss loss)
{
    if (s->stage == VD_STAGE_LOGIN && loss != VD_LOSS_SILENT)
        return -VD_ERR_LOGIN;
    return VD_OK;
}

const char *vd_shake_told(const struct vd_shake *s, size_t *len)
{
    bool refused = s->stage == VD_STAGE_REPLY && s->have > 5 && s->have == reply_len(s);

    if (!s->hop->stands_for || !refused || s->in[1] == 0 || s->in[3] != VD_ATYP_NAME || !s->in[4])
        return NULL;
    *len = s->in[4];
    return (const char *)s->in + 5;
}

const struct vd_shake_codec vd_socks5_codec = {start, write, want, feed, cut};
