/*
 * A stream's connect() through the chain, on the program's own socket.
 *
 * A non-blocking socket is handed to the helper thread at once. A blocking one is carried here, in
 * the caller's thread; a signal or the program's own limit (SO_SNDTIMEO) makes connect() return
 * early, as the kernel's would, and the helper goes on with it.
 *
 * Options that the handshake depends on are set for its time and put back: SO_SNDTIMEO and
 * SO_RCVTIMEO limit blocking dials and receives, and SO_RCVLOWAT would keep poll() from telling of
 * a short reply.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/time.h>

#include "client/drive.h"
#include "client/listen.h"
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
    struct timeval send_limit, receive_limit; /* the program's; zero: none */
    int low_water;
    bool blocking, set_limits, set_low_water;
    int64_t wait_ns; /* what SO_RCVTIMEO is set to */
    int wants;
    struct drive drive;
};

static int64_t to_ns(const struct timeval *t)
{
    return (int64_t)t->tv_sec * 1000000000 + (int64_t)t->tv_usec * 1000;
}

static struct timeval to_timeval(int64_t ns)
{
    return (struct timeval){.tv_sec = (time_t)(ns / 1000000000),
                            .tv_usec = (suseconds_t)(ns % 1000000000 / 1000 + 1)};
}

static void get(const struct call *c, int name, void *value, socklen_t len)
{
    sys.getsockopt(c->fd, SOL_SOCKET, name, value, &len);
}

static bool set(const struct call *c, int name, const void *value, socklen_t len)
{
    return sys.setsockopt(c->fd, SOL_SOCKET, name, value, len) == 0;
}

static void read_options(struct call *c)
{
    c->low_water = 1;
    if (!sockets_have_options())
        return;
    get(c, SO_SNDTIMEO, &c->send_limit, sizeof c->send_limit);
    get(c, SO_RCVTIMEO, &c->receive_limit, sizeof c->receive_limit);
    get(c, SO_RCVLOWAT, &c->low_water, sizeof c->low_water);
}

static bool set_receive_limit(struct call *c, int64_t ns)
{
    struct timeval limit = to_timeval(ns);

    c->wait_ns = ns;
    return set(c, SO_RCVTIMEO, &limit, sizeof limit);
}

static void set_options(struct call *c)
{
    int64_t limit_ns = c->drive.deadline_ns - c->drive.start_ns;
    struct timeval limit = to_timeval(limit_ns);
    int one = 1;

    c->set_limits =
        c->blocking && set(c, SO_SNDTIMEO, &limit, sizeof limit) && set_receive_limit(c, limit_ns);
    c->set_low_water = c->low_water != 1 && set(c, SO_RCVLOWAT, &one, sizeof one);
}

static void restore_options(const struct call *c)
{
    if (c->set_limits) {
        set(c, SO_SNDTIMEO, &c->send_limit, sizeof c->send_limit);
        set(c, SO_RCVTIMEO, &c->receive_limit, sizeof c->receive_limit);
    }
    if (c->set_low_water)
        set(c, SO_RCVLOWAT, &c->low_water, sizeof c->low_water);
}

/* With SO_SNDTIMEO no signal restarts connect(), signal(7). */
static bool signals_restart(const struct call *c)
{
    return !to_ns(&c->send_limit) && pending_signals_restart();
}

enum event { EVENT_READY, EVENT_LATE, EVENT_SIGNAL };

enum { SLACK_NS = 50000000 /* what a receive may wait too long */ };

/* A blocking receive waits cheaper than poll() does, and a handshake consists of waiting. Only the
 * limit of a single hop needs poll(), as it changes from hop to hop. */
static bool may_wait_in_receive(struct call *c, int what, int64_t left_ns)
{
    if (what != DRIVE_READ || !c->set_limits || c->drive.stage_ns)
        return false;
    return c->wait_ns - left_ns < SLACK_NS || set_receive_limit(c, left_ns);
}

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
        c->drive.waits = may_wait_in_receive(c, what, left);
        if (c->drive.waits)
            return EVENT_READY;
        if (sys.poll(&p, 1, (int)((left + 999999) / 1000000)) > 0)
            return EVENT_READY;
        c->drive.interrupted = errno == EINTR;
        errno = 0;
    }
}

/* The program will not wait, the helper goes on. 0, or the driver's result if there is no helper.
 */
static int hand_over(struct call *c)
{
    int64_t total_ns = (int64_t)session_plan()->timeout_ms * 1000000;
    int low_water = c->set_low_water ? c->low_water : 1;

    c->set_low_water = false; /* it goes to the helper with the rest */
    restore_options(c);
    c->drive.deadline_ns = c->drive.start_ns + total_ns;
    c->drive.waits = 0;
    if (pending_adopt(c->fd, c->addr, c->len, &c->drive, c->wants, low_water))
        return 0;
    c->set_limits = false;
    c->set_low_water = low_water != 1;
    return -VD_ERR_SILENT;
}

