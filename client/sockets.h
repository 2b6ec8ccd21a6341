/*
 * sockets: which target a socket was connected to through the chain.
 *
 * Kept in the session under the kernel's own cookie of the socket (SO_COOKIE: never given twice),
 * so that it holds for copies of the descriptor, over fork and exec and in whatever process a
 * descriptor is passed to. Entries of sockets that are gone are overwritten in time, the oldest
 * first.
 */
#ifndef VD_CLIENT_SOCKETS_H
#define VD_CLIENT_SOCKETS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* The cookie, or 0 if fd is no socket. Keeps errno. */
uint64_t sockets_cookie(int fd);

/* Remembers the address that the program gave (at most a sockaddr_in6). Without room the socket
 * shows its real peer, the first hop. */
void sockets_put(uint64_t cookie, const struct sockaddr *target, socklen_t len);

/* The same for a datagram socket that must not send. sockets_is_denied costs a load as long as this
 * process has denied none. */
void sockets_deny(uint64_t cookie, const struct sockaddr *target, socklen_t len);
bool sockets_is_denied(int fd);

/* Writes the address into *target; its length, or 0 if nothing is known of the socket. */
socklen_t sockets_get(uint64_t cookie, struct sockaddr_storage *target);

/* The address that the last hop says the target sees (BND of the reply), in the form of the socket's
 * family; of a socket that sockets_put was told of before. sockets_get_bound: its length, or 0. */
void sockets_put_bound(uint64_t cookie, const struct sockaddr *bound, socklen_t len);
socklen_t sockets_get_bound(uint64_t cookie, struct sockaddr_storage *bound);

/* Socket options whose values a blocking handshake has to put back: SO_SNDTIMEO, SO_RCVTIMEO and
 * SO_RCVLOWAT. Hardly any program sets one; as long as none of the session did, nobody needs to
 * ask a socket for them. */
void sockets_note_option(int level, int name);
bool sockets_have_options(void);

/* Forgets it: the socket is connected elsewhere now. */
void sockets_drop(uint64_t cookie);

#endif
