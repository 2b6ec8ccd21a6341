/*
 * The listeners of this process, and what the program may do with one. The states are drawn in
 * client/listen_entry.h.
 */
#include "client/listen.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "client/listen_entry.h"
#include "client/pending_entry.h"
#include "client/say.h"
#include "client/sockets.h"
#include "client/sys.h"
#include "proto/err.h"

enum { TICK_MS = 2 };

uint32_t listen_count;

static struct listener listeners[LISTENERS_MAX];

/* This program binds sockets, asks for their names, and connects them: lftp does for passive mode.
 * So a name is no reason to ask the hop any more; listen() is. */
static bool asked_in_vain;

/* --- life ------------------------------------------------------------------------------------ */

void listener_free(struct listener *e)
{
    listener_close(e);
    e->state = LISTENER_FREE;
    __atomic_fetch_sub(&listen_count, 1, __ATOMIC_RELAXED);
}

static void give_up(struct listener *e)
{
    switch (e->state) {
    case LISTENER_ASKING:
    case LISTENER_WAITING:
        e->gone = true;
        sys.shutdown(e->hop_fd, SHUT_RDWR);
        break;
    case LISTENER_CLAIMED:
    case LISTENER_REFUSED:
    case LISTENER_KNOWN:
    case LISTENER_CALLED:
    case LISTENER_SERVED:
    case LISTENER_INHERITED:
        listener_free(e);
        break;
    case LISTENER_FREE:
        break;
    }
}

static bool holds(const struct listener *e, int fd)
{
    if (e->state == LISTENER_FREE || e->gone)
        return false;
    for (int i = 0; i < LISTENER_FDS_MAX; i++)
        if (e->fds_1[i] == fd + 1)
            return true;
    return false;
}

static void lose_fd(struct listener *e, int fd)
{
    bool others = e->more_fds;

    for (int i = 0; i < LISTENER_FDS_MAX; i++) {
        if (e->fds_1[i] == fd + 1)
            e->fds_1[i] = 0;
        others |= e->fds_1[i] > 0;
    }
    if (!others)
        give_up(e);
}

/* A descriptor that was closed behind our back is another socket by now, or none. */
static struct listener *find(int fd)
{
    for (int i = 0; i < LISTENERS_MAX; i++) {
        struct listener *e = &listeners[i];

        if (!holds(e, fd))
            continue;
        if (sockets_cookie(fd) == e->cookie)
            return e;
        lose_fd(e, fd);
    }
    return NULL;
}

static void sweep(void)
{
    for (int i = 0; i < LISTENERS_MAX; i++)
        for (int k = 0; k < LISTENER_FDS_MAX; k++)
            if (listeners[i].state != LISTENER_FREE && listeners[i].fds_1[k])
                find(listeners[i].fds_1[k] - 1);
}

static struct listener *free_place(void)
{
    for (int i = 0; i < LISTENERS_MAX; i++)
        if (listeners[i].state == LISTENER_FREE)
            return &listeners[i];
    return NULL;
}

/* What our sockets get to hear belongs to the parent. */
static void after_fork_in_child(void)
{
    for (int i = 0; i < LISTENERS_MAX; i++) {
        struct listener *e = &listeners[i];

        if (e->state == LISTENER_FREE || e->state == LISTENER_CLAIMED ||
            e->state == LISTENER_REFUSED)
            continue;
        listener_close(e);
        e->state = LISTENER_INHERITED;
    }
}

static void watch_forks(void)
{
    static bool watched;

    if (!watched)
        watched = pthread_atfork(NULL, NULL, after_fork_in_child) == 0;
}

/* --- the lock -------------------------------------------------------------------------------- */

static bool enter(struct pending_guard *g)
{
    if (!pending_arena() || pending_in_vfork_child())
        return false;
    pending_lock(g);
    return true;
}

/* Takes it if the descriptor may be one of ours; *e is NULL if it is none. */
static bool enter_for(int fd, struct pending_guard *g, struct listener **e)
{
    if (!listen_any() || !enter(g))
        return false;
    *e = find(fd);
    return true;
}

/* --- bind ------------------------------------------------------------------------------------ */

/* The kernel would take the address for this socket. */
static bool fits(int fd, const struct sockaddr *addr)
{
    struct sockaddr_in6 own;
    socklen_t len = sizeof own, domain_len = sizeof(int);
    int domain = 0;

    return sys.getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_len) == 0 &&
           domain == addr->sa_family && sys.getsockname(fd, (struct sockaddr *)&own, &len) == 0 &&
           own.sin6_port == 0; /* at the same place in both families */
}

