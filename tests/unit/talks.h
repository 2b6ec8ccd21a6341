/*
 * talks: transcripts of a client with one hop. They are played by test_shake and seed the fuzzers.
 */
#ifndef TESTS_UNIT_TALKS_H
#define TESTS_UNIT_TALKS_H

#include "proto/err.h"
#include "tests/unit/play.h"

struct talk {
    const char *name;
    const char *url, *target;
    enum vd_command command;
    const char *said; /* by us, in all */
    size_t said_len;
    const char *heard; /* from the hop, in all */
    size_t heard_len;
    enum play_loss loss; /* behind it */
    int end;
    uint16_t code;     /* the last one that was read */
    const char *bound; /* as the reply tells it; NULL: none */
};

#define BYTES(s) s, sizeof(s) - 1

#define V4   "192.0.2.1:80"
#define V6   "[2001:db8::1]:443"
#define NAME "example.com:80"

/* SOCKS4: CONNECT and BIND of the notes, to V4 and NAME. */
#define S4_V4   "\4\1\0\x50\xc0\0\2\1\0"
#define S4_NAME "\4\1\0\x50\0\0\0\1\0example.com\0"

/* SOCKS5: the methods, the login alice:secret, the requests. */
#define S5_OPEN       "\5\1\0"
#define S5_WITH_LOGIN "\5\2\0\2"
#define S5_LOGIN      "\1\5alice\6secret"
#define S5_V4         "\5\1\0\1\xc0\0\2\1\0\x50"
#define S5_V6         "\5\1\0\4\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\1\xbb"
#define S5_NAME                                                                                    \
    "\5\1\0\3\x0b"                                                                                 \
    "example.com\0\x50"
#define S5_OK "\5\0\0\1\0\0\0\0\0\0"

#define CONNECT(host) "CONNECT " host " HTTP/1.1\r\nHost: " host "\r\nConnection: close\r\n\r\n"
#define CONNECT_LOGIN(host)                                                                        \
    "CONNECT " host " HTTP/1.1\r\nHost: " host                                                     \
    "\r\nProxy-Authorization: Basic YWxpY2U6c2VjcmV0\r\nConnection: close\r\n\r\n"

extern const struct talk talks[];
extern const size_t talk_count;

#endif
