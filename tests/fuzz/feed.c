/*
 * The script, and what the worker waits for. A run has these phases:
 *
 *     SCRIPT ──over──> LEAVING ──> WAITING ──no timer, or enough of them──> DRAINING
 *
 * LEAVING closes all that the feeder holds, WAITING lets timers fire, DRAINING is what SIGTERM
 * does. The worker has to come to an end by itself.
 */
#undef _FORTIFY_SOURCE /* its inline definitions would stand beside ours */
#include "tests/fuzz/feed.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>

#include "tests/fuzz/fuzz.h"

enum {
    FIRST_MS = 1000000000,
    SPINS_MAX = 20000, /* turns of the loop for one step of the script */
    WAITS = 24,
    DRAINS_MAX = 4000,
    STEPS_MAX = 4000,
    HELPER_PID = 4242
};

enum phase { SCRIPT, WAITING, DRAINING };

bool feed_on;
int64_t feed_now_ms = FIRST_MS;
const char *const *feed_secrets;

static const uint8_t *script;
static size_t script_len, script_at;
static enum phase phase;
static unsigned spins, turns;
static int signals = -1; /* the end that is written to */
static int helper = -1;
static unsigned helper_manner;
static bool secret_said;

/* --- what clients and targets hear and say --- */

static bool has_secret(const char *text, size_t len)
{
    for (size_t i = 0; feed_secrets && feed_secrets[i]; i++)
        if (memmem(text, len, feed_secrets[i], strlen(feed_secrets[i])))
            return true;
    return false;
}

bool feed_secret_was_said(void)
{
    return !feed_secrets || secret_said;
}

/* A secret may come in several pieces. */
static void note_said(struct feed_end *e, const uint8_t *data, size_t len)
{
    char both[FEED_TAIL + 256];

    memcpy(both, e->tail, e->tail_len);
    memcpy(both + e->tail_len, data, len);
    len += e->tail_len;
    secret_said |= has_secret(both, len);
    e->tail_len = len < FEED_TAIL ? (unsigned)len : FEED_TAIL;
    memcpy(e->tail, both + len - e->tail_len, e->tail_len);
}

static void say(int fd, const uint8_t *data, size_t len)
{
    if (fd < 0 || feed_ends[fd].ours < 0)
        return;
    ssize_t n = send(feed_ends[fd].ours, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0 && feed_ends[fd].kind == FEED_CLIENT)
        note_said(&feed_ends[fd], data, (size_t)n);
}

static void hear_all(void)
{
    static uint8_t data[1 << 16];
    ssize_t n;

    for (int fd = 0; fd < FEED_FDS; fd++) {
        const struct feed_end *e = &feed_ends[fd];
        if (e->kind < FEED_CLIENT || e->held || e->ours < 0)
            continue;
        while ((n = recv(e->ours, data, sizeof data, MSG_DONTWAIT)) > 0)
            feed_hear(fd, data, (size_t)n);
    }
}

static void leave(int fd)
{
    if (fd < 0 || feed_ends[fd].ours < 0)
        return;
    syscall(SYS_close, feed_ends[fd].ours);
    feed_ends[fd].ours = -1;
}

static void end(int fd)
{
    if (fd >= 0 && feed_ends[fd].ours >= 0)
        shutdown(feed_ends[fd].ours, SHUT_WR);
}

static void leave_all(void)
{
    for (int fd = 0; fd < FEED_FDS; fd++)
        if (feed_ends[fd].kind == FEED_CLIENT || feed_ends[fd].kind == FEED_TARGET)
            leave(fd);
}

/* --- the helper that knows the passwords with a hash (daemon/login.c) --- */

FEED_CALL int socketpair(int family, int type, int protocol, int pair[2])
{
    int result = (int)syscall(SYS_socketpair, family, type, protocol, pair);

    if (!feed_on || result != 0 || (type & 0xf) != SOCK_SEQPACKET)
        return result;
    if (helper >= 0)
        syscall(SYS_close, helper);
    helper = fcntl(pair[1], F_DUPFD_CLOEXEC, 600);
    return 0;
}

