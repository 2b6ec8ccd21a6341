/*
 * pending: connect() calls on non-blocking sockets whose chain is still being set up.
 *
 * To the program such a socket looks like one that the kernel is connecting: not ready, no peer,
 * no error yet. A helper thread drives the handshakes (client/helper.c); when one ends, the socket
 * becomes ready, and stays the program's own, with no more of ours in the way. A failure is kept
 * until the program asks for it, once (SO_ERROR, connect, send, receive).
 *
 * Entries live in memory that children made by fork() share. They are found by descriptor and
 * believed only if the socket's cookie is theirs. All that changes them happens under one lock,
 * with the caller's signals held back. Nothing here allocates.
 */
#ifndef VD_CLIENT_PENDING_H
#define VD_CLIENT_PENDING_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "client/drive.h"

enum pending_state {
    PENDING_NONE, /* nothing known of this descriptor */
    PENDING_UNDER_WAY,
    PENDING_FAILED, /* its error was not read yet */
    PENDING_SPENT,  /* its error was read; connect() has something to say once more */
    PENDING_UP      /* the target's; other processes have registrations to give back */
};

/* How many sockets are under way or failed and unread, in the processes that share the memory. Two
 * relaxed loads: the whole cost of a hook while nothing is pending. */
struct pending_shared {
    uint32_t busy;
};
extern const struct pending_shared *pending_shared;

static inline bool pending_any(void)
{
    const struct pending_shared *s = __atomic_load_n(&pending_shared, __ATOMIC_RELAXED);

    return __atomic_load_n(&s->busy, __ATOMIC_RELAXED) > 0;
}

/* Begins: dials the first hop and hands the rest to the helper. 0: under way (the program is told
 * EINPROGRESS); else an errno: failed at once, and a line was said. -1: no helper or no room, carry
 * it on the spot instead. */
int pending_begin(int fd, const struct sockaddr *addr, socklen_t len, const struct target *t);

/* Hands over a handshake that a blocking connect() began and may not wait for any more; `wants` is
 * what the driver waits for. false: no helper or no room. */
bool pending_adopt(int fd, const struct sockaddr *addr, socklen_t len, const struct drive *d,
                   int wants, int low_water);

enum pending_state pending_state(int fd);

/* Whether it is PENDING_UNDER_WAY, unless the descriptor is another socket by now: the kernel is
 * not asked. */
bool pending_seems_under_way(int fd);

/* Takes sockets under way out of an array for poll(): their fd becomes -1. The number of them. */
size_t pending_hide(struct pollfd *fds, size_t count);

/* Whether poll() may carry the handshake of fd on by itself: what to wait for, DRIVE_READ or
 * DRIVE_WRITE, before pending_step; 0: it has to wait for others. What may change at any time. */
int pending_parked(int fd);
/* Between the two signals are held back, but for the program's own mask in ppoll(): it is written
 * to *mask. false: not here. */
bool pending_hold(sigset_t *mask);
void pending_release(const sigset_t *mask);
/* While they are held: a step of the driver. Whether the socket has come up by it. */
bool pending_step(int fd);
/* Leaves to the helper whatever is parked: the caller waits for more than poll() can tell it. */
void pending_unpark_all(void);

/* Waits until the handshake of fd has ended, at most until `deadline_ns` (0: as long as it takes).
 * A signal ends it as it would end a call that waits in the kernel: not, if its handler wants calls
 * restarted and there is no deadline. 0, EINTR, or ETIMEDOUT. */
int pending_wait(int fd, int64_t deadline_ns);

/* poll() is interrupted by every signal, most calls only by those whose handlers do not ask for
 * restarts. Which one came is not told; so all are asked: whether every handler does. */
bool pending_signals_restart(void);

/* The error of a failed handshake, which is then read; 0: there is none. */
int pending_take_error(int fd);
/* The same for a new connect(): also forgets a spent entry. 0: none, go ahead. */
int pending_take_for_connect(int fd);
/* connect() on a socket that has come up: whether it is the first one since, which the kernel
 * answers with success. */
bool pending_take_success(int fd);

/* Dissolves the connection of a socket under way, as connect(AF_UNSPEC) and shutdown() do; one that
 * failed keeps its error, but may be connected again. */
void pending_cancel(int fd);

/* SO_RCVLOWAT of a socket under way, which the handshake needs for itself. false: not under way. */
bool pending_set_low_water(int fd, int value);
bool pending_get_low_water(int fd, int *value);

/* --- descriptors --------------------------------------------------------------------------- */

/* Before `fd` is closed, by whatever call. false: it is one of ours and must stay open. */
bool pending_before_close(int fd);
/* Before `fd` is replaced by dup2() or dup3(); one of ours makes way. false: it cannot. */
bool pending_before_replace(int fd);
/* Before every descriptor from `first` to `last` is closed; calls `close_part` (0, or -1 with
 * errno) for each stretch between ours. */
int pending_close_range(unsigned first, unsigned last,
                        int (*close_part)(unsigned first, unsigned last, int flags), int flags);
/* After `copy` became a duplicate of `fd`. */
void pending_after_dup(int fd, int copy);
/* Before exec, also in a vfork() child: waits for what the new program would inherit. */
void pending_before_exec(void);
/* Before a descriptor is passed to another process, which would know nothing of its state. */
void pending_before_pass(int fd);

/* --- readiness ----------------------------------------------------------------------------- */

/* epoll_ctl() on a socket under way. 1: done; 0: not ours, ask the kernel; else -errno. */
int pending_epoll_ctl(int epfd, int op, int fd, const struct epoll_event *event);
/* After the kernel took an epoll_ctl() on another descriptor: remembers the registration, in case
 * that descriptor is connected later. */
void pending_epoll_note(int epfd, int op, int fd, const struct epoll_event *event);

/* A place to wait for any handshake of this process to end: an eventfd that becomes readable. -1:
 * there is none left, look again every few milliseconds. */
int pending_waiter_open(void);
void pending_waiter_drain(int waiter);
void pending_waiter_close(int waiter);

#endif