bool listen_claim(int fd, const struct sockaddr *addr, socklen_t len, const struct listen_sign *s)
{
    struct pending_guard g;
    struct listener *e;

    if (len > sizeof e->asked || !fits(fd, addr) || !enter(&g))
        return false;
    sweep();
    watch_forks();
    e = find(fd) ? NULL : free_place();
    if (e) {
        *e = (struct listener){.cookie = sockets_cookie(fd),
                               .state = LISTENER_CLAIMED,
                               .fds_1 = {fd + 1},
                               .hop_fd = -1,
                               .knocker = -1,
                               .asked_len = len,
                               .sign = *s};
        memcpy(&e->asked, addr, len);
        __atomic_fetch_add(&listen_count, 1, __ATOMIC_RELAXED);
    }
    pending_unlock(&g);
    return e != NULL;
}

enum listen_answer listen_bind(int fd)
{
    struct pending_guard g;
    struct listener *e;

    if (!enter_for(fd, &g, &e))
        return LISTEN_NOT_OURS;
    pending_unlock(&g);
    if (!e)
        return LISTEN_NOT_OURS;
    errno = EINVAL;
    return LISTEN_FAILED;
}

void listen_release(int fd)
{
    struct pending_guard g;
    struct listener *e;
    int saved = errno;

    if (!enter_for(fd, &g, &e))
        return;
    if (e && (e->state == LISTENER_CLAIMED || e->state == LISTENER_KNOWN ||
              e->state == LISTENER_REFUSED)) {
        if (e->sign.is_local)
            sys.bind(fd, (struct sockaddr *)&e->asked, e->asked_len);
        asked_in_vain |= e->state != LISTENER_CLAIMED;
        listener_free(e);
    }
    pending_unlock(&g);
    errno = saved;
}

/* --- asking the hop -------------------------------------------------------------------------- */

static void refuse(struct listener *e, int error)
{
    listener_close(e);
    e->error = error;
    e->state = LISTENER_REFUSED;
}

/* The last hop has no BIND. */
static void stay_here(struct listener *e, int fd, int result)
{
    char text[SAY_MAX];
    struct vd_out out = vd_out_over(text, sizeof text);

    if (!e->sign.is_local) {
        drive_report(&e->drive, result);
        refuse(e, EADDRNOTAVAIL);
    } else if (sys.bind(fd, (struct sockaddr *)&e->asked, e->asked_len) < 0) {
        refuse(e, errno);
    } else {
        vd_chain_explain(&out, &e->drive.chain, result);
        vd_out_text(&out, ": the listener stays on this machine");
        say(PLAN_CONNECTIONS, &e->sign.target.at, vd_out_string(&out));
        listener_free(e);
    }
}

static void conclude(struct listener *e, int fd, int r)
{
    if (e->gone) {
        listener_free(e);
    } else if (r == -VD_ERR_COMMAND && e->drive.chain.at + 1u == e->drive.chain.path.count) {
        stay_here(e, fd, r);
    } else if (r < 0) {
        drive_report(&e->drive, r);
        refuse(e, drive_errno(&e->drive, r));
    } else if (!listener_learn(e)) {
        refuse(e, EADDRNOTAVAIL);
    } else {
        e->state = LISTENER_KNOWN;
    }
}

/* Sees to it that the hop was asked; lock held, given up while it is waited for. NULL: the socket
 * is none of ours, or not any more. */
static struct listener *settle(struct listener *e, int fd)
{
    if (e && e->state == LISTENER_CLAIMED) {
        int r = listener_dial(e);

        e->state = LISTENER_ASKING;
        pending_unlock_mutex();
        r = listener_converse(e, r);
        pending_lock_mutex();
        conclude(e, fd, r);
        return find(fd);
    }
    while (e && e->state == LISTENER_ASKING) { /* another thread does */
        pending_unlock_mutex();
        sys.poll(NULL, 0, TICK_MS);
        pending_lock_mutex();
        e = find(fd);
    }
    return e;
}

static enum listen_answer fail(int error)
{
    errno = error;
    return LISTEN_FAILED;
}

socklen_t listen_name(int fd, struct sockaddr_storage *shown)
{
    struct pending_guard g;
    struct listener *e;
    socklen_t len = 0;
    int saved = errno;

    if (!enter_for(fd, &g, &e))
        return 0;
    if (!asked_in_vain)
        e = settle(e, fd);
    if (e) {
        len = e->shown_len ? e->shown_len : e->asked_len;
        memcpy(shown, e->shown_len ? &e->shown : &e->asked, len);
    }
    pending_unlock(&g);
    errno = saved;
    return len;
}

