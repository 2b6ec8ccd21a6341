/*
 * describe: what each byte of a handshake means, in the words of its RFC; for people who look at a
 * trace. It decides nothing: the handshakes themselves are proto/shake.h and proto/accept.h.
 *
 *     vd_describe_start(&d, VD_SAYS_REPLY, data, len);
 *     while (vd_describe_next(&d, &field))
 *         bytes field.at to field.at + field.len are field.name, and mean field.meaning
 *
 * The fields tile the bytes: nothing is left out, nothing is told twice, whatever was said; what
 * cannot be understood is a field of its own. A message that is not whole ends in one cut short.
 *
 * SOCKS4, SOCKS4a: the notes of Leeds and Koblas. SOCKS5: RFC 1928 sections 3, 4 and 6; its login:
 * RFC 1929 section 2. HTTP: RFC 9112 sections 3 to 5.
 */
#ifndef VD_PROTO_DESCRIBE_H
#define VD_PROTO_DESCRIBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/bytes.h"
#include "proto/url.h"

/* A kind of message. Those of the server come behind those of the client. */
enum vd_says {
    VD_SAYS_NOTHING,
    VD_SAYS_SOCKS4_REQUEST,
    VD_SAYS_METHODS, /* SOCKS5 */
    VD_SAYS_LOGIN,
    VD_SAYS_REQUEST,
    VD_SAYS_HTTP_REQUEST,
    VD_SAYS_SOCKS4_REPLY,
    VD_SAYS_METHOD, /* SOCKS5 */
    VD_SAYS_STATUS,
    VD_SAYS_REPLY,
    VD_SAYS_HTTP_RESPONSE,
    VD_SAYS_HTTP_MORE, /* the rest of a head, of either side */
    VD_SAYS_COUNT
};

enum { VD_MEANING_MAX = 1200 };

struct vd_field {
    size_t at, len;                   /* len >= 1 */
    const char *name;                 /* static: "VER", "DST.ADDR", "status-line" */
    char meaning[VD_MEANING_MAX + 1]; /* printable ASCII; "": the bytes say it themselves */
};

struct vd_describe {
    const uint8_t *data; /* borrowed */
    size_t len, at;
    uint8_t says; /* enum vd_says */
    uint8_t step; /* the next field of it */
};

void vd_describe_start(struct vd_describe *d, enum vd_says says, const uint8_t *data, size_t len);
bool vd_describe_next(struct vd_describe *d, struct vd_field *field);

/* "SOCKS reply (RFC 1928 section 6)". Never NULL. */
const char *vd_says_title(enum vd_says says);

/* How long the message is with which `data` begins; 0: it is not whole, or none of this kind. */
size_t vd_says_length(enum vd_says says, const uint8_t *data, size_t len);

/* What a server of this scheme says first. */
enum vd_says vd_says_first(enum vd_scheme scheme);
/* What the same server says behind this whole message, on the same connection;
 * VD_SAYS_NOTHING: its part of the handshake is over. */
enum vd_says vd_says_behind(enum vd_says says, const uint8_t *data, size_t len);
/* What a client says, by the first bytes of its message; `login`: the server chose
 * USERNAME/PASSWORD and has not got it yet. */
enum vd_says vd_says_of_client(const uint8_t *data, size_t len, bool first, bool login);

/* One side of a stream cut into messages, however its bytes come. */
enum { VD_FOLLOW_MAX = 1024 };

struct vd_follow {
    uint16_t have; /* bytes in `data` */
    uint16_t told; /* those to be looked at */
    bool ends;     /* with them the message ends */
    uint8_t says;  /* enum vd_says: the message that is awaited, or whose part is held */
    uint8_t data[VD_FOLLOW_MAX];
};

void vd_follow_start(struct vd_follow *f, enum vd_says says);
/* Takes bytes, none behind the end of a message: how many. *whole: data[0..told) is to be looked at
 * now: the message, or as much of it as can be held; then comes vd_follow_next. Bytes that are no
 * such message have no end. */
size_t vd_follow_take(struct vd_follow *f, const uint8_t *data, size_t len, bool *whole);
/* Drops what was told. Awaits `says` if a message has ended, else the rest of the present one. */
void vd_follow_next(struct vd_follow *f, enum vd_says says);

#endif
