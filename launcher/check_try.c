/*
 * Each question is a talk in a thread of its own; they share nothing but the answers, of which each
 * has its place. A hop that is in no hurry with one of them holds up no other.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/check_state.h"
#include "proto/err.h"

enum {
    PATIENCE_MS = 5000, /* for one question */
    OTHER_MS = 1000,    /* for another protocol on the same port */
    IDLE_PORT = 443,
    CLOSED_PORT = 1
};

static const char nowhere[] = "viaduct-check.invalid"; /* RFC 6761 section 6.4 */

struct question {
    struct check *check;
    unsigned at;
    enum check_ability ability;
    struct talk talk;
    struct vd_hop hops[VD_HOPS_MAX]; /* where the hop is asked as another than it is */
    pthread_t thread;
    bool runs;
};

struct vd_path check_path(const struct check *c, unsigned count)
{
    struct vd_path path = {.hops = c->hops, .count = (uint8_t)count, .tls = true};

    for (unsigned i = 0; i < count; i++)
        path.order[i] = (uint16_t)i;
    return path;
}

static bool is_socks5(const struct vd_hop *hop)
{
    return hop->scheme == VD_SOCKS5 || hop->scheme == VD_SOCKS5H;
}

static bool is_socks(const struct vd_hop *hop)
{
    return hop->scheme <= VD_SOCKS5H;
}

static void set_nowhere(struct vd_endpoint *target, const struct vd_hop *hop)
{
    *target = (struct vd_endpoint){.ip = {.family = VD_IPV4}};
    if (vd_hop_takes_names(hop))
        vd_endpoint_set_name(target, nowhere, sizeof nowhere - 1, IDLE_PORT);
}

void check_set_idle(const struct check *c, unsigned at, struct talk *t)
{
    const struct vd_hop *hop = &c->hops[at];

    t->command = is_socks5(hop) ? VD_PROBE : VD_CONNECT;
    set_nowhere(&t->target, hop);
    if (is_socks5(hop))
        t->target = (struct vd_endpoint){.ip = {.family = VD_IPV4}};
}

bool check_closed_on_request(const struct talk *t)
{
    return t->up && t->ended && t->chain.at + 1u == t->chain.path.count && !t->chain.cause &&
           is_socks5(t->chain.shake.hop) && t->chain.shake.stage == VD_STAGE_REPLY;
}

/* --- one question ---------------------------------------------------------------------------- */

static void begin(struct question *q)
{
    struct talk *t = &q->talk;
    int64_t limit_ns = talk_now_ns() + PATIENCE_MS * INT64_C(1000000);

    t->path = check_path(q->check, q->at + 1);
    t->end_ns = limit_ns < q->check->end_ns ? limit_ns : q->check->end_ns;
    t->command = VD_CONNECT;
    t->target = (struct vd_endpoint){.ip = {.family = VD_IPV4}};
}

/* As the last hop of its way, under another scheme. */
static void ask_as(struct question *q, enum vd_scheme scheme)
{
    memcpy(q->hops, q->check->hops, sizeof q->hops);
    q->hops[q->at].scheme = (uint8_t)scheme;
    q->talk.path.hops = q->hops;
}

static enum check_answer granted(const struct talk *t, int r)
{
    if (r == VD_DONE)
        return CHECK_YES;
    if (r == -VD_ERR_SILENT || r == -VD_ERR_BUSY)
        return CHECK_UNCLEAR;
    return talk_was_answered(t, r) || t->ended ? CHECK_NO : CHECK_UNCLEAR;
}

/* Whether it takes this kind of address: any other reason to refuse it is as good as a yes. */
static enum check_answer understood_by(const struct talk *t, int r, uint8_t family)
{
    if (r == -VD_ERR_ADDRESS_TYPE)
        return CHECK_NO;
    if (r == -VD_ERR_NET && family == VD_IPV6)
        return CHECK_UNCLEAR; /* no way for IPv6, or none to this address */
    if (r == -VD_ERR_SILENT && t->chain.at + 1u == t->chain.path.count &&
        t->chain.shake.stage == VD_STAGE_REPLY)
        return CHECK_YES; /* it tries */
    return talk_was_answered(t, r) ? CHECK_YES : CHECK_UNCLEAR;
}

static enum check_answer understood(const struct talk *t, int r)
{
    return understood_by(t, r, t->target.ip.family);
}

