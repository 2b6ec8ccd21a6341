/*
 * Epoll registrations of sockets under way.
 *
 * While a chain is set up the kernel's socket is connected to the first hop, and would wake the
 * program too early. Masking its events does not help (errors and hang-ups come regardless, and
 * EPOLLEXCLUSIVE forbids it), so registrations are taken out and put back at the end: adding a
 * ready descriptor wakes waiters, edge-triggered ones too.
 *
 * Hints tell which epolls a descriptor may be registered with. They are notes of what passed by and
 * may be stale; taking a registration out is what proves it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/pending_entry.h"
#include "client/sys.h"

struct hint {
    uint64_t data;
    uint32_t events;
    int epfd_1; /* descriptor + 1; 0: none */
};

enum { EXTRA_HINTS = 512 };

static struct hint hints[FDS_MAX]; /* one of each descriptor; the others stand here: */
static struct {
    int fd_1;
    struct hint hint;
} extras[EXTRA_HINTS];
static bool any_extras;

static void put_extra(int fd, const struct hint *hint)
{
    for (size_t i = 0; i < EXTRA_HINTS; i++) {
        if (extras[i].fd_1 && (extras[i].fd_1 != fd + 1 || extras[i].hint.epfd_1 != hint->epfd_1))
            continue;
        extras[i].hint = *hint;
        extras[i].fd_1 = fd + 1;
        any_extras = true;
        return;
    }
}

static void drop_extra(int fd, int epfd_1)
{
    for (size_t i = 0; any_extras && i < EXTRA_HINTS; i++)
        if (extras[i].fd_1 == fd + 1 && (!epfd_1 || extras[i].hint.epfd_1 == epfd_1))
            extras[i].fd_1 = 0;
}

void pending_epoll_note(int epfd, int op, int fd, const struct epoll_event *event)
{
    struct hint hint = {.epfd_1 = epfd + 1};

    if (fd < 0 || fd >= FDS_MAX)
        return;
    if (op == EPOLL_CTL_DEL) {
        if (hints[fd].epfd_1 == epfd + 1)
            hints[fd].epfd_1 = 0;
        drop_extra(fd, epfd + 1);
        return;
    }
    hint.data = event->data.u64;
    hint.events = event->events;
    if (hints[fd].epfd_1 == 0 || hints[fd].epfd_1 == epfd + 1)
        hints[fd] = hint;
    else
        put_extra(fd, &hint);
}

void watch_forget(int fd)
{
    if (fd < 0 || fd >= FDS_MAX)
        return;
    hints[fd].epfd_1 = 0;
    drop_extra(fd, 0);
}

/* --- one-shot registrations ------------------------------------------------------------------ */

/* Reads the line "tfd: FD events: HEX ..." of an epoll's fdinfo; without it `events` stays. */
static uint32_t events_in_kernel(int epfd, int fd, uint32_t events)
{
    char path[64], text[16384], key[32];
    struct vd_out out = vd_out_over(path, sizeof path);
    ssize_t n = -1;
    int info;

    vd_out_text(&out, "/proc/self/fdinfo/");
    vd_out_uint(&out, (uint64_t)epfd);
    info = open(vd_out_string(&out), O_RDONLY | O_CLOEXEC);
    if (info >= 0) {
        n = sys.read(info, text, sizeof text - 1);
        sys.close(info);
    }
    text[n > 0 ? n : 0] = 0;
    out = vd_out_over(key, sizeof key);
    vd_out_text(&out, " ");
    vd_out_uint(&out, (uint64_t)fd);
    vd_out_text(&out, " events:");
    vd_out_string(&out);
    for (char *line = strstr(text, "tfd:"); line; line = strstr(line + 1, "tfd:")) {
        char *at = line + 4;

        while (*at == ' ')
            at++;
        if (!strncmp(at - 1, key, out.len))
            return (uint32_t)strtoul(at - 1 + out.len, NULL, 16);
    }
    return events;
}

/* A one-shot registration that fired is disarmed in the kernel, and must not be armed again. */
static uint32_t events_now(const struct hint *hint, int fd)
{
    if (!(hint->events & EPOLLONESHOT))
        return hint->events;
    return events_in_kernel(hint->epfd_1 - 1, fd, hint->events);
}

