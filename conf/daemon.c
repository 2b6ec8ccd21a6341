#include "conf/daemon.h"

#include <stdlib.h>
#include <string.h>

#include "conf/daemon_egress.h"
#include "conf/daemon_upstream.h"
#include "conf/file.h"
#include "conf/value.h"

static cfg_opt_t listen_options[] = {
    VD_CONF_WORD("url"),        VD_CONF_WORD("proxy_protocol"), VD_CONF_WORD("permissions"),
    VD_CONF_WORD("udp"),        VD_CONF_WORDS("targets"),       VD_CONF_WORD("balance"),
    VD_CONF_WORD("send_proxy"), VD_CONF_WORD("check"),          VD_CONF_WORD("rise"),
    VD_CONF_WORD("fall"),       VD_CONF_WORD("cert"),           VD_CONF_WORD("key"),
    VD_CONF_WORD("client_ca"),  VD_CONF_WORDS("public"),        CFG_END()};
static cfg_opt_t access_options[] = {VD_CONF_WORDS("from"),     VD_CONF_WORDS("to"),
                                     VD_CONF_WORDS("commands"), VD_CONF_WORDS("users"),
                                     VD_CONF_WORD("upstream"),  VD_CONF_WORDS("source"),
                                     VD_CONF_WORD("family"),    CFG_END()};
static cfg_opt_t limit_options[] = {VD_CONF_WORDS("from"),
                                    VD_CONF_WORDS("users"),
                                    VD_CONF_WORD("per"),
                                    VD_CONF_WORD("sessions"),
                                    VD_CONF_WORD("new"),
                                    VD_CONF_WORD("rate"),
                                    CFG_END()};
static cfg_opt_t timeouts_options[] = {VD_CONF_WORD("handshake"), VD_CONF_WORD("connect"),
                                       VD_CONF_WORD("bind"),      VD_CONF_WORD("idle"),
                                       VD_CONF_WORD("udp"),       VD_CONF_WORD("half_closed"),
                                       VD_CONF_WORD("drain"),     CFG_END()};
static cfg_opt_t options[] = {VD_CONF_TITLED("listen", listen_options),
                              VD_CONF_TITLED("proxy", vd_conf_proxy_options),
                              VD_CONF_TITLED("allow", access_options),
                              VD_CONF_TITLED("deny", access_options),
                              VD_CONF_TITLED("limit", limit_options),
                              VD_CONF_TITLED("upstream", vd_conf_upstream_options),
                              VD_CONF_PLAIN("timeouts", timeouts_options),
                              VD_CONF_WORD("users"),
                              VD_CONF_WORDS("logins"),
                              VD_CONF_WORD("explain"),
                              VD_CONF_WORD("dns"),
                              VD_CONF_WORD("resolver"),
                              VD_CONF_WORDS("nameservers"),
                              VD_CONF_WORD("workers"),
                              VD_CONF_WORD("sessions"),
                              VD_CONF_WORD("handshakes"),
                              VD_CONF_WORD("admin"),
                              VD_CONF_WORD("admin_login"),
                              VD_CONF_WORD("log_format"),
                              VD_CONF_WORD("udp_filter"),
                              VD_CONF_WORD("mark"),
                              VD_CONF_WORDS("source"),
                              VD_CONF_WORD("family"),
                              VD_CONF_WORD("user"),
                              CFG_END()};

static const char *const later[] = {NULL};

void vd_conf_daemon_init(struct vd_conf_daemon *c)
{
    *c = (struct vd_conf_daemon){
        .handshake_ms = 10 * 1000,
        .connect_ms = 30 * 1000,
        .bind_ms = 120 * 1000,
        .idle_ms = 3600 * 1000,
        .udp_idle_ms = 120 * 1000,
        .half_closed_ms = 300 * 1000,
        .drain_ms = 30 * 1000,
    };
}

static int needs(struct vd_conf_file *f, const struct vd_conf_section *section, const char *what,
                 const char *allowed)
{
    char *error = NULL;
    const char *title = section->cfg->title ? section->cfg->title : "";

    vd_conf_wrong(&error, "%s `%s` has no %s; allowed: %s", section->cfg->name, title, what,
                  allowed);
    return vd_conf_file_wrong(f, section->line, error);
}

