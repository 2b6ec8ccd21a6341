#include "conf/client.h"

#include <stdlib.h>
#include <string.h>

#include "conf/file.h"
#include "conf/value.h"
#include "proto/bytes.h"

static cfg_opt_t rule_options[] = {VD_CONF_WORDS("match"), VD_CONF_WORD("chain"),
                                   VD_CONF_WORD("action"), VD_CONF_WORD("listen"), CFG_END()};
static cfg_opt_t options[] = {VD_CONF_TITLED("proxy", vd_conf_proxy_options),
                              VD_CONF_TITLED("chain", vd_conf_chain_options),
                              VD_CONF_TITLED("rule", rule_options),
                              VD_CONF_WORDS("bypass"),
                              VD_CONF_WORD("dns"),
                              VD_CONF_WORD("udp"),
                              VD_CONF_WORD("listen"),
                              VD_CONF_WORD("timeout"),
                              VD_CONF_WORD("isolate"),
                              VD_CONF_WORDS("nameservers"),
                              CFG_END()};

/* Of enum vd_conf_action; a rule with a chain needs no word for it. */
static const char *const actions[] = {"direct", "refuse", NULL};

static int out_of_memory(struct vd_conf_file *f)
{
    return vd_conf_file_wrong(f, f->root->line, strdup("out of memory"));
}

static int read_chain(struct vd_conf_client *c, struct vd_conf_file *f,
                      const struct vd_conf_section *section)
{
    struct vd_conf_chain *chain = vd_conf_client_add_chain(c, section->cfg->title);
    return chain ? vd_conf_file_chain(f, section, chain) : out_of_memory(f);
}

/* --- rules ----------------------------------------------------------------------------------- */

static int unknown_chain(struct vd_conf_client *c, struct vd_conf_file *f,
                         const struct vd_conf_word *word)
{
    char list[512];
    struct vd_out out = vd_out_over(list, sizeof list);
    char *error = NULL;

    for (size_t i = 0; i < c->chain_count; i++) {
        vd_out_text(&out, i ? ", " : "");
        vd_out_text(&out, c->chains[i].title);
    }
    if (c->chain_count == 0)
        vd_out_text(&out, "a chain of this file, but it has none");
    vd_conf_wrong(&error, "unknown chain `%s`; allowed: %s", word->text, vd_out_string(&out));
    return vd_conf_file_wrong(f, word->line, error);
}

/* The words begin with what may be said. */
static int read_listen(struct vd_conf_file *f, cfg_t *section, enum vd_conf_listening *listen)
{
    int index = (int)*listen - VD_LISTEN_AUTO;

    if (vd_conf_file_choice(f, section, "listen", vd_conf_listen_modes, &index) < 0)
        return -1;
    *listen = (enum vd_conf_listening)(index + VD_LISTEN_AUTO);
    return 0;
}

static int read_outcome(struct vd_conf_client *c, struct vd_conf_file *f,
                        const struct vd_conf_section *section, struct vd_conf_rule *rule)
{
    const struct vd_conf_word *chain = vd_conf_file_get(section->cfg, "chain", 0);
    int action = -1;

    if (vd_conf_file_choice(f, section->cfg, "action", actions, &action) < 0)
        return -1;
    if (!chain == (action < 0)) {
        char *error = NULL;
        vd_conf_wrong(&error,
                      "rule `%s` needs one of `chain` and `action`; allowed: "
                      "chain = \"NAME\", action = \"direct\", action = \"refuse\"",
                      rule->title);
        return vd_conf_file_wrong(f, section->line, error);
    }
    if (!chain) {
        rule->action = action == 0 ? VD_RULE_DIRECT : VD_RULE_REFUSE;
        return 0;
    }
    if (!vd_conf_client_chain(c, chain->text))
        return unknown_chain(c, f, chain);
    rule->action = VD_RULE_CHAIN;
    rule->chain = strdup(chain->text);
    return rule->chain ? 0 : out_of_memory(f);
}

