/*
 * A source address is bound without a port (IP_BIND_ADDRESS_NO_PORT), which connect() chooses then:
 * so many connections may have the same one as there are pairs of ports, and not as there are
 * ports.
 */
#include "daemon/egress.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "conf/value.h"

struct egress egress_of(const struct vd_conf_daemon *conf, const struct vd_conf_upstream *up,
                        const struct vd_conf_access *rule)
{
    return (struct egress){.force = vd_conf_egress_of(conf, up, rule), .mark = conf->mark};
}

bool egress_same(const struct egress *a, const struct egress *b)
{
    const struct vd_conf_egress *one = a->force.source, *other = b->force.source;
    return a->force.family == b->force.family && vd_ip_same(&one->source[0], &other->source[0]) &&
           vd_ip_same(&one->source[1], &other->source[1]) &&
           strcmp(one->device, other->device) == 0;
}

bool egress_uses(const struct egress *e, enum vd_family family)
{
    return vd_conf_egress_uses(&e->force, family);
}

enum vd_family egress_first(const struct egress *e)
{
    bool v4 = e->force.family == VD_PREFER_IPV4 || !egress_uses(e, VD_IPV6);
    return v4 ? VD_IPV4 : VD_IPV6;
}

/* --- sockets --- */

enum egress_fault egress_tie(const struct egress *e, int fd)
{
    const char *device = e->force.source->device;
    if (e->mark)
        setsockopt(fd, SOL_SOCKET, SO_MARK, &e->mark, sizeof e->mark);
    if (!*device ||
        setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, (socklen_t)strlen(device)) == 0)
        return EGRESS_FINE;
    return EGRESS_NO_DEVICE;
}

enum egress_fault egress_bind(const struct egress *e, int fd, int family)
{
    static const int on = 1;
    const struct vd_ip *source = &e->force.source->source[family == AF_INET6];
    struct net_addr at;
    enum egress_fault fault = egress_tie(e, fd);
    if (fault != EGRESS_FINE || !source->family || vd_ip_class(source) == VD_CLASS_UNSPECIFIED)
        return fault;
    net_addr_set(&at, source, 0);
    setsockopt(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    return bind(fd, &at.any, net_addr_len(&at)) == 0 ? EGRESS_FINE : EGRESS_NO_ADDRESS;
}

/* A connected socket for datagrams tells, and nothing is sent. */
static enum egress_fault look(const struct egress *e, int fd, struct vd_ip *local,
                              const struct net_addr *to)
{
    struct net_addr at;
    enum egress_fault fault = egress_bind(e, fd, to->any.sa_family);
    if (fault != EGRESS_FINE)
        return fault;
    if (connect(fd, &to->any, net_addr_len(to)) != 0)
        return EGRESS_FINE;
    net_addr_local(&at, fd);
    *local = net_addr_ip(&at);
    return EGRESS_FINE;
}

enum egress_fault egress_local(const struct egress *e, struct vd_ip *local, const struct vd_ip *to)
{
    struct net_addr addr;
    net_addr_set(&addr, to, 9 /* discard */);
    *local = (struct vd_ip){.family = VD_NO_IP};
    int fd = socket(addr.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return EGRESS_FINE;
    enum egress_fault fault = look(e, fd, local, &addr);
    int number = errno;
    close(fd);
    errno = number;
    return fault;
}

/* --- words --- */

void egress_explain(const struct egress *e, struct vd_out *out, enum egress_fault fault,
                    enum vd_family family, int number)
{
    const struct vd_conf_egress *source = e->force.source;
    const char *words = strerrordesc_np(number);
    vd_out_text(out, fault == EGRESS_NO_DEVICE ? "source %" : "source ");
    if (fault == EGRESS_NO_DEVICE)
        vd_out_text(out, source->device);
    else
        vd_ip_print(out, &source->source[family == VD_IPV6]);
    vd_out_text(out, ": ");
    vd_out_text(out, words ? words : "cannot be used");
}

void egress_explain_family(const struct egress *e, struct vd_out *out)
{
    bool four = egress_uses(e, VD_IPV4), by_option = e->force.family >= VD_ONLY_IPV6;
    vd_out_text(out, four ? "has no IPv4 address" : "has no IPv6 address");
    vd_out_text(out, ", which alone is used here (");
    vd_out_text(out, by_option ? "family = " : "source = ");
    if (by_option)
        vd_out_text(out, vd_conf_families[e->force.family - VD_PREFER_IPV6]);
    else
        vd_ip_print(out, &e->force.source->source[!four]);
    vd_out_text(out, ")");
}

bool egress_is_amiss(const struct egress *e, struct vd_out *out)
{
    static const enum vd_family families[] = {VD_IPV4, VD_IPV6};
    enum egress_fault fault = EGRESS_FINE;
    for (unsigned i = 0; fault == EGRESS_FINE && i < 2; i++) {
        int family = families[i] == VD_IPV6 ? AF_INET6 : AF_INET;
        if (!egress_uses(e, families[i]))
            continue;
        int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        fault = egress_bind(e, fd, family);
        if (fault != EGRESS_FINE)
            egress_explain(e, out, fault, families[i], errno);
        close(fd);
    }
    return fault != EGRESS_FINE;
}
