/*
 * socket(): what could leave the machine and cannot be carried is not made in the first place.
 */
#include <netinet/in.h>

#include "client/say.h"
#include "preload/hook.h"

static const char *what_cannot_be_carried(int domain, int type, int protocol)
{
    int kind = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (domain == AF_PACKET)
        return "packet sockets are refused: they go around the chain";
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

    if (!why)
        return sys.socket(domain, type, protocol);
    if (hook_ready())
        say(PLAN_FAILURES, NULL, why);
    return hook_fail(EACCES);
}
