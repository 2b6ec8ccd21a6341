#include "launcher/build.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/isolate.h"
#include "launcher/private.h"
#include "launcher/range.h"
#include "launcher/resolve.h"
#include "launcher/say.h"

struct build {
    const struct effective *effective;
    const struct options *options;
    struct plan head; /* with the counts so far */
    struct vd_hop *hops;
    struct plan_chain *chains;
    struct plan_rule *rules;
    struct vd_pattern *patterns;
};

static_assert(PLAN_DNS_AUTO == (int)VD_DNS_AUTO && PLAN_DNS_REMOTE == (int)VD_DNS_REMOTE &&
                  PLAN_DNS_LOCAL == (int)VD_DNS_LOCAL && PLAN_DNS_CHAIN == (int)VD_DNS_CHAIN,
              "the same order");
static_assert(PLAN_UDP_AUTO == (int)VD_UDP_AUTO && PLAN_UDP_PROXY == (int)VD_UDP_PROXY &&
                  PLAN_UDP_DENY == (int)VD_UDP_DENY && PLAN_UDP_DIRECT == (int)VD_UDP_DIRECT,
              "the same order");
static_assert(PLAN_CHAIN == (int)VD_RULE_CHAIN && PLAN_DIRECT == (int)VD_RULE_DIRECT &&
                  PLAN_REFUSE == (int)VD_RULE_REFUSE,
              "the same order");

static void *room(size_t count, size_t size)
{
    void *memory = calloc(count + 1, size);
    if (!memory)
        say_die(EXIT_OWN, "out of memory");
    return memory;
}

static void need_count(size_t count, const char *what)
{
    if (count > PLAN_COUNT_MAX)
        say_die(EXIT_OWN, "the configuration has %zu %s; allowed: up to %d", count, what,
                PLAN_COUNT_MAX);
}

static void copy_title(char to[PLAN_TITLE_MAX + 1], const char *title)
{
    snprintf(to, PLAN_TITLE_MAX + 1, "%s", title);
}

/* Room for the most there can be. */
static void make_room(struct build *b)
{
    const struct vd_conf_client *c = &b->effective->conf;
    size_t hops = 0, patterns = c->bypass_count;

    for (size_t i = 0; i < c->chain_count; i++)
        hops += c->chains[i].hop_count + 1; /* and one that stands for others */
    for (size_t i = 0; i < c->rule_count; i++)
        patterns += c->rules[i].match_count;
    need_count(hops, "hops");
    need_count(c->chain_count, "chains");
    need_count(c->rule_count + 1, "rules");
    need_count(patterns, "patterns");
    b->hops = room(hops, sizeof *b->hops);
    b->chains = room(c->chain_count, sizeof *b->chains);
    b->rules = room(c->rule_count + 1, sizeof *b->rules);
    b->patterns = room(patterns, sizeof *b->patterns);
}

/* --- chains ---------------------------------------------------------------------------------- */

/* `dns = "remote"` means that the last hop gets names, also where its scheme alone would not. */
static void take_names(struct vd_hop *hop)
{
    if (hop->scheme == VD_SOCKS4)
        hop->scheme = VD_SOCKS4A;
    if (hop->scheme == VD_SOCKS5)
        hop->scheme = VD_SOCKS5H;
}

/* The hops of a chain as they are, at `hops`. */
static void take_hops(const struct build *b, const struct vd_conf_chain *from, struct vd_hop *hops)
{
    bool any_order = from->mode != VD_MODE_STRICT; /* each may come to be the first, or the last */

    memcpy(hops, from->hops, from->hop_count * sizeof *hops);
    if (b->effective->conf.isolate)
        isolate_hops(hops, from->hop_count);
    if (b->effective->conf.dns == VD_DNS_REMOTE)
        for (size_t i = any_order ? 0 : from->hop_count - 1; i < from->hop_count; i++)
            take_names(&hops[i]);
    resolve_hops(from->title, hops, from->hop_count, any_order);
}

/* How many of the first hops another stands for, which is at `hops`, before them; 0: none is. */
static size_t put_front(const struct build *b, const struct vd_conf_chain *from,
                        struct vd_hop *hops)
{
    const struct vd_conf_client *conf = &b->effective->conf;
    const struct options *o = b->options;
    size_t span = private_span(from, hops + 1, conf->dns);

    if ((span > 0 && o->trace) || o->trace_data > 0)
        span = from->hop_count; /* who carries hops, and what goes behind them, sees their bytes */
    if (span > 0 && private_prepare(hops, from, hops + 1, span, conf, o->trace_data > 0))
        return span;
    if (span > 0)
        say_note("chain `%s`: a first hop has IPv6 addresses only, and viaductd is missing; IPv4 "
                 "sockets are refused",
                 from->title);
    memmove(hops, hops + 1, from->hop_count * sizeof *hops);
    return 0;
}

