/*
 * http_fault: what can be wrong with an HTTP message, and what a client is told of it.
 *
 * RFC 9110 section 15 for the status, RFC 9209 section 2.3 for the error of Proxy-Status.
 */
#ifndef VD_PROTO_HTTP_FAULT_H
#define VD_PROTO_HTTP_FAULT_H

#include <stdint.h>

#include "proto/err.h"

enum vd_http_fault {
    VD_HTTP_GOOD,
    /* of a request */
    VD_HTTP_BAD_FORM,
    VD_HTTP_BAD_TARGET, /* of CONNECT */
    VD_HTTP_BAD_URL,
    VD_HTTP_NO_HOST,
    VD_HTTP_NOT_A_SERVER, /* the target is a path */
    VD_HTTP_NEEDS_LOGIN,
    VD_HTTP_LONG_LINE,
    VD_HTTP_LONG_HEAD,
    VD_HTTP_NEEDS_CONNECT, /* the target is of https: or such */
    VD_HTTP_NO_METHOD,
    VD_HTTP_NO_CODING,
    VD_HTTP_NO_VERSION,
    VD_HTTP_FOR_PROXY, /* OPTIONS that is meant for this proxy itself: no fault, but answered here
                        */
    /* of a response */
    VD_HTTP_BAD_RESPONSE,
    VD_HTTP_LONG_RESPONSE,
    VD_HTTP_CUT_RESPONSE,
    VD_HTTP_UPGRADED,
    VD_HTTP_FAULTS
};

struct vd_http_fault_row {
    uint16_t status;
    enum vd_err reason;
    const char *token; /* of Proxy-Status */
    const char *text;
};

/* Never NULL for a fault. */
const struct vd_http_fault_row *vd_http_fault_row(enum vd_http_fault fault);
/* The reason phrase of a status that this proxy itself may answer with. */
const char *vd_http_phrase(uint16_t status);

#endif
