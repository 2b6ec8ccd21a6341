/*
 * fresh: TCP sockets that this process has made and done nothing with since by which they could be
 * connected, or be known to another process, or be another kind of socket by now. connect() need
 * not ask the kernel about them, which would take two calls; and a third one, whether they block,
 * while nobody has changed that.
 *
 * A note is lost sooner than kept: whoever has none asks. One can be wrong where the program closed
 * the descriptor and made it anew by system calls of its own, which the library never sees, or
 * where a program that it has spawned inherits the socket and uses it. It leads to the first hop,
 * or, if somebody has begun to connect it, to where they did; and if they have set O_NONBLOCK,
 * connect() waits.
 */
#ifndef VD_CLIENT_FRESH_H
#define VD_CLIENT_FRESH_H

#include <stdbool.h>
#include <stdint.h>

enum { FRESH_MAX = 1024 /* descriptors from here on are never fresh */ };
enum fresh { FRESH_NOT, FRESH, FRESH_BLOCKS };
extern uint8_t fresh_notes[FRESH_MAX]; /* enum fresh */

/* After socket() gave `fd` (-1: none), for TCP or not, without O_NONBLOCK or with it. */
void fresh_made(int fd, bool is_tcp, bool blocks);

/* Before it is closed or passed on, when it is copied, when it may become another. */
static inline void fresh_drop(int fd)
{
    if ((unsigned)fd < FRESH_MAX && __atomic_load_n(&fresh_notes[fd], __ATOMIC_RELAXED))
        __atomic_store_n(&fresh_notes[fd], FRESH_NOT, __ATOMIC_RELAXED);
}

void fresh_drop_range(unsigned first, unsigned last);

/* Before its mode may change. */
void fresh_mode(int fd);

/* Before it is connected: what it is, and then is no more. */
enum fresh fresh_take(int fd);

#endif
