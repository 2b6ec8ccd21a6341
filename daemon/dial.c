/*
 * Phases of a dial:
 *
 *     TARGET ──> RACE ──connected──> CHAIN ──last reply──> done
 *       │          └──connected, no chain────────────────> done
 *       └── only if the last hop of a chain takes no names: the target is looked up here
 *
 * RACE goes to the target, or to the first hop of the chain. Its state is two queues of addresses
 * that still are to be tried, one per family, filled as answers come, and the attempts under way.
 * race_on() looks at all of it, does what can be done now, and sets the timer for what time alone
 * will change. The families take turns, IPv6 first; a new attempt starts when the last one failed
 * or is DIAL_STAGGER_MS old; nothing starts on A alone until AAAA is there or DIAL_AAAA_WAIT_MS
 * have passed. The first socket that connects wins, the others are closed. If all fail, the reason
 * that tells most is reported.
 *
 * CHAIN is the driver of proto/chain: sends what is pending, feeds what it may read. When a flight
 * went wrong the race is run once more, on new sockets, and the chain goes message by message.
 *
 * finish() calls the owner, who may throw the dial away: nothing is touched after it.
 */
#include "daemon/dial.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/err.h"

enum phase { PHASE_NONE, PHASE_TARGET, PHASE_RACE, PHASE_CHAIN, PHASE_OVER };

const uint32_t dial_events =
    (uint32_t)EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | (uint32_t)EPOLLET;

static void race_on(struct dial *d);
static void chain_on(struct dial *d);

static struct loop *loop_of(const struct dial *d)
{
    return d->by->loop;
}

/* --- the end --- */

static void close_attempts(struct dial *d)
{
    for (unsigned i = 0; i < d->used; i++)
        loop_close(loop_of(d), &d->attempts[i].io);
    d->alive = 0;
}

void dial_stop(struct dial *d)
{
    resolve_stop(&d->wait);
    loop_timer_stop(loop_of(d), &d->timer);
    close_attempts(d);
    loop_close(loop_of(d), &d->io);
    d->phase = PHASE_OVER;
}

static void finish(struct dial *d, int err)
{
    if (err != VD_OK)
        dial_stop(d);
    d->err = err;
    d->phase = PHASE_OVER;
    d->done(d, err);
}

/* Which of two reasons tells a client more about its target. */
static int weight(int err)
{
    static const uint8_t weights[VD_ERR_COUNT] = {
        [VD_ERR_REFUSED] = 9, [VD_ERR_TARGET_RESET] = 8, [VD_ERR_TTL] = 7,  [VD_ERR_HOST] = 6,
        [VD_ERR_NET] = 5,     [VD_ERR_DENIED] = 4,       [VD_ERR_NAME] = 3, [VD_ERR_BUSY] = 2};
    return weights[err] ? weights[err] : 1;
}

static void blame(struct dial *d, int err)
{
    if (d->err == VD_OK || weight(err) > weight(d->err))
        d->err = err;
}

/* What a hop says about itself, or about us, is not the client's fault: not its login, not its
 * request. What it says about the target is passed on. */
static int for_client(int err)
{
    switch ((enum vd_err)(err < 0 ? -err : err)) {
    case VD_ERR_LOGIN:
    case VD_ERR_METHOD:
    case VD_ERR_IDENT:
    case VD_ERR_IDENT_USER:
    case VD_ERR_COMMAND:
    case VD_ERR_PROTOCOL:
    case VD_ERR_TOO_LONG:
    case VD_ERR_NAME_FORM:
    case VD_ERR_UNSUPPORTED:
    case VD_ERR_SPACE:
        return VD_ERR_FAILED;
    case VD_OK:
    case VD_ERR_REFUSED:
    case VD_ERR_NET:
    case VD_ERR_HOST:
    case VD_ERR_NAME:
    case VD_ERR_TTL:
    case VD_ERR_TARGET_RESET:
    case VD_ERR_DENIED:
    case VD_ERR_ADDRESS_TYPE:
    case VD_ERR_FAILED:
    case VD_ERR_BUSY:
    case VD_ERR_UNREACHABLE:
    case VD_ERR_CLOSED:
    case VD_ERR_RESET:
    case VD_ERR_SILENT:
    case VD_ERR_RULE:
    case VD_ERR_COUNT:
        break;
    }
    return err < 0 ? -err : err;
}

/* Keeps what the chain has to say about `err`; the reason for the client. */
static int explain(struct dial *d, int err)
{
    struct vd_out out = vd_out_over(d->said, sizeof d->said);
    vd_chain_explain(&out, &d->chain, err);
    d->said_len = out.len;
    return for_client(err);
}

