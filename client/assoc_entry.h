/*
 * assoc_entry: what the files behind client/assoc.h share; private to them and to the helper.
 *
 * Two tables with the same places:
 *
 *   records   in the session: what an association is, for all processes that have the socket
 *   holdings  in this process: which control connections are its own, what is held for later
 *
 * Life of a record:
 *
 *     free --> MAKING --every hop has answered--> UP --a control connection ends--> NONE
 *     NONE ------^ \--one has refused--> FAILED --a send, RETRY_MS later--> MAKING
 *
 * and at the last close it is free again. Each making has a generation of its own; what a process
 * holds of another generation is of no use any more.
 *
 * Whose association is it? The process that made it, its children by fork(), and what they execute
 * hold the control connections: if one of these ends, so has the association. Any other process
 * that has the socket uses it for as long as the maker lives, then makes its own.
 *
 * All that changes a record or a holding happens under the lock of client/pending_entry.h; records
 * may be written by strangers, too: a version that is odd while one is written keeps them apart,
 * and tells a reader, who takes no lock, whether it has read a whole one.
 */
#ifndef VD_CLIENT_ASSOC_ENTRY_H
#define VD_CLIENT_ASSOC_ENTRY_H

#include <netinet/in.h>

#include "client/assoc.h"
#include "client/drive.h"
#include "client/session_layout.h"

enum assoc_state {
    ASSOC_NONE, /* to be made by the next send */
    ASSOC_MAKING,
    ASSOC_UP,
    ASSOC_FAILED
};

enum {
    ASSOC_PREFIX_MAX = ASSOC_HEADERS_MAX - 8,
    ASSOC_CHECK_MS = 1000, /* how often control connections are looked at */
    ASSOC_RETRY_MS = 1000
};

/* Fixed-width, of whole words: copied word by word. */
struct assoc_told {
    uint32_t state; /* enum assoc_state */
    uint32_t generation;
    int32_t owner; /* the process that made it; 0: it holds it no more */
    uint32_t since_ms;
    uint32_t error; /* FAILED */
    uint16_t prefix_len, relay_len;
    uint8_t relay[sizeof(struct sockaddr_in6)];  /* of the first hop, in the form of the socket */
    uint8_t prefix[ASSOC_PREFIX_MAX];            /* the headers for the hops behind it */
    uint8_t former[sizeof(struct sockaddr_in6)]; /* the relay of the generation before */
    uint8_t zero[3];
    uint8_t hops;
    struct {
        uint32_t fd, cookie[2];
    } control[VD_HOPS_MAX]; /* descriptors in the maker, and what it executes */
};

/* --- client/assoc_table.c -------------------------------------------------------------------- */

/* Places are numbers from 0. -1: none. */
int assoc_find(uint64_t cookie, unsigned chain);
/* The next place of a cookie, whatever the chain; *step begins with 0. */
int assoc_find_next(uint64_t cookie, unsigned *step);
/* A place for it, empty; -1: no room. */
int assoc_take_place(uint64_t cookie, unsigned chain);
void assoc_free_place(int at, uint64_t cookie);
unsigned assoc_chain_of(int at);

/* Copies `len` bytes from the front of a record, or all of it; false: it is not the cookie's, or
 * under change for too long. */
bool assoc_read_front(int at, uint64_t cookie, struct assoc_told *told, size_t len);
bool assoc_read(int at, uint64_t cookie, struct assoc_told *told);
/* Writes it, if it is still of `generation`: else another process was quicker, or it is gone. */
bool assoc_write(int at, uint64_t cookie, uint32_t generation, const struct assoc_told *told);

/* Whether the program connected the socket. Beside the rest: set and read at any time. */
void assoc_set_connected(int at, bool connected);
bool assoc_is_connected(int at);

/* --- client/assoc_hold.c --------------------------------------------------------------------- */

struct assoc_hold {
    _Alignas(8) uint64_t cookie; /* 0: nothing. These three are read without the lock */
    uint32_t generation;
    uint32_t checked_ms; /* when it was last seen to be alive */
    uint32_t waiting;    /* datagrams held for it; likewise */
    uint32_t forks;      /* how often the process had forked when it came by it */
    int fd;              /* of the program, or of ours if it lingers */
    bool lingers;        /* the program closed it with datagrams still held */
    uint8_t hops;        /* of the path, by the chain's mode, when this process made it */
    uint16_t order[VD_HOPS_MAX];
    uint8_t count;      /* control connections; 0: others have them */
    uint16_t under_way; /* how many of them have not answered yet */
    int control[VD_HOPS_MAX];
    uint64_t control_cookie[VD_HOPS_MAX];
};

