#include "daemon/print.h"

#include <string.h>

#include "conf/value.h"
#include "proto/shake.h"

static const char *const kinds[] = {
    [VD_LISTEN_MIXED] = "mixed",   [VD_LISTEN_SOCKS] = "socks",
    [VD_LISTEN_HTTP] = "http",     [VD_LISTEN_REDIRECT] = "redirect",
    [VD_LISTEN_TPROXY] = "tproxy", [VD_LISTEN_FORWARD] = "forward"};
static const char *const modes[] = {[VD_MODE_STRICT] = "strict",
                                    [VD_MODE_DYNAMIC] = "dynamic",
                                    [VD_MODE_RANDOM] = "random",
                                    [VD_MODE_ROUND_ROBIN] = "round_robin",
                                    [VD_MODE_FAILOVER] = "failover"};

static const char *const lines[] = {
    [VD_PROXYLINE_NONE] = "none", [VD_PROXYLINE_V1] = "v1", [VD_PROXYLINE_V2] = "v2"};
static const char *const filters[] = {
    [VD_UDP_HOST] = "host", [VD_UDP_PORT] = "port", [VD_UDP_ANY] = "any"};

/* A string as libconfuse reads it back. */
static void quoted(FILE *to, const char *text, size_t len)
{
    fputc('"', to);
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"' || text[i] == '\\' || text[i] == '$')
            fputc('\\', to);
        fputc(text[i], to);
    }
    fputc('"', to);
}

static void print_targets(FILE *to, const struct vd_conf_listener *l)
{
    static const char *const balances[] = {[VD_BALANCE_ROUNDROBIN] = "roundrobin",
                                           [VD_BALANCE_LEASTCONN] = "leastconn",
                                           [VD_BALANCE_SOURCE] = "source"};
    char text[VD_ENDPOINT_TEXT + VD_UNIX_PATH_MAX];
    fputs(" targets = {", to);
    for (size_t i = 0; i < l->target_count; i++) {
        struct vd_out out = vd_out_over(text, sizeof text);
        if (l->targets[i].unix_path[0]) {
            vd_out_text(&out, "unix:");
            vd_out_text(&out, l->targets[i].unix_path);
        } else {
            vd_endpoint_print(&out, &l->targets[i].at);
        }
        fputs(i > 0 ? ", " : "", to);
        quoted(to, text, out.len);
    }
    fprintf(to, "} balance = \"%s\" send_proxy = \"%s\"", balances[l->balance],
            lines[l->send_line]);
    if (l->check_ms > 0)
        fprintf(to, " check = %u.%03u", l->check_ms / 1000, l->check_ms % 1000);
    fprintf(to, " rise = %u fall = %u", l->rise, l->fall);
}

static void print_path(FILE *to, const char *key, const char *path)
{
    if (!path)
        return;
    fprintf(to, " %s = ", key);
    quoted(to, path, strlen(path));
}

static void print_public(FILE *to, const struct vd_conf_listener *l)
{
    const char *comma = " public = {";
    for (unsigned i = 0; i < 2; i++) {
        char text[VD_ENDPOINT_TEXT];
        struct vd_out out = vd_out_over(text, sizeof text);
        if (!l->public[i].family)
            continue;
        vd_ip_print(&out, &l->public[i]);
        fputs(comma, to);
        quoted(to, text, out.len);
        comma = ", ";
    }
    fputs(l->public[0].family || l->public[1].family ? "}" : "", to);
}

static void print_listen(FILE *to, const struct vd_conf_listener *l, size_t number)
{
    char text[VD_ENDPOINT_TEXT + VD_UNIX_PATH_MAX];
    struct vd_out out = vd_out_over(text, sizeof text);
    vd_out_text(&out, l->tls_only ? "https" : kinds[l->kind]);
    vd_out_text(&out, l->unix_path[0] ? "://unix:" : "://");
    if (l->unix_path[0])
        vd_out_text(&out, l->unix_path);
    else
        vd_endpoint_print(&out, &l->at);
    fprintf(to, "listen l%zu { url = ", number);
    quoted(to, text, out.len);
    if (l->unix_path[0])
        fprintf(to, " permissions = \"%04o\"", l->unix_mode);
    if (l->proxy_line)
        fputs(" proxy_protocol = true", to);
    if (l->no_udp)
        fputs(" udp = false", to);
    print_public(to, l);
    print_path(to, "cert", l->cert);
    print_path(to, "key", l->key);
    print_path(to, "client_ca", l->client_ca);
    if (l->kind == VD_LISTEN_FORWARD)
        print_targets(to, l);
    fputs(" }\n", to);
}

static void print_users(FILE *to, const struct vd_conf_daemon *c)
{
    for (size_t i = 0; i < c->user_count; i++)
        fprintf(to, "# user %s: %s\n", c->users[i].name,
                c->users[i].hash ? "by hash" : "by password");
}

