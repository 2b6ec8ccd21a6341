/*
 * Phases of a dial:
 *
 *     TARGET ──> RACE ──connected──> CHAIN ──last reply──> done
 *       │          └──connected, no chain────────────────> done
 *       └── only if the last hop of a chain takes no names: the target is looked up here
 *
 * RACE goes to the target, or to the first hop of the chain: dial_race.c. CHAIN is dial_chain.c,
 * and so is what becomes of a way that leads nowhere: from there all begins again by another one.
 *
 * dial_finish() calls the owner, who may throw the dial away: nothing is touched after it.
 */
#include "daemon/dial.h"

#include <string.h>
#include <sys/epoll.h>

#include "daemon/dial_state.h"
#include "proto/err.h"

/* --- the end --- */

void dial_stop(struct dial *d)
{
    resolve_stop(&d->wait);
    loop_timer_stop(dial_loop(d), &d->timer);
    loop_timer_stop(dial_loop(d), &d->way);
    dial_close_attempts(d);
    dial_close(d);
    d->phase = DIAL_OVER;
}

void dial_finish(struct dial *d, int err)
{
    if (err != VD_OK)
        dial_stop(d);
    loop_timer_stop(dial_loop(d), &d->way);
    d->err = err;
    d->phase = DIAL_OVER;
    d->done(d, err);
}

/* Which of two reasons tells a client more about its target. */
static int weight(int err)
{
    static const uint8_t weights[VD_ERR_COUNT] = {
        [VD_ERR_REFUSED] = 11, [VD_ERR_TARGET_RESET] = 10, [VD_ERR_TTL] = 9,
        [VD_ERR_HOST] = 8,     [VD_ERR_NET] = 7,           [VD_ERR_DENIED] = 6,
        [VD_ERR_FAILED] = 5,   [VD_ERR_ADDRESS_TYPE] = 4,  [VD_ERR_NAME] = 3,
        [VD_ERR_BUSY] = 2};
    return weights[err] ? weights[err] : 1;
}

void dial_blame(struct dial *d, int err)
{
    if (d->err == VD_OK || weight(err) > weight(d->err))
        d->err = err;
}

int dial_timed_out(struct dial *d)
{
    if (d->phase == DIAL_CHAIN || (d->chained && d->phase == DIAL_RACE))
        return dial_chain_late(d);
    dial_blame(d, VD_ERR_TTL);
    return d->err;
}

/* --- the target of a way that is to get an address --- */

/* The chain may be why. */
static void lookup_failed(struct dial *d, int err)
{
    const char *said = resolve_said(&d->wait, &d->said_len);
    if (said) {
        memcpy(d->said, said, d->said_len);
        d->said_err = (uint8_t)err;
        err = dial_chain_for_client(d, err);
    } else {
        d->said_len = 0;
    }
    dial_finish(d, err);
}

static struct resolver *resolver_of_targets(const struct dial *d)
{
    return d->via->names ? d->via->names : d->by->resolver;
}

/* socks4 has no IPv6: IPv4 is the safer choice of two. */
static void target_on(struct dial *d)
{
    struct resolve_answer v4 = resolve_answer(&d->wait, RESOLVE_V4);
    struct resolve_answer v6 = resolve_answer(&d->wait, RESOLVE_V6);
    const struct resolve_answer *a = v4.count ? &v4 : &v6;
    if (!v4.here || (!v4.count && !v6.here))
        return;
    if (a->count == 0) {
        lookup_failed(d, v4.err == VD_ERR_TTL ? VD_ERR_TTL : v6.err);
        return;
    }
    if (!d->may_reach(d, &a->ips[0], false)) {
        dial_finish(d, VD_ERR_DENIED);
        return;
    }
    vd_endpoint_set_ip(&d->final, &a->ips[0], d->target->port);
    resolve_stop(&d->wait);
    dial_chain_set_out(d);
}

/* --- events --- */

static void socket_ready(struct loop_io *io, uint32_t events)
{
    struct dial *d = loop_owner(io, struct dial, io);
    d->seen |= events;
    if (d->phase == DIAL_CHAIN)
        dial_chain_on(d);
}

static void go_on(struct dial *d)
{
    if (d->phase == DIAL_TARGET)
        target_on(d);
    else if (d->phase == DIAL_RACE)
        dial_race_on(d);
}

static void on_answered(struct resolve_wait *wait)
{
    go_on(loop_owner(wait, struct dial, wait));
}

static void on_timer(struct loop_timer *timer)
{
    struct dial *d = loop_owner(timer, struct dial, timer);
    if (d->phase == DIAL_CHAIN) {
        dial_chain_silent(d);
        return;
    }
    d->waited = true;
    d->may_start = true;
    dial_race_on(d);
}

static void on_way(struct loop_timer *timer)
{
    dial_chain_slow(loop_owner(timer, struct dial, way));
}

/* --- the beginning --- */

void dial_init(struct dial *d, const struct dialer *by)
{
    memset(d, 0, offsetof(struct dial, queue));
    for (int f = 0; f < 2; f++)
        d->queue[f].count = d->queue[f].next = d->queue[f].taken = 0;
    d->by = by;
    d->io = (struct loop_io){.fd = -1, .ready = socket_ready};
    d->wait.answered = on_answered;
    d->timer.fire = on_timer;
    d->way.fire = on_way;
}

bool dial_reach_all(struct dial *dial, const struct vd_ip *ip, bool is_here)
{
    (void)dial, (void)ip, (void)is_here;
    return true;
}

void dial_introduce_nobody(struct dial *d)
{
    static const struct vd_endpoint nobody;
    struct vd_out out = vd_out_over(d->preface, sizeof d->preface);
    if (d->via->conf->line != VD_PROXYLINE_NONE)
        vd_proxyline_write(&out, d->via->conf->line, &nobody, &nobody);
    d->preface_len = (uint8_t)out.len;
}

void dial_start_unix(struct dial *d, const char *path)
{
    dial_race_to_unix(d, path);
}

void dial_await_second(struct dial *d)
{
    d->phase = DIAL_CHAIN;
    dial_chain_next(d);
}

void dial_lookup(struct dial *d)
{
    const struct vd_endpoint *target = d->target;
    d->phase = DIAL_TARGET;
    if (resolve_start(resolver_of_targets(d), &d->wait, target->name, target->name_len) != 0)
        dial_finish(d, VD_ERR_BUSY);
    else
        target_on(d);
}

void dial_start(struct dial *d, struct upstream *via, const struct vd_endpoint *target)
{
    d->target = target;
    d->started_ms = dial_loop(d)->now_ms;
    d->chained = via != NULL;
    if (via)
        dial_chain_start(d, via);
    else
        dial_race_to(d, target);
}
