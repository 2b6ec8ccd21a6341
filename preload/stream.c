/*
 * A stream's connect() through the chain, on the program's own socket.
 *
 * A non-blocking socket is handed to the helper thread at once. A blocking one is carried here, in
 * the caller's thread; a signal or the program's own limit (SO_SNDTIMEO) makes connect() return
 * early, as the kernel's would, and the helper goes on with it.
 *
 * Options that the handshake depends on are set for its time and put back: SO_SNDTIMEO limits a
 * blocking dial, and SO_RCVLOWAT would keep poll() from telling of a short reply.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>

#include "client/drive.h"
#include "client/pending.h"
#include "client/say.h"
#include "client/sockets.h"
#include "preload/hook.h"
#include "proto/err.h"

/* A connect() call that blocks. */
struct call {
    int fd;
    const struct sockaddr *addr;
    socklen_t len;
    struct timeval send_limit; /* the program's; zero: none */
    int low_water;
    bool set_limit, set_low_water;
    struct drive drive;
};

static int64_t to_ns(const struct timeval *t)
{
    return (int64_t)t->tv_sec * 1000000000 + (int64_t)t->tv_usec * 1000;
}

static struct timeval to_timeval(int64_t ns)
{
    return (struct timeval){.tv_sec = ns / 1000000000, .tv_usec = ns % 1000000000 / 1000 + 1};
}

static void read_options(struct call *c)
{
    socklen_t time_len = sizeof c->send_limit, int_len = sizeof c->low_water;

    c->low_water = 1;
    sys.getsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &c->send_limit, &time_len);
    sys.getsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &c->low_water, &int_len);
}

static void set_options(struct call *c, bool blocking)
{
    struct timeval limit = to_timeval(c->drive.deadline_ns - c->drive.start_ns);
    int one = 1;

    c->set_limit =
        blocking && setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0;
    c->set_low_water =
        c->low_water != 1 && setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof one) == 0;
}

static void restore_options(const struct call *c)
{
    if (c->set_limit)
        setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &c->send_limit, sizeof c->send_limit);
    if (c->set_low_water)
        setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &c->low_water, sizeof c->low_water);
}

/* poll() is interrupted by every signal, connect() only by those whose handlers do not ask for
 * restarts (with SO_SNDTIMEO: by all, signal(7)). Which one came is not told; so all are asked. */
static bool signals_restart(const struct call *c)
{
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;

        if (sigaction(number, NULL, &action) < 0 || action.sa_handler == SIG_DFL ||
            action.sa_handler == SIG_IGN)
            continue;
        if (!(action.sa_flags & SA_RESTART) || to_ns(&c->send_limit))
            return false;
    }
    return true;
}

enum event { EVENT_READY, EVENT_LATE, EVENT_SIGNAL };

static enum event wait_for(struct call *c, int what)
{
    struct pollfd p = {.fd = c->fd, .events = what == DRIVE_READ ? POLLIN : POLLOUT};

    for (;;) {
        int64_t left = drive_deadline_ns(&c->drive) - drive_now_ns();

        if (left <= 0)
            return EVENT_LATE;
        if (c->drive.interrupted) {
            c->drive.interrupted = 0;
            if (!signals_restart(c))
                return EVENT_SIGNAL;
        }
        if (sys.poll(&p, 1, (int)((left + 999999) / 1000000)) > 0)
            return EVENT_READY;
        c->drive.interrupted = errno == EINTR;
        errno = 0;
    }
}

/* The program will not wait, the helper goes on. 0, or the driver's result if there is no helper.
 */
static int hand_over(struct call *c, int wants)
{
    int64_t total_ns = (int64_t)session_plan()->timeout_ms * 1000000;

    restore_options(c);
    c->drive.deadline_ns = c->drive.start_ns + total_ns;
    return pending_adopt(c->fd, c->addr, c->len, &c->drive, wants, 1) ? 0 : -VD_ERR_SILENT;
}

