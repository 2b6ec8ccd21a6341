/*
 * proxyline: the PROXY protocol, versions 1 and 2, as HAProxy's specification has it: what stands
 * before everything else on a connection and tells between whom it really is.
 *
 * It is never recognized by itself: who reads it knows that it must be there.
 */
#ifndef VD_PROTO_PROXYLINE_H
#define VD_PROTO_PROXYLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/bytes.h"
#include "proto/endpoint.h"

enum {
    VD_PROXYLINE_V1_MAX = 107,
    VD_PROXYLINE_MAX = 1024, /* version 2 with what may stand behind the addresses: longer ones are
                                an error */
    VD_PROXYLINE_OUT = 128   /* room for whatever is written */
};

enum vd_proxyline_version { VD_PROXYLINE_NONE, VD_PROXYLINE_V1, VD_PROXYLINE_V2 };

struct vd_proxyline {
    bool known; /* false: LOCAL, UNKNOWN, or no internet addresses; the connection's own count */
    struct vd_endpoint from, to;
};

/* Reads either version from the beginning of what was received so far. VD_MORE (0): it is not
 * whole; VD_DONE: *used bytes were the line; or -VD_ERR_PROTOCOL, -VD_ERR_TOO_LONG. */
int vd_proxyline_read(struct vd_proxyline *line, const uint8_t *data, size_t len, size_t *used);

/* Two addresses of one family; else what says that they are not known. */
void vd_proxyline_write(struct vd_out *out, enum vd_proxyline_version version,
                        const struct vd_endpoint *from, const struct vd_endpoint *to);

#endif
