/*
 * print: the effective configuration as a viaductd.conf, without secrets.
 */
#ifndef DAEMON_PRINT_H
#define DAEMON_PRINT_H

#include <stdio.h>

#include "conf/daemon.h"

/* 0, or -1 with errno if it cannot be written. */
int print_config(FILE *to, const struct vd_conf_daemon *c);

#endif