static bool is_the_programs_limit(const struct call *c)
{
    int64_t limit = to_ns(&c->send_limit), now = drive_now_ns();

    return limit && now >= c->drive.deadline_ns &&
           now < c->drive.start_ns + (int64_t)session_plan()->timeout_ms * 1000000;
}

/* Runs the handshake. DRIVE_DONE or a reason; a positive errno if it goes on without the caller. */
static int run(struct call *c)
{
    int r = drive_dial(&c->drive, c->fd);

    while (r > 0) {
        switch (wait_for(c, r)) {
        case EVENT_READY:
            r = drive_step(&c->drive, c->fd);
            break;
        case EVENT_SIGNAL:
            r = hand_over(c, r);
            return r < 0 ? r : EINTR;
        case EVENT_LATE:
            if (!is_the_programs_limit(c)) {
                r = drive_expire(&c->drive, c->fd);
                break;
            }
            r = hand_over(c, r);
            return r < 0 ? r : EINPROGRESS;
        }
    }
    return r;
}

static int conclude(const struct call *c, int r)
{
    int number;

    drive_report(&c->drive, r);
    if (r == DRIVE_DONE) {
        sockets_put(sockets_cookie(c->fd), c->addr, c->len);
        return 0;
    }
    number = drive_errno(&c->drive, r);
    if (number != EISCONN && number != EALREADY)
        drive_undo(c->fd);
    return hook_fail(number);
}

static int carry(int fd, const struct sockaddr *addr, socklen_t len, const struct target *t,
                 bool blocking)
{
    struct call c = {.fd = fd, .addr = addr, .len = len};
    int r;

    read_options(&c);
    r = drive_begin(&c.drive, t, addr->sa_family, to_ns(&c.send_limit));
    if (r < 0)
        return conclude(&c, r);
    set_options(&c, blocking);
    r = run(&c);
    if (r > 0) /* put back already, by hand_over */
        return hook_fail(r);
    restore_options(&c);
    return conclude(&c, r);
}

static bool is_connected(int fd)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;

    return sys.getpeername(fd, (struct sockaddr *)&peer, &len) == 0;
}

/* connect() on a socket that is under way, or has failed before. 0: neither, go on; -1: answered,
 * with errno; 1: it is connected by now, the kernel answers. */
static int answer_again(int fd, bool blocking)
{
    int error;

    if (pending_state(fd) == PENDING_UNDER_WAY) {
        if (!blocking)
            return hook_fail(EALREADY);
        if (!pending_wait(fd, 0))
            return -1;
        if (pending_state(fd) == PENDING_NONE)
            return 1;
    }
    error = pending_take_for_connect(fd);
    return error ? hook_fail(error) : 0;
}

static int begin(int fd, const struct sockaddr *addr, socklen_t len, const struct target *t)
{
    int r = pending_begin(fd, addr, len, t);

    if (r >= 0)
        return hook_fail(r == 0 ? EINPROGRESS : r);
    say(PLAN_CONNECTIONS, &t->at, "no helper thread can be started: connect() waits");
    return carry(fd, addr, len, t, false);
}

int stream_connect(int fd, const struct sockaddr *addr, socklen_t len,
                   const struct vd_endpoint *given)
{
    bool blocking = !(sys.fcntl(fd, F_GETFL, NULL) & O_NONBLOCK);
    struct target t;
    int saved = errno, r = answer_again(fd, blocking);

    if (r < 0)
        return -1;
    if (r > 0 || is_connected(fd)) /* the kernel knows what to say to that */
        return sys.connect(fd, addr, len);
    r = hook_judge(&t, given);
    if (r == 0)
        return sys.connect(fd, addr, len);
    if (r < 0)
        return hook_fail(-r);
    r = blocking ? carry(fd, addr, len, &t, true) : begin(fd, addr, len, &t);
    if (r == 0)
        errno = saved;
    return r;
}
