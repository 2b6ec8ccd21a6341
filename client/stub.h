/*
 * stub: what a name server answers, made inside the process.
 *
 * Programs with a resolver of their own ask by datagrams. Where names are left to the last hop they
 * get placeholder addresses, as getaddrinfo() gives them, without a query that leaves. Nothing is
 * allocated.
 */
#ifndef VD_CLIENT_STUB_H
#define VD_CLIENT_STUB_H

#include <stddef.h>
#include <stdint.h>

enum stub_verdict {
    STUB_ANSWER, /* it is written */
    STUB_SILENT, /* not a query: nobody would answer */
    STUB_PASS    /* a rule has this name resolved by the name server itself */
};

/* Judges a query; with STUB_ANSWER *answer_len says how much was written to `answer`. */
enum stub_verdict stub_query(const uint8_t *query, size_t len, uint8_t *answer, size_t cap,
                             size_t *answer_len);

/* The answer of a name server to a query that was let pass: rules by name hold for its addresses.
 */
void stub_learn(const uint8_t *answer, size_t len);

#endif
