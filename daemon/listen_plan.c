/* What is to be opened: the addresses behind the listeners of a configuration. */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/ssl.h>

#include "daemon/listener.h"
#include "daemon/tls_context.h"
#include "proto/accept.h"

static const char *kind_name(enum vd_listen_kind kind)
{
    static const char *const names[] = {
        [VD_LISTEN_MIXED] = "mixed",   [VD_LISTEN_SOCKS] = "socks",
        [VD_LISTEN_HTTP] = "http",     [VD_LISTEN_REDIRECT] = "redirect",
        [VD_LISTEN_TPROXY] = "tproxy", [VD_LISTEN_FORWARD] = "forward",
        [VD_LISTEN_ADMIN] = "admin"};
    return names[kind];
}

static unsigned offers_of(enum vd_listen_kind kind, bool logins)
{
    static const unsigned offers[] = {[VD_LISTEN_MIXED] = VD_OFFER_MIXED,
                                      [VD_LISTEN_SOCKS] = VD_OFFER_SOCKS,
                                      [VD_LISTEN_HTTP] = VD_OFFER_HTTP,
                                      [VD_LISTEN_REDIRECT] = 0,
                                      [VD_LISTEN_TPROXY] = 0,
                                      [VD_LISTEN_FORWARD] = 0,
                                      [VD_LISTEN_ADMIN] = 0};
    return offers[kind] | (logins ? VD_OFFER_LOGIN_NEEDED : 0u);
}

void listen_print(struct vd_out *out, const struct listen_at *at)
{
    vd_out_text(out, at->conf->tls_only ? "https" : kind_name(at->conf->kind));
    vd_out_text(out, "://");
    net_addr_print(out, &at->addr);
    if (at->conf->unix_path[0]) {
        vd_out_text(out, ":");
        vd_out_text(out, at->conf->unix_path);
    }
    if (at->datagrams)
        vd_out_text(out, "/udp");
}

static int complain(char **error, const struct vd_conf_listener *l, const char *what)
{
    char text[VD_ENDPOINT_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);
    if (l->unix_path[0])
        vd_out_text(&out, l->unix_path);
    else
        vd_endpoint_print(&out, &l->at);
    if (asprintf(error, "listener %s: %s", vd_out_string(&out), what) < 0)
        *error = NULL;
    return -1;
}

/* Whose clients know nothing of a proxy, and so cannot log in. */
static bool is_caught(enum vd_listen_kind kind)
{
    return kind == VD_LISTEN_REDIRECT || kind == VD_LISTEN_TPROXY;
}

/* Who listens wider than this machine has to say for whom; whom a PROXY line speaks for came from
 * anywhere. Where a connection goes that is forwarded is said already; logins mean nothing to what
 * is redirected. */
static bool is_open_proxy(const struct vd_conf_daemon *conf, const struct listen_at *at)
{
    const struct vd_conf_listener *l = at->conf;
    struct vd_ip ip = net_addr_ip(&at->addr);
    bool own = l->unix_path[0] || vd_ip_class(&ip) == VD_CLASS_LOOPBACK;
    bool logins = (conf->user_count > 0 && !is_caught(l->kind)) || (l->tls_only && l->client_ca);
    bool open = (l->proxy_line || !own) && !logins && l->kind != VD_LISTEN_FORWARD;
    for (size_t i = 0; open && i < conf->access_count; i++)
        open = conf->access[i].verdict != VD_ALLOW;
    return open;
}

static struct listen_at *add(struct listen_set *set, const struct vd_conf_daemon *conf,
                             const struct vd_conf_listener *l)
{
    struct listen_at *grown = realloc(set->at, (set->count + 1) * sizeof *grown);
    int *fds = malloc(set->workers * sizeof *fds);
    if (grown)
        set->at = grown;
    if (!grown || !fds) {
        free(fds);
        return NULL;
    }
    struct listen_at *at = &grown[set->count++];
    *at = (struct listen_at){
        .conf = l, .offers = offers_of(l->kind, conf->user_count > 0), .fds = fds};
    for (unsigned i = 0; i < set->workers; i++)
        fds[i] = -1;
    return at;
}

/* What is shown is nobody's business but the administrator's. */
static int judge_admin(const struct vd_conf_daemon *conf, const struct listen_at *at, char **error)
{
    struct vd_ip ip = net_addr_ip(&at->addr);
    if (at->conf->unix_path[0] || vd_ip_class(&ip) == VD_CLASS_LOOPBACK || conf->admin_login)
        return 0;
    return complain(error, at->conf,
                    "refused, for everybody could read the status page; set admin_login, or "
                    "listen on 127.0.0.1 or unix:/PATH");
}

