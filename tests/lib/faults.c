/*
 * Faults to order: a library that is preloaded behind (libviaduct.so) or into (viaductd) what is
 * under test, and lets a call of libc fail, or do only one byte of its work, when a test has asked
 * for it.
 *
 * The test and the process share a file, $VIADUCT_FAULTS, mapped by both: a row for each call. The
 * library counts in it how often a call was made and how often it was made to fail, so that no test
 * can believe in a fault that never happened. Rows count in the process `pid` only, or in all (0),
 * and only while `armed`.
 *
 * libc is called past whatever hooks it, which may be what is under test.
 *
 * The time of day can be put forward and back too; time that only passes cannot.
 *
 * A process may also be made to end by a call, which is then the last thing that it did.
 *
 * What fails does nothing, as in the kernel, but for three: an interrupted connect() goes on by
 * itself, an interrupted close() has closed, and a connection that was told to be reset has ended.
 * And as in the kernel, whoever is told EAGAIN, or of less than he asked for, is told by an
 * edge-triggered epoll when there is more: his registration is made anew, which gives that edge.
 */
#undef _FILE_OFFSET_BITS /* else open is another name for open64 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { ROWS = 64, NAME = 24, SHORT = -1, DIES = -2, WATCHED = 4096 };

/* faults.py writes and reads the same. */
struct row {
    char call[NAME];
    int32_t error;  /* errno, SHORT, or DIES */
    uint32_t skip;  /* calls that go well before */
    uint32_t times; /* calls that fail then */
    uint32_t seen, fired;
};

static struct control {
    uint32_t armed;
    int32_t pid;
    int64_t clock_s; /* added to the time of day, whether armed or not */
    struct row row[ROWS];
} * control;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

