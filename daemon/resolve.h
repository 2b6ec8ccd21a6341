/*
 * resolve: names to addresses, on the loop; by c-ares, of which these files are the only users, or
 * by the system.
 *
 *     straight           c-ares asks the name servers. /etc/hosts and /etc/resolv.conf are
 * honoured, the latter read anew when it has changed. A and AAAA are asked at once and answered
 * apart, as RFC 8305 section 3 wants it. through a chain    the same, but by TCP (RFC 7766) through
 * a dialer's upstream; no packet goes to a name server by itself system             getaddrinfo()
 * in a helper process: NSS, with whatever a site has there
 *
 * Clients that ask for the same name share one lookup. An answer is kept as long as the shortest of
 * its TTLs, at most an hour; one of the system, which tells none, for RESOLVE_SYSTEM_MS. Unknown
 * names, and failures, are asked anew by the next client.
 */
#ifndef DAEMON_RESOLVE_H
#define DAEMON_RESOLVE_H

#include "conf/daemon.h"
#include "daemon/loop.h"
#include "proto/endpoint.h"

enum {
    RESOLVE_IPS_MAX = 8,      /* of one family */
    RESOLVE_SYSTEM_MS = 5000, /* what the system said is kept as long */
    RESOLVE_TIMERS = 80       /* a worker's resolvers have so many at most */
};
enum resolve_family { RESOLVE_V6, RESOLVE_V4 };

struct dialer;
struct resolver;
struct shared_counts;
struct upstream;
struct resolve_lookup;

struct resolve_setup {
    bool system;                  /* else c-ares */
    const struct dialer *through; /* which leads to the name servers, NULL: straight, */
    struct upstream *via;         /* by this */
    /* In place of resolv.conf's, for c-ares; borrowed for good. */
    const struct vd_endpoint *servers;
    size_t server_count;
    struct shared_counts *counts; /* where lookups are counted (shared.h); NULL: nowhere */
};

/* Somebody who waits for a name; lives in what it belongs to. */
struct resolve_wait {
    struct resolve_lookup *lookup;
    struct resolve_wait *next, **link;
    /* Called when a family was answered, never from inside resolve_start. It may stop the wait. */
    void (*answered)(struct resolve_wait *wait);
};

/* What is known of one family. */
struct resolve_answer {
    bool here; /* false: still asked for */
    int err;   /* VD_OK, or why there is no address: VD_ERR_NAME, VD_ERR_TTL, VD_ERR_BUSY; through a
                  chain: also why that did not lead to a name server */
    size_t count;
    const struct vd_ip *ips; /* lives until resolve_stop */
};

/* Whether names can be asked as `conf` says. 0, or -1 with *error. */
int resolve_check(const struct vd_conf_daemon *conf, char **error);

/* NULL if there is no memory, or c-ares or the helper does not start. */
struct resolver *resolve_new(struct loop *loop, const struct resolve_setup *setup);
void resolve_free(struct resolver *r); /* NULL: nothing */

/* Nobody will ask any more: connections to name servers are not kept for later. NULL: nothing. */
void resolve_leave(struct resolver *r);

/* wait->answered is set. Answers may be there at once. 0, or -1 without memory. */
int resolve_start(struct resolver *r, struct resolve_wait *wait, const char *name, size_t len);
struct resolve_answer resolve_answer(const struct resolve_wait *wait, enum resolve_family family);
/* What the chain to the name servers said when it failed last, if that is why there is no answer;
 * NULL if it is not. */
const char *resolve_said(const struct resolve_wait *wait, size_t *len);
/* Ends the wait; harmless where there is none. The lookup itself goes on, for the cache. */
void resolve_stop(struct resolve_wait *wait);

#endif
