/*
 * listen_entry: what the files behind client/listen.h share; private to them.
 *
 * Life of a listener:
 *
 *     FREE --bind()--> CLAIMED --getsockname(), listen()--> ASKING --first reply--> KNOWN
 *                         \                                   |  \--"no BIND"--> FREE, bound for
 * real
 *                          \--connect()--> FREE               \--failed--> REFUSED
 *
 *     KNOWN --listen()--> WAITING --second reply, or the end--> CALLED --accept()--> SERVED
 *
 * CLAIMED and KNOWN: the kernel's socket is not bound, so that one that is to connect still can.
 * ASKING: a thread of the program's waits for the hop, without the lock but with its signals held
 * back. WAITING: it listens on loopback, and a thread of ours waits for the hop's word. Then it
 * knocks: it makes a connection to the listener, by which poll, epoll and accept() learn of it.
 * accept() takes that connection, and puts the one through the chain in its place. It is known by
 * its address, which is held from the beginning; other visitors are turned away.
 *
 * Whoever closes the last descriptor ends all of it, but in ASKING and WAITING: there he marks the
 * listener as gone and shuts our socket down, and the thread that waits does the rest.
 *
 * All under the lock of client/pending_entry.h. A child made by fork() closes its copies of our
 * sockets and has INHERITED listeners, which do not accept. Over exec nothing is kept.
 */
#ifndef VD_CLIENT_LISTEN_ENTRY_H
#define VD_CLIENT_LISTEN_ENTRY_H

#include <netinet/in.h>

#include "client/drive.h"
#include "client/listen.h"

enum { LISTENERS_MAX = 32, LISTENER_FDS_MAX = 8 };

enum listener_state {
    LISTENER_FREE,
    LISTENER_CLAIMED,
    LISTENER_ASKING,
    LISTENER_REFUSED,
    LISTENER_KNOWN,
    LISTENER_WAITING,
    LISTENER_CALLED,
    LISTENER_SERVED,
    LISTENER_INHERITED
};

struct listener {
    uint64_t cookie;
    enum listener_state state;
    bool gone;                   /* ASKING, WAITING: no descriptor is left */
    bool more_fds;               /* than fds_1 has room for: it stays as long as the process does */
    int fds_1[LISTENER_FDS_MAX]; /* descriptors + 1; 0: none */
    int error;                   /* REFUSED */
    int result;                  /* CALLED: the driver's */
    int hop_fd;                  /* our socket, through the chain; -1: none */
    int knocker;                 /* our end of the connection that knocks; -1: none */
    uint64_t hop_cookie;
    struct sockaddr_in6 knocker_at;
    socklen_t asked_len, shown_len;
    struct sockaddr_in6 asked; /* what the program gave to bind() */
    struct sockaddr_in6 shown; /* where the last hop listens */
    struct listen_sign sign;
    struct drive drive;
};

/* --- client/listen_hop.c --------------------------------------------------------------------- */

/* Makes the socket and dials; lock held. As drive_dial. */
int listener_dial(struct listener *e);
/* Until the first reply; without the lock. As drive_step, never above 0. */
int listener_converse(struct listener *e, int r);
/* Where the last hop listens, as it said. false, with a line: it cannot be told to this program. */
bool listener_learn(struct listener *e);
/* Makes the kernel's socket listen, and starts the thread that waits. 0, or an errno. */
int listener_open(struct listener *e, int fd, int backlog);
/* Whether `from` is who knocks. */
bool listener_is_knock(const struct listener *e, const struct sockaddr_storage *from);
/* Puts the connection through the chain in the place of `fd`, which was accepted. 0, or an errno.
 */
int listener_hand_over(struct listener *e, int fd, int flags);
/* Closes our sockets. */
void listener_close(struct listener *e);

/* --- client/listen.c ------------------------------------------------------------------------- */

/* Forgets it; lock held. */
void listener_free(struct listener *e);

#endif
