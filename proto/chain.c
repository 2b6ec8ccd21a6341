/*
 * A chain is the shake with the first hop, then on the same stream the shake with the next one, up
 * to the last, whose target is the chain's own. One shake is kept: that of the hop whose answer is
 * awaited, the listener. What is said next is kept apart from it, as a place in the sequence of all
 * messages: message by message it is the listener's own, in a flight it runs ahead as far as the
 * hops between allow.
 *
 *     METHOD, LOGIN, REPLY of hop 1 | REPLY of hop 2 (HTTP) | METHOD, REPLY of hop 3 | done
 *        ^ heard next                          ^ said next
 */
#include "proto/chain.h"

#include <assert.h>
#include <string.h>

#include "proto/err.h"
#include "proto/shake_codec.h"

const struct vd_hop *vd_path_hop(const struct vd_path *path, unsigned position)
{
    assert(position < path->count);
    return path->hops + path->order[position];
}

static unsigned span(const struct vd_path *path, unsigned position)
{
    unsigned others = vd_path_hop(path, position)->stands_for;

    return others ? others : 1;
}

/* The number of the first hop at a position, from 1; at the path's end: one more than there are. */
static unsigned number_of(const struct vd_path *path, unsigned position)
{
    unsigned number = 1;

    for (unsigned i = 0; i < position; i++)
        number += span(path, i);
    return number;
}

void vd_path_name(struct vd_out *out, const struct vd_path *path, unsigned position)
{
    unsigned first = number_of(path, position), many = span(path, position);

    vd_out_text(out, many > 1 ? "hops " : "hop ");
    vd_out_uint(out, first);
    vd_out_text(out, many > 1 ? " to " : "");
    if (many > 1)
        vd_out_uint(out, first + many - 1);
    vd_out_text(out, " of ");
    vd_out_uint(out, number_of(path, path->count) - 1);
    vd_out_text(out, " (");
    vd_url_print(out, vd_path_hop(path, position));
    vd_out_text(out, ")");
}

static bool is_last(const struct vd_chain *c, unsigned position)
{
    return position + 1u == c->path.count;
}

/* What the hop at a position is asked for: the next hop, by name where it can, or the target. */
static int target_of(const struct vd_chain *c, unsigned position, struct vd_endpoint *target)
{
    const struct vd_hop *hop = vd_path_hop(&c->path, position), *next;

    if (is_last(c, position)) {
        *target = c->target;
        return VD_OK;
    }
    next = vd_path_hop(&c->path, position + 1u);
    *target = next->at;
    if (!vd_endpoint_is_name(target) || vd_hop_takes_names(hop))
        return VD_OK;
    if (next->addr_count == 0)
        return -VD_ERR_ADDRESS_TYPE;
    vd_endpoint_set_ip(target, &next->addrs[0], next->at.port);
    return VD_OK;
}

static bool is_socks5(const struct vd_hop *hop)
{
    return hop->scheme == VD_SOCKS5 || hop->scheme == VD_SOCKS5H;
}

static unsigned up_to(unsigned position)
{
    return (2u << position) - 1;
}

uint16_t vd_path_suspects(const struct vd_path *path, unsigned position)
{
    unsigned unproven = path->flights & ~path->proven & up_to(position);
    unsigned last_two = position > 0 ? 3u << (position - 1) : 1;

    return (uint16_t)(unproven ? unproven : last_two);
}

/* The last hop is told nothing more when its protocol has one message only. */
uint16_t vd_path_proves(const struct vd_path *path)
{
    unsigned last = path->count - 1u, told = path->flights;

    if (!is_socks5(vd_path_hop(path, last)))
        told &= ~(1u << last);
    return (uint16_t)told;
}

static bool flies(const struct vd_chain *c, unsigned position)
{
    return c->path.flights >> position & 1;
}

static int start_shake(const struct vd_chain *c, struct vd_shake *s, unsigned position)
{
    const struct vd_hop *hop = vd_path_hop(&c->path, position);
    enum vd_command command = is_last(c, position) ? (enum vd_command)c->command : VD_CONNECT;
    struct vd_endpoint target;
    int r;

    if ((hop->scheme == VD_HTTPS && !c->path.tls) || (hop->unix_len > 0 && position > 0))
        return -VD_ERR_UNSUPPORTED;
    r = target_of(c, position, &target);
    if (r == VD_OK)
        r = vd_shake_start(s, hop, command, &target);
    if (r == VD_OK && s->stage == VD_STAGE_METHOD && hop->has_login && flies(c, position)) {
        s->login_only = 1;
        vd_shake_enter(s, VD_STAGE_METHOD);
    }
    return r;
}

static int enter_hop(struct vd_chain *c, unsigned position)
{
    c->at = (uint8_t)position;
    return start_shake(c, &c->shake, position);
}

