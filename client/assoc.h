/*
 * assoc: datagrams through the chain, by SOCKS5 UDP ASSOCIATE (RFC 1928 sections 4, 6 and 7).
 *
 * The program's socket stays a kernel socket: what it sends goes, with one header per hop in front,
 * to the relay of the first hop, and what comes from there is stripped of them again
 * (proto/udp.h). An association belongs to a socket, by its cookie, and to a chain of the plan, and
 * stands in the session. It lives as long as its control connections, one per hop, the i-th through
 * the hops before it: descriptors of ours that the program does not see.
 *
 * Nothing here waits: the helper thread sets an association up; what is sent before it stands is
 * held, up to ASSOC_HELD_MAX bytes, then dropped, as UDP may. What a hop cannot carry is refused
 * with a line that names the hop.
 */
#ifndef VD_CLIENT_ASSOC_H
#define VD_CLIENT_ASSOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "client/plan.h"
#include "proto/udp.h"

enum {
    ASSOC_HELD_MAX = 65536,
    ASSOC_HEADERS_MAX = 512 /* all headers of a datagram together; longer chains are refused */
};

/* Whether the hops of a chain may carry datagrams at all: each SOCKS5, each reached on the stream
 * alone. What to say if not stands in *why (static text), *hop is the position. */
bool assoc_can(const struct plan_chain *chain, unsigned *hop, const char **why);

/* Where datagrams of such a chain go, from an AF_INET or AF_INET6 socket: the first hop. Who needs
 * a source address for a socket asks the kernel for the one towards here (connect(),
 * getsockname()): the target may have no route, and a relay may take datagrams only from where the
 * control connections come from. The port means nothing. The length, or 0: the hop has no address
 * of that kind. */
socklen_t assoc_way(const struct plan_chain *chain, int family, struct sockaddr_storage *to);

/* Sees to it that the socket has an association over the chain: there, or being made. If the
 * program connected the socket, `connected` is set, and the socket is connected to the relay once
 * that is known (till then it is connected to itself, preload/datagram.c). 0, or an errno: it
 * failed, and a line was said (once per failed attempt). A socket that is connected to itself when
 * its association fails gets ECONNREFUSED from the kernel, so that who waits for an answer learns
 * of it. */
int assoc_open(int fd, uint64_t cookie, const struct plan_chain *chain, bool connected);

/* Connects a socket that was loose to the relay of its association over the chain, if that stands,
 * at once: an answer that is under way is not lost. Whether it did. */
bool assoc_join(int fd, uint64_t cookie, const struct plan_chain *chain);

/* Before the program dissolves or changes a connection that assoc_open was told of: from now on
 * nobody connects the socket to a relay, until assoc_open says so again. */
void assoc_disconnect(uint64_t cookie);

/* Sends one datagram to `to` (an address or a name) with the flags of sendmsg(). `control`: the
 * program's ancillary data, passed on. The bytes of payload, or -errno: EMSGSIZE with its headers
 * it is longer than a datagram or than a path MTU that the socket insists on; EACCES the chain
 * cannot; EIO for segments to be cut by the kernel (UDP_SEGMENT), which programs take as a sign to
 * cut them themselves; EOPNOTSUPP for MSG_MORE; what the kernel says. What is held until the
 * association stands counts as sent. */
ssize_t assoc_send(int fd, uint64_t cookie, const struct plan_chain *chain,
                   const struct vd_endpoint *to, const struct iovec *parts, size_t count,
                   const void *control, size_t control_len, int flags);

/* A relay's word: headers to take off. */
struct assoc_origin {
    struct vd_endpoint from; /* who sent the payload; a name if the relay gave one */
    size_t headers;          /* bytes in front of the payload */
};

enum assoc_verdict {
    ASSOC_NOT_OURS, /* it did not come from a relay of this socket */
    ASSOC_TAKEN,    /* *origin tells */
    ASSOC_DROP      /* it came from a relay, but must not reach the program: malformed, a fragment,
                       from a stranger */
};

/* Judges a datagram that the socket received from `source`: `data` is at least its first
 * ASSOC_HEADERS_MAX bytes, or the whole of it. */
enum assoc_verdict assoc_judge(uint64_t cookie, const struct sockaddr *source, socklen_t source_len,
                               const uint8_t *data, size_t len, struct assoc_origin *origin);

/* Whether an association of the socket, of whatever process, has its relay there. */
bool assoc_leads_to(uint64_t cookie, const struct sockaddr *to, socklen_t len);

/* Whether any socket of this process may have an association: a relaxed load. */
bool assoc_any(void);

/* --- descriptors -----------------------------------------------------------------------------
 *
 * Hooks need not care: pending_before_close() and its like, pending_after_dup() and
 * pending_before_exec() look after associations, too; but for assoc_before_end(). */

/* Lock of client/pending_entry.h held: `fd` is about to be closed; the last one of a socket takes
 * its control connections with it. */
void assoc_let_go(int fd);
/* Before exec, also in a vfork() child: control connections of sockets that stay open stay, too.
 * The new program finds them by the session. */
void assoc_before_exec(void);
/* Before this process becomes another program; at its end it happens by itself: waits for what is
 * held to go, up to three seconds, and a moment for the relays to take it. */
void assoc_before_end(void);

#endif