uint32_t assoc_now_ms(void);

/* The holding of a place; NULL: there is no memory, or (_made) there was never one. */
struct assoc_hold *assoc_hold(int at);
struct assoc_hold *assoc_hold_made(int at);
/* The next place from `at` on that this process holds, -1: none. */
int assoc_hold_next(int at);

/* All below: lock held. */

/* Begins a holding for the program's descriptor; an earlier one of the place ends. */
struct assoc_hold *assoc_hold_begin(int at, uint64_t cookie, uint32_t generation, int fd);
/* Takes a socket of ours in: a control connection. */
bool assoc_hold_add(struct assoc_hold *h, int fd);
/* Ends it: its control connections are closed, what waits is dropped. assoc_hold_finish: so does
 * the record, for the socket is gone. */
void assoc_hold_end(int at);
void assoc_hold_finish(int at);
/* Whether the association that the record tells of serves this process, too: looks at the control
 * connections, takes them over from the program that was executed before, or trusts their owner. */
bool assoc_hold_serves(int at, uint64_t cookie, const struct assoc_told *told, int fd);
/* A descriptor of this process for the socket: the one that is known, or another; -1: none. */
int assoc_hold_fd(struct assoc_hold *h);
bool assoc_is_alive(int32_t owner);

/* Whether there is anything left to do for it; ends one that has lingered for long enough. */
bool assoc_hold_look(int at);

/* For the helper, and the fork handlers. A descriptor of ours goes on as `moved`. */
void assoc_after_fork_in_parent(void);
void assoc_after_fork(void);
void assoc_move_fd(int fd, int moved);

/* --- client/assoc_control.c; lock held ------------------------------------------------------- */

/* Makes the association of a place: 0, or an errno, and a line was said. */
int assoc_begin(int at, uint64_t cookie, int fd, const struct plan_chain *chain);
/* Nobody waits for the answers any more. */
void assoc_abandon(int at);
void assoc_forget_controls(void); /* in a child of fork() */
void assoc_move_control(int fd, int moved);
/* Connects the program's socket to the relay that the record tells of. 0, or an errno. */
int assoc_connect(int fd, const struct assoc_told *told);

/* For the helper: an event of the control connection with this number; to be watched all anew; what
 * is due. assoc_look: whether there is anything left to do; *next_ns becomes earlier if need be. */
enum { ASSOC_EVENT = 1 << 20 }; /* numbers begin here */
void assoc_event(uint32_t number, uint32_t events);
void assoc_watch_all(void);
unsigned assoc_look(int64_t now, int64_t *next_ns);

/* --- client/assoc_relay.c -------------------------------------------------------------------- */

/* Writes relay and prefix from what each hop answered. `control`: the first hop's connection, `fd`
 * the program's socket. false: such a relay is not used, and a line was said. */
bool assoc_put_relays(struct assoc_told *told, const struct plan_chain *chain,
                      const struct drive *const answers[], int control, int fd);
/* A line about a hop; `ip` stands at the end of it, if not NULL. */
void assoc_say_of_hop(const struct plan_chain *chain, unsigned position, const char *what,
                      const struct vd_ip *ip);

/* --- client/assoc_held.c; lock held ---------------------------------------------------------- */

/* Keeps a datagram for a place: the header for the target, then the payload. 0 also if there was no
 * room for it; else an errno: the payload cannot be read. */
int assoc_held_add(int at, const uint8_t *header, size_t header_len, const struct iovec *parts,
                   size_t count, size_t payload);
void assoc_held_send(int at, const struct assoc_told *told); /* what goes, goes */
void assoc_held_drop(int at);
void assoc_held_look(int at); /* sends or drops it if its time has come */
void assoc_held_forget(void); /* in a child of fork() */
/* Without the lock: something has come back, so that what was sent has passed the relays. */
void assoc_held_answered(void);

#endif
