#include "proto/accept.h"

#include <assert.h>
#include <string.h>

#include "proto/accept_codec.h"
#include "proto/err.h"

void vd_accept_start(struct vd_accept *a, unsigned offers)
{
    memset(a, 0, sizeof *a);
    a->offers = (uint8_t)offers;
}

/* --- what the codecs share --- */

bool vd_accept_gather(struct vd_accept *a, const uint8_t *data, size_t len, size_t *used,
                      size_t need)
{
    assert(need >= a->have && need <= sizeof a->in);
    size_t left = len - *used;
    size_t n = need - a->have < left ? need - a->have : left;
    if (n > 0)
        memcpy(a->in + a->have, data + *used, n);
    a->have = (uint16_t)(a->have + n);
    *used += n;
    return a->have == need;
}

void vd_accept_drop(struct vd_accept *a)
{
    explicit_bzero(a->in, a->have);
    a->have = 0;
}

bool vd_accept_keep_login(struct vd_accept *a, const uint8_t *user, size_t user_len,
                          const uint8_t *password, size_t password_len)
{
    if (user_len > VD_LOGIN_MAX || password_len > VD_LOGIN_MAX)
        return false;
    if (memchr(user, 0, user_len) || memchr(password, 0, password_len))
        return false;
    memcpy(a->user, user, user_len);
    memcpy(a->password, password, password_len);
    a->user[user_len] = a->password[password_len] = 0;
    a->user_len = (uint8_t)user_len;
    a->password_len = (uint8_t)password_len;
    return true;
}

int vd_accept_ask_login(struct vd_accept *a)
{
    a->state = VD_ACCEPTS_LOGIN_ASKED;
    return VD_ACCEPT_LOGIN;
}

int vd_accept_ask_request(struct vd_accept *a)
{
    if (a->command == VD_CONNECT && a->target.port == 0)
        return vd_accept_refuse(a, -VD_ERR_PROTOCOL);
    a->state = VD_ACCEPTS_REQUEST_ASKED;
    return VD_ACCEPT_REQUEST;
}

int vd_accept_refuse(struct vd_accept *a, int err)
{
    assert(err < 0);
    vd_accept_drop(a);
    a->state = VD_ACCEPTS_REFUSED;
    a->reason = (uint8_t)-err;
    return err;
}

/* --- the way in --- */

static bool is_letter(uint8_t byte)
{
    return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
}

/* A protocol that is not offered here gets no answer: nothing said in another one would be
 * understood. */
static int recognize(struct vd_accept *a, uint8_t byte)
{
    a->state = VD_ACCEPTS_MESSAGE;
    if (byte == 4 && (a->offers & VD_OFFER_SOCKS)) {
        a->protocol = VD_SPEAKS_SOCKS4;
    } else if (byte == 5 && (a->offers & VD_OFFER_SOCKS)) {
        a->protocol = VD_SPEAKS_SOCKS5;
        a->state = VD_ACCEPTS_METHODS;
    } else if (is_letter(byte) && (a->offers & VD_OFFER_HTTP)) {
        a->protocol = VD_SPEAKS_HTTP;
    } else {
        return vd_accept_refuse(a, -VD_ERR_PROTOCOL);
    }
    return VD_MORE;
}

static int step(struct vd_accept *a, const uint8_t *data, size_t len, size_t *used)
{
    switch ((enum vd_accept_protocol)a->protocol) {
    case VD_SPEAKS_UNKNOWN:
        return recognize(a, data[0]);
    case VD_SPEAKS_NOTHING:
        break;
    case VD_SPEAKS_SOCKS4:
        return vd_accept_socks4_step(a, data, len, used);
    case VD_SPEAKS_SOCKS5:
        return vd_accept_socks5_step(a, data, len, used);
    case VD_SPEAKS_HTTP:
        return vd_accept_http_step(a, data, len, used);
    }
    return -VD_ERR_PROTOCOL;
}

/* What feed answers while it takes nothing. */
static int standing(const struct vd_accept *a)
{
    if (a->state == VD_ACCEPTS_HANDED_OVER)
        return VD_ACCEPT_FORWARD;
    if (a->state == VD_ACCEPTS_LOGIN_ASKED)
        return VD_ACCEPT_LOGIN;
    if (a->state == VD_ACCEPTS_REQUEST_ASKED)
        return VD_ACCEPT_REQUEST;
    return a->state == VD_ACCEPTS_REFUSED ? -a->reason : VD_MORE;
}

int vd_accept_feed(struct vd_accept *a, const uint8_t *data, size_t len, size_t *used)
{
    int result = VD_MORE;

    *used = 0;
    if (a->state >= VD_ACCEPTS_HANDED_OVER)
        return standing(a);
    while (result == VD_MORE && *used < len) {
        size_t n = 0;

        result = step(a, data + *used, len - *used, &n);
        *used += n;
    }
    return result;
}

