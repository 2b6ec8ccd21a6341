/*
 * accept_codec: what the server codecs share behind proto/accept.h; private to them.
 *
 *     FIRST ──> METHODS ──> CREDENTIALS ──> LOGIN_ASKED ──┐          SOCKS5
 *       │          └────────────────────────────────────> MESSAGE ──> REQUEST_ASKED ──> ANSWERED
 *       ├──> MESSAGE ──────────────────────────────────────────────────────┘            SOCKS4
 *       ├──> MESSAGE <──> SKIPPED ──> LOGIN_ASKED ─────────────────────────┤            HTTP
 *       └──> MESSAGE ──> HANDED_OVER ──> LOGIN_ASKED ──────────────────────┘            forwarded
 *
 * and from everywhere to REFUSED. What was said so far is a function of the state, so that an
 * answer is written anew at each call of vd_accept_pending and `sent` counts over all answers
 * together: a client that sends everything in one flight is answered in one write. Only BIND's
 * second reply begins anew, when all before it was sent.
 */
#ifndef VD_PROTO_ACCEPT_CODEC_H
#define VD_PROTO_ACCEPT_CODEC_H

#include "proto/accept.h"

enum vd_accept_state {
    VD_ACCEPTS_FIRST,         /* the byte that tells the protocol */
    VD_ACCEPTS_METHODS,       /* SOCKS5: the methods offered */
    VD_ACCEPTS_CREDENTIALS,   /* SOCKS5: RFC 1929 */
    VD_ACCEPTS_MESSAGE,       /* the request; HTTP: a line of its head */
    VD_ACCEPTS_SKIPPED,       /* HTTP: the rest of a line that does not matter */
    VD_ACCEPTS_HANDED_OVER,   /* from here on nothing is taken; HTTP: the caller reads the head */
    VD_ACCEPTS_LOGIN_ASKED,   /* the caller decides */
    VD_ACCEPTS_REQUEST_ASKED, /* the caller decides */
    VD_ACCEPTS_ANSWERED,
    VD_ACCEPTS_REFUSED
};

/* Each codec takes one message, or all of `len`, and writes all that it has said so far. */
int vd_accept_socks4_step(struct vd_accept *a, const uint8_t *data, size_t len, size_t *used);
void vd_accept_socks4_write(const struct vd_accept *a, struct vd_out *out);
bool vd_accept_socks4_named(const struct vd_accept *a); /* whether it was SOCKS4a */

int vd_accept_socks5_step(struct vd_accept *a, const uint8_t *data, size_t len, size_t *used);
void vd_accept_socks5_write(const struct vd_accept *a, struct vd_out *out);
void vd_accept_socks5_login(struct vd_accept *a);  /* the login was judged */
void vd_accept_socks5_answer(struct vd_accept *a); /* the request was judged */
void vd_accept_socks5_second(struct vd_accept *a); /* BIND: only the second reply is left to say */

int vd_accept_http_step(struct vd_accept *a, const uint8_t *data, size_t len, size_t *used);
void vd_accept_http_write(const struct vd_accept *a, struct vd_out *out);
const char *vd_accept_http_error(const struct vd_accept *a);

/* Moves bytes into `in` until it holds `need`; whether it does. Adds to *used. */
bool vd_accept_gather(struct vd_accept *a, const uint8_t *data, size_t len, size_t *used,
                      size_t need);
/* Forgets what `in` holds; a login may stand in it. */
void vd_accept_drop(struct vd_accept *a);

/* Keeps a login; false if it cannot be one: too long, or with a NUL, which a comparison of C
 * strings would take for its end. */
bool vd_accept_keep_login(struct vd_accept *a, const uint8_t *user, size_t user_len,
                          const uint8_t *password, size_t password_len);

/* The results of a step, with the state that belongs to them. */
int vd_accept_ask_login(struct vd_accept *a);
int vd_accept_ask_request(struct vd_accept *a); /* refuses port 0 where it means nothing */
int vd_accept_refuse(struct vd_accept *a, int err);

#endif
