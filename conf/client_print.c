#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "conf/client.h"
#include "conf/value.h"
#include "proto/bytes.h"

/* A text in double quotes, as libconfuse reads it back. */
static void print_quoted(FILE *to, const char *text)
{
    putc('"', to);
    for (; *text; text++) {
        if (strchr("\"\\$", *text))
            putc('\\', to);
        putc(*text, to);
    }
    putc('"', to);
}

static void print_seconds(FILE *to, uint32_t ms)
{
    fprintf(to, "%" PRIu32, ms / 1000);
    if (ms % 1000)
        fprintf(to, ".%03" PRIu32, ms % 1000);
}

/* vd_url_print leaves the password away; stars stand in for it, so that the login is seen to have
 * one. */
static void print_hop(FILE *to, const struct vd_hop *hop)
{
    char text[VD_URL_TEXT], masked[VD_URL_TEXT + VD_URL_OPTIONS_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);

    vd_url_print(&out, hop);
    const char *host = strrchr(vd_out_string(&out), '@');
    if (host && hop->password_len > 0)
        snprintf(masked, sizeof masked, "%.*s:***%s", (int)(host - text), text, host);
    else
        snprintf(masked, sizeof masked, "%s", text);
    struct vd_out options = vd_out_over(text, sizeof text);
    vd_url_print_options(&options, hop);
    size_t len = strlen(masked);
    snprintf(masked + len, sizeof masked - len, "%s", vd_out_string(&options));
    print_quoted(to, masked);
}

bool vd_conf_has_addresses(const struct vd_hop *hop)
{
    return vd_endpoint_is_name(&hop->at) && hop->addr_count > 0;
}

void vd_conf_print_addresses(FILE *to, const struct vd_hop *hop)
{
    fputs(" addresses = {", to);
    for (unsigned i = 0; i < hop->addr_count; i++) {
        char text[VD_ENDPOINT_TEXT];
        struct vd_out out = vd_out_over(text, sizeof text);

        vd_ip_print(&out, &hop->addrs[i]);
        fprintf(to, "%s\"%s\"", i ? ", " : "", vd_out_string(&out));
    }
    putc('}', to);
}

/* Hops whose addresses were given are proxies with names, `number` being their chain's. */
static void print_proxies(FILE *to, const struct vd_conf_chain *chain, size_t number)
{
    for (size_t i = 0; i < chain->hop_count; i++) {
        if (!vd_conf_has_addresses(&chain->hops[i]))
            continue;
        fprintf(to, "proxy hop%zu_%zu {\n    url = ", number, i + 1);
        print_hop(to, &chain->hops[i]);
        fputs("\n   ", to);
        vd_conf_print_addresses(to, &chain->hops[i]);
        fputs("\n}\n", to);
    }
}

static void print_chain(FILE *to, const struct vd_conf_chain *chain, size_t number)
{
    print_proxies(to, chain, number);
    fputs("chain ", to);
    print_quoted(to, chain->title);
    fputs(" {\n    hops = {", to);
    for (size_t i = 0; i < chain->hop_count; i++) {
        fputs(i ? ",\n            " : "", to);
        if (vd_conf_has_addresses(&chain->hops[i]))
            fprintf(to, "hop%zu_%zu", number, i + 1);
        else
            print_hop(to, &chain->hops[i]);
    }
    fprintf(to, "}\n    mode = \"%s\"\n", vd_conf_modes[chain->mode]);
    if (chain->pick)
        fprintf(to, "    pick = %u\n", chain->pick);
    fputs("}\n", to);
}

static void print_patterns(FILE *to, const struct vd_pattern *patterns, size_t count)
{
    putc('{', to);
    for (size_t i = 0; i < count; i++) {
        char text[VD_ENDPOINT_TEXT + 8];
        struct vd_out out = vd_out_over(text, sizeof text);
        vd_pattern_print(&out, &patterns[i]);
        fputs(i ? ", " : "", to);
        print_quoted(to, vd_out_string(&out));
    }
    fputs("}\n", to);
}

static void print_rule(FILE *to, const struct vd_conf_rule *rule)
{
    fputs("rule ", to);
    print_quoted(to, rule->title);
    fputs(" {\n    match = ", to);
    print_patterns(to, rule->match, rule->match_count);
    if (rule->action == VD_RULE_CHAIN) {
        fputs("    chain = ", to);
        print_quoted(to, rule->chain);
        putc('\n', to);
    } else {
        fprintf(to, "    action = \"%s\"\n", rule->action == VD_RULE_DIRECT ? "direct" : "refuse");
    }
    if (rule->listen)
        fprintf(to, "    listen = \"%s\"\n", vd_conf_listen_modes[rule->listen - VD_LISTEN_AUTO]);
    fputs("}\n", to);
}

static void print_servers(FILE *to, const struct vd_endpoint *servers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char text[VD_ENDPOINT_TEXT];
        struct vd_out out = vd_out_over(text, sizeof text);

        vd_endpoint_print(&out, &servers[i]);
        fputs(i ? ", " : "nameservers = {", to);
        print_quoted(to, vd_out_string(&out));
    }
    fputs(count ? "}\n" : "", to);
}

void vd_conf_client_print(FILE *to, const struct vd_conf_client *c)
{
    for (size_t i = 0; i < c->chain_count; i++)
        print_chain(to, &c->chains[i], i + 1);
    for (size_t i = 0; i < c->rule_count; i++)
        print_rule(to, &c->rules[i]);
    if (c->has_bypass) {
        fputs("bypass = ", to);
        print_patterns(to, c->bypass, c->bypass_count);
    }
    fprintf(to, "dns = \"%s\"\nudp = \"%s\"\nlisten = \"%s\"\n", vd_conf_dns_modes[c->dns],
            vd_conf_udp_modes[c->udp], vd_conf_listen_modes[c->listen - VD_LISTEN_AUTO]);
    print_servers(to, c->nameservers, c->nameserver_count);
    if (c->isolate)
        fputs("isolate = true\n", to);
    if (c->timeout_ms) {
        fputs("timeout = ", to);
        print_seconds(to, c->timeout_ms);
        putc('\n', to);
    }
}