static enum check_answer ask_names(struct question *q)
{
    if (is_socks5(&q->check->hops[q->at]))
        ask_as(q, VD_SOCKS5H);
    else if (is_socks(&q->check->hops[q->at]))
        ask_as(q, VD_SOCKS4A);
    vd_endpoint_set_name(&q->talk.target, nowhere, sizeof nowhere - 1, IDLE_PORT);
    return understood(&q->talk, talk(&q->talk));
}

/* The unspecified address or, for a hop to which that is none (dante), its own. */
static struct vd_ip address_of(uint8_t family, bool own)
{
    struct vd_ip ip = {.family = family};

    if (own && family == VD_IPV6)
        ip.bytes[15] = 1;
    if (own && family == VD_IPV4) {
        ip.bytes[0] = 127;
        ip.bytes[3] = 1;
    }
    return ip;
}

static void begin_anew(struct question *q)
{
    const struct vd_hop *hops = q->talk.path.hops;

    memset(&q->talk, 0, sizeof q->talk);
    begin(q);
    q->talk.path.hops = hops;
    q->talk.target.port = CLOSED_PORT;
}

static enum check_answer ask_name(struct question *q, uint8_t family, bool own, int code_of_none)
{
    struct vd_ip ip = address_of(family, own);
    char digits[64];
    struct vd_out out = vd_out_over(digits, sizeof digits);
    int r;

    vd_ip_print(&out, &ip);
    begin_anew(q);
    memcpy(q->talk.target.name, digits, out.len);
    q->talk.target.name_len = (uint8_t)out.len;
    r = talk(&q->talk);
    if (q->talk.chain.shake.code == code_of_none)
        return CHECK_UNCLEAR;
    return understood_by(&q->talk, r, family);
}

/* As a name, an address in digits is resolved to itself, and nobody is asked: a hop that goes on by
 * this family answers otherwise than for a name that does not exist. It is no name to our own
 * reader of targets, which is not asked. */
static enum check_answer ask_names_by(struct question *q, uint8_t family)
{
    int code = ask_names(q) == CHECK_YES ? q->talk.chain.shake.code : 0;
    enum check_answer answer = code ? ask_name(q, family, false, code) : CHECK_UNCLEAR;

    return answer == CHECK_NO ? ask_name(q, family, true, code) : answer;
}

static enum check_answer ask_address(struct question *q, uint8_t family)
{
    enum check_answer answer = CHECK_NO;

    for (int own = 0; own < 2 && answer == CHECK_NO; own++) {
        begin_anew(q);
        q->talk.target.ip = address_of(family, own);
        answer = understood(&q->talk, talk(&q->talk));
    }
    return answer;
}

static enum check_answer ask_command(struct question *q, enum vd_command command)
{
    q->talk.command = command;
    return granted(&q->talk, talk(&q->talk));
}

/* Some servers close instead of answering such a command, however it comes. */
static bool closes_anyway(struct question *q)
{
    memset(&q->talk, 0, sizeof q->talk);
    begin(q);
    q->talk.command = VD_PROBE;
    talk(&q->talk);
    return check_closed_on_request(&q->talk);
}

static enum check_answer ask_flight(struct question *q)
{
    int r;

    q->talk.command = VD_PROBE;
    q->talk.in_flight = true;
    r = talk(&q->talk);
    if (talk_was_answered(&q->talk, r))
        return CHECK_YES;
    if (r != VD_AGAIN || q->talk.silent)
        return r == VD_AGAIN ? CHECK_NO : CHECK_UNCLEAR;
    return closes_anyway(q) ? CHECK_YES : CHECK_NO;
}

/* The first connection gets the cookie, if there is any; the second one shows whether it counts. */
static enum check_answer ask_fast_open(struct question *q)
{
    for (int i = 0; i < 2; i++) {
        memset(&q->talk, 0, sizeof q->talk);
        begin(q);
        check_set_idle(q->check, q->at, &q->talk);
        q->talk.fast_open = true;
        talk(&q->talk);
        if (!q->talk.up)
            return CHECK_UNCLEAR;
    }
    return q->talk.syn_carried ? CHECK_YES : CHECK_NO;
}

static enum check_answer ask(struct question *q)
{
    begin(q);
    switch (q->ability) {
    case CHECK_NAMES:
        return ask_names(q);
    case CHECK_IPV4:
        return ask_address(q, VD_IPV4);
    case CHECK_IPV6:
        return ask_address(q, VD_IPV6);
    case CHECK_UDP:
        return ask_command(q, VD_ASSOCIATE);
    case CHECK_BIND:
        return ask_command(q, VD_BIND);
    case CHECK_FLIGHT:
        return ask_flight(q);
    case CHECK_FAST_OPEN:
        return ask_fast_open(q);
    case CHECK_NAMES4:
        return ask_names_by(q, VD_IPV4);
    case CHECK_NAMES6:
        return ask_names_by(q, VD_IPV6);
    case CHECK_ABILITIES:
        break;
    }
    return CHECK_UNTRIED;
}

