/*
 * io: calls that move bytes, on a socket whose chain is still being set up.
 */
#ifndef VD_PRELOAD_IO_H
#define VD_PRELOAD_IO_H

#include <stdbool.h>

#include "client/pending.h"
#include "client/sockets.h"

enum io_way { IO_SENDS, IO_RECEIVES }; /* which time limit of the socket counts */

bool io_admit_slowly(int fd, int flags, enum io_way way);
bool io_deny(int fd);

/* Whether the call may go on to the kernel. If not, errno says what the program is told: EAGAIN, or
 * the handshake's error; a blocking descriptor waits here. `flags` as of send() and recv(). */
static inline bool io_receives(int fd, int flags)
{
    return !pending_any() || io_admit_slowly(fd, flags, IO_RECEIVES);
}

/* The same for calls that send: nothing leaves by a datagram socket that is denied (EACCES). */
static inline bool io_sends(int fd, int flags)
{
    if (sockets_is_denied(fd))
        return io_deny(fd);
    return !pending_any() || io_admit_slowly(fd, flags, IO_SENDS);
}

#endif
