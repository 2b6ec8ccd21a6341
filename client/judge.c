#include "client/judge.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#include "client/assoc.h"
#include "client/lookup.h"
#include "client/names.h"
#include "client/nameservers.h"
#include "client/say.h"
#include "client/session.h"
#include "client/sys.h"
#include "proto/err.h"

enum { DNS_PORT = 53, DNS_OVER_TLS_PORT = 853 };

/* --- sockets --------------------------------------------------------------------------------- */

/* Families that reach other machines past TCP and UDP, or make the kernel use these by itself
 * (AF_SMC, AF_RDS, AF_TIPC, AF_RXRPC). */
static bool is_another_network(int domain)
{
    switch (domain) {
    case AF_AX25:
    case AF_IPX:
    case AF_APPLETALK:
    case AF_X25:
    case AF_DECnet:
    case AF_RDS:
    case AF_PPPOX:
    case AF_LLC:
    case AF_IB:
    case AF_TIPC:
    case AF_RXRPC:
    case AF_SMC:
    case AF_XDP:
        return true;
    default:
        return false;
    }
}

const char *judge_socket(int domain, int type, int protocol)
{
    int kind = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (domain == AF_PACKET)
        return "packet sockets are refused: they go around the chain";
    if (is_another_network(domain))
        return "only TCP and UDP can be carried";
    if (domain != AF_INET && domain != AF_INET6)
        return NULL;
    if (kind == SOCK_RAW)
        return "raw sockets are refused: they go around the chain";
    switch (protocol) {
    case 0:
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_MPTCP:
        return kind == SOCK_SEQPACKET ? "SCTP cannot be carried" : NULL;
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
        return "ICMP cannot be carried";
    default:
        return "only TCP and UDP can be carried";
    }
}

/* A socket that cannot be asked (a sandbox forbids it, the kernel has no memory) must not pass for
 * one that reaches nobody. */
static enum carries untold(void)
{
    return errno == EBADF || errno == ENOTSOCK ? CARRIES_NOTHING_OF_OURS : CARRIES_OTHER;
}

/* A TCP socket may have become one of AF_SMC, which takes addresses of INET. */
static enum carries without_protocol(int fd)
{
    int domain = 0;
    socklen_t len = sizeof domain;

    if (sys.getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0)
        return untold();
    return domain == AF_SMC ? CARRIES_OTHER : CARRIES_NOTHING_OF_OURS;
}

enum carries judge_carries(int fd)
{
    int protocol = 0;
    socklen_t len = sizeof protocol;

    if (sys.getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) < 0)
        return untold();
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

/* --- targets --------------------------------------------------------------------------------- */

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

void judge_audit_direct(const struct target *t, enum audit_kind kind)
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

/* With name servers of its own the chain leads to these, in place of resolv.conf's: the first to
 * the first, and so on, so that who turns to the next one does so here. */
static void ask_the_chains(struct target *t)
{
    const struct plan *plan = session_plan();
    int place = plan->server_count > 0 ? nameservers_index(&t->at) : -1;

    if (place < 0)
        return;
    const struct plan_server *server = &plan->servers[(unsigned)place % plan->server_count];
    vd_endpoint_set_ip(&t->at, &server->ip, (uint16_t)server->port);
    t->route = (struct route){.action = PLAN_CHAIN, .chain = plan_chain(plan, plan->chain)};
}

int judge_target(struct target *t, const struct vd_endpoint *given)
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
        if (is_asked_by_the_chain(t)) {
            ask_the_chains(t);
            return 1;
        }
        say_direct(t);
        judge_audit_direct(t, AUDIT_ANY);
        return 0;
    case PLAN_CHAIN:
        ask_the_chains(t);
        break;
    }
    return 1;
}

/* --- datagrams ------------------------------------------------------------------------------- */

/* A program that repeats itself is told once. */
static void say_refused(const struct target *t, const char *why)
{
    static uint32_t last;
    const uint8_t *p = (const uint8_t *)&t->at;
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < sizeof t->at; i++)
        hash = (hash ^ p[i]) * 16777619u;
    if (__atomic_exchange_n(&last, hash, __ATOMIC_RELAXED) != hash)
        say(PLAN_FAILURES, &t->at, why);
    if (audit_is_on())
        audit_add(AUDIT_DATAGRAMS, AUDIT_REFUSED, &t->at, &t->route, EACCES, 0);
}

/* Whether every hop can; else says which one cannot. */
static bool chain_can(const struct target *t)
{
    char text[VD_ENDPOINT_TEXT + 256];
    struct vd_out out = vd_out_over(text, sizeof text);
    const struct plan_chain *chain = t->route.chain;
    const char *why = "";
    unsigned hop = 0;

    if (assoc_can(chain, &hop, &why))
        return true;
    vd_out_text(&out, "UDP is refused: ");
    plan_hop_name(&out, session_plan(), chain, hop);
    vd_out_text(&out, " ");
    vd_out_text(&out, why);
    say_refused(t, vd_out_string(&out));
    return false;
}

static int go_directly(const struct target *t)
{
    judge_audit_direct(t, AUDIT_DATAGRAMS);
    return WAY_DIRECT;
}

static int judge_for_chain(const struct target *t, const struct vd_endpoint *given)
{
    enum plan_udp udp = (enum plan_udp)session_plan()->udp;

    if (udp == PLAN_UDP_DIRECT && !names_is_placeholder(&given->ip))
        return go_directly(t);
    if (udp == PLAN_UDP_AUTO || udp == PLAN_UDP_PROXY)
        return chain_can(t) ? WAY_CHAIN : -EACCES;
    say_refused(t, "UDP is refused: the chain does not carry it");
    return -EACCES;
}

int judge_datagram(struct target *t, const struct vd_endpoint *given, enum carries carries)
{
    int r;

    if (carries == CARRIES_DATAGRAMS && given->port == NAMESERVERS_PORT &&
        !lookup_may_query(NULL) && nameservers_has(given))
        return WAY_NAMES;
    r = judge_target(t, given);
    if (r <= 0)
        return r < 0 ? r : WAY_DIRECT;
    if (carries == CARRIES_DATAGRAMS)
        return judge_for_chain(t, given);
    say_refused(t, "refused: only TCP can go through the chain");
    return -EACCES;
}

/* --- unix sockets ---------------------------------------------------------------------------- */

bool judge_is_resolver(const struct sockaddr *addr, socklen_t len)
{
    static const char *const resolvers[] = {"/nscd/socket", "/systemd/resolve/io.systemd.Resolve",
                                            "/avahi-daemon/socket"};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    const char *path = un.sun_path;

    if (addr->sa_family != AF_UNIX || len > sizeof un)
        return false;
    memcpy(&un, addr, len);
    un.sun_path[sizeof un.sun_path - 1] = 0;
    if (!strncmp(path, "/var", 4))
        path += 4;
    if (strncmp(path, "/run/", 5) != 0)
        return false;
    for (size_t i = 0; i < sizeof resolvers / sizeof *resolvers; i++)
        if (!strcmp(path + 4, resolvers[i]))
            return true;
    return false;
}
