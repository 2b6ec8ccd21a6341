/*
 * hosts: what this machine knows of names without asking anybody.
 */
#ifndef VD_CLIENT_HOSTS_H
#define VD_CLIENT_HOSTS_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/endpoint.h"

enum { HOSTS_IPS_MAX = 8 };

/* Addresses of a name: those of /etc/hosts, else loopback for localhost, *.localhost (RFC 6761) and
 * this machine's own name. The number of them, at most `max`; 0: the name is not a local one. */
size_t hosts_find(const char *name, struct vd_ip *ips, size_t max);

/* The first name that /etc/hosts gives to an address; false if none. */
bool hosts_name(const struct vd_ip *ip, char name[VD_NAME_MAX + 1]);

#endif
