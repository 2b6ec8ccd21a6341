/*
 * Waiting for a handshake to end, in a call of the program that blocks.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "client/assoc.h"
#include "client/pending_entry.h"
#include "client/session.h"
#include "client/sys.h"

enum { LOOK_MS = 100 /* in case the helper's word does not come through */ };

static int left_ms(int64_t deadline_ns, int most)
{
    int64_t left = (deadline_ns - drive_now_ns() + 999999) / 1000000;

    if (deadline_ns == 0)
        return most;
    return left < 0 ? 0 : left < most ? (int)left : most;
}

bool pending_signals_restart(void)
{
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;

        if (sigaction(number, NULL, &action) < 0 || action.sa_handler == SIG_DFL ||
            action.sa_handler == SIG_IGN)
            continue;
        if (!(action.sa_flags & SA_RESTART))
            return false;
    }
    return true;
}

static int wait_with(int waiter, int fd, int64_t deadline_ns)
{
    while (pending_state(fd) == PENDING_UNDER_WAY) {
        struct pollfd p = {.fd = waiter, .events = POLLIN};
        int ms = left_ms(deadline_ns, waiter < 0 ? PENDING_TICK_MS : LOOK_MS);
        int r;

        if (ms == 0)
            return ETIMEDOUT;
        r = sys.poll(&p, waiter < 0 ? 0 : 1, ms);
        if (r < 0 && errno == EINTR && (deadline_ns || !pending_signals_restart()))
            return EINTR;
        if (r > 0)
            pending_waiter_drain(waiter);
    }
    return 0;
}

static void close_waiter(void *waiter)
{
    pending_waiter_close(*(int *)waiter);
}

int pending_wait(int fd, int64_t deadline_ns)
{
    int waiter, r;

    if (pending_state(fd) != PENDING_UNDER_WAY)
        return 0;
    pending_unpark_all();
    waiter = pending_waiter_open();
    pthread_cleanup_push(close_waiter, &waiter);
    r = wait_with(waiter, fd, deadline_ns);
    pthread_cleanup_pop(1);
    return r;
}

/* --- before descriptors go elsewhere -----------------------------------------------------------
 */

static bool is_inherited(int fd)
{
    int flags = sys.fcntl(fd, F_GETFD, NULL);

    return flags >= 0 && !(flags & FD_CLOEXEC);
}

/* Without the lock: a vfork() child, whose memory is the parent's, comes here too. The handshake
 * has a deadline of its own; ours is for one that nobody drives any more. */
static void wait_by_looking(int fd)
{
    struct timespec tick = {.tv_nsec = PENDING_TICK_MS * 1000000};
    int64_t deadline_ns = drive_now_ns() + (session_plan()->timeout_ms + 1000) * 1000000LL;

    while (pending_seems_under_way(fd) && drive_now_ns() < deadline_ns)
        nanosleep(&tick, NULL);
}

void pending_before_exec(void)
{
    int saved = errno;

    for (int fd = note_next(0); pending_any() && fd >= 0; fd = note_next(fd + 1))
        if (pending_seems_under_way(fd) && is_inherited(fd))
            wait_by_looking(fd);
    assoc_before_exec();
    errno = saved;
}

void pending_before_pass(int fd)
{
    int saved = errno;

    wait_by_looking(fd);
    errno = saved;
}
