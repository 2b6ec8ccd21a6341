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
#include "client/say.h"
#include "client/sockets.h"
#include "preload/hook.h"
#include "proto/err.h"

enum { DNS_PORT = 53 };

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

enum carries hook_carries(int fd)
{
    int protocol = 0;
    socklen_t len = sizeof protocol;

    if (sys.getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) < 0)
        return CARRIES_NOTHING_OF_OURS;
    switch (protocol) {
    case 0:
        return CARRIES_NOTHING_OF_OURS;
    case IPPROTO_TCP:
    case IPPROTO_MPTCP:
        return CARRIES_STREAM;
    case IPPROTO_UDP:
        return CARRIES_DATAGRAMS;
    default:
        return CARRIES_OTHER;
    }
}

static void say_direct(const struct target *t)
{
    char text[PLAN_TITLE_MAX + 32];
    struct vd_out out = vd_out_over(text, sizeof text);

    if (!say_wants(PLAN_CONNECTIONS))
        return;
    vd_out_text(&out, "direct (");
    vd_out_text(&out, t->route.rule ? t->route.rule->title : "");
    vd_out_text(&out, ")");
    say(PLAN_CONNECTIONS, &t->at, vd_out_string(&out));
}

static int refuse(const struct target *t, int err)
{
    char text[PLAN_TITLE_MAX + 96];
    struct vd_out out = vd_out_over(text, sizeof text);

    if (err == -VD_ERR_NAME) {
        vd_out_text(&out, "no name is known behind this placeholder address");
    } else if (err == -VD_ERR_NET) {
        vd_out_text(&out, "multicast, broadcast and link-local addresses are not carried");
    } else if (err == -VD_ERR_UNSUPPORTED) {
        vd_out_text(&out, "goes direct by a rule, but the program holds a placeholder address");
    } else if (err == -VD_ERR_DENIED) {
        vd_out_text(&out, "a name server of this machine is not asked: the proxy resolves names");
    } else {
        vd_out_text(&out, "refused by rule ");
        vd_out_text(&out, t->route.rule ? t->route.rule->title : "");
    }
    say(PLAN_FAILURES, &t->at, vd_out_string(&out));
    return -(err == -VD_ERR_RULE || err == -VD_ERR_DENIED ? EACCES : ENETUNREACH);
}

/* A resolver on loopback (127.0.0.53) passes on to the network what it is asked. */
static bool leaks_names(const struct target *t)
{
    return t->at.port == DNS_PORT && vd_ip_class(&t->at.ip) == VD_CLASS_LOOPBACK &&
           !lookup_may_query(NULL);
}

int hook_judge(struct target *t, const struct vd_endpoint *given)
{
    int r = route_target(t, given);

    if (r < 0)
        return refuse(t, r);
    switch (t->route.action) {
    case PLAN_REFUSE:
        return refuse(t, -VD_ERR_RULE);
    case PLAN_DIRECT:
        if (vd_endpoint_is_name(&t->at))
            return refuse(t, -VD_ERR_UNSUPPORTED);
        if (leaks_names(t))
            return refuse(t, -VD_ERR_DENIED);
        say_direct(t);
        return 0;
    case PLAN_CHAIN:
        break;
    }
    return 1;
}

/* The kernel is asked by a call that reads eight bytes and then finds fault with its other
 * argument. */
static bool takes_eight(const char *bytes)
{
    return sys.syscall(SYS_rt_sigprocmask, -1, (long)bytes, 0, 8, 0, 0) < 0 && errno != EFAULT;
}

bool hook_is_readable(const struct sockaddr *addr, socklen_t len)
{
    const uintptr_t page = 4096, first = (uintptr_t)addr, last = first + len - 1;
    int saved = errno;
    bool ok;

    if (!addr || len < sizeof addr->sa_family || len > sizeof(struct sockaddr_storage))
        return false;
    ok = takes_eight((const char *)(first & ~(uintptr_t)7)) &&
         (first / page == last / page || takes_eight((const char *)(last & ~(uintptr_t)7)));
    errno = saved;
    return ok;
}

/* connect() to nowhere. */
static int dissolve(int fd, const struct sockaddr *addr, socklen_t len)
{
    int r;

    pending_cancel(fd);
    r = sys.connect(fd, addr, len);
    if (r == 0)
        sockets_drop(sockets_cookie(fd));
    return r;
}

int hook_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    enum carries carries;
    struct vd_endpoint given;

    if (!hook_is_readable(addr, len))
        return sys.connect(fd, addr, len);
    if (addr->sa_family == AF_UNSPEC)
        return dissolve(fd, addr, len);
    if (!hook_is_inet(addr, len) || !addr_read(&given, addr, len))
        return sys.connect(fd, addr, len);
    carries = hook_carries(fd);
    if (carries == CARRIES_NOTHING_OF_OURS)
        return sys.connect(fd, addr, len);
    if (!hook_ready())
        return hook_fail(ENETUNREACH);
    if (carries == CARRIES_STREAM)
        return stream_connect(fd, addr, len, &given);
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
