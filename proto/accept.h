/*
 * accept: the server's handshake: the first byte decides between SOCKS4/4a, SOCKS5 and HTTP.
 *
 * The counterpart of proto/shake.h, of the same manner: pure, copyable, no I/O. It stops where
 * somebody has to decide:
 *
 *     VD_ACCEPT_LOGIN    a login stands in a->user and a->password: answer with vd_accept_login
 *     VD_ACCEPT_REQUEST  command and target are known: answer with vd_accept_reply
 *     VD_ACCEPT_FORWARD  HTTP, but not CONNECT: read the head (proto/http_message.h), whose first
 *                        bytes, those taken so far, are the a->have bytes of a->in; then go on with
 *                        vd_accept_forwarded or vd_accept_fault
 *
 * What stands behind the request (`used` < len) is early data for the target and is left to the
 * caller. After a refusal the caller sends what is pending and closes.
 *
 * SOCKS4, SOCKS4a, RFC 1928, RFC 1929, RFC 9110 section 9.3.6, RFC 9112, RFC 7617.
 */
#ifndef VD_PROTO_ACCEPT_H
#define VD_PROTO_ACCEPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/endpoint.h"
#include "proto/http_message.h"
#include "proto/shake.h"

enum vd_accept_protocol {
    VD_SPEAKS_UNKNOWN,
    VD_SPEAKS_SOCKS4,
    VD_SPEAKS_SOCKS5,
    VD_SPEAKS_HTTP,
    VD_SPEAKS_NOTHING /* the target was known before; whatever comes is for it */
};

/* What a listener offers; bits. */
enum { VD_OFFER_SOCKS = 1, VD_OFFER_HTTP = 2, VD_OFFER_MIXED = 3, VD_OFFER_LOGIN_NEEDED = 4 };

/* Results of vd_accept_feed beside VD_MORE and errors. */
enum { VD_ACCEPT_LOGIN = 1, VD_ACCEPT_REQUEST = 2, VD_ACCEPT_FORWARD = 3 };

enum {
    VD_ACCEPT_LINE_MAX = 1152, /* longest line kept whole: Basic of 255:255 is 684 */
    VD_ACCEPT_REPLY_MAX = 512  /* the longest answer */
};

struct vd_accept {
    struct vd_endpoint target;
    struct vd_endpoint bound; /* what the reply tells */
    uint32_t head;            /* HTTP: bytes of head so far */
    uint16_t have;            /* bytes in `in` */
    uint16_t sent;            /* of the pending answer */
    uint8_t fault;            /* HTTP: enum vd_http_fault of a refusal, if there is one */
    bool bodiless;            /* HTTP: the answer has no body: to HEAD */
    uint8_t offers;           /* VD_OFFER_* */
    uint8_t protocol;         /* enum vd_accept_protocol */
    uint8_t state;            /* private to the codecs */
    uint8_t flags;            /* private to the codecs */
    uint8_t command;          /* enum vd_command */
    uint8_t reason;           /* enum vd_err of the pending refusal */
    uint16_t retry_s;         /* HTTP: when to come again, told with a refusal; 0: not told */
    uint8_t user_len, password_len;
    char user[VD_LOGIN_MAX + 1];     /* SOCKS4: the USERID, cut at 255 */
    char password[VD_LOGIN_MAX + 1]; /* wiped by vd_accept_login */
    uint8_t in[VD_ACCEPT_LINE_MAX];
};

void vd_accept_start(struct vd_accept *a, unsigned offers);

/* Takes bytes received; *used says how many. VD_MORE, VD_ACCEPT_LOGIN, VD_ACCEPT_REQUEST, or a
 * reason (negative): then a refusal may be pending; send it and close. Takes nothing while a
 * decision is awaited. */
int vd_accept_feed(struct vd_accept *a, const uint8_t *data, size_t len, size_t *used);

/* A request that is to be forwarded, or one more on the same connection: a->target becomes where it
 * goes. VD_ACCEPT_LOGIN, VD_ACCEPT_REQUEST, or a reason with a refusal pending. */
int vd_accept_forwarded(struct vd_accept *a, const struct vd_http_head *request);
/* Refuses one for a fault of its own, or of the response to it, none of which was passed on yet.
 * The reason, with the refusal pending. */
int vd_accept_fault(struct vd_accept *a, enum vd_http_fault fault, bool bodiless);

/* What comes without a handshake: a connection, or datagrams (VD_ASSOCIATE). VD_ACCEPT_REQUEST is
 * awaited at once, and no answer is said. */
void vd_accept_fixed(struct vd_accept *a, enum vd_command command,
                     const struct vd_endpoint *target);

/* Decides a login. With `ok` the handshake goes on (feed again, maybe with no bytes: HTTP goes on
 * to VD_ACCEPT_REQUEST at once); else a refusal is pending. VD_MORE, or -VD_ERR_LOGIN. */
int vd_accept_login(struct vd_accept *a, bool ok);

/* Decides a request: `err` VD_OK with the address to tell as BND, or a reason with NULL. */
void vd_accept_reply(struct vd_accept *a, int err, const struct vd_endpoint *bound);

/* After a refusal by vd_accept_reply: over SOCKS5 the answer also tells `err` itself, as the port
 * of BND, and `len` bytes of text (cut at 255) as its name. For clients that know of it. */
void vd_accept_explain(struct vd_accept *a, int err, const char *text, size_t len);

/* BIND, once the first reply said yes and nothing of it is pending: the second reply is. `err`
 * VD_OK with who has come, or a reason with NULL: nobody came (VD_ERR_TTL), or somebody else. Once
 * only; after a refusal the caller sends what is pending and closes. */
void vd_accept_second(struct vd_accept *a, int err, const struct vd_endpoint *peer);

/* As vd_shake_pending and vd_shake_sent; a buffer of VD_ACCEPT_REPLY_MAX takes any answer whole. */
size_t vd_accept_pending(const struct vd_accept *a, uint8_t *buf, size_t cap);
void vd_accept_sent(struct vd_accept *a, size_t n);

/* Of a refusal: the word of RFC 9209 for it, "" if there is none. */
const char *vd_accept_error(const struct vd_accept *a);

/* "SOCKS4a", "SOCKS5", "HTTP", "TCP", "UDP", "unknown": for the log. */
const char *vd_accept_name(const struct vd_accept *a);

#endif
