#include "daemon/rate.h"

enum { NS_PER_MS = 1000000 };

static int64_t cost_ns(uint64_t bytes, uint64_t per_second)
{
    return (int64_t)(bytes * UINT64_C(1000000000) / per_second);
}

static uint32_t portion_of(uint64_t per_second)
{
    uint64_t portion = per_second / RATE_PORTIONS;
    if (portion < RATE_PORTION_MIN)
        return RATE_PORTION_MIN;
    return portion < RATE_PORTION_MAX ? (uint32_t)portion : RATE_PORTION_MAX;
}

static unsigned widest(const struct rate *rate)
{
    unsigned best = 0;
    for (unsigned i = 1; i < rate->count; i++)
        if (rate->limits[i].per_second > rate->limits[best].per_second)
            best = i;
    return best;
}

void rate_add(struct rate *rate, int64_t *at_ns, uint64_t per_second)
{
    unsigned place = rate->count;
    uint32_t portion = portion_of(per_second);
    if (place == RATE_LIMITS) {
        place = widest(rate);
        if (rate->limits[place].per_second <= per_second)
            return;
    } else {
        rate->count++;
    }
    if (rate->portion == 0 || portion < rate->portion)
        rate->portion = portion;
    rate->limits[place] = (struct rate_limit){at_ns ? at_ns : &rate->own_at_ns, per_second};
}

/* When the turn of `bytes` comes. */
static int64_t ask(const struct rate_limit *limit, uint64_t bytes, int64_t now_ns)
{
    int64_t oldest = now_ns - (int64_t)RATE_CREDIT_MS * NS_PER_MS;
    int64_t at = __atomic_load_n(limit->at_ns, __ATOMIC_RELAXED), start;
    do {
        start = at > oldest ? at : oldest;
    } while (!__atomic_compare_exchange_n(limit->at_ns, &at,
                                          start + cost_ns(bytes, limit->per_second), false,
                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return start;
}

static void ask_all(struct rate *rate, struct rate_flow *flow, int64_t now_ms)
{
    int64_t now_ns = now_ms * NS_PER_MS, ready = now_ns;
    for (unsigned i = 0; i < rate->count; i++) {
        int64_t start = ask(&rate->limits[i], rate->portion, now_ns);
        ready = start > ready ? start : ready;
    }
    flow->granted = rate->portion;
    flow->ready_ms = (ready + NS_PER_MS - 1) / NS_PER_MS;
}

size_t rate_room(struct rate *rate, int side, int64_t now_ms)
{
    struct rate_flow *flow = &rate->flow[side];
    if (flow->granted == 0)
        ask_all(rate, flow, now_ms);
    return now_ms >= flow->ready_ms ? flow->granted : 0;
}

void rate_used(struct rate *rate, int side, size_t n)
{
    rate->flow[side].granted -= (uint32_t)n;
}

bool rate_pass(struct rate *rate, int side, size_t n, int64_t now_ms)
{
    struct rate_flow *flow = &rate->flow[side];
    if (rate_room(rate, side, now_ms) == 0)
        return false;
    while (n > flow->granted) {
        n -= flow->granted;
        ask_all(rate, flow, now_ms);
    }
    flow->granted -= (uint32_t)n;
    return true;
}

void rate_end(struct rate *rate)
{
    uint64_t left = (uint64_t)rate->flow[0].granted + rate->flow[1].granted;
    for (unsigned i = 0; i < rate->count; i++)
        __atomic_sub_fetch(rate->limits[i].at_ns, cost_ns(left, rate->limits[i].per_second),
                           __ATOMIC_RELAXED);
    rate->flow[0].granted = rate->flow[1].granted = 0;
}
