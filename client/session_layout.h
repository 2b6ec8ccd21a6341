/*
 * session_layout: where what lies in a session file.
 *
 *     header | plan | names | book | sockets | assocs | hops | audit
 *
 * The plan follows the header, mostly on the same page; every table begins on a page of its own,
 * with a page of counters and locks, then its bucket heads, then its records. The file is as long
 * as all of it, but sparse: the launcher allocates header and plan only, and whoever uses a part of
 * a table first allocates that part (posix_fallocate) before it touches it. A fresh part reads as
 * zeros.
 *
 * Known here are places and sizes only; what a record holds is the business of its table's file.
 * Fixed-width fields without 64-bit alignment: 32-bit and 64-bit processes see the same.
 */
#ifndef VD_CLIENT_SESSION_LAYOUT_H
#define VD_CLIENT_SESSION_LAYOUT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define SESSION_MAGIC "viaduct" /* with its NUL: 8 bytes */

enum {
    SESSION_VERSION = 5,
    SESSION_PAGE = 4096,
    SESSION_PLAN_AT = 64,
    SESSION_BUCKETS = 4096, /* heads of 4 bytes each, in names and in book */

    /* placeholder addresses and the names behind them */
    SESSION_NAMES_MAX = 131072,
    SESSION_NAME_SIZE = 296,
    /* the real addresses of names that were resolved here */
    SESSION_BOOK_MAX = 16384,
    SESSION_BOOK_SIZE = 296,
    /* what is known of sockets, by cookie; no heads */
    SESSION_SOCKETS_MAX = 32768,
    SESSION_SOCKET_SIZE = 128,
    /* associations of datagram sockets, by cookie; no heads */
    SESSION_ASSOCS_MAX = 4096,
    SESSION_ASSOC_SIZE = 1024,
    /* what was learned of each hop of the plan; no heads */
    SESSION_HOPS_MAX = 4096,
    SESSION_HOP_SIZE = 64,
    /* what became of each target and name, for --audit; no heads */
    SESSION_AUDIT_MAX = 4096,
    SESSION_AUDIT_SIZE = 320
};

/* From the first byte of a table to its bucket heads, and to its records. */
enum {
    SESSION_HEADS_AT = SESSION_PAGE,
    SESSION_HASHED_RECORDS_AT = SESSION_PAGE + SESSION_BUCKETS * 4,
    SESSION_PLAIN_RECORDS_AT = SESSION_PAGE
};

enum {
    SESSION_NAMES_LEN = SESSION_HASHED_RECORDS_AT + SESSION_NAMES_MAX * SESSION_NAME_SIZE,
    SESSION_BOOK_LEN = SESSION_HASHED_RECORDS_AT + SESSION_BOOK_MAX * SESSION_BOOK_SIZE,
    SESSION_SOCKETS_LEN = SESSION_PLAIN_RECORDS_AT + SESSION_SOCKETS_MAX * SESSION_SOCKET_SIZE,
    SESSION_ASSOCS_LEN = SESSION_PLAIN_RECORDS_AT + SESSION_ASSOCS_MAX * SESSION_ASSOC_SIZE,
    SESSION_HOPS_LEN = SESSION_PLAIN_RECORDS_AT + SESSION_HOPS_MAX * SESSION_HOP_SIZE,
    SESSION_AUDIT_LEN = SESSION_PLAIN_RECORDS_AT + SESSION_AUDIT_MAX * SESSION_AUDIT_SIZE
};
static_assert(SESSION_NAMES_LEN % SESSION_PAGE == 0, "parts end on a page");
static_assert(SESSION_BOOK_LEN % SESSION_PAGE == 0, "parts end on a page");
static_assert(SESSION_SOCKETS_LEN % SESSION_PAGE == 0, "parts end on a page");
static_assert(SESSION_ASSOCS_LEN % SESSION_PAGE == 0, "parts end on a page");
static_assert(SESSION_HOPS_LEN % SESSION_PAGE == 0, "parts end on a page");
static_assert(SESSION_AUDIT_LEN % SESSION_PAGE == 0, "parts end on a page");

/* The first bytes of the file. Offsets count from there. The audit lies at the file's end. */
struct session_header {
    char magic[8];              /* SESSION_MAGIC */
    uint32_t version;           /* SESSION_VERSION: another one is refused */
    uint32_t size;              /* of the file */
    uint32_t plan_at, plan_len; /* SESSION_PLAN_AT; plan_len as plan->size, not rounded up */
    uint32_t names_at, names_len;
    uint32_t book_at, book_len;
    uint32_t sockets_at, sockets_len;
    uint32_t assocs_at, assocs_len;
    uint32_t hops_at, hops_len;
};
static_assert(sizeof(struct session_header) <= SESSION_PLAN_AT, "the header has room");
static_assert(sizeof(struct session_header) == 64, "the same for 32-bit and 64-bit processes");

#endif
