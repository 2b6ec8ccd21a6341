/*
 * The memory that a process shares with the children it forks, its lock, and the entries in it.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/assoc_entry.h"
#include "client/pending_entry.h"
#include "client/sockets.h"

_Static_assert(offsetof(struct arena, shared) == 0, "pending_shared points to it");
_Static_assert(ENTRIES_MAX < UINT16_MAX, "a slot holds an index + 1");

static const struct pending_shared nothing;
const struct pending_shared *pending_shared = &nothing;

static struct arena *the_arena;
static pid_t the_process;              /* getpid() of whoever made the memory or inherited it */
static struct pending_guard held_back; /* over fork() */

/* --- arena ----------------------------------------------------------------------------------- */

static void note_fork(struct entry *e)
{
    e->forked = true;
    for (int i = 0; i < e->registrations; i++)
        e->registration[i].forked |= e->registration[i].pid == the_process;
}

/* What is noted here a child can rely on, even if its parent is killed before the call returns. */
static void before_fork(void)
{
    pending_lock(&held_back);
    for (uint32_t i = 0; i < the_arena->touched; i++)
        if (the_arena->entry[i].state != PENDING_NONE)
            note_fork(&the_arena->entry[i]);
}

static void after_fork_in_parent(void)
{
    assoc_after_fork_in_parent();
    pending_unlock(&held_back);
}

/* The lock is the parent's, who gives it up. */
static void after_fork_in_child(void)
{
    int ignored;

    the_process = getpid();
    helper_after_fork();
    pthread_sigmask(SIG_SETMASK, &held_back.mask, NULL);
    pthread_setcancelstate(held_back.cancel, &ignored);
}

static struct arena *make_arena(void)
{
    struct arena *a = mmap(NULL, sizeof *a, PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    pthread_mutexattr_t attr;

    if (a == MAP_FAILED)
        return NULL;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&a->lock, &attr);
    pthread_mutexattr_destroy(&attr);
    return a;
}

struct arena *pending_arena_made(void)
{
    return __atomic_load_n(&the_arena, __ATOMIC_ACQUIRE);
}

/* Two threads may come here at once: one arena wins, the other is given back. */
struct arena *pending_arena(void)
{
    struct arena *a = pending_arena_made(), *none = NULL;

    if (a)
        return a;
    a = make_arena();
    if (!a)
        return NULL;
    __atomic_store_n(&the_process, getpid(), __ATOMIC_RELAXED);
    if (!__atomic_compare_exchange_n(&the_arena, &none, a, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE)) {
        munmap(a, sizeof *a);
        return none;
    }
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    __atomic_store_n(&pending_shared, &a->shared, __ATOMIC_RELEASE);
    return a;
}

void pending_lock_mutex(void)
{
    if (pthread_mutex_lock(&the_arena->lock) == EOWNERDEAD)
        pthread_mutex_consistent(&the_arena->lock);
}

void pending_unlock_mutex(void)
{
    pthread_mutex_unlock(&the_arena->lock);
}

void pending_hold_signals(sigset_t *mask)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, mask);
}

void pending_lock(struct pending_guard *g)
{
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &g->cancel);
    pending_hold_signals(&g->mask);
    pending_lock_mutex();
}

void pending_unlock(const struct pending_guard *g)
{
    int ignored;

    pending_unlock_mutex();
    pthread_sigmask(SIG_SETMASK, &g->mask, NULL);
    pthread_setcancelstate(g->cancel, &ignored);
}

pid_t pending_process(void)
{
    return __atomic_load_n(&the_process, __ATOMIC_RELAXED);
}

bool pending_in_vfork_child(void)
{
    return getpid() != pending_process();
}

/* --- entries --------------------------------------------------------------------------------- */

static bool is_busy(uint32_t state)
{
    return state == PENDING_UNDER_WAY || state == PENDING_FAILED;
}

