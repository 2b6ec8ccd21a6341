/*
 * net: socket addresses, and what the kernel's errors mean to a client.
 */
#ifndef DAEMON_NET_H
#define DAEMON_NET_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "proto/endpoint.h"

/* The family is AF_UNSPEC (0) while the address is not known; AF_UNIX has no path kept. */
struct net_addr {
    union {
        struct sockaddr any;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
    };
};

socklen_t net_addr_len(const struct net_addr *a);
void net_addr_set(struct net_addr *a, const struct vd_ip *ip, uint16_t port);
/* Without mapped forms: ::ffff:a.b.c.d gives a.b.c.d. No family if `a` is neither IPv4 nor IPv6. */
struct vd_ip net_addr_ip(const struct net_addr *a);
uint16_t net_addr_port(const struct net_addr *a);
/* HOST:PORT, "unix", or "-" for an address that is not known. */
void net_addr_print(struct vd_out *out, const struct net_addr *a);
/* The local address of a socket; left AF_UNSPEC if the kernel does not tell. */
void net_addr_local(struct net_addr *a, int fd);

/* The socket may be bound to addresses that are not ours, and is told of what is sent to such
 * (IP_TRANSPARENT). 0, or -1 with errno: EPERM without CAP_NET_ADMIN. */
int net_be_transparent(int fd, int family);

/* Whether a TCP socket's congestion control is one that may pace: neither reno nor cubic. */
bool net_is_paced(int fd);
/* For connections that stay on this machine, before they are made: nothing is gained by pacing
 * them, and each segment would cost the kernel a timer. */
void net_be_unpaced(int fd);

/* Why a connection or a socket failed, as a reason of proto/err.h (positive). */
int net_err(int number);
/* The error kept in the socket, as an errno; 0 if there is none. */
int net_socket_errno(int fd);

/* Closes so that the peer gets a reset. */
void net_abort(int fd);
/* Whether the kernel still holds bytes that the peer has not acknowledged. */
bool net_unsent(int fd);

#endif