__attribute__((constructor)) static void open_control(void)
{
    const char *path = getenv("VIADUCT_FAULTS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *map = fd < 0 ? MAP_FAILED
                       : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (map != MAP_FAILED)
        control = map;
    if (fd >= 0)
        close(fd);
}

/* For programs that know of this library: what happens between the two is under test. */
void faults_arm(bool on);
void faults_arm(bool on)
{
    if (control)
        __atomic_store_n(&control->armed, on, __ATOMIC_SEQ_CST);
}

/* The same for the calling process alone. */
void faults_arm_here(void);
void faults_arm_here(void)
{
    if (control)
        control->pid = getpid();
    faults_arm(true);
}

static void die_if(int error)
{
    if (error == DIES)
        kill(getpid(), SIGKILL);
}

/* Whether this call fails: its errno, SHORT, DIES, or 0. */
static int fault(const char *call)
{
    if (!control || !control->armed || (control->pid && control->pid != getpid()))
        return 0;
    for (struct row *r = control->row; r < control->row + ROWS && r->call[0]; r++) {
        uint32_t number;

        if (strcmp(r->call, call) != 0)
            continue;
        number = __atomic_fetch_add(&r->seen, 1, __ATOMIC_SEQ_CST);
        if (!r->error || number < r->skip || number - r->skip >= r->times)
            return 0;
        __atomic_fetch_add(&r->fired, 1, __ATOMIC_SEQ_CST);
        return r->error;
    }
    return 0;
}

#define NEXT(type, name, parameters)                                                               \
    static type(*next) parameters;                                                                 \
    if (!next)                                                                                     \
    next = (type(*) parameters)dlsym(RTLD_NEXT, #name)

static struct {
    int epfd_1;
    struct epoll_event event;
} watched[WATCHED];

static void note_watch(int epfd, int op, int fd, const struct epoll_event *event)
{
    if (fd < 0 || fd >= WATCHED)
        return;
    watched[fd].epfd_1 = op == EPOLL_CTL_DEL || !(event->events & EPOLLET) ? 0 : epfd + 1;
    if (watched[fd].epfd_1)
        watched[fd].event = *event;
}

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    NEXT(int, epoll_ctl, (int, int, int, struct epoll_event *));
    int error = fault("epoll_ctl"), r;

    if (error > 0) {
        errno = error;
        return -1;
    }
    r = next(epfd, op, fd, event);
    die_if(error);
    if (r == 0)
        note_watch(epfd, op, fd, event);
    return r;
}

/* The edge behind a shortage that was no shortage. */
static void give_edge(int fd)
{
    NEXT(int, epoll_ctl, (int, int, int, struct epoll_event *));
    int number = errno;

    if (fd >= 0 && fd < WATCHED && watched[fd].epfd_1)
        next(watched[fd].epfd_1 - 1, EPOLL_CTL_MOD, fd, &watched[fd].event);
    errno = number;
}

/* A call that fails with -1. */
#define PLAIN(type, name, parameters, arguments)                                                   \
    type name parameters;                                                                          \
    type name parameters                                                                           \
    {                                                                                              \
        NEXT(type, name, parameters);                                                              \
        int error = fault(#name);                                                                  \
        if (error <= 0) {                                                                          \
            type r = next arguments;                                                               \
            die_if(error);                                                                         \
            return r;                                                                              \
        }                                                                                          \
        errno = error;                                                                             \
        return -1;                                                                                 \
    }

/* They come whole or not at all, and their calls are rows of their own. */
static bool is_datagram(int fd)
{
    NEXT(int, getsockopt, (int, int, int, void *, socklen_t *));
    int number = errno, type = 0;
    socklen_t len = sizeof type;
    bool is = next(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_DGRAM;

    errno = number;
    return is;
}

static void end_connection(int fd)
{
    NEXT(int, shutdown, (int, int));

    next(fd, SHUT_RDWR);
}

/* One that moves `len` bytes between these descriptors, or one of them. */
#define MOVES(name, first, second, parameters, arguments)                                          \
    ssize_t name parameters;                                                                       \
    ssize_t name parameters                                                                        \
    {                                                                                              \
        NEXT(ssize_t, name, parameters);                                                           \
        int error = is_datagram(first) ? fault(#name " datagram") : fault(#name);                  \
        ssize_t moved;                                                                             \
        if (error == SHORT || error == EAGAIN) {                                                   \
            give_edge(first);                                                                      \
            give_edge(second);                                                                     \
        }                                                                                          \
        if (error == ECONNRESET)                                                                   \
            end_connection(first);                                                                 \
        if (error > 0) {                                                                           \
            errno = error;                                                                         \
            return -1;                                                                             \
        }                                                                                          \
        if (error == SHORT && len > 1)                                                             \
            len = 1;                                                                               \
        moved = next arguments;                                                                    \
        die_if(error);                                                                             \
        return moved;                                                                              \
    }

PLAIN(int, socket, (int domain, int type, int protocol), (domain, type, protocol))
PLAIN(int, socketpair, (int domain, int type, int protocol, int two[2]),
      (domain, type, protocol, two))
PLAIN(int, bind, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len))
PLAIN(int, listen, (int fd, int backlog), (fd, backlog))
PLAIN(int, accept4, (int fd, struct sockaddr *addr, socklen_t *len, int flags),
      (fd, addr, len, flags))
PLAIN(int, getsockname, (int fd, struct sockaddr *addr, socklen_t *len), (fd, addr, len))
PLAIN(int, getpeername, (int fd, struct sockaddr *addr, socklen_t *len), (fd, addr, len))
PLAIN(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *len),
      (fd, level, name, value, len))
PLAIN(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t len),
      (fd, level, name, value, len))
PLAIN(int, shutdown, (int fd, int how), (fd, how))
PLAIN(int, epoll_create1, (int flags), (flags))
PLAIN(int, epoll_wait, (int epfd, struct epoll_event *events, int count, int ms),
      (epfd, events, count, ms))
PLAIN(int, eventfd, (unsigned int value, int flags), (value, flags))
PLAIN(int, timerfd_create, (int clock, int flags), (clock, flags))
PLAIN(int, pipe2, (int two[2], int flags), (two, flags))
PLAIN(int, signalfd, (int fd, const void *mask, int flags), (fd, mask, flags))
PLAIN(int, poll, (void *fds, unsigned long count, int ms), (fds, count, ms))
PLAIN(int, ppoll, (void *fds, unsigned long count, const void *limit, const void *mask),
      (fds, count, limit, mask))
PLAIN(int, recvmmsg,
      (int fd, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *limit),
      (fd, messages, count, flags, limit))
PLAIN(int, sendmmsg, (int fd, struct mmsghdr *messages, unsigned int count, int flags),
      (fd, messages, count, flags))
PLAIN(pid_t, fork, (void), ())
PLAIN(int, getifaddrs, (struct ifaddrs * *all), (all))
PLAIN(int, posix_fallocate64, (int fd, off64_t at, off64_t len), (fd, at, len))

MOVES(send, fd, -1, (int fd, const void *data, size_t len, int flags), (fd, data, len, flags))
MOVES(sendto, fd, -1,
      (int fd, const void *data, size_t len, int flags, const struct sockaddr *addr,
       socklen_t addr_len),
      (fd, data, len, flags, addr, addr_len))
MOVES(recv, fd, -1, (int fd, void *data, size_t len, int flags), (fd, data, len, flags))
MOVES(recvfrom, fd, -1,
      (int fd, void *data, size_t len, int flags, struct sockaddr *addr, socklen_t *addr_len),
      (fd, data, len, flags, addr, addr_len))
MOVES(read, fd, -1, (int fd, void *data, size_t len), (fd, data, len))
MOVES(write, fd, -1, (int fd, const void *data, size_t len), (fd, data, len))
MOVES(splice, from, to,
      (int from, off64_t *from_at, int to, off64_t *to_at, size_t len, unsigned int flags),
      (from, from_at, to, to_at, len, flags))
PLAIN(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags))
PLAIN(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))

