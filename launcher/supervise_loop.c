/*
 * One epoll for the listener and all descriptors under way; one event at a time, so that none is
 * told of after its owner is gone. Nothing in here waits but epoll_wait().
 *
 * Nobody is left when the listener hangs up: every process that was started under the filter, and
 * every child of one, has ended.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client/audit.h"
#include "client/drive.h"
#include "client/say.h"
#include "launcher/supervise.h"
#include "launcher/supervise_relay.h"

#if defined(__x86_64__)
#include <linux/audit.h>
#define IS_FOREIGN(arch) ((arch) != AUDIT_ARCH_X86_64)
#else
#define IS_FOREIGN(arch) ((void)(arch), false) /* the filter lets none come here */
#endif

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS      SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

static struct {
    int epfd, listener;
    struct supervise_timer *timers;
    pid_t speaker;
    struct seccomp_notif *notice; /* as long as this kernel has them */
    struct seccomp_notif_resp *response;
    size_t notice_size, response_size;
} loop = {.epfd = -1, .listener = -1};

/* --- descriptors and time -------------------------------------------------------------------- */

bool supervise_watch(int fd, struct supervise_watch *w)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = w};

    return epoll_ctl(loop.epfd, EPOLL_CTL_ADD, fd, &event) == 0;
}

void supervise_unwatch(int fd)
{
    epoll_ctl(loop.epfd, EPOLL_CTL_DEL, fd, NULL);
}

void supervise_clear_timer(struct supervise_timer *t)
{
    struct supervise_timer **at = &loop.timers;

    if (!t->set)
        return;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    t->set = false;
}

void supervise_set_timer(struct supervise_timer *t, int64_t at_ns)
{
    struct supervise_timer **at = &loop.timers;

    supervise_clear_timer(t);
    while (*at && (*at)->at_ns <= at_ns)
        at = &(*at)->next;
    t->at_ns = at_ns;
    t->next = *at;
    t->set = true;
    *at = t;
}

static int ms_to_next_timer(void)
{
    int64_t left;

    if (!loop.timers)
        return -1;
    left = loop.timers->at_ns - drive_now_ns();
    return left <= 0 ? 0 : left > 3600000000000 ? 3600000 : (int)((left + 999999) / 1000000);
}

static void run_timers(void)
{
    int64_t now = drive_now_ns();

    while (loop.timers && loop.timers->at_ns <= now) {
        struct supervise_timer *t = loop.timers;

        supervise_clear_timer(t);
        t->due(t);
    }
}

/* --- lines ----------------------------------------------------------------------------------- */

void supervise_speak_for(pid_t thread)
{
    loop.speaker = thread;
}

/* A standard error that takes nothing at the moment must not hold everybody else up. */
static void ask_voice(struct say_voice *voice)
{
    struct pollfd p = {.events = POLLOUT};

    tracee_name(loop.speaker, voice->name, &voice->pid);
    voice->fd = tracee_fd(loop.speaker, STDERR_FILENO);
    p.fd = voice->fd;
    if (voice->fd >= 0 && poll(&p, 1, 0) <= 0) {
        close(voice->fd);
        voice->fd = -1;
    }
}

/* --- calls ----------------------------------------------------------------------------------- */

static bool respond(struct supervise_call *c, int64_t result, uint32_t flags)
{
    struct seccomp_notif_resp *r = loop.response;

    memset(r, 0, loop.response_size);
    r->id = c->id;
    r->val = result < 0 ? 0 : result;
    r->error = result < 0 ? (int32_t)result : 0;
    r->flags = flags;
    c->id = 0;
    return ioctl(loop.listener, SECCOMP_IOCTL_NOTIF_SEND, r) == 0;
}

bool supervise_answer(struct supervise_call *c, int64_t result)
{
    return respond(c, result, 0);
}

void supervise_let_pass(struct supervise_call *c)
{
    respond(c, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
}

bool supervise_waits(const struct supervise_call *c)
{
    return ioctl(loop.listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &c->id) == 0;
}

bool supervise_replace_fd(const struct supervise_call *c, int fd, int number, bool cloexec)
{
    struct seccomp_notif_addfd add = {
        .id = c->id,
        .flags = SECCOMP_ADDFD_FLAG_SETFD,
        .srcfd = (uint32_t)fd,
        .newfd = (uint32_t)number,
        .newfd_flags = cloexec ? O_CLOEXEC : 0,
    };

    return ioctl(loop.listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add) >= 0;
}

static void take_call(void)
{
    struct seccomp_notif *n = loop.notice;
    struct supervise_call c;

    memset(n, 0, loop.notice_size);
    if (ioctl(loop.listener, SECCOMP_IOCTL_NOTIF_RECV, n) < 0)
        return; /* the caller was killed in between */
    c = (struct supervise_call){
        .id = n->id,
        .thread = (pid_t)n->pid,
        .number = n->data.nr,
        .foreign = IS_FOREIGN(n->data.arch),
    };
    for (int i = 0; i < 6; i++)
        c.args[i] = n->data.args[i];
    supervise_speak_for(c.thread);
    supervise_take(&c);
}

/* --- the loop -------------------------------------------------------------------------------- */

static int make_room(void)
{
    struct seccomp_notif_sizes sizes = {sizeof *loop.notice, sizeof *loop.response, 0};

    syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes);
    loop.notice_size =
        sizes.seccomp_notif > sizeof *loop.notice ? sizes.seccomp_notif : sizeof *loop.notice;
    loop.response_size = sizes.seccomp_notif_resp > sizeof *loop.response ? sizes.seccomp_notif_resp
                                                                          : sizeof *loop.response;
    loop.notice = calloc(1, loop.notice_size);
    loop.response = calloc(1, loop.response_size);
    return loop.notice && loop.response ? 0 : ENOMEM;
}

int supervise_open(int listener)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    int error = make_room();

    if (error)
        return error;
    loop.listener = listener;
    loop.epfd = epoll_create1(EPOLL_CLOEXEC);
    if (loop.epfd < 0 || epoll_ctl(loop.epfd, EPOLL_CTL_ADD, listener, &event) < 0)
        return errno;
    /* Caller and supervisor take turns (Linux 6.6). */
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
    say_for_others(ask_voice);
    if (audit_is_on())
        audit_count(AUDIT_OBSERVED);
    return 0;
}

static void end(void) __attribute__((noreturn));
static void end(void)
{
    relay_drain();
    _exit(0);
}

static void handle(const struct epoll_event *event)
{
    struct supervise_watch *w = event->data.ptr;

    if (w)
        w->event(w, event->events);
    else if (event->events & EPOLLIN)
        take_call();
    else if (event->events & (EPOLLHUP | EPOLLERR))
        end();
}

void supervise_run(void)
{
    struct epoll_event event;

    for (;;) {
        int n = epoll_wait(loop.epfd, &event, 1, ms_to_next_timer());

        if (n > 0)
            handle(&event);
        run_timers();
    }
}
