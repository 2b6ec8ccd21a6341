/*
 * Closing and duplicating: the bookkeeping follows the descriptors.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "client/assoc.h"
#include "client/fresh.h"
#include "client/listen.h"
#include "client/pending.h"
#include "preload/datagram.h"

HOOK int close(int fd)
{
    fresh_drop(fd);
    if (listen_any())
        listen_before_close(fd);
    return pending_before_close(fd) ? sys.close(fd) : hook_fail(EBADF);
}

HOOK int fclose(FILE *file)
{
    int saved = errno, fd = file ? fileno(file) : -1;

    errno = saved;
    if (fd >= 0)
        fresh_drop(fd);
    if (fd >= 0 && (pending_any() || assoc_any()))
        pending_before_close(fd);
    return sys.fclose(file);
}

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

static int close_part(unsigned first, unsigned last, int flags)
{
    return sys.close_range(first, last, flags);
}

HOOK int close_range(unsigned int first, unsigned int last, int flags)
{
    if (first > last || (unsigned)flags & CLOSE_RANGE_CLOEXEC)
        return sys.close_range(first, last, flags);
    fresh_drop_range(first, last);
    if (listen_any())
        listen_before_close_range(first, last);
    return pending_close_range(first, last, close_part, flags);
}

HOOK void closefrom(int first)
{
    int saved = errno;

    if (close_range(first < 0 ? 0 : (unsigned)first, ~0u, 0) < 0)
        for (int fd = first < 0 ? 0 : first; fd < (int)sysconf(_SC_OPEN_MAX); fd++)
            close(fd);
    errno = saved;
}

static void after_dup(int fd, int copy)
{
    if (!datagram_is_other(fd))
        datagram_copied(fd, copy);
    fresh_drop(fd);
    pending_after_dup(fd, copy);
    if (listen_any())
        listen_after_dup(fd, copy);
}

HOOK int dup(int fd)
{
    int copy = sys.dup(fd);

    if (copy >= 0)
        after_dup(fd, copy);
    return copy;
}

/* The kernel leaves `copy` alone if `fd` is bad. */
static bool makes_way(int fd, int copy)
{
    if (fd == copy || sys.fcntl(fd, F_GETFD, NULL) < 0)
        return true;
    fresh_drop(copy);
    if (listen_any())
        listen_before_close(copy);
    return pending_before_replace(copy);
}

HOOK int dup2(int fd, int copy)
{
    int r = makes_way(fd, copy) ? sys.dup2(fd, copy) : hook_fail(EBUSY);

    if (r >= 0)
        after_dup(fd, copy);
    return r;
}

HOOK int dup3(int fd, int copy, int flags)
{
    int r = makes_way(fd, copy) ? sys.dup3(fd, copy, flags) : hook_fail(EBUSY);

    if (r >= 0)
        after_dup(fd, copy);
    return r;
}

/* fcntl64() takes another record for locks than fcntl() where files have two kinds of offsets. */
static int control(__typeof__(sys.fcntl) real, int fd, int command, void *argument)
{
    int r;

    if (command == F_SETFL)
        fresh_mode(fd);
    r = real(fd, command, argument);
    if (r >= 0 && (command == F_DUPFD || command == F_DUPFD_CLOEXEC))
        after_dup(fd, r);
    return r;
}

/* All commands take one argument or none, which the kernel gets as it came. */
#define CONTROL(real, fd, command)                                                                 \
    va_list arguments;                                                                             \
    void *argument;                                                                                \
                                                                                                   \
    va_start(arguments, command);                                                                  \
    argument = va_arg(arguments, void *);                                                          \
    va_end(arguments);                                                                             \
    return control(real, fd, command, argument)

HOOK int fcntl(int fd, int command, ...)
{
    CONTROL(sys.fcntl, fd, command);
}

HOOK int fcntl64(int fd, int command, ...)
{
    CONTROL(sys.fcntl64, fd, command);
}

int __fcntl(int fd, int command, ...);
int __close(int fd);
int __dup2(int fd, int copy);

HOOK int __fcntl(int fd, int command, ...)
{
    CONTROL(sys.fcntl, fd, command);
}

HOOK int __close(int fd)
{
    return close(fd);
}

HOOK int __dup2(int fd, int copy)
{
    return dup2(fd, copy);
}
