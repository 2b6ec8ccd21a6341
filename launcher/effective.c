#include "launcher/effective.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/value.h"
#include "launcher/isolate.h"
#include "launcher/say.h"
#include "proto/bytes.h"

enum { TIMEOUT_MS = 30 * 1000 };

/* The environment's variable, NULL also if it is empty. */
static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static void *need(void *memory)
{
    if (!memory)
        say_die(EXIT_OWN, "out of memory");
    return memory;
}

/* --- the file -------------------------------------------------------------------------------- */

/* The path if there is something; what cannot be looked at counts as there, so that it is an
 * error and not skipped. The caller's to keep. */
static const char *there(const char *dir, const char *file)
{
    char *path = NULL;

    if (!dir || asprintf(&path, "%s%s", dir, file) < 0)
        return NULL;
    if (access(path, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR))
        return path;
    free(path);
    return NULL;
}

static const char *search(const struct options *o)
{
    const char *home = variable("XDG_CONFIG_HOME");
    const char *path = o->config ? o->config : variable("VIADUCT_CONF");

    if (path)
        return path;
    if (home && *home == '/')
        path = there(home, "/viaduct/viaduct.conf");
    else
        path = there(variable("HOME"), "/.config/viaduct/viaduct.conf");
    return path ? path : there("/etc", "/viaduct/viaduct.conf");
}

static void read_file(struct effective *e, const struct options *o)
{
    char *error = NULL, *warning = NULL;

    e->path = search(o);
    if (!e->path)
        return;
    if (vd_conf_client_read(&e->conf, e->path, &error, &warning) < 0)
        say_die(EXIT_OWN, "%s%s", error ? error : "out of memory",
                access(e->path, R_OK) < 0 ? "; give another configuration with -f" : "");
    if (warning)
        say_warning("%s", warning);
    free(warning);
}

/* --- bypass ---------------------------------------------------------------------------------- */

static void add_bypass(struct vd_conf_client *c, const struct vd_pattern *pattern)
{
    c->bypass = need(reallocarray(c->bypass, c->bypass_count + 1, sizeof *c->bypass));
    c->bypass[c->bypass_count++] = *pattern;
}

static bool add_bypass_text(struct vd_conf_client *c, const char *text)
{
    const char *allowed;
    struct vd_pattern pattern;

    if (vd_pattern_read(&pattern, text, strlen(text), &allowed) < 0)
        return false;
    add_bypass(c, &pattern);
    return true;
}

static void merge_bypass(struct vd_conf_client *c, const struct options *o)
{
    if (o->clear_bypass)
        c->bypass_count = 0;
    else if (!c->has_bypass && !(add_bypass_text(c, "127.0.0.0/8") && add_bypass_text(c, "::1") &&
                                 add_bypass_text(c, "localhost")))
        abort();
    for (size_t i = 0; i < o->bypass_count; i++)
        add_bypass(c, &o->bypass[i]);
    c->has_bypass = true;
}

/* --- ALL_PROXY and NO_PROXY ------------------------------------------------------------------ */

static bool is_number(const char *text)
{
    return strspn(text, "0123456789.:/[]abcdefABCDEF") == strlen(text) && strpbrk(text, ".:") &&
           strchr("0123456789:[", text[0]);
}

/* As curl reads it: a name stands for its subdomains too, with or without a dot in front. */
static bool add_no_proxy_name(struct vd_conf_client *c, const char *name)
{
    char suffix[VD_NAME_MAX + 8];

    if (!strncmp(name, "*.", 2))
        return add_bypass_text(c, name);
    name += *name == '.';
    if (strchr(name, '*') || strlen(name) > VD_NAME_MAX)
        return false;
    snprintf(suffix, sizeof suffix, "*.%s", name);
    return add_bypass_text(c, name) && add_bypass_text(c, suffix);
}

static void add_no_proxy(struct vd_conf_client *c, const char *variable_name)
{
    const char *value = variable(variable_name);
    if (!value)
        return;

    char *copy = need(strdup(value)), *rest = copy, *word;
    while ((word = strsep(&rest, ", \t"))) {
        if (!*word)
            continue;
        if (!strcmp(word, "*"))
            say_die(EXIT_OWN,
                    "%s=* would send everything directly; give the chain with -x, or "
                    "start the command without viaduct",
                    variable_name);
        if (!(is_number(word) ? add_bypass_text(c, word) : add_no_proxy_name(c, word)))
            say_note("%s: `%s` is not understood and goes through the chain", variable_name, word);
    }
    free(copy);
}

static const char *one_of(const char *first, const char *second)
{
    return variable(first) ? first : variable(second) ? second : NULL;
}

/* As with curl, a value without a scheme is an HTTP proxy, and lower case wins. */
static bool add_all_proxy(struct vd_conf_client *c)
{
    const char *name = one_of("all_proxy", "ALL_PROXY");
    const char *no_proxy = one_of("no_proxy", "NO_PROXY");
    char *url = NULL, *error = NULL;
    const char *value = name ? variable(name) : NULL;
    if (!value)
        return false;

    struct vd_conf_chain *chain = need(vd_conf_client_add_chain(c, "default"));
    if (asprintf(&url, "%s%s", strstr(value, "://") ? "" : "http://", value) < 0)
        need(NULL);
    if (vd_conf_hop(&chain->hops[0], url, &error) < 0)
        say_die(EXIT_OWN, "%s: %s", name, error ? error : "out of memory");
    free(url);
    chain->hop_count = 1;
    if (no_proxy)
        add_no_proxy(c, no_proxy);
    return true;
}

/* --- the chain ------------------------------------------------------------------------------- */

