/*
 * The calls that move bytes. While nothing is pending each costs a load and a jump.
 */
#include "preload/io.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include "preload/hook.h"

bool io_admit_slowly(int fd, int flags)
{
    int error;

    if (pending_state(fd) == PENDING_UNDER_WAY) {
        if (flags & MSG_DONTWAIT || sys.fcntl(fd, F_GETFL, NULL) & O_NONBLOCK) {
            errno = EAGAIN;
            return false;
        }
        if (!pending_wait(fd, 0))
            return false;
    }
    error = pending_take_error(fd);
    if (error)
        errno = error;
    return error == 0;
}

/* Some programs take no notice of a send that fails, and wait for the answer. An empty datagram to
 * the socket's own address (preload/datagram.c) lets the kernel tell them that nobody is there. */
bool io_deny(int fd)
{
    sys.send(fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL);
    errno = EACCES;
    return false;
}

HOOK ssize_t send(int fd, const void *data, size_t len, int flags)
{
    return io_sends(fd, flags) ? sys.send(fd, data, len, flags) : -1;
}

HOOK ssize_t recv(int fd, void *data, size_t len, int flags)
{
    return io_admits(fd, flags) ? sys.recv(fd, data, len, flags) : -1;
}

HOOK ssize_t recvfrom(int fd, void *data, size_t len, int flags, struct sockaddr *addr,
                      socklen_t *addr_len)
{
    return io_admits(fd, flags) ? sys.recvfrom(fd, data, len, flags, addr, addr_len) : -1;
}

HOOK ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    return io_admits(fd, flags) ? sys.recvmsg(fd, message, flags) : -1;
}

HOOK int recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags,
                  struct timespec *timeout)
{
    return io_admits(fd, flags) ? sys.recvmmsg(fd, messages, count, flags, timeout) : -1;
}

HOOK ssize_t read(int fd, void *data, size_t len)
{
    return io_admits(fd, 0) ? sys.read(fd, data, len) : -1;
}

HOOK ssize_t readv(int fd, const struct iovec *parts, int count)
{
    return io_admits(fd, 0) ? sys.readv(fd, parts, count) : -1;
}

HOOK ssize_t write(int fd, const void *data, size_t len)
{
    return io_sends(fd, 0) ? sys.write(fd, data, len) : -1;
}

HOOK ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return io_sends(fd, 0) ? sys.writev(fd, parts, count) : -1;
}

HOOK ssize_t sendfile(int to, int from, off_t *offset, size_t len)
{
    return io_sends(to, 0) ? sys.sendfile(to, from, offset, len) : -1;
}

HOOK ssize_t sendfile64(int to, int from, off64_t *offset, size_t len)
{
    return io_sends(to, 0) ? sys.sendfile64(to, from, offset, len) : -1;
}

HOOK ssize_t splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t len,
                    unsigned int flags)
{
    int wait = flags & SPLICE_F_NONBLOCK ? MSG_DONTWAIT : 0;

    if (!io_admits(from, wait) || !io_sends(to, wait))
        return -1;
    return sys.splice(from, from_at, to, to_at, len, flags);
}

/* --- other names of the same ----------------------------------------------------------------- */

void __chk_fail(void) __attribute__((noreturn));
ssize_t __read(int fd, void *data, size_t len);
ssize_t __write(int fd, const void *data, size_t len);
ssize_t __send(int fd, const void *data, size_t len, int flags);
ssize_t __read_chk(int fd, void *data, size_t len, size_t room);
ssize_t __recv_chk(int fd, void *data, size_t len, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *data, size_t len, size_t room, int flags,
                       struct sockaddr *addr, socklen_t *addr_len);

HOOK ssize_t __read(int fd, void *data, size_t len)
{
    return read(fd, data, len);
}

HOOK ssize_t __write(int fd, const void *data, size_t len)
{
    return write(fd, data, len);
}

HOOK ssize_t __send(int fd, const void *data, size_t len, int flags)
{
    return send(fd, data, len, flags);
}

HOOK ssize_t __read_chk(int fd, void *data, size_t len, size_t room)
{
    if (len > room)
        __chk_fail();
    return read(fd, data, len);
}

HOOK ssize_t __recv_chk(int fd, void *data, size_t len, size_t room, int flags)
{
    if (len > room)
        __chk_fail();
    return recv(fd, data, len, flags);
}

HOOK ssize_t __recvfrom_chk(int fd, void *data, size_t len, size_t room, int flags,
                            struct sockaddr *addr, socklen_t *addr_len)
{
    if (len > room)
        __chk_fail();
    return recvfrom(fd, data, len, flags, addr, addr_len);
}
