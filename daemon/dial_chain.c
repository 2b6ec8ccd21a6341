/*
 * The driver of proto/chain: sends what is pending, feeds what it may read. When a flight went
 * wrong the race is run once more, on new sockets, and the chain goes message by message.
 *
 * A way is a choice of hops of an upstream. When one of them fails by itself it is down for all
 * sessions, and the dial goes on by another way, if enough hops are left, or by the upstream's
 * fallback. When a stream ends it often cannot be told whose doing it was: the hop that was awaited
 * is in doubt then, and another way is tried without it. If that shows who is down, the doubt is
 * over; if it succeeds, and all the hops before the doubted one were on it, that hop was the one.
 * What may have been the target's doing leaves nobody down.
 *
 * Where there is another way, one may take half of the time that is left at most, so that a hop
 * which swallows everything costs no client. The target gets all the time there is: once the last
 * hop was asked for it, the way has done its part.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "daemon/dial_state.h"
#include "daemon/trace.h"
#include "proto/err.h"
#include "proto/mode.h"

enum { WAYS_MAX = 2 * VD_HOPS_MAX, DOUBTS_MAX = 2 };

/* --- the end --- */

/* What a hop says about itself, or about us, is not the client's fault: not its login, not its
 * request. What it says about the target is passed on, and so is that it has no such command where
 * that is not the one that every hop has. */
int dial_chain_for_client(const struct dial *d, int err)
{
    switch ((enum vd_err)(err < 0 ? -err : err)) {
    case VD_ERR_COMMAND:
        return d->command ? VD_ERR_COMMAND : VD_ERR_FAILED;
    case VD_ERR_LOGIN:
    case VD_ERR_METHOD:
    case VD_ERR_IDENT:
    case VD_ERR_IDENT_USER:
    case VD_ERR_PROTOCOL:
    case VD_ERR_TOO_LONG:
    case VD_ERR_NAME_FORM:
    case VD_ERR_UNSUPPORTED:
    case VD_ERR_LIMIT:
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
    case VD_ERR_TLS:
    case VD_ERR_CERTIFICATE:
    case VD_ERR_RULE:
    case VD_ERR_COUNT:
        break;
    }
    return err < 0 ? -err : err;
}

/* The first hop was not tried, since there is no way out of here that is allowed. */
static bool is_our_fault(const struct dial *d)
{
    bool by_family = d->err == VD_ERR_ADDRESS_TYPE && d->unserved;
    return d->number == 0 && (d->fault != EGRESS_FINE || by_family);
}

/* Why the first hop was not reached. */
static void explain_race(const struct dial *d, struct vd_out *out)
{
    const char *words = d->number ? strerrordesc_np(d->number) : NULL;
    if (!words && d->err == VD_ERR_NAME)
        words = "its name is unknown";
    if (is_our_fault(d))
        words = "";
    vd_out_text(out, words ? ": " : "");
    vd_out_text(out, words ? words : "");
    if (!is_our_fault(d))
        return;
    if (d->fault != EGRESS_FINE) {
        egress_explain(&d->egress, out, d->fault, d->fault_family, d->fault_number);
        return;
    }
    vd_out_text(out, "it ");
    egress_explain_family(&d->egress, out);
}

/* Keeps what the chain has to say about `err`; the reason for the client. */
static int explain(struct dial *d, int err)
{
    struct vd_out out = vd_out_over(d->said, sizeof d->said);
    vd_chain_explain(&out, &d->chain, err);
    if (err == -VD_ERR_UNREACHABLE && d->phase == DIAL_RACE)
        explain_race(d, &out);
    dial_tls_explain(d, &out, err);
    if (trace_is_on())
        trace_failed(d->trace, &d->chain, d->said, out.len);
    d->said_len = out.len;
    d->said_err = (uint8_t)(err < 0 ? -err : err);
    return dial_chain_for_client(d, err);
}

/* --- another way --- */

static void set_out_by(struct dial *d, struct upstream *via);

static bool is_chosen_by_owner(const struct dial *d)
{
    return d->path.count > 0;
}

