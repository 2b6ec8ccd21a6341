/*
 * private_state: what private.c, private_conf.c, private_serve.c and private_watch.c share.
 */
#ifndef VIADUCT_LAUNCHER_PRIVATE_STATE_H
#define VIADUCT_LAUNCHER_PRIVATE_STATE_H

#include <stdbool.h>
#include <stddef.h>

#include "launcher/private.h"

/* private_span.c */

/* Whether it can only be reached so: others, with IPv6 addresses only, can from IPv6 sockets. */
bool private_is_special(const struct vd_hop *hop);

/* private_conf.c */

/* The configuration of the daemon for these hops, with all secrets; the caller's to free. NULL: no
 * memory. `login` is the only user, NAME:PASSWORD. */
char *private_conf(const struct vd_conf_chain *chain, const struct vd_hop *hops, size_t count,
                   const struct vd_conf_client *conf, const char *login);

/* private_serve.c */

struct private_server {
    const char *program; /* viaductd */
    const char *conf;
    const char *session; /* the path of the session's file */
    const char *log;     /* the path of the log, or NULL */
    int trace;           /* for the daemon: what it writes its own on; -1: nothing is traced */
    int complaints;      /* its own: a copy of the standard error, while that is traced; or -1 */
    const struct plan *plan;
    uint32_t trace_data; /* bytes of payload */
    int listener;        /* for the daemon */
    int ready;           /* what is told to the launcher: "+", or what is wrong, and the end */
};

/* The life of the process that starts viaductd and ends it with the session. */
void private_serve(struct private_server *s) __attribute__((noreturn));

/* private_watch.c */

struct private_watch {
    int session, notes; /* the file, and inotify's descriptor; -1: there is none */
    bool awaited;       /* somebody said that a program is about to be executed */
    long long last_ms;  /* when anything was heard of the session */
};

/* False: the session's file is not there. */
bool private_watch_begin(struct private_watch *w, const char *session);
/* Takes what notes->fd has to say. */
void private_watch_take(struct private_watch *w);
/* 0: the session is over. Else in how many milliseconds to ask again, unless notes->fd becomes
 * readable before. */
int private_watch_left_ms(const struct private_watch *w);

#endif
