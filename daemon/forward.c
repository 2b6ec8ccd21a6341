/*
 * A forwarded request and its response run beside each other, each in its own states:
 *
 *     up     HEAD ──head whole──> ASKED ──origin there──> BODY ──> DONE
 *              ^                  (login, dial: the session is in ACCEPT, AUTH, DIAL meanwhile)
 *              │
 *     down   IDLE ────────────────────────> HEAD ──final head──> BODY ──> DONE
 *              ^                            │  ^                            │
 *              │                            └──┘ 100 to 199                 │
 *              └────────── both done, both keep their connections ──────────┘
 *
 * The setup (session_state.h) of a request lives until the final head of its response is passed on:
 * so long a refusal can still be said, in the words of proto/accept.h. What goes wrong later cuts
 * the client off by a reset, for an end in order would make a whole response of a part.
 *
 * A response that is over, or that came before the request was whole, is the last one of its
 * connections: who reads on would read the rest of a body as a request.
 *
 * A kept connection may be closed by the origin just when it is used again. A request that may be
 * repeated is then sent once more, on a new connection; its head is kept for that.
 *
 * A function that gives FORWARD_GONE has left the state FORWARD, and maybe ended the session:
 * nothing of it is touched after that.
 */
#include "daemon/forward.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/err.h"

enum { TURNS = 16 };

/* --- the ends --- */

void forward_close_origin(struct session *s)
{
    struct relay_leg *leg = session_leg(s, RELAY_TARGET);
    relay_close(&s->relay, RELAY_TARGET, TLS_IN_ORDER);
    leg->readable = leg->writable = leg->ended = leg->urgent = leg->broken = false;
    forward_drop(&s->forward->down);
}

void forward_drop_unsent(struct forward_flow *flow)
{
    free(flow->held);
    flow->held = NULL;
    flow->held_at = flow->held_len = 0;
}

void forward_forget_request(struct forward *f)
{
    free(f->request);
    f->request = NULL;
}

void forward_stop(struct session *s)
{
    struct forward *f = s->forward;
    if (!f)
        return;
    forward_drop(&f->up);
    forward_drop(&f->down);
    forward_forget_request(f);
    free(f);
    s->forward = NULL;
}

static bool is_under_way(const struct forward *f)
{
    return f->down_state != DOWN_IDLE;
}

enum forward_turn forward_end(struct session *s, const char *how)
{
    if (is_under_way(s->forward))
        session_log_request(s, how);
    session_end(s, how);
    return FORWARD_GONE;
}

enum forward_turn forward_cut(struct session *s, enum relay_side by, const char *how)
{
    if (is_under_way(s->forward))
        session_log_request(s, how);
    session_end_by_reset(s, by, how);
    return FORWARD_GONE;
}

enum forward_turn forward_lost_client(struct session *s)
{
    return forward_cut(s, RELAY_CLIENT, "reset-by-client");
}

void forward_client_gone(struct session *s)
{
    forward_lost_client(s);
}

/* While nothing of a response was passed on; else the client is cut off. */
enum forward_turn forward_refuse(struct session *s, enum vd_http_fault fault)
{
    struct forward *f = s->forward;
    if (!s->setup || f->down.held)
        return forward_cut(s, RELAY_TARGET, "reset-by-target");
    forward_close_origin(s);
    vd_accept_fault(&s->setup->accept, fault, f->to_head);
    handshake_refuse(s);
    return FORWARD_GONE;
}

/* --- an exchange begins --- */

/* The origin's connection stands. May end the session; if that was lost, reading will tell. */
static void begin(struct session *s, bool reused)
{
    struct forward *f = s->forward;
    f->reused = reused;
    f->at = s->setup->accept.target;
    f->via = s->via;
    f->egress = handshake_egress(s);
    f->up_state = f->up.body.framing == VD_HTTP_NO_BODY ? UP_DONE : UP_BODY;
    f->down_state = DOWN_HEAD;
    f->origin_last = false;
    s->state = SESSION_FORWARD;
    loop_timer_in(session_loop(s), &s->timer, s->worker->conf->idle_ms);
    if (forward_send(s, RELAY_TARGET, f->request, f->request_len) == FORWARD_NO_MEMORY)
        forward_end(s, "failed");
    else
        loop_later(session_loop(s), &s->relay.task);
}

void forward_dialed(struct session *s)
{
    begin(s, false);
}

/* What comes from an origin that was asked nothing is its end, or worse. */
bool forward_is_origin_quiet(struct session *s)
{
    struct relay_leg *leg = session_leg(s, RELAY_TARGET);
    uint8_t byte;
    if (leg->io.fd < 0 || leg->ended || leg->broken)
        return false;
    if (!leg->readable)
        return true;
    leg->readable = false;
    return recv(leg->io.fd, &byte, 1, MSG_PEEK) < 0 && errno == EAGAIN;
}

