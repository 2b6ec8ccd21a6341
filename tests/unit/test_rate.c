/* Limits of bytes for each second: one direction, several that share, what is given back. */
#include "daemon/rate.h"
#include "tests/unit/tap.h"

/* What `count` rates could receive in `ms`, one turn each millisecond, the narrowest first. */
static uint64_t run(struct rate *rates, unsigned count, int64_t ms, uint64_t *each)
{
    uint64_t sum = 0;
    for (int64_t now = 1000; now < 1000 + ms; now++)
        for (unsigned i = 0; i < count; i++)
            for (size_t n; (n = rate_room(&rates[i], 1, now)) > 0; sum += n) {
                rate_used(&rates[i], 1, n);
                if (each)
                    each[i] += n;
            }
    return sum;
}

static void alone(uint64_t per_second)
{
    struct rate rate = {.count = 0};
    rate_add(&rate, NULL, per_second);
    uint64_t sum = run(&rate, 1, 10000, NULL), wanted = 10 * per_second;
    uint64_t more = per_second / 10 + rate.portion;
    tap_ok(sum >= wanted && sum <= wanted + more, "%llu bytes a second",
           (unsigned long long)per_second);
}

static void shared(void)
{
    int64_t at = 0;
    uint64_t each[7] = {0}, least = UINT64_MAX, sum;
    struct rate rates[7] = {{.count = 0}};
    for (int i = 0; i < 7; i++)
        rate_add(&rates[i], &at, 700000);
    sum = run(rates, 7, 10000, each);
    for (int i = 0; i < 7; i++)
        least = each[i] < least ? each[i] : least;
    tap_ok(sum >= 7000000 && sum < 7000000 + 7 * 35000 + 70000, "seven share one limit");
    tap_ok(least > 900000, "each has its share");
}

static void several(void)
{
    int64_t at = 0;
    struct rate rate = {.count = 0};
    for (unsigned i = 0; i < RATE_LIMITS; i++)
        rate_add(&rate, NULL, 900000 + i);
    rate_add(&rate, &at, 50000);
    rate_add(&rate, NULL, 1000000);
    tap_ok(rate.count == RATE_LIMITS, "no more limits than there is room for");
    uint64_t sum = run(&rate, 1, 10000, NULL);
    tap_ok(sum >= 400000 && sum < 520000, "the narrowest holds, the widest is left out");
}

static void back(void)
{
    int64_t at = 0;
    struct rate many = {.count = 0};
    unsigned went = 0;
    for (int i = 0; i < 1000; i++) {
        struct rate one = {.count = 0};
        rate_add(&one, &at, 100000);
        if (rate_room(&one, 0, 1000) > 10) {
            rate_used(&one, 0, 10);
            went++;
        }
        rate_end(&one);
    }
    tap_ok(went == 1000, "who takes little leaves the rest to others");
    rate_add(&many, &at, 100000);
    tap_ok(rate_room(&many, 0, 1000) > 0, "and what they did not use is still there");
    rate_end(&many);
    rate_end(&many);
    tap_ok(at <= 1000000000, "nothing is given back twice");
}

static void time_goes_on(void)
{
    struct rate rate = {.count = 0};
    rate_add(&rate, NULL, 10000);
    uint64_t sum = 0;
    for (size_t n; (n = rate_room(&rate, 0, 5000)) > 0; sum += n)
        rate_used(&rate, 0, n);
    tap_ok(sum > 0 && rate.flow[0].ready_ms > 5000, "a first portion, then a wait");
    tap_ok(rate_room(&rate, 0, rate.flow[0].ready_ms) == rate.portion &&
               rate_room(&rate, 0, rate.flow[0].ready_ms - 1) == 0,
           "its end is told to the millisecond");
    rate_used(&rate, 0, rate.portion);
    sum = 0;
    for (size_t n; (n = rate_room(&rate, 0, 100000)) > 0; sum += n)
        rate_used(&rate, 0, n);
    tap_ok(sum <= 10000 * RATE_CREDIT_MS / 1000 + 2 * rate.portion, "a long pause saves up little");
}

/* Datagrams of `len` bytes, one each millisecond, at a limit of `per_second`. */
static void passes(size_t len, uint64_t per_second)
{
    struct rate rate = {.count = 0};
    rate_add(&rate, NULL, per_second);
    uint64_t sum = 0, wanted = 10 * per_second;
    for (int64_t now = 1000; now < 11000; now++)
        sum += rate_pass(&rate, 0, len, now) ? len : 0;
    uint64_t more = per_second / 10 + rate.portion + len;
    tap_ok(sum + rate.portion + len >= wanted && sum <= wanted + more,
           "datagrams of %zu bytes at %llu bytes a second", len, (unsigned long long)per_second);
    rate_end(&rate);
    tap_ok(rate_pass(&rate, 0, 0, 20000), "no bytes may always pass, in the end");
}

int main(void)
{
    static const uint64_t rates[] = {1000, 20000, 400000, 30000000, 5000000000};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
        alone(rates[i]);
    shared();
    several();
    back();
    time_goes_on();
    passes(1200, 400000);
    passes(60000, 10000);
    passes(60000, 2000000);
    passes(1, 500);
    return tap_done();
}
