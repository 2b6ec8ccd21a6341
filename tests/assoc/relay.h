/*
 * relay: SOCKS5 servers with UDP ASSOCIATE for a test, each with a manner of its own, all in one
 * child process; and an echo that says which port it sees.
 */
#ifndef TESTS_ASSOC_RELAY_H
#define TESTS_ASSOC_RELAY_H

#include <stddef.h>
#include <stdint.h>

enum manner {
    RELAY_GOOD,      /* BND is its address */
    RELAY_UNSAID,    /* BND is 0.0.0.0 */
    RELAY_NAME,      /* BND is a name */
    RELAY_MULTICAST, /* BND is 224.0.0.1 */
    RELAY_NO_PORT,   /* BND has port 0 */
    RELAY_NO_UDP,    /* reply 7 to ASSOCIATE; CONNECT is served */
    RELAY_SLOW,      /* replies to ASSOCIATE after RELAY_SLOW_MS */
    RELAY_SILENT,    /* never replies to it */
    RELAY_BRIEF,     /* closes the control connection after the first datagram */
    RELAY_NOISY,     /* before each datagram from the target, forged ones */
    RELAY_MANNERS
};

enum { RELAY_SLOW_MS = 200 };

/* Starts them all; ends with the caller. false: it cannot be. */
_Bool relay_start(uint16_t ports[RELAY_MANNERS], uint16_t *echo);

#endif
