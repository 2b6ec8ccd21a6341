#include "client/addr.h"

#include <netinet/in.h>
#include <string.h>

bool addr_read(struct vd_endpoint *e, const struct sockaddr *addr, socklen_t len)
{
    struct sockaddr_in6 in6;
    struct sockaddr_in in4;
    struct vd_ip ip;

    if (!addr || len < (socklen_t)sizeof addr->sa_family)
        return false;
    if (addr->sa_family == AF_INET && len >= (socklen_t)sizeof in4) {
        memcpy(&in4, addr, sizeof in4);
        ip = vd_ip4((const uint8_t *)&in4.sin_addr);
        vd_endpoint_set_ip(e, &ip, ntohs(in4.sin_port));
        return true;
    }
    if (addr->sa_family == AF_INET6 && len >= 24 /* without a scope: SIN6_LEN_RFC2133 */) {
        memset(&in6, 0, sizeof in6);
        memcpy(&in6, addr, len < (socklen_t)sizeof in6 ? len : (socklen_t)sizeof in6);
        ip = vd_ip6(in6.sin6_addr.s6_addr, in6.sin6_scope_id);
        vd_endpoint_set_ip(e, &ip, ntohs(in6.sin6_port));
        return true;
    }
    return false;
}

static socklen_t write4(struct sockaddr_storage *to, const struct vd_ip *ip, uint16_t port)
{
    struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(port)};

    memcpy(&in4.sin_addr, ip->bytes, 4);
    memcpy(to, &in4, sizeof in4);
    return sizeof in4;
}

static socklen_t write6(struct sockaddr_storage *to, const struct vd_ip *ip, uint16_t port)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

    if (ip->family == VD_IPV4) {
        in6.sin6_addr.s6_addr[10] = in6.sin6_addr.s6_addr[11] = 0xff;
        memcpy(in6.sin6_addr.s6_addr + 12, ip->bytes, 4);
    } else {
        memcpy(&in6.sin6_addr, ip->bytes, 16);
        in6.sin6_scope_id = ip->scope;
    }
    memcpy(to, &in6, sizeof in6);
    return sizeof in6;
}

socklen_t addr_write(struct sockaddr_storage *to, int family, const struct vd_ip *ip, uint16_t port)
{
    struct vd_ip plain = vd_ip_unmapped(ip);

    memset(to, 0, sizeof *to);
    if (family == AF_INET6)
        return write6(to, &plain, port);
    return plain.family == VD_IPV4 ? write4(to, &plain, port) : 0;
}

void addr_copy_out(struct sockaddr *to, socklen_t *len, const void *from, socklen_t from_len)
{
    memcpy(to, from, *len < from_len ? *len : from_len);
    *len = from_len;
}