/* Up to the next hop that wants TLS nothing has to be done. */
static void skip_plain(struct vd_chain *c)
{
    while (c->secured < c->path.count && vd_path_hop(&c->path, c->secured)->scheme != VD_HTTPS)
        c->secured++;
}

bool vd_chain_awaits_tls(const struct vd_chain *c)
{
    return c->secured == c->at && !c->cause && c->shake.stage != VD_STAGE_DONE;
}

void vd_chain_has_tls(struct vd_chain *c)
{
    assert(vd_chain_awaits_tls(c));
    c->secured++;
    skip_plain(c);
}

static int start_over(struct vd_chain *c)
{
    c->flown = c->cause = c->secured = 0;
    skip_plain(c);
    for (unsigned position = c->path.count; position-- > 0;) {
        int r = enter_hop(c, position);

        if (r < 0)
            return r;
    }
    c->say_at = 0;
    c->say_stage = c->shake.stage;
    c->say_sent = 0;
    return VD_OK;
}

int vd_chain_start(struct vd_chain *c, const struct vd_path *path, enum vd_command command,
                   const struct vd_endpoint *target)
{
    c->path = *path;
    c->target = *target;
    c->command = (uint8_t)command;
    memset(&c->shake, 0, offsetof(struct vd_shake, excerpt));
    memset(&c->at, 0, sizeof *c - offsetof(struct vd_chain, at));
    c->patience_ms = VD_FLIGHT_PATIENCE_MS;
    return start_over(c);
}

void vd_chain_again(struct vd_chain *c)
{
    int r;

    c->path.flights = 0;
    r = start_over(c);
    assert(r == VD_OK); /* it was started before */
    (void)r;
}

/* --- what is said ---------------------------------------------------------------------------- */

/* A message: the one that opens a stage of the handshake with the hop at a position. */
struct message {
    uint8_t at, stage;
};

static struct message said_next(const struct vd_chain *c)
{
    return (struct message){c->say_at, c->say_stage};
}

static struct message heard_next(const struct vd_chain *c)
{
    return (struct message){c->at, c->shake.stage};
}

/* Below 0, 0, above 0: a comes before b, is b, comes after it. */
static int order(struct message a, struct message b)
{
    return a.at != b.at ? a.at - b.at : a.stage - b.stage;
}

static uint8_t first_stage(const struct vd_hop *hop)
{
    return is_socks5(hop) ? VD_STAGE_METHOD : VD_STAGE_REPLY;
}

/* In a flight the hop chooses what is offered. */
static struct message behind(const struct vd_chain *c, struct message m)
{
    if (m.stage == VD_STAGE_METHOD && vd_path_hop(&c->path, m.at)->has_login)
        m.stage = VD_STAGE_LOGIN;
    else if (m.stage < VD_STAGE_REPLY)
        m.stage = VD_STAGE_REPLY;
    else if (is_last(c, m.at))
        m.stage = VD_STAGE_DONE;
    else
        m = (struct message){(uint8_t)(m.at + 1), first_stage(vd_path_hop(&c->path, m.at + 1u))};
    return m;
}

/* What is awaited may be asked for; all further on if every hop up to there takes it early. */
static bool may_say(const struct vd_chain *c, struct message m)
{
    struct message heard = heard_next(c);

    if (m.stage == VD_STAGE_DONE || heard.stage == VD_STAGE_DONE || c->cause || m.at >= c->secured)
        return false;
    if (order(m, heard) == 0)
        return true;
    if (!c->path.flights)
        return false;
    for (unsigned position = heard.at; position < m.at; position++)
        if (!flies(c, position))
            return false;
    return m.stage == first_stage(vd_path_hop(&c->path, m.at)) ? m.at > heard.at : flies(c, m.at);
}

/* The whole message; its length. */
static size_t write_message(const struct vd_chain *c, struct message m, uint8_t *buf, size_t cap)
{
    struct vd_shake s;

    if (start_shake(c, &s, m.at) < 0)
        return 0; /* vd_chain_start tried every hop */
    if (s.stage != m.stage)
        vd_shake_enter(&s, (enum vd_stage)m.stage);
    return vd_shake_pending(&s, buf, cap);
}

/* Whether just one message may be said now: the one whose answer is awaited. */
static bool is_serial(const struct vd_chain *c)
{
    return order(said_next(c), heard_next(c)) == 0 && !may_say(c, behind(c, said_next(c)));
}

static size_t write_flight(const struct vd_chain *c, uint8_t *buf, size_t cap)
{
    uint8_t text[VD_SHAKE_MESSAGE_MAX];
    struct message m = said_next(c);
    size_t len = 0, skip = c->say_sent;

    for (; may_say(c, m); m = behind(c, m), skip = 0) {
        size_t n = write_message(c, m, text, sizeof text) - skip;

        if (len > 0 && n > cap - len)
            break;
        if (n > cap)
            n = cap;
        memcpy(buf + len, text + skip, n);
        len += n;
    }
    return len;
}

