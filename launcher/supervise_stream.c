/*
 * Connections of the program's own stream sockets.
 *
 *     connect() --judged--> refused: answered
 *                  |   \--> direct:  the kernel's connect(); the caller waits if he would
 *                  \------> chain:   the client's driver, many at once --> answered at its end
 *
 * A call on a socket that does not block is held, too, until the chain stands, and then answered as
 * if the target had been there at once: an answer before that would leave the program with a socket
 * that looks ready, because the first hop is connected, and is not. Whoever gives each connection a
 * thread of the kernel's (Go does, while a call is held) notices nothing.
 *
 * A caller is looked after now and then: when he was killed, the attempt ends. Kernels before 5.19
 * let a signal end the wait; the program then makes the same call once more, which finds the
 * attempt under way, or its outcome.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <unistd.h>

#include "client/addr.h"
#include "client/drive.h"
#include "client/judge.h"
#include "client/say.h"
#include "client/session.h"
#include "client/sockets.h"
#include "client/sys.h"
#include "launcher/supervise.h"
#include "launcher/supervise_origin.h"
#include "proto/err.h"

enum { LOOK_MS = 100, KEEP_MS = 1000 /* an outcome that nobody was there to hear */ };

struct attempt {
    struct supervise_watch watch;
    struct supervise_timer timer;
    struct supervise_call call;
    struct attempt *next;
    int fd;
    uint64_t cookie;
    pid_t thread;
    bool chained; /* through the chain, by the driver; else direct */
    bool blocks;
    bool over; /* with `outcome`, which waits for the caller */
    int64_t outcome;
    int wants;                  /* of the driver */
    int64_t since_ns, limit_ns; /* the program's own limit (SO_SNDTIMEO); 0: none */
    int low_water;
    struct sockaddr_storage addr;
    socklen_t len;
    uint8_t *data; /* to be sent once it stands; NULL: connect() alone */
    size_t data_len;
    int flags;
    struct drive drive;
};

static struct attempt *attempts;

static struct attempt *find(uint64_t cookie)
{
    struct attempt *a = attempts;

    while (a && a->cookie != cookie)
        a = a->next;
    return a;
}

static void drop(struct attempt *a)
{
    struct attempt **at = &attempts;

    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    supervise_clear_timer(&a->timer);
    supervise_unwatch(a->fd);
    close(a->fd);
    free(a->data);
    free(a);
}

/* --- the end --------------------------------------------------------------------------------- */

