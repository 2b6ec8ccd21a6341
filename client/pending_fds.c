/*
 * What becomes of sockets under way when descriptors are closed, duplicated and inherited.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "client/assoc.h"
#include "client/pending_entry.h"
#include "client/sys.h"

/* Another descriptor of this process for the same socket, -1: none. */
static int another_fd(const struct entry *e, int but)
{
    for (int fd = note_next(0); fd >= 0; fd = note_next(fd + 1))
        if (fd != but && pending_has_slot(fd, e) && pending_entry_of(fd) == e)
            return fd;
    return -1;
}

/* The epoll of the helper knows the socket by descriptor. */
static void continue_on(struct entry *e, int fd, bool private_fd)
{
    helper_unwatch(e);
    e->fd = fd;
    e->private_fd = private_fd;
    helper_watch(e);
}

/* The descriptor that the helper works with is about to go: on with another one, with one of our
 * own if a child still has the socket, or, as the kernel would, give up. */
static void lose_fd(struct entry *e, int fd)
{
    int other = another_fd(e, fd);

    if (other >= 0) {
        continue_on(e, other, false);
        return;
    }
    other = e->forked ? sys.fcntl(fd, F_DUPFD_CLOEXEC, (void *)(intptr_t)PENDING_HIGH_FD) : -1;
    if (other >= 0) {
        continue_on(e, other, true);
        return;
    }
    helper_unwatch(e);
    pending_free_entry(e);
}

static void before_close(int fd)
{
    struct entry *e = pending_entry_of(fd);

    pending_set_slot(fd, NULL);
    if (!e || e->owner != pending_process())
        return;
    if (e->state == PENDING_UNDER_WAY && e->fd == fd)
        lose_fd(e, fd);
    else if (e->state != PENDING_UNDER_WAY && !e->forked && another_fd(e, fd) < 0)
        pending_free_entry(e);
}

/* Whether closing it concerns us at all; most descriptors do not. */
static bool concerns_us(int fd)
{
    const struct note *n = note_of(fd);

    return n && (__atomic_load_n(&n->slot, __ATOMIC_RELAXED) ||
                 __atomic_load_n(&n->marks, __ATOMIC_RELAXED));
}

/* Lock held. false: it is one of ours. */
static bool let_go(int fd)
{
    if (note_has(fd, MARK_OURS))
        return false;
    if (note_has(fd, MARK_WATCHES))
        watch_epoll_gone(fd);
    before_close(fd);
    assoc_let_go(fd);
    note_unmark(fd, MARK_WATCHES | MARK_COPIED);
    return true;
}

/* --- hooks ----------------------------------------------------------------------------------- */

/* Whether anything was noted of it that matters, or of a registration that no note has room for.
 * Marks mean nothing as long as nothing was ever under way. */
static bool is_noted(int fd)
{
    const struct note *n = note_of(fd);

    return (n && (__atomic_load_n(&n->slot, __ATOMIC_RELAXED) ||
                  __atomic_load_n(&n->epfd_1, __ATOMIC_RELAXED) ||
                  (__atomic_load_n(&n->marks, __ATOMIC_RELAXED) && pending_arena_made()))) ||
           __atomic_load_n(&watch_has_extras, __ATOMIC_RELAXED);
}

SLOW bool before_close_of_noted(int fd)
{
    struct pending_guard g;
    bool may_close;

    watch_forget(fd, false);
    if (!concerns_us(fd) || !pending_arena_made() || pending_in_vfork_child())
        return true;
    pending_lock(&g);
    may_close = let_go(fd);
    pending_unlock(&g);
    return may_close;
}

bool pending_before_close(int fd)
{
    return !is_noted(fd) || before_close_of_noted(fd);
}

bool pending_before_replace(int fd)
{
    struct pending_guard g;
    bool ok;

    watch_forget(fd, false);
    if (!concerns_us(fd) || !pending_arena_made() || pending_in_vfork_child())
        return true;
    pending_lock(&g);
    ok = !note_has(fd, MARK_OURS) || helper_move_fd(fd);
    if (ok)
        let_go(fd);
    pending_unlock(&g);
    return ok;
}

static int next_of_ours(unsigned first)
{
    int fd = first <= INT_MAX ? note_next((int)first) : -1;

    while (fd >= 0 && !note_has(fd, MARK_OURS))
        fd = note_next(fd + 1);
    return fd;
}

static int close_around(unsigned first, unsigned last,
                        int (*close_part)(unsigned first, unsigned last, int flags), int flags)
{
    int r = 0;

    for (int fd = next_of_ours(first); r == 0 && fd >= 0 && (unsigned)fd <= last;
         fd = next_of_ours(first)) {
        if ((unsigned)fd > first)
            r = close_part(first, (unsigned)fd - 1, flags);
        first = (unsigned)fd + 1;
    }
    return r == 0 && first <= last ? close_part(first, last, flags) : r;
}

int pending_close_range(unsigned first, unsigned last,
                        int (*close_part)(unsigned first, unsigned last, int flags), int flags)
{
    struct pending_guard g;
    int r;

    if (!pending_arena_made() || pending_in_vfork_child())
        return close_part(first, last, flags);
    pending_lock(&g);
    for (int fd = first <= INT_MAX ? note_next((int)first) : -1; fd >= 0 && (unsigned)fd <= last;
         fd = note_next(fd + 1)) {
        watch_forget(fd, true);
        let_go(fd);
    }
    r = close_around(first, last, close_part, flags);
    pending_unlock(&g);
    return r;
}

SLOW void share_slot(int fd, int copy)
{
    struct pending_guard g;

    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* show_to_copies() sees the marks, or: */
    if ((!note_slot(fd) && !note_slot(copy)) || pending_in_vfork_child())
        return;
    pending_lock(&g);
    pending_set_slot(copy, pending_entry_of(fd));
    pending_unlock(&g);
}

void pending_after_dup(int fd, int copy)
{
    if (fd == copy)
        return;
    note_mark(fd, MARK_COPIED);
    note_mark(copy, MARK_COPIED);
    if (pending_arena_made())
        share_slot(fd, copy);
}