static void chain_failed(struct dial *d, int err)
{
    finish(d, explain(d, err));
}

static bool is_chain_started(struct dial *d)
{
    struct vd_path path = {.hops = d->by->upstream->hops,
                           .count = (uint8_t)d->by->upstream->hop_count};
    for (uint8_t i = 0; i < path.count; i++)
        path.order[i] = i;
    learned_path(d->by->learned, &path);
    int err = vd_chain_start(&d->chain, &path, VD_CONNECT, &d->final);
    if (err < 0)
        chain_failed(d, err);
    return err >= 0;
}

int dial_timed_out(struct dial *d)
{
    if (d->phase == PHASE_CHAIN) {
        int err = vd_chain_lost(&d->chain, VD_LOSS_SILENT);
        return explain(d, err < 0 ? err : -VD_ERR_SILENT);
    }
    if (d->chained && d->phase == PHASE_RACE)
        return explain(d, -VD_ERR_SILENT);
    blame(d, VD_ERR_TTL);
    return d->err;
}

/* --- connecting --- */

static void race_lost(struct dial *d)
{
    int err = d->err ? d->err : VD_ERR_FAILED;
    if (d->chained)
        chain_failed(d, -VD_ERR_UNREACHABLE);
    else
        finish(d, err);
}

/* A connection that is new takes so few bytes at once, or is lost already. */
static bool is_introduced(const struct dial *d)
{
    return send(d->io.fd, d->preface, d->preface_len, MSG_NOSIGNAL) == d->preface_len;
}

/* What counts as silence depends on how far the hop is away. */
static void set_patience(struct dial *d)
{
    int64_t ms = (loop_of(d)->now_ms - d->raced_ms) * 8;
    if (ms > d->chain.patience_ms && ms < UINT32_MAX)
        d->chain.patience_ms = (uint32_t)ms;
}

static void race_won(struct dial *d, struct dial_attempt *winner, uint32_t events)
{
    loop_hand_over(loop_of(d), &winner->io, &d->io);
    if (winner->ip.family)
        net_addr_set(&d->peer, &winner->ip, d->port);
    else
        d->peer.any.sa_family = AF_UNIX;
    resolve_stop(&d->wait);
    loop_timer_stop(loop_of(d), &d->timer);
    close_attempts(d);
    d->seen = events;
    if (d->preface_len > 0 && !is_introduced(d)) {
        blame(d, VD_ERR_TARGET_RESET);
        race_lost(d);
        return;
    }
    if (!d->chained) {
        finish(d, VD_OK);
        return;
    }
    d->phase = PHASE_CHAIN;
    set_patience(d);
    chain_on(d);
}

static void attempt_ready(struct loop_io *io, uint32_t events)
{
    struct dial_attempt *a = loop_owner(io, struct dial_attempt, io);
    struct dial *d = a->dial;
    int err = events & (EPOLLERR | EPOLLHUP) ? net_socket_err(io->fd) : VD_OK;
    if (err == VD_OK && (events & EPOLLOUT)) {
        race_won(d, a, events);
        return;
    }
    if (err == VD_OK)
        return;
    loop_close(loop_of(d), io);
    d->alive--;
    d->may_start = true;
    blame(d, err);
    race_on(d);
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
    if (d->by->mark && ip->family)
        setsockopt(fd, SOL_SOCKET, SO_MARK, &d->by->mark, sizeof d->by->mark);
    *a = (struct dial_attempt){.io = {.fd = fd, .ready = attempt_ready}, .dial = d, .ip = *ip};
    int number = connect(fd, addr, len) == 0 || errno == EINPROGRESS ? 0 : errno;
    if (number == 0 && loop_watch(loop_of(d), &a->io, dial_events) != 0)
        number = errno;
    if (number != 0) {
        close(fd);
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
        blame(d, err);
    d->may_start = err != VD_OK;
}

static void attempt_unix(struct dial *d, const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct vd_ip none = {0};
    size_t path_len = strlen(path);
    memcpy(addr.sun_path, path, path_len);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path_len + 1);
    d->phase = PHASE_RACE;
    int err = attempt(d, (const struct sockaddr *)&addr, len, &none);
    if (err == VD_OK)
        return;
    blame(d, err);
    race_lost(d);
}

/* --- the race --- */