/* --- sections -------------------------------------------------------------------------------- */

static const char *const versions[] = {"none", "v1", "v2", NULL};

static int read_targets(struct vd_conf_listener *listen, struct vd_conf_file *f, cfg_t *cfg)
{
    for (unsigned i = 0; i < cfg_size(cfg, "targets"); i++) {
        const struct vd_conf_word *word = vd_conf_file_get(cfg, "targets", i);
        char *error = NULL;
        if (vd_conf_listener_add_target(listen, word->text, &error) < 0)
            return vd_conf_file_wrong(f, word->line, error);
    }
    return 0;
}

/* What has no meaning for this kind of listener is a mistake. */
static int refuse_others(const struct vd_conf_listener *listen, struct vd_conf_file *f,
                         const struct vd_conf_section *section)
{
    static const char *const names[] = {"targets", "balance", "send_proxy",
                                        "check",   "rise",    "fall"};
    char *error = NULL;

    if (listen->kind >= VD_LISTEN_REDIRECT && vd_conf_file_has(section->cfg, "public")) {
        vd_conf_wrong(&error, "`public` in listen `%s`; allowed: where SOCKS is spoken",
                      section->cfg->title);
        return vd_conf_file_wrong(f, section->line, error);
    }
    if (listen->kind == VD_LISTEN_FORWARD && listen->target_count == 0)
        return needs(f, section, "targets", "targets = {\"HOST:PORT\", \"unix:/PATH\"}");
    for (size_t i = 0; listen->kind != VD_LISTEN_FORWARD && i < sizeof names / sizeof *names; i++)
        if (vd_conf_file_has(section->cfg, names[i])) {
            vd_conf_wrong(&error, "`%s` in listen `%s`; allowed: with forward:// only", names[i],
                          section->cfg->title);
            return vd_conf_file_wrong(f, section->line, error);
        }
    if (!listen->unix_path[0] && vd_conf_file_has(section->cfg, "permissions")) {
        vd_conf_wrong(&error, "`permissions` in listen `%s`; allowed: with unix:/PATH only",
                      section->cfg->title);
        return vd_conf_file_wrong(f, section->line, error);
    }
    if (listen->kind != VD_LISTEN_TPROXY && vd_conf_file_has(section->cfg, "udp")) {
        vd_conf_wrong(&error, "`udp` in listen `%s`; allowed: with tproxy:// only",
                      section->cfg->title);
        return vd_conf_file_wrong(f, section->line, error);
    }
    return 0;
}

static int wrong_tls(struct vd_conf_file *f, const struct vd_conf_section *section,
                     const char *name, const char *allowed)
{
    char *error = NULL;

    vd_conf_wrong(&error, "`%s` in listen `%s`; allowed: %s", name, section->cfg->title, allowed);
    return vd_conf_file_wrong(f, section->line, error);
}

/* An empty path is nobody's. */
static int read_path(struct vd_conf_file *f, cfg_t *cfg, const char *name, char **path)
{
    const struct vd_conf_word *word = vd_conf_file_get(cfg, name, 0);
    char *error = NULL;

    if (!word)
        return 0;
    if (!word->text[0]) {
        vd_conf_wrong(&error, "empty %s; allowed: the path of a file in PEM", name);
        return vd_conf_file_wrong(f, word->line, error);
    }
    *path = strdup(word->text);
    return *path ? 0 : vd_conf_file_wrong(f, word->line, NULL);
}

static int read_tls(struct vd_conf_listener *listen, struct vd_conf_file *f,
                    const struct vd_conf_section *section)
{
    static const char *const names[] = {"cert", "key", "client_ca"};
    char **paths[] = {&listen->cert, &listen->key, &listen->client_ca};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (read_path(f, section->cfg, names[i], paths[i]) < 0)
            return -1;
        if (*paths[i] && !vd_conf_listener_may_tls(listen))
            return wrong_tls(f, section, names[i],
                             "with https://, mixed://, socks:// and http:// only");
        if (*paths[i] && !listen->cert)
            return wrong_tls(f, section, names[i], "beside `cert` only");
    }
    if (listen->tls_only && !listen->cert)
        return needs(f, section, "cert", "cert = \"FILE\", key = \"FILE\"");
    return 0;
}

