/*
 * BIND through a chain: the last hop listens, where the way to it ends, and says who has come.
 *
 *     dial, BIND ──> first reply ──told──> dial_await_second ──> second reply ──> RELAY
 *
 * The client gets both replies as they come. An address that is none (0.0.0.0) means the hop's own
 * to who asked it, and would mean ours to the client; so it is told the former.
 *
 * The hop looks whether the right peer has come; so do we, as far as it tells. What the peer says
 * early stays in the kernel's socket: no reply is read past its end.
 */
#include "daemon/session_state.h"
#include "proto/err.h"

static bool is_address(const struct vd_ip *ip)
{
    return ip->family != VD_NO_IP && vd_ip_class(ip) != VD_CLASS_UNSPECIFIED;
}

/* --- the second reply --- */

static bool is_expected(const struct session *s, const struct vd_ip *peer)
{
    const struct vd_endpoint *target = &s->setup->accept.target;
    struct access_query q = handshake_query(s);
    struct vd_ip asked = vd_ip_unmapped(&target->ip);
    if (!is_address(peer))
        return true;
    if (!vd_endpoint_is_name(target) && is_address(&asked))
        return vd_ip_same(&asked, peer);
    return access_address(s->worker->access, &q, peer);
}

static void refuse(struct session *s, int err)
{
    vd_accept_second(&s->setup->accept, err, NULL);
    handshake_refuse(s);
}

/* SOCKS4 can tell IPv4 addresses only. */
static bool can_tell(const struct session *s, const struct vd_ip *ip)
{
    return ip->family != VD_IPV6 || s->setup->accept.protocol == VD_SPEAKS_SOCKS5;
}

static void on_second(struct dial *dial, int err)
{
    struct session *s = loop_owner(dial, struct session_setup, dial)->session;
    struct vd_endpoint peer;
    struct vd_ip ip = vd_ip_unmapped(&dial->bound.ip);
    if (err == VD_OK && !is_expected(s, &ip))
        err = VD_ERR_DENIED;
    if (err == VD_OK && !can_tell(s, &ip))
        err = VD_ERR_ADDRESS_TYPE;
    if (err != VD_OK) {
        refuse(s, err);
        return;
    }
    vd_endpoint_set_ip(&peer, &ip, dial->bound.port);
    handshake_take_dialed(s);
    relay_note(&s->relay, RELAY_TARGET, dial->seen);
    s->state = SESSION_REPLY;
    loop_timer_in(session_loop(s), &s->timer, s->worker->conf->connect_ms);
    vd_accept_second(&s->setup->accept, VD_OK, &peer);
    handshake_reply(s);
}

void bind_chain_told(struct session *s)
{
    s->setup->dial.done = on_second;
    dial_await_second(&s->setup->dial);
}

/* --- the first reply --- */

/* The last hop's own address, as far as it is known here. */
static struct vd_ip address_of_hop(const struct dial *d)
{
    const struct vd_path *path = &d->chain.path;
    const struct vd_hop *hop = vd_path_hop(path, path->count - 1u);
    if (path->count == 1)
        return net_addr_ip(&d->peer);
    if (!vd_endpoint_is_name(&hop->at))
        return vd_ip_unmapped(&hop->at.ip);
    return hop->addr_count > 0 ? hop->addrs[0] : (struct vd_ip){.family = VD_NO_IP};
}

static void on_first(struct dial *dial, int err)
{
    struct session *s = loop_owner(dial, struct session_setup, dial)->session;
    struct vd_ip ip = vd_ip_unmapped(&dial->bound.ip);
    struct vd_endpoint at;
    session_take_way_of(s, dial, err == VD_OK);
    if (err != VD_OK) {
        handshake_refuse_request(s, err);
        return;
    }
    s->out = dial->out;
    if (!dial->tls)
        net_addr_local(&s->out, dial->io.fd);
    s->peer = dial->peer;
    if (!is_address(&ip))
        ip = address_of_hop(dial);
    if (ip.family == VD_NO_IP || dial->bound.port == 0)
        handshake_refuse_request(s, VD_ERR_FAILED);
    else if (!can_tell(s, &ip))
        handshake_refuse_request(s, VD_ERR_ADDRESS_TYPE);
    else {
        vd_endpoint_set_ip(&at, &ip, dial->bound.port);
        bind_listens(s, &at);
    }
}

/* --- the request --- */

void bind_chain_start(struct session *s)
{
    struct dial *dial = &s->setup->dial;
    struct access_query q = handshake_query(s);
    s->state = SESSION_BIND;
    loop_timer_in(session_loop(s), &s->timer, s->worker->conf->connect_ms);
    if (!access_target_of_chain(s->worker->access, &q)) {
        handshake_refuse_request(s, VD_ERR_DENIED);
        return;
    }
    dial->command = VD_BIND;
    dial->done = on_first;
    dial_start(dial, s->via, &s->setup->accept.target);
}
