/*
 * poll(), select() and their relatives, and epoll_ctl().
 *
 * Sockets under way are not ready, whatever the kernel's socket says. They are taken out of the
 * kernel's sight and an eventfd stands in for all of them, which the helper thread signals whenever
 * a handshake ends; then the array is looked at anew. A single one that was begun just now is
 * carried on here, without the helper (client/pending_park.c). Epoll keeps registrations itself and
 * needs no hook in its wait.
 */
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

#include "client/drive.h"
#include "client/pending.h"
#include "preload/hook.h"

enum {
    ON_STACK = 256,
    TICK_NS = 2000000,
    DRIVE_TICK_NS = 5000000 /* a little longer than a socket stays parked */
};
static const int64_t CENTURY_S = 3200000000;

/* --- the loop that all share ----------------------------------------------------------------- */

struct wait {
    struct pollfd *fds; /* the program's */
    nfds_t count;
    struct pollfd *shown; /* what the kernel sees: one more, the waiter */
    int *waiter;          /* -1: none */
    bool asked;           /* for a waiter */
    bool signalled;       /* and it was not drained yet */
    int64_t deadline_ns;  /* -1: none */
    const sigset_t *mask; /* for the time of a wait; NULL: as it is */
    sigset_t *own_mask;   /* the program's, once signals are held back */
    bool *held;
    size_t hidden; /* sockets under way */
    size_t last;   /* where the only one stands */
    int drives;    /* what its driver waits for; 0: the helper drives */
};

static struct timespec to_timespec(int64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000),
                             .tv_nsec = (long)(ns % 1000000000)};
}

static int64_t left_ns(const struct wait *w)
{
    int64_t left = w->deadline_ns - drive_now_ns();

    return left > 0 ? left : 0;
}

/* Where the only socket under way stands, for all that can be told without the kernel; false: there
 * is none, or another one. */
static bool find_only(struct wait *w)
{
    size_t found = 0;

    for (nfds_t i = 0; i < w->count && found < 2; i++) {
        if (!pending_seems_under_way(w->fds[i].fd))
            continue;
        w->last = i;
        found++;
    }
    return found == 1;
}

/* What its driver waits for, if that is ours to drive. */
static int begin_to_drive(struct wait *w)
{
    int drives = find_only(w) ? pending_parked(w->fds[w->last].fd) : 0;

    if (!drives)
        return 0;
    if (!*w->held)
        *w->held = pending_hold(w->own_mask);
    return *w->held ? drives : 0;
}

static void look(struct wait *w)
{
    memcpy(w->shown, w->fds, w->count * sizeof *w->fds);
    w->drives = begin_to_drive(w);
    if (w->drives) {
        w->hidden = 1;
        w->shown[w->last] = (struct pollfd){.fd = w->fds[w->last].fd,
                                            .events = w->drives == DRIVE_READ ? POLLIN : POLLOUT};
        return;
    }
    w->hidden = pending_hide(w->shown, w->count);
    w->shown[w->count] = (struct pollfd){.fd = *w->waiter, .events = POLLIN};
}

/* What happens after the waiter is there, or was drained, signals it: so that comes before the look
 * that counts. */
static void prepare(struct wait *w)
{
    look(w);
    if (w->hidden == 0 || w->drives || (w->asked && !w->signalled))
        return;
    if (w->signalled)
        pending_waiter_drain(*w->waiter);
    if (!w->asked) {
        pending_unpark_all();
        *w->waiter = pending_waiter_open();
    }
    w->asked = true;
    w->signalled = false;
    look(w);
}

static bool has_waiter(const struct wait *w)
{
    return w->hidden > 0 && !w->drives && *w->waiter >= 0;
}

/* Waits for as long as is left; for a tick if nobody would say when to look anew. */
static int wait_once(struct wait *w)
{
    const sigset_t *mask = w->mask || !*w->held ? w->mask : w->own_mask;
    int64_t ns = w->deadline_ns < 0 ? INT64_MAX : left_ns(w);
    int64_t tick_ns = w->drives ? DRIVE_TICK_NS : TICK_NS;
    struct timespec t;

    if (w->hidden > 0 && !has_waiter(w) && ns > tick_ns)
        ns = tick_ns;
    t = to_timespec(ns);
    return sys.ppoll(w->shown, w->count + has_waiter(w), ns == INT64_MAX ? NULL : &t, mask);
}

