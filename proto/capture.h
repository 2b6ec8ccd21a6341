/*
 * capture: bytes of a connection as a capture file for Wireshark: pcapng
 * (draft-ietf-opsawg-pcapng), or classic pcap with nanoseconds, in the byte order of this machine.
 *
 * Frames are bare IP (LINKTYPE_RAW) and made up around the bytes: a stream of TCP for each
 * connection, with sums that are right. Between families IPv4 is told as ::ffff:a.b.c.d.
 */
#ifndef VD_PROTO_CAPTURE_H
#define VD_PROTO_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/bytes.h"
#include "proto/endpoint.h"

/* What a block costs beside its bytes and its comment, at most; and the most bytes of one. */
enum { VD_CAPTURE_ROOM = 256, VD_CAPTURE_DATA = 60000 };

struct vd_capture {
    bool classic;         /* else pcapng, which alone has comments */
    int64_t seconds;      /* of the frames that follow, since 1970 */
    uint32_t nanoseconds; /* < 1e9 */
};

/* A connection; both ends are addresses. */
struct vd_capture_stream {
    struct vd_endpoint near, far; /* `near` has opened it */
    uint32_t base;                /* of the sequence numbers of both sides */
    uint32_t said, heard;         /* bytes of `near`, of `far`, so far */
};

enum vd_capture_end { VD_CAPTURE_CLOSED, VD_CAPTURE_RESET };

/* What the file begins with. */
void vd_capture_head(struct vd_out *out, bool classic);

/* Each appends whole frames, or none with out->ok false where the room is too small. */

/* The stream is opened: SYN, SYN ACK, ACK; the first one has the comment ("": none). */
void vd_capture_open(struct vd_out *out, const struct vd_capture *c,
                     const struct vd_capture_stream *s, const char *comment);
/* Bytes (VD_CAPTURE_DATA at most) of `near` (said), or `far`; counting them is the caller's. */
void vd_capture_bytes(struct vd_out *out, const struct vd_capture *c,
                      const struct vd_capture_stream *s, bool said, const uint8_t *data, size_t len,
                      const char *comment);
/* It ends: FIN of both sides, or RST of `near`. */
void vd_capture_end(struct vd_out *out, const struct vd_capture *c,
                    const struct vd_capture_stream *s, enum vd_capture_end how,
                    const char *comment);

#endif
