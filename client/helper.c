/*
 * The helper thread: drives the handshakes of sockets under way, one epoll for all of them; but for
 * those, at first, that a poll() of the program carries on (client/pending_park.c). Also those of
 * control connections, and what is held for associations (client/assoc_entry.h).
 *
 * It starts with the first of them and ends when there has been nothing to do for IDLE_MS. All
 * signals are blocked in it. It works under the lock in short turns that never wait.
 *
 * Each process has a helper of its own, if it has anything to do. After fork() the parent's goes on
 * driving; a child's looks every PENDING_TICK_MS for registrations that only the child can give
 * back, and takes an entry over when its owner has not looked after it for STALE_NS.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "client/assoc_entry.h"
#include "client/pending_entry.h"
#include "client/sockets.h"
#include "client/sys.h"
#include "proto/err.h"

enum {
    TURN = 16,
    IDLE_MS = 200,
    LOOK_MS = 20,
    REST_MS = 100,
    WAITERS = 64,
    STRAYS = 100,
    STACK = 128 * 1024
};
static const int64_t STALE_NS = 500000000, MS = 1000000;

static struct {
    bool runs;
    int epfd_1; /* descriptor + 1; 0: none */
    int64_t looked_ns, next_ns;
    unsigned concerns; /* what this process drives, or has registrations of */
    unsigned strays;   /* events of sockets that we do not know, since the last known one */
    uint32_t endings;  /* of the arena, as far as this process's waiters were told */
    bool others;       /* some of them are driven by another process */
} helper;

static struct {
    int fd_1;
    bool used;
    bool signalled; /* and perhaps not read */
} waiters[WAITERS];

/* A descriptor of ours: out of the program's way, and marked. */
int helper_make_ours(int fd)
{
    int high = fd < 0 ? -1 : sys.fcntl(fd, F_DUPFD_CLOEXEC, (void *)(intptr_t)PENDING_HIGH_FD);

    if (high >= 0) {
        sys.close(fd);
        fd = high;
    }
    if (fd >= 0)
        note_mark(fd, MARK_OURS);
    return fd;
}

void helper_close_ours(int fd)
{
    note_unmark(fd, MARK_OURS);
    sys.close(fd);
}

/* --- watching -------------------------------------------------------------------------------- */

/* Both directions at once, by edge: what the driver waits for changes with every message. */
bool helper_watch_fd(int fd, uint32_t number)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u32 = number};
    int epfd = helper.epfd_1 - 1;

    return sys.epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event) == 0 ||
           (errno == EEXIST && sys.epoll_ctl(epfd, EPOLL_CTL_MOD, fd, &event) == 0);
}

void helper_unwatch_fd(int fd)
{
    struct epoll_event ignored = {0};

    sys.epoll_ctl(helper.epfd_1 - 1, EPOLL_CTL_DEL, fd, &ignored);
}

bool helper_watch(struct entry *e)
{
    return helper_watch_fd(e->fd, pending_index(e));
}

void helper_unwatch(const struct entry *e)
{
    if (e->owner == pending_process() && !e->parked)
        helper_unwatch_fd(e->fd);
}

void helper_go_on(struct entry *e, int r)
{
    if (r <= 0) {
        pending_settle(e, r);
        return;
    }
    __atomic_store_n(&e->wants, r, __ATOMIC_RELAXED);
    pending_set_torn(e, false);
}

static bool is_mine(const struct entry *e)
{
    return e->state == PENDING_UNDER_WAY && e->owner == pending_process();
}

/* A descriptor that was closed behind our back is another socket by now, or none. */
static bool still_holds(struct entry *e)
{
    if (sockets_is(e->fd, e->cookie))
        return true;
    pending_free_entry(e);
    return false;
}

/* By edge: what came before the driver said its word is not told of again, and a hop that talks out
 * of turn would be waited for in vain. */
int helper_step(struct drive *d, int fd, uint32_t events)
{
    bool came_with_dial = d->dialling && events & EPOLLIN;
    int r = drive_step(d, fd);

    while (r == DRIVE_READ && (d->received || came_with_dial)) {
        came_with_dial = false;
        r = drive_step(d, fd);
    }
    return r;
}

static void step(const struct epoll_event *event)
{
    struct entry *e = &pending_arena()->entry[event->data.u32 % ENTRIES_MAX];

    if (event->data.u32 == PARK_EVENT) {
        park_ring();
        return;
    }
    if (event->data.u32 >= ASSOC_EVENT) {
        assoc_event(event->data.u32 - ASSOC_EVENT, event->events);
        return;
    }
    helper.strays++;
    if (!is_mine(e) || !still_holds(e))
        return;
    helper.strays = 0;
    pending_set_torn(e, true);
    helper_go_on(e, helper_step(&e->drive, e->fd, event->events));
}