static int64_t send_data(const struct attempt *a)
{
    ssize_t n;

    if (!a->data)
        return 0;
    n = send(a->fd, a->data, a->data_len, (a->flags & ~MSG_FASTOPEN) | MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

static void restore_options(const struct attempt *a)
{
    if (a->low_water > 1)
        setsockopt(a->fd, SOL_SOCKET, SO_RCVLOWAT, &a->low_water, sizeof a->low_water);
}

/* Nobody may have been there to hear it: then it is kept for a moment. */
static void conclude(struct attempt *a, int64_t outcome)
{
    restore_options(a);
    if (outcome == 0)
        outcome = send_data(a);
    if (supervise_answer(&a->call, outcome)) {
        drop(a);
        return;
    }
    supervise_unwatch(a->fd);
    a->over = true;
    a->outcome = outcome;
    supervise_set_timer(&a->timer, drive_now_ns() + (int64_t)KEEP_MS * 1000000);
}

static void conclude_chain(struct attempt *a, int r)
{
    supervise_speak_for(a->thread);
    drive_report(&a->drive, r);
    if (r == DRIVE_DONE)
        sockets_put(a->cookie, (struct sockaddr *)&a->addr, a->len);
    else
        drive_dissolve(a->fd);
    conclude(a, r == DRIVE_DONE ? 0 : -drive_errno(&a->drive, r));
}

/* --- on the way ------------------------------------------------------------------------------ */

static int64_t next_look(const struct attempt *a)
{
    int64_t at = drive_now_ns() + (int64_t)LOOK_MS * 1000000;

    if (a->limit_ns && a->since_ns + a->limit_ns < at)
        at = a->since_ns + a->limit_ns;
    if (a->chained && drive_deadline_ns(&a->drive) < at)
        at = drive_deadline_ns(&a->drive);
    return at;
}

static void go_on(struct attempt *a, int r)
{
    if (r <= 0) {
        conclude_chain(a, r);
        return;
    }
    a->wants = r;
    supervise_set_timer(&a->timer, next_look(a));
}

/* By edge: what came before the driver said its word is not told of again. */
static void step_chain(struct attempt *a, uint32_t events)
{
    bool came_with_dial = a->drive.dialling && events & EPOLLIN;
    int r;

    supervise_speak_for(a->thread);
    r = drive_step(&a->drive, a->fd);
    while (r == DRIVE_READ && (a->drive.received || came_with_dial)) {
        came_with_dial = false;
        r = drive_step(&a->drive, a->fd);
    }
    go_on(a, r);
}

static void step_direct(struct attempt *a)
{
    socklen_t len = sizeof(int);
    int error = 0;

    if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    conclude(a, -error);
}

static void on_event(struct supervise_watch *w, uint32_t events)
{
    struct attempt *a = (struct attempt *)w;

    if (a->over)
        return;
    if (a->chained)
        step_chain(a, events);
    else if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
        step_direct(a);
}

/* The program's own limit: it is told what the kernel would tell it, but nothing goes on. */
static void give_up(struct attempt *a)
{
    drive_dissolve(a->fd);
    conclude(a, -EINPROGRESS);
}

static void on_time(struct supervise_timer *t)
{
    struct attempt *a = (struct attempt *)((char *)t - offsetof(struct attempt, timer));
    int64_t now = drive_now_ns();

    if (a->over) {
        drop(a);
    } else if (a->limit_ns && now >= a->since_ns + a->limit_ns) {
        give_up(a);
    } else if (a->chained && now >= drive_deadline_ns(&a->drive)) {
        supervise_speak_for(a->thread);
        go_on(a, drive_expire(&a->drive, a->fd));
    } else if (supervise_waits(&a->call)) {
        supervise_set_timer(t, next_look(a));
    } else {
        drive_dissolve(a->fd);
        drop(a);
    }
}

/* --- the beginning --------------------------------------------------------------------------- */

static int64_t send_limit_ns(int fd)
{
    struct timeval limit = {0, 0};
    socklen_t len = sizeof limit;

    getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, &len);
    return (int64_t)limit.tv_sec * 1000000000 + (int64_t)limit.tv_usec * 1000;
}

/* A short reply is told of only at once. */
static void prepare_options(struct attempt *a)
{
    socklen_t len = sizeof a->low_water;
    int one = 1;

    if (getsockopt(a->fd, SOL_SOCKET, SO_RCVLOWAT, &a->low_water, &len) < 0)
        a->low_water = 1;
    if (a->low_water > 1)
        setsockopt(a->fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof one);
}

static bool keep_data(struct attempt *a, const struct tracee_message *message, int flags)
{
    a->flags = flags;
    if (!message)
        return true;
    a->data = malloc(message->len ? message->len : 1);
    a->data_len = message->len;
    if (a->data)
        memcpy(a->data, message->data, message->len);
    return a->data;
}

/* NULL: there is no memory. */
static struct attempt *begin(struct supervise_call *c, const struct supervise_socket *s,
                             const struct sockaddr_storage *addr, socklen_t len,
                             const struct tracee_message *message, int flags)
{
    struct attempt *a = calloc(1, sizeof *a);

    if (!a || !keep_data(a, message, flags)) {
        free(a);
        return NULL;
    }
    a->watch.event = on_event;
    a->timer.due = on_time;
    a->call = *c;
    a->thread = c->thread;
    a->fd = s->fd;
    a->cookie = s->cookie;
    a->blocks = s->blocks;
    a->addr = *addr;
    a->len = len;
    a->since_ns = drive_now_ns();
    a->limit_ns = s->blocks ? send_limit_ns(s->fd) : 0;
    a->next = attempts;
    attempts = a;
    return a;
}

static void begin_chain(struct attempt *a, const struct target *t)
{
    int r;

    a->chained = true;
    sockets_drop(a->cookie);
    prepare_options(a);
    r = drive_begin(&a->drive, t, a->addr.ss_family, 0);
    if (r == VD_OK)
        r = drive_dial(&a->drive, a->fd);
    if (r > 0 && !supervise_watch(a->fd, &a->watch))
        r = -VD_ERR_UNREACHABLE;
    go_on(a, r);
}

static void begin_direct(struct attempt *a)
{
    int number;

    sockets_drop(a->cookie);
    if (sys.connect(a->fd, (struct sockaddr *)&a->addr, a->len) == 0) {
        conclude(a, 0);
        return;
    }
    number = errno;
    if (number != EINPROGRESS || !a->blocks || !supervise_watch(a->fd, &a->watch))
        conclude(a, -number);
    else
        supervise_set_timer(&a->timer, next_look(a));
}

static bool is_connected(int fd)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;

    return getpeername(fd, (struct sockaddr *)&peer, &len) == 0;
}

