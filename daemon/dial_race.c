/*
 * The state of the race is two queues of addresses that still are to be tried, one per family,
 * filled as answers come, and the attempts under way. dial_race_on() looks at all of it, does what
 * can be done now, and sets the timer for what time alone will change. The families take turns,
 * the preferred one first (egress_first), which is IPv6 unless somebody said otherwise; a new
 * attempt starts when the last one failed or is DIAL_STAGGER_MS old; nothing starts on the other
 * family alone until the preferred one is answered or DIAL_FIRST_WAIT_MS have passed. The first
 * socket that connects wins, the others are closed. If all fail, the reason that tells most is
 * reported.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/dial_state.h"
#include "proto/err.h"

void dial_close_attempts(struct dial *d)
{
    for (unsigned i = 0; i < d->used; i++)
        loop_close(dial_loop(d), &d->attempts[i].io);
    d->alive = 0;
}

/* --- connecting --- */

/* Where no hop has words, and the kernel's reason is not the target's. */
static void explain_egress(struct dial *d)
{
    struct vd_out out = vd_out_over(d->said, sizeof d->said);
    bool by_family = d->err == VD_ERR_ADDRESS_TYPE && d->unserved;
    if (by_family)
        vd_out_text(&out, "the target ");
    if (by_family)
        egress_explain_family(&d->egress, &out);
    else if (d->fault != EGRESS_FINE)
        egress_explain(&d->egress, &out, d->fault, d->fault_family, d->fault_number);
    d->said_len = out.len;
}

static void race_lost(struct dial *d)
{
    int err = d->err ? d->err : VD_ERR_FAILED;
    if (!d->chained)
        explain_egress(d);
    if (d->chained)
        dial_chain_failed(d, -VD_ERR_UNREACHABLE);
    else
        dial_finish(d, err);
}

/* A connection that is new takes so few bytes at once, or is lost already. */
static bool is_introduced(const struct dial *d)
{
    return send(d->io.fd, d->preface, d->preface_len, MSG_NOSIGNAL) == d->preface_len;
}

static void race_won(struct dial *d, struct dial_attempt *winner, uint32_t events)
{
    loop_hand_over(dial_loop(d), &winner->io, &d->io);
    if (winner->ip.family)
        net_addr_set(&d->peer, &winner->ip, d->port);
    else
        d->peer.any.sa_family = AF_UNIX;
    resolve_stop(&d->wait);
    loop_timer_stop(dial_loop(d), &d->timer);
    dial_close_attempts(d);
    d->seen = events;
    if (d->preface_len > 0 && !is_introduced(d)) {
        dial_blame(d, VD_ERR_TARGET_RESET);
        race_lost(d);
        return;
    }
    if (!d->chained) {
        dial_finish(d, VD_OK);
        return;
    }
    dial_chain_connected(d);
}

static void attempt_ready(struct loop_io *io, uint32_t events)
{
    struct dial_attempt *a = loop_owner(io, struct dial_attempt, io);
    struct dial *d = a->dial;
    int number = events & (EPOLLERR | EPOLLHUP) ? net_socket_errno(io->fd) : 0;
    if (number == 0 && (events & EPOLLOUT)) {
        race_won(d, a, events);
        return;
    }
    if (number == 0)
        return;
    loop_close(dial_loop(d), io);
    d->alive--;
    d->may_start = true;
    d->number = number;
    dial_blame(d, net_err(number));
    dial_race_on(d);
}

/* Binds it to where the race leaves. VD_OK, or a reason that is ours, not the target's. */
static int leave(struct dial *d, int fd, const struct vd_ip *ip)
{
    if (!ip->family)
        return VD_OK;
    enum egress_fault fault =
        egress_bind(&d->egress, fd, ip->family == VD_IPV6 ? AF_INET6 : AF_INET);
    if (fault == EGRESS_FINE)
        return VD_OK;
    d->fault_number = errno;
    d->fault_family = ip->family;
    d->fault = (uint8_t)fault;
    return VD_ERR_FAILED;
}

