/*
 * The names that libc has for calls with 64-bit times, where its own times have 32 bits: what is
 * built there with _TIME_BITS=64 calls these. A time beyond what 32 bits hold is as good as the
 * longest that they do: 68 years.
 *
 * Kernels since Linux 5.1 know the options and messages with 64-bit times by numbers of their own,
 * so that libc's conversions for older ones are left out.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "preload/hook.h"

#if __TIMESIZE == 32

struct time64 {
    int64_t tv_sec;
    int32_t tv_nsec;
    int32_t padding;
};

struct timeval64 {
    int64_t tv_sec, tv_usec;
};

static time_t narrow(int64_t seconds)
{
    if (seconds > INT32_MAX)
        return INT32_MAX;
    return seconds < 0 ? -1 : (time_t)seconds;
}

/* In *to, or NULL for none. */
static struct timespec *take(struct timespec *to, const struct time64 *from)
{
    if (!from)
        return NULL;
    *to = (struct timespec){.tv_sec = narrow(from->tv_sec), .tv_nsec = from->tv_nsec};
    return to;
}

int __ppoll64(struct pollfd *fds, nfds_t count, const struct time64 *timeout, const sigset_t *mask);
int __pselect64(int count, fd_set *r, fd_set *w, fd_set *x, const struct time64 *timeout,
                const sigset_t *mask);
int __select64(int count, fd_set *r, fd_set *w, fd_set *x, struct timeval64 *timeout);
int __recvmmsg64(int fd, struct mmsghdr *messages, unsigned int count, int flags,
                 struct time64 *timeout);
ssize_t __recvmsg64(int fd, struct msghdr *message, int flags);
ssize_t __sendmsg64(int fd, const struct msghdr *message, int flags);
int __sendmmsg64(int fd, struct mmsghdr *messages, unsigned int count, int flags);
int __getsockopt64(int fd, int level, int name, void *value, socklen_t *len);
int __setsockopt64(int fd, int level, int name, const void *value, socklen_t len);
int __fcntl_time64(int fd, int command, ...);
int __ioctl_time64(int fd, unsigned long command, ...);

HOOK int __ppoll64(struct pollfd *fds, nfds_t count, const struct time64 *timeout,
                   const sigset_t *mask)
{
    struct timespec t;

    return ppoll(fds, count, take(&t, timeout), mask);
}

HOOK int __pselect64(int count, fd_set *r, fd_set *w, fd_set *x, const struct time64 *timeout,
                     const sigset_t *mask)
{
    struct timespec t;

    return pselect(count, r, w, x, take(&t, timeout), mask);
}

HOOK int __select64(int count, fd_set *r, fd_set *w, fd_set *x, struct timeval64 *timeout)
{
    struct timeval t = {0};
    int result;

    if (!timeout)
        return select(count, r, w, x, NULL);
    t.tv_sec = narrow(timeout->tv_usec < 0 ? -1 : timeout->tv_sec + timeout->tv_usec / 1000000);
    t.tv_usec = (suseconds_t)(timeout->tv_usec % 1000000);
    result = select(count, r, w, x, &t);
    if (t.tv_sec >= 0)
        *timeout = (struct timeval64){t.tv_sec, t.tv_usec};
    return result;
}

HOOK int __recvmmsg64(int fd, struct mmsghdr *messages, unsigned int count, int flags,
                      struct time64 *timeout)
{
    struct timespec t;
    int n = recvmmsg(fd, messages, count, flags, take(&t, timeout));

    if (n >= 0 && timeout) {
        timeout->tv_sec = t.tv_sec;
        timeout->tv_nsec = (int32_t)t.tv_nsec;
    }
    return n;
}

HOOK ssize_t __recvmsg64(int fd, struct msghdr *message, int flags)
{
    return recvmsg(fd, message, flags);
}

HOOK ssize_t __sendmsg64(int fd, const struct msghdr *message, int flags)
{
    return sendmsg(fd, message, flags);
}

HOOK int __sendmmsg64(int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
    return sendmmsg(fd, messages, count, flags);
}

HOOK int __getsockopt64(int fd, int level, int name, void *value, socklen_t *len)
{
    return getsockopt(fd, level, name, value, len);
}

HOOK int __setsockopt64(int fd, int level, int name, const void *value, socklen_t len)
{
    return setsockopt(fd, level, name, value, len);
}

HOOK int __fcntl_time64(int fd, int command, ...)
{
    va_list arguments;
    void *argument;

    va_start(arguments, command);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    return fcntl64(fd, command, argument);
}

HOOK int __ioctl_time64(int fd, unsigned long command, ...)
{
    va_list arguments;
    void *argument;

    va_start(arguments, command);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    return ioctl(fd, command, argument);
}

#endif
