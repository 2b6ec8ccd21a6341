/*
 * The server side of SOCKS5: RFC 1928, login RFC 1929.
 *
 *     05 N METHOD(N)                      ->  05 METHOD
 *     01 LEN USER(LEN) LEN PASSWORD(LEN)  ->  01 STATUS      method 02
 *     05 CMD 00 ATYP ADDR PORT(2)         ->  05 REP 00 ATYP ADDR PORT(2)      twice for BIND
 *
 * Every message tells its length, so that exactly its bytes are taken.
 */
#include "proto/accept_codec.h"
#include "proto/err.h"
#include "proto/socks5_address.h"

enum { NO_LOGIN = 0x00, PASSWORD = 0x02, NONE_FITS = 0xff }; /* methods, RFC 1928 section 3 */
enum { SAID_METHOD = 1, SAID_LOGIN = 2, SAID_REPLY = 4, CHOSE_PASSWORD = 8 }; /* a->flags */

/* --- methods --- */

static bool offered(const struct vd_accept *a, uint8_t method)
{
    for (unsigned i = 0; i < a->in[1]; i++)
        if (a->in[2 + i] == method)
            return true;
    return false;
}

static uint8_t choose(const struct vd_accept *a)
{
    bool needed = a->offers & VD_OFFER_LOGIN_NEEDED;
    if (!needed && offered(a, NO_LOGIN))
        return NO_LOGIN;
    return offered(a, PASSWORD) ? PASSWORD : NONE_FITS;
}

static int methods(struct vd_accept *a)
{
    uint8_t method = choose(a);
    a->flags |= SAID_METHOD;
    if (method == NONE_FITS)
        return vd_accept_refuse(a, -VD_ERR_METHOD);
    if (method == PASSWORD)
        a->flags |= CHOSE_PASSWORD;
    a->state = method == PASSWORD ? VD_ACCEPTS_CREDENTIALS : VD_ACCEPTS_MESSAGE;
    vd_accept_drop(a);
    return VD_MORE;
}

/* --- login --- */

static int credentials(struct vd_accept *a)
{
    struct vd_in in = vd_in_over(a->in, a->have);
    int err = vd_in_u8(&in) == 1 ? VD_OK : -VD_ERR_PROTOCOL;
    uint8_t user_len = vd_in_u8(&in);
    const uint8_t *user = vd_in_bytes(&in, user_len);
    uint8_t password_len = vd_in_u8(&in);
    const uint8_t *password = vd_in_bytes(&in, password_len);
    if (!err && !vd_accept_keep_login(a, user, user_len, password, password_len))
        err = -VD_ERR_LOGIN;
    vd_accept_drop(a);
    if (!err)
        return vd_accept_ask_login(a);
    a->flags |= SAID_LOGIN;
    return vd_accept_refuse(a, err);
}

void vd_accept_socks5_login(struct vd_accept *a)
{
    a->flags |= SAID_LOGIN;
}

/* --- request --- */

static int request(struct vd_accept *a)
{
    struct vd_in in = vd_in_over(a->in, a->have);
    bool version = vd_in_u8(&in) == 5;
    a->command = vd_in_u8(&in);
    vd_in_u8(&in);
    int err = vd_socks5_address_read(&in, &a->target);
    if (a->command < VD_CONNECT || a->command > VD_ASSOCIATE)
        err = -VD_ERR_COMMAND;
    if (!version)
        err = -VD_ERR_PROTOCOL;
    if (!err)
        err = vd_accept_ask_request(a);
    else
        vd_accept_refuse(a, err);
    if (err < 0)
        a->flags |= SAID_REPLY;
    return err;
}

void vd_accept_socks5_answer(struct vd_accept *a)
{
    a->flags |= SAID_REPLY;
}

void vd_accept_socks5_second(struct vd_accept *a)
{
    a->flags = SAID_REPLY;
}

/* --- lengths: how many bytes a message has at least, as far as it is known --- */

static size_t credentials_len(const struct vd_accept *a)
{
    if (a->have < 2)
        return 2;
    size_t user_end = 2u + a->in[1];
    if (a->have < user_end + 1)
        return user_end + 1;
    return user_end + 1 + a->in[user_end];
}

/* An unknown address type leaves the length unknown: such a request ends with its type. */
static size_t request_len(const struct vd_accept *a)
{
    if (a->have < 4)
        return 4;
    switch (a->in[3]) {
    case VD_ATYP_IPV4:
        return 4 + 4 + 2;
    case VD_ATYP_IPV6:
        return 4 + 16 + 2;
    case VD_ATYP_NAME:
        return a->have < 5 ? 5 : 4 + 1 + a->in[4] + 2u;
    default:
        return 4;
    }
}

static size_t message_len(const struct vd_accept *a)
{
    if (a->state == VD_ACCEPTS_METHODS)
        return a->have < 2 ? 2 : 2u + a->in[1];
    return a->state == VD_ACCEPTS_CREDENTIALS ? credentials_len(a) : request_len(a);
}

int vd_accept_socks5_step(struct vd_accept *a, const uint8_t *data, size_t len, size_t *used)
{
    size_t need;
    while ((need = message_len(a)) != a->have)
        if (!vd_accept_gather(a, data, len, used, need))
            return VD_MORE;
    if (a->state == VD_ACCEPTS_METHODS)
        return methods(a);
    return a->state == VD_ACCEPTS_CREDENTIALS ? credentials(a) : request(a);
}

/* --- answers --- */

static void write_method(const struct vd_accept *a, struct vd_out *out)
{
    bool none = a->state == VD_ACCEPTS_REFUSED && a->reason == VD_ERR_METHOD;
    vd_out_u8(out, 5);
    if (none && !(a->flags & SAID_REPLY))
        vd_out_u8(out, NONE_FITS);
    else
        vd_out_u8(out, a->flags & CHOSE_PASSWORD ? PASSWORD : NO_LOGIN);
}

void vd_accept_socks5_write(const struct vd_accept *a, struct vd_out *out)
{
    bool refused = a->state == VD_ACCEPTS_REFUSED;
    if (a->flags & SAID_METHOD)
        write_method(a, out);
    if (a->flags & SAID_LOGIN) {
        vd_out_u8(out, 1);
        vd_out_u8(out, refused && !(a->flags & SAID_REPLY) ? 1 : 0);
    }
    if (a->flags & SAID_REPLY) {
        vd_out_u8(out, 5);
        vd_out_u8(out, vd_err_socks5(a->reason));
        vd_out_u8(out, 0);
        vd_socks5_address_write(out, &a->bound);
    }
}