void pending_enter_state(struct entry *e, enum pending_state state)
{
    int by = (int)is_busy(state) - (int)is_busy(e->state);

    __atomic_fetch_add(&the_arena->shared.busy, (uint32_t)by, __ATOMIC_RELAXED);
    __atomic_store_n(&e->state, state, __ATOMIC_RELAXED);
}

uint32_t pending_index(const struct entry *e)
{
    return (uint32_t)(e - the_arena->entry);
}

void pending_set_slot(int fd, const struct entry *e)
{
    struct note *n = e ? note_make(fd) : note_of(fd);

    if (n)
        __atomic_store_n(&n->slot, (uint16_t)(e ? pending_index(e) + 1 : 0), __ATOMIC_RELAXED);
}

bool pending_has_slot(int fd, const struct entry *e)
{
    const struct note *n = note_of(fd);

    return n && n->slot == pending_index(e) + 1;
}

struct entry *pending_entry_of(int fd)
{
    const struct note *n = note_of(fd);
    struct entry *e = n && n->slot ? &the_arena->entry[n->slot - 1] : NULL;

    if (!e)
        return NULL;
    if (e->state != PENDING_NONE && e->state != PENDING_UP && sockets_is(fd, e->cookie))
        return e;
    pending_set_slot(fd, NULL);
    return NULL;
}

void pending_free_entry(struct entry *e)
{
    pending_enter_state(e, PENDING_NONE);
    e->next_free = the_arena->free;
    the_arena->free = pending_index(e) + 1;
}

int pending_fd_of(const struct entry *e)
{
    for (int fd = note_next(0); fd >= 0; fd = note_next(fd + 1))
        if (pending_has_slot(fd, e) && sockets_is(fd, e->cookie))
            return fd;
    return -1;
}

/* Room is made of what is only remembered in case somebody asks: an error that was read; then an
 * unread one of a socket that was closed by a call that no hook sees. */
static struct entry *least_wanted(void)
{
    struct entry *last = NULL;

    for (uint32_t i = 0; i < ENTRIES_MAX; i++) {
        struct entry *e = &the_arena->entry[i];

        if (e->state == PENDING_SPENT || e->state == PENDING_UP)
            return e;
        if (!last && e->state == PENDING_FAILED && e->owner == the_process && pending_fd_of(e) < 0)
            last = e;
    }
    return last;
}

static struct entry *take_entry(void)
{
    struct arena *a = the_arena;
    struct entry *e;

    if (!a->free && a->touched < ENTRIES_MAX)
        return &a->entry[a->touched++];
    e = a->free ? &a->entry[a->free - 1] : least_wanted();
    if (a->free)
        a->free = e->next_free;
    else if (e)
        pending_enter_state(e, PENDING_NONE);
    return e;
}

static void show_to_copies(const struct entry *e, int fd)
{
    uint64_t cookie = e->cookie;

    pending_set_slot(fd, e);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* pending_after_dup() sees the slot, or: */
    if (!note_has(fd, MARK_COPIED))
        return;
    for (int copy = note_next(0); copy >= 0; copy = note_next(copy + 1))
        if (note_has(copy, MARK_COPIED) && sockets_is(copy, cookie))
            pending_set_slot(copy, e);
}

struct entry *pending_new_entry(int fd, const struct sockaddr *addr, socklen_t len)
{
    uint64_t cookie = sockets_cookie(fd);
    struct entry *e = cookie && note_make(fd) ? take_entry() : NULL;

    if (!e)
        return NULL;
    memset(&e->owner, 0, offsetof(struct entry, drive) - offsetof(struct entry, owner));
    __atomic_store_n(&e->cookie, cookie, __ATOMIC_RELAXED);
    e->owner = the_process;
    e->fd = fd;
    e->low_water = 1;
    e->addr_len = len < sizeof e->addr ? len : (socklen_t)sizeof e->addr;
    memcpy(&e->addr, addr, e->addr_len);
    show_to_copies(e, fd);
    return e;
}
