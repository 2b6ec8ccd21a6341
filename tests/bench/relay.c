/*
 * relay: two relays that do nothing but relay, as measures of what a proxy could reach at best.
 *
 *     relay splice PORT WORKERS TARGET_PORT    every connection goes to TARGET_PORT; splice() with
 *                                              pipes of 1 MiB
 *     relay socks5 PORT WORKERS                CONNECT to an IPv4 address as the request says, with
 *                                              the messages in one segment each; read and write
 *
 * All on 127.0.0.1. No login, rules, names, timers, log; a worker is a process with a listener of
 * its own (SO_REUSEPORT). A pair is ended when either side ends or fails.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BATCH = 256, BUFFER = 262144, PIPE = 1 << 20, ENDS_MAX = 1 << 21 };
enum state { GREETING, REQUEST, DIALLING, RELAYING };

/* One side of a pair; by descriptor. `pipe` holds what came from this side. */
struct end {
    int fd, pipe[2];
    size_t in_pipe;
    bool ended; /* nothing more comes */
    bool is_target;
    enum state state;
    struct end *other;
};

static bool by_splice;
static uint16_t target_port;
static int epoll;
static struct end *ends;

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static struct sockaddr_in here(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static struct end *new_end(int fd, enum state state)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | (uint32_t)EPOLLET,
                                .data.fd = fd};
    struct end *e = &ends[fd];
    int on = 1;

    *e = (struct end){.fd = fd, .pipe = {-1, -1}, .state = state};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (by_splice) {
        if (pipe2(e->pipe, O_NONBLOCK) < 0)
            die("pipe2");
        fcntl(e->pipe[0], F_SETPIPE_SZ, PIPE);
    }
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
    return e;
}

static void close_end(struct end *e)
{
    close(e->fd);
    if (e->pipe[0] >= 0) {
        close(e->pipe[0]);
        close(e->pipe[1]);
    }
    e->fd = -1;
}

static void finish(struct end *e)
{
    struct end *other = e->other;

    close_end(e);
    if (other)
        close_end(other);
}

/* --- relaying -------------------------------------------------------------------------------- */

/* False: the pair is over. */
static bool write_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        struct pollfd wait = {.fd = fd, .events = POLLOUT};

        if (n < 0 && (errno != EAGAIN || poll(&wait, 1, -1) < 0))
            return false;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return true;
}

static bool pump_buffer(struct end *from)
{
    static uint8_t buffer[BUFFER];

    for (;;) {
        ssize_t n = recv(from->fd, buffer, sizeof buffer, 0);
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        if (!write_all(from->other->fd, buffer, (size_t)n))
            return false;
        if ((size_t)n < sizeof buffer)
            return true;
    }
}

static bool pump_splice(struct end *from)
{
    enum { HOW = SPLICE_F_MOVE | SPLICE_F_NONBLOCK };

    for (;;) {
        ssize_t in = from->ended ? 0 : splice(from->fd, NULL, from->pipe[1], NULL, PIPE, HOW);
        if (in < 0 && errno != EAGAIN)
            return false;
        from->ended |= in == 0;
        from->in_pipe += in > 0 ? (size_t)in : 0;
        if (from->in_pipe == 0)
            return !from->ended;
        ssize_t out = splice(from->pipe[0], NULL, from->other->fd, NULL, from->in_pipe, HOW);
        if (out < 0)
            return errno == EAGAIN;
        from->in_pipe -= (size_t)out;
    }
}

static void relay(struct end *e)
{
    bool (*pump)(struct end *) = by_splice ? pump_splice : pump_buffer;

    if (!pump(e) || !pump(e->other))
        finish(e);
}

/* --- before that ----------------------------------------------------------------------------- */

static void dial(struct end *client, const struct sockaddr_in *to)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    if (fd < 0 ||
        (connect(fd, (const struct sockaddr *)to, sizeof *to) < 0 && errno != EINPROGRESS)) {
        finish(client);
        return;
    }
    client->other = new_end(fd, DIALLING);
    client->other->other = client;
    client->other->is_target = true;
    client->state = DIALLING;
}

static void dialled(struct end *e, uint32_t events)
{
    static const uint8_t yes[10] = {5, 0, 0, 1};

    if (!(events & (EPOLLOUT | EPOLLERR)))
        return;
    if (events & EPOLLERR || (!by_splice && !write_all(e->other->fd, yes, sizeof yes))) {
        finish(e);
        return;
    }
    e->state = e->other->state = RELAYING;
    relay(e);
}

static void greeted(struct end *e)
{
    uint8_t hello[3];

    if (recv(e->fd, hello, sizeof hello, 0) != sizeof hello) {
        if (errno != EAGAIN)
            finish(e);
        return;
    }
    e->state = REQUEST;
    if (!write_all(e->fd, (const uint8_t[]){5, 0}, 2))
        finish(e);
}

static void asked(struct end *e)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    uint8_t request[10];

    if (recv(e->fd, request, sizeof request, 0) != sizeof request) {
        if (errno != EAGAIN)
            finish(e);
        return;
    }
    memcpy(&to.sin_addr, request + 4, 4);
    memcpy(&to.sin_port, request + 8, 2);
    dial(e, &to);
}

static void step(struct end *e, uint32_t events)
{
    if (e->fd < 0)
        return;
    if (e->state == GREETING && events & EPOLLIN)
        greeted(e);
    else if (e->state == REQUEST && events & EPOLLIN)
        asked(e);
    else if (e->state == DIALLING && e->is_target)
        dialled(e, events);
    else if (e->state == RELAYING)
        relay(e);
}

static void take(int listener)
{
    struct sockaddr_in to = here(target_port);
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct end *e = new_end(fd, GREETING);
        if (by_splice)
            dial(e, &to);
    }
}

static _Noreturn void work(uint16_t port)
{
    struct sockaddr_in at = here(port);
    struct epoll_event events[BATCH], event = {.events = EPOLLIN};
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    prctl(PR_SET_PDEATHSIG, SIGTERM);
    epoll = epoll_create1(0);
    ends = calloc(ENDS_MAX, sizeof *ends);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (!ends || bind(listener, (struct sockaddr *)&at, sizeof at) < 0 ||
        listen(listener, SOMAXCONN) < 0)
        die("listen");
    event.data.fd = listener;
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int n = epoll_wait(epoll, events, BATCH, -1);
        for (int i = 0; i < n; i++)
            if (events[i].data.fd == listener)
                take(listener);
            else
                step(&ends[events[i].data.fd], events[i].events);
    }
}

int main(int argc, char **argv)
{
    struct rlimit files;

    if (argc < 4)
        die("usage");
    by_splice = !strcmp(argv[1], "splice");
    if (by_splice && argc > 4)
        target_port = (uint16_t)atoi(argv[4]);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    for (int i = atoi(argv[3]); i > 0; i--)
        if (fork() == 0)
            work((uint16_t)atoi(argv[2]));
    while (wait(NULL) > 0)
        ;
    return 0;
}