static void print_patterns(FILE *to, const char *key, const struct vd_pattern *p, size_t count)
{
    char text[VD_ENDPOINT_TEXT];
    if (count == 0)
        return;
    fprintf(to, " %s = {", key);
    for (size_t i = 0; i < count; i++) {
        struct vd_out out = vd_out_over(text, sizeof text);
        vd_pattern_print(&out, &p[i]);
        fputs(i > 0 ? ", " : "", to);
        quoted(to, text, out.len);
    }
    fputs("} ", to);
}

static void print_names(FILE *to, const char *key, char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i == 0)
            fprintf(to, " %s = {", key);
        fputs(i > 0 ? ", " : "", to);
        quoted(to, names[i], strlen(names[i]));
    }
    fputs(count > 0 ? "}" : "", to);
}

static void print_commands(FILE *to, unsigned commands)
{
    static const char *const names[] = {
        [VD_CONNECT] = "connect", [VD_BIND] = "bind", [VD_ASSOCIATE] = "associate"};
    const char *comma = "";
    if (commands == 0)
        return;
    fputs(" commands = {", to);
    for (unsigned i = VD_CONNECT; i <= VD_ASSOCIATE; i++) {
        if (!(commands & 1u << i))
            continue;
        fprintf(to, "%s\"%s\"", comma, names[i]);
        comma = ", ";
    }
    fputs("} ", to);
}

/* Each option with `before` and `after` around it. */
static void print_egress(FILE *to, const struct vd_conf_egress *egress, const char *before,
                         const char *after)
{
    char text[VD_ENDPOINT_TEXT];
    const char *comma = "source = {";
    if (egress->family != VD_FAMILY_UNSAID)
        fprintf(to, "%sfamily = \"%s\"%s", before,
                vd_conf_families[egress->family - VD_PREFER_IPV6], after);
    if (!vd_conf_egress_has_source(egress))
        return;
    fputs(before, to);
    for (unsigned i = 0; i < 3; i++) {
        struct vd_out out = vd_out_over(text, sizeof text);
        if (i == 2 && egress->device[0]) {
            vd_out_u8(&out, '%');
            vd_out_text(&out, egress->device);
        } else if (i < 2 && egress->source[i].family) {
            vd_ip_print(&out, &egress->source[i]);
        }
        if (out.len == 0)
            continue;
        fputs(comma, to);
        quoted(to, text, out.len);
        comma = ", ";
    }
    fprintf(to, "}%s", after);
}

static void print_access(FILE *to, const struct vd_conf_daemon *c)
{
    for (size_t i = 0; i < c->access_count; i++) {
        const struct vd_conf_access *rule = &c->access[i];
        fprintf(to, "%s r%zu {", rule->verdict == VD_ALLOW ? "allow" : "deny", i + 1);
        print_patterns(to, "from", rule->from, rule->from_count);
        print_patterns(to, "to", rule->to, rule->to_count);
        print_commands(to, rule->commands);
        print_names(to, "users", rule->users, rule->user_count);
        if (rule->upstream) {
            fputs(" upstream = ", to);
            quoted(to, rule->upstream, strlen(rule->upstream));
        }
        print_egress(to, &rule->egress, " ", "");
        fputs(" }\n", to);
    }
}

static void print_limits(FILE *to, const struct vd_conf_daemon *c)
{
    static const char *const pers[] = {[VD_PER_CLIENT] = "client",
                                       [VD_PER_USER] = "user",
                                       [VD_PER_SESSION] = "session",
                                       [VD_PER_ALL] = "all"};
    for (size_t i = 0; i < c->limit_count; i++) {
        const struct vd_conf_limit *limit = &c->limits[i];
        fprintf(to, "limit l%zu { per = \"%s\"", i + 1, pers[limit->per]);
        if (limit->sessions)
            fprintf(to, " sessions = %u", limit->sessions);
        if (limit->fresh)
            fprintf(to, " new = \"%u/%s\"", limit->fresh,
                    limit->fresh_ms == 1000    ? "s"
                    : limit->fresh_ms == 60000 ? "min"
                                               : "h");
        if (limit->rate)
            fprintf(to, " rate = \"%llu\"", (unsigned long long)limit->rate);
        print_patterns(to, "from", limit->who.from, limit->who.from_count);
        print_names(to, "users", limit->who.users, limit->who.user_count);
        fputs(" }\n", to);
    }
}

static void print_seconds(FILE *to, const char *key, uint32_t ms)
{
    fprintf(to, " %s = %u.%03u", key, ms / 1000, ms % 1000);
}

static void print_admin(FILE *to, const struct vd_conf_daemon *c)
{
    char text[VD_ENDPOINT_TEXT + VD_UNIX_PATH_MAX];
    struct vd_out out = vd_out_over(text, sizeof text);
    vd_out_text(&out, c->admin->unix_path[0] ? "unix:" : "");
    if (c->admin->unix_path[0])
        vd_out_text(&out, c->admin->unix_path);
    else
        vd_endpoint_print(&out, &c->admin->at);
    fputs("admin = ", to);
    quoted(to, text, out.len);
    fputs("\n", to);
    if (c->admin_login)
        fprintf(to, "# admin_login of %.*s: by hash\n", (int)strcspn(c->admin_login, ":"),
                c->admin_login);
}