static int read_permissions(struct vd_conf_listener *listen, struct vd_conf_file *f, cfg_t *cfg)
{
    const struct vd_conf_word *word = vd_conf_file_get(cfg, "permissions", 0);
    char *error = NULL, *end;

    if (!word)
        return 0;
    unsigned long mode = strtoul(word->text, &end, 8);
    if (*end || !strchr("01234567", word->text[0]) || mode == 0 || mode > 0777) {
        vd_conf_wrong(&error, "bad permissions `%s`; allowed: octal, as in \"0660\"", word->text);
        return vd_conf_file_wrong(f, word->line, error);
    }
    listen->unix_mode = (uint32_t)mode;
    return 0;
}

static int read_public(struct vd_conf_listener *listen, struct vd_conf_file *f, cfg_t *cfg)
{
    char *error = NULL;

    for (unsigned i = 0; i < cfg_size(cfg, "public"); i++) {
        const struct vd_conf_word *word = vd_conf_file_get(cfg, "public", i);
        struct vd_ip ip = {.family = VD_NO_IP};
        bool ok = vd_ip_read(&ip, word->text, strlen(word->text)) &&
                  vd_ip_unmapped(&ip).family == ip.family &&
                  vd_ip_class(&ip) != VD_CLASS_UNSPECIFIED &&
                  vd_ip_class(&ip) != VD_CLASS_MULTICAST && vd_ip_class(&ip) != VD_CLASS_BROADCAST;
        if (ok && !listen->public[ip.family == VD_IPV6].family) {
            listen->public[ip.family == VD_IPV6] = ip;
            continue;
        }
        vd_conf_wrong(&error, "bad public `%s`; allowed: an IPv4 and an IPv6 address, one of each",
                      word->text);
        return vd_conf_file_wrong(f, word->line, error);
    }
    return 0;
}

static int read_listen_options(struct vd_conf_listener *listen, struct vd_conf_file *f,
                               const struct vd_conf_section *section)
{
    static const char *const balances[] = {"roundrobin", "leastconn", "source", NULL};
    cfg_t *cfg = section->cfg;
    int udp = !listen->no_udp, line = listen->proxy_line, balance = (int)listen->balance,
        sent = (int)listen->send_line;

    if (read_targets(listen, f, cfg) < 0 || refuse_others(listen, f, section) < 0 ||
        read_permissions(listen, f, cfg) < 0 || read_tls(listen, f, section) < 0 ||
        read_public(listen, f, cfg) < 0 ||
        vd_conf_file_choice(f, cfg, "proxy_protocol", vd_conf_switches, &line) < 0 ||
        vd_conf_file_choice(f, cfg, "udp", vd_conf_switches, &udp) < 0 ||
        vd_conf_file_choice(f, cfg, "balance", balances, &balance) < 0 ||
        vd_conf_file_choice(f, cfg, "send_proxy", versions, &sent) < 0 ||
        vd_conf_file_seconds(f, cfg, "check", &listen->check_ms) < 0 ||
        vd_conf_file_number(f, cfg, "rise", 1, 100, &listen->rise) < 0 ||
        vd_conf_file_number(f, cfg, "fall", 1, 100, &listen->fall) < 0)
        return -1;
    listen->proxy_line = line;
    listen->no_udp = !udp;
    listen->balance = (enum vd_balance)balance;
    listen->send_line = (enum vd_proxyline_version)sent;
    return 0;
}

static int read_listen(struct vd_conf_daemon *c, struct vd_conf_file *f,
                       const struct vd_conf_section *section)
{
    const struct vd_conf_word *url = vd_conf_file_get(section->cfg, "url", 0);
    char *error = NULL;

    if (!url)
        return needs(f, section, "url", "url = \"mixed://127.0.0.1:1080\"");
    if (vd_conf_daemon_add_listen(c, url->text, &error) < 0)
        return vd_conf_file_wrong(f, url->line, error);

    char *title = strdup(section->cfg->title);
    if (!title)
        return vd_conf_file_wrong(f, section->line, NULL);
    struct vd_conf_listener *listen = &c->listens[c->listen_count - 1];
    free(listen->title);
    listen->title = title;
    return read_listen_options(listen, f, section);
}

