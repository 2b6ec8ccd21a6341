/*
 * What a socket sends to itself.
 *
 * Answers to a program's DNS queries have to come out of the program's own socket, so that poll(),
 * threads and children of fork() see them as they see all datagrams. So the hook that would send
 * the query sends the answer: from the very socket, to its own address. In front of it stand
 *
 *     secret(16) address of the name server, as the program gave it (28)
 *
 * of which the receiving hooks make the source that the program is shown. The secret is the
 * session's; and the kernel's word is that it came from the socket's own address.
 *
 * A socket that the program connected to a name server is connected to itself: then the kernel
 * keeps everybody else's datagrams out.
 */
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "client/addr.h"
#include "client/stub.h"
#include "preload/datagram.h"
#include "proto/dns.h"

enum { DISCARD = 9, QUERY_MAX = 1232, ANSWER_MAX = 1232 };

/* --- addresses ------------------------------------------------------------------------------- */

static bool own_address(int fd, struct vd_endpoint *own, int *family)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof addr;

    if (sys.getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
        return false;
    *family = addr.ss_family;
    return addr_read(own, (struct sockaddr *)&addr, len);
}

static bool is_anywhere(const struct vd_ip *ip)
{
    static const struct vd_ip none4 = {.family = VD_IPV4}, none6 = {.family = VD_IPV6};
    struct vd_ip plain = vd_ip_unmapped(ip);

    return vd_ip_within(&plain, &none4, 32) || vd_ip_within(&plain, &none6, 128);
}

static struct vd_ip loopback(enum vd_family family)
{
    static const uint8_t four[4] = {127, 0, 0, 1}, six[16] = {[15] = 1};

    return family == VD_IPV4 ? vd_ip4(four) : vd_ip6(six, 0);
}

static int connect_to(int fd, int family, const struct vd_ip *ip, uint16_t port)
{
    struct sockaddr_storage to;
    socklen_t len = addr_write(&to, family, ip, port);

    if (!len)
        return hook_fail(EAFNOSUPPORT);
    return sys.connect(fd, (struct sockaddr *)&to, len);
}

/* `opens`: an IPv6 socket takes IPv4 from now on, which can be said only while it has no port. */
static int come_loose(int fd, bool opens)
{
    struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
    struct vd_endpoint own;
    struct sockaddr_storage again;
    struct vd_ip any = {.family = VD_IPV4};
    socklen_t len;
    int family, no = 0, saved = errno;
    bool known = own_address(fd, &own, &family);

    if (sys.connect(fd, &nowhere, sizeof nowhere) < 0)
        return -1;
    if (opens)
        sys.setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
    if (known && own.port) {
        any.family = family == AF_INET ? VD_IPV4 : VD_IPV6;
        len = addr_write(&again, family, &any, own.port);
        sys.bind(fd, (struct sockaddr *)&again, len); /* EINVAL: it kept its port by itself */
    }
    errno = saved;
    return 0;
}

int self_come_loose(int fd)
{
    return come_loose(fd, false);
}

void self_open_to_ipv4(int fd)
{
    int only = 0, saved = errno;
    socklen_t len = sizeof only;

    if (sys.getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &len) == 0 && only)
        come_loose(fd, true);
    errno = saved;
}

int self_leave(int fd, const struct sockaddr *addr, socklen_t len)
{
    int r = sys.connect(fd, addr, len);

    if (r < 0 && errno == EINVAL && self_come_loose(fd) == 0)
        r = sys.connect(fd, addr, len);
    return r;
}

static bool is_link_local(const struct sockaddr *addr, socklen_t len)
{
    struct vd_endpoint e;

    return addr_read(&e, addr, len) && vd_ip_class(&e.ip) == VD_CLASS_LINK_LOCAL;
}

/* The kernel's source address towards somewhere. Who hears himself may do so on loopback, if there
 * is no way there, or one that would bind the socket to a device. */