static void queue_ip(struct dial *d, const struct vd_ip *ip)
{
    struct vd_ip plain = vd_ip_unmapped(ip);
    struct dial_queue *q = &d->queue[plain.family == VD_IPV6 ? RESOLVE_V6 : RESOLVE_V4];
    if (!d->chained && !d->may_reach(d, &plain))
        blame(d, VD_ERR_DENIED);
    else if (q->count < RESOLVE_IPS_MAX)
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
        blame(d, a.err);
    for (size_t i = 0; i < a.count; i++)
        queue_ip(d, &a.ips[i]);
}

static bool is_family_awaited(const struct dial *d, enum resolve_family family)
{
    return d->wait.lookup && !d->queue[family].taken;
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

/* Nothing is tried yet, only A is there: RFC 8305 gives AAAA a moment. */
static bool waits_for_aaaa(struct dial *d)
{
    if (d->waited || d->used > 0 || !is_family_awaited(d, RESOLVE_V6) ||
        d->queue[RESOLVE_V4].count == 0)
        return false;
    if (d->timer.at_ms == 0)
        loop_timer_in(loop_of(d), &d->timer, DIAL_AAAA_WAIT_MS);
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
        loop_timer_in(loop_of(d), &d->timer, DIAL_STAGGER_MS);
}

static void race_on(struct dial *d)
{
    take_answer(d, RESOLVE_V6);
    take_answer(d, RESOLVE_V4);
    if (waits_for_aaaa(d))
        return;
    start_attempts(d);
    if (d->alive == 0 && !is_family_awaited(d, RESOLVE_V6) && !is_family_awaited(d, RESOLVE_V4))
        race_lost(d);
}

static void race_to(struct dial *d, const struct vd_endpoint *e)
{
    d->phase = PHASE_RACE;
    d->port = e->port;
    d->may_start = true;
    if (!vd_endpoint_is_name(e))
        queue_ip(d, &e->ip);
    else if (resolve_start(d->by->resolver, &d->wait, e->name, e->name_len) != 0)
        blame(d, VD_ERR_BUSY);
    race_on(d);
}

static void race_to_first_hop(struct dial *d)
{
    const struct vd_hop *hop = &d->by->upstream->hops[0];
    d->raced_ms = loop_of(d)->now_ms;
    if (hop->unix_len == 0) {
        race_to(d, &hop->at);
        return;
    }
    attempt_unix(d, hop->unix_path);
}

static void start_chain(struct dial *d)
{
    if (is_chain_started(d))
        race_to_first_hop(d);
}

/* --- the target of a chain whose last hop takes addresses only --- */

/* socks4 has no IPv6: IPv4 is the safer choice of two. */
static void target_on(struct dial *d)
{
    struct resolve_answer v4 = resolve_answer(&d->wait, RESOLVE_V4);
    struct resolve_answer v6 = resolve_answer(&d->wait, RESOLVE_V6);
    const struct resolve_answer *a = v4.count ? &v4 : &v6;
    if (!v4.here || (!v4.count && !v6.here))
        return;
    if (a->count == 0) {
        finish(d, v4.err == VD_ERR_TTL ? VD_ERR_TTL : v6.err);
        return;
    }
    if (!d->may_reach(d, &a->ips[0])) {
        finish(d, VD_ERR_DENIED);
        return;
    }
    vd_endpoint_set_ip(&d->final, &a->ips[0], d->target->port);
    resolve_stop(&d->wait);
    start_chain(d);
}

/* --- the chain --- */

/* Sends what is pending. 1: all of it; 0: the socket is full; or a reason. */
static int chain_send(struct dial *d)
{
    size_t n;
    while ((n = vd_chain_pending(&d->chain, d->by->scratch, d->by->scratch_len)) > 0) {
        ssize_t sent = send(d->io.fd, d->by->scratch, n, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN ? 0 : vd_chain_lost(&d->chain, VD_LOSS_RESET);
        vd_chain_sent(&d->chain, (size_t)sent);
    }
    return 1;
}

/* Receives and feeds once. VD_MORE, VD_DONE, a reason; *again false when there is no more to read.
 */
static int chain_receive(struct dial *d, bool *again)
{
    bool peek = vd_chain_peeks(&d->chain);
    size_t want = peek ? VD_SHAKE_READ_MAX : vd_chain_want(&d->chain), used = 0;
    ssize_t n = recv(d->io.fd, d->by->scratch, want, peek ? MSG_PEEK : 0);
    if (n < 0 && errno == EAGAIN)
        *again = false;
    if (n < 0)
        return *again ? vd_chain_lost(&d->chain, VD_LOSS_RESET) : VD_MORE;
    if (n == 0)
        return vd_chain_lost(&d->chain, VD_LOSS_EOF);
    int result = vd_chain_feed(&d->chain, d->by->scratch, (size_t)n, &used);
    if (peek && used > 0 && recv(d->io.fd, d->by->scratch, used, 0) != (ssize_t)used)
        return -VD_ERR_RESET;
    return result;
}

static void chain_done(struct dial *d)
{
    loop_timer_stop(loop_of(d), &d->timer);
    learned_up(d->by->learned, &d->chain);
    vd_endpoint_set_ip(&d->bound, &d->chain.shake.bound_ip, d->chain.shake.bound_port);
    d->seen = EPOLLIN | EPOLLOUT; /* whether more is there is not known */
    finish(d, VD_OK);
}

static void chain_limit(struct dial *d, uint8_t stage_of)
{
    uint32_t limit = vd_chain_timeout_ms(&d->chain);
    if (stage_of == d->chain.at && limit == d->limit_ms)
        return;
    d->limit_ms = limit;
    loop_timer_stop(loop_of(d), &d->timer);
    if (limit > 0)
        loop_timer_in(loop_of(d), &d->timer, limit);
}

static void forget_race(struct dial *d)
{
    for (int f = 0; f < 2; f++)
        d->queue[f].count = d->queue[f].next = d->queue[f].taken = 0;
    d->used = d->limit_ms = 0;
    d->waited = d->by_v4 = false;
    d->err = VD_OK;
}

static void chain_again(struct dial *d)
{
    learned_unfit(d->by->learned, &d->chain);
    loop_timer_stop(loop_of(d), &d->timer);
    loop_close(loop_of(d), &d->io);
    forget_race(d);
    vd_chain_again(&d->chain);
    race_to_first_hop(d);
}

static void chain_on(struct dial *d)
{
    bool again = true;
    uint8_t stage_of = d->chain.at;
    int result = VD_MORE;
    while (again && result == VD_MORE) {
        result = chain_send(d);
        again = result == 1;
        if (again)
            result = chain_receive(d, &again);
    }
    if (result < 0)
        chain_failed(d, result);
    else if (result == VD_AGAIN)
        chain_again(d);
    else if (result == VD_DONE && again)
        chain_done(d);
    else
        chain_limit(d, stage_of);
}

static void chain_lost(struct dial *d, enum vd_loss loss)
{
    int result = vd_chain_lost(&d->chain, loss);
    if (result == VD_AGAIN)
        chain_again(d);
    else
        chain_failed(d, result);
}

/* --- events --- */

static void socket_ready(struct loop_io *io, uint32_t events)
{
    struct dial *d = loop_owner(io, struct dial, io);
    d->seen |= events;
    if (d->phase == PHASE_CHAIN)
        chain_on(d);
}

static void go_on(struct dial *d)
{
    if (d->phase == PHASE_TARGET)
        target_on(d);
    else if (d->phase == PHASE_RACE)
        race_on(d);
}

static void on_answered(struct resolve_wait *wait)
{
    go_on(loop_owner(wait, struct dial, wait));
}

static void on_timer(struct loop_timer *timer)
{
    struct dial *d = loop_owner(timer, struct dial, timer);
    if (d->phase == PHASE_CHAIN) {
        chain_lost(d, VD_LOSS_SILENT);
        return;
    }
    d->waited = true;
    d->may_start = true;
    race_on(d);
}

/* --- the beginning --- */

void dial_init(struct dial *d, const struct dialer *by)
{
    memset(d, 0, offsetof(struct dial, queue));
    for (int f = 0; f < 2; f++)
        d->queue[f].count = d->queue[f].next = d->queue[f].taken = 0;
    d->by = by;
    d->chained = by->upstream->hop_count > 0;
    d->io = (struct loop_io){.fd = -1, .ready = socket_ready};
    d->wait.answered = on_answered;
    d->timer.fire = on_timer;
}

/* Whether the chain can be given the target as it is. */
static bool is_final(const struct dial *d)
{
    const struct vd_conf_chain *up = d->by->upstream;
    return !vd_endpoint_is_name(d->target) || vd_hop_takes_names(&up->hops[up->hop_count - 1]);
}

void dial_start_unix(struct dial *d, const char *path)
{
    d->chained = false;
    attempt_unix(d, path);
}

void dial_start(struct dial *d, const struct vd_endpoint *target)
{
    d->target = target;
    if (!d->chained) {
        race_to(d, target);
        return;
    }
    d->final = *target;
    if (is_final(d)) {
        start_chain(d);
        return;
    }
    d->phase = PHASE_TARGET;
    if (resolve_start(d->by->resolver, &d->wait, target->name, target->name_len) != 0)
        finish(d, VD_ERR_BUSY);
    else
        target_on(d);
}