static int judge(const struct vd_conf_daemon *conf, const struct listen_at *at, char **error)
{
    if (at->conf->kind == VD_LISTEN_ADMIN)
        return judge_admin(conf, at, error);
    if (!is_open_proxy(conf, at))
        return 0;
    return complain(error, at->conf,
                    is_caught(at->conf->kind)
                        ? "refused, for it would be open to everybody; say who may use it with "
                          "--allow RULE, or listen on 127.0.0.1"
                        : "refused, for it would be open to everybody; give --user "
                          "NAME:PASSWORD or --users FILE, or say who may use it with --allow "
                          "RULE, or listen on 127.0.0.1");
}

static int plan_unix(struct listen_set *set, const struct vd_conf_daemon *conf,
                     const struct vd_conf_listener *l, char **error)
{
    struct listen_at *at = add(set, conf, l);
    if (!at)
        return complain(error, l, strerror(ENOMEM));
    at->addr.any.sa_family = at->asked.any.sa_family = AF_UNIX;
    at->shared = true;
    return judge(conf, at, error);
}

static bool takes_datagrams(const struct vd_conf_listener *l)
{
    return l->kind == VD_LISTEN_TPROXY && !l->no_udp && !l->proxy_line;
}

static int plan_address(struct listen_set *set, const struct vd_conf_daemon *conf,
                        const struct vd_conf_listener *l, const struct addrinfo *ai, char **error)
{
    for (int udp = 0; udp <= (takes_datagrams(l) ? 1 : 0); udp++) {
        struct listen_at *at = add(set, conf, l);
        if (!at)
            return complain(error, l, strerror(ENOMEM));
        memcpy(&at->addr, ai->ai_addr, ai->ai_addrlen);
        at->asked = at->addr;
        at->datagrams = udp;
        if (judge(conf, at, error) != 0)
            return -1;
    }
    return 0;
}

static int plan_addresses(struct listen_set *set, const struct vd_conf_daemon *conf,
                          const struct vd_conf_listener *l, const struct addrinfo *all,
                          char **error)
{
    for (const struct addrinfo *ai = all; ai; ai = ai->ai_next)
        if (plan_address(set, conf, l, ai, error) != 0)
            return -1;
    return 0;
}

static int plan(struct listen_set *set, const struct vd_conf_daemon *conf,
                const struct vd_conf_listener *l, char **error)
{
    char host[VD_ENDPOINT_TEXT], port[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *all;
    struct vd_out out = vd_out_over(host, sizeof host);
    if (l->unix_path[0])
        return plan_unix(set, conf, l, error);
    if (vd_endpoint_is_name(&l->at))
        vd_endpoint_print_host(&out, &l->at);
    else
        vd_ip_print(&out, &l->at.ip);
    snprintf(port, sizeof port, "%u", l->at.port);
    int gai = getaddrinfo(vd_out_string(&out), port, &hints, &all);
    if (gai != 0)
        return complain(error, l, gai_strerror(gai));
    int result = plan_addresses(set, conf, l, all, error);
    freeaddrinfo(all);
    return result;
}

/* The addresses behind one name share what was read. */
static int plan_tls(struct listen_set *set, size_t i, char **error)
{
    struct listen_at *at = &set->at[i];
    char *why = NULL;
    if (at->conf->tls_only && !at->conf->cert)
        return complain(error, at->conf,
                        "no certificate; give --tls-cert FILE and --tls-key FILE, or `cert` and "
                        "`key` in a configuration file");
    if (!at->conf->cert)
        return 0;
    if (i > 0 && set->at[i - 1].conf == at->conf) {
        at->tls = set->at[i - 1].tls;
        SSL_CTX_up_ref(at->tls);
        return 0;
    }
    at->tls = tls_context_of_listener(at->conf, &why, &at->warning);
    if (at->tls)
        return 0;
    complain(error, at->conf, why ? why : strerror(ENOMEM));
    free(why);
    return -1;
}

static int plan_all_tls(struct listen_set *set, char **error)
{
    for (size_t i = 0; i < set->count; i++)
        if (plan_tls(set, i, error) != 0)
            return -1;
    return 0;
}

int listen_plan(struct listen_set *set, const struct vd_conf_daemon *conf, unsigned workers,
                char **error)
{
    *set = (struct listen_set){.workers = workers};
    for (size_t i = 0; i < conf->listen_count; i++) {
        if (plan(set, conf, &conf->listens[i], error) != 0) {
            listen_free(set);
            return -1;
        }
    }
    if (conf->admin && plan(set, conf, conf->admin, error) != 0) {
        listen_free(set);
        return -1;
    }
    if (plan_all_tls(set, error) == 0)
        return 0;
    listen_free(set);
    return -1;
}

void listen_free(struct listen_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        free(set->at[i].fds);
        free(set->at[i].warning);
        SSL_CTX_free(set->at[i].tls);
    }
    free(set->at);
    *set = (struct listen_set){0};
}
