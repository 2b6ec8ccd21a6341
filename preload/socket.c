/*
 * socket(): what could leave the machine and cannot be carried is not made in the first place.
 */
#include <netinet/in.h>

#include "client/say.h"
#include "preload/datagram.h"

/* Families that reach other machines past TCP and UDP, or make the kernel use these by itself
 * (AF_SMC, AF_RDS, AF_TIPC, AF_RXRPC). */
static bool is_another_network(int domain)
{
    switch (domain) {
    case AF_AX25:
    case AF_IPX:
    case AF_APPLETALK:
    case AF_X25:
    case AF_DECnet:
    case AF_RDS:
    case AF_PPPOX:
    case AF_LLC:
    case AF_IB:
    case AF_TIPC:
    case AF_RXRPC:
    case AF_SMC:
    case AF_XDP:
        return true;
    default:
        return false;
    }
}

static const char *what_cannot_be_carried(int domain, int type, int protocol)
{
    int kind = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (domain == AF_PACKET)
        return "packet sockets are refused: they go around the chain";
    if (is_another_network(domain))
        return "only TCP and UDP can be carried";
    if (domain != AF_INET && domain != AF_INET6)
        return NULL;
    if (kind == SOCK_RAW)
        return "raw sockets are refused: they go around the chain";
    switch (protocol) {
    case 0:
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_MPTCP:
        return kind == SOCK_SEQPACKET ? "SCTP cannot be carried" : NULL;
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
        return "ICMP cannot be carried";
    default:
        return "only TCP and UDP can be carried";
    }
}

HOOK int socket(int domain, int type, int protocol)
{
    const char *why = what_cannot_be_carried(domain, type, protocol);

    if (!why) {
        int fd = sys.socket(domain, type, protocol);

        datagram_made(fd, domain, type);
        return fd;
    }
    if (hook_ready())
        say(PLAN_FAILURES, NULL, why);
    return hook_fail(EACCES);
}
