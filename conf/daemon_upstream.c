#include "conf/daemon_upstream.h"

#include <stdlib.h>
#include <string.h>

#include "conf/daemon_egress.h"
#include "conf/value.h"
#include "proto/bytes.h"
#include "proto/err.h"

enum { RISE = 2, FALL = 3 };

cfg_opt_t vd_conf_upstream_options[] = {
    VD_CONF_WORDS("hops"),          VD_CONF_WORD("mode"),     VD_CONF_WORD("pick"),
    VD_CONF_WORD("proxy_protocol"), VD_CONF_WORD("fallback"), VD_CONF_WORD("check"),
    VD_CONF_WORD("rise"),           VD_CONF_WORD("fall"),     VD_CONF_WORD("check_target"),
    VD_CONF_WORDS("source"),        VD_CONF_WORD("family"),   CFG_END()};

/* --- the list -------------------------------------------------------------------------------- */

struct vd_conf_upstream *vd_conf_daemon_upstream(const struct vd_conf_daemon *c, const char *title)
{
    for (size_t i = 0; i < c->upstream_count; i++)
        if (!strcmp(c->upstreams[i].chain.title, title))
            return &c->upstreams[i];
    return NULL;
}

struct vd_conf_upstream *vd_conf_daemon_new_upstream(struct vd_conf_daemon *c, const char *title)
{
    struct vd_conf_upstream *more = reallocarray(c->upstreams, c->upstream_count + 1, sizeof *more);
    if (!more)
        return NULL;
    c->upstreams = more;
    more += c->upstream_count;
    *more = (struct vd_conf_upstream){.chain.title = strdup(title), .rise = RISE, .fall = FALL};
    if (!more->chain.title)
        return NULL;
    c->upstream_count++;
    return more;
}

void vd_conf_upstream_free(struct vd_conf_upstream *up)
{
    free(up->chain.title);
    free(up->fallback);
}

int vd_conf_daemon_add_hop(struct vd_conf_daemon *c, const char *url, char **error)
{
    struct vd_conf_upstream *up = vd_conf_daemon_upstream(c, VD_UPSTREAM_DEFAULT);
    struct vd_conf_chain *chain;

    if (!up)
        up = vd_conf_daemon_new_upstream(c, VD_UPSTREAM_DEFAULT);
    if (!up)
        return vd_conf_wrong(error, "out of memory");
    chain = &up->chain;
    if (chain->hop_count == VD_HOPS_MAX)
        return vd_conf_wrong(error, "too many hops; allowed: up to %d", VD_HOPS_MAX);
    if (vd_conf_hop(&chain->hops[chain->hop_count], url, error) < 0)
        return -1;
    chain->hop_count++;
    return 0;
}

bool vd_conf_upstream_passwords(const struct vd_conf_daemon *c)
{
    for (size_t i = 0; i < c->upstream_count; i++)
        for (size_t k = 0; k < c->upstreams[i].chain.hop_count; k++)
            if (c->upstreams[i].chain.hops[k].password_len > 0)
                return true;
    return false;
}

/* --- titles that name upstreams -------------------------------------------------------------- */

int vd_conf_daemon_has_upstream(const struct vd_conf_daemon *c, const char *title, char **error)
{
    char list[512];
    struct vd_out out = vd_out_over(list, sizeof list);

    if (!strcmp(title, VD_UPSTREAM_DIRECT) || vd_conf_daemon_upstream(c, title))
        return 0;
    vd_out_text(&out, VD_UPSTREAM_DIRECT);
    for (size_t i = 0; i < c->upstream_count; i++) {
        vd_out_text(&out, ", ");
        vd_out_text(&out, c->upstreams[i].chain.title);
    }
    return vd_conf_wrong(error, "unknown upstream `%s`; allowed: %s", title, vd_out_string(&out));
}

static int index_of(const struct vd_conf_daemon *c, const char *title)
{
    if (!strcmp(title, VD_UPSTREAM_DIRECT))
        return VD_VIA_DIRECT;
    return (int)(vd_conf_daemon_upstream(c, title) - c->upstreams);
}

