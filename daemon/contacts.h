/*
 * contacts: whom a client of UDP ASSOCIATE has sent to lately, so that nobody else is let in.
 *
 * A table of fixed size: in a full bucket the oldest contact gives way.
 */
#ifndef DAEMON_CONTACTS_H
#define DAEMON_CONTACTS_H

#include "proto/endpoint.h"

enum { CONTACTS_BUCKETS = 128, CONTACTS_PER_BUCKET = 8 };

struct contact {
    struct vd_ip ip; /* family 0: none */
    uint16_t port;
};

/* Zeroed before the first use. */
struct contacts {
    struct contact at[CONTACTS_BUCKETS][CONTACTS_PER_BUCKET];
    uint8_t oldest[CONTACTS_BUCKETS];
};

void contacts_add(struct contacts *c, const struct vd_ip *ip, uint16_t port);
/* Whether this host was contacted; with `port` not 0 at this port. */
bool contacts_has(const struct contacts *c, const struct vd_ip *ip, uint16_t port);

#endif