FEED_CALL pid_t fork(void)
{
    return feed_on ? HELPER_PID : (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static void help(void)
{
    uint8_t question[1024], right;
    ssize_t n = helper < 0 || helper_manner == HELPER_IS_SILENT
                    ? -1
                    : recv(helper, question, sizeof question, MSG_DONTWAIT);

    if (n <= 0)
        return;
    right = has_secret((const char *)question, (size_t)n);
    if (helper_manner == HELPER_KNOWS && send(helper, &right, 1, MSG_NOSIGNAL) == 1)
        return;
    syscall(SYS_close, helper);
    helper = -1;
    helper_manner = HELPER_KNOWS;
}

/* --- signals --- */

FEED_CALL int signalfd(int fd, const sigset_t *set, int flags)
{
    int pair[2];

    (void)fd;
    (void)set;
    (void)flags;
    PROPERTY(feed_on && pipe2(pair, O_NONBLOCK | O_CLOEXEC) == 0);
    signals = fcntl(pair[1], F_DUPFD_CLOEXEC, 600);
    syscall(SYS_close, pair[1]);
    return pair[0];
}

static void send_signal(int number)
{
    struct signalfd_siginfo info = {.ssi_signo = (uint32_t)number};

    PROPERTY(write(signals, &info, sizeof info) == sizeof info);
}

/* --- the script --- */

static uint8_t next(void)
{
    return script_at < script_len ? script[script_at++] : 0;
}

static const uint8_t *next_bytes(size_t *len)
{
    const uint8_t *at;

    *len = next();
    at = script + script_at;
    if (*len > script_len - script_at)
        *len = script_len - script_at;
    script_at += *len;
    return at;
}

static void say_next(enum feed_kind kind, unsigned who)
{
    size_t len;
    const uint8_t *data = next_bytes(&len);

    say(feed_pick(kind, who), data, len);
}

static struct net_addr client_addr(int listener, unsigned which)
{
    static const char *const v4[] = {"192.0.2.7", "192.0.2.8", "203.0.113.80"};
    static const char *const v6[] = {"2001:db8:7::7", "2001:db8:8::7", "2001:db8:80::80"};
    bool is_v6 = feed_ends[listener].family == AF_INET6;

    return feed_addr((is_v6 ? v6 : v4)[which % 3], (uint16_t)(5000 + which));
}

static void come(unsigned who)
{
    int listener = feed_pick(FEED_LISTENER, who);

    if (listener < 0)
        return;
    struct net_addr from = client_addr(listener, next());
    feed_arrive(listener, &from);
}

static void datagram(unsigned who)
{
    static const char *const senders[] = {"192.0.2.7", "192.0.2.8", "203.0.113.1"};
    int fd = feed_pick(FEED_DATAGRAMS, who);
    unsigned sender = next() % 8;
    size_t len;
    const uint8_t *data = next_bytes(&len);

    if (fd < 0)
        return;
    const struct feed_end *e = &feed_ends[fd];
    struct net_addr from = sender == 6 ? e->last : e->peer;
    if (sender < 6 || from.any.sa_family == AF_UNSPEC)
        from = feed_addr(senders[sender % 3], (uint16_t)(6000 + sender / 3));
    feed_put_datagram(fd, &from, data, len);
}

static void hold(unsigned who)
{
    int fd = feed_pick(FEED_TARGET, who);

    if (fd >= 0)
        feed_ends[fd].held = !feed_ends[fd].held;
}

static void step(void)
{
    static const int durations[] = {1,     10,    60,    300,    1100,   5100,
                                    10100, 31000, 61000, 301000, 3601000};
    unsigned op = next() % FEED_OPS, who = next() % 8;

    switch ((enum feed_op)op) {
    case FEED_CLIENT_SAYS:
        say_next(FEED_CLIENT, who);
        break;
    case FEED_TARGET_SAYS:
        say_next(FEED_TARGET, who);
        break;
    case FEED_CLIENT_ENDS:
        end(feed_pick(FEED_CLIENT, who));
        break;
    case FEED_TARGET_ENDS:
        end(feed_pick(FEED_TARGET, who));
        break;
    case FEED_CLIENT_LEAVES:
        leave(feed_pick(FEED_CLIENT, who));
        break;
    case FEED_TARGET_LEAVES:
        leave(feed_pick(FEED_TARGET, who));
        break;
    case FEED_TIME:
        feed_now_ms += durations[next() % (sizeof durations / sizeof *durations)];
        break;
    case FEED_COMES:
        come(who);
        break;
    case FEED_FATE:
        feed_set_fate(next());
        break;
    case FEED_DATAGRAM:
        datagram(who);
        break;
    case FEED_NAMES:
        feed_set_answer(next());
        break;
    case FEED_HOLD:
        hold(who);
        break;
    case FEED_SHORTAGE:
        feed_be_short(next() % 8);
        break;
    case FEED_SIGNAL:
        send_signal(who == 0 ? SIGUSR1 : SIGTERM);
        break;
    case FEED_HELPER:
        helper_manner = next() % HELPERS;
        break;
    case FEED_OPS:
        break;
    }
}

/* --- waiting --- */

/* Nothing is ready: the script goes on, or time does. */
static void go_on(int timeout)
{
    spins = 0;
    if (phase == SCRIPT && script_at < script_len && turns++ < STEPS_MAX) {
        step();
        return;
    }
    if (phase == SCRIPT) {
        leave_all();
        feed_be_short(0);
        helper_manner = HELPER_KNOWS;
        phase = WAITING;
        turns = 0;
        return;
    }
    if (phase == WAITING && (timeout < 0 || turns++ >= WAITS)) {
        send_signal(SIGTERM);
        phase = DRAINING;
        turns = 0;
        return;
    }
    PROPERTY(timeout >= 0); /* or it would wait for ever */
    PROPERTY(turns++ < DRAINS_MAX);
    feed_now_ms += timeout;
}

FEED_CALL int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
    int n;

    PROPERTY(feed_on);
    PROPERTY(spins++ < SPINS_MAX);
    hear_all();
    help();
    n = (int)syscall(SYS_epoll_pwait, epoll, events, most, 0, NULL, 8);
    if (n != 0 || timeout == 0)
        return n;
    go_on(timeout);
    return 0;
}

/* The time of day is true: the fuzzer itself asks for it in the middle of a run, when its alarm
 * rings, and would find that the run takes for ever. */
FEED_CALL int clock_gettime(clockid_t clock, struct timespec *t)
{
    if (!feed_on || clock == CLOCK_REALTIME)
        return (int)syscall(SYS_clock_gettime, clock, t);
    t->tv_sec = feed_now_ms / 1000;
    t->tv_nsec = feed_now_ms % 1000 * 1000000;
    return 0;
}

/* The same input is to run the same way. */
FEED_CALL ssize_t getrandom(void *data, size_t len, unsigned flags)
{
    if (!feed_on)
        return syscall(SYS_getrandom, data, len, flags);
    memset(data, 0x5a, len);
    return (ssize_t)len;
}

/* --- a run --- */

void feed_begin(const uint8_t *text, size_t size)
{
    feed_reset_table();
    script = text;
    script_len = size;
    script_at = 0;
    phase = SCRIPT;
    spins = turns = helper_manner = 0;
    secret_said = false;
    feed_now_ms = FIRST_MS;
    feed_set_answer(0);
    feed_on = true;
}

/* What the worker did not close it has lost. */
void feed_end(void)
{
    for (int fd = 0; fd < FEED_FDS; fd++)
        PROPERTY(feed_ends[fd].kind == FEED_NONE);
    feed_on = false;
    if (helper >= 0)
        syscall(SYS_close, helper);
    if (signals >= 0)
        syscall(SYS_close, signals);
    helper = signals = -1;
}
