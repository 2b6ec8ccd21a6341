/*
 * The calls that move bytes. While nothing is pending each costs a few loads and a jump on whatever
 * is no datagram socket: the hook is the look, and another function does what it may come to.
 */
#include "preload/io.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#include "client/say.h"
#include "preload/datagram.h"

static int64_t deadline_ns(int fd, enum io_way way)
{
    struct timeval limit = {0};
    socklen_t len = sizeof limit;

    sys.getsockopt(fd, SOL_SOCKET, way == IO_SENDS ? SO_SNDTIMEO : SO_RCVTIMEO, &limit, &len);
    if (limit.tv_sec == 0 && limit.tv_usec == 0)
        return 0;
    return drive_now_ns() + (int64_t)limit.tv_sec * 1000000000 + (int64_t)limit.tv_usec * 1000;
}

static bool must_not_wait(int fd, int flags)
{
    return flags & MSG_DONTWAIT || sys.fcntl(fd, F_GETFL, NULL) & O_NONBLOCK;
}

bool io_admit_slowly(int fd, int flags, enum io_way way)
{
    int error, saved = errno;

    if (pending_state(fd) == PENDING_UNDER_WAY) {
        int why = must_not_wait(fd, flags) ? EAGAIN : pending_wait(fd, deadline_ns(fd, way));

        if (why) {
            errno = why == ETIMEDOUT ? EAGAIN : why;
            return false;
        }
    }
    error = pending_take_error(fd);
    errno = error ? error : saved;
    return error == 0;
}

/* Some programs take no notice of a send that fails, and wait for the answer. An empty datagram to
 * the socket's own address, port 9 (preload/datagram.c), lets the kernel tell them that nobody is
 * there. */
ssize_t io_deny(int fd)
{
    sys.send(fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL);
    return hook_fail(EACCES);
}

/* Receiving nothing: the kernel waits for the connection, no further, and takes no error. */
static bool waits_for_nothing(int fd, int flags)
{
    return pending_any() && pending_state(fd) == PENDING_UNDER_WAY && !must_not_wait(fd, flags) &&
           pending_wait(fd, deadline_ns(fd, IO_RECEIVES)) == 0;
}

SLOW ssize_t send_slowly(int fd, const void *data, size_t len, int flags)
{
    struct sockets_datagram d;
    struct iovec part = {(void *)data, len};

    if (datagram_is_ours(fd, &d))
        return datagram_send_parts(fd, &d, &part, 1, flags);
    return io_sends(fd, flags) ? sys.send(fd, data, len, flags) : -1;
}

HOOK ssize_t send(int fd, const void *data, size_t len, int flags)
{
    return io_is_plain(fd) ? sys.send(fd, data, len, flags) : send_slowly(fd, data, len, flags);
}

SLOW ssize_t recv_slowly(int fd, void *data, size_t len, int flags)
{
    struct sockets_datagram d;
    struct iovec part = {data, len};

    if (datagram_receives(fd, &d))
        return datagram_receive_parts(fd, &d, &part, 1, flags, NULL, NULL);
    if (len == 0 && waits_for_nothing(fd, flags))
        return 0;
    return io_receives(fd, flags) ? sys.recv(fd, data, len, flags) : -1;
}

HOOK ssize_t recv(int fd, void *data, size_t len, int flags)
{
    return io_is_plain(fd) ? sys.recv(fd, data, len, flags) : recv_slowly(fd, data, len, flags);
}

SLOW ssize_t recvfrom_slowly(int fd, void *data, size_t len, int flags, struct sockaddr *addr,
                             socklen_t *addr_len)
{
    struct sockets_datagram d;
    struct iovec part = {data, len};

    if (datagram_receives(fd, &d))
        return datagram_receive_parts(fd, &d, &part, 1, flags, addr, addr_len);
    if (len == 0 && waits_for_nothing(fd, flags))
        return 0;
    return io_receives(fd, flags) ? sys.recvfrom(fd, data, len, flags, addr, addr_len) : -1;
}

HOOK ssize_t recvfrom(int fd, void *data, size_t len, int flags, struct sockaddr *addr,
                      socklen_t *addr_len)
{
    return io_is_plain(fd) ? sys.recvfrom(fd, data, len, flags, addr, addr_len)
                           : recvfrom_slowly(fd, data, len, flags, addr, addr_len);
}

