/*
 * The configuration of a private viaductd, as viaductd.conf(5) has it.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/value.h"
#include "launcher/private_state.h"
#include "launcher/say.h"
#include "proto/bytes.h"

enum { LIVES_S = 86400 }; /* tunnels without data: as long as can be said */

/* Every byte that could mean something, in a URL or in quotes, as %XX. */
static void print_encoded(FILE *to, const char *data, size_t len)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/";

    for (size_t i = 0; i < len; i++)
        if (data[i] && strchr(plain, data[i]))
            putc(data[i], to);
        else
            fprintf(to, "%%%02X", (uint8_t)data[i]);
}

static void print_escaped(FILE *to, const char *text)
{
    for (; *text; text++) {
        if (strchr("\"\\$", *text))
            putc('\\', to);
        putc(*text, to);
    }
}

static void print_login(FILE *to, const struct vd_hop *hop)
{
    if (!hop->has_login)
        return;
    print_encoded(to, hop->user, hop->user_len);
    if (hop->password_len > 0) {
        putc(':', to);
        print_encoded(to, hop->password, hop->password_len);
    }
    putc('@', to);
}

static void print_place(FILE *to, const struct vd_hop *hop)
{
    char text[VD_ENDPOINT_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);

    if (hop->unix_len > 0) {
        fputs("unix:", to);
        print_encoded(to, hop->unix_path, hop->unix_len);
        return;
    }
    vd_endpoint_print(&out, &hop->at);
    print_escaped(to, vd_out_string(&out));
}

static void print_options(FILE *to, const struct vd_hop *hop)
{
    char text[VD_URL_OPTIONS_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);

    vd_url_print_options(&out, hop);
    print_escaped(to, vd_out_string(&out));
}

/* The daemon has another working directory. */
static void make_absolute(struct vd_hop *hop)
{
    char dir[PATH_MAX], path[PATH_MAX + VD_CA_MAX + 2];

    if (!hop->ca[0] || hop->ca[0] == '/')
        return;
    if (!getcwd(dir, sizeof dir))
        say_die(EXIT_OWN, "ca=%s: the working directory: %s", hop->ca, strerror(errno));
    if (snprintf(path, sizeof path, "%s/%s", dir, hop->ca) > VD_CA_MAX)
        say_die(EXIT_OWN, "ca=%s: too long; allowed: an absolute path of up to %d bytes", hop->ca,
                VD_CA_MAX);
    memcpy(hop->ca, path, strlen(path) + 1);
}

static void print_hop(FILE *to, const struct vd_hop *given, size_t number)
{
    struct vd_hop copy = *given, *hop = &copy;

    make_absolute(hop);
    fprintf(to, "proxy h%zu { url = \"%s://", number, vd_scheme_name((enum vd_scheme)hop->scheme));
    print_login(to, hop);
    print_place(to, hop);
    print_options(to, hop);
    putc('"', to);
    if (vd_conf_has_addresses(hop)) /* the launcher's: the daemon asks nobody else */
        vd_conf_print_addresses(to, hop);
    fputs(" }\n", to);
}

static void print_upstream(FILE *to, const struct vd_conf_chain *chain, size_t count)
{
    fputs("upstream { hops = {", to);
    for (size_t i = 0; i < count; i++)
        fprintf(to, "%sh%zu", i ? ", " : "", i + 1);
    fprintf(to, "} mode = \"%s\"", vd_conf_modes[chain->mode]);
    if (chain->pick)
        fprintf(to, " pick = %u", chain->pick);
    fputs(" }\n", to);
}

static void print_names(FILE *to, const struct vd_conf_client *conf)
{
    fputs("dns = \"chain\"\n", to);
    for (size_t i = 0; i < conf->nameserver_count; i++) {
        char text[VD_ENDPOINT_TEXT];
        struct vd_out out = vd_out_over(text, sizeof text);

        vd_endpoint_print(&out, &conf->nameservers[i]);
        fprintf(to, "%s\"%s\"", i ? ", " : "nameservers = {", vd_out_string(&out));
    }
    fputs(conf->nameserver_count ? "}\n" : "", to);
}

char *private_conf(const struct vd_conf_chain *chain, const struct vd_hop *hops, size_t count,
                   const struct vd_conf_client *conf, const char *login)
{
    char *text = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&text, &len);

    if (!to)
        return NULL;
    fprintf(to, "logins = {\"%s\"}\nexplain = true\nworkers = 1\n", login);
    fprintf(to, "timeouts { handshake = 60 connect = %" PRIu32 ".%03" PRIu32,
            conf->timeout_ms / 1000, conf->timeout_ms % 1000);
    fprintf(to, " idle = %d udp = %d half_closed = %d drain = 1 }\n", LIVES_S, LIVES_S, LIVES_S);
    for (size_t i = 0; i < count; i++)
        print_hop(to, &hops[i], i + 1);
    print_upstream(to, chain, count);
    if (conf->dns == VD_DNS_CHAIN)
        print_names(to, conf);
    return fclose(to) == 0 ? text : NULL;
}
