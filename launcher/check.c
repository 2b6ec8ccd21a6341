#include "launcher/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/session.h"
#include "launcher/check_state.h"
#include "launcher/resolve.h"
#include "launcher/say.h"
#include "launcher/trace.h"
#include "proto/err.h"

#define MS_NS INT64_C(1000000)

static int64_t since(const struct check *c, int64_t ns)
{
    return ns - c->start_ns;
}

static void add_step(struct check *c, struct check_step step)
{
    if (c->step_count < CHECK_STEPS)
        c->steps[c->step_count++] = step;
}

/* --- names ----------------------------------------------------------------------------------- */

static bool fail_name(struct check *c, unsigned at, const char *what, const char *why)
{
    snprintf(c->message, sizeof c->message, "%s: %s", what, why);
    snprintf(c->advice, sizeof c->advice,
             "check how it is spelled, and this machine's name servers (`getent hosts %s`)",
             at < c->count ? c->hops[at].at.name : c->target.name);
    c->failed = at < c->count ? at : c->count - 1;
    return false;
}

static bool resolve(struct check *c, struct vd_hop *hop, unsigned at, const char *what)
{
    int64_t began = talk_now_ns();
    char why[RESOLVE_WHY];
    bool found;

    check_progress(c, "looking up names");
    found = resolve_name(hop, (int)((c->end_ns - began) / MS_NS), why);
    add_step(c, (struct check_step){(uint8_t)(at < c->count ? at : c->count - 1), CHECK_RESOLVE,
                                    !found, 0, since(c, began), since(c, talk_now_ns())});
    return found || fail_name(c, at, what, why);
}

/* The target's name is this machine's to resolve where the last hop takes addresses only. */
static bool resolve_target(struct check *c)
{
    const struct vd_hop *last = &c->hops[c->count - 1];
    struct vd_hop target = {.at = c->target};

    if (!c->has_target || !vd_endpoint_is_name(&c->target) || vd_hop_takes_names(last))
        return true;
    if (!resolve(c, &target, c->count, "the target"))
        return false;
    snprintf(c->warnings[c->warning_count++], sizeof c->warnings[0],
             "the name %s was looked up on this machine, as %s says; with %s the hop does it",
             c->target.name, vd_scheme_name((enum vd_scheme)last->scheme),
             last->scheme == VD_SOCKS4 ? "socks4a" : "socks5h");
    for (unsigned i = 0; i < target.addr_count; i++)
        if (i == 0 || target.addrs[i].family == VD_IPV4) {
            vd_endpoint_set_ip(&c->target, &target.addrs[i], c->target.port);
            if (target.addrs[i].family == VD_IPV4)
                break;
        }
    return true;
}

static bool resolve_all(struct check *c)
{
    for (unsigned i = 0; i < c->count; i++) {
        char url[VD_URL_TEXT], what[VD_URL_TEXT + 32];
        struct vd_out out = vd_out_over(url, sizeof url);

        if (!vd_endpoint_is_name(&c->hops[i].at) || c->hops[i].unix_len > 0 ||
            (i > 0 && vd_hop_takes_names(&c->hops[i - 1])))
            continue;
        vd_url_print(&out, &c->hops[i]);
        snprintf(what, sizeof what, "hop %u of %u (%s)", c->first + i + 1, c->of,
                 vd_out_string(&out));
        if (!resolve(c, &c->hops[i], i, what))
            return false;
    }
    return resolve_target(c);
}

/* --- the way --------------------------------------------------------------------------------- */

static enum check_kind kind_of(unsigned stage)
{
    return stage == TALK_TLS          ? CHECK_TLS
           : stage == VD_STAGE_METHOD ? CHECK_METHOD
           : stage == VD_STAGE_LOGIN  ? CHECK_LOGIN
                                      : CHECK_REQUEST;
}

