/*
 * What a program may ask of a socket: its error, its peer; and shutdown().
 */
#include <string.h>

#include "client/addr.h"
#include "client/pending.h"
#include "client/sockets.h"
#include "preload/hook.h"

HOOK int getpeername(int fd, struct sockaddr *addr, socklen_t *len)
{
    socklen_t room = len ? *len : 0, known;
    struct sockaddr_storage target;
    int r;

    if (pending_any() && pending_state(fd) == PENDING_UNDER_WAY)
        return hook_fail(ENOTCONN);
    r = sys.getpeername(fd, addr, len);
    if (r < 0 || session_state() != SESSION_READY)
        return r;
    known = sockets_get(sockets_cookie(fd), &target);
    if (known) {
        *len = room;
        addr_copy_out(addr, len, &target, known);
    }
    return r;
}

static int give_error(int error, void *value, socklen_t *len)
{
    socklen_t n = *len < sizeof error ? *len : (socklen_t)sizeof error;

    if ((int)*len < 0)
        return hook_fail(EINVAL);
    memcpy(value, &error, n);
    *len = n;
    return 0;
}

HOOK int getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    int error;

    if (level != SOL_SOCKET || name != SO_ERROR || !pending_any() || !value || !len)
        return sys.getsockopt(fd, level, name, value, len);
    if (pending_state(fd) == PENDING_UNDER_WAY)
        return give_error(0, value, len);
    error = pending_take_error(fd);
    return error ? give_error(error, value, len) : sys.getsockopt(fd, level, name, value, len);
}

/* The kernel gives a connection up that is shut down while it is set up. */
HOOK int shutdown(int fd, int how)
{
    if (!pending_any() || how < SHUT_RD || how > SHUT_RDWR ||
        pending_state(fd) != PENDING_UNDER_WAY)
        return sys.shutdown(fd, how);
    pending_cancel(fd, ECONNRESET);
    return 0;
}
