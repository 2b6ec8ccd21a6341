/*
 * Dead hops, and whose turn it is.
 */
#include <time.h>

#include "client/learned.h"
#include "client/learned_record.h"

enum { DEAD_S = 30 };

/* Never 0. */
static uint32_t now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)now.tv_sec + 1;
}

void learned_dead(unsigned hop)
{
    struct record *r = learned_record_of(hop);

    if (r)
        __atomic_store_n(&r->dead_until_s, now_s() + DEAD_S, __ATOMIC_RELAXED);
}

bool learned_is_dead(unsigned hop)
{
    const struct record *r = learned_record_of(hop);
    uint32_t until_s = r ? __atomic_load_n(&r->dead_until_s, __ATOMIC_RELAXED) : 0;

    return until_s && until_s > now_s();
}

/* The page before the records has room for a counter of each of the first chains; others share. */
uint32_t learned_turn(unsigned chain)
{
    struct record *records = learned_record_of(0);
    uint32_t *turns;

    if (!records)
        return 0;
    turns = (uint32_t *)((uint8_t *)records - SESSION_PLAIN_RECORDS_AT);
    return __atomic_fetch_add(&turns[chain % (SESSION_PLAIN_RECORDS_AT / 4)], 1, __ATOMIC_RELAXED);
}