/* An interrupted connect(). */
static void goes_on(int fd, const struct sockaddr *addr, socklen_t len,
                    int (*connects)(int, const struct sockaddr *, socklen_t))
{
    NEXT(int, fcntl, (int, int, ...));
    int flags = next(fd, F_GETFL);

    next(fd, F_SETFL, flags | O_NONBLOCK);
    connects(fd, addr, len);
    next(fd, F_SETFL, flags);
}

int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    NEXT(int, connect, (int, const struct sockaddr *, socklen_t));
    int error = fault("connect"), r;

    if (error <= 0) {
        r = next(fd, addr, len);
        die_if(error);
        return r;
    }
    if (error == EINTR)
        goes_on(fd, addr, len, next);
    errno = error;
    return -1;
}

int close(int fd)
{
    NEXT(int, close, (int));
    int error = fault("close"), r = next(fd);

    die_if(error);
    if (error <= 0)
        return r;
    errno = error;
    return -1;
}

static int64_t clock_jump(void)
{
    return control ? __atomic_load_n(&control->clock_s, __ATOMIC_SEQ_CST) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    NEXT(int, clock_gettime, (clockid_t, struct timespec *));
    int r = next(clock, now);

    if (r == 0 && clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE)
        now->tv_sec += clock_jump();
    return r;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    NEXT(int, gettimeofday, (struct timeval *, void *));
    int r = next(now, zone);

    now->tv_sec += clock_jump();
    return r;
}

time_t time(time_t *when)
{
    NEXT(time_t, time, (time_t *));
    time_t now = next(NULL) + clock_jump();

    if (when)
        *when = now;
    return now;
}

static int open_with(int (*next)(const char *, int, ...), const char *call, const char *path,
                     int flags, mode_t mode)
{
    int error = fault(call);

    if (error <= 0)
        return next(path, flags, mode);
    errno = error;
    return -1;
}

#define OPENS(name)                                                                                \
    int name(const char *path, int flags, ...)                                                     \
    {                                                                                              \
        NEXT(int, name, (const char *, int, ...));                                                 \
        va_list rest;                                                                              \
        mode_t mode;                                                                               \
        va_start(rest, flags);                                                                     \
        mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                           \
        va_end(rest);                                                                              \
        return open_with(next, #name, path, flags, mode);                                          \
    }

OPENS(open)
OPENS(open64)

#ifndef KEEPS_ALLOCATOR /* a sanitizer has its own */
static void *none(void)
{
    errno = ENOMEM;
    return NULL;
}

void *malloc(size_t size)
{
    return fault("malloc") ? none() : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fault("calloc") ? none() : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return fault("realloc") ? none() : __libc_realloc(old, size);
}
#endif