/* To an address of its own the kernel goes out from the same one, also where it came up only now,
 * or, IPv4, is one of a whole network that is routed to this machine, which no list of addresses
 * tells.
 */
static bool leads_here(int fd, const struct vd_ip *ip)
{
    struct net_addr from;
    socklen_t len = sizeof from;
    if (getsockname(fd, &from.any, &len) != 0)
        return true;
    struct vd_ip own = net_addr_ip(&from);
    return vd_ip_within(ip, &own, own.family == VD_IPV6 ? 128 : 32);
}

/* Of a target: whether it is one that is not to be reached, after all. */
static bool is_closed(struct dial *d, int fd, const struct vd_ip *ip)
{
    return !d->chained && ip->family && vd_ip_class(ip) != VD_CLASS_LOOPBACK &&
           leads_here(fd, ip) && !d->may_reach(d, ip, true);
}

/* Starts an attempt to `addr`; VD_OK while it is under way, or why it is none. */
static int attempt(struct dial *d, const struct sockaddr *addr, socklen_t len,
                   const struct vd_ip *ip)
{
    struct dial_attempt *a = &d->attempts[d->used];
    static const int on = 1;
    int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return net_err(errno);
    if (ip->family)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (leave(d, fd, ip) != VD_OK) {
        close(fd);
        return VD_ERR_FAILED;
    }
    if (d->by->paced && vd_ip_class(ip) == VD_CLASS_LOOPBACK)
        net_be_unpaced(fd);
    *a = (struct dial_attempt){.io = {.fd = fd, .ready = attempt_ready}, .dial = d, .ip = *ip};
    int number = connect(fd, addr, len) == 0 || errno == EINPROGRESS ? 0 : errno;
    if (number == 0 && is_closed(d, fd, ip)) {
        close(fd);
        return VD_ERR_DENIED;
    }
    if (number == 0 && loop_watch(dial_loop(d), &a->io, loop_everything) != 0)
        number = errno;
    if (number != 0) {
        close(fd);
        d->number = number;
        return net_err(number);
    }
    d->used++;
    d->alive++;
    return VD_OK;
}

static void attempt_ip(struct dial *d, const struct vd_ip *ip)
{
    struct net_addr addr;
    net_addr_set(&addr, ip, d->port);
    int err = attempt(d, &addr.any, net_addr_len(&addr), ip);
    if (err != VD_OK)
        dial_blame(d, err);
    d->may_start = err != VD_OK;
}

void dial_race_to_unix(struct dial *d, const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct vd_ip none = {0};
    size_t path_len = strlen(path);
    memcpy(addr.sun_path, path, path_len);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path_len + 1);
    d->phase = DIAL_RACE;
    int err = attempt(d, (const struct sockaddr *)&addr, len, &none);
    if (err == VD_OK)
        return;
    dial_blame(d, err);
    race_lost(d);
}

/* --- taking turns --- */

static void queue_ip(struct dial *d, const struct vd_ip *ip)
{
    struct vd_ip plain = vd_ip_unmapped(ip);
    struct dial_queue *q = &d->queue[plain.family == VD_IPV6 ? RESOLVE_V6 : RESOLVE_V4];
    if (!d->chained && !d->may_reach(d, &plain, false))
        dial_blame(d, VD_ERR_DENIED);
    else if (!egress_uses(&d->egress, plain.family)) {
        d->unserved = true;
        dial_blame(d, VD_ERR_ADDRESS_TYPE);
    } else if (q->count < RESOLVE_IPS_MAX)
        q->ips[q->count++] = plain;
}

static void take_answer(struct dial *d, enum resolve_family family)
{
    struct dial_queue *q = &d->queue[family];
    if (q->taken || !d->wait.lookup)
        return;
    struct resolve_answer a = resolve_answer(&d->wait, family);
    if (!a.here)
        return;
    q->taken = true;
    if (a.err != VD_OK)
        dial_blame(d, a.err);
    for (size_t i = 0; i < a.count; i++)
        queue_ip(d, &a.ips[i]);
}

