/*
 * pending_entry: what the files behind client/pending.h share; private to them.
 *
 * Life of an entry, all under the lock:
 *
 *     FREE --begin, adopt--> UNDER_WAY --settle, ok--> FREE
 *                               |  \--settle, failed--> FAILED --error read--> SPENT --> FREE
 *                               \--close, cancel--> FREE                        (connect, close)
 *
 * The owner is the process whose helper drives the entry: the one that called connect(), or a child
 * that took over when the owner's helper showed no sign of life.
 */
#ifndef VD_CLIENT_PENDING_ENTRY_H
#define VD_CLIENT_PENDING_ENTRY_H

#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>

#include "client/pending.h"

enum { ENTRIES_MAX = 16384, REGISTRATIONS_MAX = 8, FDS_MAX = 65536, PENDING_TICK_MS = 5 };

/* An epoll registration that is kept from the kernel while the socket is under way. */
struct registration {
    uint64_t data;
    uint32_t events;
    int epfd;
    pid_t pid; /* whose descriptor epfd is */
};

struct entry {
    uint64_t cookie;
    int64_t beat_ns; /* when the owner's helper last looked */
    uint32_t state;  /* enum pending_state; PENDING_NONE: free */
    pid_t owner;
    int fd;        /* in the owner */
    int wants;     /* DRIVE_READ, DRIVE_WRITE */
    int error;     /* FAILED */
    int low_water; /* to put back; 1: nothing to do */
    uint32_t next_free;
    bool private_fd; /* fd is a duplicate of ours: the program closed its own, others have theirs */
    bool forked;     /* children have it too */
    bool succeeded;  /* SPENT, but with registrations that another process has to give back */
    uint8_t registrations;
    struct registration registration[REGISTRATIONS_MAX];
    struct sockaddr_in6 addr; /* what the program gave to connect() */
    socklen_t addr_len;
    struct drive drive;
};

struct arena {
    struct pending_shared shared; /* first: pending_shared points here */
    pthread_mutex_t lock;
    uint32_t free;    /* index + 1 of the first free entry that was used before */
    uint32_t touched; /* entries below this index were used */
    struct entry entry[ENTRIES_MAX];
};

/* The arena, made on first use; NULL: no memory. */
struct arena *pending_arena(void);

/* Signals held back until the lock is given up again. A lock whose holder died is taken over. */
void pending_lock(sigset_t *old);
void pending_unlock(const sigset_t *old);

/* A vfork() child shares our memory, not our descriptors: it must change nothing. */
bool pending_in_vfork_child(void);

/* All below: lock held. */

/* The entry of a descriptor of this process, checked by cookie; NULL if it has none. */
struct entry *pending_entry_of(int fd);
void pending_set_slot(int fd, const struct entry *e); /* NULL: none */
bool pending_has_slot(int fd, const struct entry *e);
void pending_free_entry(struct entry *e);
/* Ends the handshake with a driver's result: shows it to the program in every way it may look. */
void pending_settle(struct entry *e, int result);

/* client/pending_watch.c: takes the registrations of fd out of the kernel, or gives back those that
 * are this process's (or of processes that are gone). */
void watch_take(struct entry *e, int fd);
void watch_give(struct entry *e, int fd);
void watch_forget(int fd); /* the descriptor is closed */

/* client/helper.c */
bool helper_ensure(void);                /* a helper thread runs, or one could be started */
bool helper_watch(struct entry *e);      /* waits for what e->wants; false: no room */
void helper_unwatch(const struct entry *e);
void helper_wake_waiters(void);
/* The descriptors that are ours. */
enum { HELPER_FDS_MAX = 65 };
size_t helper_fds(int fds[HELPER_FDS_MAX]);
/* In a child of fork(): there is no thread, and the descriptors are the parent's copies. */
void helper_after_fork(void);
/* Goes on with a copy of `fd`, which is ours, for the program wants this number. */
bool helper_move_fd(int fd);

#endif
