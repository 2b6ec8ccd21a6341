/*
 * connect(): the route decides; what goes through the chain is carried on the program's own socket.
 */
#include <netinet/in.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "client/addr.h"
#include "client/audit.h"
#include "client/lookup.h"
#include "client/nameservers.h"
#include "client/pending.h"
#include "client/say.h"
#include "client/sockets.h"
#include "preload/datagram.h"
#include "proto/err.h"

enum { DNS_PORT = 53, DNS_OVER_TLS_PORT = 853 };

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

/* A TCP socket may have become one of AF_SMC, which takes addresses of INET. */
static enum carries without_protocol(int fd)
{
    int domain = 0;
    socklen_t len = sizeof domain;

    if (sys.getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 || domain != AF_SMC)
        return CARRIES_NOTHING_OF_OURS;
    return CARRIES_OTHER;
}

enum carries hook_carries(int fd)
{
    int protocol = 0;
    socklen_t len = sizeof protocol;

    if (sys.getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) < 0)
        return CARRIES_NOTHING_OF_OURS;
    switch (protocol) {
    case 0:
        return without_protocol(fd);
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

void hook_audit_direct(const struct target *t, enum audit_kind kind)
{
    bool is_dns = t->at.port == DNS_PORT || t->at.port == DNS_OVER_TLS_PORT;

    if (!audit_is_on())
        return;
    audit_add(kind, AUDIT_DIRECT, &t->at, &t->route, 0, 0);
    if (is_dns && vd_ip_class(&t->at.ip) != VD_CLASS_LOOPBACK && !lookup_may_query(NULL))
        audit_count(AUDIT_LEFT);
}

static int errno_of_refusal(int err)
{
    return err == -VD_ERR_RULE || err == -VD_ERR_DENIED ? EACCES : ENETUNREACH;
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
    if (audit_is_on())
        audit_add(AUDIT_ANY, AUDIT_REFUSED, &t->at, &t->route, errno_of_refusal(err), 0);
    return -errno_of_refusal(err);
}

/* A resolver on loopback (127.0.0.53) passes on to the network what it is asked. */
static bool leaks_names(const struct target *t)
{
    return t->at.port == DNS_PORT && vd_ip_class(&t->at.ip) == VD_CLASS_LOOPBACK &&
           !lookup_may_query(NULL);
}

/* Nor does a bypass lead to a name server that the system would ask: names are asked for elsewhere.
 */
static bool is_asked_by_the_chain(struct target *t)
{
    const struct plan *plan = session_plan();

    if (t->at.port != DNS_PORT || lookup_may_query(NULL) || !nameservers_has(&t->at))
        return false;
    t->route = (struct route){.action = PLAN_CHAIN, .chain = plan_chain(plan, plan->chain)};
    return true;
}

int hook_judge(struct target *t, const struct vd_endpoint *given)
{
    int r;

    t->route = (struct route){.action = PLAN_REFUSE};
    r = route_target(t, given);
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
        if (is_asked_by_the_chain(t))
            return 1;
        say_direct(t);
        hook_audit_direct(t, AUDIT_ANY);
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
    pending_cancel(fd);
    return datagram_dissolve(fd, addr, len);
}

int hook_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    enum carries carries;
    struct vd_endpoint given;

    if (!hook_is_readable(addr, len))
        return sys.connect(fd, addr, len);
    if (addr->sa_family == AF_UNSPEC)
        return dissolve(fd, addr, len);
    if (datagram_leads_to_resolver(addr, len))
        return hook_fail(ECONNREFUSED);
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