/* One that is not used can tell no more than why nothing was tried. */
static bool is_family_awaited(const struct dial *d, enum resolve_family family)
{
    enum vd_family which = family == RESOLVE_V6 ? VD_IPV6 : VD_IPV4;
    return d->wait.lookup && !d->queue[family].taken &&
           (d->used == 0 || egress_uses(&d->egress, which));
}

static const struct vd_ip *next_ip(struct dial *d)
{
    enum resolve_family first = d->by_v4 ? RESOLVE_V4 : RESOLVE_V6;
    struct dial_queue *q = &d->queue[first];
    if (q->next == q->count)
        q = &d->queue[first == RESOLVE_V4 ? RESOLVE_V6 : RESOLVE_V4];
    if (q->next == q->count)
        return NULL;
    d->by_v4 = q == &d->queue[RESOLVE_V6];
    return &q->ips[q->next++];
}

/* Nothing is tried yet, only the other family is there: RFC 8305 gives the preferred one a moment.
 */
static bool waits_for_first(struct dial *d)
{
    bool v4 = egress_first(&d->egress) == VD_IPV4;
    if (d->waited || d->used > 0 || !is_family_awaited(d, v4 ? RESOLVE_V4 : RESOLVE_V6) ||
        d->queue[v4 ? RESOLVE_V6 : RESOLVE_V4].count == 0)
        return false;
    if (d->timer.at_ms == 0)
        loop_timer_in(dial_loop(d), &d->timer, DIAL_FIRST_WAIT_MS);
    return true;
}

static void start_attempts(struct dial *d)
{
    const struct vd_ip *ip;
    unsigned used = d->used;
    while (d->may_start && d->used < DIAL_ATTEMPTS && (ip = next_ip(d)))
        attempt_ip(d, ip);
    bool more = d->queue[0].next < d->queue[0].count || d->queue[1].next < d->queue[1].count ||
                is_family_awaited(d, RESOLVE_V6) || is_family_awaited(d, RESOLVE_V4);
    if (d->alive > 0 && more && (d->used > used || d->timer.at_ms == 0))
        loop_timer_in(dial_loop(d), &d->timer, DIAL_STAGGER_MS);
}

void dial_race_on(struct dial *d)
{
    take_answer(d, RESOLVE_V6);
    take_answer(d, RESOLVE_V4);
    if (waits_for_first(d))
        return;
    start_attempts(d);
    if (d->alive == 0 && !is_family_awaited(d, RESOLVE_V6) && !is_family_awaited(d, RESOLVE_V4))
        race_lost(d);
}

static void set_out(struct dial *d, uint16_t port)
{
    d->phase = DIAL_RACE;
    d->port = port;
    d->may_start = true;
    d->egress = egress_of(d->by->conf, d->chained ? d->via->conf : NULL, d->rule);
    d->by_v4 = egress_first(&d->egress) == VD_IPV4;
}

void dial_race_to(struct dial *d, const struct vd_endpoint *e)
{
    set_out(d, e->port);
    if (!vd_endpoint_is_name(e))
        queue_ip(d, &e->ip);
    else if (resolve_start(d->by->resolver, &d->wait, e->name, e->name_len) != 0)
        dial_blame(d, VD_ERR_BUSY);
    dial_race_on(d);
}

void dial_race_to_hop(struct dial *d, const struct vd_hop *hop)
{
    if (hop->unix_len > 0) {
        dial_race_to_unix(d, hop->unix_path);
        return;
    }
    if (!vd_endpoint_is_name(&hop->at) || hop->addr_count == 0) {
        dial_race_to(d, &hop->at);
        return;
    }
    set_out(d, hop->at.port);
    for (unsigned i = 0; i < hop->addr_count; i++)
        queue_ip(d, &hop->addrs[i]);
    dial_race_on(d);
}

void dial_race_forget(struct dial *d)
{
    for (int f = 0; f < 2; f++)
        d->queue[f].count = d->queue[f].next = d->queue[f].taken = 0;
    d->used = d->limit_ms = 0;
    d->waited = d->by_v4 = d->unserved = false;
    d->fault = EGRESS_FINE;
    d->err = VD_OK;
    d->number = 0;
}
