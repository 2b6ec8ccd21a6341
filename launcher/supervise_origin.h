/*
 * supervise_origin: whose doing a call is, in a program that loads the library.
 *
 * Such a program may be below the filter, too: what a supervised one has started, or any, where
 * calls are observed (--audit, --strict). Its connections were judged by the library, which tells
 * what there is to tell; what the library does itself is known by where it leads. Everything else
 * was made past it.
 */
#ifndef VIADUCT_LAUNCHER_SUPERVISE_ORIGIN_H
#define VIADUCT_LAUNCHER_SUPERVISE_ORIGIN_H

#include <stdbool.h>

#include "client/audit.h"
#include "client/route.h"
#include "launcher/supervise.h"

/* Whether the library is in the process of a thread, and sees the calls that it makes: Go's are
 * made past it in any case, and are none of its business. Reads what is mapped there: some
 * microseconds.
 */
bool origin_has_library(pid_t thread);

/* Whether connections may begin there: it is a first hop. */
bool origin_is_first_hop(const struct vd_endpoint *given);

/* Whether it is this machine's own way to its name servers, where it resolves names itself. */
bool origin_is_system_query(const struct vd_endpoint *given);

/* What becomes of a call of a program with the library. */
enum origin {
    ORIGIN_PASSES,  /* it leads to nowhere, to where the library goes, or where a rule lets it */
    ORIGIN_FOREIGN, /* made past the library; nothing speaks against carrying it */
    ORIGIN_SEEN,    /* the same, and written down as such: it is let through */
    ORIGIN_REFUSED  /* the same, and a line was said: EACCES */
};

/* A stream's target, or a datagram's on a socket. */
enum origin origin_of_stream(const struct vd_endpoint *given);
enum origin origin_of_datagram(const struct supervise_socket *s, const struct vd_endpoint *given);

/* Whether a datagram socket may be connected there as it is: else nothing must be sent, and nobody
 * is accused of it, since libc itself connects sockets without sending. */
bool origin_may_lead(const struct supervise_socket *s, const struct vd_endpoint *given);

#endif
