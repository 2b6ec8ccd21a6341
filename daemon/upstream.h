/*
 * upstream: the chains by which targets are reached: which hops a dial takes (proto/mode.h), and
 * what all workers remember of them (shared.h): which are down, and which may be told more than
 * they have answered yet (proto/repute.h).
 *
 * A hop is down for UPSTREAM_DEAD_MS after it failed by itself, until it comes up, or until checks
 * say so (upstream_check.h). What was learned of flights holds for a hop of this name and URL, over
 * reloads; the safety of logins, for this very chain.
 */
#ifndef DAEMON_UPSTREAM_H
#define DAEMON_UPSTREAM_H

#include "conf/daemon.h"
#include "daemon/loop.h"
#include "daemon/shared.h"
#include "proto/chain.h"

enum { UPSTREAM_DEAD_MS = 30 * 1000 };

struct resolver;

struct upstream {
    const struct vd_conf_upstream *conf;
    struct upstream *fallback; /* NULL: none */
    const struct loop *loop;   /* its clock */
    uint32_t number;           /* tells chains apart, by what they consist of; never 0 */
    struct shared_hop *hops[VD_HOPS_MAX];
    struct resolver *names; /* its targets' names are asked for through it; NULL: as the last hop
                               takes them. The worker's. */
};

/* One per worker. */
struct upstreams {
    struct upstream *at;
    size_t count;
};

/* Whose indices are linked (vd_conf_daemon_link); all arguments outlive it. 0, or -1. */
int upstreams_start(struct upstreams *all, const struct vd_conf_daemon *conf, struct shared *shared,
                    const struct loop *loop);
void upstreams_free(struct upstreams *all);
/* The one that a rule names, or the default one; NULL: directly. `rule` may be NULL. */
struct upstream *upstreams_by_rule(const struct upstreams *all, const struct vd_conf_access *rule);
/* Of the longest one. */
size_t upstreams_most_hops(const struct upstreams *all);

/* It, or the first of its fallbacks that is not thought to be down; all are: it. */
struct upstream *upstream_in_use(struct upstream *up);
/* Which hops a dial takes now, none of those in `avoid`, a bit for each hop of the list, if others
 * can stand in. Fills in the whole path; takes a turn of round_robin. */
void upstream_path(struct upstream *up, uint16_t avoid, struct vd_path *path);
/* The same hops once more, or some of them: fills in what may fly by now. */
void upstream_flights(const struct upstream *up, struct vd_path *path);
/* Whether, without the hops that are down and those in `avoid`, enough are left. */
bool upstream_has_others(const struct upstream *up, uint16_t avoid);

/* The same, and the last hop is told all at once, though it is not known to bear that: unless its
 * login might be read by somebody else. */
void upstream_try_flight(const struct upstream *up, struct vd_path *path);
/* A chain over it came up: which logins were safe, and what flew, is known from now on. */
void upstream_learn(struct upstream *up, const struct vd_chain *chain);
/* And its hops are not down. */
void upstream_up(struct upstream *up, const struct vd_chain *chain);
/* VD_AGAIN. */
void upstream_unfit(struct upstream *up, const struct vd_chain *chain);
/* A hop of the list failed with `err` (negative), by its own doing. */
void upstream_failed(struct upstream *up, unsigned hop, int err);

/* What checks have found of a hop of the list. */
void upstream_note_check(struct upstream *up, unsigned hop, int err, int64_t took_ms);
bool upstream_is_hop_down(const struct upstream *up, unsigned hop);

#endif
