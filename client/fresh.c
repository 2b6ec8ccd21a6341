#include "client/fresh.h"

#include <pthread.h>

uint8_t fresh[FRESH_MAX];

/* Both sides of fork() have the sockets: what one does, the other is not told. */
static void drop_all(void)
{
    fresh_drop_range(0, FRESH_MAX - 1);
}

static bool watches_fork(void)
{
    static bool watches;

    if (!__atomic_load_n(&watches, __ATOMIC_RELAXED))
        __atomic_store_n(&watches, pthread_atfork(NULL, drop_all, drop_all) == 0, __ATOMIC_RELAXED);
    return watches;
}

void fresh_made(int fd, bool is_tcp)
{
    if ((unsigned)fd < FRESH_MAX)
        __atomic_store_n(&fresh[fd], is_tcp && watches_fork(), __ATOMIC_RELAXED);
}

void fresh_drop_range(unsigned first, unsigned last)
{
    for (unsigned fd = first; fd < FRESH_MAX && fd <= last; fd++)
        fresh_drop((int)fd);
}

bool fresh_take(int fd)
{
    return (unsigned)fd < FRESH_MAX && __atomic_exchange_n(&fresh[fd], 0, __ATOMIC_RELAXED);
}
