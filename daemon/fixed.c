/*
 * Sessions without a handshake: the listener knows where they go.
 *
 *     redirect://   where the client meant to go, which netfilter remembers (SO_ORIGINAL_DST);
 *     tproxy://     the same, which is the accepted socket's own address;
 *                   both judged by rules and guard as a CONNECT would be
 *     forward://    to one of the targets, the next one if that fails; who wrote them into the
 *                   configuration meant them: rules count, the guard does not
 *
 * The codec plays no part but to hold target and reason. A refusal is a reset: a connection that
 * was accepted and ends in order would look like a server that had nothing to say.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/balance.h"
#include "daemon/session_state.h"
#include "proto/err.h"

/* The same number for both families; the headers of linux/netfilter* do not go with libc's. */
enum { ORIGINAL_DST = 80 };

/* --- redirect and tproxy --- */

static bool original(const struct session *s, struct net_addr *to)
{
    int fd = session_leg((struct session *)s, RELAY_CLIENT)->io.fd;
    socklen_t len = sizeof *to;
    memset(to, 0, sizeof *to);
    if (s->local.any.sa_family == AF_INET6)
        return getsockopt(fd, SOL_IPV6, ORIGINAL_DST, &to->any, &len) == 0;
    return getsockopt(fd, SOL_IP, ORIGINAL_DST, &to->any, &len) == 0;
}

/* Who was not redirected comes to where the listener is: to go there would never end. */
static int target_of_redirect(const struct session *s, struct vd_endpoint *target)
{
    struct net_addr to;
    struct vd_ip own = net_addr_ip(&s->local);
    if (!original(s, &to))
        return VD_ERR_DENIED;
    struct vd_ip ip = net_addr_ip(&to);
    if (net_addr_port(&to) == net_addr_port(&s->local) && vd_ip_same(&ip, &own))
        return VD_ERR_DENIED;
    vd_endpoint_set_ip(target, &ip, net_addr_port(&to));
    return VD_OK;
}

static int target_of_tproxy(const struct session *s, struct vd_endpoint *target)
{
    struct vd_ip ip = net_addr_ip(&s->local);
    uint16_t port = net_addr_port(&s->local);
    if (port == net_addr_port(&s->from->addr) && access_is_own(s->worker->access, &ip))
        return VD_ERR_DENIED;
    vd_endpoint_set_ip(target, &ip, port);
    return VD_OK;
}

/* --- forward --- */

static void leave(struct session *s)
{
    if (s->target > 0)
        balance_leave(s->from->balance, s->target - 1);
    s->target = 0;
}

/* VD_ERR_BUSY: all were tried. */
static int target_of_forward(struct session *s, struct vd_endpoint *target)
{
    struct balance *b = s->from->balance;
    int index = balance_pick(b, &s->client, s->setup->tried);
    if (index < 0)
        return VD_ERR_BUSY;
    const struct vd_conf_target *chosen = balance_target(b, index);
    s->target = (uint8_t)(index + 1);
    s->setup->tried |= (uint64_t)1 << index;
    s->setup->unix_path = chosen->unix_path[0] ? chosen->unix_path : NULL;
    balance_enter(b, index);
    *target = chosen->at;
    if (s->setup->unix_path)
        vd_endpoint_set_name(target, "unix", 4, 0);
    return VD_OK;
}

/* --- the face --- */

bool fixed_is(const struct session *s)
{
    return s->from->conf->kind >= VD_LISTEN_REDIRECT;
}

bool fixed_is_forward(const struct session *s)
{
    return s->from->conf->kind == VD_LISTEN_FORWARD;
}

static int target_of(struct session *s, struct vd_endpoint *target)
{
    if (fixed_is_forward(s))
        return target_of_forward(s, target);
    return s->from->conf->kind == VD_LISTEN_TPROXY ? target_of_tproxy(s, target)
                                                   : target_of_redirect(s, target);
}

void fixed_start(struct session *s)
{
    struct vd_endpoint target = {.port = 0};
    int err = target_of(s, &target);
    vd_accept_fixed(&s->setup->accept, VD_CONNECT, &target);
    if (err == VD_ERR_DENIED)
        s->setup->rule = "loop";
    if (err != VD_OK)
        handshake_refuse_request(s, err);
    else
        handshake_request(s);
}

bool fixed_retry(struct session *s)
{
    struct session_setup *setup = s->setup;
    struct vd_endpoint target;
    if (!fixed_is_forward(s))
        return false;
    if (s->target > 0)
        balance_failed(s->from->balance, s->target - 1);
    leave(s);
    if (target_of_forward(s, &target) != VD_OK)
        return false;
    dial_stop(&setup->dial);
    handshake_set_up_dial(s);
    vd_accept_fixed(&setup->accept, VD_CONNECT, &target);
    handshake_request(s);
    return true;
}

void fixed_stop(struct session *s)
{
    leave(s);
}
