/*
 * http_body: where the body of an HTTP/1.1 message ends: RFC 9112 sections 6 and 7.
 *
 * The caller keeps the bytes that were not taken and shows them again, with more behind them: a
 * chunk's size and the trailers are taken when they are whole. Extensions of chunks are dropped.
 */
#ifndef VD_PROTO_HTTP_BODY_H
#define VD_PROTO_HTTP_BODY_H

#include <stddef.h>
#include <stdint.h>

#include "proto/bytes.h"
#include "proto/http_message.h"

enum {
    VD_HTTP_CHUNK_LINE_MAX = 4096, /* a chunk's size with its extensions */
    VD_HTTP_TRAILERS_MAX = 8192,
    VD_HTTP_CHUNK_GROWS = 32 /* a piece is written in at most so many bytes more, as a chunk */
};

/* Results of vd_http_body_next beside VD_HTTP_BODY_MORE and errors. */
enum {
    VD_HTTP_BODY_MORE,  /* nothing can be done without more bytes; some may have been taken */
    VD_HTTP_BODY_PIECE, /* *piece is a part of the body, inside `data` */
    VD_HTTP_BODY_END    /* the body is whole; *piece are the trailers, inside `data`, or empty */
};

struct vd_http_body {
    uint64_t left;   /* of the body, or of the chunk */
    uint8_t framing; /* enum vd_http_framing */
    uint8_t state;   /* private */
};

void vd_http_body_start(struct vd_http_body *b, enum vd_http_framing framing, uint64_t length);
/* Takes bytes, *used says how many, up to the first thing to tell. One of the results above, or
 * -VD_ERR_PROTOCOL, -VD_ERR_TOO_LONG. A body that lasts until the connection is closed has no
 * VD_HTTP_BODY_END. */
int vd_http_body_next(struct vd_http_body *b, const uint8_t *data, size_t len, size_t *used,
                      struct vd_text *piece);

/* A piece, and the end of the body, as `framing` has them; trailers go with chunks only. */
void vd_http_write_piece(struct vd_out *out, enum vd_http_framing framing, struct vd_text piece);
void vd_http_write_end(struct vd_out *out, enum vd_http_framing framing, struct vd_text trailers);

#endif
