/*
 * connect(): the route decides; what goes through the chain is carried on the program's own socket.
 */
#include <netinet/in.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "client/addr.h"
#include "client/lookup.h"
#include "client/pending.h"
#include "client/sockets.h"
#include "preload/datagram.h"

int hook_fail(int number)
{
    errno = number;
    return -1;
}

bool hook_is_inet(const struct sockaddr *addr, socklen_t len)
{
    return addr && len >= (socklen_t)sizeof addr->sa_family &&
           (addr->sa_family == AF_INET || addr->sa_family == AF_INET6);
}

/* The kernel is asked by a call that reads eight bytes and then finds fault with its other
 * argument. */
static bool takes_eight(const char *bytes)
{
    return sys.syscall(SYS_rt_sigprocmask, -1, (long)bytes, 0, 8, 0, 0) < 0 && errno != EFAULT;
}

bool hook_is_mapped(const struct sockaddr *addr, socklen_t len)
{
    const uintptr_t page = 4096, first = (uintptr_t)addr, last = first + len - 1;
    int saved = errno;
    bool ok;

    ok = takes_eight((const char *)(first & ~(uintptr_t)7)) &&
         (first / page == last / page || takes_eight((const char *)(last & ~(uintptr_t)7)));
    errno = saved;
    return ok;
}

/* connect() to nowhere. */
static int dissolve(int fd, const struct sockaddr *addr, socklen_t len)
{
    pending_cancel(fd);
    return datagram_dissolve(fd, addr, len);
}

/* Whether a unix socket leads to a resolver that would ask the network for names. */
static bool leads_to_resolver(const struct sockaddr *addr, socklen_t len)
{
    return judge_is_resolver(addr, len) && hook_ready() && !lookup_may_query(NULL);
}

int hook_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    enum carries carries;
    struct vd_endpoint given;
    enum fresh fresh = fresh_take(fd);

    if (!hook_is_readable(addr, len))
        return sys.connect(fd, addr, len);
    if (addr->sa_family == AF_UNSPEC)
        return dissolve(fd, addr, len);
    if (leads_to_resolver(addr, len))
        return hook_fail(ECONNREFUSED);
    if (!hook_is_inet(addr, len) || !addr_read(&given, addr, len))
        return sys.connect(fd, addr, len);
    carries = fresh ? CARRIES_STREAM : judge_carries(fd);
    if (carries == CARRIES_NOTHING_OF_OURS)
        return sys.connect(fd, addr, len);
    if (!hook_ready())
        return hook_fail(ENETUNREACH);
    if (carries == CARRIES_STREAM)
        return stream_connect(fd, addr, len, &given, fresh);
    return datagram_connect(fd, addr, len, &given, carries);
}

int __connect(int fd, const struct sockaddr *addr, socklen_t len);

HOOK int __connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    return hook_connect(fd, addr, len);
}

HOOK int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    return hook_connect(fd, addr, len);
}
