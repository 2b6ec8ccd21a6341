/*
 * contacts: whom a client has sent datagrams to lately, so that nobody else is let in.
 *
 * A table of limited size: in a full bucket the oldest contact gives way. Buckets are allocated
 * when something stands in them. Whoever was sent to by a name that is resolved elsewhere is kept
 * by the port alone.
 */
#ifndef DAEMON_CONTACTS_H
#define DAEMON_CONTACTS_H

#include "proto/endpoint.h"

enum { CONTACTS_BUCKETS = 128, CONTACTS_PER_BUCKET = 8 };

struct contact {
    struct vd_ip ip; /* no family: a name */
    uint16_t port;   /* 0: there is none here */
};

struct contact_bucket {
    struct contact at[CONTACTS_PER_BUCKET];
    uint8_t oldest;
};

/* Zeroed before the first use. */
struct contacts {
    struct contact_bucket *at[CONTACTS_BUCKETS];
};

/* `port` is not 0. Without memory nothing is kept. */
void contacts_add(struct contacts *c, const struct vd_ip *ip, uint16_t port);
/* Whether this host was contacted; with `port` not 0 at this port. */
bool contacts_has(const struct contacts *c, const struct vd_ip *ip, uint16_t port);
void contacts_free(struct contacts *c);

#endif
