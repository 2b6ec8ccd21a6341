#include <stdlib.h>
#include <string.h>

#include "conf/daemon.h"
#include "conf/daemon_egress.h"
#include "conf/value.h"

const char *const vd_conf_families[] = {"prefer_ipv6", "prefer_ipv4", "ipv6", "ipv4", NULL};

/* --- single values --------------------------------------------------------------------------- */

static int set_device(struct vd_conf_egress *egress, const char *name, char **error)
{
    size_t len = strlen(name);

    if (len == 0 || len >= sizeof egress->device || strpbrk(name, "/: \t"))
        return vd_conf_wrong(error, "bad source `%%%s`; allowed: %%INTERFACE, 1 to %zu bytes", name,
                             sizeof egress->device - 1);
    if (egress->device[0])
        return vd_conf_wrong(error, "a second interface `%%%s` in `source`; allowed: one", name);
    memcpy(egress->device, name, len + 1);
    return 0;
}

static bool may_be_source(const struct vd_ip *ip)
{
    switch (vd_ip_class(ip)) {
    case VD_CLASS_MULTICAST:
    case VD_CLASS_BROADCAST:
        return false;
    case VD_CLASS_LINK_LOCAL: /* IPv6 has such an address on every link */
        return ip->family == VD_IPV4;
    case VD_CLASS_UNSPECIFIED:
    case VD_CLASS_LOOPBACK:
    case VD_CLASS_PRIVATE:
    case VD_CLASS_GLOBAL:
        break;
    }
    return true;
}

static int set_source(struct vd_conf_egress *egress, const char *text, char **error)
{
    struct vd_ip ip;

    if (text[0] == '%')
        return set_device(egress, text + 1, error);
    if (!vd_ip_read(&ip, text, strlen(text)) || ip.family != vd_ip_unmapped(&ip).family ||
        !may_be_source(&ip))
        return vd_conf_wrong(error,
                             "bad source `%s`; allowed: an IPv4 and an IPv6 address of this "
                             "machine, and %%INTERFACE",
                             text);
    struct vd_ip *place = &egress->source[ip.family == VD_IPV6];
    if (place->family)
        return vd_conf_wrong(error, "a second IPv%u address `%s` in `source`; allowed: one",
                             ip.family, text);
    *place = ip;
    return 0;
}

int vd_conf_egress_set(struct vd_conf_egress *egress, const char *key, const char *value,
                       char **error)
{
    if (!strcmp(key, "source"))
        return set_source(egress, value, error);
    int family = vd_conf_choice(key, vd_conf_families, value, error);
    if (family < 0)
        return -1;
    egress->family = (uint8_t)(VD_PREFER_IPV6 + family);
    return 0;
}

/* --- what holds ------------------------------------------------------------------------------ */

bool vd_conf_egress_has_source(const struct vd_conf_egress *egress)
{
    return egress->device[0] || egress->source[0].family || egress->source[1].family;
}

struct vd_conf_egress_in_force vd_conf_egress_of(const struct vd_conf_daemon *c,
                                                 const struct vd_conf_upstream *up,
                                                 const struct vd_conf_access *rule)
{
    const struct vd_conf_egress *levels[] = {&c->egress, up ? &up->egress : NULL,
                                             rule ? &rule->egress : NULL};
    struct vd_conf_egress_in_force force = {.source = &c->egress, .family = VD_PREFER_IPV6};

    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (levels[i] && vd_conf_egress_has_source(levels[i]))
            force.source = levels[i];
        if (levels[i] && levels[i]->family != VD_FAMILY_UNSAID)
            force.family = levels[i]->family;
    }
    return force;
}

bool vd_conf_egress_uses(const struct vd_conf_egress_in_force *force, enum vd_family family)
{
    const struct vd_ip *source = force->source->source;
    bool any = !source[0].family && !source[1].family;

    if (!any && !source[family == VD_IPV6].family)
        return false;
    return force->family != (family == VD_IPV6 ? VD_ONLY_IPV4 : VD_ONLY_IPV6);
}

static int check(const struct vd_conf_daemon *c, const struct vd_conf_upstream *up,
                 const struct vd_conf_access *rule, char **error)
{
    struct vd_conf_egress_in_force force = vd_conf_egress_of(c, up, rule);
    const char *kind = rule ? "rule" : up ? "upstream" : NULL;
    const char *title = rule ? rule->title : up ? up->chain.title : "";

    if (vd_conf_egress_uses(&force, VD_IPV4) || vd_conf_egress_uses(&force, VD_IPV6))
        return 0;
    return vd_conf_wrong(error,
                         "%s%s%s%sfamily = \"%s\", and `source` has no such address; allowed: an "
                         "address of that family in `source`",
                         kind ? kind : "", kind ? " `" : "", title, kind ? "`: " : "",
                         vd_conf_families[force.family - VD_PREFER_IPV6]);
}

static const struct vd_conf_upstream *upstream_of(const struct vd_conf_daemon *c,
                                                  const struct vd_conf_access *rule)
{
    if (rule->via == VD_VIA_UNSAID)
        return vd_conf_daemon_upstream(c, VD_UPSTREAM_DEFAULT);
    return rule->via == VD_VIA_DIRECT ? NULL : &c->upstreams[rule->via];
}

int vd_conf_egress_check(const struct vd_conf_daemon *c, char **error)
{
    if (check(c, NULL, NULL, error) < 0)
        return -1;
    for (size_t i = 0; i < c->upstream_count; i++)
        if (check(c, &c->upstreams[i], NULL, error) < 0)
            return -1;
    for (size_t i = 0; i < c->access_count; i++)
        if (check(c, upstream_of(c, &c->access[i]), &c->access[i], error) < 0)
            return -1;
    return 0;
}

/* --- the file -------------------------------------------------------------------------------- */

int vd_conf_egress_read(struct vd_conf_file *f, cfg_t *cfg, int line, struct vd_conf_egress *egress)
{
    static const char *const keys[] = {"source", "family"};
    char *error = NULL;

    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
        for (unsigned i = 0; i < cfg_size(cfg, keys[k]); i++) {
            const struct vd_conf_word *word = vd_conf_file_get(cfg, keys[k], i);
            if (vd_conf_egress_set(egress, keys[k], word->text, &error) < 0)
                return vd_conf_file_wrong(f, word->line, error);
        }
    if (!vd_conf_file_has(cfg, "source") || cfg_size(cfg, "source") > 0)
        return 0;
    vd_conf_wrong(&error, "empty list `source`; allowed: one address or more, or no `source`");
    return vd_conf_file_wrong(f, line, error);
}
