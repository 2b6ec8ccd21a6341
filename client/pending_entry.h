/*
 * pending_entry: what the files behind client/pending.h share; private to them, but for the lock,
 * which client/listen.h uses too.
 *
 * Life of an entry, all under the lock:
 *
 *     FREE --begin, adopt--> UNDER_WAY --settle, ok--> FREE, or UP while other processes have
 *                               |  \                   registrations to give back
 *                               |   \--settle, failed--> FAILED --error read--> SPENT --> FREE
 *                               \--close, cancel--> FREE                        (connect, close)
 *
 * The owner is the process whose helper drives the entry: the one that called connect(), or a child
 * that took over when the owner's helper showed no sign of life. It may have ended at any place: in
 * the middle of a step, when nobody can tell which message was sent or received. So an entry is
 * torn from the beginning of a step to its end. Who holds the lock and finds one torn knows that
 * whoever made the step is gone, and makes the handshake anew; one that is torn behind its settling
 * has registrations to give back.
 */
#ifndef VD_CLIENT_PENDING_ENTRY_H
#define VD_CLIENT_PENDING_ENTRY_H

#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>

#include "client/pending.h"

enum {
    ENTRIES_MAX = 16384,
    REGISTRATIONS_MAX = 32,
    SETTLED_MAX = 16384,
    PENDING_TICK_MS = 5,
    PENDING_HIGH_FD =
        200 /* descriptors of ours stay out of the low numbers that programs count on */
};

/* An epoll registration that is kept from the kernel. */
struct registration {
    uint64_t data;
    uint32_t events;
    int epfd, fd;
    pid_t pid;   /* whose descriptors they are */
    bool forked; /* children have them, too */
};

struct entry {
    _Alignas(8) uint64_t cookie; /* these two are read without the lock, too */
    uint32_t state;              /* enum pending_state; PENDING_NONE: free */
    pid_t owner;                 /* from here to `drive` a new entry is cleared */
    int64_t beat_ns;             /* when the owner's helper last looked */
    int fd;                      /* in the owner */
    int wants;                   /* DRIVE_READ, DRIVE_WRITE */
    int error;                   /* FAILED */
    int low_water; /* the program's SO_RCVLOWAT; the socket's is 1 while it is under way */
    uint32_t next_free;
    bool private_fd; /* fd is a duplicate of ours: the program closed its own, others have theirs */
    bool forked;     /* children have it too */
    bool dissolved; /* FAILED, then connect(AF_UNSPEC): the error is there, connect() begins anew */
    bool parked;    /* UNDER_WAY, and the helper does not watch it */
    bool torn;      /* a step of the driver, or the settling, is not finished: see below */
    int64_t parked_ns; /* since when */
    uint8_t registrations;
    struct registration registration[REGISTRATIONS_MAX];
    struct sockaddr_in6 addr; /* what the program gave to connect() */
    socklen_t addr_len;
    struct drive drive;
};

struct arena {
    struct pending_shared shared; /* first: pending_shared points here */
    pthread_mutex_t lock;
    uint32_t endings; /* handshakes that ended so far */
    uint32_t free;    /* index + 1 of the first free entry that was used before */
    uint32_t touched; /* entries below this index were used */
    /* Sockets that came up and whose next connect() has to say 0, by cookie modulo the size. */
    uint64_t settled[SETTLED_MAX];
    struct entry entry[ENTRIES_MAX];
};

/* --- client/pending_arena.c ------------------------------------------------------------------ */

/* The arena, made on first use; NULL: no memory. pending_arena_made: only if there is one. */
struct arena *pending_arena(void);
struct arena *pending_arena_made(void);

/* What the caller's thread gets back when it gives the lock up. */
struct pending_guard {
    sigset_t mask;
    int cancel;
};

/* Signals and cancellation are held back until the lock is given up again. A lock whose holder died
 * is taken over. */
void pending_lock(struct pending_guard *g);
void pending_unlock(const struct pending_guard *g);
/* The lock alone, where no signal and no cancellation can come: in the helper thread, and where
 * they are held back already. */
void pending_hold_signals(sigset_t *mask);
void pending_lock_mutex(void);
void pending_unlock_mutex(void);

/* A vfork() child shares our memory, not our descriptors: it must change nothing. */
bool pending_in_vfork_child(void);
pid_t pending_process(void);

/* All below: lock held. */

/* The entry of a descriptor of this process, checked by cookie; NULL if it has none. */
struct entry *pending_entry_of(int fd);
void pending_set_slot(int fd, const struct entry *e); /* NULL: none */
bool pending_has_slot(int fd, const struct entry *e);
/* A descriptor of this process that is the entry's socket, -1: none. */
int pending_fd_of(const struct entry *e);
/* For fd, which is about to be connected; NULL: no room. Its copies find it, too. */
struct entry *pending_new_entry(int fd, const struct sockaddr *addr, socklen_t len);
void pending_free_entry(struct entry *e);
void pending_enter_state(struct entry *e, enum pending_state state);
uint32_t pending_index(const struct entry *e);