/* From the marks of the talk, and what it waited for when it was over. */
static void take_steps(struct check *c, bool failed)
{
    const struct talk *t = &c->talk;
    unsigned stage = t->tls_is_due ? (unsigned)TALK_TLS : t->chain.shake.stage;
    int64_t from = t->up_ns;
    unsigned at = t->chain.cause ? t->chain.at - 1u : t->chain.at;

    if (!t->began_ns)
        return;
    add_step(c, (struct check_step){0, CHECK_DIAL, !t->up, 0, since(c, t->began_ns),
                                    since(c, t->up ? t->up_ns : t->over_ns)});
    for (unsigned i = 0; i < t->mark_count; i++) {
        const struct talk_mark *m = &t->marks[i];

        add_step(c, (struct check_step){m->at, (uint8_t)kind_of(m->stage), false, m->code,
                                        since(c, from), since(c, m->ns)});
        from = m->ns;
    }
    if (t->up && (failed || t->chain.shake.stage != VD_STAGE_DONE))
        add_step(c, (struct check_step){(uint8_t)at, (uint8_t)kind_of(stage), failed,
                                        t->chain.shake.code, since(c, from), since(c, t->over_ns)});
}

static void show_talk(void *whom, const struct talk *t)
{
    const struct check *c = whom;
    char text[64];

    snprintf(text, sizeof text, "hop %u of %u", c->first + t->chain.at + 1u, c->of);
    check_progress(c, text);
}

/* As a proxy answers that will not, or cannot, do what it is asked for. */
static bool is_answer(const struct check *c, int r)
{
    return talk_was_answered(&c->talk, r) && r != -VD_ERR_METHOD && r != -VD_ERR_IDENT &&
           r != -VD_ERR_IDENT_USER && !check_is_portal(&c->talk) && !check_is_web_server(&c->talk);
}

/* ssh -D closes on every request that it will not carry out. */
static bool is_ssh(struct check *c)
{
    unsigned last = c->count - 1;
    const struct talk *t = &c->talk;

    if (check_closed_on_request(t))
        return true;
    return c->hops[last].scheme <= VD_SOCKS4A && t->up && t->ended && t->chain.at == last &&
           !t->chain.cause && check_other_scheme(c, last) == VD_SOCKS5H;
}

/* With a target it must be reached; else it is enough that the last hop answers. */
static bool is_fine(struct check *c, int r)
{
    if (c->has_target)
        return r == VD_DONE && !check_is_portal(&c->talk);
    return is_answer(c, r) || is_ssh(c);
}

static void go_the_way(struct check *c)
{
    struct talk *t = &c->talk;
    int r;

    t->path = check_path(c, c->count);
    t->end_ns = c->end_ns;
    t->greet_ms =
        (uint32_t)((c->end_ns - c->start_ns) / MS_NS / 3); /* leaves time for other tries */
    t->stage_ms = t->greet_ms * 2;
    t->progress = show_talk;
    t->whom = c;
    if (c->has_target) {
        t->command = VD_CONNECT;
        t->target = c->target;
    } else {
        check_set_idle(c, c->count - 1, t);
    }
    check_progress(c, "dialling hop 1");
    r = talk(t);
    c->ok = is_fine(c, r);
    take_steps(c, !c->ok);
    if (!c->ok) {
        c->failed = t->chain.at;
        check_advise(c, r);
    }
}

/* By which family a name was reached the hop's own address tells, where it gives one. */
static void know_by_bound(const struct check *c, uint8_t *answers)
{
    const struct vd_ip *bound = &c->talk.chain.shake.bound_ip;
    static const uint8_t none[16];

    if (c->hops[c->count - 1].scheme > VD_SOCKS5H || !memcmp(bound->bytes, none, sizeof none))
        return;
    answers[bound->family == VD_IPV6 ? CHECK_NAMES6 : CHECK_NAMES4] = CHECK_YES;
}

/* That the target was reached shows something, too. */
static void know_by_target(struct check *c)
{
    uint8_t *answers = c->answers[c->count - 1];

    if (!c->has_target)
        return;
    if (vd_endpoint_is_name(&c->target)) {
        answers[CHECK_NAMES] = CHECK_YES;
        know_by_bound(c, answers);
    } else {
        answers[c->target.ip.family == VD_IPV6 ? CHECK_IPV6 : CHECK_IPV4] = CHECK_YES;
    }
}