static int look_for_source(int fd, const struct sockaddr *addr, socklen_t len, bool hears)
{
    struct vd_ip here = loopback(addr->sa_family == AF_INET ? VD_IPV4 : VD_IPV6);

    if (hears && is_link_local(addr, len))
        return connect_to(fd, addr->sa_family, &here, DISCARD);
    if (self_leave(fd, addr, len) == 0)
        return 0;
    if (!hears || (errno != ENETUNREACH && errno != EHOSTUNREACH && errno != EINVAL))
        return -1;
    return connect_to(fd, addr->sa_family, &here, DISCARD);
}

int self_connect(int fd, const struct sockaddr *addr, socklen_t len, bool hears)
{
    struct vd_endpoint own;
    int family;

    if (look_for_source(fd, addr, len, hears) < 0)
        return -1;
    if (own_address(fd, &own, &family) &&
        connect_to(fd, family, &own.ip, hears ? own.port : DISCARD) == 0)
        return 0;
    self_come_loose(fd);
    return hook_fail(EACCES);
}

/* --- sending --------------------------------------------------------------------------------- */

/* The socket has a port once this is done. */
static bool make_bound(int fd, struct vd_endpoint *own, int *family)
{
    struct sockaddr_storage any;
    struct vd_ip ip = {.family = VD_IPV4};
    socklen_t len;

    if (!own_address(fd, own, family))
        return false;
    if (own->port)
        return true;
    ip.family = *family == AF_INET ? VD_IPV4 : VD_IPV6;
    len = addr_write(&any, *family, &ip, 0);
    /* EINVAL: another thread was quicker */
    return (sys.bind(fd, (struct sockaddr *)&any, len) == 0 || errno == EINVAL) &&
           own_address(fd, own, family) && own->port;
}

/* An address to send from, as sendmsg() takes it. */
union from {
    char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
    struct cmsghdr head;
};

static void write_from(struct msghdr *m, union from *from, const struct sockaddr_storage *addr)
{
    bool four = addr->ss_family == AF_INET;
    struct in_pktinfo info4 = {.ipi_ifindex = 0};
    struct in6_pktinfo info6 = {.ipi6_ifindex = 0};
    size_t size = four ? sizeof info4 : sizeof info6;

    memset(from, 0, sizeof *from);
    info4.ipi_spec_dst = ((const struct sockaddr_in *)addr)->sin_addr;
    info6.ipi6_addr = ((const struct sockaddr_in6 *)addr)->sin6_addr;
    m->msg_control = from;
    m->msg_controllen = CMSG_SPACE(size);
    from->head.cmsg_len = CMSG_LEN(size);
    from->head.cmsg_level = four ? IPPROTO_IP : IPPROTO_IPV6;
    from->head.cmsg_type = four ? IP_PKTINFO : IPV6_PKTINFO;
    memcpy(CMSG_DATA(&from->head), four ? (void *)&info4 : (void *)&info6, size);
}

/* Sends what stands in `parts` to one of the socket's own addresses, and from it: a datagram that
 * is from loopback never takes another way, even where routes would lead it there. */
static bool send_to(int fd, int family, const struct vd_ip *ip, uint16_t port, struct iovec *parts)
{
    struct sockaddr_storage to;
    struct msghdr m = {.msg_name = &to, .msg_iov = parts, .msg_iovlen = 2};
    union from from;

    m.msg_namelen = addr_write(&to, family, ip, port);
    if (!m.msg_namelen)
        return false;
    write_from(&m, &from, &to);
    /* a full queue drops, as it does for every datagram */
    return sys.sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 || errno == EAGAIN;
}

/* A socket that is bound to a device sends there even what is for its own address. */
static bool is_bound_to_device(int fd, int family)
{
    char name[IFNAMSIZ];
    uint32_t index = 0;
    socklen_t len = sizeof name, index_len = sizeof index;

    if (sys.getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len) == 0 && len > 0)
        return true;
    sys.getsockopt(fd, IPPROTO_IP, IP_UNICAST_IF, &index, &index_len);
    if (family == AF_INET6 && index == 0)
        sys.getsockopt(fd, IPPROTO_IPV6, IPV6_UNICAST_IF, &index, &index_len);
    return index != 0;
}