static void die_of_chain(const struct effective *e, const char *title)
{
    char list[512];
    struct vd_out out = vd_out_over(list, sizeof list);

    for (size_t i = 0; i < e->conf.chain_count; i++) {
        vd_out_text(&out, i ? ", " : "");
        vd_out_text(&out, e->conf.chains[i].title);
    }
    vd_out_string(&out);
    if (e->conf.chain_count > 0)
        say_die(EXIT_OWN, "%s: no chain `%s`; -c takes one of: %s", e->path, title, list);
    if (e->path)
        say_die(EXIT_OWN,
                "%s: no chain `%s`, and no other; chain %s { hops = {\"URL\"} } gives one", e->path,
                title, title);
    say_die(EXIT_OWN, "-c %s: no configuration was found that could have this chain", title);
}

static void set_hops(struct effective *e, const struct options *o)
{
    struct vd_conf_chain *chain = vd_conf_client_chain(&e->conf, "default");

    if (!chain)
        chain = need(vd_conf_client_add_chain(&e->conf, "default"));
    memcpy(chain->hops, o->hops, o->hop_count * sizeof *o->hops);
    chain->hop_count = o->hop_count;
    chain->mode = VD_MODE_STRICT;
    chain->pick = 0;
}

static void choose_chain(struct effective *e, const struct options *o)
{
    e->chain = o->chain ? o->chain : "default";
    if (o->hop_count > 0 && o->chain)
        say_die(EXIT_OWN, "-x and -c both name a chain; allowed: one of them");
    if (o->hop_count > 0)
        set_hops(e, o);
    if (vd_conf_client_chain(&e->conf, e->chain))
        return;
    if (o->chain || e->conf.chain_count > 0)
        die_of_chain(e, e->chain);
    if (!add_all_proxy(&e->conf))
        say_die(EXIT_OWN,
                "no proxy is given; give one with -x socks5h://HOST:PORT, in "
                "~/.config/viaduct/viaduct.conf or in ALL_PROXY%s",
                one_of("http_proxy", "https_proxy") ? "; http_proxy and https_proxy do not count: "
                                                      "they are for HTTP alone"
                                                    : "");
}

/* --- what a chain cannot do ------------------------------------------------------------------ */

/* `proxy` promises that datagrams go through the chain; `auto` sees. */
static void refuse_without_udp(const struct effective *e)
{
    const struct vd_conf_chain *chain = vd_conf_client_chain(&e->conf, e->chain);
    char url[VD_ENDPOINT_TEXT + 32];
    struct vd_out out = vd_out_over(url, sizeof url);

    for (size_t i = 0; i < chain->hop_count; i++) {
        const struct vd_hop *hop = &chain->hops[i];

        if ((hop->scheme == VD_SOCKS5 || hop->scheme == VD_SOCKS5H) && hop->unix_len == 0)
            continue;
        vd_url_print(&out, hop);
        say_die(EXIT_OWN,
                "UDP mode `proxy`: hop %zu of chain `%s` (%s) does not carry UDP, only SOCKS5 "
                "does; allowed: auto, deny, direct",
                i + 1, chain->title, vd_out_string(&out));
    }
}

/* -m and -n are for the chain in use. */
static void set_mode(struct vd_conf_chain *chain, const struct options *o)
{
    if (o->has_mode)
        chain->mode = o->mode;
    if (o->pick && chain->mode < VD_MODE_RANDOM)
        say_die(EXIT_OWN,
                "-n: it has no meaning in mode `%s`; allowed: with random, round_robin, failover",
                vd_conf_modes[chain->mode]);
    if (o->pick > chain->hop_count)
        say_die(EXIT_OWN, "-n: chain `%s` has %zu hops; allowed: 1 to %zu", chain->title,
                chain->hop_count, chain->hop_count);
    if (o->pick)
        chain->pick = o->pick;
    if (chain->mode < VD_MODE_RANDOM)
        chain->pick = 0;
}

/* Who asks for it on the command line relies on it; the file may speak of other chains. */
static void isolate(struct effective *e)
{
    const struct vd_conf_chain *chain = vd_conf_client_chain(&e->conf, e->chain);

    if (!isolate_finds(chain->hops, chain->hop_count))
        say_die(EXIT_OWN, "--isolate: chain `%s` has no SOCKS5 hop without a login", chain->title);
    e->conf.isolate = true;
}

void effective_make(struct effective *e, const struct options *o)
{
    *e = (struct effective){.path = NULL};
    read_file(e, o);
    merge_bypass(&e->conf, o);
    choose_chain(e, o);
    set_mode(vd_conf_client_chain(&e->conf, e->chain), o);
    if (o->has_dns)
        e->conf.dns = o->dns;
    if (o->has_udp)
        e->conf.udp = o->udp;
    if (o->timeout_ms)
        e->conf.timeout_ms = o->timeout_ms;
    if (!e->conf.timeout_ms)
        e->conf.timeout_ms = TIMEOUT_MS;
    if (o->isolate)
        isolate(e);
    if (e->conf.udp == VD_UDP_PROXY)
        refuse_without_udp(e);
    if (e->conf.listen == VD_LISTEN_UNSAID)
        e->conf.listen = VD_LISTEN_AUTO;
}

void effective_print(const struct effective *e)
{
    if (e->path && !strchr(e->path, '\n'))
        printf("# %s and the command line\n", e->path);
    if (strcmp(e->chain, "default"))
        printf("# for what no rule matches: chain %s (-c)\n", e->chain);
    vd_conf_client_print(stdout, &e->conf);
    if (fflush(stdout))
        say_die(EXIT_OWN, "--print-config: %s", strerror(errno));
}
