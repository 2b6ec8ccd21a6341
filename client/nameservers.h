/*
 * nameservers: who /etc/resolv.conf says is to be asked for names.
 *
 * The file is read anew each time: it is short, only datagrams to port 53 ask, and it may change
 * while the program runs. Nothing is allocated, errno is kept.
 */
#ifndef VD_CLIENT_NAMESERVERS_H
#define VD_CLIENT_NAMESERVERS_H

#include <stdbool.h>

#include "proto/endpoint.h"

enum { NAMESERVERS_PORT = 53 };

/* Whether it is one of these name servers. A file that is missing or names none means 127.0.0.1,
 * resolv.conf(5). Scopes are not compared. */
bool nameservers_has(const struct vd_endpoint *e);
/* Which of them it is, from 0 on; -1: none. */
int nameservers_index(const struct vd_endpoint *e);

#endif