/* The next upstream on which something is alive; NULL: none. */
static struct upstream *next_upstream(const struct dial *d)
{
    struct upstream *next = d->via->fallback;
    while (next && !upstream_has_others(next, 0))
        next = next->fallback;
    return next;
}

static bool is_left_here(const struct dial *d, uint16_t avoid)
{
    return d->via->conf->chain.mode != VD_MODE_STRICT && upstream_has_others(d->via, avoid);
}

static unsigned awaited(const struct dial *d)
{
    return d->chain.path.order[d->chain.at];
}

/* Whether the hop that is awaited may be doubted. */
static bool doubts(struct dial *d, int err)
{
    struct dial_doubt *doubt = &d->doubt;
    if (doubt->count == DOUBTS_MAX || !vd_mode_is_doubtful(&d->chain, err))
        return false;
    *doubt = (struct dial_doubt){.hop = (uint16_t)(1u << awaited(d)),
                                 .err = err,
                                 .is_a_hops = !vd_mode_may_be_either(&d->chain, err),
                                 .count = (uint8_t)(doubt->count + 1)};
    for (unsigned i = 0; i < d->chain.at; i++)
        doubt->before |= (uint16_t)(1u << d->chain.path.order[i]);
    return true;
}

/* A way that has succeeded shows whether the one without it failed by the doubted hop. */
static void settle_doubt(const struct dial *d)
{
    unsigned taken = 0, hop = 0;
    for (unsigned i = 0; i < d->chosen.count; i++)
        taken |= 1u << d->chosen.order[i];
    if (!d->doubt.hop || !d->doubt.is_a_hops || (d->doubt.before & ~taken))
        return;
    while (!(d->doubt.hop >> hop & 1))
        hop++;
    upstream_failed(d->via, hop, d->doubt.err);
}

/* Whether the failure is one that another way may mend; who is to blame is down from now on, and
 * not tried again here. */
static bool is_mendable(struct dial *d, int err)
{
    bool ours = err == -VD_ERR_UNREACHABLE && d->err == VD_ERR_BUSY;
    if (d->is_check || ours || d->chain.shake.stage > VD_STAGE_REPLY)
        return false;
    if (vd_mode_is_doubtful(&d->chain, err))
        return doubts(d, err);
    if (!vd_mode_blames_hop(&d->chain, err))
        return false;
    if (err != -VD_ERR_UNREACHABLE || !is_our_fault(d))
        upstream_failed(d->via, awaited(d), err);
    d->avoid |= (uint16_t)(1u << awaited(d));
    d->doubt.hop = 0;
    return true;
}

/* Some hop of the way that failed is known to be down by now. */
static bool is_way_broken(const struct dial *d)
{
    bool broken = false;
    for (unsigned i = 0; i < d->chosen.count; i++)
        broken |= upstream_is_hop_down(d->via, d->chosen.order[i]);
    return broken;
}

/* A hop that is only doubted is better than none, if there was another cause. */
static bool is_left(struct dial *d)
{
    if (is_left_here(d, d->avoid | d->doubt.hop))
        return true;
    if (!d->doubt.hop || !is_way_broken(d) || !is_left_here(d, d->avoid))
        return false;
    d->doubt.hop = 0;
    return true;
}

static void forget_way(struct dial *d)
{
    loop_timer_stop(dial_loop(d), &d->timer);
    loop_timer_stop(dial_loop(d), &d->way);
    dial_close(d);
    dial_close_attempts(d);
    resolve_stop(&d->wait);
    dial_race_forget(d);
}

/* Whether the dial goes on by another way. */
static bool goes_elsewhere(struct dial *d, int err)
{
    if (!is_mendable(d, err) || is_chosen_by_owner(d) || d->ways >= WAYS_MAX)
        return false;
    struct upstream *next = is_left(d) ? d->via : next_upstream(d);
    if (!next)
        return false;
    forget_way(d);
    set_out_by(d, next);
    return true;
}

void dial_chain_failed(struct dial *d, int err)
{
    if (!goes_elsewhere(d, err))
        dial_finish(d, explain(d, err));
}

