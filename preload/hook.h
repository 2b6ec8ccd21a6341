/*
 * hook: what every file of hooks uses.
 *
 * A hook decides and delegates: it judges its arguments as the kernel would, asks the client
 * engine, and sets errno once, at the end. It takes no lock and allocates nothing (the name hooks
 * apart, whose originals allocate too).
 */
#ifndef VD_PRELOAD_HOOK_H
#define VD_PRELOAD_HOOK_H

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "client/fresh.h"
#include "client/judge.h"
#include "client/session.h"
#include "client/sys.h"

#define HOOK __attribute__((visibility("default")))

/* Whether there is a plan to follow. Without one every connection is refused: says so once. */
bool hook_ready(void);

/* Sets errno and gives -1. */
int hook_fail(int number);

/* Whether all of it lies in the page of the caller's stack that is in use just now, as most that a
 * program passes does: then it can be read, and nobody has to be asked. */
__attribute__((always_inline)) static inline bool hook_is_near(const void *data, size_t len)
{
    const uintptr_t page = 4096, first = (uintptr_t)data,
                    here = (uintptr_t)__builtin_frame_address(0);

    return len > 0 && len <= page && first / page == here / page &&
           (first + len - 1) / page == here / page;
}

/* Whether the kernel would read an address of this length there; else it says itself what is wrong
 * with it. Inline, since what is near is so to the caller; hook_is_mapped asks the kernel. */
bool hook_is_mapped(const struct sockaddr *addr, socklen_t len);
__attribute__((always_inline)) static inline bool hook_is_readable(const struct sockaddr *addr,
                                                                   socklen_t len)
{
    return addr && len >= sizeof addr->sa_family && len <= sizeof(struct sockaddr_storage) &&
           (hook_is_near(addr, len) || hook_is_mapped(addr, len));
}

/* Whether the address is of a family that the chain cares for. `addr` may be NULL. */
bool hook_is_inet(const struct sockaddr *addr, socklen_t len);

/* connect() as the program sees it: the parts for streams and for everything else. `given` is what
 * `addr` says; client/fresh.h tells what is known of a stream. */
int hook_connect(int fd, const struct sockaddr *addr, socklen_t len);
int stream_connect(int fd, const struct sockaddr *addr, socklen_t len,
                   const struct vd_endpoint *given, enum fresh fresh);
int datagram_connect(int fd, const struct sockaddr *addr, socklen_t len,
                     const struct vd_endpoint *given, enum carries carries);

#endif