static void *run(void *argument)
{
    struct question *q = argument;

    q->check->answers[q->at][q->ability] = (uint8_t)ask(q);
    return NULL;
}

/* --- all of them ----------------------------------------------------------------------------- */

/* What a hop is asked depends on its protocol and its place: names, addresses and BIND are the last
 * one's business, datagrams pass all of them, the SYN goes to the first. */
static bool applies(const struct check *c, unsigned at, enum check_ability ability)
{
    const struct vd_hop *hop = &c->hops[at];
    bool last = at + 1 == c->count;

    switch (ability) {
    case CHECK_NAMES:
    case CHECK_IPV4:
        return last;
    case CHECK_IPV6:
        return last && (is_socks5(hop) || !is_socks(hop));
    case CHECK_UDP:
    case CHECK_FLIGHT:
        return is_socks5(hop);
    case CHECK_BIND:
        return last && is_socks(hop);
    case CHECK_FAST_OPEN:
        return at == 0 && hop->unix_len == 0;
    case CHECK_NAMES4:
    case CHECK_NAMES6:
        return last && is_socks(hop); /* HTTP has no other form for an address */
    case CHECK_ABILITIES:
        break;
    }
    return false;
}

static void start(struct question *q, struct check *c, unsigned at, enum check_ability ability)
{
    q->check = c;
    q->at = at;
    q->ability = ability;
    q->runs = pthread_create(&q->thread, NULL, run, q) == 0;
    if (!q->runs)
        c->answers[at][ability] = CHECK_UNCLEAR;
}

void check_try_abilities(struct check *c)
{
    struct question *all = calloc((size_t)c->count * CHECK_ABILITIES, sizeof *all);
    unsigned count = 0;

    for (unsigned at = 0; all && at < c->count; at++)
        for (int ability = 0; ability < CHECK_ABILITIES; ability++)
            if (applies(c, at, (enum check_ability)ability))
                start(&all[count++], c, at, (enum check_ability)ability);
    for (unsigned i = 0; i < count; i++)
        if (all[i].runs)
            pthread_join(all[i].thread, NULL);
    free(all);
}

/* --- another protocol on the port ------------------------------------------------------------ */

/* Whether the hop has answered in the words of this protocol, whatever. */
static bool speaks(const struct talk *t, int r)
{
    const struct vd_shake *s = &t->chain.shake;

    if (!t->up || t->chain.at + 1u != t->chain.path.count || t->chain.cause)
        return false;
    return r == VD_DONE || (is_socks5(s->hop) && s->stage > VD_STAGE_METHOD) ||
           (s->code != 0 && r != -VD_ERR_PROTOCOL);
}

static bool answers_as(struct check *c, unsigned at, enum vd_scheme scheme)
{
    struct question *q = calloc(1, sizeof *q);
    struct vd_hop *hop;
    bool found = false;

    if (!q)
        return false;
    q->check = c;
    q->at = at;
    begin(q);
    ask_as(q, scheme);
    q->talk.stage_ms = q->talk.dial_ms = OTHER_MS;
    hop = &q->hops[at];
    hop->has_login = hop->user_len = hop->password_len = 0;
    q->talk.command = is_socks5(hop) ? VD_PROBE : VD_CONNECT;
    set_nowhere(&q->talk.target, hop);
    if (is_socks5(hop))
        q->talk.target = (struct vd_endpoint){.ip = {.family = VD_IPV4}};
    found = speaks(&q->talk, talk(&q->talk));
    free(q);
    return found;
}

enum vd_scheme check_other_scheme(struct check *c, unsigned at)
{
    static const enum vd_scheme others[] = {VD_HTTP, VD_SOCKS5H, VD_SOCKS4A};
    const struct vd_hop *hop = &c->hops[at];

    check_progress(c, "trying what else answers there");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        bool same = others[i] == VD_HTTP
                        ? hop->scheme == VD_HTTP
                        : (others[i] == VD_SOCKS5H ? is_socks5(hop) : hop->scheme <= VD_SOCKS4A);

        if (!same && talk_now_ns() < c->end_ns && answers_as(c, at, others[i]))
            return others[i];
    }
    return (enum vd_scheme)0;
}
