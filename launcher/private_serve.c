/*
 * Three processes, none of them the command's child:
 *
 *     this one ──forks──> viaductd ──forks──> its worker
 *
 *     START ──READY=1──> SERVING ──the session is over──> viaductd is ended, and so are we
 *       │ viaductd ends, or  ^ │ viaductd ends, by whatever has killed it: it is started again, and
 *       │ takes too long:    └─┘ who connects meanwhile waits; if it ends again and again so do we,
 *       v the launcher is        and connections fail from then on
 *         told what it said
 *
 * One that writes a trace is not started again, which would be begun anew in the middle of a file.
 *
 * The daemon has the listening socket as service managers give it, its configuration as standard
 * input, and a pipe to us as standard error. If we are killed the kernel ends it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "launcher/aside.h"
#include "launcher/private_state.h"

enum {
    START_MS = 20000,
    END_TRIES = 200,
    END_PAUSE_MS = 10,
    SAID_MAX = 1024,
    LISTEN_FD = 3,
    TRACE_FD = 4,
    ARGUMENTS = 10,
    AGAIN_MAX = 3, /* times that it is started again within AGAIN_WITHIN_S */
    AGAIN_WITHIN_S = 60
};

struct child {
    pid_t pid;
    int conf;   /* written: its standard input */
    int said;   /* read: its standard error */
    int notify; /* it says here that it is ready */
    char notify_name[16];
};

static void tell(const struct private_server *s, const char *what)
{
    if (write(s->ready, what, strlen(what)) < 0)
        return; /* the launcher is gone, and so is the need */
}

static void die(const struct private_server *s, const char *what)
{
    tell(s, what);
    _exit(1);
}

/* --- the daemon ------------------------------------------------------------------------------ */

/* A datagram socket with a name that the kernel chose, behind a NUL. */
static int open_notify(char name[16])
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    socklen_t len = sizeof at.sun_family;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) < 0)
        return -1;
    len = sizeof at;
    if (getsockname(fd, (struct sockaddr *)&at, &len) < 0)
        return -1;
    size_t size = len - offsetof(struct sockaddr_un, sun_path) - 1;
    if (size >= 15)
        return -1;
    name[0] = '@';
    memcpy(name + 1, at.sun_path + 1, size);
    name[1 + size] = 0;
    return fd;
}

/* What may matter to the daemon of our environment, and nothing else. */
static void make_environment(const char *notify_name)
{
    static const char *const kept[] = {"LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR",
                                       "ASAN_OPTIONS",    "UBSAN_OPTIONS", "LSAN_OPTIONS"};
    enum { KEPT = sizeof kept / sizeof *kept };
    const char *values[KEPT];
    char number[16];

    for (int i = 0; i < KEPT; i++)
        values[i] = getenv(kept[i]);
    environ = NULL;
    for (int i = 0; i < KEPT; i++)
        if (values[i])
            setenv(kept[i], values[i], 1);
    snprintf(number, sizeof number, "%d", (int)getpid());
    setenv("LISTEN_PID", number, 1);
    setenv("LISTEN_FDS", "1", 1);
    setenv("NOTIFY_SOCKET", notify_name, 1);
}

/* It goes on with what the launcher has begun. */
static void add_trace(const struct private_server *s, char **argv)
{
    static const char *const formats[] = {
        [PLAN_TRACE_TEXT] = "--trace-format=text",
        [PLAN_TRACE_PCAPNG] = "--trace-format=pcapng",
        [PLAN_TRACE_PCAP] = "--trace-format=pcap",
    };
    static char data[40];

    snprintf(data, sizeof data, "--trace-data=%" PRIu32, s->trace_data);
    *argv++ = (char *)"--trace=/dev/fd/4"; /* TRACE_FD */
    *argv++ = (char *)formats[s->plan->trace];
    *argv++ = data;
    *argv++ = (char *)"--trace-hops";
    if (s->plan->trace_secrets)
        *argv++ = (char *)"--trace-secrets";
}

static void be_daemon(const struct private_server *s, const char *notify_name, int conf, int said,
                      pid_t parent)
{
    char *argv[ARGUMENTS] = {(char[]){"viaductd"}, (char[]){"-q"}, (char[]){"-f"}, (char[]){"-"}};

    if (s->trace >= 0)
        add_trace(s, argv + 4);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_DFL);
    if (getppid() != parent || dup2(conf, STDIN_FILENO) < 0 || dup2(said, STDERR_FILENO) < 0)
        _exit(1);
    fcntl(s->listener, F_SETFD, 0);
    if (s->trace >= 0 && dup2(s->trace, TRACE_FD) < 0)
        _exit(1);
    close_range(LISTEN_FD + 1 + (s->trace >= 0), UINT_MAX, 0);
    make_environment(notify_name);
    execv(s->program, argv);
    dprintf(STDERR_FILENO, "%s: %s\n", s->program, strerror(errno));
    _exit(1);
}

static bool start_daemon(const struct private_server *s, struct child *c)
{
    int conf[2], said[2];
    pid_t parent = getpid();

    c->notify = open_notify(c->notify_name);
    if (c->notify < 0 || pipe2(conf, O_CLOEXEC) < 0 || pipe2(said, O_CLOEXEC) < 0)
        return false;
    c->pid = fork();
    if (c->pid == 0)
        be_daemon(s, c->notify_name, conf[0], said[1], parent);
    close(conf[0]);
    close(said[1]);
    c->conf = conf[1];
    c->said = said[0];
    return c->pid > 0;
}

/* The daemon reads it all before it does anything else. */
static void write_conf(const struct private_server *s, struct child *c)
{
    size_t len = strlen(s->conf);
    ssize_t n;

    for (size_t at = 0; at < len; at += (size_t)n) {
        n = write(c->conf, s->conf + at, len - at);
        if (n < 0)
            break; /* it has ended, and has said why */
    }
    close(c->conf);
}

