#include "tests/unit/datagrams.h"

#include "proto/err.h"

const struct datagram datagrams[] = {
    {"one hop", "", BYTES(IP4 "data"), VD_OK, "192.0.2.1:53", 10},
    {"one hop, no data", "", BYTES(IP4), VD_OK, "192.0.2.1:53", 10},
    {"one hop, data like a header", "", BYTES(IP4 RELAY2 "data"), VD_OK, "192.0.2.1:53", 10},
    {"one hop, from a name", "", BYTES(NAMED "data"), VD_OK, "example.com:80", 18},
    {"two hops", "198.51.100.2:9999", BYTES(RELAY2 IP6 "data"), VD_OK, "[2001:db8::1]:443", 32},
    {"two hops, no data", "198.51.100.2:9999", BYTES(RELAY2 IP6), VD_OK, "[2001:db8::1]:443", 32},
    {"three hops", "198.51.100.2:9999 [2001:db8::3]:10000", BYTES(RELAY2 RELAY3 IP4 "data"), VD_OK,
     "192.0.2.1:53", 42},
    {"a relay in the form of an IPv6 socket", "[::ffff:198.51.100.2]:9999", BYTES(RELAY2 IP4),
     VD_OK, "192.0.2.1:53", 20},
    {"a header that tells it in that form", "198.51.100.2:9999",
     BYTES("\0\0\0\4\0\0\0\0\0\0\0\0\0\0\xff\xff\xc6\x33\x64\2\x27\x0f" IP4), VD_OK, "192.0.2.1:53",
     32},
    {"a relay known by name", "relay.example:9999", BYTES(RELAY2 IP4), VD_OK, "192.0.2.1:53", 20},
    {"a relay known by name, another port", "relay.example:9998", BYTES(RELAY2 IP4), -VD_ERR_DENIED,
     NULL, 0},
    {"a stranger at the second hop", "198.51.100.3:9999", BYTES(RELAY2 IP4 "data"), -VD_ERR_DENIED,
     NULL, 0},
    {"a stranger's port at the second hop", "198.51.100.2:9998", BYTES(RELAY2 IP4), -VD_ERR_DENIED,
     NULL, 0},
    {"a stranger at the third hop", "198.51.100.2:9999 [2001:db8::4]:10000",
     BYTES(RELAY2 RELAY3 IP4), -VD_ERR_DENIED, NULL, 0},
    {"a relay in the place of another", "198.51.100.2:9999 [2001:db8::3]:10000",
     BYTES(RELAY3 RELAY2 IP4), -VD_ERR_DENIED, NULL, 0},
    {"a name where the relay's address is known", "198.51.100.2:80", BYTES(NAMED IP4),
     -VD_ERR_DENIED, NULL, 0},
    {"a header too few", "198.51.100.2:9999", BYTES(RELAY2), -VD_ERR_PROTOCOL, NULL, 0},
    {"no header", "", BYTES("data"), -VD_ERR_ADDRESS_TYPE, NULL, 0},
    {"nothing", "", BYTES(""), -VD_ERR_PROTOCOL, NULL, 0},
    {"data where a header should be", "198.51.100.2:9999", BYTES(RELAY2 "data"),
     -VD_ERR_ADDRESS_TYPE, NULL, 0},
    {"a fragment", "",
     BYTES("\0\0\x81\1\1\2\3\4\0\x35"
           "data"),
     -VD_ERR_UNSUPPORTED, NULL, 0},
    {"a fragment within", "198.51.100.2:9999", BYTES(RELAY2 "\0\0\1\1\1\2\3\4\0\x35"),
     -VD_ERR_UNSUPPORTED, NULL, 0},
    {"a fragment without", "198.51.100.2:9999", BYTES("\0\0\1\1\xc6\x33\x64\2\x27\x0f" IP4),
     -VD_ERR_UNSUPPORTED, NULL, 0},
    {"a bad name within", "198.51.100.2:9999", BYTES(RELAY2 "\0\0\0\3\3a b\0\x35"),
     -VD_ERR_NAME_FORM, NULL, 0},
};

const size_t datagram_count = sizeof datagrams / sizeof *datagrams;
