/*
 * Epoll registrations of sockets under way.
 *
 * While a chain is set up the kernel's socket is connected to the first hop, and would wake the
 * program too early. Masking its events does not help (errors and hang-ups come regardless, and
 * EPOLLEXCLUSIVE forbids it), so registrations are taken out and put back at the end: adding a
 * ready descriptor wakes waiters, edge-triggered ones too.
 *
 * Hints tell which epolls a descriptor may be registered with: one in its note, the others in a
 * small table. They tell what passed by and may be stale; taking a registration out is what proves
 * it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/pending_entry.h"
#include "client/sockets.h"
#include "client/sys.h"

struct hint {
    uint64_t data;
    uint32_t events;
    int epfd_1; /* descriptor + 1; 0: none */
};

enum { EXTRA_HINTS = 512 };

/* Changed under the lock. */
static struct {
    int fd_1;
    struct hint hint;
} extras[EXTRA_HINTS];
bool watch_has_extras;

static struct hint hint_in(const struct note *n)
{
    return (struct hint){.epfd_1 = __atomic_load_n(&n->epfd_1, __ATOMIC_ACQUIRE),
                         .events = __atomic_load_n(&n->events, __ATOMIC_RELAXED),
                         .data = __atomic_load_n(&n->data, __ATOMIC_RELAXED)};
}

static void put_hint(struct note *n, const struct hint *hint)
{
    __atomic_store_n(&n->data, hint->data, __ATOMIC_RELAXED);
    __atomic_store_n(&n->events, hint->events, __ATOMIC_RELAXED);
    __atomic_store_n(&n->epfd_1, hint->epfd_1, __ATOMIC_RELEASE);
}

static void put_extra(int fd, const struct hint *hint)
{
    for (size_t i = 0; i < EXTRA_HINTS; i++) {
        if (extras[i].fd_1 && (extras[i].fd_1 != fd + 1 || extras[i].hint.epfd_1 != hint->epfd_1))
            continue;
        extras[i].hint = *hint;
        extras[i].fd_1 = fd + 1;
        __atomic_store_n(&watch_has_extras, true, __ATOMIC_RELAXED);
        return;
    }
}

static void drop_extra(int fd, int epfd_1)
{
    for (size_t i = 0; i < EXTRA_HINTS; i++)
        if (extras[i].fd_1 == fd + 1 && (!epfd_1 || extras[i].hint.epfd_1 == epfd_1))
            extras[i].fd_1 = 0;
}

/* Lock held or not, as the caller says. */
static void change_extra(int fd, const struct hint *put, int drop_epfd_1, bool locked)
{
    struct pending_guard g;

    if ((!put && !__atomic_load_n(&watch_has_extras, __ATOMIC_RELAXED)) || !pending_arena())
        return;
    if (!locked)
        pending_lock(&g);
    if (put)
        put_extra(fd, put);
    else
        drop_extra(fd, drop_epfd_1);
    if (!locked)
        pending_unlock(&g);
}

static void take_note(int epfd, int op, int fd, const struct epoll_event *event, bool locked)
{
    struct note *n = op == EPOLL_CTL_DEL ? note_of(fd) : note_make(fd);
    struct hint hint = {.epfd_1 = epfd + 1};
    int known = n ? hint_in(n).epfd_1 : 0;

    if (op == EPOLL_CTL_DEL) {
        if (known == epfd + 1)
            __atomic_store_n(&n->epfd_1, 0, __ATOMIC_RELEASE);
        else
            change_extra(fd, NULL, epfd + 1, locked);
        return;
    }
    hint.data = event->data.u64;
    hint.events = event->events;
    if (n && (known == 0 || known == epfd + 1))
        put_hint(n, &hint);
    else if (n)
        change_extra(fd, &hint, 0, locked);
}

/* Many programs ask anew for what they have. */
static bool is_noted(int epfd, int fd, const struct epoll_event *event)
{
    const struct note *n = note_of(fd);

    return n && __atomic_load_n(&n->epfd_1, __ATOMIC_ACQUIRE) == epfd + 1 &&
           __atomic_load_n(&n->events, __ATOMIC_RELAXED) == event->events &&
           __atomic_load_n(&n->data, __ATOMIC_RELAXED) == event->data.u64;
}

void pending_epoll_note(int epfd, int op, int fd, const struct epoll_event *event)
{
    if (op == EPOLL_CTL_DEL || !is_noted(epfd, fd, event))
        take_note(epfd, op, fd, event, false);
}

void watch_forget(int fd, bool locked)
{
    struct note *n = note_of(fd);

    if (n && __atomic_load_n(&n->epfd_1, __ATOMIC_RELAXED))
        __atomic_store_n(&n->epfd_1, 0, __ATOMIC_RELEASE);
    change_extra(fd, NULL, 0, locked);
}

