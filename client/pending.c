#include "client/pending_entry.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/say.h"
#include "client/sockets.h"
#include "client/sys.h"
#include "proto/err.h"

_Static_assert(offsetof(struct arena, shared) == 0, "pending_shared points to it");

struct pending_shared *pending_shared;

static struct arena *the_arena;
static pid_t the_process;         /* getpid() of whoever made or inherited the memory by fork() */
static uint16_t slots[FDS_MAX];   /* descriptor -> index of its entry + 1 */
static sigset_t held_back;        /* over fork() */

/* --- arena and lock -------------------------------------------------------------------------- */

static void before_fork(void)
{
    pending_lock(&held_back);
}

static void after_fork_in_parent(void)
{
    for (uint32_t i = 0; i < the_arena->touched; i++)
        the_arena->entry[i].forked |= the_arena->entry[i].state != PENDING_NONE;
    pending_unlock(&held_back);
}

/* The lock is the parent's, who gives it up. */
static void after_fork_in_child(void)
{
    the_process = getpid();
    helper_after_fork();
    pthread_sigmask(SIG_SETMASK, &held_back, NULL);
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

/* Two threads may come here at once: one arena wins, the other is given back. */
struct arena *pending_arena(void)
{
    struct arena *a = __atomic_load_n(&the_arena, __ATOMIC_ACQUIRE), *none = NULL;

    if (a)
        return a;
    a = make_arena();
    if (!a)
        return NULL;
    if (!__atomic_compare_exchange_n(&the_arena, &none, a, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE)) {
        munmap(a, sizeof *a);
        return none;
    }
    the_process = getpid();
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    __atomic_store_n(&pending_shared, &a->shared, __ATOMIC_RELEASE);
    return a;
}

void pending_lock(sigset_t *old)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, old);
    if (pthread_mutex_lock(&the_arena->lock) == EOWNERDEAD)
        pthread_mutex_consistent(&the_arena->lock);
}

void pending_unlock(const sigset_t *old)
{
    pthread_mutex_unlock(&the_arena->lock);
    pthread_sigmask(SIG_SETMASK, old, NULL);
}

bool pending_in_vfork_child(void)
{
    return getpid() != the_process;
}

/* --- entries --------------------------------------------------------------------------------- */

static void count_busy(int by)
{
    __atomic_fetch_add(&the_arena->shared.busy, (uint32_t)by, __ATOMIC_RELAXED);
}

static bool is_busy(uint32_t state)
{
    return state == PENDING_UNDER_WAY || state == PENDING_FAILED;
}

static void enter_state(struct entry *e, enum pending_state state)
{
    count_busy((int)is_busy(state) - (int)is_busy(e->state));
    e->state = state;
}

void pending_set_slot(int fd, const struct entry *e)
{
    if (fd >= 0 && fd < FDS_MAX)
        __atomic_store_n(&slots[fd], e ? (uint16_t)(e - the_arena->entry + 1) : 0,
                         __ATOMIC_RELAXED);
}

bool pending_has_slot(int fd, const struct entry *e)
{
    return slots[fd] == e - the_arena->entry + 1;
}

struct entry *pending_entry_of(int fd)
{
    uint16_t slot = fd >= 0 && fd < FDS_MAX ? slots[fd] : 0;
    struct entry *e = slot ? &the_arena->entry[slot - 1] : NULL;

    if (!e)
        return NULL;
    if (e->state != PENDING_NONE && e->cookie == sockets_cookie(fd))
        return e;
    pending_set_slot(fd, NULL);
    return NULL;
}

void pending_free_entry(struct entry *e)
{
    enter_state(e, PENDING_NONE);
    e->next_free = the_arena->free;
    the_arena->free = (uint32_t)(e - the_arena->entry) + 1;
}

/* An entry whose error was read is only remembered while there is room. */
static struct entry *oldest_spent(void)
{
    for (uint32_t i = 0; i < ENTRIES_MAX; i++)
        if (the_arena->entry[i].state == PENDING_SPENT)
            return &the_arena->entry[i];
    return NULL;
}

static struct entry *take_entry(void)
{
    struct arena *a = the_arena;

    if (a->free) {
        struct entry *e = &a->entry[a->free - 1];

        a->free = e->next_free;
        return e;
    }
    return a->touched < ENTRIES_MAX ? &a->entry[a->touched++] : oldest_spent();
}

static struct entry *new_entry(int fd, const struct sockaddr *addr, socklen_t len)
{
    struct entry *e = fd < FDS_MAX ? take_entry() : NULL;