static void watch_all(void)
{
    struct arena *a = pending_arena();

    for (uint32_t i = 0; i < a->touched; i++)
        if (is_mine(&a->entry[i]) && !a->entry[i].parked && still_holds(&a->entry[i]))
            helper_watch(&a->entry[i]);
    assoc_watch_all();
}

/* A socket that was closed behind our back but lives on in another process stays in the epoll, with
 * no number to take it out by: so the epoll is made anew. */
static void drop_strays(void)
{
    int epfd;

    if (helper.strays < STRAYS)
        return;
    helper.strays = 0;
    epfd = helper_make_ours(epoll_create1(EPOLL_CLOEXEC));
    if (epfd < 0)
        return;
    helper_close_ours(helper.epfd_1 - 1);
    helper.epfd_1 = epfd + 1;
    park_open(epfd);
    watch_all();
}

/* --- looking after all ----------------------------------------------------------------------- */

static void take_over(struct entry *e, int64_t now)
{
    int fd = pending_fd_of(e);
    pid_t before = e->owner;

    if (fd < 0)
        return;
    e->owner = pending_process();
    e->beat_ns = now; /* or the next child takes it at once */
    e->fd = fd;
    e->parked = false;
    e->private_fd = false;
    watch_inherit(e, before);
    if (e->state != PENDING_UNDER_WAY) {
        pending_set_torn(e, false);
        helper_wake_waiters();
    } else if (!helper_watch(e)) {
        pending_settle(e, -VD_ERR_SPACE);
    } else if (e->torn) {
        helper_go_on(e, pending_drive_anew(e));
    }
}

static void look_after_mine(struct entry *e, int64_t now)
{
    int64_t deadline = drive_deadline_ns(&e->drive);

    helper.concerns++;
    e->beat_ns = now;
    if (deadline > now) {
        if (deadline < helper.next_ns)
            helper.next_ns = deadline;
    } else if (still_holds(e)) {
        pending_set_torn(e, true);
        helper_go_on(e, drive_expire(&e->drive, e->fd));
    }
}

static bool has_own_registrations(const struct entry *e)
{
    for (int i = 0; i < e->registrations; i++)
        if (e->registration[i].pid == pending_process())
            return true;
    return false;
}

static bool is_orphan(const struct entry *e, int64_t now)
{
    return e->torn || now - e->beat_ns > STALE_NS || (kill(e->owner, 0) < 0 && errno == ESRCH);
}

/* What should have ended long ago has no process that drives it, or could. */
static bool may_be_left_to_us(const struct entry *e, int64_t now)
{
    return has_own_registrations(e) ||
           (e->forked && (now < e->drive.deadline_ns + STALE_NS || pending_fd_of(e) >= 0));
}

static void look_after_its_end(struct entry *e, int64_t now)
{
    if (e->torn)
        take_over(e, now);
    if (!has_own_registrations(e))
        return;
    watch_give(e);
    if (e->registrations == 0 && e->state == PENDING_UP)
        pending_free_entry(e);
}

/* Another process drives it, or did. */
static void look_after_other(struct entry *e, int64_t now)
{
    if (e->state != PENDING_UNDER_WAY) {
        look_after_its_end(e, now);
    } else if (may_be_left_to_us(e, now)) {
        helper.concerns++;
        helper.others = true;
        if (is_orphan(e, now))
            take_over(e, now);
    }
}

static void look_after_all(int64_t now)
{
    struct arena *a = pending_arena();

    helper.looked_ns = now;
    helper.next_ns = now + REST_MS * MS;
    helper.concerns = 0;
    helper.others = false;
    for (uint32_t i = 0; i < a->touched; i++) {
        struct entry *e = &a->entry[i];

        if (is_mine(e))
            look_after_mine(e, now);
        else if (e->state != PENDING_NONE)
            look_after_other(e, now);
    }
    helper.concerns += assoc_look(now, &helper.next_ns);
    if (helper.endings != a->endings) /* in another process, too */
        helper_wake_waiters();
    helper.endings = a->endings;
}

/* --- the thread ------------------------------------------------------------------------------ */

static int rest_ms(int64_t now)
{
    if (helper.concerns == 0)
        return IDLE_MS;
    if (helper.others)
        return PENDING_TICK_MS;
    return helper.next_ns > now ? (int)((helper.next_ns - now) / MS) + 1 : 0;
}

static void close_all(void)
{
    if (helper.epfd_1)
        helper_close_ours(helper.epfd_1 - 1);
    helper.epfd_1 = 0;
    park_close();
    for (int i = 0; i < WAITERS; i++) {
        if (waiters[i].fd_1 && !waiters[i].used) {
            helper_close_ours(waiters[i].fd_1 - 1);
            waiters[i].fd_1 = 0;
        }
    }
}

