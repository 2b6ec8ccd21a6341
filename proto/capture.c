#include "proto/capture.h"

#include <string.h>

enum {
    LINK_RAW = 101,
    TCP = 6, /* the protocol's number */
    FIN = 1,
    SYN = 2,
    RST = 4,
    PSH = 8,
    ACK = 16,
    IP4_LEN = 20,
    TCP_LEN = 20,
    TCP_SUM_AT = 16,
    NANOSECONDS = 9,
    BLOCK_SECTION = 0x0a0d0d0a,
    BLOCK_INTERFACE = 1,
    BLOCK_PACKET = 6,
    OPTION_COMMENT = 1,
    OPTION_RESOLUTION = 9
};

/* In this machine's byte order. */
static void put32(struct vd_out *out, uint32_t value)
{
    vd_out_bytes(out, &value, sizeof value);
}

static void put16(struct vd_out *out, uint16_t value)
{
    vd_out_bytes(out, &value, sizeof value);
}

static void put_padding(struct vd_out *out, size_t len)
{
    static const uint8_t zeros[4];

    vd_out_bytes(out, zeros, (4 - len % 4) % 4);
}

static void put_option(struct vd_out *out, uint16_t code, const void *value, size_t len)
{
    put16(out, code);
    put16(out, (uint16_t)len);
    vd_out_bytes(out, value, len);
    put_padding(out, len);
}

/* --- the head of a file ---------------------------------------------------------------------- */

static void put_classic_head(struct vd_out *out)
{
    put32(out, 0xa1b23c4d);
    put16(out, 2);
    put16(out, 4);
    put32(out, 0);
    put32(out, 0);
    put32(out, 65535);
    put32(out, LINK_RAW);
}

void vd_capture_head(struct vd_out *out, bool classic)
{
    static const uint8_t resolution = NANOSECONDS;

    if (classic) {
        put_classic_head(out);
        return;
    }
    put32(out, BLOCK_SECTION);
    put32(out, 28);
    put32(out, 0x1a2b3c4d);
    put16(out, 1);
    put16(out, 0);
    put32(out, UINT32_MAX); /* the length of the section is not known */
    put32(out, UINT32_MAX);
    put32(out, 28);
    put32(out, BLOCK_INTERFACE);
    put32(out, 32);
    put16(out, LINK_RAW);
    put16(out, 0);
    put32(out, 0);
    put_option(out, OPTION_RESOLUTION, &resolution, 1);
    put32(out, 0);
    put32(out, 32);
}

/* --- frames ---------------------------------------------------------------------------------- */

struct segment {
    bool said;
    uint8_t flags;
    uint32_t number, answers; /* SEQ and ACK */
    const uint8_t *data;
    size_t len;
};

static uint32_t sum_of(uint32_t sum, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sum += i % 2 ? data[i] : (uint32_t)data[i] << 8;
    return sum;
}

/* RFC 1071. */
static void put_checksum(uint8_t *at, uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    at[0] = (uint8_t)(~sum >> 8);
    at[1] = (uint8_t)~sum;
}

static void put_ip6(struct vd_out *out, const struct vd_ip *ip)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

    if (ip->family == VD_IPV4)
        vd_out_bytes(out, mapped, sizeof mapped);
    vd_out_bytes(out, ip->bytes, ip->family == VD_IPV4 ? 4 : 16);
}

static bool is_ip4(const struct vd_capture_stream *s)
{
    return s->near.ip.family == VD_IPV4 && s->far.ip.family == VD_IPV4;
}

/* The IP header; the sum of what TCP's checksum takes of it. */
static uint32_t put_ip(struct vd_out *out, const struct vd_ip *from, const struct vd_ip *to,
                       size_t len, bool ip4)
{
    uint8_t *start = out->to + out->len, *addresses;

    if (ip4) {
        vd_out_bytes(out, (const uint8_t[]){0x45, 0}, 2);
        vd_out_u16(out, (uint16_t)(IP4_LEN + len));
        vd_out_bytes(out, (const uint8_t[]){0, 0, 0x40, 0, 64, TCP, 0, 0}, 8);
        addresses = out->to + out->len;
        vd_out_bytes(out, from->bytes, 4);
        vd_out_bytes(out, to->bytes, 4);
        put_checksum(start + 10, sum_of(0, start, IP4_LEN));
    } else {
        vd_out_bytes(out, (const uint8_t[]){0x60, 0, 0, 0}, 4);
        vd_out_u16(out, (uint16_t)len);
        vd_out_bytes(out, (const uint8_t[]){TCP, 64}, 2);
        addresses = out->to + out->len;
        put_ip6(out, from);
        put_ip6(out, to);
    }
    return sum_of((uint32_t)(TCP + len), addresses, (size_t)(out->to + out->len - addresses));
}

