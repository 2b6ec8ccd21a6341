/*
 * associate: the datagrams of one client: of a UDP ASSOCIATE (RFC 1928 section 7), or of a client
 * whose datagrams were caught (tproxy.h).
 *
 * It knows neither the client's connection nor its protocol: the owner starts it, asks what it
 * carried, and frees it. Targets are reached directly, or by the relays of a chain.
 */
#ifndef DAEMON_ASSOCIATE_H
#define DAEMON_ASSOCIATE_H

#include "conf/daemon.h"
#include "daemon/batch.h"
#include "daemon/contacts.h"
#include "daemon/egress.h"
#include "daemon/resolve.h"

enum {
    ASSOCIATE_NAMES = 8,        /* that are remembered, or asked for, at a time */
    ASSOCIATE_HELD = 64 * 1024, /* bytes that wait for names, or for the chain */
    ASSOCIATE_NAME_IPS = 4      /* kept of a name */
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

/* Datagrams that wait, one behind the other, each with what is needed to send it. */
struct associate_held {
    uint8_t *bytes;
    size_t len;
};

struct associate {
    void *owner;
    struct loop *loop;
    struct resolver *resolver;
    struct batch *batch;
    enum vd_udp_filter filter;
    const struct vd_conf_access *rule; /* of its request, NULL: none; */
    struct egress egress;              /* and where datagrams to targets and relays leave */
    /* The rules and the guard. `ip` NULL: before the lookup of a name, or without one. */
    bool (*may_send)(struct associate *a, const struct vd_endpoint *target, const struct vd_ip *ip);
    /* How the client gets an answer; NULL: by `client`, with a header. `data` stays until the
     * flush. False: it cannot. */
    bool (*answer)(struct associate *a, const struct vd_endpoint *from, uint8_t *data, size_t len);
    /* Whether so much data may pass now, towards the target (`up`) or back; NULL: it always may. */
    bool (*may_pass)(struct associate *a, bool up, size_t len);
    struct associate_chain *chain; /* associate_chain.h; NULL: targets are reached directly */

    struct loop_io client; /* faces the client */
    struct loop_io out[2]; /* by family, 0 IPv4; opened when first needed */
    struct net_addr from;  /* the client: its port 0 until the first datagram */
    bool connected;        /* `client`, to `from` */
    int64_t began_ms;
    struct batch_tally up, down;
    uint64_t dropped; /* beside what the sockets did not take */

    /* private */
    struct associate_name names[ASSOCIATE_NAMES];
    struct associate_held held; /* for names */
    struct contacts contacts;
};

/* *batch is made if there is none. NULL without memory. */
struct associate *associate_new(struct loop *loop, struct resolver *resolver, struct batch **batch);
/* Frees it, and its chain. */
void associate_free(struct associate *a);

/* Takes datagrams of `from` (port 0: whichever comes first) at `local`, whose port becomes the real
 * one. VD_OK, or a reason (positive). Not for who brings datagrams himself. */
int associate_start(struct associate *a, struct net_addr *local, const struct net_addr *from);

/* When a datagram was last carried, or it all began. */
int64_t associate_last_ms(const struct associate *a);
uint64_t associate_dropped(const struct associate *a);

/* Brings a datagram of the client's for `target`: judged, and sent on. batch_flush must follow. */
void associate_take(struct associate *a, const struct vd_endpoint *target, const uint8_t *data,
                    size_t len);

/* --- between associate.c, associate_names.c and associate_chain.c --- */

/* A socket for datagrams, watched by `io`, bound to `at`. -1 with errno. */
int associate_socket(struct associate *a, struct loop_io *io, const struct net_addr *at);
/* One that faces targets or relays: bound to where they are reached from, if that is not said in
 * `at` (without family: it is not). EGRESS_FINE with io->fd -1: errno tells why. */
enum egress_fault associate_out(struct associate *a, struct loop_io *io, int family,
                                const struct net_addr *at);
/* Opens what faces targets where a source is configured, so that the request is refused if none of
 * it can be had: VD_OK, or a reason; *out says why. */
int associate_leave(struct associate *a, struct vd_out *out);

/* Sends on to a target that was judged: an address, or a name where the chain takes names. */
void associate_send(struct associate *a, const struct vd_endpoint *target, const uint8_t *data,
                    size_t len);
/* An answer of `from`: to the client, if its filter lets it pass. Before `data` there is room for a
 * header that says `from`. */
void associate_give(struct associate *a, const struct vd_endpoint *from, uint8_t *data, size_t len);

/* Copies `head` and data to the end. False: there is no room. */
bool associate_hold(struct associate_held *held, const void *head, size_t head_len,
                    const uint8_t *data, size_t len);
void associate_drop_held(struct associate_held *held);

/* A datagram for a name: sent on, held until the name is known, or dropped. */
void associate_send_to_name(struct associate *a, const struct vd_endpoint *target,
                            const uint8_t *data, size_t len);
void associate_forget_names(struct associate *a);

#endif