static int read_commands(struct vd_conf_file *f, cfg_t *cfg, struct vd_conf_access *access)
{
    for (unsigned i = 0; i < cfg_size(cfg, "commands"); i++) {
        const struct vd_conf_word *word = vd_conf_file_get(cfg, "commands", i);
        char *error = NULL;
        if (vd_conf_access_add_command(access, word->text, &error) < 0)
            return vd_conf_file_wrong(f, word->line, error);
    }
    return 0;
}

static int read_users(struct vd_conf_file *f, cfg_t *cfg, struct vd_conf_access *access)
{
    for (unsigned i = 0; i < cfg_size(cfg, "users"); i++) {
        const struct vd_conf_word *word = vd_conf_file_get(cfg, "users", i);
        char *error = NULL;
        if (vd_conf_access_add_user(access, word->text, &error) < 0)
            return vd_conf_file_wrong(f, word->line, error);
    }
    return 0;
}

/* A list that was given empty would match nothing, or everything: nobody can mean it. */
static int refuse_empty_lists(struct vd_conf_file *f, const struct vd_conf_section *section,
                              const char *const *lists, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool given = vd_conf_file_has(section->cfg, lists[i]);
        if (given && cfg_size(section->cfg, lists[i]) == 0) {
            char *error = NULL;
            vd_conf_wrong(&error,
                          "empty list `%s` in %s `%s`; allowed: one value or more, or no "
                          "`%s` at all",
                          lists[i], section->cfg->name, section->cfg->title, lists[i]);
            return vd_conf_file_wrong(f, section->line, error);
        }
    }
    return 0;
}

static int refuse_in_deny(struct vd_conf_file *f, const struct vd_conf_section *section)
{
    static const char *const names[] = {"source", "family"};
    bool denies = !strcmp(section->cfg->name, "deny");
    char *error = NULL;

    for (size_t i = 0; denies && i < sizeof names / sizeof *names; i++)
        if (vd_conf_file_has(section->cfg, names[i])) {
            vd_conf_wrong(&error, "`%s` in deny `%s`; allowed: in allow rules only", names[i],
                          section->cfg->title);
            return vd_conf_file_wrong(f, section->line, error);
        }
    return 0;
}

static int read_access(struct vd_conf_daemon *c, struct vd_conf_file *f,
                       const struct vd_conf_section *section)
{
    static const char *const lists[] = {"from", "users", "to", "commands"};
    cfg_t *cfg = section->cfg;
    enum vd_access verdict = strcmp(cfg->name, "allow") ? VD_DENY : VD_ALLOW;
    struct vd_conf_access *access = vd_conf_daemon_new_access(c, verdict, cfg->title);

    if (!access)
        return vd_conf_file_wrong(f, section->line, strdup("out of memory"));
    if (refuse_empty_lists(f, section, lists, 4) < 0 ||
        vd_conf_file_patterns(f, cfg, "from", &access->from, &access->from_count) < 0 ||
        vd_conf_file_patterns(f, cfg, "to", &access->to, &access->to_count) < 0 ||
        read_commands(f, cfg, access) < 0 || read_users(f, cfg, access) < 0)
        return -1;
    if (vd_conf_upstream_of_rule(f, cfg, access) < 0 || refuse_in_deny(f, section) < 0)
        return -1;
    return vd_conf_egress_read(f, cfg, section->line, &access->egress);
}

/* A list that was given empty is told by refuse_empty_lists. */
static int read_limit(struct vd_conf_daemon *c, struct vd_conf_file *f,
                      const struct vd_conf_section *section)
{
    static const char *const keys[] = {"from", "users", "per", "sessions", "new", "rate"};
    cfg_t *cfg = section->cfg;
    struct vd_conf_limit *limit = vd_conf_daemon_new_limit(c, cfg->title);
    char *error = NULL;

    if (!limit || refuse_empty_lists(f, section, keys, 2) < 0)
        return limit ? -1 : vd_conf_file_wrong(f, section->line, NULL);
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
        for (unsigned i = 0; i < cfg_size(cfg, keys[k]); i++) {
            const struct vd_conf_word *word = vd_conf_file_get(cfg, keys[k], i);
            if (vd_conf_limit_set(limit, keys[k], word->text, &error) < 0)
                return vd_conf_file_wrong(f, word->line, error);
        }
    if (vd_conf_limit_check(limit, &error) < 0)
        return vd_conf_file_wrong(f, section->line, error);
    return 0;
}

