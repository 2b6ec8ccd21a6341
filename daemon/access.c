#include "daemon/access.h"

#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OWN_AGE_S = 10 };

struct access {
    const struct vd_conf_daemon *conf;
    bool has_allow;
    struct vd_ip *own; /* this machine's addresses */
    size_t own_count, own_cap;
    bool own_known; /* they were read once */
    time_t own_read_s;
};

static const char *why = ""; /* for access_why */

enum match { MATCH_NO, MATCH_YES, MATCH_NAMED, MATCH_BY_ADDRESS };

/* Everything a rule may look at: `address` is NULL before the lookup. */
struct view {
    const struct access_query *q;
    const struct vd_endpoint *address;
    struct vd_endpoint from;
};

struct access *access_new(const struct vd_conf_daemon *conf)
{
    struct access *access = calloc(1, sizeof *access);
    if (!access)
        return NULL;
    access->conf = conf;
    for (size_t i = 0; i < conf->access_count; i++)
        access->has_allow |= conf->access[i].verdict == VD_ALLOW;
    return access;
}

void access_free(struct access *access)
{
    if (access)
        free(access->own);
    free(access);
}

/* --- rules --- */

static struct view view_of(const struct access_query *q, const struct vd_endpoint *address)
{
    struct view v = {.q = q, .address = address};
    struct vd_ip ip = net_addr_ip(q->client);
    vd_endpoint_set_ip(&v.from, &ip, net_addr_port(q->client));
    return v;
}

static bool from_matches(const struct vd_conf_access *rule, const struct view *v)
{
    bool any = rule->from_count == 0;
    for (size_t i = 0; !any && i < rule->from_count; i++)
        any = vd_pattern_matches(&rule->from[i], &v->from);
    return any;
}

static bool user_matches(const struct vd_conf_access *rule, const struct access_query *q)
{
    bool any = rule->user_count == 0;
    for (size_t i = 0; !any && q->user && i < rule->user_count; i++)
        any = strlen(rule->users[i]) == q->user_len &&
              memcmp(rule->users[i], q->user, q->user_len) == 0;
    return any;
}

static bool pattern_fits(const struct vd_pattern *p, const struct view *v)
{
    return vd_pattern_matches(p, v->q->target) || (v->address && vd_pattern_matches(p, v->address));
}

static enum match to_matches(const struct vd_conf_access *rule, const struct view *v)
{
    enum match best = rule->to_count == 0 ? MATCH_YES : MATCH_NO;
    for (size_t i = 0; i < rule->to_count && best != MATCH_NAMED; i++) {
        const struct vd_pattern *p = &rule->to[i];
        bool open = !v->address && vd_endpoint_is_name(v->q->target) && p->kind == VD_PATTERN_NET;
        if (pattern_fits(p, v))
            best = p->kind == VD_PATTERN_ANY ? MATCH_YES : MATCH_NAMED;
        else if (open && best == MATCH_NO)
            best = MATCH_BY_ADDRESS;
    }
    return best;
}

static bool others_match(const struct vd_conf_access *rule, const struct view *v)
{
    return (rule->commands == 0 || (rule->commands & 1u << v->q->command)) &&
           from_matches(rule, v) && user_matches(rule, v->q);
}

bool access_is_about(const struct vd_conf_access *rule, const struct access_query *q)
{
    struct view v = view_of(q, NULL);
    return from_matches(rule, &v) && user_matches(rule, q);
}

const char *access_why(void)
{
    return why;
}

static enum access_verdict refused_by(const char *title)
{
    why = title;
    return ACCESS_NO;
}

static enum match rule_matches(const struct vd_conf_access *rule, const struct view *v)
{
    return others_match(rule, v) ? to_matches(rule, v) : MATCH_NO;
}

/* The first rule that matches: its verdict, and whether it names the target. Before the lookup a
 * rule may be open: an allow rule then leaves everything open, a deny rule what would be allowed.
 */
static enum access_verdict judge(const struct access *access, const struct view *v, bool by_name,
                                 bool *named)
{
    enum access_verdict yes = ACCESS_YES;
    for (size_t i = 0; i < access->conf->access_count; i++) {
        const struct vd_conf_access *rule = &access->conf->access[i];
        enum match m = rule_matches(rule, v);
        if (m == MATCH_NO || (m == MATCH_BY_ADDRESS && by_name))
            continue;
        if (m == MATCH_BY_ADDRESS)
            yes = ACCESS_BY_ADDRESS;
        if (m == MATCH_BY_ADDRESS && rule->verdict == VD_DENY)
            continue;
        *named = m == MATCH_NAMED;
        return rule->verdict == VD_ALLOW ? yes : refused_by(rule->title);
    }
    return access->has_allow ? refused_by("default") : yes;
}

/* --- the guard --- */

static bool has_room(struct access *access, const struct ifaddrs *all)
{
    size_t count = 0;
    for (const struct ifaddrs *one = all; one; one = one->ifa_next)
        count++;
    if (count <= access->own_cap)
        return true;
    struct vd_ip *more = realloc(access->own, count * sizeof *more);
    if (!more)
        return false;
    access->own = more;
    access->own_cap = count;
    return true;
}

/* Addresses come and go; the list is read anew when it is older than a few seconds. What cannot be
 * read for want of descriptors or memory stays what it was. */