/* The call that was made once more, after a signal, takes the place of the one before. */
static void rejoin(struct attempt *a, struct supervise_call *c)
{
    if (!a->over && supervise_waits(&a->call)) {
        supervise_answer(c, -EALREADY);
        return;
    }
    a->call = *c;
    c->id = 0;
    if (a->over && supervise_answer(&a->call, a->outcome))
        drop(a);
}

/* 0: direct, 1: through the chain, or -errno. What talks to a first hop is the library, in programs
 * that load it, or a program that was told of it. */
static int judge(const struct supervise_call *c, const struct vd_endpoint *given, struct target *t)
{
    if (origin_is_first_hop(given) || origin_is_system_query(given))
        return 0;
    if (!origin_has_library(c->thread))
        return judge_target(t, given);
    switch (origin_of_stream(given)) {
    case ORIGIN_PASSES:
    case ORIGIN_SEEN:
        return 0;
    case ORIGIN_REFUSED:
        return -EACCES;
    case ORIGIN_FOREIGN:
        break;
    }
    return judge_target(t, given);
}

void stream_connect(struct supervise_call *c, const struct supervise_socket *s,
                    const struct sockaddr_storage *addr, socklen_t len,
                    const struct tracee_message *message, int flags)
{
    struct attempt *a = find(s->cookie);
    struct vd_endpoint given;
    struct target t;
    int way;

    if (a) {
        rejoin(a, c);
        close(s->fd);
        return;
    }
    addr_read(&given, (const struct sockaddr *)addr, len);
    way = judge(c, &given, &t);
    if (way == 1 && is_connected(s->fd))
        way = -EISCONN;
    a = way < 0 ? NULL : begin(c, s, addr, len, message, flags);
    if (!a) {
        supervise_answer(c, way < 0 ? way : -ENOBUFS);
        close(s->fd);
    } else if (way == 1) {
        begin_chain(a, &t);
    } else {
        begin_direct(a);
    }
}

void stream_dissolve(struct supervise_call *c, const struct supervise_socket *s)
{
    struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
    struct attempt *a = find(s->cookie);
    int r, number;

    if (a && !a->over)
        conclude(a, -ECONNABORTED);
    r = connect(s->fd, &nowhere, sizeof nowhere);
    number = r < 0 ? errno : 0;
    if (r == 0 && !origin_has_library(c->thread)) /* which knows more of its own sockets */
        sockets_drop(s->cookie);
    supervise_answer(c, -number);
    close(s->fd);
}
