/*
 * udp: the header in front of every datagram between a client and a SOCKS5 relay (RFC 1928
 * section 7), and headers nested for relays one behind the other.
 *
 *     RSV(2) FRAG ATYP ADDR PORT(2) DATA
 *
 * To a relay the address says where the data goes, from it where the data came from. A chain of N
 * hops has N relays, each reached through those before it, and a datagram carries N headers,
 * outermost first: R1 gets
 *
 *     to R2 | to R3 | ... | to RN | to the target | data
 *
 * and each relay takes its header off and sends the rest. On the way back each puts one in front,
 * so that the same number stands there, from R2, from R3, ..., from the target.
 *
 * Fragments (FRAG other than 0) are neither written nor put together: the RFC has who does not
 * support them drop them.
 */
#ifndef VD_PROTO_UDP_H
#define VD_PROTO_UDP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/endpoint.h"

/* Bytes in front of the data, per header: what a hop costs of the path's MTU. */
enum {
    VD_UDP_HEADER_IPV4 = 2 + 1 + 1 + 4 + 2,
    VD_UDP_HEADER_IPV6 = 2 + 1 + 1 + 16 + 2,
    VD_UDP_HEADER_MAX = 2 + 1 + 1 + 1 + VD_NAME_MAX + 2,
    VD_UDP_DATAGRAM_MAX = 65535 - 20 - 8 /* UDP over IPv4, headers and data together */
};

struct vd_udp_header {
    struct vd_endpoint at; /* IPv4-mapped IPv6 as the IPv4 inside; the port may be 0 */
    uint8_t frag;          /* 0: it stands alone */
    size_t len;            /* of the header: the data begins there */
};

/* How long the header for an endpoint is. */
size_t vd_udp_header_len(const struct vd_endpoint *at);
void vd_udp_write(struct vd_out *out, const struct vd_endpoint *at);

/* The header at the front of a datagram. RSV is not looked at, as replies' is not. VD_OK;
 * -VD_ERR_PROTOCOL: cut short; -VD_ERR_ADDRESS_TYPE; -VD_ERR_NAME_FORM. */
int vd_udp_read(struct vd_udp_header *header, const uint8_t *data, size_t len);

/* Whether datagrams may be sent to an address because a hop says that its relay is there: no
 * multicast or broadcast, and this machine or link only if the hop itself is there (`own`: the
 * class of its address). The unspecified address, which means the hop's own, is one. */
bool vd_udp_may_relay(const struct vd_ip *relay, enum vd_class own);

/* The headers of a datagram for `target`, sent to the first relay. `relays` are those behind the
 * first, in the order in which they are passed; `count` is 0 for a single hop. What vd_udp_wrap_len
 * says is what vd_udp_wrap writes. */
size_t vd_udp_wrap_len(const struct vd_endpoint *relays, size_t count,
                       const struct vd_endpoint *target);
void vd_udp_wrap(struct vd_out *out, const struct vd_endpoint *relays, size_t count,
                 const struct vd_endpoint *target);

/* Takes the headers off a datagram that came from the first relay. *from is who sent the data, and
 * data + *payload is where it begins; neither is meant after an error. Everybody can send to a
 * relay's port, also what looks like a header: so all but the last header must be from `relays`.
 * Of a relay that is known by name only its port can be compared. VD_OK, as vd_udp_read, or
 * -VD_ERR_UNSUPPORTED: a fragment; -VD_ERR_DENIED: from a stranger. All mean: drop it. */
int vd_udp_unwrap(const uint8_t *data, size_t len, const struct vd_endpoint *relays, size_t count,
                  struct vd_endpoint *from, size_t *payload);

#endif
