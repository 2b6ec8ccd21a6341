/*
 * resolve: names to addresses by c-ares on the loop; the only user of c-ares.
 *
 * /etc/hosts and /etc/resolv.conf are honoured, the latter read anew when it has changed. A and
 * AAAA are asked at once and answered apart, as RFC 8305 section 3 wants it. Clients that ask for
 * the same name share one lookup, and an answer is kept as long as the shortest of its TTLs.
 */
#ifndef DAEMON_RESOLVE_H
#define DAEMON_RESOLVE_H

#include "daemon/loop.h"
#include "proto/endpoint.h"

enum { RESOLVE_IPS_MAX = 8 }; /* of one family */
enum resolve_family { RESOLVE_V6, RESOLVE_V4 };

struct resolver;
struct resolve_lookup;

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
    int err;   /* VD_OK, or why there is no address: VD_ERR_NAME, VD_ERR_TTL */
    size_t count;
    const struct vd_ip *ips; /* lives until resolve_stop */
};

/* NULL if there is no memory or c-ares does not start. */
struct resolver *resolve_new(struct loop *loop);
void resolve_free(struct resolver *r);

/* wait->answered is set. Answers may be there at once. 0, or -1 without memory. */
int resolve_start(struct resolver *r, struct resolve_wait *wait, const char *name, size_t len);
struct resolve_answer resolve_answer(const struct resolve_wait *wait, enum resolve_family family);
/* Ends the wait; harmless where there is none. The lookup itself goes on, for the cache. */
void resolve_stop(struct resolve_wait *wait);

#endif
