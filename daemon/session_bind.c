/*
 * BIND: a session waits for a connection instead of making one.
 *
 *     look up ──> listen ──> first reply ──> accept ──right peer──> second reply ──> RELAY
 *     (names)     (where?)                     │ ^
 *                                              └─┘ a stranger is reset, and it goes on
 *
 * By a chain the last hop listens and accepts (session_bind_chain.c).
 *
 * All of it is SESSION_BIND, until the second reply, which is SESSION_REPLY's. One timer:
 * connect_ms until the first reply, bind_ms from there on.
 *
 * Where: FTP servers, and nf_conntrack_ftp, want the data connection to come to the address that
 * the control connection came from. So it is the local address of a CONNECT of the same client to
 * the peer, if this worker has one, and else the address from which the peer would be reached,
 * which is the source that is configured (egress.h), if there is one.
 *
 * Who: the host that was asked for, from any port (FTP servers use 20, or what they like). With
 * 0.0.0.0 or :: anyone, each being judged by the rules when he comes; the guard treats this target
 * as it treats this machine's own addresses.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/session_state.h"
#include "proto/err.h"

enum { BACKLOG = 16, STRANGERS_TOLD = 8 /* per session */ };

static struct session_bind *bind_of(const struct session *s)
{
    return &s->setup->bind;
}

void bind_stop(struct session *s)
{
    resolve_stop(&bind_of(s)->wait);
    loop_close(session_loop(s), &bind_of(s)->io);
}

/* --- the peer --- */

static bool is_expected(const struct session *s, const struct vd_ip *ip)
{
    const struct session_bind *b = bind_of(s);
    struct access_query q = handshake_query(s);
    if (b->anyone)
        return access_address(s->worker->access, &q, ip);
    for (unsigned i = 0; i < b->count; i++)
        if (vd_ip_same(&b->peers[i], ip))
            return true;
    return false;
}

/* Tells of a stranger, but does not let him fill the log. */
static void turn_away(struct session *s, int fd, const struct net_addr *peer)
{
    net_abort(fd);
    if (s->tries >= STRANGERS_TOLD || !log_wants(LOG_NORMAL))
        return;
    s->tries++;
    log_begin("bind-stranger");
    log_addr("client", &s->client);
    log_addr("local", &s->local);
    log_endpoint("target", &s->setup->accept.target);
    log_addr("out", &s->out);
    log_addr("peer", peer);
    log_time();
    log_end();
}

static void welcome(struct session *s, int fd, const struct net_addr *peer)
{
    static const int on = 1;
    struct relay_leg *leg = session_leg(s, RELAY_TARGET);
    struct vd_ip ip = net_addr_ip(peer);
    struct vd_endpoint at;
    vd_endpoint_set_ip(&at, &ip, net_addr_port(peer));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    bind_stop(s);
    s->peer = *peer;
    leg->io.fd = fd;
    if (loop_watch(session_loop(s), &leg->io, loop_everything) != 0) {
        session_end(s, "failed");
        return;
    }
    s->state = SESSION_REPLY;
    loop_timer_in(session_loop(s), &s->timer, s->worker->conf->connect_ms);
    vd_accept_second(&s->setup->accept, VD_OK, &at);
    handshake_reply(s);
}

/* A peer that reset its connection meanwhile is nobody; without a descriptor the next event would
 * come at once, and again. */
static void cannot_accept(struct session *s, int number)
{
    int err = net_err(number);
    if (err != VD_ERR_BUSY)
        return;
    vd_accept_second(&s->setup->accept, err, NULL);
    handshake_refuse(s);
}

static void on_peer(struct loop_io *io, uint32_t events)
{
    struct session *s = loop_owner(io, struct session_setup, bind.io)->session;
    struct net_addr peer;
    socklen_t len = sizeof peer;
    (void)events;
    int fd = accept4(io->fd, &peer.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        cannot_accept(s, errno);
        return;
    }
    struct vd_ip ip = net_addr_ip(&peer);
    if (is_expected(s, &ip))
        welcome(s, fd, &peer);
    else
        turn_away(s, fd, &peer);
}

/* --- the first reply --- */

/* Nobody is accepted before the client knows the address: its replies come in order. */
static void tell(struct session *s)
{
    struct session_bind *b = bind_of(s);
    int sent = handshake_send(s);
    if (sent < 0 || session_leg(s, RELAY_CLIENT)->ended) {
        session_end(s, "client-gone");
        return;
    }
    if (sent == 0 || b->told)
        return;
    b->told = true;
    loop_timer_in(session_loop(s), &s->timer, s->worker->conf->bind_ms);
    if (s->setup->dial.chained) {
        bind_chain_told(s);
        return;
    }
    if (loop_watch(session_loop(s), &b->io, EPOLLIN) != 0) {
        vd_accept_second(&s->setup->accept, VD_ERR_BUSY, NULL);
        handshake_refuse(s);
    }
}

