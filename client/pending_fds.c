/*
 * What becomes of sockets under way when descriptors are closed, duplicated and inherited.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/pending_entry.h"
#include "client/sys.h"

/* Another descriptor of this process for the same socket, -1: none. */
static int another_fd(const struct entry *e, int but)
{
    for (int fd = 0; fd < FDS_MAX; fd++)
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
    other = e->forked ? sys.fcntl(fd, F_DUPFD_CLOEXEC, NULL) : -1;
    if (other >= 0) {
        continue_on(e, other, true);
        return;
    }
    helper_unwatch(e);
    pending_free_entry(e);
}

static bool is_ours(int fd)
{
    int fds[HELPER_FDS_MAX];

    for (size_t i = helper_fds(fds); i > 0; i--)
        if (fds[i - 1] == fd)
            return true;
    return false;
}

static void before_close(int fd)
{
    struct entry *e = pending_entry_of(fd);

    pending_set_slot(fd, NULL);
    if (!e || e->owner != getpid())
        return;
    if (e->state == PENDING_UNDER_WAY && e->fd == fd)
        lose_fd(e, fd);
    else if (e->state != PENDING_UNDER_WAY && another_fd(e, fd) < 0)
        pending_free_entry(e);
}

/* --- hooks ----------------------------------------------------------------------------------- */

bool pending_before_close(int fd)
{
    sigset_t old;
    bool ours;

    watch_forget(fd);
    if (!pending_shared || pending_in_vfork_child())
        return true;
    pending_lock(&old);
    ours = is_ours(fd);
    if (!ours)
        before_close(fd);
    pending_unlock(&old);
    return !ours;
}

bool pending_before_replace(int fd)
{
    sigset_t old;
    bool ok;

    watch_forget(fd);
    if (!pending_shared || pending_in_vfork_child())
        return true;
    pending_lock(&old);
    ok = !is_ours(fd) || helper_move_fd(fd);
    if (ok)
        before_close(fd);
    pending_unlock(&old);
    return ok;
}

static int by_number(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;

    return (x > y) - (x < y);
}

int pending_close_range(unsigned first, unsigned last,
                        int (*close_part)(unsigned first, unsigned last, int flags), int flags)
{
    int fds[HELPER_FDS_MAX], r = 0;
    sigset_t old;
    size_t n;

    if (!pending_shared || pending_in_vfork_child())
        return close_part(first, last, flags);
    pending_lock(&old);
    for (unsigned fd = first; fd <= last && fd < FDS_MAX; fd++) {
        watch_forget((int)fd);
        before_close((int)fd);
    }
    n = helper_fds(fds);
    qsort(fds, n, sizeof *fds, by_number);
    for (size_t i = 0; i < n && r == 0; i++) {
        unsigned ours = (unsigned)fds[i];

        if (ours < first || ours > last)
            continue;
        if (ours > first)
            r = close_part(first, ours - 1, flags);
        first = ours + 1;
    }
    if (r == 0 && first <= last)
        r = close_part(first, last, flags);
    pending_unlock(&old);
    return r;
}

void pending_after_dup(int fd, int copy)
{
    sigset_t old;

    if (!pending_shared || fd == copy || pending_in_vfork_child())
        return;
    pending_lock(&old);
    pending_set_slot(copy, pending_entry_of(fd));
    pending_unlock(&old);
}

/* The next descriptor under way that survives exec, -1: none. */
static int next_inherited(void)
{
    for (int fd = 0; fd < FDS_MAX; fd++)
        if (pending_state(fd) == PENDING_UNDER_WAY && !(sys.fcntl(fd, F_GETFD, NULL) & FD_CLOEXEC))
            return fd;
    return -1;
}

void pending_before_exec(void)
{
    int fd;

    while (pending_any() && (fd = next_inherited()) >= 0)
        if (!pending_wait(fd, 0) && errno != EINTR)
            return;
}
