/*
 * Where the relays of an association are: what each hop's reply says (BND), where no address means
 * the hop's own. Who is sent datagrams at a hop's word could be anybody; so what no relay can be is
 * refused: multicast, broadcast, and this machine or link unless the hop itself is there.
 */
#include <string.h>

#include "client/addr.h"
#include "client/assoc_entry.h"
#include "client/say.h"
#include "client/session.h"
#include "client/sys.h"

struct answer {
    const struct plan_chain *chain;
    unsigned position;
    struct vd_ip bound;
    uint16_t port;
};

void assoc_say_of_hop(const struct plan_chain *chain, unsigned position, const char *what,
                      const struct vd_ip *ip)
{
    char text[SAY_MAX / 2];
    struct vd_out out = vd_out_over(text, sizeof text);

    vd_out_text(&out, "UDP: ");
    plan_hop_name(&out, session_plan(), chain, position);
    vd_out_text(&out, " ");
    vd_out_text(&out, what);
    if (ip)
        vd_ip_print(&out, ip);
    say(PLAN_FAILURES, NULL, vd_out_string(&out));
}

static struct vd_ip peer_of(int fd)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    struct vd_endpoint e = {.port = 0};

    if (sys.getpeername(fd, (struct sockaddr *)&peer, &len) == 0)
        addr_read(&e, (struct sockaddr *)&peer, len);
    return vd_ip_unmapped(&e.ip);
}

static bool says_own(const struct vd_ip *bound)
{
    static const struct vd_ip any4 = {.family = VD_IPV4}, any6 = {.family = VD_IPV6};

    return vd_ip_within(bound, &any4, 32) || vd_ip_within(bound, &any6, 128);
}

static bool judge_bound(const struct answer *a, const struct vd_ip *bound, enum vd_class own)
{
    bool fit = vd_udp_may_relay(bound, own);

    if (!fit)
        assoc_say_of_hop(a->chain, a->position, "wants datagrams sent to ", bound);
    else if (!bound->family)
        assoc_say_of_hop(a->chain, a->position,
                         "gives a name for the address of its relay, which is not followed", NULL);
    else if (!a->port)
        assoc_say_of_hop(a->chain, a->position, "gives no port for its relay", NULL);
    return fit && bound->family && a->port;
}

/* An IPv6 socket that takes no IPv4 cannot reach an IPv4 relay, unless it may still be told to. */
static bool admit_ipv4(int fd, int family, const struct vd_ip *ip)
{
    socklen_t len = sizeof(int);
    int only = 0, off = 0;

    if (family != AF_INET6 || ip->family != VD_IPV4)
        return true;
    sys.getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &len);
    return !only || sys.setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0;
}

bool assoc_leads_to(uint64_t cookie, const struct sockaddr *to, socklen_t len)
{
    struct vd_endpoint given, relay;
    struct assoc_told told;
    unsigned step = 0;
    int at;

    if (!addr_read(&given, to, len))
        return false;
    while ((at = assoc_find_next(cookie, &step)) >= 0) {
        if (!assoc_read(at, cookie, &told) || told.state != ASSOC_UP ||
            !addr_read(&relay, (const struct sockaddr *)told.relay, told.relay_len))
            continue;
        given.ip = vd_ip_unmapped(&given.ip);
        relay.ip = vd_ip_unmapped(&relay.ip);
        if (vd_endpoint_same(&given, &relay))
            return true;
    }
    return false;
}

/* Where the program's socket sends. */
static bool put_first(const struct answer *a, struct vd_ip dialled, int family, int fd,
                      struct assoc_told *told)
{
    struct vd_ip relay = a->bound;
    struct sockaddr_storage to;

    if (!judge_bound(a, &relay, vd_ip_class(&dialled)))
        return false;
    if (says_own(&relay))
        relay = dialled;
    else if (relay.family == VD_IPV6)
        relay.scope = dialled.scope;
    told->relay_len = (uint16_t)addr_write(&to, family, &relay, a->port);
    if (!told->relay_len || !admit_ipv4(fd, family, &relay)) {
        assoc_say_of_hop(a->chain, 0, "has its relay in another family than the socket: ", &relay);
        return false;
    }
    memcpy(told->relay, &to, told->relay_len);
    return true;
}

static const struct vd_hop *hop_of(const struct answer *a, unsigned position)
{
    return plan_hops(session_plan()) + a->chain->hops[position];
}

/* What the relay before it is told: as in the plan, or the address of the reply. */
static bool put_next(const struct answer *a, struct vd_out *prefix)
{
    const struct vd_hop *hop = hop_of(a, a->position);
    bool by_name = vd_endpoint_is_name(&hop->at);
    struct vd_endpoint relay = hop->at;

    if (!judge_bound(a, &a->bound, by_name ? vd_ip_class(&a->bound) : vd_ip_class(&hop->at.ip)))
        return false;
    if (by_name && !vd_hop_takes_names(hop_of(a, a->position - 1u)))
        vd_endpoint_set_ip(&relay, &hop->addrs[0], 0);
    if (!says_own(&a->bound))
        vd_endpoint_set_ip(&relay, &a->bound, 0);
    relay.port = a->port;
    vd_udp_write(prefix, &relay);
    return true;
}

bool assoc_put_relays(struct assoc_told *told, const struct plan_chain *chain,
                      const struct drive *const answers[], int control, int fd)
{
    struct vd_out prefix = vd_out_over(told->prefix, sizeof told->prefix);

    for (unsigned i = 0; i < told->hops; i++) {
        const struct vd_shake *s = &answers[i]->chain.shake;
        struct answer a = {chain, i, vd_ip_unmapped(&s->bound_ip), s->bound_port};

        if (i == 0 ? !put_first(&a, peer_of(control), answers[0]->family, fd, told)
                   : !put_next(&a, &prefix))
            return false;
    }
    if (!prefix.ok)
        say(PLAN_FAILURES, NULL, "UDP: the chain is too long for its headers");
    told->prefix_len = (uint16_t)prefix.len;
    return prefix.ok;
}
