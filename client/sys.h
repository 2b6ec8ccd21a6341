/*
 * sys: the calls of libc that the client engine and the hooks are built on.
 *
 * The preloaded library replaces many of them for the program, so nobody below may call them by
 * name: `sys.connect(...)` is always the next definition behind ours. In the library the pointers
 * begin as resolvers that look the definition up on first use (safe before any constructor, from
 * any thread); elsewhere they point to libc's functions.
 */
#ifndef VD_CLIENT_SYS_H
#define VD_CLIENT_SYS_H

#include <dlfcn.h>
#include <netdb.h>
#include <poll.h>
#include <resolv.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>
#include <wordexp.h>

/* What a hook does when it has something to do: a function apart, so that the hook is a look and a
 * jump as long as it has not. */
#define SLOW __attribute__((noinline)) static

/* SYS(return type, name, parameters, arguments) */
#define SYS_LIST(SYS)                                                                              \
    SYS(int, connect, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len))       \
    SYS(int, socket, (int domain, int type, int protocol), (domain, type, protocol))               \
    SYS(int, close, (int fd), (fd))                                                                \
    SYS(int, bind, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len))          \
    SYS(int, listen, (int fd, int backlog), (fd, backlog))                                         \
    SYS(int, accept, (int fd, struct sockaddr *addr, socklen_t *len), (fd, addr, len))             \
    SYS(int, accept4, (int fd, struct sockaddr *addr, socklen_t *len, int flags),                  \
        (fd, addr, len, flags))                                                                    \
    SYS(int, getsockname, (int fd, struct sockaddr *addr, socklen_t *len), (fd, addr, len))        \
    SYS(int, getpeername, (int fd, struct sockaddr *addr, socklen_t *len), (fd, addr, len))        \
    SYS(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *len),               \
        (fd, level, name, value, len))                                                             \
    SYS(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t len),          \
        (fd, level, name, value, len))                                                             \
    SYS(ssize_t, send, (int fd, const void *data, size_t len, int flags), (fd, data, len, flags))  \
    SYS(ssize_t, sendto,                                                                           \
        (int fd, const void *data, size_t len, int flags, const struct sockaddr *addr,             \
         socklen_t addr_len),                                                                      \
        (fd, data, len, flags, addr, addr_len))                                                    \
    SYS(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags)) \
    SYS(int, sendmmsg, (int fd, struct mmsghdr *messages, unsigned int count, int flags),          \
        (fd, messages, count, flags))                                                              \
    SYS(ssize_t, recv, (int fd, void *data, size_t len, int flags), (fd, data, len, flags))        \
    SYS(ssize_t, recvfrom,                                                                         \
        (int fd, void *data, size_t len, int flags, struct sockaddr *addr, socklen_t *addr_len),   \
        (fd, data, len, flags, addr, addr_len))                                                    \
    SYS(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))       \
    SYS(int, recvmmsg,                                                                             \
        (int fd, struct mmsghdr *messages, unsigned int count, int flags,                          \
         struct timespec *timeout),                                                                \
        (fd, messages, count, flags, timeout))                                                     \
    SYS(ssize_t, read, (int fd, void *data, size_t len), (fd, data, len))                          \
    SYS(ssize_t, readv, (int fd, const struct iovec *parts, int count), (fd, parts, count))        \
    SYS(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))       \
    SYS(ssize_t, sendfile, (int to, int from, off_t *offset, size_t len), (to, from, offset, len)) \
    SYS(ssize_t, sendfile64, (int to, int from, off64_t *offset, size_t len),                      \
        (to, from, offset, len))                                                                   \
    SYS(ssize_t, splice,                                                                           \
        (int from, off64_t *from_at, int to, off64_t *to_at, size_t len, unsigned int flags),      \
        (from, from_at, to, to_at, len, flags))                                                    \
    SYS(int, shutdown, (int fd, int how), (fd, how))                                               \
    SYS(int, epoll_ctl, (int epfd, int op, int fd, struct epoll_event *event),                     \
        (epfd, op, fd, event))                                                                     \
    SYS(int, ppoll,                                                                                \
        (struct pollfd * fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask), \
        (fds, count, timeout, mask))                                                               \
    SYS(int, select, (int count, fd_set *r, fd_set *w, fd_set *x, struct timeval *timeout),        \
        (count, r, w, x, timeout))                                                                 \
    SYS(int, pselect,                                                                              \
        (int count, fd_set *r, fd_set *w, fd_set *x, const struct timespec *timeout,               \
         const sigset_t *mask),                                                                    \
        (count, r, w, x, timeout, mask))                                                           \
    SYS(int, dup, (int fd), (fd))                                                                  \
    SYS(int, dup2, (int fd, int copy), (fd, copy))                                                 \
    SYS(int, dup3, (int fd, int copy, int flags), (fd, copy, flags))                               \
    SYS(int, fcntl, (int fd, int command, void *argument), (fd, command, argument))                \
    SYS(int, ioctl, (int fd, unsigned long request, void *argument), (fd, request, argument))      \
    SYS(int, close_range, (unsigned int first, unsigned int last, int flags),                      \
        (first, last, flags))                                                                      \
    SYS(int, fclose, (FILE * file), (file))                                                        \
    SYS(long, syscall, (long number, long a, long b, long c, long d, long e, long f),              \
        (number, a, b, c, d, e, f))                                                                \
    SYS(int, execve, (const char *path, char *const *argv, char *const *environment),              \
        (path, argv, environment))                                                                 \
    SYS(int, execvpe, (const char *file, char *const *argv, char *const *environment),             \
        (file, argv, environment))                                                                 \
    SYS(int, fexecve, (int fd, char *const *argv, char *const *environment),                       \
        (fd, argv, environment))                                                                   \
    SYS(int, execveat,                                                                             \
        (int dir, const char *name, char *const *argv, char *const *environment, int flags),       \
        (dir, name, argv, environment, flags))                                                     \
    SYS(int, posix_spawn,                                                                          \
        (pid_t * pid, const char *path, const posix_spawn_file_actions_t *actions,                 \
         const posix_spawnattr_t *attributes, char *const *argv, char *const *environment),        \
        (pid, path, actions, attributes, argv, environment))                                       \
    SYS(int, posix_spawnp,                                                                         \
        (pid_t * pid, const char *file, const posix_spawn_file_actions_t *actions,                 \
         const posix_spawnattr_t *attributes, char *const *argv, char *const *environment),        \
        (pid, file, actions, attributes, argv, environment))                                       \
    SYS(int, system, (const char *command), (command))                                             \
    SYS(FILE *, popen, (const char *command, const char *mode), (command, mode))                   \
    SYS(int, getaddrinfo_a, (int mode, struct gaicb **list, int count, struct sigevent *how),      \
        (mode, list, count, how))                                                                  \
    SYS(int, res_query, (const char *name, int class, int type, unsigned char *answer, int len),   \
        (name, class, type, answer, len))                                                          \
    SYS(int, res_search, (const char *name, int class, int type, unsigned char *answer, int len),  \
        (name, class, type, answer, len))                                                          \
    SYS(int, res_querydomain,                                                                      \
        (const char *name, const char *domain, int class, int type, unsigned char *answer,         \
         int len),                                                                                 \
        (name, domain, class, type, answer, len))                                                  \
    SYS(int, res_send,                                                                             \
        (const unsigned char *query, int query_len, unsigned char *answer, int len),               \
        (query, query_len, answer, len))                                                           \
    SYS(int, res_nquery,                                                                           \
        (res_state state, const char *name, int class, int type, unsigned char *answer, int len),  \
        (state, name, class, type, answer, len))                                                   \
    SYS(int, res_nsearch,                                                                          \
        (res_state state, const char *name, int class, int type, unsigned char *answer, int len),  \
        (state, name, class, type, answer, len))                                                   \
    SYS(int, res_nquerydomain,                                                                     \
        (res_state state, const char *name, const char *domain, int class, int type,               \
         unsigned char *answer, int len),                                                          \
        (state, name, domain, class, type, answer, len))                                           \
    SYS(int, res_nsend,                                                                            \
        (res_state state, const unsigned char *query, int query_len, unsigned char *answer,        \
         int len),                                                                                 \
        (state, query, query_len, answer, len))                                                    \
    SYS(int, fcntl64, (int fd, int command, void *argument), (fd, command, argument))              \
    SYS(int, wordexp, (const char *words, wordexp_t *result, int flags), (words, result, flags))   \
    SYS(int, mount,                                                                                \
        (const char *source, const char *target, const char *type, unsigned long flags,            \
         const void *data),                                                                        \
        (source, target, type, flags, data))                                                       \
    SYS(struct netent *, getnetbyname, (const char *name), (name))                                 \
    SYS(struct netent *, getnetbyaddr, (uint32_t net, int family), (net, family))                  \
    SYS(int, getnetbyname_r,                                                                       \
        (const char *name, struct netent *entry, char *buf, size_t len, struct netent **result,    \
         int *error),                                                                              \
        (name, entry, buf, len, result, error))                                                    \
    SYS(int, getnetbyaddr_r,                                                                       \
        (uint32_t net, int family, struct netent *entry, char *buf, size_t len,                    \
         struct netent **result, int *error),                                                      \
        (net, family, entry, buf, len, result, error))                                             \
    SYS(long, gethostid, (void), ())                                                               \
    SYS(void *, dlopen, (const char *path, int mode), (path, mode))                                \
    SYS(void *, dlmopen, (Lmid_t space, const char *path, int mode), (space, path, mode))          \
    SYS(ssize_t, write, (int fd, const void *data, size_t len), (fd, data, len))                   \
    SYS(int, poll, (struct pollfd * fds, nfds_t count, int timeout), (fds, count, timeout))        \
    SYS(int, getaddrinfo,                                                                          \
        (const char *node, const char *service, const struct addrinfo *hints,                      \
         struct addrinfo **result),                                                                \
        (node, service, hints, result))                                                            \
    SYS(int, getnameinfo,                                                                          \
        (const struct sockaddr *addr, socklen_t len, char *host, socklen_t host_len,               \
         char *service, socklen_t service_len, int flags),                                         \
        (addr, len, host, host_len, service, service_len, flags))                                  \
    SYS(struct hostent *, gethostbyname, (const char *name), (name))                               \
    SYS(struct hostent *, gethostbyname2, (const char *name, int family), (name, family))          \
    SYS(struct hostent *, gethostbyaddr, (const void *addr, socklen_t len, int family),            \
        (addr, len, family))                                                                       \
    SYS(int, gethostbyname2_r,                                                                     \
        (const char *name, int family, struct hostent *entry, char *buf, size_t len,               \
         struct hostent **result, int *error),                                                     \
        (name, family, entry, buf, len, result, error))                                            \
    SYS(int, gethostbyname_r,                                                                      \
        (const char *name, struct hostent *entry, char *buf, size_t len, struct hostent **result,  \
         int *error),                                                                              \
        (name, entry, buf, len, result, error))                                                    \
    SYS(int, gethostbyaddr_r,                                                                      \
        (const void *addr, socklen_t addr_len, int family, struct hostent *entry, char *buf,       \
         size_t len, struct hostent **result, int *error),                                         \
        (addr, addr_len, family, entry, buf, len, result, error))

#define SYS_FIELD(type, name, parameters, arguments) type(*name) parameters;
struct sys {
    SYS_LIST(SYS_FIELD)
};
#undef SYS_FIELD

extern struct sys sys;

#endif