static void copy_results(const struct wait *w)
{
    for (nfds_t i = 0; i < w->count; i++)
        w->fds[i].revents = w->shown[i].fd < 0 ? 0 : w->shown[i].revents;
}

/* What the kernel says of a socket that has just come up, if only writing is asked for. */
static short answer_up(short events)
{
    return events & ~(POLLOUT | POLLWRNORM | POLLWRBAND) ? 0 : events & (POLLOUT | POLLWRNORM);
}

/* The driver's socket has something for it. Whether the program is to be told of the socket. */
static bool drive_on(struct wait *w)
{
    const struct pollfd *asked = &w->fds[w->last];
    bool up = pending_step(asked->fd);

    w->shown[w->last] =
        (struct pollfd){.fd = asked->fd, .revents = up ? answer_up(asked->events) : 0};
    return w->shown[w->last].revents != 0;
}

/* Takes what is none of the program's out of the results; `r` without it. */
static int take_ours(struct wait *w, int r)
{
    if (r > 0 && has_waiter(w) && w->shown[w->count].revents) {
        w->signalled = true;
        r--;
    }
    if (!w->drives)
        return r;
    if (r > 0 && w->shown[w->last].revents && !drive_on(w))
        r--;
    return r;
}

/* What the program's call gives, or -2: look again. */
static int judge(struct wait *w, int r)
{
    r = take_ours(w, r);
    if (r == 0 && w->hidden > 0 && (w->deadline_ns < 0 || left_ns(w) > 0))
        return -2;
    if (r >= 0)
        copy_results(w);
    return r;
}

static int wait_loop(struct wait *w)
{
    int r = -2;

    while (r == -2) {
        prepare(w);
        r = judge(w, wait_once(w));
    }
    return r;
}

/* What a cancelled thread must give back. */
struct room {
    struct pollfd *mapped;
    size_t size;
    int waiter;
    bool held; /* signals are, and this was the mask: */
    sigset_t mask;
};

static void give_back(void *room)
{
    const struct room *r = room;

    pending_waiter_close(r->waiter);
    if (r->mapped)
        munmap(r->mapped, r->size);
    if (r->held)
        pending_release(&r->mask);
}

static struct pollfd *map(struct room *room, size_t count)
{
    size_t size = count * sizeof(struct pollfd);
    void *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (mapped == MAP_FAILED)
        return NULL;
    room->mapped = mapped;
    room->size = size;
    return mapped;
}

/* A timeout beyond a century is none. */
static int64_t deadline_of(const struct timespec *timeout)
{
    int64_t seconds = timeout ? timeout->tv_sec : INT64_MAX;

    if (seconds > CENTURY_S)
        return -1;
    return drive_now_ns() + seconds * 1000000000 + timeout->tv_nsec;
}

static int wait_and_give_back(struct wait *w, struct room *room)
{
    int r;

    w->waiter = &room->waiter;
    w->held = &room->held;
    w->own_mask = &room->mask;
    pthread_cleanup_push(give_back, room);
    r = wait_loop(w);
    pthread_cleanup_pop(1);
    return r;
}

/* ppoll() while something is pending. */
static int wait_for(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                    const sigset_t *mask)
{
    struct pollfd on_stack[ON_STACK];
    struct wait w = {.fds = fds, .count = count, .shown = on_stack, .mask = mask};
    struct room room = {.waiter = -1};

    w.deadline_ns = deadline_of(timeout);
    if (count >= ON_STACK)
        w.shown = map(&room, count + 1);
    if (!w.shown)
        return hook_fail(ENOMEM);
    return wait_and_give_back(&w, &room);
}

/* --- poll ------------------------------------------------------------------------------------ */

