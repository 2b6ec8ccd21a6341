/*
 * datagram: datagram sockets in our care (client/sockets.h says which). Three files: judging and
 * connecting, sending, receiving; a fourth for what a socket sends to itself.
 */
#ifndef VD_PRELOAD_DATAGRAM_H
#define VD_PRELOAD_DATAGRAM_H

#include <sys/socket.h>
#include <sys/uio.h>

#include "client/sockets.h"
#include "preload/hook.h"

/* --- which sockets --------------------------------------------------------------------------- */

bool datagram_look(int fd, struct sockets_datagram *d);

/* Whether it is a datagram socket whose bytes are not simply the kernel's to move; then *d tells
 * what is known. Two loads while the session has none. */
static inline bool datagram_is_ours(int fd, struct sockets_datagram *d)
{
    return sockets_any_datagrams() && datagram_look(fd, d);
}

/* preload/datagram_fds.c: which descriptors may be datagram sockets. Nothing is known of them
 * before those that the program was started with were looked through. */
enum { DATAGRAM_FDS_MAX = 65536 };
extern struct datagram_fds {
    unsigned known; /* of this many descriptors, from 0 on */
    bool noted[DATAGRAM_FDS_MAX];
} datagram_fds;

/* Whether it is known not to be a datagram socket: two loads. */
static inline bool datagram_is_other(int fd)
{
    unsigned known = __atomic_load_n(&datagram_fds.known, __ATOMIC_ACQUIRE);

    return (unsigned)fd < known && !__atomic_load_n(&datagram_fds.noted[fd], __ATOMIC_RELAXED);
}

/* A descriptor that may be a datagram socket, while the session has some in its care. */
bool datagram_may_be(int fd);
/* The same, whatever the session has. */
bool datagram_is_noted(int fd);
void datagram_is_none(int fd); /* it proved wrong */
void datagram_made(int fd, int domain, int type);
void datagram_copied(int fd, int copy);
/* A socket that nothing was noted of in the session was judged: its datagrams pass. */
bool datagram_was_direct(int fd, uint64_t cookie);
void datagram_is_direct(int fd, uint64_t cookie);
/* Before a message is sent and after one has come: it may pass descriptors. */
void datagram_before_pass(const struct msghdr *message);
void datagram_after_pass(const struct msghdr *message);

/* Whether to receive by datagram_receive() and the others below: also on a socket that may come
 * into our care while the call waits. */
static inline bool datagram_receives(int fd, struct sockets_datagram *d)
{
    d->cookie = 0;
    if (datagram_is_ours(fd, d))
        return true;
    d->kind = SOCKETS_DIRECT;
    return datagram_is_noted(fd);
}

/* --- connecting ------------------------------------------------------------------------------ */

/* Makes the socket fit for the chain's first relay, before it has anything to do with it. */
void datagram_fit(int fd, const struct plan_chain *chain);

/* getsockname(): whether another address than the kernel's is shown; then it stands in *own, where
 * the kernel's stood. */
bool datagram_shows(int fd, struct sockaddr_storage *own, socklen_t *len);

/* connect() to nowhere of a datagram socket; anything else is left to the kernel. */
int datagram_dissolve(int fd, const struct sockaddr *addr, socklen_t len);

/* --- sending and receiving ------------------------------------------------------------------- */

/* As sendmsg() on a socket in our care. */
ssize_t datagram_send(int fd, const struct sockets_datagram *d, const struct msghdr *m, int flags);
ssize_t datagram_send_parts(int fd, const struct sockets_datagram *d, const struct iovec *parts,
                            size_t count, int flags);

/* A datagram whose destination was judged as WAY_CHAIN or WAY_NAMES. */
ssize_t datagram_send_to(int fd, enum way way, const struct target *t, const struct msghdr *m,
                         int flags);

/* As recvmsg(), recvmmsg() and recvfrom() on a socket in our care. */
ssize_t datagram_receive(int fd, struct sockets_datagram *d, struct msghdr *m, int flags);
int datagram_receive_many(int fd, struct sockets_datagram *d, struct mmsghdr *messages,
                          unsigned count, int flags, struct timespec *timeout);
ssize_t datagram_receive_parts(int fd, struct sockets_datagram *d, const struct iovec *parts,
                               size_t count, int flags, struct sockaddr *addr, socklen_t *addr_len);

/* FIONREAD: the length of the next datagram as the program will see it. */
int datagram_count(int fd, struct sockets_datagram *d, void *count);

/* shutdown(): the kernel is not told that nothing more is sent while something is held back until
 * the chain stands. */
int datagram_shutdown(int fd, const struct sockets_datagram *d, int how);

/* Options that would have the kernel cut or join datagrams, headers and all. */
bool datagram_takes_option(int fd, int level, int name);

/* --- to itself (preload/datagram_self.c) ----------------------------------------------------- */

enum { SELF_HEADER = SOCKETS_SECRET + sizeof(struct sockaddr_in6) };

/* connect()s the socket to the source address that it has towards `addr`: to its own port, where
 * it hears itself, or to port 9, where nobody does. 0, or -1 with errno. */
int self_connect(int fd, const struct sockaddr *addr, socklen_t len, bool hears);
/* connect() of a socket that may be connected to itself: loopback as its source leads nowhere. */
int self_leave(int fd, const struct sockaddr *addr, socklen_t len);
/* Takes the connection away, but not the port. 0, or -1 with errno. */
int self_come_loose(int fd);
/* An IPv6 socket that is for IPv6 only, and not bound to a port that the program chose, is made one
 * for both. */
void self_open_to_ipv4(int fd);

/* Answers a query of the program; `server` is whom it asked. The length of the query, or -1 with
 * errno; *pass: nothing was done, the server itself shall be asked. */
ssize_t self_answer(int fd, const struct sockaddr *server, socklen_t server_len,
                    const struct msghdr *m, bool *pass);

/* Whether a datagram is one that the socket sent to itself; *server is then who the answer is
 * from. `data` is at least its first SELF_HEADER bytes. */
bool self_recognise(int fd, const struct sockaddr *source, socklen_t source_len,
                    const uint8_t *data, size_t len, struct sockaddr_storage *server,
                    socklen_t *server_len);

#endif
