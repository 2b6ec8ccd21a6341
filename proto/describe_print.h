/*
 * describe_print: a message as rows, for traces.
 *
 *     0000  05                       .         VER          SOCKS version 5
 */
#ifndef VD_PROTO_DESCRIBE_PRINT_H
#define VD_PROTO_DESCRIBE_PRINT_H

#include "proto/describe.h"

/* Appends a row for each field: where it begins, its bytes in hex and as text, its name and its
 * meaning; more rows for bytes beyond the eighth. `field` is room for one. */
void vd_describe_print(struct vd_out *out, enum vd_says says, const uint8_t *data, size_t len,
                       struct vd_field *field);

/* Appends bytes that mean nothing here, 16 on a row; `at` is where they lie in their stream. */
void vd_describe_print_payload(struct vd_out *out, const uint8_t *data, size_t len, uint64_t at);

#endif