/* The thread is cancelled, which does not end a connection that is being made. */
static void abandon(void *call)
{
    struct call *c = call;

    if (hand_over(c) < 0)
        drive_dissolve(c->fd);
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
        c->wants = r;
        switch (wait_for(c, r)) {
        case EVENT_READY:
            r = drive_step(&c->drive, c->fd);
            break;
        case EVENT_SIGNAL:
            r = hand_over(c);
            return r < 0 ? r : EINTR;
        case EVENT_LATE:
            if (!is_the_programs_limit(c)) {
                r = drive_expire(&c->drive, c->fd);
                break;
            }
            r = hand_over(c);
            return r < 0 ? r : EINPROGRESS;
        }
    }
    return r;
}

static int conclude(const struct call *c, int r)
{
    drive_report(&c->drive, r);
    if (r == DRIVE_DONE) {
        sockets_put(sockets_cookie(c->fd), c->addr, c->len);
        listen_note_connection(c->fd, c->addr, c->len, &c->drive.chain);
        return 0;
    }
    return hook_fail(drive_fail(&c->drive, c->fd, r));
}

static int carry(int fd, const struct sockaddr *addr, socklen_t len, const struct target *t,
                 bool blocking)
{
    struct call c;
    int r;

    memset(&c, 0, offsetof(struct call, drive)); /* drive_begin() does the rest */
    c.fd = fd;
    c.addr = addr;
    c.len = len;
    c.blocking = blocking;
    c.wants = DRIVE_WRITE;
    read_options(&c);
    r = drive_begin(&c.drive, t, addr->sa_family, to_ns(&c.send_limit));
    if (r < 0)
        return conclude(&c, r);
    set_options(&c);
    pthread_cleanup_push(abandon, &c);
    r = run(&c);
    pthread_cleanup_pop(0);
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

/* How long a second connect() may wait; 0: as long as it takes. */
static int64_t send_deadline_ns(int fd)
{
    struct timeval limit = {0};
    socklen_t len = sizeof limit;

    sys.getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, &len);
    return to_ns(&limit) ? drive_now_ns() + to_ns(&limit) : 0;
}

/* connect() on a socket that is under way, or has failed before. 0: neither, or it is up by now;
 * -1: answered, with errno. */
static int answer_again(int fd, bool blocking)
{
    int error;

    if (pending_state(fd) == PENDING_UNDER_WAY) {
        int why = blocking ? pending_wait(fd, send_deadline_ns(fd)) : EALREADY;

        pending_unpark_all(); /* it asks by other means than poll() */
        if (why)
            return hook_fail(why == ETIMEDOUT ? EALREADY : why);
    }
    error = pending_take_for_connect(fd);
    return error ? hook_fail(error) : 0;
}

/* The kernel knows what to say to connect() on a connected socket, but for this: the first one
 * after a connection has come up by itself is told of its success. The hop may have been connected
 * at once, and then the kernel thinks that this was said. */
static int connect_again(int fd, const struct sockaddr *addr, socklen_t len)
{
    int saved = errno, r = sys.connect(fd, addr, len);

    if (!pending_take_success(fd) || r == 0 || errno != EISCONN)
        return r;
    errno = saved;
    return 0;
}

static int begin(int fd, const struct sockaddr *addr, socklen_t len, const struct target *t)
{
    int r = pending_begin(fd, addr, len, t);

    if (r >= 0)
        return hook_fail(r == 0 ? EINPROGRESS : r);
    say(PLAN_CONNECTIONS, &t->at,
        "no thread, descriptor or memory is left to go on in the background: connect() waits");
    return carry(fd, addr, len, t, false);
}

int stream_connect(int fd, const struct sockaddr *addr, socklen_t len,
                   const struct vd_endpoint *given, enum fresh fresh)
{
    bool blocking = fresh == FRESH_BLOCKS || !(sys.fcntl(fd, F_GETFL, NULL) & O_NONBLOCK);
    struct target t;
    int saved = errno, r;

    pthread_testcancel(); /* as in the kernel's own; later it would leave things half done */
    if (listen_any())
        listen_release(fd);
    if (!fresh && answer_again(fd, blocking) < 0)
        return -1;
    if (!fresh && is_connected(fd))
        return connect_again(fd, addr, len);
    r = judge_target(&t, given);
    if (r == 0)
        return sys.connect(fd, addr, len);
    if (r < 0)
        return hook_fail(-r);
    r = blocking ? carry(fd, addr, len, &t, true) : begin(fd, addr, len, &t);
    if (r == 0)
        errno = saved;
    return r;
}
