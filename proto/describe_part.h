/*
 * describe_part: the words behind proto/describe.c; private to it.
 */
#ifndef VD_PROTO_DESCRIBE_PART_H
#define VD_PROTO_DESCRIBE_PART_H

#include "proto/describe.h"

/* What the bytes of a part mean; `len` of them, at least 1. */
void vd_mean_version(struct vd_out *out, const uint8_t *data, size_t len);
void vd_mean_login_version(struct vd_out *out, const uint8_t *data, size_t len);
void vd_mean_command(struct vd_out *out, const uint8_t *data, size_t len);
void vd_mean_count(struct vd_out *out, const uint8_t *data, size_t len);
void vd_mean_methods(struct vd_out *out, const uint8_t *data, size_t len);
void vd_mean_status(struct vd_out *out, const uint8_t *data, size_t len);
void vd_mean_reserved(struct vd_out *out, const uint8_t *data, size_t len);
void vd_mean_address_type(struct vd_out *out, const uint8_t *data, size_t len);
/* The byte before `data` is its ATYP. */
void vd_mean_address(struct vd_out *out, const uint8_t *data, size_t len);
void vd_mean_ip4(struct vd_out *out, const uint8_t *data, size_t len);
void vd_mean_ip4a(struct vd_out *out, const uint8_t *data, size_t len);
void vd_mean_port(struct vd_out *out, const uint8_t *data, size_t len);
void vd_mean_text(struct vd_out *out, const uint8_t *data, size_t len);
void vd_mean_reply(struct vd_out *out, const uint8_t *data, size_t len);
void vd_mean_socks4_code(struct vd_out *out, const uint8_t *data, size_t len);

/* --- proto/describe_http.c ------------------------------------------------------------------- */

/* As vd_says_length, for heads. */
size_t vd_http_head_length(enum vd_says says, const uint8_t *data, size_t len);
/* The next line, or a part of one. */
void vd_http_line(struct vd_describe *d, struct vd_field *field);
/* A whole response with 1xx: another one follows. */
bool vd_http_is_interim(const uint8_t *data, size_t len);

#endif