static int read_timeouts(struct vd_conf_daemon *c, struct vd_conf_file *f,
                         const struct vd_conf_section *section)
{
    const struct {
        const char *name;
        uint32_t *ms;
    } times[] = {{"handshake", &c->handshake_ms}, {"connect", &c->connect_ms},
                 {"bind", &c->bind_ms},           {"idle", &c->idle_ms},
                 {"udp", &c->udp_idle_ms},        {"half_closed", &c->half_closed_ms},
                 {"drain", &c->drain_ms}};

    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        if (vd_conf_file_seconds(f, section->cfg, times[i].name, times[i].ms) < 0)
            return -1;
    return 0;
}

static int ignore(struct vd_conf_daemon *c, struct vd_conf_file *f,
                  const struct vd_conf_section *section)
{
    (void)c, (void)f, (void)section;
    return 0;
}

static const struct {
    const char *kind;
    int (*read)(struct vd_conf_daemon *, struct vd_conf_file *, const struct vd_conf_section *);
} kinds[] = {{"listen", read_listen},
             {"allow", read_access},
             {"deny", read_access},
             {"limit", read_limit},
             {"upstream", vd_conf_upstream_read},
             {"timeouts", read_timeouts},
             {"proxy", ignore /* read where hops name them */}};

static int read_section(struct vd_conf_daemon *c, struct vd_conf_file *f,
                        const struct vd_conf_section *section)
{
    size_t i = 0;
    while (strcmp(kinds[i].kind, section->cfg->name))
        i++;
    return kinds[i].read(c, f, section);
}

/* --- the file -------------------------------------------------------------------------------- */

static int read_users_file(struct vd_conf_daemon *c, struct vd_conf_file *f)
{
    const struct vd_conf_word *users = vd_conf_file_get(f->root, "users", 0);
    char *error = NULL;

    if (users && vd_conf_daemon_add_users(c, users->text, &error) < 0)
        return vd_conf_file_wrong(f, users->line, error);
    return 0;
}

static int read_logins(struct vd_conf_daemon *c, struct vd_conf_file *f)
{
    for (unsigned i = 0; i < cfg_size(f->root, "logins"); i++) {
        const struct vd_conf_word *login = vd_conf_file_get(f->root, "logins", i);
        char *error = NULL;
        if (vd_conf_daemon_add_user(c, login->text, &error) < 0)
            return vd_conf_file_wrong(f, login->line, error);
    }
    return 0;
}

static int read_names(struct vd_conf_daemon *c, struct vd_conf_file *f)
{
    static const char *const resolvers[] = {"cares", "system", NULL};
    static const char *const modes[] = {"auto", "chain", NULL};
    int system = c->resolver_system, chain = c->dns_chain;

    if (vd_conf_file_choice(f, f->root, "resolver", resolvers, &system) < 0 ||
        vd_conf_file_choice(f, f->root, "dns", modes, &chain) < 0 ||
        vd_conf_file_servers(f, c->nameservers, &c->nameserver_count) < 0)
        return -1;
    c->resolver_system = system;
    c->dns_chain = chain;
    return 0;
}

static int read_user(struct vd_conf_daemon *c, struct vd_conf_file *f)
{
    const struct vd_conf_word *user = vd_conf_file_get(f->root, "user", 0);
    char *error = NULL;

    if (!user)
        return 0;
    if (!user->text[0]) {
        vd_conf_wrong(&error, "empty user; allowed: the name of a user of this machine");
        return vd_conf_file_wrong(f, user->line, error);
    }
    free(c->run_as);
    c->run_as = strdup(user->text);
    return c->run_as ? 0 : vd_conf_file_wrong(f, user->line, NULL);
}