static int link_rule(const struct vd_conf_daemon *c, struct vd_conf_access *rule, char **error)
{
    rule->via = VD_VIA_UNSAID;
    if (!rule->upstream)
        return 0;
    if (rule->verdict == VD_DENY)
        return vd_conf_wrong(error, "`upstream` in deny `%s`; allowed: in allow rules only",
                             rule->title);
    if (vd_conf_daemon_has_upstream(c, rule->upstream, error) < 0)
        return -1;
    rule->via = index_of(c, rule->upstream);
    return 0;
}

static int link_fallback(const struct vd_conf_daemon *c, struct vd_conf_upstream *up, char **error)
{
    if (!up->fallback)
        return 0;
    if (!strcmp(up->fallback, VD_UPSTREAM_DIRECT))
        return vd_conf_wrong(error,
                             "upstream `%s` cannot fall back to `" VD_UPSTREAM_DIRECT
                             "`, past all hops; allowed: the title of another upstream",
                             up->chain.title);
    if (vd_conf_daemon_has_upstream(c, up->fallback, error) < 0)
        return -1;
    up->fallback_index = (size_t)index_of(c, up->fallback);
    return 0;
}

static int check_circle(const struct vd_conf_daemon *c, const struct vd_conf_upstream *first,
                        char **error)
{
    const struct vd_conf_upstream *up = first;

    for (size_t n = 0; up->fallback; n++) {
        if (n > c->upstream_count)
            return vd_conf_wrong(error, "the fallbacks of upstream `%s` go in a circle",
                                 first->chain.title);
        up = &c->upstreams[up->fallback_index];
    }
    return 0;
}

int vd_conf_daemon_link(struct vd_conf_daemon *c, char **error)
{
    for (size_t i = 0; i < c->access_count; i++)
        if (link_rule(c, &c->access[i], error) < 0)
            return -1;
    for (size_t i = 0; i < c->upstream_count; i++)
        if (link_fallback(c, &c->upstreams[i], error) < 0)
            return -1;
    for (size_t i = 0; i < c->upstream_count; i++)
        if (check_circle(c, &c->upstreams[i], error) < 0)
            return -1;
    return vd_conf_egress_check(c, error);
}

/* --- the file -------------------------------------------------------------------------------- */

static int read_check_target(struct vd_conf_file *f, cfg_t *cfg, struct vd_conf_upstream *up)
{
    const struct vd_conf_word *word = vd_conf_file_get(cfg, "check_target", 0);
    char *error = NULL;

    if (!word)
        return 0;
    up->has_check_target = true;
    if (vd_endpoint_read(&up->check_target, word->text, strlen(word->text), 0) == VD_OK &&
        up->check_target.port > 0)
        return 0;
    vd_conf_wrong(&error, "bad check_target `%s`; allowed: HOST:PORT", word->text);
    return vd_conf_file_wrong(f, word->line, error);
}

/* Of SOCKS5 alone something can be asked that has no effect. */
static bool needs_check_target(const struct vd_conf_chain *chain)
{
    bool in_order = chain->mode == VD_MODE_STRICT || chain->mode == VD_MODE_DYNAMIC;

    for (size_t i = in_order ? chain->hop_count - 1 : 0; i < chain->hop_count; i++)
        if (chain->hops[i].scheme != VD_SOCKS5 && chain->hops[i].scheme != VD_SOCKS5H)
            return true;
    return false;
}

static int judge_check(struct vd_conf_file *f, const struct vd_conf_section *section,
                       const struct vd_conf_upstream *up)
{
    static const char *const names[] = {"check_target", "rise", "fall"};
    char *error = NULL;

    for (size_t i = 0; up->check_ms == 0 && i < sizeof names / sizeof *names; i++)
        if (vd_conf_file_has(section->cfg, names[i])) {
            vd_conf_wrong(&error, "`%s` in upstream `%s`; allowed: with `check` only", names[i],
                          section->cfg->title);
            return vd_conf_file_wrong(f, section->line, error);
        }
    if (up->check_ms == 0 || up->has_check_target || !needs_check_target(&up->chain))
        return 0;
    vd_conf_wrong(&error,
                  "upstream `%s` has `check`, but no check_target; allowed: where only socks5 and "
                  "socks5h hops come last",
                  up->chain.title);
    return vd_conf_file_wrong(f, section->line, error);
}

