/*
 * datagrams: what comes back from relays, and from strangers. They are read by test_udp and seed
 * the fuzzer.
 */
#ifndef TESTS_UNIT_DATAGRAMS_H
#define TESTS_UNIT_DATAGRAMS_H

#include <stddef.h>

#define BYTES(s) s, sizeof(s) - 1

#define IP4 "\0\0\0\1\xc0\0\2\1\0\x35"
#define IP6 "\0\0\0\4\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\1\xbb"
#define NAMED                                                                                      \
    "\0\0\0\3\x0b"                                                                                 \
    "example.com\0\x50"
#define RELAY2 "\0\0\0\1\xc6\x33\x64\2\x27\x0f"
#define RELAY3 "\0\0\0\4\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\3\x27\x10"

struct datagram {
    const char *name;
    const char *relays; /* behind the first, apart by spaces */
    const char *data;
    size_t len;
    int result;
    const char *from; /* with VD_OK */
    size_t payload;   /* where the data begins */
};

extern const struct datagram datagrams[];
extern const size_t datagram_count;

#endif
