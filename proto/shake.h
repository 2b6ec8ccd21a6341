/*
 * shake: the client's handshake with one hop, whatever its scheme.
 *
 * A pure state machine on bytes: it does no I/O, keeps no pointer but to the hop, allocates nothing
 * and may be copied. The driver owns the socket and the clock:
 *
 *     vd_shake_start(&s, hop, VD_CONNECT, &target);
 *     while not done:
 *         n = vd_shake_pending(&s, buf, sizeof buf)  -> send, then vd_shake_sent(&s, sent)
 *         nothing pending: receive at most vd_shake_want(&s) bytes -> vd_shake_feed(...)
 *
 * Messages are written anew at each call of vd_shake_pending from what the state says, so that no
 * output, and no secret, is kept in the state. Messages received are parsed when whole; HTTP heads
 * are consumed as they come. No byte behind the handshake's end is ever taken.
 *
 * SOCKS4 and SOCKS4a: the notes of Leeds and Koblas. SOCKS5: RFC 1928, login RFC 1929.
 * HTTP CONNECT: RFC 9110 section 9.3.6, RFC 9112; Basic login RFC 7617.
 */
#ifndef VD_PROTO_SHAKE_H
#define VD_PROTO_SHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/endpoint.h"
#include "proto/url.h"

/* RFC 1928 section 4; the last is none that a SOCKS5 server knows: it asks how one answers. */
enum vd_command { VD_CONNECT = 1, VD_BIND = 2, VD_ASSOCIATE = 3, VD_PROBE = 9 };

/* The message awaited. */
enum vd_stage {
    VD_STAGE_METHOD = 1, /* SOCKS5: which login method */
    VD_STAGE_LOGIN,      /* SOCKS5: RFC 1929 status */
    VD_STAGE_REPLY,      /* reply to the request; HTTP: the response's head */
    VD_STAGE_SECOND,     /* BIND: the second reply, when the peer has come */
    VD_STAGE_DONE
};

enum {
    VD_SHAKE_MESSAGE_MAX = 1600, /* the longest message written: CONNECT with a login */
    VD_SHAKE_READ_MAX = 512,     /* the most vd_shake_want ever asks for */
    VD_EXCERPT_MAX = 64,         /* bytes kept of what a hop said */
    VD_HEAD_MAX = 65536          /* HTTP head: more is VD_ERR_TOO_LONG */
};

/* What became of the stream while an answer was awaited. */
enum vd_loss { VD_LOSS_EOF, VD_LOSS_RESET, VD_LOSS_SILENT };

/* Results of vd_shake_feed and vd_shake_lost beside errors. */
enum { VD_MORE = 0, VD_DONE = 1 };

struct vd_shake {
    const struct vd_hop *hop; /* borrowed; outlives the shake */
    struct vd_endpoint target;
    struct vd_ip bound_ip; /* BND of the reply; no family: a name, or none */
    uint16_t bound_port;
    uint16_t code;      /* the last status or reply code that was read */
    uint16_t length;    /* of this stage's message */
    uint16_t sent;      /* of it */
    uint16_t have;      /* bytes in `in` */
    uint32_t head;      /* HTTP: bytes of head consumed */
    uint8_t command;    /* enum vd_command */
    uint8_t stage;      /* enum vd_stage */
    uint8_t method;     /* SOCKS5: the one chosen */
    uint8_t reason;     /* HTTP: from Proxy-Status, an enum vd_err */
    uint8_t login_only; /* SOCKS5: no other method is offered */
    uint8_t excerpt_len;
    uint8_t excerpt[VD_EXCERPT_MAX]; /* the first bytes of the message awaited */
    uint8_t in[4 + 1 + VD_NAME_MAX + 2];
};

/* Copies `target`; borrows `hop`. VD_OK, or
 * -VD_ERR_COMMAND       the scheme has no such command (HTTP: only CONNECT; SOCKS4: no ASSOCIATE)
 * -VD_ERR_ADDRESS_TYPE  the scheme cannot carry this target (a name to socks4 or socks5, IPv6 to
 *                       socks4 and socks4a)
 * -VD_ERR_NAME_FORM     a name, user or password that the protocol cannot carry */
int vd_shake_start(struct vd_shake *s, const struct vd_hop *hop, enum vd_command command,
                   const struct vd_endpoint *target);

/* Writes what is to be sent next into buf and gives its length, 0 if nothing is: then it is the
 * hop's turn. A buffer of VD_SHAKE_MESSAGE_MAX takes any message whole; a smaller one gets as much
 * as it holds. */
size_t vd_shake_pending(const struct vd_shake *s, uint8_t *buf, size_t cap);
/* Whether anything is to be sent next: cheaper than asking what. */
bool vd_shake_speaks(const struct vd_shake *s);
/* `n` of these bytes were sent. */
void vd_shake_sent(struct vd_shake *s, size_t n);

/* How many bytes may be received without passing the end of the handshake: at least 1 until done,
 * at most VD_SHAKE_READ_MAX. */
size_t vd_shake_want(const struct vd_shake *s);
/* As many as the reply that is awaited has most often, vd_shake_want or more: with an IPv4 address
 * as the bound one (RFC 1928, section 6). Who receives as many saves a receive, and may find that
 * the last of them were not used: with VD_DONE they are the tunnel's. */
size_t vd_shake_usual(const struct vd_shake *s);
/* Whether a look-ahead (MSG_PEEK) pays: true in an HTTP head. The driver may then feed what it
 * peeked, of any length, and must receive the `used` bytes afterwards. Elsewhere plain receives of
 * vd_shake_want bytes are as good. */
bool vd_shake_peeks(const struct vd_shake *s);
/* Takes bytes received; *used <= len says how many belong to the handshake: all of them unless it
 * ended. VD_MORE, VD_DONE, or a reason (always negative). In a serial handshake bytes that come
 * while output is pending are -VD_ERR_PROTOCOL. */
int vd_shake_feed(struct vd_shake *s, const uint8_t *data, size_t len, size_t *used);
/* The stream ended or nothing came in time: the reason (negative), which takes account of a reply
 * cut short (REP alone is enough to know why). */
int vd_shake_lost(struct vd_shake *s, enum vd_loss loss);

/* What a hop that stands for others (proto/url.h) said in words when it refused: not ended by a
 * NUL, in the shake; NULL if it said nothing. */
const char *vd_shake_told(const struct vd_shake *s, size_t *len);

/* BIND: after the first VD_DONE, await the second reply. */
void vd_shake_next(struct vd_shake *s);

#endif