/* --- listen ---------------------------------------------------------------------------------- */

static int refuse_inherited(const struct listener *e)
{
    say(PLAN_FAILURES, &e->sign.target.at,
        "a process made by fork() cannot listen at the hop for its parent");
    return EINVAL;
}

/* 0: ours, and it listens; -1: the kernel may do it; else an errno. */
static int begin(struct listener *e, int fd, int backlog)
{
    int error;

    switch (e->state) {
    case LISTENER_KNOWN:
        error = listener_open(e, fd, backlog);
        if (error)
            refuse(e, error);
        return error;
    case LISTENER_REFUSED:
        return e->error;
    case LISTENER_INHERITED:
        return refuse_inherited(e);
    case LISTENER_WAITING:
    case LISTENER_CALLED:
    case LISTENER_SERVED:
    case LISTENER_CLAIMED:
    case LISTENER_ASKING:
    case LISTENER_FREE:
        break;
    }
    return -1;
}

enum listen_answer listen_begin(int fd, int backlog)
{
    struct pending_guard g;
    struct listener *e;
    int error = -1, saved = errno;

    if (!enter_for(fd, &g, &e))
        return LISTEN_NOT_OURS;
    e = settle(e, fd);
    if (e)
        error = begin(e, fd, backlog);
    pending_unlock(&g);
    errno = saved;
    if (error > 0)
        return fail(error);
    return error ? LISTEN_NOT_OURS : LISTEN_ANSWERED;
}

/* --- accept ---------------------------------------------------------------------------------- */

/* What the kernel's accept() gave: 0: whom the program waits for has taken its place; EAGAIN: it
 * was a stranger; else an errno. */
static int welcome(int fd, int visitor, const struct sockaddr_storage *from, int flags)
{
    struct pending_guard g;
    struct listener *e;
    int error = EAGAIN;

    if (!enter_for(fd, &g, &e))
        return EAGAIN;
    if (e && e->state == LISTENER_CALLED && listener_is_knock(e, from)) {
        error = listener_hand_over(e, visitor, flags);
        listener_close(e);
        e->state = LISTENER_SERVED;
    }
    pending_unlock(&g);
    return error;
}

/* Whether the kernel may be asked: 0, -1 (it is none of ours) or an errno. */
static int admit(int fd)
{
    struct pending_guard g;
    struct listener *e;
    int error = -1;

    if (!enter_for(fd, &g, &e))
        return -1;
    if (e)
        error = e->state == LISTENER_INHERITED ? refuse_inherited(e) : 0;
    pending_unlock(&g);
    return error;
}

enum listen_answer listen_accept(int fd, int flags, int *taken)
{
    int error = admit(fd), saved = errno;

    if (error)
        return error < 0 ? LISTEN_NOT_OURS : fail(error);
    for (;;) {
        struct sockaddr_storage from;
        socklen_t len = sizeof from;

        *taken = sys.accept4(fd, (struct sockaddr *)&from, &len, flags);
        if (*taken < 0)
            return LISTEN_FAILED;
        error = welcome(fd, *taken, &from, flags);
        errno = saved;
        if (error == 0)
            return LISTEN_ANSWERED;
        sys.close(*taken);
        *taken = -1;
        if (error != EAGAIN)
            return fail(error);
    }
}

/* --- descriptors ----------------------------------------------------------------------------- */

void listen_before_close(int fd)
{
    listen_before_close_range((unsigned)fd, (unsigned)fd);
}

static void lose_range(struct listener *e, unsigned first, unsigned last)
{
    for (int i = 0; i < LISTENER_FDS_MAX && e->state != LISTENER_FREE && !e->gone; i++) {
        int fd = e->fds_1[i] - 1;

        if (fd >= 0 && (unsigned)fd >= first && (unsigned)fd <= last)
            lose_fd(e, fd);
    }
}

void listen_before_close_range(unsigned first, unsigned last)
{
    struct pending_guard g;
    int saved = errno;

    if (!listen_any() || !enter(&g))
        return;
    for (int i = 0; i < LISTENERS_MAX; i++)
        lose_range(&listeners[i], first, last);
    pending_unlock(&g);
    errno = saved;
}

void listen_after_dup(int fd, int copy)
{
    struct pending_guard g;
    struct listener *e;
    int i = 0;

    if (fd == copy || !enter_for(fd, &g, &e))
        return;
    while (e && i < LISTENER_FDS_MAX && e->fds_1[i])
        i++;
    if (e && i < LISTENER_FDS_MAX)
        e->fds_1[i] = copy + 1;
    else if (e)
        e->more_fds = true;
    pending_unlock(&g);
}