static int read_admin(struct vd_conf_daemon *c, struct vd_conf_file *f)
{
    const struct vd_conf_word *place = vd_conf_file_get(f->root, "admin", 0);
    const struct vd_conf_word *login = vd_conf_file_get(f->root, "admin_login", 0);
    char *error = NULL;

    if (place && vd_conf_daemon_set_admin(c, place->text, &error) < 0)
        return vd_conf_file_wrong(f, place->line, error);
    if (login && vd_conf_daemon_set_admin_login(c, login->text, &error) < 0)
        return vd_conf_file_wrong(f, login->line, error);
    return 0;
}

static int read_options(struct vd_conf_daemon *c, struct vd_conf_file *f)
{
    int format = c->log_json, filter = (int)c->udp_filter, explain = c->explain;

    if (read_users_file(c, f) < 0 || read_logins(c, f) < 0 || read_names(c, f) < 0 ||
        read_user(c, f) < 0 || read_admin(c, f) < 0 ||
        vd_conf_egress_read(f, f->root, 1, &c->egress) < 0 ||
        vd_conf_file_choice(f, f->root, "explain", vd_conf_switches, &explain) < 0 ||
        vd_conf_file_number(f, f->root, "workers", 1, 1024, &c->workers) < 0 ||
        vd_conf_file_number(f, f->root, "sessions", 1, 10000000, &c->sessions_max) < 0 ||
        vd_conf_file_number(f, f->root, "handshakes", 1, 10000000, &c->handshakes_max) < 0 ||
        vd_conf_file_number(f, f->root, "mark", 1, UINT32_MAX, &c->mark) < 0 ||
        vd_conf_file_choice(f, f->root, "log_format", vd_conf_log_formats, &format) < 0 ||
        vd_conf_file_choice(f, f->root, "udp_filter", vd_conf_udp_filters, &filter) < 0)
        return -1;
    c->log_json = format;
    c->explain = explain;
    c->udp_filter = (enum vd_udp_filter)filter;
    return 0;
}

static int read_all(struct vd_conf_daemon *c, struct vd_conf_file *f, bool *passwords)
{
    if (vd_conf_file_proxies(f, passwords) < 0)
        return -1;
    for (size_t i = 0; i < f->section_count; i++)
        if (read_section(c, f, &f->sections[i]) < 0)
            return -1;
    *passwords |= vd_conf_upstream_passwords(c) || cfg_size(f->root, "logins") > 0;
    return vd_conf_upstream_check(c, f) < 0 ? -1 : read_options(c, f);
}

int vd_conf_daemon_read(struct vd_conf_daemon *c, const char *path, char **error, char **warning)
{
    struct vd_conf_file f;
    bool passwords = false;

    *error = *warning = NULL;
    int result = vd_conf_file_read(&f, path, options, later, "upstream");
    if (result == 0)
        result = read_all(c, &f, &passwords);
    if (result == 0)
        *warning = vd_conf_file_warning(&f, passwords);
    *error = f.error;
    vd_conf_file_close(&f);
    return result;
}

static void free_access(struct vd_conf_access *access)
{
    for (size_t i = 0; i < access->user_count; i++)
        free(access->users[i]);
    free(access->users);
    free(access->upstream);
    free(access->from);
    free(access->to);
    free(access->title);
}

void vd_conf_listener_free(struct vd_conf_listener *listen)
{
    free(listen->title);
    free(listen->targets);
    free(listen->cert);
    free(listen->key);
    free(listen->client_ca);
}

void vd_conf_daemon_free(struct vd_conf_daemon *c)
{
    for (size_t i = 0; i < c->listen_count; i++)
        vd_conf_listener_free(&c->listens[i]);
    for (size_t i = 0; i < c->user_count; i++) {
        free(c->users[i].name);
        free(c->users[i].password);
        free(c->users[i].hash);
    }
    for (size_t i = 0; i < c->access_count; i++)
        free_access(&c->access[i]);
    for (size_t i = 0; i < c->limit_count; i++)
        free_access(&c->limits[i].who);
    free(c->limits);
    if (c->admin)
        vd_conf_listener_free(c->admin);
    free(c->admin);
    free(c->admin_login);
    free(c->listens);
    free(c->users);
    free(c->access);
    for (size_t i = 0; i < c->upstream_count; i++)
        vd_conf_upstream_free(&c->upstreams[i]);
    free(c->upstreams);
    free(c->run_as);
    *c = (struct vd_conf_daemon){.listens = NULL};
}