static void put32_be(struct vd_out *out, uint32_t value)
{
    vd_out_u16(out, (uint16_t)(value >> 16));
    vd_out_u16(out, (uint16_t)value);
}

static void put_frame(struct vd_out *out, const struct vd_capture_stream *stream,
                      const struct segment *s)
{
    const struct vd_endpoint *from = s->said ? &stream->near : &stream->far;
    const struct vd_endpoint *to = s->said ? &stream->far : &stream->near;
    uint32_t sum = put_ip(out, &from->ip, &to->ip, TCP_LEN + s->len, is_ip4(stream));
    uint8_t *at = out->to + out->len;

    vd_out_u16(out, from->port);
    vd_out_u16(out, to->port);
    put32_be(out, s->number);
    put32_be(out, s->answers);
    vd_out_bytes(out, (const uint8_t[]){TCP_LEN / 4 << 4, s->flags, 0xff, 0xff, 0, 0, 0, 0}, 8);
    vd_out_bytes(out, s->data, s->len);
    put_checksum(at + TCP_SUM_AT, sum_of(sum, at, TCP_LEN + s->len));
}

/* --- blocks ---------------------------------------------------------------------------------- */

static size_t padded(size_t len)
{
    return (len + 3) / 4 * 4;
}

static void put_block(struct vd_out *out, const struct vd_capture *c,
                      const struct vd_capture_stream *stream, const struct segment *s,
                      const char *comment)
{
    uint64_t when = (uint64_t)c->seconds * 1000000000 + c->nanoseconds;
    size_t frame = (is_ip4(stream) ? 20u : 40u) + TCP_LEN + s->len, told = strlen(comment);
    uint32_t len = (uint32_t)(32 + padded(frame) + (told ? 8 + padded(told) : 0));

    if (out->cap - out->len < len || s->len > VD_CAPTURE_DATA) {
        out->ok = false;
        return;
    }
    if (c->classic) {
        put32(out, (uint32_t)c->seconds);
        put32(out, c->nanoseconds);
        put32(out, (uint32_t)frame);
        put32(out, (uint32_t)frame);
        put_frame(out, stream, s);
        return;
    }
    put32(out, BLOCK_PACKET);
    put32(out, len);
    put32(out, 0); /* the interface */
    put32(out, (uint32_t)(when >> 32));
    put32(out, (uint32_t)when);
    put32(out, (uint32_t)frame);
    put32(out, (uint32_t)frame);
    put_frame(out, stream, s);
    put_padding(out, frame);
    if (told) {
        put_option(out, OPTION_COMMENT, comment, told);
        put32(out, 0);
    }
    put32(out, len);
}

void vd_capture_open(struct vd_out *out, const struct vd_capture *c,
                     const struct vd_capture_stream *s, const char *comment)
{
    struct segment syn = {true, SYN, s->base, 0, NULL, 0};
    struct segment back = {false, SYN | ACK, s->base, s->base + 1, NULL, 0};
    struct segment ack = {true, ACK, s->base + 1, s->base + 1, NULL, 0};

    put_block(out, c, s, &syn, comment);
    put_block(out, c, s, &back, "");
    put_block(out, c, s, &ack, "");
}

static struct segment segment_of(const struct vd_capture_stream *s, bool said, uint8_t flags)
{
    uint32_t ours = s->base + 1 + s->said, theirs = s->base + 1 + s->heard;

    return (struct segment){said, flags, said ? ours : theirs, said ? theirs : ours, NULL, 0};
}

void vd_capture_bytes(struct vd_out *out, const struct vd_capture *c,
                      const struct vd_capture_stream *s, bool said, const uint8_t *data, size_t len,
                      const char *comment)
{
    struct segment segment = segment_of(s, said, PSH | ACK);

    segment.data = data;
    segment.len = len;
    put_block(out, c, s, &segment, comment);
}

void vd_capture_end(struct vd_out *out, const struct vd_capture *c,
                    const struct vd_capture_stream *s, enum vd_capture_end how, const char *comment)
{
    struct segment first = segment_of(s, true, how == VD_CAPTURE_RESET ? RST | ACK : FIN | ACK);
    struct segment second = segment_of(s, false, FIN | ACK);

    put_block(out, c, s, &first, comment);
    if (how == VD_CAPTURE_RESET)
        return;
    second.answers++;
    put_block(out, c, s, &second, "");
}