static int read_check(struct vd_conf_file *f, const struct vd_conf_section *section,
                      struct vd_conf_upstream *up)
{
    cfg_t *cfg = section->cfg;

    if (vd_conf_file_seconds(f, cfg, "check", &up->check_ms) < 0 ||
        vd_conf_file_number(f, cfg, "rise", 1, 100, &up->rise) < 0 ||
        vd_conf_file_number(f, cfg, "fall", 1, 100, &up->fall) < 0 ||
        read_check_target(f, cfg, up) < 0)
        return -1;
    return judge_check(f, section, up);
}

static int read_title(struct vd_conf_file *f, const struct vd_conf_word *word, char **title)
{
    if (!word)
        return 0;
    free(*title);
    *title = strdup(word->text);
    return *title ? 0 : vd_conf_file_wrong(f, word->line, strdup("out of memory"));
}

static int read_options(struct vd_conf_file *f, const struct vd_conf_section *section,
                        struct vd_conf_upstream *up)
{
    static const char *const versions[] = {"none", "v1", "v2", NULL};
    int version = VD_PROXYLINE_NONE;

    if (vd_conf_file_chain(f, section, &up->chain) < 0 ||
        vd_conf_file_choice(f, section->cfg, "proxy_protocol", versions, &version) < 0 ||
        read_title(f, vd_conf_file_get(section->cfg, "fallback", 0), &up->fallback) < 0 ||
        vd_conf_egress_read(f, section->cfg, section->line, &up->egress) < 0)
        return -1;
    up->line = (enum vd_proxyline_version)version;
    return read_check(f, section, up);
}

/* The command line has one of this title, which stays: the file's is judged, and then forgotten. */
static int judge_only(struct vd_conf_file *f, const struct vd_conf_section *section,
                      const struct vd_conf_upstream *there)
{
    struct vd_conf_upstream *up = calloc(1, sizeof *up);
    int result;

    if (!up)
        return vd_conf_file_wrong(f, section->line, strdup("out of memory"));
    up->chain.title = there->chain.title;
    result = read_options(f, section, up);
    free(up->fallback);
    free(up);
    return result;
}

int vd_conf_upstream_read(struct vd_conf_daemon *c, struct vd_conf_file *f,
                          const struct vd_conf_section *section)
{
    const char *title = section->cfg->title;
    struct vd_conf_upstream *up = vd_conf_daemon_upstream(c, title);
    char *error = NULL;

    if (!strcmp(title, VD_UPSTREAM_DIRECT)) {
        vd_conf_wrong(&error, "an upstream `%s`; allowed: any other title", title);
        return vd_conf_file_wrong(f, section->line, error);
    }
    if (up)
        return judge_only(f, section, up);
    up = vd_conf_daemon_new_upstream(c, title);
    if (!up)
        return vd_conf_file_wrong(f, section->line, strdup("out of memory"));
    return read_options(f, section, up);
}

int vd_conf_upstream_of_rule(struct vd_conf_file *f, cfg_t *cfg, struct vd_conf_access *access)
{
    const struct vd_conf_word *word = vd_conf_file_get(cfg, "upstream", 0);
    char *error = NULL;

    if (word && access->verdict == VD_DENY) {
        vd_conf_wrong(&error, "`upstream` in deny `%s`; allowed: in allow rules only",
                      access->title);
        return vd_conf_file_wrong(f, word->line, error);
    }
    return read_title(f, word, &access->upstream);
}

int vd_conf_upstream_check(const struct vd_conf_daemon *c, struct vd_conf_file *f)
{
    for (size_t i = 0; i < f->section_count; i++) {
        cfg_t *cfg = f->sections[i].cfg;
        bool is_rule = !strcmp(cfg->name, "allow"), is_upstream = !strcmp(cfg->name, "upstream");
        const struct vd_conf_word *word = NULL;
        char *error = NULL;

        if (is_rule || is_upstream)
            word = vd_conf_file_get(cfg, is_rule ? "upstream" : "fallback", 0);
        if (word && vd_conf_daemon_has_upstream(c, word->text, &error) < 0)
            return vd_conf_file_wrong(f, word->line, error);
    }
    return 0;
}