/* --- taking and giving ----------------------------------------------------------------------- */

static void take_one(struct entry *e, int fd, const struct hint *hint)
{
    struct registration *r = &e->registration[e->registrations];
    struct epoll_event ignored = {0};

    if (!hint->epfd_1 || e->registrations == REGISTRATIONS_MAX)
        return;
    *r = (struct registration){.data = hint->data,
                               .events = events_now(hint, fd),
                               .epfd = hint->epfd_1 - 1,
                               .pid = getpid()};
    if (sys.epoll_ctl(r->epfd, EPOLL_CTL_DEL, fd, &ignored) == 0)
        e->registrations++;
}

void watch_take(struct entry *e, int fd)
{
    if (fd >= FDS_MAX)
        return;
    take_one(e, fd, &hints[fd]);
    for (size_t i = 0; any_extras && i < EXTRA_HINTS; i++)
        if (extras[i].fd_1 == fd + 1)
            take_one(e, fd, &extras[i].hint);
    watch_forget(fd);
}

static bool is_ours_to_give(const struct registration *r)
{
    return r->pid == getpid() || (kill(r->pid, 0) < 0 && errno == ESRCH);
}

void watch_give(struct entry *e, int fd)
{
    int kept = 0, saved = errno;

    for (int i = 0; i < e->registrations; i++) {
        struct registration *r = &e->registration[i];
        struct epoll_event event = {.events = r->events, .data.u64 = r->data};

        if (!is_ours_to_give(r)) {
            e->registration[kept++] = *r;
            continue;
        }
        sys.epoll_ctl(r->epfd, EPOLL_CTL_ADD, fd, &event);
        pending_epoll_note(r->epfd, EPOLL_CTL_ADD, fd, &event);
    }
    e->registrations = (uint8_t)kept;
    errno = saved;
}

/* --- epoll_ctl() on a socket under way ------------------------------------------------------- */

static struct registration *find(struct entry *e, int epfd)
{
    for (int i = 0; i < e->registrations; i++)
        if (e->registration[i].epfd == epfd && e->registration[i].pid == getpid())
            return &e->registration[i];
    return NULL;
}

/* The kernel judges the epoll: a change of what it does not know is ENOENT if all else is right. */
static int judge_epoll(int epfd, int fd)
{
    struct epoll_event probe = {.events = 0};
    int saved = errno, r;

    r = sys.epoll_ctl(epfd, EPOLL_CTL_MOD, fd, &probe) == 0 || errno == ENOENT ? 0 : -errno;
    errno = saved;
    return r;
}

static int change(struct entry *e, int epfd, int op, const struct epoll_event *event)
{
    struct registration *r = find(e, epfd);

    if (op == EPOLL_CTL_ADD) {
        if (r)
            return -EEXIST;
        if (e->registrations == REGISTRATIONS_MAX)
            return -ENOSPC;
        r = &e->registration[e->registrations++];
    } else if (!r) {
        return -ENOENT;
    }
    if (op == EPOLL_CTL_DEL) {
        *r = e->registration[--e->registrations];
        return 1;
    }
    if (op == EPOLL_CTL_MOD && (r->events | event->events) & EPOLLEXCLUSIVE)
        return -EINVAL;
    *r = (struct registration){event->data.u64, event->events, epfd, getpid()};
    return 1;
}

int pending_epoll_ctl(int epfd, int op, int fd, const struct epoll_event *event)
{
    struct entry *e;
    sigset_t old;
    int r = 0;

    if (op < EPOLL_CTL_ADD || op > EPOLL_CTL_MOD || (op != EPOLL_CTL_DEL && !event) ||
        pending_state(fd) != PENDING_UNDER_WAY)
        return 0;
    pending_lock(&old);
    e = pending_entry_of(fd);
    if (e && e->state == PENDING_UNDER_WAY) {
        r = judge_epoll(epfd, fd);
        if (r == 0)
            r = change(e, epfd, op, event);
        if (r == 1)
            helper_ensure(); /* registrations of this process are given back by this process */
    }
    pending_unlock(&old);
    return r;
}