static void check_way(struct check *c)
{
    if (resolve_all(c))
        go_the_way(c);
    if (c->ok) {
        check_progress(c, "asking what the hops can do");
        check_try_abilities(c);
        know_by_target(c);
    }
    check_warn(c);
    c->over_ns = since(c, talk_now_ns());
    check_progress(c, "");
}

/* --- what is checked ------------------------------------------------------------------------- */

static void take_names(struct vd_hop *hop)
{
    if (hop->scheme == VD_SOCKS4)
        hop->scheme = VD_SOCKS4A;
    if (hop->scheme == VD_SOCKS5)
        hop->scheme = VD_SOCKS5H;
}

static void read_target(struct check *c, const char *text)
{
    int r = vd_endpoint_read(&c->target, text, strlen(text), 0);

    if (r < 0)
        say_die(EXIT_OWN, "--check: `%s` is no target: %s; allowed: HOST:PORT, [IPV6]:PORT", text,
                r == -VD_ERR_NAME_FORM ? "bad host" : "it has no port, or none from 1 to 65535");
    c->has_target = true;
}

/* Trace points look into the session's plan. */
static void adopt_plan(const struct vd_conf_chain *chain, const struct options *o)
{
    struct plan_chain title = {.count = 1};
    struct plan head = {.verbosity = PLAN_FAILURES,
                        .hop_count = 1,
                        .chain_count = 1,
                        .placeholder4 = {.family = VD_IPV4},
                        .placeholder6 = {.family = VD_IPV6},
                        .placeholder4_bits = 8};
    struct plan *plan;
    const char *why;

    if (!o->trace && !o->trace_secrets && o->trace_format == PLAN_TRACE_OFF)
        return;
    plan = plan_make(&head, chain->hops, &title, NULL, NULL);
    if (!plan)
        say_die(EXIT_OWN, "out of memory");
    trace_setup(plan, o);
    if (session_adopt(plan, &why) != SESSION_READY)
        say_die(EXIT_OWN, "--trace: %s", why);
}

/* Of hops that stand in for each other each is a way of its own. */
static void set_way(struct check *c, const struct effective *e, const struct vd_conf_chain *chain,
                    unsigned first, unsigned count)
{
    c->title = chain->title;
    c->first = first;
    c->count = count;
    c->of = (unsigned)chain->hop_count;
    memcpy(c->hops, chain->hops + first, count * sizeof *c->hops);
    if (e->conf.dns == VD_DNS_REMOTE)
        take_names(&c->hops[count - 1]);
    c->start_ns = talk_now_ns();
    c->end_ns = c->start_ns + e->conf.timeout_ms * MS_NS;
}

static bool stand_in(const struct vd_conf_chain *chain)
{
    return chain->mode != VD_MODE_STRICT && chain->mode != VD_MODE_DYNAMIC;
}

int check_chain(const struct effective *e, const struct options *o)
{
    const struct vd_conf_chain *chain = vd_conf_client_chain(&e->conf, e->chain);
    unsigned count = stand_in(chain) ? (unsigned)chain->hop_count : 1;
    struct check *ways = calloc(count, sizeof *ways);
    bool ok = true;

    if (!ways)
        say_die(EXIT_OWN, "out of memory");
    adopt_plan(chain, o);
    for (unsigned i = 0; i < count; i++) {
        struct check *c = &ways[i];

        if (o->check_target)
            read_target(c, o->check_target);
        set_way(c, e, chain, i, count > 1 || stand_in(chain) ? 1 : (unsigned)chain->hop_count);
        c->shows_progress = !o->json && isatty(STDOUT_FILENO);
        check_way(c);
        ok = ok && c->ok;
        if (!o->json)
            check_print(c);
    }
    if (o->json)
        check_print_json(ways, count);
    free(ways);
    if (fflush(stdout) || ferror(stdout))
        return EXIT_OWN;
    return ok ? 0 : 1;
}
