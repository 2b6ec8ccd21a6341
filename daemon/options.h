/*
 * options: the command line and the configuration file, as one.
 *
 * Lists of the command line come before those of the file (rules: first match counts); -l and -x
 * stand instead of the file's listeners and upstream; other options stand instead of the file's.
 */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H

#include "conf/daemon.h"
#include "daemon/log.h"
#include "daemon/tls_context.h"
#include "daemon/trace.h"

enum options_action { OPTIONS_RUN, OPTIONS_CHECK, OPTIONS_PRINT, OPTIONS_DONE };

struct options {
    struct vd_conf_daemon conf;
    struct tls_contexts *contexts; /* of hops: see setup_check */
    enum log_level level;
    struct trace_wish trace; /* of the start: a reload changes nothing of it */
    enum options_action action;
    char **argv; /* a copy, to read everything once more at a reload */
    int argc;
};

/* OPTIONS_DONE: --help or --version was served. 0, or -1 after one line on the standard error.
 * Passwords are wiped from argv. Freed by options_free in both cases. */
int options_read(struct options *o, int argc, char **argv);
void options_free(struct options *o);
/* The same command line once more, with the file as it is now; what is wrong goes to the log. 0, or
 * -1. Freed by options_free in both cases. */
int options_reload(struct options *o, const struct options *before);
/* Fills in what nobody has said: the listener of a start without any, the number of workers. 0, or
 * -1 with *error. */
int options_complete(struct options *o, char **error);

#endif
