/*
 * UDP ASSOCIATE: a session whose client has a port for datagrams (associate.h) instead of a tunnel.
 *
 * SESSION_UDP lasts as long as the client's connection, whose bytes are read and thrown away; and
 * no longer than idle_ms without a datagram. What the request tells of the client's port is held
 * to, unless it tells another address than the connection comes from: then a NAT stands between,
 * and its words mean nothing here.
 *
 * A session that came by tproxy.c has no connection, and no limits but those of time and room.
 *
 * By a chain the request waits in SESSION_DIAL until all hops have answered; when one of them goes
 * later the session ends, as the client's association is no more.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/associate_chain.h"
#include "daemon/limit.h"
#include "daemon/session_state.h"
#include "daemon/tproxy.h"
#include "proto/err.h"

/* An association has up to two more descriptors than a tunnel, and by a chain one for each hop and
 * one more. */
enum { SESSIONS_PER_ASSOCIATION = 4, READS_PER_TURN = 4 };

/* --- who may send where --- */

/* An association has one upstream, and one place where it leaves: what a rule sends by another one
 * does not go by this. */
static bool is_on_its_way(const struct session *s, const struct access_query *q)
{
    const struct worker *w = s->worker;
    const struct vd_conf_upstream *conf = s->via ? s->via->conf : NULL;
    if (w->conf->access_count == 0)
        return true;
    const struct vd_conf_access *rule = access_rule(w->access, q);
    struct egress its = egress_of(w->conf, conf, rule),
                  ours = egress_of(w->conf, conf, s->udp->rule);
    return upstreams_by_rule(&w->upstreams, rule) == s->via && egress_same(&its, &ours);
}

static bool may_send(struct associate *a, const struct vd_endpoint *target, const struct vd_ip *ip)
{
    const struct session *s = a->owner;
    struct access *access = s->worker->access;
    struct access_query q = {.client = &s->client,
                             .user = s->logged_in ? s->names : NULL,
                             .user_len = s->user_len,
                             .command = VD_ASSOCIATE,
                             .target = target};
    if ((s->caught && !tproxy_may_take(s->worker, ip)) || !is_on_its_way(s, &q))
        return false;
    if (ip)
        return access_address(access, &q, ip);
    if (a->chain && associate_chain_takes_names(a->chain))
        return access_target_of_chain(access, &q);
    return access_target(access, &q) != ACCESS_NO;
}

static bool may_pass(struct associate *a, bool up, size_t len)
{
    struct session *s = a->owner;
    return limit_passes(s->hold, up ? RELAY_CLIENT : RELAY_TARGET, len);
}

/* --- beginning and end --- */

/* From where the client will send; port 0: not known. */
static struct net_addr sender(const struct session *s)
{
    const struct vd_endpoint *told = &s->setup->accept.target;
    struct vd_ip ip = net_addr_ip(&s->client), plain = vd_ip_unmapped(&told->ip);
    struct net_addr from = s->client;
    bool here =
        !vd_endpoint_is_name(told) && (vd_ip_class(&plain) == VD_CLASS_UNSPECIFIED ||
                                       vd_ip_within(&plain, &ip, ip.family == VD_IPV6 ? 128 : 32));
    uint16_t port = here ? told->port : 0;
    if (from.any.sa_family == AF_INET6)
        from.in6.sin6_port = htons(port);
    else
        from.in4.sin_port = htons(port);
    return from;
}

/* By whatever upstream it will go. */
bool udp_has_room(const struct worker *w)
{
    size_t hops = upstreams_most_hops(&w->upstreams), more = hops > 0 ? hops - 1 : 0;
    return w->associations < w->session_max / (SESSIONS_PER_ASSOCIATION + more) + 1;
}

static void count(struct worker *w, int more)
{
    w->associations += (size_t)more;
    shared_set(&shared_own(w->shared)->associations, (uint32_t)w->associations);
}

/* VD_OK, or why not; *local becomes the address for the client's datagrams. */
static int open_association(struct session *s, struct net_addr *local)
{
    struct worker *w = s->worker;
    struct net_addr from = sender(s);
    struct access_query q = handshake_query(s);
    if (!access_command(w->access, &q))
        return VD_ERR_DENIED;
    if (udp_has_room(w))
        s->udp = associate_new(&w->loop, w->dialer.resolver, &w->batch);
    if (!s->udp)
        return VD_ERR_BUSY;
    count(w, 1);
    s->udp->owner = s;
    s->udp->may_send = may_send;
    s->udp->may_pass = s->relay.limit ? may_pass : NULL;
    s->udp->filter = w->conf->udp_filter;
    s->udp->rule = s->setup->dial.rule;
    s->udp->egress = handshake_egress(s);
    if (!s->caught)
        return associate_start(s->udp, local, &from);
    s->udp->from = s->client;
    s->udp->answer = tproxy_answer;
    return may_send(s->udp, q.target, &q.target->ip) ? VD_OK : VD_ERR_DENIED;
}

