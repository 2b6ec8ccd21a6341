/*
 * syscall(): the socket calls by number are the hooks by name.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "client/lookup.h"
#include "preload/hook.h"

#ifdef SYS_recvmmsg_time64
int __recvmmsg64(int fd, struct mmsghdr *messages, unsigned int count, int flags, void *timeout);
#endif
#if !__GLIBC_PREREQ(2, 36)
int fsopen(const char *type, unsigned int flags);
#endif

/* Bytes and messages. */
static long moves_bytes(long number, const long a[6], bool *known)
{
    switch (number) {
    case SYS_sendto:
        return sendto((int)a[0], (const void *)a[1], (size_t)a[2], (int)a[3],
                      (const struct sockaddr *)a[4], (socklen_t)a[5]);
    case SYS_sendmsg:
        return sendmsg((int)a[0], (const struct msghdr *)a[1], (int)a[2]);
    case SYS_sendmmsg:
        return sendmmsg((int)a[0], (struct mmsghdr *)a[1], (unsigned)a[2], (int)a[3]);
    case SYS_recvfrom:
        return recvfrom((int)a[0], (void *)a[1], (size_t)a[2], (int)a[3], (struct sockaddr *)a[4],
                        (socklen_t *)a[5]);
    case SYS_recvmsg:
        return recvmsg((int)a[0], (struct msghdr *)a[1], (int)a[2]);
    case SYS_read:
        return read((int)a[0], (void *)a[1], (size_t)a[2]);
    case SYS_write:
        return write((int)a[0], (const void *)a[1], (size_t)a[2]);
    case SYS_readv:
        return readv((int)a[0], (const struct iovec *)a[1], (int)a[2]);
    case SYS_writev:
        return writev((int)a[0], (const struct iovec *)a[1], (int)a[2]);
    case SYS_recvmmsg:
        return recvmmsg((int)a[0], (struct mmsghdr *)a[1], (unsigned)a[2], (int)a[3],
                        (struct timespec *)a[4]);
#ifdef SYS_recvmmsg_time64
    case SYS_recvmmsg_time64:
        return __recvmmsg64((int)a[0], (struct mmsghdr *)a[1], (unsigned)a[2], (int)a[3],
                            (void *)a[4]);
#endif
    case SYS_sendfile:
        return sendfile((int)a[0], (int)a[1], (off_t *)a[2], (size_t)a[3]);
#ifdef SYS_sendfile64
    case SYS_sendfile64:
        return sendfile64((int)a[0], (int)a[1], (off64_t *)a[2], (size_t)a[3]);
#endif
    case SYS_splice:
        return splice((int)a[0], (off64_t *)a[1], (int)a[2], (off64_t *)a[3], (size_t)a[4],
                      (unsigned)a[5]);
    default:
        *known = false;
        return 0;
    }
}

static long handles_descriptors(long number, const long a[6], bool *known)
{
    switch (number) {
    case SYS_dup:
        return dup((int)a[0]);
#ifdef SYS_dup2
    case SYS_dup2:
        return dup2((int)a[0], (int)a[1]);
#endif
    case SYS_dup3:
        return dup3((int)a[0], (int)a[1], (int)a[2]);
    case SYS_fcntl:
        return fcntl((int)a[0], (int)a[1], a[2]);
#ifdef SYS_fcntl64
    case SYS_fcntl64:
        return fcntl64((int)a[0], (int)a[1], a[2]);
#endif
    case SYS_ioctl:
        return ioctl((int)a[0], (unsigned long)a[1], (void *)a[2]);
    case SYS_close:
        return close((int)a[0]);
    case SYS_close_range:
        return close_range((unsigned)a[0], (unsigned)a[1], (int)a[2]);
    case SYS_epoll_ctl:
        return epoll_ctl((int)a[0], (int)a[1], (int)a[2], (struct epoll_event *)a[3]);
    case SYS_execve:
        return execve((const char *)a[0], (char *const *)a[1], (char *const *)a[2]);
    case SYS_execveat:
        return execveat((int)a[0], (const char *)a[1], (char *const *)a[2], (char *const *)a[3],
                        (int)a[4]);
    default:
        return moves_bytes(number, a, known);
    }
}

/* The kernel's own way to a name server: a helper program that it starts. */
static bool asks_for_a_name(const char *type)
{
    static const char resolver[] = "dns_resolver";

    return hook_is_readable((const struct sockaddr *)type, sizeof resolver) &&
           !memcmp(type, resolver, sizeof resolver) && !(hook_ready() && lookup_may_query(NULL));
}

