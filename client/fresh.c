#include "client/fresh.h"

#include <pthread.h>

uint8_t fresh_notes[FRESH_MAX];

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

void fresh_made(int fd, bool is_tcp, bool blocks)
{
    enum fresh note = is_tcp && watches_fork() ? blocks ? FRESH_BLOCKS : FRESH : FRESH_NOT;

    if ((unsigned)fd < FRESH_MAX)
        __atomic_store_n(&fresh_notes[fd], (uint8_t)note, __ATOMIC_RELAXED);
}

void fresh_mode(int fd)
{
    uint8_t note = FRESH_BLOCKS;

    if ((unsigned)fd < FRESH_MAX)
        __atomic_compare_exchange_n(&fresh_notes[fd], &note, FRESH, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED);
}

void fresh_drop_range(unsigned first, unsigned last)
{
    for (unsigned fd = first; fd < FRESH_MAX && fd <= last; fd++)
        fresh_drop((int)fd);
}

enum fresh fresh_take(int fd)
{
    if ((unsigned)fd >= FRESH_MAX)
        return FRESH_NOT;
    return __atomic_exchange_n(&fresh_notes[fd], FRESH_NOT, __ATOMIC_RELAXED);
}
