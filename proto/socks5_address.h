/*
 * socks5_address: ATYP, ADDR and PORT as requests, replies and datagrams of SOCKS5 carry them
 * (RFC 1928 section 5).
 */
#ifndef VD_PROTO_SOCKS5_ADDRESS_H
#define VD_PROTO_SOCKS5_ADDRESS_H

#include "proto/endpoint.h"

enum { VD_ATYP_IPV4 = 1, VD_ATYP_NAME = 3, VD_ATYP_IPV6 = 4 };

/* An endpoint of no family is written as 0.0.0.0 with its port; a scope is not told. */
void vd_socks5_address_write(struct vd_out *out, const struct vd_endpoint *e);

/* A name that is the text of an address is read as that address, so that nobody's rules for
 * addresses are passed by. VD_OK; -VD_ERR_ADDRESS_TYPE: another ATYP, whose length nobody knows;
 * -VD_ERR_PROTOCOL: cut short; -VD_ERR_NAME_FORM: a name that vd_endpoint_set_name refuses. */
int vd_socks5_address_read(struct vd_in *in, struct vd_endpoint *e);

#endif