static bool any_under_way(const struct pollfd *fds, nfds_t count)
{
    for (nfds_t i = 0; i < count; i++)
        if (pending_seems_under_way(fds[i].fd))
            return true;
    return false;
}

/* The kernel judges the array before we read it. */
static bool is_readable(struct pollfd *fds, nfds_t count)
{
    return hook_is_near(fds, count * sizeof *fds) || sys.poll(fds, count, 0) >= 0;
}

SLOW bool must_wait_here(struct pollfd *fds, nfds_t count)
{
    int saved = errno;
    bool here = fds && count > 0 && is_readable(fds, count) && any_under_way(fds, count);

    errno = saved;
    return here;
}

static bool timeout_is_valid(const struct timespec *t)
{
    return !t || (t->tv_sec >= 0 && t->tv_nsec >= 0 && t->tv_nsec < 1000000000);
}

HOOK int poll(struct pollfd *fds, nfds_t count, int timeout)
{
    struct timespec t = {.tv_sec = timeout / 1000, .tv_nsec = timeout % 1000 * 1000000L};

    if (!pending_any() || !must_wait_here(fds, count))
        return sys.poll(fds, count, timeout);
    return wait_for(fds, count, timeout < 0 ? NULL : &t, NULL);
}

HOOK int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
               const sigset_t *mask)
{
    if (!pending_any() || !timeout_is_valid(timeout) || !must_wait_here(fds, count))
        return sys.ppoll(fds, count, timeout, mask);
    return wait_for(fds, count, timeout, mask);
}

void __chk_fail(void) __attribute__((noreturn));
int __poll(struct pollfd *fds, nfds_t count, int timeout);
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room);
int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                const sigset_t *mask, size_t room);
int __select(int count, fd_set *r, fd_set *w, fd_set *x, struct timeval *timeout);

HOOK int __poll(struct pollfd *fds, nfds_t count, int timeout)
{
    return poll(fds, count, timeout);
}

HOOK int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room)
{
    if (room / sizeof *fds < count)
        __chk_fail();
    return poll(fds, count, timeout);
}

HOOK int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                     const sigset_t *mask, size_t room)
{
    if (room / sizeof *fds < count)
        __chk_fail();
    return ppoll(fds, count, timeout, mask);
}

/* --- select ---------------------------------------------------------------------------------- */

/* A program may pass sets larger than FD_SETSIZE; bits are looked up by hand. */
enum { WORD_BITS = sizeof(long) * CHAR_BIT };

static bool has_bit(const fd_set *set, int fd)
{
    return set && ((const unsigned long *)set)[fd / WORD_BITS] >> (fd % WORD_BITS) & 1;
}

static void put_bit(fd_set *set, int fd, bool on)
{
    unsigned long bit = 1ul << (fd % WORD_BITS), *word;

    if (!set)
        return;
    word = &((unsigned long *)set)[fd / WORD_BITS];
    *word = on ? *word | bit : *word & ~bit;
}

struct sets {
    int count;
    fd_set *r, *w, *x;
};

static bool any_set_under_way(const struct sets *s)
{
    for (int fd = 0; fd < s->count; fd++)
        if ((has_bit(s->r, fd) || has_bit(s->w, fd) || has_bit(s->x, fd)) &&
            pending_seems_under_way(fd))
            return true;
    return false;
}

static nfds_t sets_to_fds(const struct sets *s, struct pollfd *fds)
{
    nfds_t n = 0;

    for (int fd = 0; fd < s->count; fd++) {
        int events = (has_bit(s->r, fd) ? POLLIN | POLLRDNORM | POLLRDBAND : 0) |
                     (has_bit(s->w, fd) ? POLLOUT | POLLWRNORM | POLLWRBAND : 0) |
                     (has_bit(s->x, fd) ? POLLPRI : 0);

        if (events)
            fds[n++] = (struct pollfd){.fd = fd, .events = (short)events};
    }
    return n;
}