SLOW ssize_t recvmsg_slowly(int fd, struct msghdr *message, int flags)
{
    struct sockets_datagram d;

    if (message && datagram_receives(fd, &d))
        return datagram_receive(fd, &d, message, flags);
    return io_receives(fd, flags) ? sys.recvmsg(fd, message, flags) : -1;
}

HOOK ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    ssize_t n =
        io_is_plain(fd) ? sys.recvmsg(fd, message, flags) : recvmsg_slowly(fd, message, flags);

    if (n >= 0 && message && message->msg_controllen > 0)
        datagram_after_pass(message);
    return n;
}

HOOK int recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags,
                  struct timespec *timeout)
{
    struct sockets_datagram d;
    int n;

    if (messages &&
        (datagram_is_ours(fd, &d) || (datagram_receives(fd, &d) && !must_not_wait(fd, flags))))
        return datagram_receive_many(fd, &d, messages, count, flags, timeout);
    n = io_receives(fd, flags) ? sys.recvmmsg(fd, messages, count, flags, timeout) : -1;
    for (int i = 0; i < n; i++)
        datagram_after_pass(&messages[i].msg_hdr);
    return n;
}

SLOW ssize_t read_slowly(int fd, void *data, size_t len)
{
    struct sockets_datagram d;
    struct iovec part = {data, len};

    if (len > 0 && datagram_receives(fd, &d))
        return datagram_receive_parts(fd, &d, &part, 1, 0, NULL, NULL);
    return len == 0 || io_receives(fd, 0) ? sys.read(fd, data, len) : -1;
}

HOOK ssize_t read(int fd, void *data, size_t len)
{
    return io_is_plain(fd) ? sys.read(fd, data, len) : read_slowly(fd, data, len);
}

SLOW ssize_t readv_slowly(int fd, const struct iovec *parts, int count)
{
    struct sockets_datagram d;

    if (count > 0 && datagram_receives(fd, &d))
        return datagram_receive_parts(fd, &d, parts, (size_t)count, 0, NULL, NULL);
    return io_receives(fd, 0) ? sys.readv(fd, parts, count) : -1;
}

HOOK ssize_t readv(int fd, const struct iovec *parts, int count)
{
    return io_is_plain(fd) ? sys.readv(fd, parts, count) : readv_slowly(fd, parts, count);
}

SLOW ssize_t write_slowly(int fd, const void *data, size_t len)
{
    struct sockets_datagram d;
    struct iovec part = {(void *)data, len};

    if (datagram_is_ours(fd, &d))
        return datagram_send_parts(fd, &d, &part, 1, 0);
    return io_sends(fd, 0) ? sys.write(fd, data, len) : -1;
}

HOOK ssize_t write(int fd, const void *data, size_t len)
{
    return io_is_plain(fd) ? sys.write(fd, data, len) : write_slowly(fd, data, len);
}

SLOW ssize_t writev_slowly(int fd, const struct iovec *parts, int count)
{
    struct sockets_datagram d;

    if (count >= 0 && datagram_is_ours(fd, &d))
        return datagram_send_parts(fd, &d, parts, (size_t)count, 0);
    return io_sends(fd, 0) ? sys.writev(fd, parts, count) : -1;
}

HOOK ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return io_is_plain(fd) ? sys.writev(fd, parts, count) : writev_slowly(fd, parts, count);
}

/* --- bytes that no hook sees ----------------------------------------------------------------- */

/* The kernel would move them between a descriptor and a socket without headers. */
static bool may_splice(int fd)
{
    struct sockets_datagram d;

    if (!datagram_is_ours(fd, &d))
        return true;
    say(PLAN_FAILURES, NULL,
        "sendfile() and splice() are refused on a datagram socket that is carried");
    errno = EACCES;
    return false;
}

HOOK ssize_t sendfile(int to, int from, off_t *offset, size_t len)
{
    if (io_is_plain(to))
        return sys.sendfile(to, from, offset, len);
    return may_splice(to) && io_sends(to, 0) ? sys.sendfile(to, from, offset, len) : -1;
}

HOOK ssize_t sendfile64(int to, int from, off64_t *offset, size_t len)
{
    if (io_is_plain(to))
        return sys.sendfile64(to, from, offset, len);
    return may_splice(to) && io_sends(to, 0) ? sys.sendfile64(to, from, offset, len) : -1;
}

/* SPLICE_F_NONBLOCK is about pipes; a socket waits or not by its own flag. */
HOOK ssize_t splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t len,
                    unsigned int flags)
{
    if (!may_splice(from) || !may_splice(to) || !io_receives(from, 0) || !io_sends(to, 0))
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
