/*
 * resolve_state: what resolve.c, resolve_cares.c, resolve_chain.c and resolve_system.c share;
 * private to them.
 */
#ifndef DAEMON_RESOLVE_STATE_H
#define DAEMON_RESOLVE_STATE_H

#include <ares.h>
#include <time.h>

#include "daemon/dial.h"
#include "daemon/resolve.h"

enum { RESOLVE_BUCKETS = 256 };

struct resolve_channel;
struct resolve_helper;
struct resolve_tunnel;

struct resolve_lookup {
    struct resolver *resolver;
    struct resolve_channel *channel;
    struct resolve_lookup *next; /* in its bucket */
    struct resolve_wait *waiters;
    struct resolve_result {
        bool here;
        int err;
        size_t count;
        int64_t ttl_ms;
        struct vd_ip ips[RESOLVE_IPS_MAX];
    } family[2];
    int64_t asked_ms;
    int64_t expires_ms; /* past: nothing to keep */
    bool telling;
    size_t len;
    char name[VD_NAME_MAX + 1];
};

struct resolver {
    struct loop *loop;
    struct resolve_setup setup;
    struct resolve_lookup *buckets[RESOLVE_BUCKETS];
    size_t kept;    /* lookups in the table */
    unsigned sweep; /* the next bucket to clean */

    /* c-ares */
    struct resolve_channel *channels; /* the newest first */
    bool inside;                      /* it is at work: no channel may go */
    int64_t conf_checked_ms;
    struct timespec conf_time;
    /* through a chain: how it failed last; VD_OK if it did not */
    int said_err;
    size_t said_len;
    char said[DIAL_SAID_MAX];

    struct resolve_helper *helper; /* the system */
};

/* resolve.c */

/* Addresses are put into *result one by one; more than there is room for are left out. */
void resolve_add(struct resolve_result *result, const struct vd_ip *ip, int64_t ttl_ms);
/* The result of a family stands in l->family[], but for `here`: those who wait are told. */
void resolve_done(struct resolve_lookup *l, struct resolve_result *result, int err);

/* resolve_cares.c: 0, or -1 */

int resolve_cares_open(struct resolver *r);
void resolve_cares_close(struct resolver *r);
/* Before a question: resolv.conf may have changed. */
void resolve_cares_follow(struct resolver *r);
void resolve_cares_ask(struct resolve_lookup *l);
/* Something has come of `fd`, a descriptor of the channel, that c-ares has to look at. */
void resolve_cares_process(struct resolve_channel *c, int readable, int writable);
/* Watches a descriptor for it, or (events 0) no more. */
void resolve_cares_watch(struct resolve_channel *c, int fd, uint32_t events);
struct resolver *resolve_cares_owner(struct resolve_channel *c);
struct resolve_tunnel **resolve_cares_tunnels(struct resolve_channel *c);

/* resolve_chain.c */

/* c-ares has its sockets made there from now on. */
void resolve_chain_use(ares_channel ares, struct resolve_channel *c);
/* What c-ares wants to hear of a descriptor: true if it is kept for the time when that stands. */
bool resolve_chain_defer(struct resolve_channel *c, int fd, uint32_t events);

/* resolve_system.c */

int resolve_system_start(struct resolver *r);
void resolve_system_stop(struct resolver *r);
void resolve_system_ask(struct resolve_lookup *l);

#endif
