/*
 * learned_record: what the session keeps of one hop; private to client/learned*.c.
 */
#ifndef VD_CLIENT_LEARNED_RECORD_H
#define VD_CLIENT_LEARNED_RECORD_H

#include <assert.h>
#include <stdint.h>

#include "client/session_layout.h"
#include "proto/repute.h"

struct record {
    struct vd_repute repute; /* `behind`: by index in the plan */
    uint32_t dead_until_s;   /* CLOCK_MONOTONIC, + 1; 0: it is not dead */
    uint8_t more_zeroes[SESSION_HOP_SIZE - 12];
};
static_assert(sizeof(struct record) == SESSION_HOP_SIZE, "a record fits its place");

/* NULL: nothing is kept, or there is no room. */
struct record *learned_record_of(unsigned hop);

#endif
