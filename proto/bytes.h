/*
 * bytes: bounded cursors over big-endian fields and text.
 *
 * A cursor that meets its bound stays there with ok = false and neither reads nor writes another
 * byte, so that a caller may check once, at the end.
 */
#ifndef VD_PROTO_BYTES_H
#define VD_PROTO_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vd_in {
    const uint8_t *at; /* borrowed */
    size_t left;
    bool ok;
};

struct vd_in vd_in_over(const uint8_t *data, size_t len);
uint8_t vd_in_u8(struct vd_in *in);   /* 0 past the end */
uint16_t vd_in_u16(struct vd_in *in); /* 0 past the end */
/* `n` bytes where they lie, or NULL past the end. */
const uint8_t *vd_in_bytes(struct vd_in *in, size_t n);

struct vd_out {
    uint8_t *to; /* borrowed */
    size_t len, cap;
    bool ok;
};

struct vd_out vd_out_over(void *buf, size_t cap);
void vd_out_u8(struct vd_out *out, uint8_t value);
void vd_out_u16(struct vd_out *out, uint16_t value);
void vd_out_bytes(struct vd_out *out, const void *data, size_t len);
void vd_out_text(struct vd_out *out, const char *text);
void vd_out_uint(struct vd_out *out, uint64_t value); /* decimal */
void vd_out_base64(struct vd_out *out, const void *data, size_t len);
/* Text whose bytes outside printable ASCII, and `"` and `\`, become \xNN: for messages. */
void vd_out_shown(struct vd_out *out, const void *data, size_t len);
/* Ends the text with a NUL that is not counted; a full buffer loses its last byte to it. */
const char *vd_out_string(struct vd_out *out);

/* Base64 of RFC 4648 section 4 back to bytes; padding optional, anything else in the text is an
 * error. The number of bytes, or -VD_ERR_PROTOCOL, or -VD_ERR_SPACE. */
int vd_base64_read(const char *text, size_t len, uint8_t *buf, size_t cap);

/* A decimal number without sign, space or leading plus, at most `max`; -1 if it is none. */
int64_t vd_uint_read(const char *text, size_t len, uint64_t max);

/* ASCII only, whatever the locale. */
bool vd_same_text(const char *a, const char *b, size_t len); /* case-insensitive */
char vd_lower(char c);

#endif