/* The final address was allowed to whoever asked before; another user may have logged in since. */
static bool may_reuse(struct session *s)
{
    struct access_query q = handshake_query(s);
    struct vd_ip ip = net_addr_ip(&s->peer);
    struct egress egress = handshake_egress(s);
    return vd_endpoint_same(&s->forward->at, q.target) && s->forward->via == s->via &&
           egress_same(&s->forward->egress, &egress) && forward_is_origin_quiet(s) &&
           (s->via || access_address(s->worker->access, &q, &ip));
}

bool forward_reuse(struct session *s)
{
    if (may_reuse(s)) {
        begin(s, true);
        return true;
    }
    forward_close_origin(s);
    return false;
}

/* Once: a new connection has not served before. */
enum forward_turn forward_repeat(struct session *s)
{
    s->forward->reused = false;
    forward_drop_unsent(&s->forward->up);
    forward_close_origin(s);
    handshake_dial(s);
    return s->state == SESSION_FORWARD ? FORWARD_ON : FORWARD_GONE;
}

/* --- what both directions do --- */

/* What was received is not enough: is there more? Epoll does not tell twice. */
enum forward_turn forward_more(struct session *s, enum relay_side from)
{
    return session_leg(s, from)->readable && !s->relay.flow[from].waits ? FORWARD_ON : FORWARD_STOP;
}

/* Writes what is there of a body in its new framing. 1: it is whole; 0; or -1. */
int forward_rewrite(struct forward_flow *flow, struct vd_out *out, const uint8_t *data, size_t len,
                    size_t *taken)
{
    enum vd_http_framing framing = (enum vd_http_framing)flow->framing;
    struct vd_text piece;
    size_t used;
    int result;
    *taken = 0;
    do {
        result = vd_http_body_next(&flow->body, data + *taken, len - *taken, &used, &piece);
        *taken += used;
        if (result == VD_HTTP_BODY_PIECE)
            vd_http_write_piece(out, framing, piece);
    } while (result == VD_HTTP_BODY_PIECE && *taken < len);
    if (result == VD_HTTP_BODY_PIECE && flow->body.framing == VD_HTTP_LENGTH)
        result = flow->body.left == 0 ? VD_HTTP_BODY_END : result;
    if (result == VD_HTTP_BODY_END)
        vd_http_write_end(out, framing, piece);
    return result < 0 ? -1 : result == VD_HTTP_BODY_END;
}

/* --- the face --- */

static void extend(struct session *s, int64_t last_ms)
{
    if (is_under_way(s->forward) && relay_last_ms(&s->relay) > last_ms)
        loop_timer_in(session_loop(s), &s->timer, s->worker->conf->idle_ms);
}

void forward_on(struct session *s)
{
    int64_t last_ms = relay_last_ms(&s->relay);
    enum forward_turn up = FORWARD_ON, down = FORWARD_ON;
    for (int turns = 0; up == FORWARD_ON || down == FORWARD_ON; turns++) {
        if (turns == TURNS) {
            loop_later(session_loop(s), &s->relay.task);
            break;
        }
        up = forward_up_on(s);
        if (up != FORWARD_GONE)
            down = forward_down_on(s);
        if (up == FORWARD_GONE || down == FORWARD_GONE)
            return;
    }
    extend(s, last_ms);
}

void forward_start(struct session *s)
{
    struct session_setup *setup = s->setup;
    struct vd_accept *a = &setup->accept;
    struct forward *f = s->forward = calloc(1, sizeof *f);
    size_t rest = (size_t)(setup->len - setup->at);
    uint8_t all[SESSION_INPUT + VD_ACCEPT_LINE_MAX];
    if (!f) {
        session_end(s, "failed");
        return;
    }
    f->offers = a->offers;
    memcpy(all, a->in, a->have);
    memcpy(all + a->have, setup->in + setup->at, rest);
    s->relay.flow[RELAY_CLIENT].bytes = a->have + rest;
    s->state = SESSION_FORWARD;
    if (forward_keep(&f->up, all, a->have + rest) != 0)
        session_end(s, "failed");
    else
        forward_on(s);
}

bool forward_is_idle(const struct session *s)
{
    return s->state == SESSION_FORWARD && s->forward->up_state == UP_HEAD &&
           s->forward->up.kept_len == 0;
}

void forward_late(struct session *s)
{
    struct forward *f = s->forward;
    int64_t left = relay_last_ms(&s->relay) + s->worker->conf->idle_ms - session_loop(s)->now_ms;
    if (!is_under_way(f)) {
        forward_end(s, f->up.kept_len > 0 ? "handshake-timeout" : "idle-timeout");
        return;
    }
    if (left > 0) {
        loop_timer_in(session_loop(s), &s->timer, left);
        return;
    }
    if (s->setup && !f->down.held)
        handshake_refuse_request(s, VD_ERR_SILENT);
    else
        forward_cut(s, RELAY_TARGET, "idle-timeout");
}
