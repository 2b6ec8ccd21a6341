#include "daemon/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "proto/err.h"

socklen_t net_addr_len(const struct net_addr *a)
{
    return a->any.sa_family == AF_INET6 ? sizeof a->in6 : sizeof a->in4;
}

void net_addr_set(struct net_addr *a, const struct vd_ip *ip, uint16_t port)
{
    memset(a, 0, sizeof *a);
    if (ip->family == VD_IPV6) {
        a->in6.sin6_family = AF_INET6;
        a->in6.sin6_port = htons(port);
        a->in6.sin6_scope_id = ip->scope;
        memcpy(&a->in6.sin6_addr, ip->bytes, 16);
    } else {
        a->in4.sin_family = AF_INET;
        a->in4.sin_port = htons(port);
        memcpy(&a->in4.sin_addr, ip->bytes, 4);
    }
}

struct vd_ip net_addr_ip(const struct net_addr *a)
{
    struct vd_ip ip = {0};
    if (a->any.sa_family == AF_INET)
        return vd_ip4((const uint8_t *)&a->in4.sin_addr);
    if (a->any.sa_family != AF_INET6)
        return ip;
    ip = vd_ip6(a->in6.sin6_addr.s6_addr, a->in6.sin6_scope_id);
    return vd_ip_unmapped(&ip);
}

uint16_t net_addr_port(const struct net_addr *a)
{
    if (a->any.sa_family == AF_INET)
        return ntohs(a->in4.sin_port);
    return a->any.sa_family == AF_INET6 ? ntohs(a->in6.sin6_port) : 0;
}

void net_addr_print(struct vd_out *out, const struct net_addr *a)
{
    struct vd_endpoint e;
    if (a->any.sa_family == AF_UNIX) {
        vd_out_text(out, "unix");
        return;
    }
    if (a->any.sa_family == AF_UNSPEC) {
        vd_out_text(out, "-");
        return;
    }
    struct vd_ip ip = net_addr_ip(a);
    vd_endpoint_set_ip(&e, &ip, net_addr_port(a));
    vd_endpoint_print(out, &e);
}

void net_addr_local(struct net_addr *a, int fd)
{
    socklen_t len = sizeof *a;
    memset(a, 0, sizeof *a);
    if (getsockname(fd, &a->any, &len) != 0)
        a->any.sa_family = AF_UNSPEC;
}

int net_be_transparent(int fd, int family)
{
    static const int on = 1;
    return family == AF_INET6 ? setsockopt(fd, SOL_IPV6, IPV6_TRANSPARENT, &on, sizeof on)
                              : setsockopt(fd, SOL_IP, IP_TRANSPARENT, &on, sizeof on);
}

bool net_is_paced(int fd)
{
    char name[32] = ""; /* more than TCP_CA_NAME_MAX */
    socklen_t len = sizeof name - 1;
    if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len) != 0)
        return false;
    return strcmp(name, "reno") != 0 && strcmp(name, "cubic") != 0;
}

/* Every kernel has reno, for everybody. */
void net_be_unpaced(int fd)
{
    static const char name[] = "reno";
    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, sizeof name - 1);
}

int net_err(int number)
{
    switch (number) {
    case 0:
        return VD_OK;
    case ECONNREFUSED:
    case ENOENT: /* a unix socket that nobody has made */
        return VD_ERR_REFUSED;
    case ENETUNREACH:
    case ENETDOWN:
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
        return VD_ERR_NET;
    case EHOSTUNREACH:
    case EHOSTDOWN:
    case EINVAL: /* an address that nothing can be sent to */
        return VD_ERR_HOST;
    case ETIMEDOUT:
        return VD_ERR_TTL;
    case ECONNRESET:
    case EPIPE:
        return VD_ERR_TARGET_RESET;
    case EACCES:
    case EPERM:
        return VD_ERR_DENIED;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        return VD_ERR_BUSY;
    default:
        return VD_ERR_FAILED;
    }
}

int net_socket_errno(int fd)
{
    int number = 0;
    socklen_t len = sizeof number;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &len) == 0 ? number : errno;
}

void net_abort(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

bool net_unsent(int fd)
{
    int bytes = 0;
    return ioctl(fd, SIOCOUTQ, &bytes) == 0 && bytes > 0;
}