/* --- one-shot registrations ------------------------------------------------------------------ */

/* A descriptor's file of /proc/self/fdinfo, line by line. */
struct lines {
    int file;
    size_t len, at;
    char text[1024];
};

static bool open_info(struct lines *l, int fd)
{
    char path[64];
    struct vd_out out = vd_out_over(path, sizeof path);

    vd_out_text(&out, "/proc/self/fdinfo/");
    vd_out_uint(&out, (uint64_t)fd);
    l->len = l->at = 0;
    l->file = open(vd_out_string(&out), O_RDONLY | O_CLOEXEC);
    return l->file >= 0;
}

/* The next line, NULL: no more. */
static char *next_line(struct lines *l)
{
    char *line = l->text + l->at, *end = memchr(line, '\n', l->len - l->at);

    if (!end) {
        ssize_t n;

        memmove(l->text, line, l->len - l->at);
        l->len -= l->at;
        l->at = 0;
        n = sys.read(l->file, l->text + l->len, sizeof l->text - 1 - l->len);
        l->len += n > 0 ? (size_t)n : 0;
        line = l->text;
        end = memchr(line, '\n', l->len);
    }
    if (!end)
        return NULL;
    *end = 0;
    l->at = (size_t)(end + 1 - l->text);
    return line;
}

/* The events of "tfd: FD events: HEX ..." in an epoll's fdinfo; without that line `events`. */
static uint32_t events_in_kernel(int epfd, int fd, uint32_t events)
{
    struct lines l;
    char *line;

    if (!open_info(&l, epfd))
        return events;
    while ((line = next_line(&l))) {
        char *rest;

        if (strncmp(line, "tfd:", 4) != 0 || strtol(line + 4, &rest, 10) != fd)
            continue;
        rest = strstr(rest, "events:");
        if (rest)
            events = (uint32_t)strtoul(rest + 7, NULL, 16);
        break;
    }
    sys.close(l.file);
    return events;
}

/* A one-shot registration that fired is disarmed in the kernel, and must not be armed again. */
static uint32_t events_now(const struct hint *hint, int fd)
{
    if (!(hint->events & EPOLLONESHOT))
        return hint->events;
    return events_in_kernel(hint->epfd_1 - 1, fd, hint->events);
}

static bool is_disarmed(const struct registration *r)
{
    return r->events & EPOLLONESHOT && !(r->events & ~(EPOLLONESHOT | EPOLLET | EPOLLWAKEUP));
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
                               .fd = fd,
                               .pid = getpid()};
    if (sys.epoll_ctl(r->epfd, EPOLL_CTL_DEL, fd, &ignored) < 0)
        return;
    note_mark(r->epfd, MARK_WATCHES);
    e->registrations++;
}

static void take_of(struct entry *e, int fd)
{
    const struct note *n = note_of(fd);
    struct hint hint;

    if (n) {
        hint = hint_in(n);
        take_one(e, fd, &hint);
    }
    for (size_t i = 0; watch_has_extras && i < EXTRA_HINTS; i++)
        if (extras[i].fd_1 == fd + 1)
            take_one(e, fd, &extras[i].hint);
    watch_forget(fd, true);
}

void watch_take(struct entry *e, int fd)
{
    int saved = errno;

    take_of(e, fd);
    if (note_has(fd, MARK_COPIED))
        for (int copy = note_next(0); copy >= 0; copy = note_next(copy + 1))
            if (copy != fd && pending_has_slot(copy, e))
                take_of(e, copy);
    errno = saved;
}

static bool is_gone(pid_t process)
{
    return kill(process, 0) < 0 && errno == ESRCH;
}

/* Of a process that is gone what was there before the fork may be ours as well. */
static bool is_ours_to_give(const struct registration *r)
{
    return r->pid == getpid() || (r->forked && is_gone(r->pid));
}

/* To the kernel. The descriptor it was made by may be closed: another one serves. */
/* false: the kernel has no room for it just now. */
static bool give_one(const struct entry *e, const struct registration *r)
{
    struct epoll_event event = {.events = r->events, .data.u64 = r->data};
    int fd = sockets_is(r->fd, e->cookie) ? r->fd : pending_fd_of(e);

    if (fd < 0 && e->owner == getpid())
        fd = e->fd; /* a duplicate of ours */
    if (sys.epoll_ctl(r->epfd, EPOLL_CTL_ADD, fd, &event) < 0 &&
        (errno == ENOMEM || errno == ENOSPC))
        return false;
    take_note(r->epfd, EPOLL_CTL_ADD, fd, &event, true);
    return true;
}

/* Whoever ends in the middle of it leaves one twice, not one less. */
static void drop_registration(struct entry *e, struct registration *r)
{
    struct registration *end = &e->registration[e->registrations];

    memmove(r, r + 1, (size_t)(end - r - 1) * sizeof *r);
    __atomic_store_n(&e->registrations, e->registrations - 1, __ATOMIC_RELEASE);
}