/* An address of all IPv6 means all of IPv4 too, as a rule; which of them there is depends. */
static bool send_to_itself(int fd, enum vd_family preferred, struct iovec *parts)
{
    struct vd_endpoint own;
    struct vd_ip here;
    int family;

    if (!make_bound(fd, &own, &family) || is_bound_to_device(fd, family))
        return false;
    if (!is_anywhere(&own.ip))
        return send_to(fd, family, &own.ip, own.port, parts);
    here = loopback(family == AF_INET ? VD_IPV4 : preferred);
    if (send_to(fd, family, &here, own.port, parts))
        return true;
    here = loopback(preferred == VD_IPV4 ? VD_IPV6 : VD_IPV4);
    return send_to(fd, family, &here, own.port, parts);
}

static size_t gather(uint8_t *to, size_t cap, const struct msghdr *m)
{
    size_t len = 0;

    for (size_t i = 0; i < m->msg_iovlen; i++) {
        size_t n = m->msg_iov[i].iov_len;

        if (n > cap - len)
            n = cap - len;
        if (n)
            memcpy(to + len, m->msg_iov[i].iov_base, n);
        len += n;
    }
    return len;
}

static ssize_t total(const struct msghdr *m)
{
    size_t len = 0;

    for (size_t i = 0; i < m->msg_iovlen; i++)
        len += m->msg_iov[i].iov_len;
    return (ssize_t)len;
}

static bool write_header(uint8_t header[SELF_HEADER], const struct sockaddr *server, socklen_t len)
{
    memset(header, 0, SELF_HEADER);
    if (len > sizeof(struct sockaddr_in6))
        len = sizeof(struct sockaddr_in6);
    memcpy(header + SOCKETS_SECRET, server, len);
    return sockets_secret(header);
}

ssize_t self_answer(int fd, const struct sockaddr *server, socklen_t server_len,
                    const struct msghdr *m, bool *pass)
{
    uint8_t query[QUERY_MAX + 1], answer[ANSWER_MAX], header[SELF_HEADER];
    struct iovec parts[] = {{header, sizeof header}, {answer, 0}};
    struct vd_endpoint asked = {.port = 0};
    size_t len = gather(query, sizeof query, m);
    int saved = errno;

    *pass = false;
    addr_read(&asked, server, server_len);
    switch (stub_query(query, len, answer, sizeof answer, &parts[1].iov_len)) {
    case STUB_PASS:
        *pass = true;
        return 0;
    case STUB_SILENT:
        return total(m);
    case STUB_ANSWER:
        break;
    }
    if (!write_header(header, server, server_len) ||
        !send_to_itself(fd, (enum vd_family)vd_ip_unmapped(&asked.ip).family, parts))
        return hook_fail(ENETUNREACH);
    errno = saved;
    return total(m);
}

/* --- receiving ------------------------------------------------------------------------------- */

static bool is_own(int fd, const struct sockaddr *source, socklen_t source_len)
{
    struct vd_endpoint own, from;
    int family;

    if (!own_address(fd, &own, &family) || !addr_read(&from, source, source_len) ||
        own.port != from.port)
        return false;
    own.ip = vd_ip_unmapped(&own.ip);
    from.ip = vd_ip_unmapped(&from.ip);
    return is_anywhere(&own.ip) || vd_ip_same(&own.ip, &from.ip);
}

bool self_recognise(int fd, const struct sockaddr *source, socklen_t source_len,
                    const uint8_t *data, size_t len, struct sockaddr_storage *server,
                    socklen_t *server_len)
{
    uint8_t secret[SOCKETS_SECRET];

    if (len < SELF_HEADER || !sockets_secret(secret) || memcmp(data, secret, sizeof secret) != 0 ||
        !is_own(fd, source, source_len))
        return false;
    memset(server, 0, sizeof *server);
    memcpy(server, data + SOCKETS_SECRET, SELF_HEADER - SOCKETS_SECRET);
    *server_len =
        server->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    return true;
}
