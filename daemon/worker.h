/*
 * worker: one process, one loop, its listeners and its sessions.
 */
#ifndef DAEMON_WORKER_H
#define DAEMON_WORKER_H

#include "daemon/access.h"
#include "daemon/dial.h"
#include "daemon/listener.h"
#include "daemon/login.h"
#include "daemon/relay.h"
#include "daemon/shared.h"
#include "daemon/tls_context.h"
#include "daemon/upstream_check.h"

struct batch;
struct tproxy;
struct session;
struct session_setup;

struct worker {
    struct loop loop;
    const struct vd_conf_daemon *conf;
    struct shared *shared;
    struct shared_counts *counts; /* this worker's own */
    struct access *access;
    struct login *login;
    struct dialer dialer;
    struct upstreams upstreams;
    struct upstream_checks *checks;
    uint64_t revoked; /* users removed before it started (revoke.h) */
    struct relay_pool pool;
    struct tls_pool tls;
    const struct tls_contexts *contexts; /* of hops */
    struct listener *listeners;
    size_t listener_count;
    size_t more_timers; /* beside those of sessions */

    struct session *sessions; /* all that live */
    size_t session_count, session_max;
    size_t session_peak;                                   /* since memory was last given back */
    struct session_setup *shaking_oldest, *shaking_newest; /* limit.h */
    struct session *free_sessions, *ended;                 /* `ended` is freed after the batch */
    struct session_setup *free_setups;
    unsigned free_session_count, free_setup_count;

    struct batch *batch;   /* made for the first association */
    size_t associations;   /* that live */
    struct tproxy *tproxy; /* made for the first client */

    bool paused;   /* accept: too many sessions, or no descriptors */
    bool retrying; /* the pause was over, and nothing could be accepted yet */
    bool draining;
    struct loop_timer resume, drain, publish;
    int64_t told_pause_ms;
    struct loop_io signals;
};

/* Runs until the worker has nothing more to do; the process then exits with the result. Takes the
 * sockets of `slot` and closes the others. */
int worker_run(const struct vd_conf_daemon *conf, const struct tls_contexts *contexts,
               struct listen_set *set, int slot, struct shared *shared);

/* Whether a listener may accept another connection, which is counted then as a session that is
 * open; if not, all are paused. */
bool worker_enter(struct worker *w);
/* There was none, or its session has ended. */
void worker_leave(struct worker *w);
/* accept() failed for want of descriptors or memory. */
void worker_pause(struct worker *w, int number);

#endif
