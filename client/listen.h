/*
 * listen: listeners whose visitor comes through the chain, by SOCKS BIND (RFC 1928 section 6; the
 * notes of Leeds and Koblas for SOCKS4). Made for FTP's active mode: a client tells the server an
 * address of its own (PORT, EPRT), and the server connects to it.
 *
 * Most programs that listen mean this machine. The sign that tells the others: bind() to port 0 of
 * the very address that getsockname() told of a living connection through the chain that counts,
 * which is one to port 21 unless the option `listen` says otherwise. That connection's target is
 * whom the last hop is asked to wait for. On a connection that counts getsockname() tells the
 * address that the target sees (BND of the hop's reply), if the hop said which.
 *
 * The program's socket listens on loopback; the hop's replies come on a socket of ours. Everything
 * here keeps errno unless it says otherwise.
 */
#ifndef VD_CLIENT_LISTEN_H
#define VD_CLIENT_LISTEN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "client/route.h"
#include "proto/chain.h"

/* --- connections that count ------------------------------------------------------------------ */

/* The socket is connected to `given` through `chain`, whose handshake is done, and sockets_put
 * knows it. Takes no lock. */
void listen_note_connection(int fd, const struct sockaddr *given, socklen_t len,
                            const struct vd_chain *chain);

/* What getsockname() is to tell of a socket, where that is not what the kernel says: a connection
 * that counts, or one that was accepted here. Its length, or 0. Takes no lock. */
socklen_t listen_shown(int fd, struct sockaddr_storage *shown);

/* A connection for whose target an address to bind() to was told. */
struct listen_sign {
    struct target target;
    struct vd_ip placeholder; /* that the program knows it by; no family: it knows the address */
    struct vd_path path;      /* that the connection took; count 0: not known */
    bool is_local;            /* the address is one of this machine */
};

/* Whether any connection of this process counts or did: a load, the whole cost of bind() in most
 * programs. */
extern uint32_t listen_turns;

static inline bool listen_told(void)
{
    return __atomic_load_n(&listen_turns, __ATOMIC_RELAXED) > 0;
}

/* Whether bind() to that address is the sign. */
bool listen_is_sign(struct listen_sign *s, const struct sockaddr *addr, socklen_t len);

/* --- listeners ------------------------------------------------------------------------------- */

/* Whether this process has any: the whole cost of a hook as long as it has none. */
extern uint32_t listen_count;

static inline bool listen_any(void)
{
    return __atomic_load_n(&listen_count, __ATOMIC_RELAXED) > 0;
}

/* Takes the socket's bind() upon itself. false: there is no room, or the socket does not fit. */
bool listen_claim(int fd, const struct sockaddr *addr, socklen_t len, const struct listen_sign *s);

enum listen_answer { LISTEN_NOT_OURS, LISTEN_ANSWERED, LISTEN_FAILED /* with errno */ };

/* bind() once more. */
enum listen_answer listen_bind(int fd);
/* Tells where the last hop listens, or as long as that is not known what was given to bind(). Asks
 * the hop first if nobody did, and waits for its answer. The length, 0: none of ours. */
socklen_t listen_name(int fd, struct sockaddr_storage *shown);
/* listen(). Asks the hop, too. */
enum listen_answer listen_begin(int fd, int backlog);
/* accept4(): LISTEN_ANSWERED with the descriptor in *taken. Waits as the socket's flags say. */
enum listen_answer listen_accept(int fd, int flags, int *taken);
/* Before connect(): the socket was bound for that, and is no listener. */
void listen_release(int fd);

/* Before a descriptor is closed or replaced, after it was duplicated. The last one takes the
 * listener with it: the hop is told by the end of its connection. */
void listen_before_close(int fd);
void listen_before_close_range(unsigned first, unsigned last);
void listen_after_dup(int fd, int copy);

#endif
