/*
 * associate: the datagrams of one UDP ASSOCIATE (RFC 1928 section 7).
 *
 * It knows neither the client's connection nor its protocol: the owner starts it, asks what it
 * carried, and frees it.
 */
#ifndef DAEMON_ASSOCIATE_H
#define DAEMON_ASSOCIATE_H

#include "conf/daemon.h"
#include "daemon/contacts.h"
#include "daemon/loop.h"
#include "daemon/net.h"
#include "daemon/resolve.h"

enum {
    ASSOCIATE_NAMES = 8,        /* that are remembered, or asked for, at a time */
    ASSOCIATE_HELD = 64 * 1024, /* bytes that wait for names */
    ASSOCIATE_NAME_IPS = 4      /* kept of a name */
};

/* Room for datagrams under way within one turn; shared by all associations of a worker. */
struct associate_batch;

struct associate_count {
    uint64_t datagrams, bytes; /* of the data, without headers */
};

/* A name that the client sends to, and the addresses that it got. */
struct associate_name {
    struct associate *owner;
    struct resolve_wait wait;
    int64_t used_ms;
    bool asked; /* the answer is awaited, and datagrams may be held */
    uint8_t len, count;
    struct vd_ip ips[ASSOCIATE_NAME_IPS]; /* in the order of preference */
    char text[VD_NAME_MAX + 1];
};

struct associate {
    void *owner;
    struct loop *loop;
    struct resolver *resolver;
    struct associate_batch *batch;
    enum vd_udp_filter filter;
    /* The rules and the guard. `ip` NULL: before the lookup of a name. */
    bool (*may_send)(struct associate *a, const struct vd_endpoint *target, const struct vd_ip *ip);

    struct loop_io client; /* faces the client */
    struct loop_io out[2]; /* by family, 0 IPv4; opened when first needed */
    struct net_addr from;  /* the client: its port 0 until the first datagram */
    bool connected;        /* `client`, to `from` */
    int64_t last_ms;       /* of a datagram that was carried */
    struct associate_count up, down;
    uint64_t dropped;

    /* private */
    struct associate_name names[ASSOCIATE_NAMES];
    uint8_t *held;
    size_t held_len;
    struct contacts contacts;
};

/* *batch is made if there is none. NULL without memory. */
struct associate *associate_new(struct loop *loop, struct resolver *resolver,
                                struct associate_batch **batch);
void associate_free(struct associate *a);
void associate_batch_free(struct associate_batch *batch);

/* Takes datagrams of `from` (port 0: whichever comes first) at `local`, whose port becomes the real
 * one. VD_OK, or a reason (positive). */
int associate_start(struct associate *a, struct net_addr *local, const struct net_addr *from);

/* --- between associate.c and associate_names.c --- */

/* Sends `len` bytes on to an address, soon: associate_flush must follow before the bytes go. */
void associate_send(struct associate *a, const struct net_addr *to, const uint8_t *data,
                    size_t len);
void associate_flush(struct associate *a);

/* A datagram for a name: sent on, held until the name is known, or dropped. */
void associate_send_to_name(struct associate *a, const struct vd_endpoint *target,
                            const uint8_t *data, size_t len);
void associate_forget_names(struct associate *a);

#endif