    if (!e)
        return NULL;
    memset(e, 0, offsetof(struct entry, drive));
    e->cookie = sockets_cookie(fd);
    e->owner = the_process;
    e->fd = fd;
    e->low_water = 1;
    e->addr_len = len < sizeof e->addr ? len : (socklen_t)sizeof e->addr;
    memcpy(&e->addr, addr, e->addr_len);
    return e;
}

/* --- the handshake's course ------------------------------------------------------------------ */

static void hold_low_water(struct entry *e)
{
    socklen_t len = sizeof e->low_water;
    int one = 1;

    if (sys.getsockopt(e->fd, SOL_SOCKET, SO_RCVLOWAT, &e->low_water, &len) < 0)
        e->low_water = 1;
    if (e->low_water != 1)
        setsockopt(e->fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof one);
}

static void restore_low_water(const struct entry *e)
{
    if (e->low_water != 1)
        setsockopt(e->fd, SOL_SOCKET, SO_RCVLOWAT, &e->low_water, sizeof e->low_water);
}

/* A failed connect() leaves a socket that is readable, writable and hung up. Dissolving gives the
 * hang-up and an error; shutting down what is not connected fails, but marks both directions. */
static void make_look_failed(int fd)
{
    drive_undo(fd);
    sys.shutdown(fd, SHUT_RDWR);
}

static void show_result(struct entry *e, int result)
{
    if (result < 0) {
        e->error = drive_errno(&e->drive, result);
        make_look_failed(e->fd);
        enter_state(e, PENDING_FAILED);
    } else {
        sockets_put(e->cookie, (struct sockaddr *)&e->addr, e->addr_len);
    }
}

/* A private duplicate has served: what the others hold is a socket like any. */
static void finish(struct entry *e, bool ok)
{
    int fd = e->fd;
    bool private_fd = e->private_fd;

    e->private_fd = false;
    if (ok && e->registrations > 0) {
        e->succeeded = true;
        enter_state(e, PENDING_SPENT);
    } else if (ok) {
        pending_free_entry(e);
    }
    if (private_fd)
        sys.close(fd);
}

void pending_settle(struct entry *e, int result)
{
    helper_unwatch(e);
    restore_low_water(e);
    drive_report(&e->drive, result);
    show_result(e, result);
    watch_give(e, e->fd);
    finish(e, result >= 0);
    helper_wake_waiters();
}

static bool set_going(struct entry *e, int wants)
{
    e->wants = wants;
    e->beat_ns = drive_now_ns();
    if (!helper_watch(e))
        return false;
    pending_set_slot(e->fd, e);
    enter_state(e, PENDING_UNDER_WAY);
    return true;
}

static int fail_at_once(struct entry *e, int result)
{
    int number = drive_errno(&e->drive, result);

    drive_report(&e->drive, result);
    restore_low_water(e);
    if (number != EISCONN && number != EALREADY)
        drive_undo(e->fd);
    watch_give(e, e->fd);
    pending_free_entry(e);
    return number;
}

static int begin(struct entry *e, const struct target *t)
{
    int r = drive_begin(&e->drive, t, e->addr.sin6_family, 0);

    if (r == VD_OK) {
        hold_low_water(e);
        watch_take(e, e->fd);
        r = drive_dial(&e->drive, e->fd);
    }
    if (r > 0 && set_going(e, r))
        return 0;
    return fail_at_once(e, r > 0 ? -VD_ERR_SPACE : r);
}

int pending_begin(int fd, const struct sockaddr *addr, socklen_t len, const struct target *t)
{
    struct entry *e;
    sigset_t old;
    int r = -1;

    if (!pending_arena())
        return -1;
    pending_lock(&old);
    e = pending_in_vfork_child() || !helper_ensure() ? NULL : new_entry(fd, addr, len);
    if (e)
        r = begin(e, t);
    pending_unlock(&old);
    return r;
}

bool pending_adopt(int fd, const struct sockaddr *addr, socklen_t len, const struct drive *d,
                   int wants, int low_water)
{
    struct entry *e;
    sigset_t old;
    bool ok = false;

    if (!pending_arena())
        return false;
    pending_lock(&old);
    e = pending_in_vfork_child() || !helper_ensure() ? NULL : new_entry(fd, addr, len);
    if (e) {
        e->drive = *d;
        e->low_water = low_water;
        watch_take(e, fd);
        ok = set_going(e, wants);
    }
    if (e && !ok)
        pending_free_entry(e);
    pending_unlock(&old);
    return ok;
}

