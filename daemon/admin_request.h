/*
 * admin_request: what a browser asks the status page for: RFC 9110, RFC 9112. No I/O.
 *
 * The head is read by proto/http_message.h, as the request for a URL that it stands for.
 */
#ifndef DAEMON_ADMIN_REQUEST_H
#define DAEMON_ADMIN_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ADMIN_HEAD_MAX = 8192 };

enum admin_what { ADMIN_PAGE, ADMIN_JSON, ADMIN_METRICS };

struct admin_request {
    enum admin_what what;
    bool head_only;  /* HEAD */
    char login[512]; /* NAME:PASSWORD of Basic; empty: none, or none that can be read */
};

/* Whether a head is whole: its length; 0; or more than `len`, which is a head that is too long.
 * *searched is 0 at first. */
size_t admin_request_end(const uint8_t *data, size_t len, size_t *searched);
/* Reads a whole head. 0, or the status of the refusal: 400, 404, 405, 421 where Host is a name that
 * somebody may have led here (DNS rebinding; `any_host`: not asked), 431, 505. */
int admin_request_read(struct admin_request *r, const uint8_t *data, size_t len, bool any_host);
/* The phrase of a status. */
const char *admin_phrase(int status);

#endif
