/*
 * judge: what becomes of what a program wants to do with a socket. The same for both ways of
 * interception; a line is said about what is refused.
 *
 * Needs a session (SESSION_READY), but for judge_carries(), judge_socket() and judge_is_resolver().
 */
#ifndef VD_CLIENT_JUDGE_H
#define VD_CLIENT_JUDGE_H

#include <stdbool.h>
#include <sys/socket.h>

#include "client/audit.h"
#include "client/route.h"

/* --- sockets ------------------------------------------------------------------------------ */

/* What an INET socket carries; told by its protocol, so that one call suffices. */
enum carries { CARRIES_NOTHING_OF_OURS, CARRIES_STREAM, CARRIES_DATAGRAMS, CARRIES_OTHER };
enum carries judge_carries(int fd);

/* Why a socket of this kind is not made, in words: NULL for one that may be. The arguments are
 * those of socket(). */
const char *judge_socket(int domain, int type, int protocol);

/* --- targets ------------------------------------------------------------------------------ */

/* Judges a target that must not or need not go through the chain. 0: direct; 1: through the chain;
 * an errno (negative): refused, and a line was said. */
int judge_target(struct target *t, const struct vd_endpoint *given);

/* What becomes of a datagram, or of a connect() of a datagram socket. */
enum way {
    WAY_DIRECT,
    WAY_CHAIN,
    WAY_NAMES /* a query to a name server, which is answered inside the process */
};

/* An enum way, or an errno (negative): refused, and a line was said. */
int judge_datagram(struct target *t, const struct vd_endpoint *given, enum carries carries);

/* Writes down what goes directly, and whether it may be a DNS query that the proxy should have been
 * asked. */
void judge_audit_direct(const struct target *t, enum audit_kind kind);

/* Whether an address is that of a unix socket of a resolver, which asks the network for names. */
bool judge_is_resolver(const struct sockaddr *addr, socklen_t len);

#endif