static void read_own(struct access *access)
{
    struct timespec now;
    struct ifaddrs *all;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (access->own_known && now.tv_sec - access->own_read_s < OWN_AGE_S)
        return;
    if (getifaddrs(&all) != 0)
        return;
    if (has_room(access, all)) {
        access->own_known = true;
        access->own_read_s = now.tv_sec;
        access->own_count = 0;
        for (const struct ifaddrs *one = all; one; one = one->ifa_next)
            if (one->ifa_addr &&
                (one->ifa_addr->sa_family == AF_INET || one->ifa_addr->sa_family == AF_INET6))
                access->own[access->own_count++] =
                    net_addr_ip((const struct net_addr *)(const void *)one->ifa_addr);
    }
    freeifaddrs(all);
}

bool access_is_own(struct access *access, const struct vd_ip *ip)
{
    struct vd_ip plain = vd_ip_unmapped(ip);
    unsigned bits = plain.family == VD_IPV6 ? 128 : 32;
    read_own(access);
    if (!access->own_known)
        return true;
    for (size_t i = 0; i < access->own_count; i++)
        if (vd_ip_within(&plain, &access->own[i], bits))
            return true;
    return false;
}

static bool is_guarded(struct access *access, const struct vd_ip *ip)
{
    switch (vd_ip_class(ip)) {
    case VD_CLASS_UNSPECIFIED:
    case VD_CLASS_LOOPBACK:
    case VD_CLASS_LINK_LOCAL:
    case VD_CLASS_MULTICAST:
    case VD_CLASS_BROADCAST:
        return true;
    case VD_CLASS_GLOBAL:
    case VD_CLASS_PRIVATE:
        break;
    }
    return access_is_own(access, ip);
}

static bool is_trusted(const struct access_query *q)
{
    struct vd_ip ip = net_addr_ip(q->client);
    return q->client->any.sa_family == AF_UNIX || vd_ip_class(&ip) == VD_CLASS_LOOPBACK;
}

/* localhost and what stands below it (RFC 6761 section 6.3), for chains, which do not look it up.
 */
static bool is_local_name(const struct vd_endpoint *e)
{
    static const char local[] = ".localhost";
    size_t len = e->name_len, want = sizeof local - 1;
    if (len > 0 && e->name[len - 1] == '.')
        len--;
    if (len == want - 1)
        return vd_same_text(e->name, local + 1, len);
    return len > want && vd_same_text(e->name + len - want, local, want);
}

/* --- verdicts --- */

static bool is_about_all(const struct vd_conf_access *rule)
{
    bool all = rule->to_count == 0;
    for (size_t i = 0; !all && i < rule->to_count; i++)
        all = rule->to[i].kind == VD_PATTERN_ANY && rule->to[i].port == 0;
    return all;
}

bool access_command(const struct access *access, const struct access_query *q)
{
    struct view v = view_of(q, NULL);
    for (size_t i = 0; i < access->conf->access_count; i++) {
        const struct vd_conf_access *rule = &access->conf->access[i];
        if (!others_match(rule, &v))
            continue;
        if (rule->verdict == VD_ALLOW)
            return true;
        if (is_about_all(rule))
            return refused_by(rule->title) != ACCESS_NO;
    }
    return !access->has_allow || refused_by("default") != ACCESS_NO;
}

enum access_verdict access_target(struct access *access, const struct access_query *q)
{
    bool named = false;
    if (!vd_endpoint_is_name(q->target))
        return access_address(access, q, &q->target->ip) ? ACCESS_YES : ACCESS_NO;
    if (access->conf->access_count == 0)
        return is_trusted(q) ? ACCESS_YES : ACCESS_BY_ADDRESS;
    struct view v = view_of(q, NULL);
    enum access_verdict verdict = judge(access, &v, false, &named);
    return verdict == ACCESS_NO ? ACCESS_NO : ACCESS_BY_ADDRESS;
}

bool access_target_of_chain(struct access *access, const struct access_query *q)
{
    bool named = false;
    if (!vd_endpoint_is_name(q->target))
        return access_address(access, q, &q->target->ip);
    struct view v = view_of(q, NULL);
    if (judge(access, &v, true, &named) == ACCESS_NO)
        return false;
    return named || is_trusted(q) || !is_local_name(q->target) || refused_by("guard") != ACCESS_NO;
}

const struct vd_conf_access *access_rule(const struct access *access, const struct access_query *q)
{
    struct view v = view_of(q, NULL);
    for (size_t i = 0; i < access->conf->access_count; i++) {
        const struct vd_conf_access *rule = &access->conf->access[i];
        enum match m = rule_matches(rule, &v);
        if (m == MATCH_YES || m == MATCH_NAMED)
            return rule;
    }
    return NULL;
}

bool access_rules(const struct access *access, const struct access_query *q)
{
    bool named = false;
    struct view v = view_of(q, NULL);
    return judge(access, &v, true, &named) != ACCESS_NO;
}

bool access_address(struct access *access, const struct access_query *q, const struct vd_ip *ip)
{
    bool named = false;
    struct vd_endpoint address;
    if (access->conf->access_count == 0 && is_trusted(q))
        return true;
    vd_endpoint_set_ip(&address, ip, q->target->port);
    struct view v = view_of(q, &address);
    if (judge(access, &v, true, &named) == ACCESS_NO)
        return false;
    return named || is_trusted(q) || !(q->is_here || is_guarded(access, ip)) ||
           refused_by("guard") != ACCESS_NO;
}
