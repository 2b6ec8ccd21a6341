/*
 * fuzz: a target states a property and aborts where it does not hold. The first bytes of an input
 * say how it is played, the rest is what the peer sends.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PROPERTY(holds)                                                                            \
    do {                                                                                           \
        if (!(holds)) {                                                                            \
            fprintf(stderr, "%s:%d: it does not hold that %s\n", __FILE__, __LINE__, #holds);      \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* Inputs of fuzz_shake: SHAKE_HEAD bytes, then what the hops say. SHAKE_LOGINS: 3 bits for hops
 * with a login, 3 for those that are told flights, 2 for those that are proven. */
enum { SHAKE_HOPS, SHAKE_KINDS, SHAKE_LOGINS, SHAKE_TARGET, SHAKE_CHUNK, SHAKE_LOSS, SHAKE_HEAD };
enum { SHAKE_TARGETS = 4, SHAKE_HOPS_MAX = 3 };

/* Inputs of fuzz_accept: ACCEPT_HEAD bytes, then what the client says. */
enum { ACCEPT_OFFERS, ACCEPT_DECISIONS, ACCEPT_CHUNK, ACCEPT_HEAD };

/* Inputs of fuzz_udp: how many relays there are behind the first and which of them is another than
 * it says (none, if there are less); then a datagram. */
enum { UDP_RELAYS, UDP_STRANGER, UDP_HEAD };
enum { UDP_RELAYS_MAX = 3 };

/* Inputs of fuzz_dns: what is answered, and in how much room; then a message. */
enum { DNS_RCODE, DNS_RECORDS, DNS_ROOM, DNS_HEAD };

#endif
