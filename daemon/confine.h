/*
 * confine: what a worker gives up before it has seen a byte of anybody.
 *
 *     user          its user and groups, if the configuration names one; of the capabilities only
 *                   CAP_NET_ADMIN stays, where there is a `mark` or a tproxy:// that takes
 *                   datagrams
 *     new ones      no_new_privs: a setuid program would run as we do
 *     calls         seccomp: a list of system calls (confine_calls.c); others fail
 *     files         Landlock, where the kernel has it: nothing can be written, made, removed or
 *                   executed any more
 *
 * The parent keeps its user: a reload may have to listen on a port below 1024.
 */
#ifndef DAEMON_CONFINE_H
#define DAEMON_CONFINE_H

#include "conf/daemon.h"

/* Whether the user of the configuration is there, and may be changed to. 0, or -1 with *error. */
int confine_check(const struct vd_conf_daemon *conf, char **error);
/* In a worker, and for good. 0, or -1 with errno: then it must not go on. */
int confine_worker(const struct vd_conf_daemon *conf);
/* The part of it that is about system calls. */
int confine_calls(void);

#endif
