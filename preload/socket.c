/*
 * socket(): what could leave the machine and cannot be carried is not made in the first place.
 */
#include <netinet/in.h>

#include "client/fresh.h"
#include "client/say.h"
#include "preload/datagram.h"

static bool is_tcp(int domain, int type, int protocol)
{
    return (domain == AF_INET || domain == AF_INET6) &&
           (type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) == SOCK_STREAM &&
           (protocol == 0 || protocol == IPPROTO_TCP);
}

HOOK int socket(int domain, int type, int protocol)
{
    const char *why = judge_socket(domain, type, protocol);

    if (!why) {
        int fd = sys.socket(domain, type, protocol);

        datagram_made(fd, domain, type);
        fresh_made(fd, is_tcp(domain, type, protocol), !(type & SOCK_NONBLOCK));
        return fd;
    }
    if (hook_ready())
        say(PLAN_FAILURES, NULL, why);
    return hook_fail(EACCES);
}
