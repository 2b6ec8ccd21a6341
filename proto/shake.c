#include "proto/shake.h"

#include <assert.h>
#include <string.h>

#include "proto/err.h"
#include "proto/shake_codec.h"

_Static_assert(sizeof(struct vd_shake) <= 1024, "a handshake is small enough to keep thousands");

/* NULL: nobody speaks it. */
enum { SOCKS5_USUAL_REPLY = 4 + 4 + 2 };

static const struct vd_shake_codec *find_codec(const struct vd_hop *hop)
{
    switch ((enum vd_scheme)hop->scheme) {
    case VD_SOCKS4:
    case VD_SOCKS4A:
        return &vd_socks4_codec;
    case VD_SOCKS5:
    case VD_SOCKS5H:
        return &vd_socks5_codec;
    case VD_HTTP:
    case VD_HTTPS:
        return &vd_http_connect_codec;
    }
    return NULL;
}

static const struct vd_shake_codec *codec_of(const struct vd_shake *s)
{
    const struct vd_shake_codec *codec = find_codec(s->hop);

    assert(codec); /* vd_shake_start has looked */
    return codec;
}

static size_t write_message(const struct vd_shake *s, uint8_t *buf, size_t cap)
{
    struct vd_out out = vd_out_over(buf, cap);

    codec_of(s)->write(s, &out);
    assert(out.ok);
    return out.len;
}

void vd_shake_enter(struct vd_shake *s, enum vd_stage stage)
{
    uint8_t message[VD_SHAKE_MESSAGE_MAX];

    s->stage = (uint8_t)stage;
    s->sent = s->have = 0;
    s->code = 0;
    s->excerpt_len = 0;
    s->length = (uint16_t)write_message(s, message, sizeof message);
}

int vd_shake_start(struct vd_shake *s, const struct vd_hop *hop, enum vd_command command,
                   const struct vd_endpoint *target)
{
    memset(s, 0, offsetof(struct vd_shake, excerpt)); /* what follows has lengths here */
    s->hop = hop;
    s->target = *target;
    s->command = (uint8_t)command;
    s->target.ip = vd_ip_unmapped(&target->ip);
    s->target.ip.scope = 0; /* of this machine: it means nothing elsewhere */
    if (!find_codec(hop))
        return -VD_ERR_UNSUPPORTED;
    return codec_of(s)->start(s);
}

size_t vd_shake_pending(const struct vd_shake *s, uint8_t *buf, size_t cap)
{
    uint8_t message[VD_SHAKE_MESSAGE_MAX];
    size_t left = (size_t)(s->length - s->sent);

    if (!vd_shake_speaks(s))
        return 0;
    if (s->sent == 0 && cap >= left)
        return write_message(s, buf, cap);
    write_message(s, message, sizeof message);
    if (left > cap)
        left = cap;
    memcpy(buf, message + s->sent, left);
    return left;
}

bool vd_shake_speaks(const struct vd_shake *s)
{
    return s->sent < s->length && s->stage != VD_STAGE_DONE;
}

void vd_shake_sent(struct vd_shake *s, size_t n)
{
    assert(n <= (size_t)(s->length - s->sent));
    s->sent = (uint16_t)(s->sent + n);
}

size_t vd_shake_want(const struct vd_shake *s)
{
    return s->stage == VD_STAGE_DONE ? 0 : codec_of(s)->want(s);
}

size_t vd_shake_usual(const struct vd_shake *s)
{
    bool awaits_reply = s->stage == VD_STAGE_REPLY && s->have == 0 && s->command == VD_CONNECT;

    return awaits_reply && codec_of(s) == &vd_socks5_codec ? SOCKS5_USUAL_REPLY : vd_shake_want(s);
}

bool vd_shake_peeks(const struct vd_shake *s)
{
    return s->stage != VD_STAGE_DONE && codec_of(s) == &vd_http_connect_codec;
}

static void keep_excerpt(struct vd_shake *s, const uint8_t *data, size_t len)
{
    size_t room = VD_EXCERPT_MAX - (size_t)s->excerpt_len;

    if (len > room)
        len = room;
    memcpy(s->excerpt + s->excerpt_len, data, len);
    s->excerpt_len = (uint8_t)(s->excerpt_len + len);
}

int vd_shake_feed(struct vd_shake *s, const uint8_t *data, size_t len, size_t *used)
{
    int r;

    *used = 0;
    if (s->stage == VD_STAGE_DONE)
        return VD_DONE;
    if (len == 0)
        return VD_MORE;
    keep_excerpt(s, data, len);
    if (vd_shake_speaks(s))
        return -VD_ERR_PROTOCOL; /* it answers what it was not asked yet */
    r = codec_of(s)->feed(s, data, len, used);
    if (r == VD_DONE)
        s->stage = VD_STAGE_DONE;
    return r;
}

int vd_shake_collect(struct vd_shake *s, const uint8_t *data, size_t len, size_t *used,
                     int (*parse)(struct vd_shake *s))
{
    uint8_t stage = s->stage;

    while (*used < len) {
        size_t n = codec_of(s)->want(s);
        int r;

        if (n > len - *used)
            n = len - *used;
        assert(n > 0 && s->have + n <= sizeof s->in);
        memcpy(s->in + s->have, data + *used, n);
        s->have = (uint16_t)(s->have + n);
        *used += n;
        r = parse(s);
        if (r != VD_MORE || s->stage != stage)
            return r;
    }
    return VD_MORE;
}

int vd_shake_lost(struct vd_shake *s, enum vd_loss loss)
{
    int r = s->stage == VD_STAGE_DONE ? VD_OK : codec_of(s)->cut(s, loss);

    if (r < 0)
        return r;
    switch (loss) {
    case VD_LOSS_EOF:
        return -VD_ERR_CLOSED;
    case VD_LOSS_RESET:
        return -VD_ERR_RESET;
    case VD_LOSS_SILENT:
        break;
    }
    return -VD_ERR_SILENT;
}

void vd_shake_next(struct vd_shake *s)
{
    assert(s->stage == VD_STAGE_DONE && s->command == VD_BIND);
    vd_shake_enter(s, VD_STAGE_SECOND);
}
