/*
 * listener: sockets that accept, one per worker and address, opened by the parent.
 *
 * A worker's listener outlives the worker: the parent keeps it open, so that what is queued on it
 * waits for the next worker of that slot instead of being reset.
 */
#ifndef DAEMON_LISTENER_H
#define DAEMON_LISTENER_H

#include "conf/daemon.h"
#include "daemon/loop.h"
#include "daemon/net.h"

struct worker;

/* One address, with a socket for each worker. */
struct listen_at {
    struct net_addr addr; /* with the real port */
    unsigned offers;      /* VD_OFFER_* */
    enum vd_listen_kind kind;
    int *fds; /* as many as there are workers */
};

struct listen_set {
    struct listen_at *at;
    size_t count;
    unsigned workers;
};

/* Works out the addresses `conf` asks for, and refuses those that would make an open proxy. 0, or
 * -1 with *error (freed by the caller) and an empty set. */
int listen_plan(struct listen_set *set, const struct vd_conf_daemon *conf, unsigned workers,
                char **error);
/* Opens them all. 0, or -1 with *error; then nothing is open. */
int listen_open(struct listen_set *set, char **error);
/* Closes every socket but those of `slot`; slot -1: all of them. */
void listen_close_others(struct listen_set *set, int slot);
void listen_free(struct listen_set *set);
/* "mixed://127.0.0.1:1080" */
void listen_print(struct vd_out *out, const struct listen_at *at);

/* A worker's own. */
struct listener {
    struct loop_io io;
    struct worker *worker;
    struct net_addr addr;
    bool wildcard; /* connections arrive at other addresses than `addr` */
    uint8_t offers;
};

/* Takes the socket of `slot` over. 0, or -1 with errno. */
int listener_start(struct listener *l, struct worker *worker, const struct listen_at *at, int slot);
void listener_pause(struct listener *l);
void listener_resume(struct listener *l);
/* Accepts what is queued, then closes. */
void listener_end(struct listener *l);

#endif