/* --- client/pending.c ------------------------------------------------------------------------ */

/* Ends the handshake with a driver's result (not above 0): shows it to the program in every way it
 * may look. */
void pending_settle(struct entry *e, int result);
/* Makes the handshake of a torn entry anew, on the same socket; as a step of the driver. */
int pending_drive_anew(struct entry *e);
void pending_set_torn(struct entry *e, bool torn);

/* --- client/pending_note.c -------------------------------------------------------------------- */

enum mark {
    MARK_OURS = 1,    /* a descriptor of the helper's */
    MARK_COPIED = 2,  /* there are or were others for the same file */
    MARK_WATCHES = 4, /* an epoll some of whose registrations are kept from the kernel */
    MARK_CARRIED = 8, /* a socket with an association */
};

/* What is remembered of a descriptor: its entry, its marks, and a registration with an epoll that
 * passed by. A fork's child inherits the notes with the descriptors. All that may be read without
 * the lock is read and written atomically. */
struct note {
    uint16_t slot; /* index of the entry + 1 */
    uint8_t marks;
    uint8_t zero;
    int epfd_1; /* descriptor + 1; 0: none */
    uint32_t events;
    uint32_t zeroes;
    _Alignas(8) uint64_t data;
};

/* Notes lie in parts, so that a program with a few descriptors pays for a few. */
enum { NOTES_PART = 1024, NOTES_PARTS = 1024 };
extern struct note *note_parts[NOTES_PARTS];

/* The note of a descriptor; NULL: nothing was ever noted there. note_make makes one; NULL: there
 * is no memory, or the descriptor is beyond what can be noted. */
static inline struct note *note_of(int fd)
{
    struct note *part = fd < 0 || fd >= NOTES_PART * NOTES_PARTS
                            ? NULL
                            : __atomic_load_n(&note_parts[fd / NOTES_PART], __ATOMIC_ACQUIRE);

    return part ? &part[fd % NOTES_PART] : NULL;
}
struct note *note_make(int fd);

/* The index + 1 of the entry that a descriptor may have, 0: none. */
static inline uint16_t note_slot(int fd)
{
    const struct note *n = note_of(fd);

    return n ? __atomic_load_n(&n->slot, __ATOMIC_RELAXED) : 0;
}
/* The next descriptor from `fd` on that may have something noted, -1: none. */
int note_next(int fd);

static inline bool note_has(int fd, enum mark mark)
{
    const struct note *n = note_of(fd);

    return n && __atomic_load_n(&n->marks, __ATOMIC_RELAXED) & mark;
}
void note_mark(int fd, enum mark mark);
void note_unmark(int fd, uint8_t marks);

/* --- client/pending_watch.c ------------------------------------------------------------------- */

/* Takes the registrations of fd and its copies out of the kernel, or gives back those that are this
 * process's (or of processes that are gone). */
void watch_take(struct entry *e, int fd);
void watch_give(struct entry *e);
/* Those of `before` are this process's from now on, as far as it has the epoll. */
void watch_inherit(struct entry *e, pid_t before);
void watch_forget(int fd, bool locked); /* the descriptor is closed */
extern bool watch_has_extras;           /* some descriptor had registrations beside its note */
void watch_epoll_gone(int epfd);        /* an epoll is closed */

/* --- client/helper.c -------------------------------------------------------------------------- */

bool helper_ensure(void);           /* a helper thread runs, or one could be started */
bool helper_watch(struct entry *e); /* waits for what e->wants; false: no room */
void helper_unwatch(const struct entry *e);
void helper_wake_waiters(void);
/* Moves a new descriptor out of the program's way and marks it; `fd` may be -1. */
int helper_make_ours(int fd);
void helper_close_ours(int fd);
/* Lock held: what follows a step of the driver that gave `r`. */
void helper_go_on(struct entry *e, int r);
/* In a child of fork(): there is no thread, and the descriptors are the parent's copies. */
void helper_after_fork(void);
/* Goes on with a copy of `fd`, which is ours, for the program wants this number. */
bool helper_move_fd(int fd);
/* For handshakes that are no entries, lock held: events of `fd` come with this number; and a step
 * of the driver after one. */
bool helper_watch_fd(int fd, uint32_t number);
void helper_unwatch_fd(int fd);
int helper_step(struct drive *d, int fd, uint32_t events);

/* --- client/pending_park.c; lock held --------------------------------------------------------- */

enum { PARK_EVENT = ENTRIES_MAX }; /* of the timer, in the helper's epoll, beside the entries */

/* The timer, made if there is none, into the helper's epoll; without it nothing is parked. */
bool park_open(int epfd);
void park_close(void);
int park_fd(void); /* -1: none */
void park_moved(int fd);
void park_ring(void); /* the timer's event */
/* false: it must be watched. */
bool park(struct entry *e);
/* Parked or not: the helper watches it from now on. May settle it. */
void unpark(struct entry *e);

#endif
