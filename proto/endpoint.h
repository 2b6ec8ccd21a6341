/*
 * endpoint: an IP address or a host name, with a port.
 *
 * Plain values of fixed layout (they also stand in files mapped by 32-bit and 64-bit processes),
 * ports in host order. A name is counted bytes, never with a NUL inside, and ends with one.
 */
#ifndef VD_PROTO_ENDPOINT_H
#define VD_PROTO_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/bytes.h"

enum { VD_NAME_MAX = 255 }; /* RFC 1035 section 2.3.4, and one length byte in SOCKS5 */

enum vd_family { VD_NO_IP = 0, VD_IPV4 = 4, VD_IPV6 = 6 };

struct vd_ip {
    uint8_t family; /* enum vd_family */
    uint8_t zero[3];
    uint32_t scope;    /* IPv6 link-local only: the interface's index */
    uint8_t bytes[16]; /* network order; IPv4 in the first four */
};

struct vd_endpoint {
    struct vd_ip ip; /* meant only while name_len is 0 */
    uint16_t port;
    uint8_t name_len;
    char name[VD_NAME_MAX + 1];
};

/* Room for any printed endpoint: "[", an address with a scope, or a name, "]:65535", NUL. */
enum { VD_ENDPOINT_TEXT = VD_NAME_MAX + 16 };

struct vd_ip vd_ip4(const uint8_t bytes[4]);
struct vd_ip vd_ip6(const uint8_t bytes[16], uint32_t scope);
bool vd_ip_same(const struct vd_ip *a, const struct vd_ip *b);
/* ::ffff:a.b.c.d becomes a.b.c.d; anything else is returned as it is. */
struct vd_ip vd_ip_unmapped(const struct vd_ip *ip);
/* Whether the first `bits` bits of both are equal; never across families. */
bool vd_ip_within(const struct vd_ip *ip, const struct vd_ip *net, unsigned bits);
/* Text of `len` bytes, dotted quads and RFC 4291 forms, without brackets or scope; false if none.
 */
bool vd_ip_read(struct vd_ip *ip, const char *text, size_t len);
void vd_ip_print(struct vd_out *out, const struct vd_ip *ip); /* RFC 5952; scope as %N */

/* Classes by which a rule or a guard decides. IPv4-mapped IPv6 counts as the IPv4 inside. */
enum vd_class {
    VD_CLASS_GLOBAL,
    VD_CLASS_UNSPECIFIED, /* 0.0.0.0/8, :: */
    VD_CLASS_LOOPBACK,    /* 127/8, ::1 */
    VD_CLASS_LINK_LOCAL,  /* 169.254/16, fe80::/10 */
    VD_CLASS_PRIVATE,     /* RFC 1918, RFC 6598, fc00::/7 */
    VD_CLASS_MULTICAST,   /* 224/4, ff00::/8 */
    VD_CLASS_BROADCAST    /* 255.255.255.255 */
};
enum vd_class vd_ip_class(const struct vd_ip *ip);

/* A name of 1 to 255 bytes: no NUL, control byte, space or byte that could end a header or a URL
 * part. VD_OK or -VD_ERR_NAME_FORM. What looks like an address is kept as a name. */
int vd_endpoint_set_name(struct vd_endpoint *e, const char *name, size_t len, uint16_t port);
void vd_endpoint_set_ip(struct vd_endpoint *e, const struct vd_ip *ip, uint16_t port);
bool vd_endpoint_is_name(const struct vd_endpoint *e);
/* Names compare without case and without a trailing dot. */
bool vd_endpoint_same(const struct vd_endpoint *a, const struct vd_endpoint *b);

/* A host as people and protocols write it: dotted quad, [v6], name; -VD_ERR_NAME_FORM. */
int vd_endpoint_read_host(struct vd_endpoint *e, const char *text, size_t len);
/* HOST:PORT, [V6]:PORT; without a port `port` stands in, and is an error when that is 0.
 * A bare IPv6 address without brackets is taken whole. Port digits only, 1 to 65535.
 * VD_OK, -VD_ERR_NAME_FORM (host), -VD_ERR_PROTOCOL (port). */
int vd_endpoint_read(struct vd_endpoint *e, const char *text, size_t len, uint16_t port);
void vd_endpoint_print_host(struct vd_out *out, const struct vd_endpoint *e); /* [v6] in brackets */
void vd_endpoint_print(struct vd_out *out, const struct vd_endpoint *e);      /* HOST:PORT */

#endif
