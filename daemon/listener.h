/*
 * listener: sockets that accept, or take datagrams, one per worker and address, opened by the
 * parent.
 *
 * A worker's listener outlives the worker: the parent keeps it open, so that what is queued on it
 * waits for the next worker of that slot instead of being reset.
 */
#ifndef DAEMON_LISTENER_H
#define DAEMON_LISTENER_H

#include <openssl/types.h>

#include "conf/daemon.h"
#include "daemon/loop.h"
#include "daemon/net.h"

struct balance;
struct worker;

/* One address, with a socket for each worker; or with one that they share: a unix socket, and one
 * that was opened by whoever started viaductd. */
struct listen_at {
    const struct vd_conf_listener *conf;
    struct net_addr asked; /* as configured: maybe with port 0 */
    struct net_addr addr;  /* with the real port */
    unsigned offers;       /* VD_OFFER_* */
    bool datagrams;        /* of the listener that stands before it */
    bool shared;           /* fds[0] is all there is */
    bool given;            /* opened by somebody else: its path is not removed */
    uint64_t dev, inode;   /* of the unix socket that was made */
    int *fds;              /* as many as there are workers; -1: none */
    SSL_CTX *tls;          /* where there is a certificate; NULL: none */
    char *warning;         /* of it; NULL: none */
};

struct listen_set {
    struct listen_at *at;
    size_t count;
    unsigned workers;
};

/* Works out the addresses `conf` asks for, and refuses those that would make an open proxy. 0, or
 * -1 with *error (freed by the caller) and an empty set. `conf` outlives the set. */
int listen_plan(struct listen_set *set, const struct vd_conf_daemon *conf, unsigned workers,
                char **error);
/* Opens them all, but for those that `have` (or NULL) holds already: these stand in both sets then,
 * and one of the two is let go by listen_close_unless. 0, or -1 with *error; then `have` is as
 * before, and nothing else is open. */
int listen_open(struct listen_set *set, const struct listen_set *have, char **error);
bool listen_holds(const struct listen_set *set, int fd); /* false for NULL */
/* Closes every socket of `set` that is not also in `other` (or NULL). */
void listen_close_unless(struct listen_set *set, const struct listen_set *other);
/* Removes the paths of unix sockets that `set` made and `other` (or NULL) does not have. */
void listen_unlink_unless(const struct listen_set *set, const struct listen_set *other);
/* In a worker: closes every socket but those of `slot`. */
void listen_close_others(struct listen_set *set, int slot);
/* In the process that serves the status page. */
void listen_close_all_but_admin(struct listen_set *set);
/* Frees the memory; closes nothing. */
void listen_free(struct listen_set *set);
/* "mixed://127.0.0.1:1080", and "/udp" behind it for datagrams */
void listen_print(struct vd_out *out, const struct listen_at *at);

/* The sockets that systemd, or who starts programs as it does, has opened for this process
 * (sd_listen_fds(3)); an empty set if there are none. 0, or -1 with *error. */
int listen_given(struct listen_set *set, char **error);
void listen_free_given(struct listen_set *set);
/* Without listeners in `conf`, each socket of the set becomes one. 0, or -1 with *error: also for a
 * socket that no listener asks for. */
int listen_use_given(const struct listen_set *given, struct vd_conf_daemon *conf, char **error);

/* A worker's own. */
struct listener {
    struct loop_io io;
    struct worker *worker;
    const struct vd_conf_listener *conf;
    struct balance *balance; /* VD_LISTEN_FORWARD */
    struct net_addr addr;
    bool wildcard;  /* connections arrive at other addresses than `addr` */
    bool datagrams; /* see tproxy.h */
    bool shared;    /* other workers wait for the same socket */
    bool given;     /* and somebody else has opened it */
    int paused_fd;  /* shared and paused: the descriptor, plus 1 */
    uint8_t offers;
    SSL_CTX *tls; /* the set's; NULL: none is served */
};

/* Takes the socket of `slot` over. 0, or -1 with errno. */
int listener_start(struct listener *l, struct worker *worker, const struct listen_at *at, int slot);
void listener_pause(struct listener *l);
void listener_resume(struct listener *l);
/* Accepts what is queued, then closes. What is queued for all workers is left to those that come
 * next, unless none does (`last`), and always to whoever opened the socket for us. */
void listener_end(struct listener *l, bool last);

void listener_free(struct listener *l);

#endif
