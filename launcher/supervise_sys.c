/*
 * What the client engine is built on, in the supervisor: libc's own calls. But for connect(): the
 * supervisor works on sockets of others, which may block, and must not wait itself. So the socket
 * is told not to block for that one moment; its owner waits in the kernel meanwhile.
 */
#include <errno.h>
#include <fcntl.h>

#include "client/sys.h"

static int connect_at_once(int fd, const struct sockaddr *addr, socklen_t len)
{
    int flags = fcntl(fd, F_GETFL), r, number;

    if (flags < 0 || flags & O_NONBLOCK)
        return connect(fd, addr, len);
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    r = connect(fd, addr, len);
    number = errno;
    fcntl(fd, F_SETFL, flags);
    errno = number;
    return r;
}

static int control(int fd, int command, void *argument)
{
    return fcntl(fd, command, argument);
}

struct sys sys = {
    .connect = connect_at_once,
    .socket = socket,
    .close = close,
    .bind = bind,
    .listen = listen,
    .accept4 = accept4,
    .getsockname = getsockname,
    .getpeername = getpeername,
    .getsockopt = getsockopt,
    .setsockopt = setsockopt,
    .send = send,
    .sendto = sendto,
    .sendmsg = sendmsg,
    .recv = recv,
    .recvfrom = recvfrom,
    .recvmsg = recvmsg,
    .shutdown = shutdown,
    .epoll_ctl = epoll_ctl,
    .dup3 = dup3,
    .fcntl = control,
    .poll = poll,
    .read = read,
    .write = write,
};
