/*
 * http_message: heads of HTTP/1.x requests and responses, as a forwarding proxy reads and writes
 * them: RFC 9110, RFC 9112.
 *
 * A head is read when it is whole. What is written is made anew from what was understood: framing,
 * Host, Connection and Via are this proxy's own; fields that are meant for the next hop only, by
 * RFC 9110 section 7.6.1 or because Connection names them, stay behind. So whatever a peer might
 * read in another way than this proxy does never arrives. What follows a head is proto/http_body.h.
 *
 * Requests are read strictly: a bare CR or LF, a control byte, a folded line, a second Host, or a
 * framing that could be read in two ways is a fault. In the heads of responses lines may end with a
 * bare LF.
 */
#ifndef VD_PROTO_HTTP_MESSAGE_H
#define VD_PROTO_HTTP_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/bytes.h"
#include "proto/endpoint.h"
#include "proto/http_fault.h"
#include "proto/text.h"

enum {
    VD_HTTP_FIELDS_MAX = 256,
    VD_HTTP_OPTIONS_MAX = 32, /* members of Connection */
    VD_HTTP_GROWS = 1024      /* a head is written in at most so many bytes more than it had */
};

/* How a body ends: RFC 9112 section 6.3. */
enum vd_http_framing { VD_HTTP_NO_BODY, VD_HTTP_LENGTH, VD_HTTP_CHUNKED, VD_HTTP_UNTIL_CLOSE };

/* All texts are borrowed from what was read. */
struct vd_http_head {
    struct vd_text method;    /* request */
    struct vd_text authority; /* request: HOST or HOST:PORT, as in its URL */
    struct vd_text path;      /* request: with the query; begins with "/", "?" or is empty */
    struct vd_text login;     /* request: the value of Proxy-Authorization; at NULL: none */
    struct vd_endpoint at;    /* request: where it goes */
    struct vd_text phrase;    /* response */
    struct vd_text fields;    /* the lines, without the blank one */
    struct vd_text options[VD_HTTP_OPTIONS_MAX]; /* the members of Connection */
    uint64_t length;                             /* of the body, with VD_HTTP_LENGTH */
    int64_t hops;                                /* Max-Forwards; -1: none */
    uint16_t status;                             /* response */
    uint16_t field_count;
    uint8_t minor;   /* 0 or 1: HTTP/1.0, or 1.1 and later */
    uint8_t framing; /* enum vd_http_framing */
    uint8_t option_count;
    bool has_length;   /* Content-Length was there */
    bool has_encoding; /* Transfer-Encoding was there */
    bool has_host;
    bool last;     /* the sender will close its connection, or does not say that it will not */
    bool trailers; /* TE: trailers */
    bool response;
};

/* The length of the head at the beginning of `data`, blank line included; 0 while it is not whole.
 * *searched is 0 at first and remembers how far was looked. */
size_t vd_http_head_end(const uint8_t *data, size_t len, size_t *searched);
/* Blank lines that old clients send before a request (RFC 9112 section 2.2): their bytes. */
size_t vd_http_blank(const uint8_t *data, size_t len);

/* What is wrong with the first line of a request, as soon as that is whole: who speaks another
 * protocol may never send a blank line. */
enum vd_http_fault vd_http_judge_line(const uint8_t *data, size_t len);

/* Reads a whole head. VD_HTTP_GOOD, or a fault; then *h is of no use but for h->method. */
enum vd_http_fault vd_http_read_request(struct vd_http_head *h, const uint8_t *data, size_t len);
/* `to_head`: the request was HEAD. A status below 200 is not the last response to its request. */
enum vd_http_fault vd_http_read_response(struct vd_http_head *h, const uint8_t *data, size_t len,
                                         bool to_head);

bool vd_http_is_head(const struct vd_http_head *h);
/* A request that may be sent again when a kept connection turns out to be closed: idempotent (RFC
 * 9110 section 9.2.2), and without a body. */
bool vd_http_is_repeatable(const struct vd_http_head *h);

/* Each writes at most VD_HTTP_GROWS bytes more than the head had. `last`: the receiver is told that
 * this is the last message of its connection. */
void vd_http_write_request(struct vd_out *out, const struct vd_http_head *h, bool last);
/* `framing`: how the body is going to be sent, where it has one. */
void vd_http_write_response(struct vd_out *out, const struct vd_http_head *h,
                            enum vd_http_framing framing, bool last);

/* Fields behind a chunked body, each with its CR LF: whether they are well-formed; and those that
 * may be passed on. */
bool vd_http_are_trailers(struct vd_text trailers);
void vd_http_write_trailers(struct vd_out *out, struct vd_text trailers);

#endif