/* What makes the kernel connect, or register and watch sockets, by itself. A program that is told
 * that there is no io_uring does without. */
static long works_in_the_kernel(long number, const long a[6], bool *known)
{
    switch (number) {
    case SYS_mount:
        return mount((const char *)a[0], (const char *)a[1], (const char *)a[2],
                     (unsigned long)a[3], (const void *)a[4]);
    case SYS_fsopen:
        return fsopen((const char *)a[0], (unsigned)a[1]);
    case SYS_io_uring_setup:
        return hook_fail(ENOSYS);
    case SYS_request_key:
        *known = asks_for_a_name((const char *)a[0]);
        return *known ? hook_fail(ENOKEY) : 0;
    default:
        return handles_descriptors(number, a, known);
    }
}

static long by_name(long number, const long a[6], bool *known)
{
    *known = true;
    switch (number) {
    case SYS_socket:
        return socket((int)a[0], (int)a[1], (int)a[2]);
    case SYS_connect:
        return connect((int)a[0], (const struct sockaddr *)a[1], (socklen_t)a[2]);
    case SYS_bind:
        return bind((int)a[0], (const struct sockaddr *)a[1], (socklen_t)a[2]);
    case SYS_listen:
        return listen((int)a[0], (int)a[1]);
#ifdef SYS_accept
    case SYS_accept:
        return accept((int)a[0], (struct sockaddr *)a[1], (socklen_t *)a[2]);
#endif
    case SYS_accept4:
        return accept4((int)a[0], (struct sockaddr *)a[1], (socklen_t *)a[2], (int)a[3]);
    case SYS_getsockname:
        return getsockname((int)a[0], (struct sockaddr *)a[1], (socklen_t *)a[2]);
    case SYS_getpeername:
        return getpeername((int)a[0], (struct sockaddr *)a[1], (socklen_t *)a[2]);
    case SYS_getsockopt:
        return getsockopt((int)a[0], (int)a[1], (int)a[2], (void *)a[3], (socklen_t *)a[4]);
    case SYS_setsockopt:
        return setsockopt((int)a[0], (int)a[1], (int)a[2], (const void *)a[3], (socklen_t)a[4]);
    case SYS_shutdown:
        return shutdown((int)a[0], (int)a[1]);
    default:
        return works_in_the_kernel(number, a, known);
    }
}

#ifdef SYS_socketcall

/* The same calls as one, with a number and the arguments in memory (linux/net.h). */
static const struct {
    short number, count;
} socketcalls[] = {
    {0, 0},
    {SYS_socket, 3},
    {SYS_bind, 3},
    {SYS_connect, 3},
    {SYS_listen, 2},
    {SYS_accept4, 3},
    {SYS_getsockname, 3},
    {SYS_getpeername, 3},
    {SYS_socketpair, 4},
    {SYS_sendto, 4},   /* send */
    {SYS_recvfrom, 4}, /* recv */
    {SYS_sendto, 6},
    {SYS_recvfrom, 6},
    {SYS_shutdown, 2},
    {SYS_setsockopt, 5},
    {SYS_getsockopt, 5},
    {SYS_sendmsg, 3},
    {SYS_recvmsg, 3},
    {SYS_accept4, 4},
    {SYS_recvmmsg, 5},
    {SYS_sendmmsg, 4},
};

/* What the kernel cannot read is left to it. */
static long by_socketcall(unsigned long call, const long *from, bool *known)
{
    long a[6] = {0};

    *known = call > 0 && call < sizeof socketcalls / sizeof *socketcalls &&
             hook_is_readable((const struct sockaddr *)from,
                              (socklen_t)(socketcalls[call].count * sizeof *from));
    if (!*known)
        return 0;
    memcpy(a, from, (size_t)socketcalls[call].count * sizeof *from);
    return by_name(socketcalls[call].number, a, known);
}

#endif

static long by_number(long number, const long a[6], bool *known)
{
#ifdef SYS_socketcall
    if (number == SYS_socketcall)
        return by_socketcall((unsigned long)a[0], (const long *)a[1], known);
#endif
    return by_name(number, a, known);
}

HOOK long syscall(long number, ...)
{
    va_list arguments;
    long a[6], r;
    bool known;

    va_start(arguments, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(arguments, long);
    va_end(arguments);
    r = by_number(number, a, &known);
    return known ? r : sys.syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