int dial_chain_late(struct dial *d)
{
    int err = d->phase == DIAL_CHAIN ? vd_chain_lost(&d->chain, VD_LOSS_SILENT) : VD_OK;
    if (d->phase == DIAL_RACE && !d->is_check)
        upstream_failed(d->via, awaited(d), -VD_ERR_UNREACHABLE);
    return explain(d, err < 0 ? err : -VD_ERR_SILENT);
}

/* --- the beginning --- */

/* Whether there is one in case that a hop of this way fails. */
static bool is_another_way(const struct dial *d)
{
    uint16_t avoid = (uint16_t)(d->avoid | d->doubt.hop | 1u << d->chosen.order[0]);
    return !is_chosen_by_owner(d) && d->ways < WAYS_MAX &&
           (is_left_here(d, avoid) || next_upstream(d));
}

static void take_part_of_time(struct dial *d)
{
    int64_t now_ms = dial_loop(d)->now_ms, left = d->started_ms + d->by->limit_ms - now_ms;
    d->way_until_ms = is_another_way(d) ? now_ms + left / 2 : 0;
}

/* Sets the timer for what is left of the way's part of the time, or the hop's own limit. */
static void limit_way(struct dial *d, uint32_t own_ms)
{
    int64_t left = d->way_until_ms - dial_loop(d)->now_ms;
    if (d->way_until_ms == 0)
        left = own_ms;
    else if (left < 1)
        left = 1;
    else if (own_ms > 0 && own_ms < left)
        left = own_ms;
    loop_timer_stop(dial_loop(d), &d->way);
    if (left > 0)
        loop_timer_in(dial_loop(d), &d->way, left);
}

static void race_to_first_hop(struct dial *d)
{
    if (trace_is_on())
        trace_chain(d->trace, &d->chain);
    const struct vd_hop *hop = vd_path_hop(&d->chosen, 0);
    d->raced_ms = dial_loop(d)->now_ms;
    limit_way(d, hop->timeout_ms);
    dial_race_to_hop(d, hop);
}

void dial_chain_set_out(struct dial *d)
{
    enum vd_command command = d->command ? (enum vd_command)d->command : VD_CONNECT;
    int err = vd_chain_start(&d->chain, &d->chosen, command, &d->final);
    if (err < 0) {
        dial_finish(d, explain(d, err));
        return;
    }
    take_part_of_time(d);
    race_to_first_hop(d);
}

/* Whether the way can be given the target as it is. */
static bool is_final(const struct dial *d)
{
    return !vd_endpoint_is_name(d->target) ||
           (!d->via->names && vd_hop_takes_names(vd_path_hop(&d->chosen, d->chosen.count - 1u)));
}

static void choose(struct dial *d)
{
    if (!is_chosen_by_owner(d)) {
        upstream_path(d->via, d->avoid | d->doubt.hop, &d->chosen);
        return;
    }
    d->chosen = d->path;
    upstream_flights(d->via, &d->chosen);
    if (d->tries_flight)
        upstream_try_flight(d->via, &d->chosen);
}

/* By one more way. */
static void set_out_by(struct dial *d, struct upstream *via)
{
    if (d->via != via)
        d->avoid = d->doubt.hop = 0;
    d->via = via;
    d->ways++;
    choose(d);
    d->final = *d->target;
    if (d->introduce)
        d->introduce(d);
    if (is_final(d))
        dial_chain_set_out(d);
    else
        dial_lookup(d);
}

void dial_chain_start(struct dial *d, struct upstream *via)
{
    set_out_by(d, is_chosen_by_owner(d) ? via : upstream_in_use(via));
}

/* --- under way --- */

