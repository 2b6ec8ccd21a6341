/*
 * getaddrinfo() and getnameinfo().
 *
 * A known answer is given by asking libc for the address in its text form: services, socket types,
 * error codes, and who owns the result, stay libc's. Results for several addresses are joined; each
 * element of libc's list is freed by itself.
 */
#include <netdb.h>
#include <string.h>

#include "client/addr.h"
#include "client/lookup.h"
#include "preload/hook.h"

/* Flags that make no sense for an address, or that would take it away. */
/* NOLINTNEXTLINE(misc-redundant-expression): musl has neither of the last two */
enum { NAME_FLAGS = AI_ADDRCONFIG | AI_CANONNAME | AI_IDN | AI_CANONIDN };

/* The flags that libc shows in its results are those it was asked with. */
static void show_flags(struct addrinfo *list, const struct addrinfo *hints)
{
    for (; list; list = list->ai_next)
        list->ai_flags = hints ? hints->ai_flags : AI_V4MAPPED | AI_ADDRCONFIG;
}

static int append(struct addrinfo **list, const char *service, const struct addrinfo *hints,
                  const struct vd_ip *ip)
{
    char text[64];
    struct vd_out out = vd_out_over(text, sizeof text);
    struct addrinfo numeric = {.ai_flags = AI_NUMERICHOST}, *more = NULL;
    int r;

    if (hints) {
        numeric = *hints;
        numeric.ai_flags = (hints->ai_flags & ~NAME_FLAGS) | AI_NUMERICHOST;
    }
    vd_ip_print(&out, ip);
    r = sys.getaddrinfo(vd_out_string(&out), service, &numeric, &more);
    if (r != 0)
        return r;
    show_flags(more, hints);
    while (*list)
        list = &(*list)->ai_next;
    *list = more;
    return 0;
}

static int add_canonical_name(struct addrinfo **list, const char *name)
{
    (*list)->ai_canonname = strdup(name);
    if ((*list)->ai_canonname)
        return 0;
    freeaddrinfo(*list);
    *list = NULL;
    return EAI_MEMORY;
}

/* As libc reads /etc/hosts: the IPv6 loopback address comes first (RFC 6724), and stands for the
 * IPv4 one where only that will do. */
static struct vd_ip as_libc_reads(const struct vd_ip *ip, const struct addrinfo *hints)
{
    static const uint8_t loopback4[4] = {127, 0, 0, 1};
    bool only4 = hints && hints->ai_family == AF_INET;

    return only4 && ip->family == VD_IPV6 && vd_ip_class(ip) == VD_CLASS_LOOPBACK
               ? vd_ip4(loopback4)
               : *ip;
}

static bool comes_first(const struct vd_ip *ip)
{
    return ip->family == VD_IPV6 && vd_ip_class(ip) == VD_CLASS_LOOPBACK;
}

/* An address of a family that was not asked for is no error as long as another one fits. */
static int append_some(struct addrinfo **list, const struct lookup *l, const char *service,
                       const struct addrinfo *hints, bool first)
{
    int r = EAI_NONAME;

    for (size_t i = 0; i < l->count; i++) {
        struct vd_ip ip = as_libc_reads(&l->ips[i], hints);

        if (comes_first(&ip) == first)
            r = append(list, service, hints, &ip);
        if (r != 0 && r != EAI_ADDRFAMILY && r != EAI_NONAME)
            break;
    }
    return r;
}

static int answer(const struct lookup *l, const char *node, const char *service,
                  const struct addrinfo *hints, struct addrinfo **result)
{
    struct addrinfo *list = NULL;
    int r = append_some(&list, l, service, hints, true), later;

    later = append_some(&list, l, service, hints, false);
    if (r == EAI_NONAME)
        r = later;
    if (!list)
        return r;
    *result = list;
    return hints && hints->ai_flags & AI_CANONNAME ? add_canonical_name(result, node) : 0;
}

static void remember(const char *node, const struct addrinfo *list)
{
    struct vd_endpoint e;

    for (; list; list = list->ai_next)
        if (addr_read(&e, list->ai_addr, list->ai_addrlen))
            lookup_remember(node, &e.ip);
}

static int getaddrinfo_here(const struct lookup *l, const char *node, const char *service,
                            const struct addrinfo *hints, struct addrinfo **result)
{
    int r = sys.getaddrinfo(node, service, hints, result);

    if (r == 0 && l->remember)
        remember(node, *result);
    return r;
}

/* The port of a service given as a number; 0: unknown. */
static uint16_t port_of(const char *service)
{
    int64_t port = service ? vd_uint_read(service, strlen(service), UINT16_MAX) : 0;

    return port > 0 ? (uint16_t)port : 0;
}

HOOK int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                     struct addrinfo **result)
{
    struct lookup l;
    int r;

    if (!node || (hints && hints->ai_flags & AI_NUMERICHOST))
        return sys.getaddrinfo(node, service, hints, result);
    if (!hook_ready())
        return EAI_FAIL;
    switch (lookup_name(&l, node, port_of(service), hints && hints->ai_family == AF_INET6)) {
    case LOOKUP_SYSTEM:
        return getaddrinfo_here(&l, node, service, hints, result);
    case LOOKUP_KNOWN:
        r = answer(&l, node, service, hints, result);
        if (r == 0 && l.remember)
            remember(node, *result);
        return r;
    case LOOKUP_FULL:
        return EAI_AGAIN;
    case LOOKUP_UNKNOWN:
        break;
    }
    return EAI_NONAME;
}

static int copy_name(char *host, socklen_t host_len, const char *name, int flags)
{
    size_t len = strlen(name);
    const char *dot = flags & NI_NOFQDN ? strchr(name, '.') : NULL;

    if (dot)
        len = (size_t)(dot - name);
    if (len >= host_len)
        return EAI_OVERFLOW;
    memcpy(host, name, len);
    host[len] = 0;
    return 0;
}

HOOK int getnameinfo(const struct sockaddr *addr, socklen_t len, char *host, socklen_t host_len,
                     char *service, socklen_t service_len, int flags)
{
    char name[VD_NAME_MAX + 1];
    struct vd_endpoint e;
    int r;

    if (flags & NI_NUMERICHOST || !host || !host_len || !addr_read(&e, addr, len))
        return sys.getnameinfo(addr, len, host, host_len, service, service_len, flags);
    if (!hook_ready())
        return EAI_FAIL;
    switch (lookup_address(&e.ip, name)) {
    case LOOKUP_SYSTEM:
        return sys.getnameinfo(addr, len, host, host_len, service, service_len, flags);
    case LOOKUP_KNOWN:
        r = copy_name(host, host_len, name, flags);
        if (r != 0 || !service || !service_len)
            return r;
        return sys.getnameinfo(addr, len, NULL, 0, service, service_len, flags & ~NI_NAMEREQD);
    case LOOKUP_UNKNOWN:
    case LOOKUP_FULL:
        break;
    }
    if (flags & NI_NAMEREQD)
        return EAI_NONAME;
    return sys.getnameinfo(addr, len, host, host_len, service, service_len, flags | NI_NUMERICHOST);
}
