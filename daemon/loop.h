/*
 * loop: one epoll instance and one heap of timers; the only place where a worker waits.
 *
 * Descriptors are watched by a struct loop_io inside whatever owns them; the kernel is told the
 * descriptor's number and a generation, never a pointer, so that an event of a descriptor that was
 * closed meanwhile, in the same batch, finds nobody, and a descriptor may change hands
 * (loop_hand_over) without a system call.
 *
 * Timers have one millisecond; moving a timer to a later time costs nothing until the earlier time
 * comes. Nothing here allocates per event; what grows is told by a result.
 */
#ifndef DAEMON_LOOP_H
#define DAEMON_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define loop_owner(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

struct loop_io {
    int fd; /* -1: none */
    void (*ready)(struct loop_io *io, uint32_t events);
};

struct loop_timer {
    int64_t at_ms;     /* when it is to fire; 0: not set */
    int64_t queued_ms; /* where it stands in the heap: never later than at_ms */
    uint32_t place;    /* in the heap, from 1; 0: not in it */
    void (*fire)(struct loop_timer *timer);
};

/* Something to be gone on with in the next turn, after other descriptors had theirs. */
struct loop_task {
    struct loop_task *next, **link; /* link NULL: not queued */
    void (*run)(struct loop_task *task);
};

struct loop_slot {
    struct loop_io *io;
    uint32_t generation;
};

struct loop {
    int epoll;
    bool stop;      /* set it to end loop_run */
    int64_t now_ms; /* monotonic, as of the last wake-up */
    struct loop_slot *slots;
    size_t slot_count;
    struct loop_timer **heap; /* heap[0] is not used */
    uint32_t heap_len, heap_cap;
    struct loop_task *tasks, **tasks_end;
    void (*after)(struct loop *loop); /* called after each batch; may be NULL */
};

/* 0, or -1 with errno. */
int loop_init(struct loop *loop);
void loop_run(struct loop *loop);
void loop_free(struct loop *loop);

/* What can happen to a stream, told once: edge-triggered. */
extern const uint32_t loop_everything;

/* io->fd and io->ready are set. 0, or -1 with errno: then nothing is watched. */
int loop_watch(struct loop *loop, struct loop_io *io, uint32_t events);
/* 0, or -1 with errno. */
int loop_change(struct loop *loop, struct loop_io *io, uint32_t events);
/* Stops watching without closing; io->fd becomes -1. */
void loop_forget(struct loop *loop, struct loop_io *io);
/* Stops watching and closes, if there is a descriptor. */
void loop_close(struct loop *loop, struct loop_io *io);
/* Takes the descriptor out of the loop's books, still open, and gives it: for net_abort. */
int loop_take(struct loop *loop, struct loop_io *io);
/* `to` watches from now on what `from` watched; from->fd becomes -1. */
void loop_hand_over(struct loop *loop, struct loop_io *from, struct loop_io *to);

/* Makes room for `timers` timers in all. 0, or -1. */
int loop_reserve(struct loop *loop, size_t timers);
/* The heap has room (loop_reserve). Sets or moves it. */
void loop_timer_in(struct loop *loop, struct loop_timer *timer, int64_t ms);
void loop_timer_stop(struct loop *loop, struct loop_timer *timer);

void loop_later(struct loop *loop, struct loop_task *task); /* once, even if asked twice */
void loop_task_stop(struct loop *loop, struct loop_task *task);

#endif
