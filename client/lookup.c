#include "client/lookup.h"

#include <arpa/inet.h>
#include <string.h>

#include "client/audit.h"
#include "client/names.h"
#include "client/route.h"
#include "client/say.h"
#include "client/session.h"
#include "proto/err.h"

/* What libc takes for an address: all forms of inet_aton, IPv6 with or without scope. */
static bool is_numeric(const char *name)
{
    struct in_addr in4;
    struct vd_ip ip;

    return inet_aton(name, &in4) || vd_ip_read(&ip, name, strcspn(name, "%"));
}

/* Who answers for a name is written down without a port: it may be asked for without one. */
static void audit(const struct vd_endpoint *e, const struct route *route, enum audit_way way)
{
    struct vd_endpoint name = *e;

    name.port = 0;
    audit_count(way == AUDIT_DIRECT ? AUDIT_ASKED : AUDIT_STAYED);
    audit_add(AUDIT_NAME, way, &name, route, 0, 0);
}

static enum lookup_answer placeholder(struct lookup *l, const struct vd_endpoint *e,
                                      const struct route *route, bool want6)
{
    int r = names_placeholder(e->name, e->name_len, want6 ? VD_IPV6 : VD_IPV4, &l->ips[0]);

    if (r == VD_OK && audit_is_on())
        audit(e, route, route->action == PLAN_REFUSE ? AUDIT_REFUSED : AUDIT_BY_CHAIN);
    if (r == -VD_ERR_SPACE)
        say(PLAN_FAILURES, e, "no placeholder address is left for this name");
    if (r < 0)
        return r == -VD_ERR_SPACE ? LOOKUP_FULL : LOOKUP_UNKNOWN;
    l->count = 1;
    return LOOKUP_KNOWN;
}

/* RFC 1035 section 2.3.4: labels of 1 to 63 bytes, 253 in all, maybe a dot behind. */
static bool is_dns_name(const char *name)
{
    size_t total = strlen(name);

    if (total == 0 || total > 254 || (total == 254 && name[253] != '.'))
        return false;
    while (*name) {
        size_t len = strcspn(name, ".");

        if (len == 0 || len > 63)
            return false;
        name += len + (name[len] == '.');
    }
    return true;
}

enum lookup_answer lookup_name(struct lookup *l, const char *name, uint16_t port, bool want6)
{
    struct vd_endpoint e;
    struct route route;

    *l = (struct lookup){.count = 0};
    if (is_numeric(name))
        return LOOKUP_SYSTEM;
    if (!is_dns_name(name) || vd_endpoint_set_name(&e, name, strlen(name), port) < 0)
        return LOOKUP_UNKNOWN;
    route = route_of_name(&e, &l->remember);
    if (route.action == PLAN_REFUSE)
        return placeholder(l, &e, &route, want6);
    l->count = hosts_find(name, l->ips, HOSTS_IPS_MAX);
    if (l->count > 0)
        return LOOKUP_KNOWN;
    if (route_names_are_remote(&route))
        return placeholder(l, &e, &route, want6);
    if (audit_is_on())
        audit(&e, &route, AUDIT_DIRECT);
    return LOOKUP_SYSTEM;
}

void lookup_remember(const char *name, const struct vd_ip *ip)
{
    if (!names_is_placeholder(ip))
        names_remember(ip, name, strlen(name));
}

enum lookup_answer lookup_address(const struct vd_ip *ip, char name[VD_NAME_MAX + 1])
{
    struct vd_endpoint e;
    struct route route;

    vd_endpoint_set_ip(&e, ip, 0);
    if (names_is_placeholder(ip)) {
        if (!names_find(ip, &e))
            return LOOKUP_UNKNOWN;
        memcpy(name, e.name, e.name_len + 1u);
        return LOOKUP_KNOWN;
    }
    if (hosts_name(ip, name))
        return LOOKUP_KNOWN;
    e.ip = vd_ip_unmapped(&e.ip);
    route = route_of(&e);
    return route_names_are_remote(&route) ? LOOKUP_UNKNOWN : LOOKUP_SYSTEM;
}

bool lookup_may_query(const char *name)
{
    struct vd_endpoint e = {.port = 0};
    struct route route;
    bool known;

    if (name && is_numeric(name))
        return true;
    if (!name || vd_endpoint_set_name(&e, name, strlen(name), 0) < 0)
        vd_endpoint_set_name(&e, "any.invalid", 11, 0);
    route = route_of_name(&e, &known);
    return !route_names_are_remote(&route);
}

bool lookup_may_ask_chain(const char *name)
{
    const struct plan *plan = session_plan();
    struct vd_ip ips[HOSTS_IPS_MAX];
    struct vd_endpoint e;
    struct route route;
    bool known;

    if (!plan->names_by_chain || is_numeric(name) || !is_dns_name(name) ||
        vd_endpoint_set_name(&e, name, strlen(name), 0) < 0 ||
        hosts_find(name, ips, HOSTS_IPS_MAX) > 0)
        return false;
    route = route_of_name(&e, &known);
    return route.action == PLAN_CHAIN && route.chain == plan_chain(plan, plan->chain);
}