/* For the log, where the dial has its words. */
static void keep_said(struct session *s)
{
    struct dial *dial = &s->setup->dial;
    if (!s->udp || !s->udp->chain)
        return;
    const char *said = associate_chain_said(s->udp->chain, &dial->said_len);
    memcpy(dial->said, said, dial->said_len);
}

static void refuse(struct session *s, int err)
{
    keep_said(s);
    udp_stop(s);
    handshake_refuse_request(s, err);
}

/* It can be used; who was caught knows of nothing. */
static void reply(struct session *s)
{
    struct net_addr local;
    if (s->caught) {
        udp_serve(s);
        return;
    }
    net_addr_local(&local, s->udp->client.fd);
    if (local.any.sa_family == AF_UNSPEC) {
        refuse(s, net_err(errno));
        return;
    }
    struct vd_endpoint at = handshake_told(s, &local);
    s->state = SESSION_REPLY;
    loop_timer_in(session_loop(s), &s->timer, s->worker->conf->connect_ms);
    vd_accept_reply(&s->setup->accept, VD_OK, &at);
    handshake_reply(s);
}

/* --- the chain --- */

static void take_way(struct session *s, bool stands)
{
    struct upstream *via;
    const struct vd_path *path = associate_chain_path(s->udp->chain, &via);
    session_take_way(s, via, path, stands);
}

static void on_ready(struct associate *a, int err)
{
    struct session *s = a->owner;
    take_way(s, err == VD_OK);
    associate_chain_ends(a->chain, &s->out, &s->peer);
    if (err == VD_OK)
        reply(s);
    else
        refuse(s, err);
}

static void on_gone(struct associate *a)
{
    session_end(a->owner, "upstream-gone");
}

static void introduce(struct associate *a, struct dial *dial)
{
    handshake_introduce(a->owner, dial);
}

static int start_chain(struct session *s)
{
    static const struct associate_chain_events events = {on_ready, on_gone, introduce};
    struct worker *w = s->worker;
    s->udp_timers =
        (uint8_t)(upstreams_most_hops(&w->upstreams) * DIAL_TIMERS + ASSOCIATE_CHAIN_TIMERS);
    w->more_timers += s->udp_timers;
    if (session_reserve_timers(w) != 0)
        return VD_ERR_BUSY;
    s->state = SESSION_DIAL;
    loop_timer_in(session_loop(s), &s->timer, w->conf->connect_ms);
    struct upstream *via = upstream_in_use(s->via);
    int err = associate_chain_start(s->udp, &w->dialer, via, &events);
    if (s->udp->chain)
        take_way(s, false);
    return err;
}

int udp_late(struct session *s)
{
    int err = associate_chain_late(s->udp->chain);
    take_way(s, false);
    keep_said(s);
    udp_stop(s);
    return err;
}

/* --- the request --- */

static int leave(struct session *s)
{
    struct dial *dial = &s->setup->dial;
    struct vd_out out = vd_out_over(dial->said, sizeof dial->said);
    int err = associate_leave(s->udp, &out);
    dial->said_len = out.len;
    return err;
}

void udp_start(struct session *s)
{
    bool chained = s->via;
    struct net_addr local = s->local;
    if (local.any.sa_family == AF_UNIX) {
        handshake_refuse_request(s, VD_ERR_COMMAND); /* there is no address to send to */
        return;
    }
    int err = open_association(s, &local);
    if (err == VD_OK)
        err = chained ? start_chain(s) : leave(s);
    if (err != VD_OK)
        refuse(s, err);
    else if (!chained)
        reply(s);
}

void udp_stop(struct session *s)
{
    if (!s->udp)
        return;
    associate_free(s->udp);
    s->udp = NULL;
    count(s->worker, -1);
    s->worker->more_timers -= s->udp_timers;
    s->udp_timers = 0;
}

/* --- SESSION_UDP --- */

void udp_serve(struct session *s)
{
    if (session_keep_names(s) != 0) {
        session_end(s, "failed");
        return;
    }
    session_free_setup(s);
    s->state = SESSION_UDP;
    session_log_open(s);
    session_watch(s);
    if (!s->caught)
        udp_control(s);
}

void udp_control(struct session *s)
{
    struct relay_pool *pool = &s->worker->pool;
    int fd = session_leg(s, RELAY_CLIENT)->io.fd;
    ssize_t n = 1;
    for (unsigned i = 0; i < READS_PER_TURN && n > 0; i++)
        n = recv(fd, pool->buffer, RELAY_BUFFER, 0);
    if (n > 0)
        loop_later(session_loop(s), &s->relay.task);
    else if (n == 0)
        session_end(s, "closed");
    else if (errno != EAGAIN)
        session_end(s, "reset-by-client");
}
