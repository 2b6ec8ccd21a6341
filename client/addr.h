/*
 * addr: between struct sockaddr and proto's addresses.
 */
#ifndef VD_CLIENT_ADDR_H
#define VD_CLIENT_ADDR_H

#include <stdbool.h>
#include <sys/socket.h>

#include "proto/endpoint.h"

/* Takes an AF_INET or AF_INET6 address of sufficient length; IPv4-mapped ones stay IPv6. false:
 * another family, or too short. */
bool addr_read(struct vd_endpoint *e, const struct sockaddr *addr, socklen_t len);

/* Writes an address in the shape of `family` (an IPv4 one becomes IPv4-mapped for AF_INET6). The
 * length, or 0 where that cannot be: an IPv6 address for AF_INET. */
socklen_t addr_write(struct sockaddr_storage *to, int family, const struct vd_ip *ip,
                     uint16_t port);

/* Copies an address out as the kernel does: as much as fits in *len, which then tells how long it
 * is. */
void addr_copy_out(struct sockaddr *to, socklen_t *len, const void *from, socklen_t from_len);

#endif
