#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "conf/file.h"
#include "conf/value.h"
#include "proto/bytes.h"

cfg_opt_t vd_conf_proxy_options[] = {VD_CONF_WORD("url"), VD_CONF_WORD("timeout"),
                                     VD_CONF_WORDS("addresses"), CFG_END()};
cfg_opt_t vd_conf_chain_options[] = {VD_CONF_WORDS("hops"), VD_CONF_WORD("mode"),
                                     VD_CONF_WORD("pick"), CFG_END()};

const struct vd_conf_word *vd_conf_file_get(cfg_t *section, const char *name, unsigned index)
{
    return index < cfg_size(section, name) ? cfg_getnptr(section, name, index) : NULL;
}

/* One of those that are there. */
static const struct vd_conf_word *word_at(cfg_t *section, const char *name, unsigned index)
{
    return cfg_getnptr(section, name, index);
}

bool vd_conf_file_has(cfg_t *section, const char *name)
{
    return cfg_getopt(section, name)->flags & CFGF_MODIFIED;
}

int vd_conf_file_choice(struct vd_conf_file *f, cfg_t *section, const char *name,
                        const char *const *words, int *index)
{
    const struct vd_conf_word *word = vd_conf_file_get(section, name, 0);
    if (!word)
        return 0;

    char *error = NULL;
    int found = vd_conf_choice(name, words, word->text, &error);
    if (found < 0)
        return vd_conf_file_wrong(f, word->line, error);
    *index = found;
    return 0;
}

int vd_conf_file_seconds(struct vd_conf_file *f, cfg_t *section, const char *name, uint32_t *ms)
{
    const struct vd_conf_word *word = vd_conf_file_get(section, name, 0);
    char *error = NULL;

    if (word && vd_conf_seconds(ms, name, word->text, &error) < 0)
        return vd_conf_file_wrong(f, word->line, error);
    return 0;
}

int vd_conf_file_number(struct vd_conf_file *f, cfg_t *section, const char *name, uint32_t least,
                        uint32_t most, uint32_t *value)
{
    const struct vd_conf_word *word = vd_conf_file_get(section, name, 0);
    char *error = NULL;

    if (word && vd_conf_number(value, name, word->text, least, most, &error) < 0)
        return vd_conf_file_wrong(f, word->line, error);
    return 0;
}

int vd_conf_file_patterns(struct vd_conf_file *f, cfg_t *section, const char *name,
                          struct vd_pattern **patterns, size_t *count)
{
    unsigned size = cfg_size(section, name);

    *count = 0;
    *patterns = size ? calloc(size, sizeof **patterns) : NULL;
    if (size && !*patterns)
        return vd_conf_file_wrong(f, section->line, strdup("out of memory"));
    for (unsigned i = 0; i < size; i++) {
        const struct vd_conf_word *word = vd_conf_file_get(section, name, i);
        char *error = NULL;
        if (vd_conf_pattern(&(*patterns)[i], word->text, &error) < 0)
            return vd_conf_file_wrong(f, word->line, error);
        ++*count;
    }
    return 0;
}

int vd_conf_file_servers(struct vd_conf_file *f, struct vd_endpoint *servers, size_t *count)
{
    enum { DNS_PORT = 53 };
    unsigned size = cfg_size(f->root, "nameservers");
    char *error = NULL;

    for (*count = 0; *count < size; ++*count) {
        const struct vd_conf_word *word = word_at(f->root, "nameservers", (unsigned)*count);
        struct vd_endpoint *at = &servers[*count];

        if (*count < VD_NAMESERVERS_MAX &&
            vd_endpoint_read(at, word->text, strlen(word->text), DNS_PORT) >= 0 &&
            !vd_endpoint_is_name(at))
            continue;
        vd_conf_wrong(&error,
                      "bad name server `%s`; allowed: ADDRESS, ADDRESS:PORT (IPv6 with a "
                      "port in brackets), up to %d",
                      word->text, VD_NAMESERVERS_MAX);
        return vd_conf_file_wrong(f, word->line, error);
    }
    return 0;
}

/* --- hops ------------------------------------------------------------------------------------ */

static cfg_t *find_proxy(struct vd_conf_file *f, const char *title)
{
    for (size_t i = 0; i < f->section_count; i++)
        if (!strcmp(f->sections[i].cfg->name, "proxy") && !strcmp(f->sections[i].cfg->title, title))
            return f->sections[i].cfg;
    return NULL;
}

static int unknown_proxy(struct vd_conf_file *f, const struct vd_conf_word *word)
{
    char list[512];
    struct vd_out out = vd_out_over(list, sizeof list);
    char *error = NULL;

    for (size_t i = 0; i < f->section_count; i++)
        if (!strcmp(f->sections[i].cfg->name, "proxy")) {
            vd_out_text(&out, f->sections[i].cfg->title);
            vd_out_text(&out, ", ");
        }
    char *masked = vd_conf_masked(word->text);
    vd_conf_wrong(&error, "unknown proxy `%s`; allowed: %s%sa URL such as socks5h://HOST:PORT",
                  masked ? masked : "", vd_out_string(&out), out.len > 0 ? "or " : "");
    free(masked);
    return vd_conf_file_wrong(f, word->line, error);
}