/* --- decisions --- */

void vd_accept_fixed(struct vd_accept *a, enum vd_command command, const struct vd_endpoint *target)
{
    a->protocol = VD_SPEAKS_NOTHING;
    a->command = (uint8_t)command;
    a->target = *target;
    a->state = VD_ACCEPTS_REQUEST_ASKED;
}

int vd_accept_login(struct vd_accept *a, bool ok)
{
    assert(a->state == VD_ACCEPTS_LOGIN_ASKED);
    explicit_bzero(a->password, sizeof a->password);
    a->password_len = 0;
    if (a->protocol == VD_SPEAKS_SOCKS5)
        vd_accept_socks5_login(a);
    if (!ok)
        return vd_accept_refuse(a, -VD_ERR_LOGIN);
    a->state = a->protocol == VD_SPEAKS_HTTP ? VD_ACCEPTS_REQUEST_ASKED : VD_ACCEPTS_MESSAGE;
    return VD_MORE;
}

void vd_accept_reply(struct vd_accept *a, int err, const struct vd_endpoint *bound)
{
    assert(a->state == VD_ACCEPTS_REQUEST_ASKED);
    if (bound)
        a->bound = *bound;
    if (a->protocol == VD_SPEAKS_SOCKS5)
        vd_accept_socks5_answer(a);
    if (err == VD_OK)
        a->state = VD_ACCEPTS_ANSWERED;
    else
        vd_accept_refuse(a, err < 0 ? err : -err);
}

void vd_accept_explain(struct vd_accept *a, int err, const char *text, size_t len)
{
    struct vd_endpoint told = {.port = (uint16_t)(err < 0 ? -err : err)};

    assert(a->state == VD_ACCEPTS_REFUSED);
    if (a->protocol != VD_SPEAKS_SOCKS5)
        return;
    if (len == 0)
        text = "-"; /* no name is empty */
    told.name_len = (uint8_t)(len == 0 ? 1 : len > VD_NAME_MAX ? VD_NAME_MAX : len);
    memcpy(told.name, text, told.name_len);
    a->bound = told;
}

void vd_accept_second(struct vd_accept *a, int err, const struct vd_endpoint *peer)
{
    uint8_t byte;

    assert(a->state == VD_ACCEPTS_ANSWERED && a->command == VD_BIND);
    assert(vd_accept_pending(a, &byte, 1) == 0);
    memset(&a->bound, 0, sizeof a->bound);
    if (peer)
        a->bound = *peer;
    a->sent = 0; /* what follows is all there is to say from here on */
    if (a->protocol == VD_SPEAKS_SOCKS5)
        vd_accept_socks5_second(a);
    if (err != VD_OK)
        vd_accept_refuse(a, err < 0 ? err : -err);
}

/* --- the way out --- */

static void write_all(const struct vd_accept *a, struct vd_out *out)
{
    switch ((enum vd_accept_protocol)a->protocol) {
    case VD_SPEAKS_UNKNOWN:
    case VD_SPEAKS_NOTHING:
        break;
    case VD_SPEAKS_SOCKS4:
        vd_accept_socks4_write(a, out);
        break;
    case VD_SPEAKS_SOCKS5:
        vd_accept_socks5_write(a, out);
        break;
    case VD_SPEAKS_HTTP:
        vd_accept_http_write(a, out);
        break;
    }
}

size_t vd_accept_pending(const struct vd_accept *a, uint8_t *buf, size_t cap)
{
    uint8_t all[VD_ACCEPT_REPLY_MAX];
    struct vd_out out = vd_out_over(all, sizeof all);
    write_all(a, &out);
    assert(out.ok && out.len >= a->sent);
    size_t n = out.len - a->sent;
    if (n > cap)
        n = cap;
    memcpy(buf, all + a->sent, n);
    return n;
}

void vd_accept_sent(struct vd_accept *a, size_t n)
{
    a->sent = (uint16_t)(a->sent + n);
}

const char *vd_accept_error(const struct vd_accept *a)
{
    return a->protocol == VD_SPEAKS_HTTP ? vd_accept_http_error(a) : vd_err_proxy_status(a->reason);
}

const char *vd_accept_name(const struct vd_accept *a)
{
    switch ((enum vd_accept_protocol)a->protocol) {
    case VD_SPEAKS_SOCKS4:
        return vd_accept_socks4_named(a) ? "SOCKS4a" : "SOCKS4";
    case VD_SPEAKS_SOCKS5:
        return "SOCKS5";
    case VD_SPEAKS_HTTP:
        return "HTTP";
    case VD_SPEAKS_NOTHING:
        return a->command == VD_ASSOCIATE ? "UDP" : "TCP";
    case VD_SPEAKS_UNKNOWN:
        break;
    }
    return "unknown";
}
