/*
 * The states of a session until the tunnel stands: ACCEPT, AUTH, DIAL, REPLY, REFUSED; their
 * picture is at the head of session.c.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/limit.h"
#include "daemon/log.h"
#include "daemon/session_state.h"
#include "proto/err.h"

enum { REFUSED_MS = 2000, REFUSED_BYTES = 1 << 20 /* read after a refusal, at most */ };

/* --- answers --- */

int handshake_send(struct session *s)
{
    uint8_t text[VD_ACCEPT_REPLY_MAX];
    struct vd_accept *a = &s->setup->accept;
    size_t len;
    while ((len = vd_accept_pending(a, text, sizeof text)) > 0) {
        ssize_t n = send(session_leg(s, RELAY_CLIENT)->io.fd, text, len, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        if (trace_is_on())
            trace_answer(s->trace, text, (size_t)n);
        vd_accept_sent(a, (size_t)n);
    }
    return 1;
}

/* REFUSED: sends the rest of the refusal, then reads what the client still says. */
void handshake_refused(struct session *s)
{
    struct relay_pool *pool = &s->worker->pool;
    int fd = session_leg(s, RELAY_CLIENT)->io.fd;
    int sent = s->setup ? handshake_send(s) : 1;
    if (sent == 0)
        return;
    if (sent == 1 && s->setup) {
        shutdown(fd, SHUT_WR);
        session_free_setup(s);
    }
    ssize_t n = 1;
    while (sent == 1 && s->drained < REFUSED_BYTES && n > 0) {
        n = recv(fd, pool->buffer, RELAY_BUFFER, 0);
        s->drained += n > 0 ? (uint32_t)n : 0;
    }
    if (n < 0 && errno == EAGAIN)
        return;
    session_close(s);
}

/* A protocol that is unknown here gets no answer. */
void handshake_refuse(struct session *s)
{
    uint8_t byte;
    const char *error = vd_accept_error(&s->setup->accept);
    if (s->setup->tls_unserved)
        error = vd_err_proxy_status(VD_ERR_TLS);
    session_log_end(s, *error ? "refused" : "closed", *error ? error : NULL);
    if (trace_is_on())
        trace_cut(s->trace);
    dial_stop(&s->setup->dial);
    bind_stop(s);
    s->state = SESSION_REFUSED;
    s->drained = 0;
    limit_shaken(s);
    if (vd_accept_pending(&s->setup->accept, &byte, 1) == 0) {
        if (fixed_is(s))
            relay_close(&s->relay, RELAY_CLIENT, TLS_BY_RESET);
        session_close(s);
        return;
    }
    loop_timer_in(session_loop(s), &s->timer, REFUSED_MS);
    handshake_refused(s);
}

void handshake_refuse_request(struct session *s, int err)
{
    const struct dial *dial = &s->setup->dial;
    if (err == VD_ERR_DENIED)
        limit_note_rule(s, s->setup->rule ? s->setup->rule : access_why());
    vd_accept_reply(&s->setup->accept, err, NULL);
    if (s->worker->conf->explain)
        vd_accept_explain(&s->setup->accept, dial->said_err ? dial->said_err : err, dial->said,
                          dial->said_len);
    handshake_refuse(s);
}

void handshake_leave(struct session *s, const char *end, const char *error)
{
    session_log_end(s, end, error);
    session_free_setup(s);
    s->state = SESSION_REFUSED;
    s->drained = 0;
    shutdown(session_leg(s, RELAY_CLIENT)->io.fd, SHUT_WR);
    loop_timer_in(session_loop(s), &s->timer, REFUSED_MS);
    handshake_refused(s);
}

void handshake_linger(struct session *s)
{
    handshake_leave(s, "closed", NULL);
}

/* --- REPLY --- */

void handshake_reply(struct session *s)
{
    int sent = handshake_send(s);
    if (sent > 0 && s->command == VD_ASSOCIATE)
        udp_serve(s);
    else if (sent > 0)
        session_start_relay(s);
    else if (sent < 0)
        session_end(s, "client-gone");
}

void handshake_take_dialed(struct session *s)
{
    struct dial *dial = &s->setup->dial;
    struct relay_leg *leg = session_leg(s, RELAY_TARGET);
    loop_hand_over(session_loop(s), &dial->io, &leg->io);
    leg->tls = dial->tls;
    dial->tls = NULL;
}

static void on_dialed(struct dial *dial, int err)
{
    struct session_setup *setup = loop_owner(dial, struct session_setup, dial);
    struct session *s = setup->session;
    struct vd_endpoint bound = dial->bound;
    if (err == VD_ERR_DENIED && !setup->rule)
        setup->rule = dial->chained ? "upstream" : "network";
    session_take_way_of(s, dial, err == VD_OK);
    if (err != VD_OK) {
        if (!fixed_retry(s))
            handshake_refuse_request(s, err);
        return;
    }
    s->out = dial->out;
    if (!dial->tls)
        net_addr_local(&s->out, dial->io.fd);
    s->peer = dial->peer;
    if (!dial->chained) {
        struct vd_ip ip = net_addr_ip(&s->out);
        vd_endpoint_set_ip(&bound, &ip, net_addr_port(&s->out));
    }
    handshake_take_dialed(s);
    relay_note(&s->relay, RELAY_TARGET, dial->seen);
    if (s->forward) {
        forward_dialed(s);
        return;
    }
    s->state = SESSION_REPLY;
    vd_accept_reply(&setup->accept, VD_OK, &bound);
    handshake_reply(s);
}

/* --- the request --- */

struct access_query handshake_query(const struct session *s)
{
    const struct vd_accept *a = &s->setup->accept;
    return (struct access_query){.client = &s->client,
                                 .user = s->logged_in ? a->user : NULL,
                                 .user_len = a->user_len,
                                 .command = (enum vd_command)a->command,
                                 .target = &a->target};
}

static bool may_reach(struct dial *dial, const struct vd_ip *ip, bool is_here)
{
    struct session *s = loop_owner(dial, struct session_setup, dial)->session;
    struct access_query q = handshake_query(s);
    q.is_here = is_here;
    if (fixed_is_forward(s) || access_address(s->worker->access, &q, ip))
        return true;
    s->setup->rule = access_why();
    return false;
}

static bool is_allowed(const struct session *s)
{
    struct access_query q = handshake_query(s);
    if (fixed_is_forward(s))
        return access_rules(s->worker->access, &q);
    if (s->via)
        return access_target_of_chain(s->worker->access, &q);
    return access_target(s->worker->access, &q) != ACCESS_NO;
}

static void introduce(const struct session *s, struct dial *dial, enum vd_proxyline_version version)
{
    struct vd_out out = vd_out_over(dial->preface, sizeof dial->preface);
    struct vd_ip from = net_addr_ip(&s->client), to = net_addr_ip(&s->local);
    struct vd_endpoint client, local;
    vd_endpoint_set_ip(&client, &from, net_addr_port(&s->client));
    vd_endpoint_set_ip(&local, &to, net_addr_port(&s->local));
    vd_proxyline_write(&out, version, &client, &local);
    dial->preface_len = (uint8_t)out.len;
}

void handshake_introduce(const struct session *s, struct dial *dial)
{
    dial->preface_len = 0;
    if (dial->via->conf->line != VD_PROXYLINE_NONE)
        introduce(s, dial, dial->via->conf->line);
}

static void introduce_to_hop(struct dial *dial)
{
    handshake_introduce(loop_owner(dial, struct session_setup, dial)->session, dial);
}

void handshake_dial(struct session *s)
{
    struct dial *dial = &s->setup->dial;
    bool direct = !s->via || s->setup->unix_path;
    s->state = SESSION_DIAL;
    loop_timer_in(session_loop(s), &s->timer, s->worker->conf->connect_ms);
    if (direct && fixed_is_forward(s) && s->from->conf->send_line != VD_PROXYLINE_NONE)
        introduce(s, dial, s->from->conf->send_line);
    if (s->setup->unix_path)
        dial_start_unix(dial, s->setup->unix_path);
    else
        dial_start(dial, s->via, &s->setup->accept.target);
}

/* By the rule that decides without a lookup. */
static void choose_way(struct session *s)
{
    struct access_query q = handshake_query(s);
    const struct vd_conf_access *rule = access_rule(s->worker->access, &q);
    s->setup->dial.rule = rule;
    s->via = upstreams_by_rule(&s->worker->upstreams, rule);
}

struct vd_endpoint handshake_told(const struct session *s, const struct net_addr *at)
{
    struct vd_ip ip = net_addr_ip(at);
    const struct vd_ip *public = &s->from->conf->public[ip.family == VD_IPV6];
    struct vd_endpoint told;
    vd_endpoint_set_ip(&told, public->family ? public : &ip, net_addr_port(at));
    return told;
}

struct egress handshake_egress(const struct session *s)
{
    return egress_of(s->worker->conf, s->via ? s->via->conf : NULL, s->setup->dial.rule);
}

static void start_connect(struct session *s)
{
    if (!is_allowed(s)) {
        handshake_refuse_request(s, VD_ERR_DENIED);
        return;
    }
    if (s->forward && forward_reuse(s))
        return;
    handshake_dial(s);
}

void handshake_request(struct session *s)
{
    limit_shaken(s);
    s->command = s->setup->accept.command;
    choose_way(s);
    int err = limit_enter(s);
    if (err != VD_OK)
        handshake_refuse_request(s, err);
    else if (s->command == VD_CONNECT)
        start_connect(s);
    else if (s->command == VD_BIND && s->via)
        bind_chain_start(s);
    else if (s->command == VD_BIND)
        bind_start(s);
    else
        udp_start(s);
}

/* --- ACCEPT and AUTH --- */

/* Tells the codec what was decided. Whether the handshake goes on; if not the session may be over.
 */
static bool take_verdict(struct session *s, bool ok)
{
    struct session_setup *setup = s->setup;
    s->logged_in = ok;
    if (ok && session_is_removed(s))
        s->logged_in = ok = false;
    if (!ok)
        session_log_login_refused(s);
    vd_accept_login(&setup->accept, ok);
    if (!ok)
        handshake_refuse(s);
    return ok;
}

static void on_decided(struct login_wait *wait, bool ok)
{
    struct session *s = loop_owner(wait, struct session_setup, login)->session;
    s->state = SESSION_ACCEPT;
    if (take_verdict(s, ok))
        handshake_on(s);
}

static bool take_login(struct session *s)
{
    struct session_setup *setup = s->setup;
    const struct vd_accept *a = &setup->accept;
    setup->login = (struct login_wait){.user = a->user,
                                       .user_len = a->user_len,
                                       .password = a->password,
                                       .password_len = a->password_len,
                                       .decided = on_decided};
    enum login_verdict verdict = login_check(s->worker->login, &setup->login);
    if (verdict != LOGIN_LATER)
        return take_verdict(s, verdict == LOGIN_YES);
    s->state = SESSION_AUTH;
    return false;
}

/* It tells who the client is. */
int handshake_take_line(struct session *s)
{
    struct session_setup *setup = s->setup;
    struct vd_proxyline line;
    size_t used;
    int result = vd_proxyline_read(&line, setup->in, setup->len, &used);
    if (result < 0)
        session_end(s, "bad-proxy-line");
    if (result != VD_DONE)
        return result;
    setup->line_due = false;
    setup->at = (uint16_t)used;
    if (line.known)
        net_addr_set(&s->client, &line.from.ip, line.from.port);
    return VD_DONE;
}

/* Feeds the codec until it has taken all, or asks. Whether the handshake goes on. */
static bool feed(struct session *s)
{
    struct session_setup *setup = s->setup;
    int result = setup->line_due ? handshake_take_line(s) : VD_DONE;
    if (result != VD_DONE)
        return result == VD_MORE;
    if (fixed_is(s)) {
        fixed_start(s);
        return false;
    }
    int first = setup->accept.protocol == VD_SPEAKS_UNKNOWN && setup->at < setup->len
                    ? setup->in[setup->at]
                    : -1;
    do {
        size_t used = 0;
        result = vd_accept_feed(&setup->accept, setup->in + setup->at,
                                (size_t)(setup->len - setup->at), &used);
        if (trace_is_on() && result != VD_ACCEPT_FORWARD) /* which tells the head as a whole */
            trace_client(s->trace, setup->in + setup->at, used);
        setup->at = (uint16_t)(setup->at + used);
    } while (result == VD_ACCEPT_LOGIN && take_login(s));
    if (result == VD_ACCEPT_REQUEST)
        handshake_request(s);
    else if (result == VD_ACCEPT_FORWARD)
        forward_start(s);
    else if (result < 0) {
        if (first == 0x16)
            secure_note_unserved(s);
        handshake_refuse(s);
    }
    return result == VD_MORE;
}

/* Receives into `in`, which is empty but for the beginning of a PROXY line. Whether there is
 * something to feed. */
static bool receive(struct session *s)
{
    struct session_setup *setup = s->setup;
    struct relay_leg *client = session_leg(s, RELAY_CLIENT);
    size_t kept = setup->line_due ? setup->len : 0, room = sizeof setup->in - kept;
    ssize_t n = client->readable ? recv(client->io.fd, setup->in + kept, room, 0) : -1;
    if (n > 0) {
        setup->at = 0;
        setup->len = (uint16_t)(kept + (size_t)n);
        client->readable = n == (ssize_t)room || client->ended || client->urgent;
        return true;
    }
    if (client->readable && (n == 0 || errno != EAGAIN))
        session_end(s, tls_failure(client->tls) ? "tls-failed" : "client-gone");
    else
        client->readable = false;
    return false;
}

void handshake_on(struct session *s)
{
    int sent = 1;
    if (s->setup->tls_due && !secure_decide(s))
        return;
    do {
        if (!feed(s))
            return;
        sent = handshake_send(s);
        if (sent < 0)
            session_end(s, "client-gone");
    } while (sent > 0 && receive(s));
}

/* --- the beginning and the end of time --- */

void handshake_set_up_dial(struct session *s)
{
    struct dial *dial = &s->setup->dial;
    dial_init(dial, &s->worker->dialer);
    dial->done = on_dialed;
    dial->may_reach = may_reach;
    dial->introduce = introduce_to_hop;
    dial->trace = s->trace;
}

void handshake_set_up(struct session *s, unsigned offers)
{
    struct session_setup *setup = s->setup;
    setup->session = s;
    setup->at = setup->len = 0;
    setup->line_due = setup->tls_due = setup->tls_unserved = setup->shaking = false;
    setup->rule = NULL;
    memset(&setup->login, 0, sizeof setup->login);
    vd_accept_start(&setup->accept, offers);
    memset(&setup->bind, 0, sizeof setup->bind);
    setup->bind.io.fd = -1;
    setup->tried = 0;
    setup->unix_path = NULL;
    if (trace_is_on())
        s->trace = trace_begin(s->trace, &s->client, &s->local);
    handshake_set_up_dial(s);
}

void handshake_late(struct session *s)
{
    int err = s->udp ? udp_late(s) : dial_timed_out(&s->setup->dial);
    session_take_way_of(s, &s->setup->dial, false);
    if (!fixed_retry(s))
        handshake_refuse_request(s, err);
}
