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

#include "client/audit.h"
#include "client/route.h"
#include "client/session.h"
#include "client/sys.h"

#define HOOK __attribute__((visibility("default")))

/* Whether there is a plan to follow. Without one every connection is refused: says so once. */
bool hook_ready(void);

/* Sets errno and gives -1. */
int hook_fail(int number);

/* What an INET socket carries; told by its protocol, so that one call suffices. */
enum carries { CARRIES_NOTHING_OF_OURS, CARRIES_STREAM, CARRIES_DATAGRAMS, CARRIES_OTHER };
enum carries hook_carries(int fd);

/* Whether the kernel would read an address of this length there; else it says itself what is wrong
 * with it. */
bool hook_is_readable(const struct sockaddr *addr, socklen_t len);

/* Whether the address is of a family that the chain cares for. `addr` may be NULL. */
bool hook_is_inet(const struct sockaddr *addr, socklen_t len);

/* Judges a target that must not or need not go through the chain. 0: direct; 1: through the chain;
 * an errno (negative): refused, and a line was said. */
int hook_judge(struct target *t, const struct vd_endpoint *given);

/* Writes down what goes directly, and whether it may be a DNS query that the proxy should have been
 * asked. */
void hook_audit_direct(const struct target *t, enum audit_kind kind);

/* connect() as the program sees it: the parts for streams and for everything else. `given` is what
 * `addr` says. */
int hook_connect(int fd, const struct sockaddr *addr, socklen_t len);
int stream_connect(int fd, const struct sockaddr *addr, socklen_t len,
                   const struct vd_endpoint *given);
int datagram_connect(int fd, const struct sockaddr *addr, socklen_t len,
                     const struct vd_endpoint *given, enum carries carries);

#endif
