/*
 * feed: a world for one worker of viaductd, inside its process.
 *
 * The calls by which the daemon, and the libraries it uses, reach the outside are defined here, so
 * that the linker binds them to the feeder instead of libc: no packet can leave. A socket is one
 * end of a socket pair, whose other end the feeder holds; a connection to a target, a datagram to
 * a stranger and a question to a name server all end there. An input is a script (see enum feed_op)
 * that says what clients and targets do; the feeder takes its next step whenever the worker waits
 * and nothing is ready, and time passes only where the script or the end of it lets it pass.
 *
 * Sockets of a pair differ from TCP's: a close() looks like a reset, and there is no third party.
 *
 * All calls do what libc's do while no input is played.
 */
#ifndef TESTS_FUZZ_FEED_H
#define TESTS_FUZZ_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/net.h"

/* What a script's bytes mean: an operation, then `who` (of several the newest is 0), then the rest.
 * Whatever is missing at the end of a script is 0. */
enum feed_op {
    FEED_CLIENT_SAYS, /* length, bytes */
    FEED_TARGET_SAYS, /* length, bytes */
    FEED_CLIENT_ENDS, /* FIN */
    FEED_TARGET_ENDS,
    FEED_CLIENT_LEAVES, /* RST, for the daemon */
    FEED_TARGET_LEAVES,
    FEED_TIME,     /* a class of duration */
    FEED_COMES,    /* to listener `who`; a class of address */
    FEED_FATE,     /* enum feed_fate of the next connect() */
    FEED_DATAGRAM, /* a class of address, length, bytes */
    FEED_NAMES,    /* how names are answered from now on: enum feed_answer */
    FEED_HOLD,     /* a target does not read, or does so again */
    FEED_SHORTAGE, /* a descriptor is missing so many times */
    FEED_SIGNAL,   /* 0 SIGUSR1, else SIGTERM */
    FEED_HELPER,   /* enum feed_helper, from now on */
    FEED_OPS
};

enum feed_fate {
    FATE_SOON,
    FATE_AT_ONCE,
    FATE_REFUSED,
    FATE_REFUSED_LATER,
    FATE_SILENT, /* until FEED_HOLD */
    FATE_UNREACHABLE,
    FATE_ENDED, /* connected, and nothing will be said */
    FATES
};

enum feed_answer {
    ANSWER_GLOBAL,
    ANSWER_LOOPBACK, /* a target that wants into this machine */
    ANSWER_UNKNOWN,
    ANSWER_FAILURE,
    ANSWER_SILENCE,
    ANSWER_CUT, /* ask again by TCP */
    ANSWER_BROKEN,
    ANSWER_EMPTY,
    ANSWERS
};

enum feed_helper { HELPER_KNOWS, HELPER_DIES, HELPER_IS_SILENT, HELPERS };

enum feed_kind {
    FEED_NONE,
    FEED_SOCKET, /* new */
    FEED_LISTENER,
    FEED_CLIENT, /* accepted: a client, or a peer of BIND */
    FEED_TARGET, /* connected */
    FEED_DATAGRAMS
};

/* Names with this letter are the administrator's: their answers lead nowhere else. */
#define FEED_HONEST      'w'
#define FEED_NAME_SERVER "192.0.2.53"

enum { FEED_FDS = 320, FEED_QUEUE = 16, FEED_TAIL = 32 };

/* What stands behind a descriptor of the daemon. */
struct feed_end {
    enum feed_kind kind;
    unsigned age; /* counts up */
    int ours;     /* -1: closed */
    bool held;    /* not read from */
    int error;    /* SO_ERROR */
    uint8_t type; /* SOCK_STREAM, SOCK_DGRAM */
    sa_family_t family;
    struct net_addr local, peer;
    struct net_addr last; /* datagrams: where the last one went */
    /* addresses of those who wait to be accepted, or of the datagrams that wait */
    struct net_addr from[FEED_QUEUE];
    unsigned from_at, from_count;
    char tail[FEED_TAIL]; /* the last bytes of a client */
    unsigned tail_len;
};

extern struct feed_end feed_ends[FEED_FDS];
extern bool feed_on;
extern int64_t feed_now_ms;

/* Set before a run. Whether this may be connected to, or be sent datagrams. */
extern bool (*feed_may_reach)(const struct net_addr *to, int type);
/* What a client has to say before anything is connected to: any of these; NULL ends them. */
extern const char *const *feed_secrets;

/* A run: begins with `size` bytes of a script, which stay where they are. */
void feed_begin(const uint8_t *script, size_t size);
void feed_end(void);
/* A listener, before the worker starts: a descriptor for its set. */
int feed_listener(const struct net_addr *at);
bool feed_secret_was_said(void);

/* --- between the files of the feeder --- */

#define FEED_CALL __attribute__((visibility("default")))

struct feed_end *feed_of(int fd); /* NULL: not one of ours */
/* The newest but `back` of a kind, -1: none at all. */
int feed_pick(enum feed_kind kind, unsigned back);
int feed_open(sa_family_t family, int type);
bool feed_is_short(void);
void feed_reset_table(void);
void feed_be_short(unsigned times);
void feed_set_fate(unsigned fate);
void feed_arrive(int listener, const struct net_addr *from);
void feed_put_datagram(int fd, const struct net_addr *from, const uint8_t *data, size_t len);
void feed_push(struct feed_end *e, const struct net_addr *from);
bool feed_pop(struct feed_end *e, struct net_addr *from);
/* The descriptor's peer said this: a question to a name server is answered. */
void feed_hear(int fd, const uint8_t *data, size_t len);
void feed_set_answer(unsigned answer);
struct net_addr feed_addr(const char *host, uint16_t port);
void feed_copy_addr(const struct net_addr *a, struct sockaddr *to, socklen_t *len);

#endif