/* A disarmed one would tell of a failure all the same: the program gets it when it arms it. The
 * last one first, for that is the order in which the kernel tells of them. One that there was no
 * room for is tried again when the helper looks after all. */
void watch_give(struct entry *e)
{
    int saved = errno;

    for (int i = e->registrations - 1; i >= 0; i--) {
        struct registration *r = &e->registration[i];

        if (!is_ours_to_give(r) || (e->state == PENDING_FAILED && is_disarmed(r)))
            continue;
        if (give_one(e, r))
            drop_registration(e, r);
    }
    errno = saved;
}

/* The others go with their process, which may just be slow. */
void watch_inherit(struct entry *e, pid_t before)
{
    for (int i = e->registrations - 1; i >= 0; i--) {
        struct registration *r = &e->registration[i];

        if (r->pid == before && r->forked)
            r->pid = getpid();
        else if (r->pid == before && is_gone(before))
            drop_registration(e, r);
    }
}

static void drop_those_of(struct entry *e, int epfd)
{
    for (int i = e->registrations - 1; i >= 0; i--)
        if (e->registration[i].epfd == epfd && e->registration[i].pid == getpid())
            drop_registration(e, &e->registration[i]);
}

void watch_epoll_gone(int epfd)
{
    struct arena *a = pending_arena();

    for (uint32_t i = 0; i < a->touched; i++)
        if (a->entry[i].state != PENDING_NONE)
            drop_those_of(&a->entry[i], epfd);
}

/* --- epoll_ctl() on a socket under way ------------------------------------------------------- */

static struct registration *find(struct entry *e, int epfd, int fd)
{
    for (int i = 0; i < e->registrations; i++) {
        struct registration *r = &e->registration[i];

        if (r->epfd == epfd && r->fd == fd && r->pid == getpid())
            return r;
    }
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

static int judge_exclusive(int op, uint32_t events)
{
    const uint32_t allowed =
        EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE;

    if (op == EPOLL_CTL_DEL || !(events & EPOLLEXCLUSIVE))
        return 0;
    return op == EPOLL_CTL_MOD || events & ~allowed ? -EINVAL : 0;
}

static int add(struct entry *e, int epfd, int fd, const struct epoll_event *event)
{
    if (e->registrations == REGISTRATIONS_MAX)
        return -ENOSPC;
    e->registration[e->registrations++] =
        (struct registration){event->data.u64, event->events, epfd, fd, getpid(), false};
    note_mark(epfd, MARK_WATCHES);
    return 1;
}

static int change(struct entry *e, struct registration *r, int op, const struct epoll_event *event)
{
    if (op == EPOLL_CTL_ADD)
        return -EEXIST;
    if (op == EPOLL_CTL_MOD && r->events & EPOLLEXCLUSIVE)
        return -EINVAL;
    if (op == EPOLL_CTL_MOD) {
        r->data = event->data.u64;
        r->events = event->events;
    }
    if (op == EPOLL_CTL_MOD && e->state != PENDING_UNDER_WAY)
        give_one(e, r);
    if (op == EPOLL_CTL_DEL || e->state != PENDING_UNDER_WAY)
        drop_registration(e, r);
    return 1;
}

static int control(struct entry *e, int epfd, int op, int fd, const struct epoll_event *event)
{
    struct registration *r = find(e, epfd, fd);
    int judged;

    if (!r && e->state != PENDING_UNDER_WAY)
        return 0;
    judged = judge_epoll(epfd, fd);
    if (judged == 0)
        judged = judge_exclusive(op, event ? event->events : 0);
    if (judged < 0)
        return judged;
    if (r)
        return change(e, r, op, event);
    return op == EPOLL_CTL_ADD ? add(e, epfd, fd, event) : -ENOENT;
}

/* Epoll waits without us; and registrations of this process are given back by this process. */
static void wait_for_epoll(struct entry *e)
{
    helper_ensure();
    if (e->owner == pending_process())
        unpark(e);
}

int pending_epoll_ctl(int epfd, int op, int fd, const struct epoll_event *event)
{
    struct pending_guard g;
    struct entry *e;
    int r = 0;

    if (!note_slot(fd) || op < EPOLL_CTL_ADD || op > EPOLL_CTL_MOD ||
        (op != EPOLL_CTL_DEL && !event) || pending_state(fd) == PENDING_NONE)
        return 0;
    pending_lock(&g);
    e = pending_entry_of(fd);
    if (e)
        r = control(e, epfd, op, fd, event);
    if (r == 1 && e->state == PENDING_UNDER_WAY)
        wait_for_epoll(e);
    pending_unlock(&g);
    return r;
}
