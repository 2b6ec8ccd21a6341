#include "daemon/setup.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/confine.h"
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

static int resolve_hops(struct vd_conf_chain *up, char **error)
{
    for (size_t i = 1; i < up->hop_count; i++) {
        struct vd_hop *hop = &up->hops[i];
        if (!vd_endpoint_is_name(&hop->at) || hop->addr_count > 0 ||
            vd_hop_takes_names(&up->hops[i - 1]))
            continue;
        if (resolve_hop(hop, error) != 0)
            return -1;
    }
    return 0;
}

/* A chain that cannot carry this target can carry none. */
static int try_chain(const struct vd_conf_chain *up, char **error)
{
    static struct vd_chain chain;
    static const uint8_t any[4] = {192, 0, 2, 1};
    struct vd_path path = {.hops = up->hops, .count = (uint8_t)up->hop_count};
    struct vd_ip ip = vd_ip4(any);
    struct vd_endpoint target;
    char text[2048];
    for (uint8_t i = 0; i < path.count; i++)
        path.order[i] = i;
    path.tls = true;
    vd_endpoint_set_ip(&target, &ip, 80);
    int err = vd_chain_start(&chain, &path, VD_CONNECT, &target);
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

static int check_upstream(struct vd_conf_chain *up, char **error)
{
    if (up->hop_count == 0)
        return 0;
    if (up->mode != VD_MODE_STRICT) {
        *error = strdup("upstream: this version serves mode \"strict\" only");
        return -1;
    }
    return resolve_hops(up, error) == 0 ? try_chain(up, error) : -1;
}

static int read_contexts(struct options *o, char **error)
{
    const struct vd_conf_chain *up = &o->conf.upstream;
    char *why = NULL;
    o->contexts = tls_contexts_new();
    int result = o->contexts ? 0 : -1;
    for (size_t i = 0; result == 0 && i < up->hop_count; i++)
        result = tls_contexts_add(o->contexts, &up->hops[i], &why);
    if (why && asprintf(error, "upstream: %s", why) < 0)
        *error = NULL;
    free(why);
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

int setup_check(struct options *o, const struct listen_set *given, struct listen_set *set,
                char **error)
{
    if (listen_use_given(given, &o->conf, error) != 0 || options_complete(o, error) != 0 ||
        confine_check(&o->conf, error) != 0 || check_upstream(&o->conf.upstream, error) != 0 ||
        read_contexts(o, error) != 0)
        return -1;
    return listen_plan(set, &o->conf, o->conf.workers, error);
}

void setup_warn(const struct options *o, const struct listen_set *set,
                void (*say)(const char *text))
{
    const struct vd_conf_chain *up = &o->conf.upstream;
    char text[VD_URL_TEXT + 128];
    for (size_t i = 0; i < set->count; i++)
        if (set->at[i].warning)
            say(set->at[i].warning);
    for (size_t i = 0; i < up->hop_count; i++) {
        struct vd_out out = vd_out_over(text, sizeof text);
        if (!up->hops[i].no_verify)
            continue;
        vd_out_text(&out, "upstream: verify=no: whoever answers is taken for hop ");
        vd_url_print(&out, &up->hops[i]);
        say(vd_out_string(&out));
    }
}

int setup_open(const struct options *o, struct listen_set *set, const struct listen_set *have,
               char **error)
{
    return check_mark(o->conf.mark, error) == 0 ? listen_open(set, have, error) : -1;
}