size_t vd_chain_pending(const struct vd_chain *c, uint8_t *buf, size_t cap)
{
    if (vd_chain_awaits_tls(c))
        return 0;
    return is_serial(c) ? vd_shake_pending(&c->shake, buf, cap) : write_flight(c, buf, cap);
}

bool vd_chain_speaks(const struct vd_chain *c)
{
    return may_say(c, said_next(c));
}

struct vd_said vd_chain_said(const struct vd_chain *c)
{
    return (struct vd_said){c->say_at, c->say_stage};
}

size_t vd_chain_message(const struct vd_chain *c, struct vd_said *said, uint8_t *buf, size_t cap)
{
    struct message m = {said->at, said->stage}, next = behind(c, m);

    *said = (struct vd_said){next.at, next.stage};
    return write_message(c, m, buf, cap);
}

static size_t length_of(const struct vd_chain *c, struct message m)
{
    uint8_t text[VD_SHAKE_MESSAGE_MAX];

    if (order(m, heard_next(c)) == 0)
        return c->shake.length;
    return write_message(c, m, text, sizeof text);
}

/* The shake that listens has said its word as far as the chain has. */
static void tell_listener(struct vd_chain *c)
{
    int ahead = order(said_next(c), heard_next(c));

    if (ahead < 0) { /* a login that was offered, but not chosen */
        c->say_at = c->at;
        c->say_stage = c->shake.stage;
        c->say_sent = 0;
    }
    c->shake.sent = ahead > 0 ? c->shake.length : c->say_sent;
}

void vd_chain_sent(struct vd_chain *c, size_t n)
{
    while (n > 0) {
        struct message m = said_next(c);
        size_t left = length_of(c, m) - c->say_sent, part = n < left ? n : left;

        assert(may_say(c, m));
        if (order(m, heard_next(c)) > 0) {
            c->flown = 1;
            c->ahead_at = m.at;
            c->ahead_stage = m.stage;
        }
        n -= part;
        c->say_sent = (uint16_t)(c->say_sent + part);
        if (part == left) {
            m = behind(c, m);
            c->say_at = m.at;
            c->say_stage = m.stage;
            c->say_sent = 0;
        }
    }
    tell_listener(c);
}

/* --- what is heard --------------------------------------------------------------------------- */

size_t vd_chain_want(const struct vd_chain *c)
{
    return vd_shake_want(&c->shake);
}

size_t vd_chain_usual(const struct vd_chain *c)
{
    return vd_shake_usual(&c->shake);
}

bool vd_chain_peeks(const struct vd_chain *c)
{
    return vd_shake_peeks(&c->shake);
}

/* The far end's reasons stand first in enum vd_err; servers that give none often mean one of them.
 */
static bool is_about_the_target(int err)
{
    return (-err >= VD_ERR_REFUSED && -err <= VD_ERR_TARGET_RESET) || -err == VD_ERR_FAILED;
}

static int blame(struct vd_chain *c, int err)
{
    if (is_last(c, c->at) || !is_about_the_target(err))
        return err;
    c->cause = (uint8_t)-err;
    c->at++;
    return -VD_ERR_UNREACHABLE;
}

/* What a hop says itself of a request, whatever came with it. */
static bool is_definite(int err)
{
    switch (-err) {
    case VD_ERR_METHOD:
    case VD_ERR_PROTOCOL:
    case VD_ERR_TOO_LONG:
    case VD_ERR_CLOSED:
    case VD_ERR_RESET:
    case VD_ERR_SILENT:
        return false;
    default:
        return true;
    }
}

/* Whether the answer that is awaited may be missing on account of the flight: something was told
 * ahead of it, or it is itself to something that was. */
static bool is_in_flight(const struct vd_chain *c)
{
    return c->flown && order(heard_next(c), (struct message){c->ahead_at, c->ahead_stage}) <= 0;
}

/* Whether so far no flight has shown that all of these hops bear one. */
static bool is_unproven(const struct vd_chain *c)
{
    return c->path.flights & ~c->path.proven & up_to(c->at);
}

static int conclude(struct vd_chain *c, int err)
{
    size_t len;
    bool definite = is_definite(err) || vd_shake_told(&c->shake, &len);

    return is_in_flight(c) && !definite ? VD_AGAIN : blame(c, err);
}

static int feed_hop(struct vd_chain *c, const uint8_t *data, size_t len, size_t *used)
{
    int r = vd_shake_feed(&c->shake, data, len, used);

    if (r < 0)
        return conclude(c, r);
    if (r == VD_DONE && !is_last(c, c->at)) {
        r = enter_hop(c, c->at + 1u);
        assert(r == VD_OK); /* vd_chain_start tried every hop */
    }
    tell_listener(c);
    return r;
}