/* --- its start ------------------------------------------------------------------------------- */

static bool is_ready(const struct child *c)
{
    char state[64];
    ssize_t n = recv(c->notify, state, sizeof state - 1, 0);

    if (n <= 0)
        return false;
    state[n] = 0;
    return strstr(state, "READY=1") != NULL;
}

/* The last line without the program's name, which is the reason if it has ended. */
static void tell_last_line(const struct private_server *s, char *said)
{
    static const char name[] = "viaductd: ";
    char *line = said;
    size_t len = strlen(said);

    while (len > 0 && said[len - 1] == '\n')
        said[--len] = 0;
    for (char *end; (end = strchr(line, '\n')) && end[1];)
        line = end + 1;
    if (!strncmp(line, name, sizeof name - 1))
        line += sizeof name - 1;
    tell(s, *line ? line : "it ended without a word");
}

/* Whether it is ready; if not, `said` is what it had to say. */
static bool await_ready(const struct child *c, char said[SAID_MAX])
{
    struct pollfd fds[] = {{.fd = c->notify, .events = POLLIN}, {.fd = c->said, .events = POLLIN}};
    size_t len = 0;

    said[0] = 0;
    while (poll(fds, 2, START_MS) > 0) {
        if ((fds[0].revents & POLLIN) && is_ready(c))
            return true;
        if (!fds[1].revents)
            continue;
        ssize_t n = read(c->said, said + len, SAID_MAX - 1 - len);
        if (n <= 0)
            break;
        len += (size_t)n;
        said[len] = 0;
    }
    return false;
}

static void await_start(const struct private_server *s, const struct child *c)
{
    char said[SAID_MAX];

    if (await_ready(c, said)) {
        tell(s, "+");
        return;
    }
    if (said[0])
        tell_last_line(s, said);
    else
        tell(s, "it did not start in time");
    kill(c->pid, SIGKILL);
    _exit(1);
}

/* --- its life and its end -------------------------------------------------------------------- */

/* What it says later is trouble, and goes to the log, if there is one; and to who waits for a
 * trace, since that may end. */
static bool pass_on(const struct private_server *s, const struct child *c)
{
    char text[SAID_MAX];
    ssize_t n = read(c->said, text, sizeof text);
    int fd = -1;

    if (n > 0 && s->log)
        fd = open(s->log, O_WRONLY | O_APPEND | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0) {
        if (write(fd, text, (size_t)n) < 0)
            n = 1; /* nowhere left to complain */
        close(fd);
    } else if (n > 0 && s->complaints >= 0 && write(s->complaints, text, (size_t)n) < 0) {
        n = 1;
    }
    return n > 0;
}

static void pause_ms(int ms)
{
    struct timespec pause = {.tv_nsec = ms * 1000000L};

    nanosleep(&pause, NULL);
}

static void end_daemon(const struct child *c)
{
    kill(c->pid, SIGQUIT);
    for (int i = 0; i < END_TRIES && waitpid(c->pid, NULL, WNOHANG) == 0; i++)
        pause_ms(END_PAUSE_MS);
    kill(c->pid, SIGKILL);
}

/* False: it has ended, and the session has not. */
static bool serve(const struct private_server *s, const struct child *c, struct private_watch *w)
{
    struct pollfd fds[] = {{.fd = c->said, .events = POLLIN}, {.fd = w->notes, .events = POLLIN}};
    int left;

    while ((left = private_watch_left_ms(w)) > 0) {
        if (poll(fds, 2, left) <= 0)
            continue;
        if (fds[0].revents && !pass_on(s, c))
            return false;
        if (fds[1].revents)
            private_watch_take(w);
    }
    return true;
}

/* Who ends again and again would only have everybody wait. */
static bool may_start_again(const struct private_server *s)
{
    static struct timespec began;
    static unsigned count;
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (count == 0 || now.tv_sec - began.tv_sec >= AGAIN_WITHIN_S) {
        began = now;
        count = 0;
    }
    return s->trace < 0 && count++ < AGAIN_MAX;
}

static bool start_again(const struct private_server *s, struct child *c)
{
    char said[SAID_MAX];

    kill(c->pid, SIGKILL);
    waitpid(c->pid, NULL, 0);
    c->pid = 0;
    close(c->said);
    if (!may_start_again(s) || !start_daemon(s, c))
        return false;
    write_conf(s, c);
    bool ready = await_ready(c, said);
    close(c->notify);
    return ready;
}

void private_serve(struct private_server *s)
{
    int kept[] = {s->listener, s->ready, s->trace, STDERR_FILENO};
    struct private_watch watch;
    struct child child;

    bool complains = s->trace >= 0 && fcntl(STDERR_FILENO, F_GETFD) >= 0;

    aside_let_go("viaduct-private", kept, s->trace < 0 ? 2 : complains ? 4 : 3);
    s->listener = kept[0]; /* LISTEN_FD, as aside_let_go() promises */
    s->ready = kept[1];
    s->trace = s->trace < 0 ? -1 : kept[2];
    s->complaints = complains ? kept[3] : -1;
    signal(SIGPIPE, SIG_IGN);
    if (!private_watch_begin(&watch, s->session) || !start_daemon(s, &child))
        die(s, strerror(errno));
    write_conf(s, &child);
    await_start(s, &child);
    close(s->ready);
    close(child.notify);
    if (s->trace >= 0)
        close(s->trace);
    while (!serve(s, &child, &watch) && start_again(s, &child))
        ;
    explicit_bzero((char *)s->conf, strlen(s->conf));
    close(s->listener);
    if (child.pid > 0)
        end_daemon(&child);
    _exit(0);
}
