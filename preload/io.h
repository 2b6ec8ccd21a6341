/*
 * io: calls that move bytes, on a socket whose chain is still being set up, or on a datagram socket
 * in our care (preload/datagram.h).
 */
#ifndef VD_PRELOAD_IO_H
#define VD_PRELOAD_IO_H

#include <stdbool.h>
#include <sys/types.h>

#include "client/pending.h"
#include "preload/datagram.h"

/* Whether the kernel alone has a say in the bytes of this descriptor: a few loads. */
static inline bool io_is_plain(int fd)
{
    return __builtin_expect(datagram_is_other(fd) && !pending_any(), 1);
}

enum io_way { IO_SENDS, IO_RECEIVES }; /* which time limit of the socket counts */

bool io_admit_slowly(int fd, int flags, enum io_way way);
/* Nothing leaves by this datagram socket: -1 with EACCES. */
ssize_t io_deny(int fd);

/* Whether the call may go on to the kernel. If not, errno says what the program is told: EAGAIN, or
 * the handshake's error; a blocking descriptor waits here. `flags` as of send() and recv(). */
static inline bool io_receives(int fd, int flags)
{
    return !pending_any() || io_admit_slowly(fd, flags, IO_RECEIVES);
}

/* The same for calls that send. */
static inline bool io_sends(int fd, int flags)
{
    return !pending_any() || io_admit_slowly(fd, flags, IO_SENDS);
}

#endif