/* Sends what is pending. 1: all of it; 0: the socket is full; or a reason. */
static int chain_send(struct dial *d)
{
    size_t n;
    while ((n = vd_chain_pending(&d->chain, d->by->scratch, d->by->scratch_len)) > 0) {
        struct vd_said before = vd_chain_said(&d->chain);
        ssize_t sent = send(d->io.fd, d->by->scratch, n, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN ? 0 : dial_tls_lost(d, VD_LOSS_RESET);
        vd_chain_sent(&d->chain, (size_t)sent);
        if (trace_is_on())
            trace_said(d->trace, &d->chain, before);
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
        return *again ? dial_tls_lost(d, VD_LOSS_RESET) : VD_MORE;
    if (n == 0)
        return dial_tls_lost(d, VD_LOSS_EOF);
    int result = vd_chain_feed(&d->chain, d->by->scratch, (size_t)n, &used);
    if (trace_is_on())
        trace_heard(d->trace, &d->chain, d->by->scratch, used);
    if (peek && used > 0 && recv(d->io.fd, d->by->scratch, used, 0) != (ssize_t)used)
        return -VD_ERR_RESET;
    return result;
}

static void chain_done(struct dial *d)
{
    loop_timer_stop(dial_loop(d), &d->timer);
    if (!d->is_check)
        upstream_up(d->via, &d->chain);
    settle_doubt(d);
    vd_endpoint_set_ip(&d->bound, &d->chain.shake.bound_ip, d->chain.shake.bound_port);
    d->seen |= EPOLLIN | EPOLLOUT; /* whether more is there is not known; an end is told once */
    dial_finish(d, VD_OK);
}

/* All that is awaited is what the target does. */
static bool is_asked_for_target(const struct vd_chain *c)
{
    return c->at + 1u == c->path.count && c->shake.stage >= VD_STAGE_REPLY && !vd_chain_speaks(c);
}

static void chain_limit(struct dial *d, uint8_t stage_of)
{
    if (is_asked_for_target(&d->chain))
        loop_timer_stop(dial_loop(d), &d->way);
    uint32_t limit = vd_chain_timeout_ms(&d->chain);
    bool waits = d->chain.shake.stage == VD_STAGE_SECOND; /* for the peer, not for the hop */
    if (waits || (stage_of == d->chain.at && limit == d->limit_ms))
        return;
    d->limit_ms = limit;
    loop_timer_stop(dial_loop(d), &d->timer);
    if (limit > 0)
        loop_timer_in(dial_loop(d), &d->timer, limit);
}

static void chain_again(struct dial *d)
{
    upstream_unfit(d->via, &d->chain);
    loop_timer_stop(dial_loop(d), &d->timer);
    dial_close(d);
    dial_race_forget(d);
    vd_chain_again(&d->chain);
    take_part_of_time(d);
    race_to_first_hop(d);
}

void dial_chain_on(struct dial *d)
{
    bool again = true;
    uint8_t stage_of = d->chain.at;
    int result = VD_MORE;
    while (again && result == VD_MORE) {
        if (vd_chain_awaits_tls(&d->chain))
            result = dial_tls_start(d);
        if (result == VD_MORE)
            result = chain_send(d);
        again = result == 1;
        if (again)
            result = chain_receive(d, &again);
    }
    if (result < 0)
        dial_chain_failed(d, result);
    else if (result == VD_AGAIN)
        chain_again(d);
    else if (result == VD_DONE && again)
        chain_done(d);
    else
        chain_limit(d, stage_of);
}

void dial_chain_next(struct dial *d)
{
    vd_chain_next(&d->chain);
    dial_chain_on(d);
}

/* What counts as silence depends on how far the hop is away. */
static void set_patience(struct dial *d)
{
    int64_t ms = (dial_loop(d)->now_ms - d->raced_ms) * 8;
    if (ms > d->chain.patience_ms && ms < UINT32_MAX)
        d->chain.patience_ms = (uint32_t)ms;
}

void dial_chain_connected(struct dial *d)
{
    d->phase = DIAL_CHAIN;
    if (trace_is_on())
        trace_up(d->trace, &d->chain, d->io.fd, &d->peer);
    set_patience(d);
    limit_way(d, 0);
    dial_chain_on(d);
}

/* What is late may be the last hop's own patience with a flight, which ends otherwise. */
void dial_chain_slow(struct dial *d)
{
    if (d->phase == DIAL_CHAIN)
        dial_chain_silent(d);
    else
        dial_chain_failed(d, -VD_ERR_UNREACHABLE);
}

void dial_chain_silent(struct dial *d)
{
    int result = vd_chain_lost(&d->chain, VD_LOSS_SILENT);
    if (result == VD_AGAIN)
        chain_again(d);
    else
        dial_chain_failed(d, result);
}