/* --- what the program asks ------------------------------------------------------------------- */

static bool may_have_entry(int fd)
{
    return the_arena && fd >= 0 && fd < FDS_MAX && __atomic_load_n(&slots[fd], __ATOMIC_RELAXED);
}

enum pending_state pending_state(int fd)
{
    enum pending_state state = PENDING_NONE;
    const struct entry *e;
    sigset_t old;

    if (!may_have_entry(fd) || pending_in_vfork_child())
        return PENDING_NONE;
    pending_lock(&old);
    e = pending_entry_of(fd);
    if (e)
        state = (enum pending_state)e->state;
    pending_unlock(&old);
    return state;
}

size_t pending_hide(struct pollfd *fds, size_t count)
{
    size_t hidden = 0;
    sigset_t old;

    if (!the_arena || pending_in_vfork_child())
        return 0;
    pending_lock(&old);
    for (size_t i = 0; i < count; i++) {
        const struct entry *e = pending_entry_of(fds[i].fd);

        if (!e || e->state != PENDING_UNDER_WAY)
            continue;
        fds[i].fd = -1;
        hidden++;
    }
    pending_unlock(&old);
    return hidden;
}

static int left_ms(int64_t deadline_ns, int most)
{
    int64_t left = (deadline_ns - drive_now_ns() + 999999) / 1000000;

    if (deadline_ns == 0)
        return most;
    return left < 0 ? 0 : left < most ? (int)left : most;
}

static bool wait_until_settled(int fd, int64_t deadline_ns, int waiter)
{
    struct pollfd p = {.fd = waiter, .events = POLLIN};

    while (pending_state(fd) == PENDING_UNDER_WAY) {
        int ms = left_ms(deadline_ns, waiter < 0 ? PENDING_TICK_MS : 100);

        if (ms == 0 || (sys.poll(&p, waiter < 0 ? 0 : 1, ms) < 0 && errno == EINTR))
            return false;
    }
    return true;
}

static void close_waiter(void *waiter)
{
    pending_waiter_close((int)(intptr_t)waiter);
}

bool pending_wait(int fd, int64_t deadline_ns)
{
    int waiter = pending_waiter_open();
    volatile bool settled = false;

    pthread_cleanup_push(close_waiter, (void *)(intptr_t)waiter);
    settled = wait_until_settled(fd, deadline_ns, waiter);
    pthread_cleanup_pop(1);
    return settled;
}

static void clear_kernel_error(int fd)
{
    socklen_t len = sizeof(int);
    int ignored;

    sys.getsockopt(fd, SOL_SOCKET, SO_ERROR, &ignored, &len);
}

int pending_take_error(int fd)
{
    struct entry *e;
    sigset_t old;
    int error = 0;

    if (!may_have_entry(fd) || pending_in_vfork_child())
        return 0;
    pending_lock(&old);
    e = pending_entry_of(fd);
    if (e && e->state == PENDING_FAILED) {
        error = e->error;
        clear_kernel_error(fd);
        enter_state(e, PENDING_SPENT);
    }
    pending_unlock(&old);
    return error;
}

int pending_take_for_connect(int fd)
{
    struct entry *e;
    sigset_t old;
    int error = 0;

    if (!may_have_entry(fd) || pending_in_vfork_child())
        return 0;
    pending_lock(&old);
    e = pending_entry_of(fd);
    if (e && e->state != PENDING_UNDER_WAY && !e->succeeded) {
        error = e->state == PENDING_FAILED ? e->error : ECONNABORTED;
        clear_kernel_error(fd);
        drive_undo(fd);
        pending_free_entry(e);
    }
    pending_unlock(&old);
    return error;
}

void pending_cancel(int fd, int error)
{
    struct entry *e;
    sigset_t old;

    if (!may_have_entry(fd) || pending_in_vfork_child())
        return;
    pending_lock(&old);
    e = pending_entry_of(fd);
    if (e && e->state == PENDING_UNDER_WAY) {
        helper_unwatch(e);
        restore_low_water(e);
        drive_undo(fd);
        e->error = error;
        enter_state(e, PENDING_FAILED);
        watch_give(e, fd);
        helper_wake_waiters();
    }
    if (e && error == 0) {
        clear_kernel_error(fd);
        pending_free_entry(e);
    }
    pending_unlock(&old);
}
