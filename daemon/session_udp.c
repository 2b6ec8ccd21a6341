/*
 * UDP ASSOCIATE: a session whose client has a port for datagrams (associate.h) instead of a tunnel.
 *
 * SESSION_UDP lasts as long as the client's connection, whose bytes are read and thrown away; and
 * no longer than idle_ms without a datagram. What the request tells of the client's port is held
 * to, unless it tells another address than the connection comes from: then a NAT stands between,
 * and its words mean nothing here.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "daemon/associate.h"
#include "daemon/session_state.h"
#include "proto/err.h"

/* An association has two more descriptors than a tunnel. */
enum { SESSIONS_PER_ASSOCIATION = 4, READS_PER_TURN = 4 };

/* --- who may send where --- */

static bool may_send(struct associate *a, const struct vd_endpoint *target, const struct vd_ip *ip)
{
    const struct session *s = a->owner;
    struct access *access = s->worker->access;
    struct access_query q = {.client = &s->client,
                             .user = s->logged_in ? s->names : NULL,
                             .user_len = s->user_len,
                             .command = VD_ASSOCIATE,
                             .target = target};
    if (!ip)
        return access_target(access, &q) != ACCESS_NO;
    return access_address(access, &q, ip);
}

/* --- the request --- */

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

static bool has_room(const struct worker *w)
{
    return w->associations < w->session_max / SESSIONS_PER_ASSOCIATION + 1;
}

/* VD_OK, or why not; *local becomes the address for the client's datagrams. */
static int open_association(struct session *s, struct net_addr *local)
{
    struct worker *w = s->worker;
    struct net_addr from = sender(s);
    struct access_query q = handshake_query(s);
    if (!access_command(w->access, &q))
        return VD_ERR_DENIED;
    if (has_room(w))
        s->udp = associate_new(&w->loop, w->dialer.resolver, &w->batch);
    if (!s->udp)
        return VD_ERR_BUSY;
    w->associations++;
    s->udp->owner = s;
    s->udp->may_send = may_send;
    s->udp->filter = w->conf->udp_filter;
    return associate_start(s->udp, local, &from);
}

void udp_start(struct session *s)
{
    struct net_addr local = s->local;
    struct vd_endpoint at;
    if (local.any.sa_family == AF_UNIX) {
        handshake_refuse_request(s, VD_ERR_COMMAND); /* there is no address to send to */
        return;
    }
    int err = open_association(s, &local);
    if (err != VD_OK) {
        udp_stop(s);
        handshake_refuse_request(s, err);
        return;
    }
    struct vd_ip ip = net_addr_ip(&local);
    vd_endpoint_set_ip(&at, &ip, net_addr_port(&local));
    s->state = SESSION_REPLY;
    loop_timer_in(session_loop(s), &s->timer, s->worker->conf->connect_ms);
    vd_accept_reply(&s->setup->accept, VD_OK, &at);
    handshake_reply(s);
}

void udp_stop(struct session *s)
{
    if (!s->udp)
        return;
    associate_free(s->udp);
    s->udp = NULL;
    s->worker->associations--;
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
    loop_timer_in(session_loop(s), &s->timer, s->worker->conf->idle_ms);
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
