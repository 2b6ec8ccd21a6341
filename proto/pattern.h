/*
 * pattern: what a rule matches: an address, a CIDR, a name, *.suffix or *, each with optional port.
 *
 *     127.0.0.0/8   ::1   [2001:db8::1]:443   10.0.0.1:22   gw.example   *.lan   *.onion:80   *:25
 *
 * A name matches names only and an address addresses only; "*" both. *.lan matches a.lan and
 * b.a.lan, not lan. Plain values of fixed layout, as hops are.
 */
#ifndef VD_PROTO_PATTERN_H
#define VD_PROTO_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/endpoint.h"

enum vd_pattern_kind { VD_PATTERN_ANY = 1, VD_PATTERN_NET, VD_PATTERN_NAME, VD_PATTERN_SUFFIX };

struct vd_pattern {
    uint8_t kind;     /* enum vd_pattern_kind */
    uint8_t bits;     /* NET: of the prefix */
    uint16_t port;    /* 0: any */
    struct vd_ip net; /* NET */
    uint8_t name_len;
    char name[VD_NAME_MAX]; /* NAME, SUFFIX (with its leading dot); no NUL at the end */
};

/* VD_OK, or -VD_ERR_PROTOCOL with *allowed (static) saying what may stand there. */
int vd_pattern_read(struct vd_pattern *p, const char *text, size_t len, const char **allowed);
bool vd_pattern_matches(const struct vd_pattern *p, const struct vd_endpoint *e);
void vd_pattern_print(struct vd_out *out, const struct vd_pattern *p);

#endif
