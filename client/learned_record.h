/*
 * learned_record: what the session keeps of one hop; private to client/learned*.c.
 */
#ifndef VD_CLIENT_LEARNED_RECORD_H
#define VD_CLIENT_LEARNED_RECORD_H

#include <assert.h>
#include <stdint.h>

#include "client/session_layout.h"

enum bears { BEARS_UNKNOWN, BEARS_NOT, BEARS_FLIGHT };

struct record {
    uint8_t bears; /* enum bears */
    uint8_t proven;
    uint8_t said_yes; /* HTTP: 2xx, in this session */
    uint8_t zero;
    uint16_t behind; /* the hop before it when it was last up: index + 2, 1: none, 0: never up */
    uint8_t zeroes[2];
    uint32_t dead_until_s; /* CLOCK_MONOTONIC, + 1; 0: it is not dead */
    uint8_t more_zeroes[SESSION_HOP_SIZE - 12];
};
static_assert(sizeof(struct record) == SESSION_HOP_SIZE, "a record fits its place");

/* NULL: nothing is kept, or there is no room. */
struct record *learned_record_of(unsigned hop);

#endif
