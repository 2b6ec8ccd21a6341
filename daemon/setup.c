#include "daemon/setup.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/confine.h"
#include "daemon/egress.h"
#include "daemon/resolve.h"
#include "proto/chain.h"
#include "proto/err.h"

/* --- the upstream --- */

static void keep_addresses(struct vd_hop *hop, const struct addrinfo *all)
{
    hop->addr_count = 0;
    for (; all && hop->addr_count < VD_HOP_ADDRS_MAX; all = all->ai_next) {
        struct net_addr addr = {0};
        memcpy(&addr, all->ai_addr, all->ai_addrlen);
        hop->addrs[hop->addr_count++] = net_addr_ip(&addr);
    }
}

/* A hop behind one that takes addresses only has to be looked up here; the first hop is looked up
 * at each session, by the workers. */
static int resolve_hop(struct vd_hop *hop, char **error)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all;
    int gai = getaddrinfo(hop->at.name, NULL, &hints, &all);
    if (gai != 0) {
        if (asprintf(error, "upstream: hop %s: %s", hop->at.name, gai_strerror(gai)) < 0)
            *error = NULL;
        return -1;
    }
    keep_addresses(hop, all);
    freeaddrinfo(all);
    return 0;
}

static bool is_in_order(const struct vd_conf_chain *up)
{
    return up->mode == VD_MODE_STRICT || up->mode == VD_MODE_DYNAMIC;
}

/* Whether the hop may stand right behind one that takes addresses only. */
static bool is_named_to(const struct vd_conf_chain *up, size_t hop)
{
    bool wanted = false;
    if (up->mode == VD_MODE_STRICT)
        return hop > 0 && !vd_hop_takes_names(&up->hops[hop - 1]);
    if (!is_in_order(up) && up->pick < 2)
        return false;
    for (size_t i = 0; i < (is_in_order(up) ? hop : up->hop_count); i++)
        wanted |= i != hop && !vd_hop_takes_names(&up->hops[i]);
    return wanted;
}

static int resolve_hops(struct vd_conf_chain *up, char **error)
{
    for (size_t i = 0; i < up->hop_count; i++) {
        struct vd_hop *hop = &up->hops[i];
        if (vd_endpoint_is_name(&hop->at) && hop->addr_count == 0 && is_named_to(up, i) &&
            resolve_hop(hop, error) != 0)
            return -1;
    }
    return 0;
}

/* A chain that cannot carry this target can carry none. */
static int try_path(const struct vd_path *path, char **error)
{
    static struct vd_chain chain;
    static const uint8_t any[4] = {192, 0, 2, 1};
    struct vd_ip ip = vd_ip4(any);
    struct vd_endpoint target;
    char text[2048];
    vd_endpoint_set_ip(&target, &ip, 80);
    int err = vd_chain_start(&chain, path, VD_CONNECT, &target);
    if (err >= 0)
        return 0;
    struct vd_out out = vd_out_over(text, sizeof text);
    vd_chain_explain(&out, &chain, err);
    if (asprintf(error,
                 "upstream: %s; allowed: socks4, socks4a, socks5, socks5h, http, "
                 "https",
                 vd_out_string(&out)) < 0)
        *error = NULL;
    return -1;
}

/* All hops in order, or each one in each place that it may have. */
static int try_chain(const struct vd_conf_chain *up, char **error)
{
    bool in_order = is_in_order(up);
    for (size_t i = in_order ? up->hop_count - 1 : 0; i < up->hop_count; i++) {
        struct vd_path path = {.hops = up->hops, .tls = true};
        if (in_order)
            while (path.count < up->hop_count) {
                path.order[path.count] = path.count;
                path.count++;
            }
        else if (up->pick > 1)
            path.order[path.count++] = (uint16_t)((i + 1) % up->hop_count);
        if (!in_order)
            path.order[path.count++] = (uint16_t)i;
        if (try_path(&path, error) != 0)
            return -1;
    }
    return 0;
}

static int check_upstreams(struct vd_conf_daemon *c, char **error)
{
    for (size_t i = 0; i < c->upstream_count; i++) {
        struct vd_conf_chain *up = &c->upstreams[i].chain;
        if (resolve_hops(up, error) != 0 || try_chain(up, error) != 0)
            return -1;
    }
    return vd_conf_daemon_link(c, error);
}

