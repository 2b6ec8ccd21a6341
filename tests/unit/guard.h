/*
 * guard: input right before a page that nobody may touch, so that one byte too far is a crash.
 */
#ifndef TESTS_UNIT_GUARD_H
#define TESTS_UNIT_GUARD_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { GUARD_ROOM = 1 << 18, GUARD_PAGE = 1 << 16 /* a multiple of any page size in use */ };

/* A copy of `len` bytes that ends where the forbidden page begins; good until the next call. */
static inline uint8_t *guard_put(const void *data, size_t len)
{
    static uint8_t *room;

    if (!room) {
        room = mmap(NULL, GUARD_ROOM + GUARD_PAGE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (room == MAP_FAILED || mprotect(room + GUARD_ROOM, GUARD_PAGE, PROT_NONE) < 0)
            abort();
    }
    if (len > GUARD_ROOM)
        abort();
    if (len > 0)
        memcpy(room + GUARD_ROOM - len, data, len);
    return room + GUARD_ROOM - len;
}

#endif