static int read_rule(struct vd_conf_client *c, struct vd_conf_file *f,
                     const struct vd_conf_section *section)
{
    struct vd_conf_rule *rule = reallocarray(c->rules, c->rule_count + 1, sizeof *rule);
    if (!rule)
        return out_of_memory(f);
    c->rules = rule;
    rule += c->rule_count++;
    *rule = (struct vd_conf_rule){.title = strdup(section->cfg->title)};
    if (!rule->title)
        return out_of_memory(f);
    if (vd_conf_file_patterns(f, section->cfg, "match", &rule->match, &rule->match_count) < 0)
        return -1;
    if (rule->match_count == 0) {
        char *error = NULL;
        vd_conf_wrong(&error, "rule `%s` matches nothing; allowed: match = {\"*.lan\", \"*:25\"}",
                      rule->title);
        return vd_conf_file_wrong(f, section->line, error);
    }
    if (read_listen(f, section->cfg, &rule->listen) < 0)
        return -1;
    return read_outcome(c, f, section, rule);
}

/* --- the file -------------------------------------------------------------------------------- */

typedef int read_section(struct vd_conf_client *c, struct vd_conf_file *f,
                         const struct vd_conf_section *section);

static int read_sections(struct vd_conf_client *c, struct vd_conf_file *f, const char *kind,
                         read_section *read)
{
    for (size_t i = 0; i < f->section_count; i++)
        if (!strcmp(f->sections[i].cfg->name, kind) && read(c, f, &f->sections[i]) < 0)
            return -1;
    return 0;
}

static int read_options(struct vd_conf_client *c, struct vd_conf_file *f)
{
    int dns = VD_DNS_AUTO, udp = VD_UDP_AUTO, isolate = 0;

    if (vd_conf_file_patterns(f, f->root, "bypass", &c->bypass, &c->bypass_count) < 0 ||
        vd_conf_file_choice(f, f->root, "dns", vd_conf_dns_modes, &dns) < 0 ||
        vd_conf_file_choice(f, f->root, "udp", vd_conf_udp_modes, &udp) < 0 ||
        vd_conf_file_servers(f, c->nameservers, &c->nameserver_count) < 0 ||
        vd_conf_file_choice(f, f->root, "isolate", vd_conf_switches, &isolate) < 0 ||
        vd_conf_file_seconds(f, f->root, "timeout", &c->timeout_ms) < 0)
        return -1;
    c->has_bypass = vd_conf_file_has(f->root, "bypass");
    c->dns = (enum vd_conf_dns)dns;
    c->udp = (enum vd_conf_udp)udp;
    c->isolate = isolate;
    c->listen = VD_LISTEN_AUTO;
    return read_listen(f, f->root, &c->listen);
}

static bool has_passwords(const struct vd_conf_client *c)
{
    for (size_t i = 0; i < c->chain_count; i++)
        for (size_t j = 0; j < c->chains[i].hop_count; j++)
            if (c->chains[i].hops[j].password_len > 0)
                return true;
    return false;
}

int vd_conf_client_read(struct vd_conf_client *c, const char *path, char **error, char **warning)
{
    struct vd_conf_file f;
    bool passwords = false;

    *c = (struct vd_conf_client){.chains = NULL};
    *error = *warning = NULL;
    int result = vd_conf_file_read(&f, path, options, NULL, NULL);
    if (result == 0 && (vd_conf_file_proxies(&f, &passwords) < 0 ||
                        read_sections(c, &f, "chain", read_chain) < 0 ||
                        read_sections(c, &f, "rule", read_rule) < 0 || read_options(c, &f) < 0))
        result = -1;
    if (result == 0)
        *warning = vd_conf_file_warning(&f, passwords || has_passwords(c));
    else
        vd_conf_client_free(c);
    *error = f.error;
    vd_conf_file_close(&f);
    return result;
}

void vd_conf_client_free(struct vd_conf_client *c)
{
    for (size_t i = 0; i < c->chain_count; i++)
        free(c->chains[i].title);
    for (size_t i = 0; i < c->rule_count; i++) {
        free(c->rules[i].title);
        free(c->rules[i].match);
        free(c->rules[i].chain);
    }
    free(c->chains);
    free(c->rules);
    free(c->bypass);
    *c = (struct vd_conf_client){.chains = NULL};
}
