/*
 * visits: transcripts of a server with one client. They are played by test_accept and seed the
 * fuzzers.
 */
#ifndef TESTS_UNIT_VISITS_H
#define TESTS_UNIT_VISITS_H

#include "proto/err.h"
#include "tests/unit/play.h"

enum { OPEN = VD_OFFER_MIXED, LOCKED = VD_OFFER_MIXED | VD_OFFER_LOGIN_NEEDED };

struct visit {
    const char *name;
    unsigned offers;
    const char *heard; /* from the client, in all; a refusal may leave some of it */
    size_t heard_len;
    bool login;        /* how a login is decided */
    int err;           /* how a request is decided */
    const char *bound; /* what a reply tells */
    const char *asked; /* the decisions, one a line */
    const char *said;  /* by us, in all */
    size_t said_len;
    int end; /* VD_ACCEPT_REQUEST: decided with yes */
};

extern const struct visit visits[];
extern const size_t visit_count;

#endif
