/*
 * queries: DNS queries as programs send them, and as none should. They are read by test_dns and
 * seed the fuzzer.
 */
#ifndef TESTS_UNIT_QUERIES_H
#define TESTS_UNIT_QUERIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BYTES(s) s, sizeof(s) - 1

#define ID         "\x12\x34"
#define QUERY      ID "\1\0\0\1\0\0\0\0\0\0"
#define QUERY_EDNS ID "\1\0\0\1\0\0\0\0\0\1"
#define EXAMPLE                                                                                    \
    "\7"                                                                                           \
    "example"                                                                                      \
    "\3"                                                                                           \
    "com"                                                                                          \
    "\0"
#define IN_A      "\0\1\0\1"
#define IN_AAAA   "\0\x1c\0\1"
#define IN_PTR    "\0\x0c\0\1"
#define OPT(size) "\0\0\x29" size "\0\0\0\0\0\0"
#define L63                                                                                        \
    "\x3f"                                                                                         \
    "abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz-123456789"
#define L61                                                                                        \
    "\x3d"                                                                                         \
    "abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz-1234567"
#define T63 "abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz-123456789"
#define T61 "abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz-1234567"

struct query {
    const char *name;
    const char *data;
    size_t len;
    int result;
    const char *text; /* the name that is asked for; NULL: no question was read */
    uint16_t type, class, udp_size;
    bool edns, dnssec_ok;
};

extern const struct query queries[];
extern const size_t query_count;

#endif
