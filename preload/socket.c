/*
 * socket(): what could leave the machine and cannot be carried is not made in the first place.
 */
#include <netinet/in.h>

#include "client/say.h"
#include "preload/datagram.h"

HOOK int socket(int domain, int type, int protocol)
{
    const char *why = judge_socket(domain, type, protocol);

    if (!why) {
        int fd = sys.socket(domain, type, protocol);

        datagram_made(fd, domain, type);
        return fd;
    }
    if (hook_ready())
        say(PLAN_FAILURES, NULL, why);
    return hook_fail(EACCES);
}
