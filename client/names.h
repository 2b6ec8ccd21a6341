/*
 * names: the names behind placeholder addresses, and the names behind real ones.
 *
 * Both tables live in the session and are the same for all its processes. Entries are only ever
 * added; finding and adding take no lock, so that threads, signal handlers and children of fork
 * never wait for each other. Names compare without case.
 */
#ifndef VD_CLIENT_NAMES_H
#define VD_CLIENT_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/endpoint.h"

/* The placeholder address of a name in a family (VD_IPV4, VD_IPV6), made on first use. VD_OK;
 * -VD_ERR_NAME_FORM; -VD_ERR_SPACE: the range or the memory is used up (never reused). */
int names_placeholder(const char *name, size_t len, enum vd_family family, struct vd_ip *ip);

/* Whether an address lies in a placeholder range, known or not. */
bool names_is_placeholder(const struct vd_ip *ip);

/* The name behind a placeholder, with e->port kept; false if none has it. */
bool names_find(const struct vd_ip *ip, struct vd_endpoint *e);

/* Remembers that a name was resolved, on this machine, to a real address; the last one counts.
 * false: no room, then the address is judged as an address alone. */
bool names_remember(const struct vd_ip *ip, const char *name, size_t len);

/* The name that a real address was last given for, with e->port kept; false if none. */
bool names_recall(const struct vd_ip *ip, struct vd_endpoint *e);

#endif
