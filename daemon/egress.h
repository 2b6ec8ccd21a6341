/*
 * egress: from where what viaductd opens itself leaves (vd_conf_egress): address, interface, mark.
 *
 * Nothing leaves in another way: where the address or the interface is not there, or the target has
 * no address of a family that is used, there is no connection.
 */
#ifndef DAEMON_EGRESS_H
#define DAEMON_EGRESS_H

#include "conf/daemon.h"
#include "daemon/net.h"

struct egress {
    struct vd_conf_egress_in_force force;
    uint32_t mark; /* SO_MARK; 0: none */
};

/* What could not be had of a socket. */
enum egress_fault { EGRESS_FINE, EGRESS_NO_DEVICE, EGRESS_NO_ADDRESS };

/* `conf` outlives it; `up` and `rule` may be NULL. */
struct egress egress_of(const struct vd_conf_daemon *conf, const struct vd_conf_upstream *up,
                        const struct vd_conf_access *rule);
/* Whether what leaves by one could leave by the other. */
bool egress_same(const struct egress *a, const struct egress *b);

bool egress_uses(const struct egress *e, enum vd_family family);
/* The family that is tried first, if both are used. */
enum vd_family egress_first(const struct egress *e);

/* The socket leaves by mark and interface. EGRESS_FINE, or errno tells why not. */
enum egress_fault egress_tie(const struct egress *e, int fd);
/* And by the address; a socket for connections gets its port when it connects. */
enum egress_fault egress_bind(const struct egress *e, int fd, int family);
/* The local address from which packets to `to` leave; errno tells why there is none. */
enum egress_fault egress_local(const struct egress *e, struct vd_ip *local, const struct vd_ip *to);

/* "source 192.0.2.7: Cannot assign requested address". */
void egress_explain(const struct egress *e, struct vd_out *out, enum egress_fault fault,
                    enum vd_family family, int number);
/* "has no IPv4 address, which alone is used here (family = ipv4)". */
void egress_explain_family(const struct egress *e, struct vd_out *out);
/* What of `e` this machine does not have now, as egress_explain; false: it has all. */
bool egress_is_amiss(const struct egress *e, struct vd_out *out);

#endif