/* As the kernel's select reads poll's answers. The number of bits set, or -1: a bad descriptor. */
static int fds_to_sets(const struct sets *s, const struct pollfd *fds, nfds_t n)
{
    int bits = 0;

    for (nfds_t i = 0; i < n; i++) {
        int got = fds[i].revents, want = fds[i].events, fd = fds[i].fd;
        bool r = want & POLLIN && got & (POLLIN | POLLRDNORM | POLLRDBAND | POLLHUP | POLLERR);
        bool w = want & POLLOUT && got & (POLLOUT | POLLWRNORM | POLLWRBAND | POLLERR);
        bool x = want & POLLPRI && got & POLLPRI;

        if (got & POLLNVAL)
            return -1;
        put_bit(s->r, fd, r);
        put_bit(s->w, fd, w);
        put_bit(s->x, fd, x);
        bits += r + w + x;
    }
    return bits;
}

static int select_with(const struct sets *s, struct pollfd *fds, const struct timespec *timeout,
                       const sigset_t *mask)
{
    nfds_t n = sets_to_fds(s, fds);
    int r = wait_for(fds, n, timeout, mask);

    if (r < 0)
        return r;
    r = fds_to_sets(s, fds, n);
    return r < 0 ? hook_fail(EBADF) : r;
}

static int select_mapped(const struct sets *s, const struct timespec *timeout, const sigset_t *mask)
{
    struct room room = {.waiter = -1};
    int r;

    if (!map(&room, (size_t)s->count))
        return hook_fail(ENOMEM);
    pthread_cleanup_push(give_back, &room);
    r = select_with(s, room.mapped, timeout, mask);
    pthread_cleanup_pop(1);
    return r;
}

static int select_pending(const struct sets *s, const struct timespec *timeout,
                          const sigset_t *mask)
{
    struct pollfd on_stack[ON_STACK];

    if (s->count > ON_STACK)
        return select_mapped(s, timeout, mask);
    return select_with(s, on_stack, timeout, mask);
}

/* Linux leaves the time that was not slept in a select's timeout. */
static void leave_rest(struct timeval *timeout, int64_t until_ns)
{
    int64_t left = until_ns - drive_now_ns();

    if (left < 0)
        left = 0;
    *timeout = (struct timeval){.tv_sec = (time_t)(left / 1000000000),
                                .tv_usec = (suseconds_t)(left % 1000000000 / 1000)};
}

HOOK int select(int count, fd_set *r, fd_set *w, fd_set *x, struct timeval *timeout)
{
    struct sets s = {count, r, w, x};
    struct timespec t = {0};
    int64_t until_ns;
    int result;

    if (!pending_any() || count < 0 || !any_set_under_way(&s) ||
        (timeout && (timeout->tv_sec < 0 || timeout->tv_usec < 0)))
        return sys.select(count, r, w, x, timeout);
    if (timeout)
        t = (struct timespec){.tv_sec = timeout->tv_sec + timeout->tv_usec / 1000000,
                              .tv_nsec = timeout->tv_usec % 1000000 * 1000};
    until_ns = drive_now_ns() + (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    result = select_pending(&s, timeout ? &t : NULL, NULL);
    if (timeout)
        leave_rest(timeout, until_ns);
    return result;
}

HOOK int __select(int count, fd_set *r, fd_set *w, fd_set *x, struct timeval *timeout)
{
    return select(count, r, w, x, timeout);
}

HOOK int pselect(int count, fd_set *r, fd_set *w, fd_set *x, const struct timespec *timeout,
                 const sigset_t *mask)
{
    struct sets s = {count, r, w, x};

    if (!pending_any() || count < 0 || !timeout_is_valid(timeout) || !any_set_under_way(&s))
        return sys.pselect(count, r, w, x, timeout, mask);
    return select_pending(&s, timeout, mask);
}

/* --- epoll ----------------------------------------------------------------------------------- */

HOOK int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    int r = pending_epoll_ctl(epfd, op, fd, event);

    if (r < 0)
        return hook_fail(-r);
    if (r > 0)
        return 0;
    r = sys.epoll_ctl(epfd, op, fd, event);
    if (r == 0)
        pending_epoll_note(epfd, op, fd, event);
    return r;
}