static void print_url(FILE *to, const struct vd_hop *hop)
{
    char text[VD_URL_TEXT + VD_URL_OPTIONS_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);
    vd_url_print(&out, hop);
    vd_url_print_options(&out, hop);
    quoted(to, text, out.len);
}

/* Hops with addresses beside their names, `number` being their upstream's. */
static void print_proxies(FILE *to, const struct vd_conf_chain *up, size_t number)
{
    for (size_t i = 0; i < up->hop_count; i++) {
        if (!vd_conf_has_addresses(&up->hops[i]))
            continue;
        fprintf(to, "proxy hop%zu_%zu { url = ", number, i + 1);
        print_url(to, &up->hops[i]);
        vd_conf_print_addresses(to, &up->hops[i]);
        fputs(" }\n", to);
    }
}

static void print_hops(FILE *to, const struct vd_conf_chain *up, size_t number)
{
    fputs(" { hops = {", to);
    for (size_t i = 0; i < up->hop_count; i++) {
        fputs(i > 0 ? ", " : "", to);
        if (vd_conf_has_addresses(&up->hops[i]))
            fprintf(to, "hop%zu_%zu", number, i + 1);
        else
            print_url(to, &up->hops[i]);
    }
    fprintf(to, "}  mode = \"%s\"", modes[up->mode]);
    if (up->pick > 0)
        fprintf(to, "  pick = %u", up->pick);
}

static void print_check(FILE *to, const struct vd_conf_upstream *up)
{
    char text[VD_ENDPOINT_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);
    print_seconds(to, " check", up->check_ms);
    fprintf(to, "  rise = %u  fall = %u", up->rise, up->fall);
    if (!up->has_check_target)
        return;
    vd_endpoint_print(&out, &up->check_target);
    fputs("  check_target = ", to);
    quoted(to, text, out.len);
}

static void print_upstream(FILE *to, const struct vd_conf_upstream *up, size_t number)
{
    print_proxies(to, &up->chain, number);
    fputs("upstream ", to);
    quoted(to, up->chain.title, strlen(up->chain.title));
    print_hops(to, &up->chain, number);
    if (up->line != VD_PROXYLINE_NONE)
        fprintf(to, "  proxy_protocol = \"%s\"", lines[up->line]);
    if (up->fallback) {
        fputs("  fallback = ", to);
        quoted(to, up->fallback, strlen(up->fallback));
    }
    if (up->check_ms > 0)
        print_check(to, up);
    print_egress(to, &up->egress, "  ", "");
    fputs(" }    # passwords are not shown\n", to);
}

static void print_resolver(FILE *to, const struct vd_conf_daemon *c)
{
    char text[VD_ENDPOINT_TEXT];
    fprintf(to, "resolver = \"%s\"\n", c->resolver_system ? "system" : "cares");
    fprintf(to, "dns = \"%s\"\n", c->dns_chain ? "chain" : "auto");
    for (size_t i = 0; i < c->nameserver_count; i++) {
        struct vd_out out = vd_out_over(text, sizeof text);
        vd_endpoint_print(&out, &c->nameservers[i]);
        fputs(i > 0 ? ", " : "nameservers = {", to);
        quoted(to, text, out.len);
    }
    fputs(c->nameserver_count > 0 ? "}\n" : "", to);
    if (c->explain)
        fputs("explain = true\n", to);
}

int print_config(FILE *to, const struct vd_conf_daemon *c)
{
    for (size_t i = 0; i < c->listen_count; i++)
        print_listen(to, &c->listens[i], i + 1);
    print_users(to, c);
    print_access(to, c);
    print_limits(to, c);
    for (size_t i = 0; i < c->upstream_count; i++)
        print_upstream(to, &c->upstreams[i], i + 1);
    fputs("timeouts {", to);
    print_seconds(to, "handshake", c->handshake_ms);
    print_seconds(to, "connect", c->connect_ms);
    print_seconds(to, "bind", c->bind_ms);
    print_seconds(to, "idle", c->idle_ms);
    print_seconds(to, "udp", c->udp_idle_ms);
    print_seconds(to, "half_closed", c->half_closed_ms);
    print_seconds(to, "drain", c->drain_ms);
    fprintf(to, " }\nworkers = %u\n", c->workers);
    if (c->sessions_max > 0)
        fprintf(to, "sessions = %u\n", c->sessions_max);
    if (c->handshakes_max > 0)
        fprintf(to, "handshakes = %u\n", c->handshakes_max);
    if (c->admin)
        print_admin(to, c);
    if (c->run_as) {
        fputs("user = ", to);
        quoted(to, c->run_as, strlen(c->run_as));
        fputs("\n", to);
    }
    if (c->mark > 0)
        fprintf(to, "mark = %u\n", c->mark);
    print_egress(to, &c->egress, "", "\n");
    print_resolver(to, c);
    fprintf(to, "udp_filter = \"%s\"\n", filters[c->udp_filter]);
    fprintf(to, "log_format = \"%s\"\n", c->log_json ? "json" : "text");
    return fflush(to) == 0 && !ferror(to) ? 0 : -1;
}
