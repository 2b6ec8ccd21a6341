/*
 * Which descriptors may be datagram sockets of INET.
 *
 * Every read and write of the program comes by here, so the answer for files, pipes and streams has
 * to be cheap; and it must not ask the kernel what a sandbox would not let the program ask. So it
 * is noted where such a socket comes from: socket(), a copy of a descriptor, a message that passes
 * one, and what the program was started with, which is looked through once, before its first byte
 * is moved. A note is a supposition; the socket's cookie decides (preload/datagram.c).
 *
 * Notes are added by whoever makes a descriptor and taken away only where one proves wrong: a
 * vfork() child shares our memory, but not our descriptors.
 */
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>

#include "client/fresh.h"
#include "preload/datagram.h"

enum { INHERITED_MAX = 1024, AT_ONCE = 128, DIRECT_MAX = 1024 };

struct datagram_fds datagram_fds;

bool datagram_is_noted(int fd)
{
    if (fd < 0 || fd >= DATAGRAM_FDS_MAX)
        return fd >= DATAGRAM_FDS_MAX;
    return __atomic_load_n(&datagram_fds.noted[fd], __ATOMIC_RELAXED);
}

static void note(int fd, bool maybe)
{
    if (fd >= 0 && fd < DATAGRAM_FDS_MAX)
        __atomic_store_n(&datagram_fds.noted[fd], maybe, __ATOMIC_RELAXED);
}

/* --- at the start ---------------------------------------------------------------------------- */

static void look_through(int first, int count)
{
    struct pollfd fds[AT_ONCE];

    for (int i = 0; i < count; i++)
        fds[i] = (struct pollfd){.fd = first + i};
    if (sys.poll(fds, (nfds_t)count, 0) < 0)
        return;
    for (int i = 0; i < count; i++)
        if (!(fds[i].revents & POLLNVAL) && judge_carries(fds[i].fd) == CARRIES_DATAGRAMS)
            note(fds[i].fd, true);
}

static void begin(void)
{
    struct rlimit limit = {.rlim_cur = INHERITED_MAX};
    int last = INHERITED_MAX;

    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < INHERITED_MAX)
        last = (int)limit.rlim_cur;
    for (int first = 0; first < last; first += AT_ONCE)
        look_through(first, last - first < AT_ONCE ? last - first : AT_ONCE);
    __atomic_store_n(&datagram_fds.known, DATAGRAM_FDS_MAX, __ATOMIC_RELEASE);
}

bool datagram_may_be(int fd)
{
    if (!__atomic_load_n(&datagram_fds.known, __ATOMIC_ACQUIRE))
        begin();
    return datagram_is_noted(fd) && sockets_look_for_datagrams();
}

void datagram_is_none(int fd)
{
    note(fd, false);
}

/* A verdict holds until something is noted of the socket: what changes it does so. */
static uint64_t direct[DIRECT_MAX];

bool datagram_was_direct(int fd, uint64_t cookie)
{
    return fd >= 0 && fd < DIRECT_MAX && __atomic_load_n(&direct[fd], __ATOMIC_RELAXED) == cookie;
}

void datagram_is_direct(int fd, uint64_t cookie)
{
    if (fd >= 0 && fd < DIRECT_MAX)
        __atomic_store_n(&direct[fd], cookie, __ATOMIC_RELAXED);
}

/* --- later ----------------------------------------------------------------------------------- */

void datagram_made(int fd, int domain, int type)
{
    int kind = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);

    note(fd, (domain == AF_INET || domain == AF_INET6) && kind == SOCK_DGRAM);
}

void datagram_copied(int fd, int copy)
{
    if (datagram_is_noted(fd))
        note(copy, true);
}

/* Calls `each` with every descriptor that a message passes. */
static void visit_passed(const struct msghdr *message, void (*each)(int fd))
{
    struct msghdr m = *message;

    if (!m.msg_control || m.msg_controllen == 0)
        return;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= c->cmsg_len; at += sizeof(int)) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + at, sizeof fd);
            each(fd);
        }
    }
}

static void passes(int fd)
{
    fresh_drop(fd);
    if (datagram_is_noted(fd) && judge_carries(fd) == CARRIES_DATAGRAMS)
        sockets_note_passed();
}

static void comes(int fd)
{
    note(fd, true);
}

void datagram_before_pass(const struct msghdr *message)
{
    visit_passed(message, passes);
}

void datagram_after_pass(const struct msghdr *message)
{
    if (sockets_have_passed())
        visit_passed(message, comes);
}
