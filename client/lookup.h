/*
 * lookup: who answers when a program asks for a name or for the name of an address.
 */
#ifndef VD_CLIENT_LOOKUP_H
#define VD_CLIENT_LOOKUP_H

#include "client/hosts.h"
#include "proto/endpoint.h"

enum lookup_answer {
    LOOKUP_SYSTEM,  /* the system's resolver may */
    LOOKUP_KNOWN,   /* the answer stands in the struct */
    LOOKUP_UNKNOWN, /* there is no such name, as far as anybody here may tell */
    LOOKUP_FULL     /* no placeholder is left */
};

struct lookup {
    struct vd_ip ips[HOSTS_IPS_MAX];
    size_t count;
    bool remember; /* a rule knows the name: tell lookup_remember of its real addresses */
};

/* Numeric forms are the system's. `port`: 0 if it is not known yet. `want6`: only IPv6 addresses
 * are asked for. */
enum lookup_answer lookup_name(struct lookup *l, const char *name, uint16_t port, bool want6);
void lookup_remember(const char *name, const struct vd_ip *ip);

/* The name of an address; with LOOKUP_KNOWN it stands in `name`. */
enum lookup_answer lookup_address(const struct vd_ip *ip, char name[VD_NAME_MAX + 1]);

/* Whether DNS queries for a name (NULL: for whatever name) may be sent from this machine. Numeric
 * forms and local names need none. */
bool lookup_may_query(const char *name);
/* Whether the name servers at the chain's far end may be asked for what is not an address of this
 * name: it is none that is known here, that a rule refuses, or that goes by another chain. */
bool lookup_may_ask_chain(const char *name);

#endif