int vd_chain_feed(struct vd_chain *c, const uint8_t *data, size_t len, size_t *used)
{
    int r;

    assert(!vd_chain_awaits_tls(c));
    *used = 0;
    do {
        size_t n = 0;

        r = feed_hop(c, data + *used, len - *used, &n);
        *used += n;
    } while (r == VD_MORE && *used < len && !vd_chain_speaks(c) && !vd_chain_awaits_tls(c));
    return r;
}

/* Closing is how some hops refuse a login, and how others cannot stand a flight. */
int vd_chain_lost(struct vd_chain *c, enum vd_loss loss)
{
    int r = vd_shake_lost(&c->shake, loss);

    if (loss == VD_LOSS_SILENT && !is_unproven(c))
        return blame(c, r);
    if (is_in_flight(c) && r == -VD_ERR_LOGIN)
        return VD_AGAIN;
    return conclude(c, r);
}

void vd_chain_next(struct vd_chain *c)
{
    vd_shake_next(&c->shake);
}

const struct vd_hop *vd_chain_at(const struct vd_chain *c)
{
    return vd_path_hop(&c->path, c->at);
}

uint32_t vd_chain_timeout_ms(const struct vd_chain *c)
{
    uint32_t ms = vd_chain_at(c)->timeout_ms;

    if (!is_in_flight(c) || !is_unproven(c))
        return ms;
    return ms && ms < c->patience_ms ? ms : c->patience_ms;
}

static const char *code_label(const struct vd_shake *s)
{
    if (s->hop->scheme >= VD_HTTP)
        return " (HTTP ";
    if (s->hop->scheme <= VD_SOCKS4A)
        return " (SOCKS4 reply ";
    switch ((enum vd_stage)s->stage) {
    case VD_STAGE_METHOD:
        return " (SOCKS5 method ";
    case VD_STAGE_LOGIN:
        return " (SOCKS5 login status ";
    case VD_STAGE_REPLY:
    case VD_STAGE_SECOND:
    case VD_STAGE_DONE:
        break;
    }
    return " (SOCKS5 reply ";
}

/* The protocol and the code it gave, or what was said instead. */
static void print_answer(struct vd_out *out, const struct vd_shake *s, int err)
{
    if (err == -VD_ERR_PROTOCOL && s->excerpt_len > 0) {
        vd_out_text(out, " (it said \"");
        vd_out_shown(out, s->excerpt, s->excerpt_len);
        vd_out_text(out, "\")");
    } else if (s->code > 0 && err != -VD_ERR_UNREACHABLE && err != -VD_ERR_SILENT) {
        vd_out_text(out, code_label(s));
        vd_out_uint(out, s->code);
        vd_out_text(out, ")");
    }
}

static const char *words_for(const struct vd_shake *s, int err)
{
    bool unasked = err == -VD_ERR_METHOD || err == -VD_ERR_LOGIN;

    return unasked && s->hop && !s->hop->has_login ? "wants a login" : vd_err_words(err);
}

/* What a hop of our own was told by those it stands for: "hop 1 of 1 (URL) ...", counted among them
 * alone. False if it said nothing of the kind. */
static bool print_told(struct vd_out *out, const struct vd_chain *c)
{
    static const char of[] = " of ";
    size_t len = 0;
    const char *told = c->shake.hop == vd_chain_at(c) ? vd_shake_told(&c->shake, &len) : NULL;
    const char *at = told ? memmem(told, len, of, sizeof of - 1) : NULL;

    if (!at)
        return false;
    at += sizeof of - 1;
    vd_out_shown(out, told, (size_t)(at - told));
    vd_out_uint(out, number_of(&c->path, c->path.count) - 1);
    while (at < told + len && *at >= '0' && *at <= '9')
        at++;
    vd_out_shown(out, at, (size_t)(told + len - at));
    return true;
}

void vd_chain_explain(struct vd_out *out, const struct vd_chain *c, int err)
{
    if (err > 0)
        err = -err;
    if (print_told(out, c))
        return;
    vd_path_name(out, &c->path, c->at);
    vd_out_text(out, " ");
    vd_out_text(out, words_for(&c->shake, err));
    if (c->cause) {
        vd_out_text(out, ": hop ");
        vd_out_uint(out, number_of(&c->path, c->at) - 1);
        vd_out_text(out, " ");
        vd_out_text(out, vd_err_words(c->cause));
        print_answer(out, &c->shake, -c->cause);
    } else if (c->shake.hop == vd_chain_at(c)) {
        print_answer(out, &c->shake, err);
    }
}
