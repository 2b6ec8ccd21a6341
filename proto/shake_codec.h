/*
 * shake_codec: what the codec of a scheme gives to proto/shake.c; private to the handshake.
 */
#ifndef VD_PROTO_SHAKE_CODEC_H
#define VD_PROTO_SHAKE_CODEC_H

#include "proto/bytes.h"
#include "proto/err.h"
#include "proto/shake.h"

struct vd_shake_codec {
    /* Judges command, target and login; gives the first stage. VD_OK or a reason. */
    int (*start)(struct vd_shake *s);
    /* Writes the message that opens the stage; nothing where the stage only listens. */
    void (*write)(const struct vd_shake *s, struct vd_out *out);
    /* Bytes that may be received without passing the end of the message awaited. */
    size_t (*want)(const struct vd_shake *s);
    /* Takes bytes received, as vd_shake_feed. */
    int (*feed)(struct vd_shake *s, const uint8_t *data, size_t len, size_t *used);
    /* What is known when no more bytes come; VD_OK: nothing beyond the loss itself. */
    int (*cut)(const struct vd_shake *s, enum vd_loss loss);
};

extern const struct vd_shake_codec vd_socks4_codec, vd_socks5_codec, vd_http_connect_codec;

/* Goes on to another stage, whose message is then pending. */
void vd_shake_enter(struct vd_shake *s, enum vd_stage stage);

/* vd_shake_codec.feed for messages that are parsed when whole: collects what `want` asks for and
 * calls `parse` after each piece: a reason, VD_MORE while the message is not whole or another stage
 * was entered, or VD_DONE. */
int vd_shake_collect(struct vd_shake *s, const uint8_t *data, size_t len, size_t *used,
                     int (*parse)(struct vd_shake *s));

#endif
