/*
 * fresh: TCP sockets that this process has made and done nothing with since by which they could be
 * connected, or be known to another process, or be another kind of socket by now. connect() need
 * not ask the kernel about them, which would take two calls.
 *
 * A note is lost sooner than kept: whoever has none asks. One can be wrong where the program closed
 * the descriptor and made it anew by system calls of its own, which the library never sees. It
 * leads to the first hop, or, if such calls have begun to connect it, to where they did.
 */
#ifndef VD_CLIENT_FRESH_H
#define VD_CLIENT_FRESH_H

#include <stdbool.h>
#include <stdint.h>

enum { FRESH_MAX = 1024 /* descriptors from here on are never fresh */ };
extern uint8_t fresh[FRESH_MAX];

/* After socket() gave `fd` (-1: none), for TCP or not. */
void fresh_made(int fd, bool is_tcp);

/* Before it is closed or passed on, when it is copied, when it may become another. */
static inline void fresh_drop(int fd)
{
    if ((unsigned)fd < FRESH_MAX && __atomic_load_n(&fresh[fd], __ATOMIC_RELAXED))
        __atomic_store_n(&fresh[fd], 0, __ATOMIC_RELAXED);
}

void fresh_drop_range(unsigned first, unsigned last);

/* Before it is connected: whether it is fresh, which it then is no more. */
bool fresh_take(int fd);

#endif