static int add_contexts(struct tls_contexts *contexts, const struct vd_conf_chain *up, char **error)
{
    char *why = NULL;
    int result = 0;
    for (size_t i = 0; result == 0 && i < up->hop_count; i++)
        result = tls_contexts_add(contexts, &up->hops[i], &why);
    if (why && asprintf(error, "upstream: %s", why) < 0)
        *error = NULL;
    free(why);
    return result;
}

static int read_contexts(struct options *o, char **error)
{
    o->contexts = tls_contexts_new();
    int result = o->contexts ? 0 : -1;
    for (size_t i = 0; result == 0 && i < o->conf.upstream_count; i++)
        result = add_contexts(o->contexts, &o->conf.upstreams[i].chain, error);
    return result;
}

/* --- the rest --- */

/* Unmarked connections might be sent back here by the very rules that the mark is for. */
static int check_mark(uint32_t mark, char **error)
{
    int fd = mark ? socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
    int result = fd < 0 ? 0 : setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark);
    int number = errno;
    if (fd >= 0)
        close(fd);
    if (result != 0 && asprintf(error, "mark = %u: %s", mark, strerror(number)) < 0)
        *error = NULL;
    return result;
}

static int check_names(const struct vd_conf_daemon *conf, char **error)
{
    if (conf->dns_chain && conf->upstream_count == 0)
        *error = strdup("dns = \"chain\": there is no upstream; allowed: with one");
    else if (conf->nameserver_count > 0 && conf->resolver_system && !conf->dns_chain)
        *error = strdup("nameservers: the system is asked, which has its own; allowed: with "
                        "resolver = \"cares\" or dns = \"chain\"");
    else
        return resolve_check(conf, error);
    return -1;
}

int setup_check(struct options *o, const struct listen_set *given, struct listen_set *set,
                char **error)
{
    if (listen_use_given(given, &o->conf, error) != 0 || options_complete(o, error) != 0 ||
        confine_check(&o->conf, error) != 0 || check_upstreams(&o->conf, error) != 0 ||
        check_names(&o->conf, error) != 0 || read_contexts(o, error) != 0)
        return -1;
    return listen_plan(set, &o->conf, o->conf.workers, error);
}

static void warn_of_hops(const struct vd_conf_chain *up, void (*say)(const char *text))
{
    char text[VD_URL_TEXT + 128];
    for (size_t i = 0; i < up->hop_count; i++) {
        struct vd_out out = vd_out_over(text, sizeof text);
        if (!up->hops[i].no_verify)
            continue;
        vd_out_text(&out, "upstream: verify=no: whoever answers is taken for hop ");
        vd_url_print(&out, &up->hops[i]);
        say(vd_out_string(&out));
    }
}

/* Only where `where` is said, and not taken over from elsewhere. */
static void warn_of_egress(const struct egress *e, const struct vd_conf_egress *where,
                           void (*say)(const char *text))
{
    char text[256];
    struct vd_out out = vd_out_over(text, sizeof text);
    if (!vd_conf_egress_has_source(where) || !egress_is_amiss(e, &out))
        return;
    vd_out_text(&out, ": nothing can leave from there as long as that is so");
    say(vd_out_string(&out));
}

static void warn_of_sources(const struct vd_conf_daemon *conf, void (*say)(const char *text))
{
    struct egress e = egress_of(conf, NULL, NULL);
    warn_of_egress(&e, &conf->egress, say);
    for (size_t i = 0; i < conf->upstream_count; i++) {
        e = egress_of(conf, &conf->upstreams[i], NULL);
        warn_of_egress(&e, &conf->upstreams[i].egress, say);
    }
    for (size_t i = 0; i < conf->access_count; i++) {
        e = egress_of(conf, NULL, &conf->access[i]);
        warn_of_egress(&e, &conf->access[i].egress, say);
    }
}

void setup_warn(const struct options *o, const struct listen_set *set,
                void (*say)(const char *text))
{
    warn_of_sources(&o->conf, say);
    for (size_t i = 0; i < set->count; i++)
        if (set->at[i].warning)
            say(set->at[i].warning);
    for (size_t i = 0; i < o->conf.upstream_count; i++)
        warn_of_hops(&o->conf.upstreams[i].chain, say);
}

int setup_open(const struct options *o, struct listen_set *set, const struct listen_set *have,
               char **error)
{
    return check_mark(o->conf.mark, error) == 0 ? listen_open(set, have, error) : -1;
}