/* One turn; how long to rest after it, -1: nothing is left to do. */
static int turn(const struct epoll_event *events, int count, bool rested)
{
    int64_t now;

    for (int i = 0; i < count; i++)
        step(&events[i]);
    drop_strays();
    now = drive_now_ns();
    if (now - helper.looked_ns >= LOOK_MS * MS || count == 0 || helper.next_ns <= now)
        look_after_all(now);
    if (helper.concerns > 0 || !rested)
        return rest_ms(now);
    close_all();
    helper.runs = false;
    return -1;
}

static void *run(void *first)
{
    struct epoll_event events[TURN];
    int rest = 0, epfd = (int)(intptr_t)first;

    while (rest >= 0) {
        int n = epoll_wait(epfd, events, TURN, rest);

        pending_lock_mutex(); /* no signal comes here */
        rest = turn(events, n > 0 ? n : 0, n == 0 && rest == IDLE_MS);
        epfd = helper.epfd_1 - 1;
        pending_unlock_mutex();
    }
    return NULL;
}

static bool start_thread(void)
{
    pthread_attr_t attr;
    pthread_t thread;
    int r;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK);
    /* Signals are held back: so they are in it. */
    r = pthread_create(&thread, &attr, run, (void *)(intptr_t)(helper.epfd_1 - 1));
    if (r == 0)
        pthread_setname_np(thread, "viaduct");
    pthread_attr_destroy(&attr);
    return r == 0;
}

bool helper_ensure(void)
{
    int epfd;

    if (helper.runs)
        return true;
    epfd = helper_make_ours(epoll_create1(EPOLL_CLOEXEC));
    if (epfd < 0)
        return false;
    helper.epfd_1 = epfd + 1;
    helper.looked_ns = 0;
    helper.endings = pending_arena()->endings;
    park_open(epfd);
    helper.runs = start_thread();
    if (!helper.runs)
        close_all();
    return helper.runs;
}

/* --- waiters --------------------------------------------------------------------------------- */

static int open_waiter(void)
{
    for (int i = 0; i < WAITERS; i++) {
        if (waiters[i].used)
            continue;
        if (!waiters[i].fd_1)
            waiters[i].fd_1 = helper_make_ours(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) + 1;
        if (!waiters[i].fd_1)
            return -1;
        if (waiters[i].signalled)
            pending_waiter_drain(waiters[i].fd_1 - 1);
        waiters[i].signalled = false;
        waiters[i].used = true;
        return waiters[i].fd_1 - 1;
    }
    return -1;
}

int pending_waiter_open(void)
{
    struct pending_guard g;
    int fd;

    pending_lock(&g);
    fd = helper.runs ? open_waiter() : -1; /* or nobody would signal it */
    pending_unlock(&g);
    return fd;
}

void pending_waiter_drain(int waiter)
{
    eventfd_t ignored;

    if (sys.read(waiter, &ignored, sizeof ignored) < 0)
        ignored = 0; /* somebody was quicker */
}

void pending_waiter_close(int waiter)
{
    struct pending_guard g;

    if (waiter < 0)
        return;
    pending_lock(&g);
    for (int i = 0; i < WAITERS; i++) {
        if (waiters[i].fd_1 != waiter + 1)
            continue;
        waiters[i].used = false;
        if (!helper.runs) { /* nobody else would close it */
            helper_close_ours(waiter);
            waiters[i].fd_1 = 0;
        }
    }
    pending_unlock(&g);
}

void helper_wake_waiters(void)
{
    eventfd_t one = 1;

    for (int i = 0; i < WAITERS; i++) {
        if (!waiters[i].used)
            continue;
        waiters[i].signalled = true;
        if (sys.write(waiters[i].fd_1 - 1, &one, sizeof one) < 0)
            waiters[i].used = false; /* it is gone; its owner looks for itself */
    }
}

/* --- descriptors of ours --------------------------------------------------------------------- */

bool helper_move_fd(int fd)
{
    int moved = sys.fcntl(fd, F_DUPFD_CLOEXEC, (void *)(intptr_t)PENDING_HIGH_FD);

    if (moved < 0)
        return false;
    note_unmark(fd, MARK_OURS);
    note_mark(moved, MARK_OURS);
    assoc_move_fd(fd, moved);
    if (helper.epfd_1 == fd + 1)
        helper.epfd_1 = moved + 1;
    if (park_fd() == fd)
        park_moved(moved);
    for (int i = 0; i < WAITERS; i++)
        if (waiters[i].fd_1 == fd + 1)
            waiters[i].fd_1 = moved + 1;
    return true;
}

/* A child of a process whose sockets are under way may have to take them over. */
static bool any_forked(void)
{
    const struct arena *a = pending_arena();

    for (uint32_t i = 0; i < a->touched; i++)
        if (a->entry[i].state == PENDING_UNDER_WAY)
            return true;
    return false;
}

void helper_after_fork(void)
{
    for (int i = 0; i < WAITERS; i++)
        waiters[i].used = false;
    close_all();
    helper.runs = false;
    assoc_after_fork();
    if (any_forked())
        helper_ensure();
}
