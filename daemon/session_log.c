#include <string.h>

#include "daemon/associate.h"
#include "daemon/forward.h"
#include "daemon/log.h"
#include "daemon/session_state.h"

const char *session_command_name(unsigned command)
{
    switch (command) {
    case VD_CONNECT:
        return "connect";
    case VD_BIND:
        return "bind";
    case VD_ASSOCIATE:
        return "associate";
    default:
        return "-";
    }
}

void session_print_via(const struct session *s, struct vd_out *out)
{
    const struct session_way *way = &s->way;
    for (unsigned i = 0; i < way->count; i++) {
        if (i > 0)
            vd_out_text(out, ",");
        vd_url_print(out, &way->upstream->conf->chain.hops[way->order[i]]);
    }
}

static void log_via(const struct session *s)
{
    static char text[VD_HOPS_MAX * VD_URL_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);
    session_print_via(s, &out);
    log_text("via", text, out.len);
}

/* The name of the upstream. */
static void log_upstream(const struct session_way *way)
{
    if (way->count > 0)
        log_text("upstream", way->upstream->conf->chain.title,
                 strlen(way->upstream->conf->chain.title));
}

/* Of the two ports the one of IPv4, if that was used: there is none before. */
static void log_associate_out(const struct associate *a)
{
    struct net_addr out = {0};
    for (unsigned f = 0; f < 2 && net_addr_port(&out) == 0; f++)
        if (a->out[f].fd >= 0)
            net_addr_local(&out, a->out[f].fd);
    if (net_addr_port(&out) == 0)
        out.any.sa_family = AF_UNSPEC;
    log_addr("out", &out);
}

const char *session_protocol(const struct session *s)
{
    return s->setup ? vd_accept_name(&s->setup->accept) : s->protocol;
}

void session_print_target(struct vd_out *out, const struct session_setup *setup)
{
    if (setup->unix_path) {
        vd_out_text(out, "unix:");
        vd_out_text(out, setup->unix_path);
    } else {
        vd_endpoint_print(out, &setup->accept.target);
    }
}

static void log_target(const struct session_setup *setup)
{
    char text[VD_ENDPOINT_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);
    session_print_target(&out, setup);
    log_text("target", text, out.len);
}

static void log_who_and_where(const struct session *s)
{
    const struct session_setup *setup = s->setup;
    log_addr("client", &s->client);
    log_addr("local", &s->local);
    log_word("protocol", session_protocol(s));
    if (setup)
        log_text("user", setup->accept.user, setup->accept.user_len);
    else
        log_text("user", s->names, s->user_len);
    log_word("command", s->forward && s->command ? "forward" : session_command_name(s->command));
    if (setup && s->command)
        log_target(setup);
    else
        log_text("target", setup ? "" : s->names + s->user_len, setup ? 0 : s->target_len);
    if (s->udp && !s->udp->chain)
        log_associate_out(s->udp);
    else
        log_addr("out", &s->out);
    log_addr("peer", &s->peer);
    log_via(s);
}

/* How the client's own connection is protected. */
static void log_tls(const struct session *s)
{
    const struct tls *tls = s->relay.leg[RELAY_CLIENT].tls;
    if (*tls_version(tls))
        log_word("tls", tls_version(tls));
}

/* Why TLS, where nothing else is said, has failed or broken off, on the client's side or the other.
 */
static void log_tls_trouble(const struct session *s)
{
    const struct tls *tls = s->relay.leg[RELAY_CLIENT].tls;
    if (!tls_is_cut(tls))
        tls = s->relay.leg[RELAY_TARGET].tls;
    if (!tls_is_cut(tls))
        return;
    if (tls_failure(tls) != VD_OK)
        log_word("error", vd_err_proxy_status(tls_failure(tls)));
    log_text("said", tls_said(tls), strlen(tls_said(tls)));
}

void session_log_open(const struct session *s)
{
    if (!log_wants(LOG_VERBOSE))
        return;
    log_begin("session-open");
    log_who_and_where(s);
    log_time();
    log_upstream(&s->way);
    log_end();
}

uint64_t session_bytes_up(const struct session *s)
{
    return s->udp ? s->udp->up.bytes : s->relay.flow[RELAY_CLIENT].bytes;
}

uint64_t session_bytes_down(const struct session *s)
{
    return s->udp ? s->udp->down.bytes : s->relay.flow[RELAY_TARGET].bytes;
}

void session_count_bytes(struct session *s)
{
    uint64_t up = session_bytes_up(s), down = session_bytes_down(s);
    shared_add(&s->worker->counts->bytes_up, up - s->counted[0]);
    shared_add(&s->worker->counts->bytes_down, down - s->counted[1]);
    s->counted[0] = up;
    s->counted[1] = down;
}

static void count_end(struct session *s, const char *end, const char *error)
{
    struct shared_counts *c = s->worker->counts;
    session_count_bytes(s);
    shared_note_end(c, session_protocol(s), end, error);
    if (!s->udp)
        return;
    shared_add(&c->datagrams_up, s->udp->up.datagrams);
    shared_add(&c->datagrams_down, s->udp->down.datagrams);
    shared_add(&c->datagrams_dropped, associate_dropped(s->udp));
}

void session_log_end(struct session *s, const char *end, const char *error)
{
    count_end(s, end, error);
    if (!log_wants(LOG_NORMAL))
        return;
    log_begin("session");
    log_who_and_where(s);
    log_number("up", session_bytes_up(s));
    log_number("down", session_bytes_down(s));
    log_number("ms", (uint64_t)(s->worker->loop.now_ms - s->started_ms));
    log_time();
    log_upstream(&s->way);
    if (s->udp) {
        log_number("datagrams_up", s->udp->up.datagrams);
        log_number("datagrams_down", s->udp->down.datagrams);
        log_number("dropped", associate_dropped(s->udp));
    }
    if (error)
        log_word("error", error);
    if (error && s->setup && s->setup->dial.said_len > 0)
        log_text("said", s->setup->dial.said, s->setup->dial.said_len);
    if (error && s->setup && s->setup->rule)
        log_text("rule", s->setup->rule, strlen(s->setup->rule));
    log_tls(s);
    if (!error)
        log_tls_trouble(s);
    log_word("end", end);
    log_end();
}

void session_log_request(const struct session *s, const char *end)
{
    const struct forward *f = s->forward;
    const struct relay_flow *flow = s->relay.flow;
    if (!log_wants(LOG_NORMAL))
        return;
    log_begin("request");
    log_who_and_where(s);
    log_number("up", flow[RELAY_CLIENT].bytes - f->bytes_before[RELAY_CLIENT] - f->up.kept_len);
    log_number("down", flow[RELAY_TARGET].bytes - f->bytes_before[RELAY_TARGET]);
    log_number("ms", (uint64_t)(s->worker->loop.now_ms - f->began_ms));
    log_time();
    log_upstream(&s->way);
    log_text("method", f->method, f->method_len);
    log_number("status", f->status);
    log_word("end", end);
    log_end();
}

void session_log_login_refused(const struct session *s)
{
    const struct vd_accept *a = &s->setup->accept;
    shared_add(&s->worker->counts->logins_refused, 1);
    log_begin("login refused");
    log_addr("client", &s->client);
    log_text("user", a->user, a->user_len);
    log_word("protocol", vd_accept_name(a));
    log_time();
    log_end();
}