/* In place of those that its name would be looked up for. */
static int read_addresses(struct vd_conf_file *f, cfg_t *proxy, struct vd_hop *hop)
{
    unsigned count = cfg_size(proxy, "addresses");
    char *error = NULL;

    for (unsigned i = 0; i < count; i++) {
        const struct vd_conf_word *word = word_at(proxy, "addresses", i);
        struct vd_ip ip;

        if (i < VD_HOP_ADDRS_MAX && vd_ip_read(&ip, word->text, strlen(word->text))) {
            hop->addrs[i] = ip;
            hop->addr_count = (uint8_t)(i + 1);
            continue;
        }
        vd_conf_wrong(&error, "bad addresses `%s`; allowed: IPv4 and IPv6 addresses, up to %d",
                      word->text, VD_HOP_ADDRS_MAX);
        return vd_conf_file_wrong(f, word->line, error);
    }
    if (count == 0 || vd_endpoint_is_name(&hop->at))
        return 0;
    vd_conf_wrong(&error,
                  "proxy `%s`: `addresses` has no meaning; allowed: where its URL has a "
                  "host name",
                  proxy->title);
    return vd_conf_file_wrong(f, proxy->line, error);
}

static int proxy_hop(struct vd_conf_file *f, cfg_t *proxy, struct vd_hop *hop)
{
    const struct vd_conf_word *url = word_at(proxy, "url", 0);
    char *error = NULL;

    if (vd_conf_hop(hop, url->text, &error) < 0)
        return vd_conf_file_wrong(f, url->line, error);
    if (read_addresses(f, proxy, hop) < 0)
        return -1;
    return vd_conf_file_seconds(f, proxy, "timeout", &hop->timeout_ms);
}

int vd_conf_file_proxies(struct vd_conf_file *f, bool *passwords)
{
    for (size_t i = 0; i < f->section_count; i++) {
        cfg_t *proxy = f->sections[i].cfg;
        struct vd_hop hop = {.scheme = 0};
        if (strcmp(proxy->name, "proxy"))
            continue;
        if (cfg_size(proxy, "url") == 0) {
            char *error = NULL;
            vd_conf_wrong(&error, "proxy `%s` has no url; allowed: url = \"socks5h://HOST:PORT\"",
                          proxy->title);
            return vd_conf_file_wrong(f, f->sections[i].line, error);
        }
        if (proxy_hop(f, proxy, &hop) < 0)
            return -1;
        *passwords |= hop.password_len > 0;
    }
    return 0;
}

static int read_hop(struct vd_conf_file *f, const struct vd_conf_word *word, struct vd_hop *hop)
{
    char *error = NULL;

    assert(word);
    if (!strstr(word->text, "://")) {
        cfg_t *proxy = find_proxy(f, word->text);
        return proxy ? proxy_hop(f, proxy, hop) : unknown_proxy(f, word);
    }
    if (vd_conf_hop(hop, word->text, &error) < 0)
        return vd_conf_file_wrong(f, word->line, error);
    return 0;
}

static int read_hops(struct vd_conf_file *f, const struct vd_conf_section *section,
                     struct vd_conf_chain *chain)
{
    unsigned size = cfg_size(section->cfg, "hops");
    const char *title = section->cfg->title;
    char *error = NULL;

    if (size == 0 || size > VD_HOPS_MAX) {
        vd_conf_wrong(&error, "%s `%s` has %u hops; allowed: 1 to %d", section->cfg->name,
                      title ? title : "", size, VD_HOPS_MAX);
        return vd_conf_file_wrong(f, section->line, error);
    }
    for (unsigned i = 0; i < size; i++)
        if (read_hop(f, word_at(section->cfg, "hops", i), &chain->hops[i]) < 0)
            return -1;
    chain->hop_count = size;
    return 0;
}

static int read_pick(struct vd_conf_file *f, cfg_t *cfg, struct vd_conf_chain *chain)
{
    const struct vd_conf_word *pick = vd_conf_file_get(cfg, "pick", 0);
    char *error = NULL;

    if (!pick)
        return 0;
    if (chain->mode == VD_MODE_STRICT || chain->mode == VD_MODE_DYNAMIC) {
        vd_conf_wrong(&error,
                      "`pick` has no meaning in mode %s; allowed: random, round_robin, "
                      "failover",
                      vd_conf_modes[chain->mode]);
        return vd_conf_file_wrong(f, pick->line, error);
    }
    return vd_conf_file_number(f, cfg, "pick", 1, (uint32_t)chain->hop_count, &chain->pick);
}

int vd_conf_file_chain(struct vd_conf_file *f, const struct vd_conf_section *section,
                       struct vd_conf_chain *chain)
{
    int mode = VD_MODE_STRICT;

    if (read_hops(f, section, chain) < 0 ||
        vd_conf_file_choice(f, section->cfg, "mode", vd_conf_modes, &mode) < 0)
        return -1;
    chain->mode = (enum vd_mode)mode;
    return read_pick(f, section->cfg, chain);
}
