/*
 * Handshakes that the program's own poll() carries on, without the helper.
 *
 * Most programs that connect without blocking call poll() or select() next, for that socket alone,
 * and handing each message to another thread and the outcome back costs more than the handshake.
 * So a new entry without epoll registrations is parked for a while: the helper does not watch its
 * socket, and a poll() that meets it waits for the socket itself and steps the driver, under the
 * lock, as the helper would. Signals come in while it waits, and are held back for the rest of it.
 *
 *     begin --> PARKED --step, step, ...--> settled
 *                  \--PARK_NS are over, or somebody cannot wait--> watched by the helper
 *
 * Nobody owns a parked entry: whoever leaves poll() for whatever reason leaves nothing behind. A
 * timer of the helper's takes up in any case what has been parked for long enough; that is soon,
 * since over links that take longer a change of threads costs nothing.
 */
#include <errno.h>
#include <sys/timerfd.h>

#include "client/pending_entry.h"
#include "client/sys.h"
#include "proto/err.h"

static const int64_t PARK_NS = 4000000;

static struct {
    int fd_1; /* the timer, + 1; 0: none */
    bool armed;
} timer;

static bool arm(int64_t ns)
{
    struct itimerspec t = {.it_value.tv_nsec = (long)ns};

    if (!timer.armed)
        timer.armed = timerfd_settime(timer.fd_1 - 1, 0, &t, NULL) == 0;
    return timer.armed;
}

bool park_open(int epfd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = PARK_EVENT};

    if (!timer.fd_1)
        timer.fd_1 =
            helper_make_ours(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)) + 1;
    return timer.fd_1 && sys.epoll_ctl(epfd, EPOLL_CTL_ADD, timer.fd_1 - 1, &event) == 0;
}

void park_close(void)
{
    if (timer.fd_1)
        helper_close_ours(timer.fd_1 - 1);
    timer.fd_1 = 0;
    timer.armed = false;
}

int park_fd(void)
{
    return timer.fd_1 - 1;
}

void park_moved(int fd)
{
    timer.fd_1 = fd + 1;
}

bool park(struct entry *e)
{
    if (!timer.fd_1 || e->registrations > 0 || !arm(PARK_NS))
        return false;
    e->parked_ns = drive_now_ns();
    __atomic_store_n(&e->parked, true, __ATOMIC_RELAXED);
    return true;
}

void unpark(struct entry *e)
{
    if (!e->parked)
        return;
    __atomic_store_n(&e->parked, false, __ATOMIC_RELAXED);
    if (e->state == PENDING_UNDER_WAY && !helper_watch(e))
        pending_settle(e, -VD_ERR_SPACE);
}

static bool is_parked_here(const struct entry *e)
{
    return e->state == PENDING_UNDER_WAY && e->parked && e->owner == pending_process();
}

/* Takes up what was parked before `until_ns`; whether any is left. */
static bool take_up(int64_t until_ns)
{
    struct arena *a = pending_arena();
    bool left = false;

    for (uint32_t i = 0; i < a->touched; i++) {
        struct entry *e = &a->entry[i];

        if (!is_parked_here(e))
            continue;
        if (e->parked_ns < until_ns)
            unpark(e);
        else
            left = true;
    }
    return left;
}

void park_ring(void)
{
    uint64_t rings;
    bool any;

    timer.armed = sys.read(timer.fd_1 - 1, &rings, sizeof rings) < 0 && errno == EAGAIN;
    any = take_up(drive_now_ns() - PARK_NS);
    if (any && !arm(PARK_NS))
        take_up(INT64_MAX);
}

void pending_unpark_all(void)
{
    struct pending_guard g;

    if (!pending_arena_made() || pending_in_vfork_child())
        return;
    pending_lock(&g);
    take_up(INT64_MAX);
    pending_unlock(&g);
}

/* --- poll()'s side --------------------------------------------------------------------------- */

/* Without the lock: a wrong answer costs a turn. What is known of a copy may be long out of date.
 */
int pending_parked(int fd)
{
    struct arena *a = pending_arena_made();
    uint16_t slot = a ? note_slot(fd) : 0;
    const struct entry *e = slot ? &a->entry[slot - 1] : NULL;

    if (!e || !__atomic_load_n(&e->parked, __ATOMIC_RELAXED) ||
        __atomic_load_n(&e->owner, __ATOMIC_RELAXED) != pending_process() ||
        (note_has(fd, MARK_COPIED) && pending_state(fd) != PENDING_UNDER_WAY))
        return 0;
    return __atomic_load_n(&e->wants, __ATOMIC_RELAXED);
}

/* In a vfork() child the timer ends the parking. */
bool pending_hold(sigset_t *mask)
{
    if (pending_in_vfork_child())
        return false;
    pending_hold_signals(mask);
    return true;
}

void pending_release(const sigset_t *mask)
{
    pthread_sigmask(SIG_SETMASK, mask, NULL);
}

bool pending_step(int fd)
{
    struct entry *e;
    int cancel, ignored, r = DRIVE_READ;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    pending_lock_mutex();
    e = pending_entry_of(fd);
    if (e && is_parked_here(e)) {
        pending_set_torn(e, true);
        r = drive_step(&e->drive, e->fd);
        helper_go_on(e, r);
    }
    pending_unlock_mutex();
    pthread_setcancelstate(cancel, &ignored);
    return r == DRIVE_DONE;
}
