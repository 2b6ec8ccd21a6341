/*
 * batch: datagrams received and sent many at a time, by one buffer that all sockets of a worker
 * share.
 *
 * Who is told that a socket is ready receives a batch, adds what is to be sent on, which may stand
 * in the buffer, and flushes before anybody else receives. Nothing here waits, and no error ends
 * anything: these are datagrams. What a socket does not take is lost, and counted.
 */
#ifndef DAEMON_BATCH_H
#define DAEMON_BATCH_H

#include <sys/uio.h>

#include "daemon/loop.h"
#include "daemon/net.h"

enum {
    BATCH_MAX = 16,      /* datagrams at a time */
    BATCH_HEADROOM = 32, /* bytes before a datagram that may be written to */
    BATCH_HEAD = 768,    /* the longest headers that batch_add copies */
    BATCH_DATAGRAM = 65536
};

/* What became of the datagrams of one direction. */
struct batch_tally {
    uint64_t datagrams, bytes; /* sent; of the data, without headers */
    uint64_t lost;             /* which a socket did not take */
    int64_t last_ms;           /* when one was sent */
    bool refused;              /* the kernel was told that nobody listens there (ICMP) */
    bool unsegmented;          /* private: they go one by one */
};

struct batch_in {
    const struct net_addr *from;
    struct net_addr to; /* with batch_receive_caught; else AF_UNSPEC */
    uint8_t *data;      /* in the buffer, BATCH_HEADROOM bytes before it free */
    size_t len;
};

struct batch_out {
    const struct net_addr *to;  /* NULL: where the socket is connected to */
    const uint8_t *head, *data; /* `head` is copied, `data` stays until the flush */
    size_t head_len, len;
    size_t header; /* bytes at the front of `data` that do not count as data */
};

struct batch;

/* NULL without memory. */
struct batch *batch_new(const struct loop *loop);
void batch_free(struct batch *b);

/* How many came, BATCH_MAX at most; 0 with errno if none did, or an error was kept in the socket
 * (which is taken by asking). */
unsigned batch_receive(struct batch *b, int fd);
/* The same of a socket with IP_RECVORIGDSTADDR: each with where it was sent to. */
unsigned batch_receive_caught(struct batch *b, int fd);
struct batch_in batch_get(const struct batch *b, unsigned at);

/* To be sent from `fd`; the tally stays until the flush. */
void batch_add(struct batch *b, int fd, struct batch_tally *tally, const struct batch_out *out);
void batch_flush(struct batch *b);

#endif