/* The index in the plan; a chain is put in when it is asked for first. */
static uint16_t chain_index(struct build *b, const char *title)
{
    const struct vd_conf_chain *from = vd_conf_client_chain(&b->effective->conf, title);
    struct vd_hop *hops = b->hops + b->head.hop_count;

    for (uint16_t i = 0; i < b->head.chain_count; i++)
        if (!strcmp(b->chains[i].title, title))
            return i;

    struct plan_chain *chain = &b->chains[b->head.chain_count];
    copy_title(chain->title, title);
    take_hops(b, from, hops + 1);
    size_t span = put_front(b, from, hops), others = from->hop_count - span;
    uint16_t next = b->head.hop_count;
    chain->mode = (uint8_t)(span ? VD_MODE_STRICT : from->mode);
    chain->pick = (uint8_t)(span ? 0 : from->pick);
    if (span > 0)
        chain->hops[chain->count++] = next++;
    next = (uint16_t)(next + span);
    for (size_t i = 0; i < others; i++)
        chain->hops[chain->count++] = next++;
    b->head.hop_count = next;
    return b->head.chain_count++;
}

/* --- rules ----------------------------------------------------------------------------------- */

static struct plan_rule *add_rule(struct build *b, const char *title,
                                  const struct vd_pattern *patterns, size_t count)
{
    struct plan_rule *rule = &b->rules[b->head.rule_count++];

    copy_title(rule->title, title);
    rule->pattern_first = b->head.pattern_count;
    rule->pattern_count = (uint16_t)count;
    if (count > 0)
        memcpy(b->patterns + b->head.pattern_count, patterns, count * sizeof *patterns);
    b->head.pattern_count = (uint16_t)(b->head.pattern_count + count);
    return rule;
}

static void add_rules(struct build *b)
{
    const struct vd_conf_client *c = &b->effective->conf;

    for (size_t i = 0; i < c->rule_count; i++) {
        const struct vd_conf_rule *from = &c->rules[i];
        struct plan_rule *rule = add_rule(b, from->title, from->match, from->match_count);
        rule->action = (uint8_t)from->action;
        rule->listen = (uint8_t)from->listen;
        rule->chain = from->action == VD_RULE_CHAIN ? chain_index(b, from->chain) : 0;
    }
    if (c->bypass_count > 0)
        add_rule(b, "bypass", c->bypass, c->bypass_count)->action = PLAN_DIRECT;
}

/* --- the head -------------------------------------------------------------------------------- */

static void split64(uint32_t halves[2], uint64_t value)
{
    halves[0] = (uint32_t)value;
    halves[1] = (uint32_t)(value >> 32);
}

static void set_stderr(struct plan *head)
{
    struct stat st;

    if (fstat(STDERR_FILENO, &st) < 0)
        return;
    head->has_stderr = 1;
    split64(head->stderr_dev, st.st_dev);
    split64(head->stderr_ino, st.st_ino);
}

/* The program may change its directory before it has something to log. */
static void set_log(struct plan *head, const char *log)
{
    char dir[PATH_MAX] = "";
    int len;

    if (!log)
        return;
    if (*log != '/' && !getcwd(dir, sizeof dir))
        say_die(EXIT_OWN, "--log %s: the working directory: %s", log, strerror(errno));
    len = snprintf(head->log, sizeof head->log, "%s%s%s", dir, *log == '/' ? "" : "/", log);
    if (len > PLAN_LOG_MAX)
        say_die(EXIT_OWN, "--log %s: too long; allowed: an absolute path of up to %d bytes", log,
                PLAN_LOG_MAX);
    head->has_log = 1;
}

static_assert(PLAN_SERVERS_MAX == (int)VD_NAMESERVERS_MAX, "as many as can be configured");

static void set_servers(struct plan *head, const struct vd_conf_client *c)
{
    head->names_by_chain = c->dns == VD_DNS_CHAIN;
    for (size_t i = 0; head->names_by_chain && i < c->nameserver_count; i++)
        head->servers[head->server_count++] =
            (struct plan_server){.ip = c->nameservers[i].ip, .port = c->nameservers[i].port};
}

static void set_head(struct build *b, const struct options *o)
{
    const struct vd_conf_client *c = &b->effective->conf;
    struct plan *head = &b->head;

    head->dns = (uint8_t)(c->dns == VD_DNS_CHAIN ? VD_DNS_REMOTE : c->dns);
    head->udp = (uint8_t)c->udp;
    head->listen = (uint8_t)c->listen;
    head->verbosity = (uint8_t)o->verbosity;
    head->log_json = o->log_json;
    head->audit = o->audit;
    head->engine = (uint8_t)o->engine;
    head->strict = o->strict;
    head->timeout_ms = c->timeout_ms;
    set_servers(head, c);
    set_stderr(head);
    set_log(head, o->log);
}

struct plan *build_plan(const struct effective *e, const struct options *o)
{
    struct build b = {.effective = e, .options = o};

    make_room(&b);
    set_head(&b, o);
    b.head.chain = chain_index(&b, e->chain);
    add_rules(&b);
    if (!range_choose(&b.head, b.hops, b.patterns))
        say_die(EXIT_OWN, "no range of addresses is free to stand for names; one of 198.18.0.0/15, "
                          "100.126.0.0/15, 100.112.0.0/15, 10.254.0.0/15, 10.250.0.0/15 and "
                          "172.30.0.0/15 must be in no route, interface or rule");
    struct plan *plan = plan_make(&b.head, b.hops, b.chains, b.rules, b.patterns);
    if (!plan)
        say_die(EXIT_OWN, "out of memory");
    free(b.hops);
    free(b.chains);
    free(b.rules);
    free(b.patterns);
    return plan;
}