void bind_listens(struct session *s, const struct vd_endpoint *at)
{
    bind_of(s)->answered = true;
    vd_accept_reply(&s->setup->accept, VD_OK, at);
    tell(s);
}

/* The reason for the client; the log gets the words, where those of a dial stand. */
static int cannot_leave(struct session *s, enum egress_fault fault, enum vd_family family)
{
    struct dial *dial = &s->setup->dial;
    struct vd_out out = vd_out_over(dial->said, sizeof dial->said);
    struct egress egress = handshake_egress(s);
    int number = errno;
    if (fault != EGRESS_FINE)
        egress_explain(&egress, &out, fault, family, number);
    else
        egress_explain_family(&egress, &out);
    dial->said_len = out.len;
    return fault != EGRESS_FINE ? VD_ERR_FAILED : VD_ERR_ADDRESS_TYPE;
}

/* Listens at `s->out`, whose port becomes the real one. VD_OK, or why not. */
static int listen_at(struct session *s)
{
    struct session_bind *b = bind_of(s);
    int fd = socket(s->out.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return net_err(errno);
    b->io = (struct loop_io){.fd = fd, .ready = on_peer};
    struct egress egress = handshake_egress(s);
    enum egress_fault fault = egress_tie(&egress, fd);
    if (fault != EGRESS_FINE)
        return cannot_leave(s, fault, s->out.any.sa_family == AF_INET6 ? VD_IPV6 : VD_IPV4);
    if (bind(fd, &s->out.any, net_addr_len(&s->out)) != 0 || listen(fd, BACKLOG) != 0)
        return net_err(errno);
    net_addr_local(&s->out, fd);
    return s->out.any.sa_family == AF_UNSPEC ? net_err(errno)
                                             : VD_OK; /* whereto, nobody could say */
}

static void listen_and_tell(struct session *s)
{
    int err = listen_at(s);
    if (err != VD_OK) {
        close(bind_of(s)->io.fd);
        bind_of(s)->io.fd = -1;
        handshake_refuse_request(s, err);
        return;
    }
    struct vd_endpoint at = handshake_told(s, &s->out);
    bind_listens(s, &at);
}

/* --- where to listen --- */

/* The local address of a living CONNECT of the same client, to `peer` unless that is NULL. */
static bool find_connect(const struct session *s, const struct vd_ip *peer, struct vd_ip *local)
{
    struct vd_ip client = net_addr_ip(&s->client);
    for (const struct session *o = s->worker->sessions; o; o = o->next) {
        struct vd_ip its_client = net_addr_ip(&o->client), its_peer = net_addr_ip(&o->peer);
        if (o->state != SESSION_RELAY || o->command != VD_CONNECT ||
            !vd_ip_same(&client, &its_client) || (peer && !vd_ip_same(peer, &its_peer)))
            continue;
        *local = net_addr_ip(&o->out);
        return true;
    }
    return false;
}

/* VD_OK, or why there is none. */
static int find_local_for_peer(struct session *s, struct vd_ip *local)
{
    const struct session_bind *b = bind_of(s);
    struct egress egress = handshake_egress(s);
    int err = VD_ERR_NET;
    for (unsigned i = 0; i < b->count; i++)
        if (find_connect(s, &b->peers[i], local))
            return VD_OK;
    for (unsigned i = 0; i < b->count; i++) {
        enum egress_fault fault = egress_local(&egress, local, &b->peers[i]);
        if (local->family)
            return VD_OK;
        if (fault != EGRESS_FINE)
            err = cannot_leave(s, fault, b->peers[i].family);
    }
    return err;
}

/* The address that is configured, or else the one at which the client has come. */
static int find_local_for_anyone(struct session *s, struct vd_ip *local)
{
    struct egress egress = handshake_egress(s);
    const struct vd_ip *source = egress.force.source->source;
    enum vd_family family = egress_first(&egress);
    if (find_connect(s, NULL, local))
        return VD_OK;
    if (s->setup->accept.target.ip.family == VD_IPV4 && egress_uses(&egress, VD_IPV4))
        family = VD_IPV4;
    const struct vd_ip *one = &source[family == VD_IPV6];
    *local = net_addr_ip(&s->local);
    if (one->family && vd_ip_class(one) != VD_CLASS_UNSPECIFIED)
        *local = *one;
    if (local->family && !egress_uses(&egress, local->family))
        return cannot_leave(s, EGRESS_FINE, local->family);
    return local->family ? VD_OK : VD_ERR_NET;
}

/* SOCKS4 can tell IPv4 addresses only. */
static bool can_tell(const struct session *s, const struct vd_ip *ip)
{
    return ip->family == VD_IPV4 || s->setup->accept.protocol == VD_SPEAKS_SOCKS5;
}

static void choose_local(struct session *s)
{
    struct vd_ip local = {.family = VD_NO_IP};
    int err =
        bind_of(s)->anyone ? find_local_for_anyone(s, &local) : find_local_for_peer(s, &local);
    if (err != VD_OK) {
        handshake_refuse_request(s, err);
        return;
    }
    if (!can_tell(s, &local)) {
        handshake_refuse_request(s, VD_ERR_ADDRESS_TYPE);
        return;
    }
    net_addr_set(&s->out, &local, 0);
    listen_and_tell(s);
}

/* --- the names --- */

/* VD_OK: it is one of the peers; or why not. */
static int add_peer(struct session *s, const struct vd_ip *ip)
{
    struct session_bind *b = bind_of(s);
    struct access_query q = handshake_query(s);
    struct vd_ip plain = vd_ip_unmapped(ip);
    if (!access_address(s->worker->access, &q, &plain))
        return VD_ERR_DENIED;
    if (!can_tell(s, &plain))
        return VD_ERR_ADDRESS_TYPE;
    struct egress egress = handshake_egress(s);
    if (vd_ip_class(&plain) != VD_CLASS_UNSPECIFIED && !egress_uses(&egress, plain.family))
        return cannot_leave(s, EGRESS_FINE, plain.family);
    b->peers[b->count++] = plain;
    return VD_OK;
}

static void take_answers(struct session *s)
{
    struct session_bind *b = bind_of(s);
    struct resolve_answer answers[] = {resolve_answer(&b->wait, RESOLVE_V6),
                                       resolve_answer(&b->wait, RESOLVE_V4)};
    int err = VD_OK;
    if (!answers[0].here || !answers[1].here)
        return;
    for (unsigned f = 0; f < 2; f++) {
        for (size_t i = 0; i < answers[f].count; i++) {
            int why = add_peer(s, &answers[f].ips[i]);
            err = why ? why : err;
        }
        err = err ? err : answers[f].err;
    }
    resolve_stop(&b->wait);
    if (b->count > 0)
        choose_local(s);
    else
        handshake_refuse_request(s, err ? err : VD_ERR_NAME);
}

static void on_answer(struct resolve_wait *wait)
{
    take_answers(loop_owner(wait, struct session_setup, bind.wait)->session);
}

static void look_up(struct session *s)
{
    struct session_bind *b = bind_of(s);
    const struct vd_endpoint *target = &s->setup->accept.target;
    struct access_query q = handshake_query(s);
    if (access_target(s->worker->access, &q) == ACCESS_NO) {
        handshake_refuse_request(s, VD_ERR_DENIED);
        return;
    }
    b->wait.answered = on_answer;
    if (resolve_start(s->worker->dialer.resolver, &b->wait, target->name, target->name_len) != 0)
        handshake_refuse_request(s, VD_ERR_BUSY);
    else
        take_answers(s);
}

void bind_start(struct session *s)
{
    const struct vd_endpoint *target = &s->setup->accept.target;
    s->state = SESSION_BIND;
    loop_timer_in(session_loop(s), &s->timer, s->worker->conf->connect_ms);
    if (vd_endpoint_is_name(target)) {
        look_up(s);
        return;
    }
    int err = add_peer(s, &target->ip);
    if (err != VD_OK) {
        handshake_refuse_request(s, err);
        return;
    }
    bind_of(s)->anyone = vd_ip_class(&target->ip) == VD_CLASS_UNSPECIFIED;
    choose_local(s);
}

/* --- events --- */

/* A client that will say no more waits for nobody: a port that listens is not left behind. */
void bind_on_client(struct session *s, uint32_t events)
{
    if (events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP))
        session_end(s, "client-gone");
    else if (bind_of(s)->answered)
        tell(s);
}

void bind_late(struct session *s)
{
    if (bind_of(s)->told) {
        vd_accept_second(&s->setup->accept, VD_ERR_TTL, NULL);
        handshake_refuse(s);
    } else if (bind_of(s)->answered) {
        session_end(s, "client-gone");
    } else if (s->setup->dial.chained) {
        handshake_refuse_request(s, dial_timed_out(&s->setup->dial));
    } else {
        handshake_refuse_request(s, VD_ERR_TTL);
    }
}
