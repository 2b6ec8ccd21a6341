/*
 * tunnels: a load program: opens tunnels through a proxy, sends bytes to an echo server through
 * each, compares what comes back, and counts.
 *
 *     tunnels --serve HOST:PORT                  an echo server; prints "port N" and serves
 *     tunnels --proxy HOST:PORT --target HOST:PORT [--scheme socks5|http] [--echo BYTES]
 *             --sequential N [--clients C]       N tunnels, C at a time (default 1)
 *           | --parallel N [--hold MS]           N tunnels open at once, closed when all have
 * echoed
 *             [--direct]                         no proxy: straight to the target
 *             [--echoes N]                       so many times the bytes and their echo through
 *                                                each, and each of these is timed, not the tunnel
 *
 * HOST is an IPv4 address. The last line is "tunnels=N errors=E seconds=S per_second=R p50_us=A
 * p99_us=B p999_us=C bytes=T"; the exit status is 0 only if there was no error.
 *
 * A tunnel: CONNECTING -> GREETED (socks5) -> ASKED -> ECHOING -> HELD (--parallel) -> closed.
 * Messages are sent one by one, each after the answer to the one before: every proxy takes that.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 256, BUFFER = 65536, ECHO_MAX = BUFFER, PATIENCE_MS = 20000 };
enum state { IDLE, CONNECTING, GREETED, ASKED, ECHOING, HELD };

struct tunnel {
    int fd;
    enum state state;
    size_t got; /* of the answer or echo awaited */
    char head[512];
    int64_t began_us;
    unsigned long echoes; /* still to come */
};

static struct {
    struct sockaddr_in proxy, target;
    const char *target_text;
    bool http, direct;
    size_t echo;
    unsigned long count; /* in all */
    unsigned clients;    /* at once */
    bool together;       /* --parallel */
    int hold_ms;
    unsigned long echoes; /* of each tunnel */
} want = {.echo = 64, .clients = 1, .echoes = 1};

static struct {
    int epoll;
    unsigned long started, done, errors, held;
    uint64_t bytes;
    unsigned long timed;
    uint32_t *us; /* how long each took */
} run;

static uint8_t payload[ECHO_MAX];

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "tunnels: %s: %s\n", what, errno ? strerror(errno) : "bad value");
    exit(2);
}

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void watch(int epoll, int fd, int how, uint32_t events, void *data)
{
    struct epoll_event event = {.events = events, .data.ptr = data};
    if (epoll_ctl(epoll, how, fd, &event) != 0)
        die("epoll_ctl");
}

/* --- the echo server --- */

static void echo_accept(int epoll, int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0)
        watch(epoll, fd, EPOLL_CTL_ADD, EPOLLIN, (void *)(intptr_t)fd);
}

/* What the kernel does not take at once is waited for: the peer reads what it sent. */
static bool echo_back(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return false;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return true;
}

static void echo(int fd)
{
    static uint8_t buffer[BUFFER];
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0 || !echo_back(fd, buffer, (size_t)n))
        close(fd);
}

static _Noreturn void serve(struct sockaddr_in at)
{
    struct epoll_event events[BATCH];
    socklen_t len = sizeof at;
    int on = 1, epoll = epoll_create1(0);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&at, len) != 0 || listen(listener, SOMAXCONN) != 0)
        die("listen");
    getsockname(listener, (struct sockaddr *)&at, &len);
    printf("port %d\n", ntohs(at.sin_port));
    fflush(stdout);
    watch(epoll, listener, EPOLL_CTL_ADD, EPOLLIN, (void *)(intptr_t)listener);
    for (;;) {
        int n = epoll_wait(epoll, events, BATCH, -1);
        for (int i = 0; i < n; i++) {
            int fd = (int)(intptr_t)events[i].data.ptr;
            if (fd == listener)
                echo_accept(epoll, listener);
            else
                echo(fd);
        }
    }
}

/* --- a tunnel --- */

static void start(struct tunnel *t);

static void note_time(const struct tunnel *t)
{
    run.us[run.timed++] = (uint32_t)(now_us() - t->began_us);
}

static void finish(struct tunnel *t, bool ok)
{
    if (ok && want.echoes == 1)
        note_time(t);
    run.done++;
    run.errors += !ok;
    close(t->fd);
    t->state = IDLE;
    if (!want.together && run.started < want.count)
        start(t);
}

static void fail(struct tunnel *t, const char *what)
{
    static const char *const at[] = {"idle", "connecting", "greeting", "request", "echo", "held"};
    if (run.errors < 5)
        fprintf(stderr, "tunnels: %s: %s (%s)\n", at[t->state], what,
                errno ? strerror(errno) : "-");
    finish(t, false);
}

static bool say(struct tunnel *t, enum state next, const void *data, size_t len)
{
    if (send(t->fd, data, len, MSG_NOSIGNAL) != (ssize_t)len) {
        fail(t, "send");
        return false;
    }
    t->state = next;
    t->got = 0;
    return true;
}

static void start(struct tunnel *t)
{
    const struct sockaddr_in *to = want.direct ? &want.target : &want.proxy;
    int on = 1;
    run.started++;
    t->began_us = now_us();
    t->state = CONNECTING;
    t->echoes = want.echoes;
    t->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (t->fd < 0)
        die("socket");
    setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(t->fd, (const struct sockaddr *)to, sizeof *to) != 0 && errno != EINPROGRESS) {
        fail(t, "connect");
        return;
    }
    watch(run.epoll, t->fd, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT | (uint32_t)EPOLLET, t);
}

static void say_payload(struct tunnel *t)
{
    if (want.echoes > 1)
        t->began_us = now_us();
    say(t, ECHOING, payload, want.echo);
}

static void ask(struct tunnel *t)
{
    char text[512];
    if (want.http) {
        int len = snprintf(text, sizeof text, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n",
                           want.target_text, want.target_text);
        say(t, ASKED, text, (size_t)len);
        return;
    }
    memcpy(text, "\5\1\0\1", 4);
    memcpy(text + 4, &want.target.sin_addr, 4);
    memcpy(text + 8, &want.target.sin_port, 2);
    say(t, ASKED, text, 10);
}

static void connected(struct tunnel *t)
{
    int number = 0;
    socklen_t len = sizeof number;
    getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &number, &len);
    errno = number;
    if (number != 0)
        fail(t, "connect");
    else if (want.direct)
        say_payload(t);
    else if (want.http)
        ask(t);
    else
        say(t, GREETED, "\5\1\0", 3);
}

/* Reads up to `len` bytes into `to`, from t->got on. Whether they are all there. */
static bool gather(struct tunnel *t, void *to, size_t len)
{
    ssize_t n = recv(t->fd, (char *)to + t->got, len - t->got, 0);
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n <= 0) {
        errno = n < 0 ? errno : 0;
        fail(t, "the proxy closed");
        return false;
    }
    t->got += (size_t)n;
    return t->got == len;
}

static void greeted(struct tunnel *t)
{
    if (!gather(t, t->head, 2))
        return;
    if (memcmp(t->head, "\5\0", 2) == 0)
        ask(t);
    else
        fail(t, "bad greeting");
}

/* Byte by byte, for no byte behind the head belongs to it. */
static void http_answered(struct tunnel *t)
{
    while (gather(t, t->head, t->got + 1)) {
        bool end = t->got >= 4 && memcmp(t->head + t->got - 4, "\r\n\r\n", 4) == 0;
        if (!end && t->got < sizeof t->head)
            continue;
        if (end && t->got > 12 && t->head[9] == '2')
            say_payload(t);
        else
            fail(t, "bad answer");
        return;
    }
}

static void answered(struct tunnel *t)
{
    if (want.http) {
        http_answered(t);
        return;
    }
    if (!gather(t, t->head, 10))
        return;
    errno = 0;
    if (memcmp(t->head, "\5\0\0\1", 4) == 0)
        say_payload(t);
    else
        fail(t, "refused");
}

static void echoed(struct tunnel *t)
{
    static uint8_t buffer[ECHO_MAX];
    size_t from = t->got;
    bool whole = gather(t, buffer, want.echo);
    if (t->state != ECHOING)
        return;
    errno = 0;
    if (memcmp(buffer + from, payload + from, t->got - from) != 0) {
        fail(t, "the echo differs");
        return;
    }
    if (!whole)
        return;
    run.bytes += want.echo;
    if (want.echoes > 1)
        note_time(t);
    if (--t->echoes > 0) {
        say_payload(t);
        return;
    }
    t->state = HELD;
    run.held++;
    if (!want.together)
        finish(t, true);
}

static void step(struct tunnel *t, uint32_t events)
{
    enum state before;
    do {
        before = t->state;
        errno = 0;
        if (before == CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
            connected(t);
        else if (before == GREETED)
            greeted(t);
        else if (before == ASKED)
            answered(t);
        else if (before == ECHOING)
            echoed(t);
    } while (t->state != before && t->state != CONNECTING && t->state != HELD && t->state != IDLE);
}

/* --- the run --- */

static bool is_over(void)
{
    return want.together ? run.held + run.done >= want.count : run.done >= want.count;
}

static void play(struct tunnel *tunnels, unsigned at_once)
{
    struct epoll_event events[BATCH];
    for (unsigned i = 0; i < at_once; i++)
        start(&tunnels[i]);
    while (!is_over()) {
        int n = epoll_wait(run.epoll, events, BATCH, PATIENCE_MS);
        if (n == 0) {
            fprintf(stderr, "tunnels: nothing happened for %d ms\n", PATIENCE_MS);
            run.errors += want.count - run.done;
            break;
        }
        for (int i = 0; i < n; i++)
            step(events[i].data.ptr, events[i].events);
    }
    if (want.hold_ms > 0) {
        puts("held");
        fflush(stdout);
        usleep((useconds_t)want.hold_ms * 1000);
    }
    for (unsigned i = 0; i < at_once; i++)
        if (tunnels[i].state == HELD)
            finish(&tunnels[i], true);
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void report(double seconds)
{
    unsigned long good = run.timed;
    qsort(run.us, good, sizeof *run.us, by_number);
    printf("tunnels=%lu errors=%lu seconds=%.3f per_second=%.0f p50_us=%u p99_us=%u p999_us=%u "
           "bytes=%llu\n",
           want.count, run.errors, seconds, (double)good / seconds, good ? run.us[good / 2] : 0,
           good ? run.us[good * 99 / 100] : 0, good ? run.us[good * 999 / 1000] : 0,
           (unsigned long long)run.bytes);
}

/* --- options --- */

static struct sockaddr_in address(const char *text)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    char host[64];
    unsigned port;
    errno = 0;
    if (sscanf(text, "%63[0-9.]:%u", host, &port) != 2 || port > 65535 ||
        inet_pton(AF_INET, host, &at.sin_addr) != 1)
        die(text);
    at.sin_port = htons((uint16_t)port);
    return at;
}

static unsigned long number(const char *text, unsigned long most)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (*end || n == 0 || n > most)
        die(text);
    return n;
}

static void take(const char *name, const char *value)
{
    if (strcmp(name, "--serve") == 0) {
        serve(address(value));
    } else if (strcmp(name, "--proxy") == 0) {
        want.proxy = address(value);
    } else if (strcmp(name, "--target") == 0) {
        want.target = address(value);
        want.target_text = value;
    } else if (strcmp(name, "--scheme") == 0 && !strcmp(value, "http")) {
        want.http = true;
    } else if (strcmp(name, "--echo") == 0) {
        want.echo = number(value, ECHO_MAX);
    } else if (strcmp(name, "--sequential") == 0) {
        want.count = number(value, 100000000);
    } else if (strcmp(name, "--clients") == 0) {
        want.clients = (unsigned)number(value, 1000000);
    } else if (strcmp(name, "--parallel") == 0) {
        want.together = true;
        want.count = want.clients = (unsigned)number(value, 1000000);
    } else if (strcmp(name, "--echoes") == 0) {
        want.echoes = number(value, 1000000);
    } else if (strcmp(name, "--hold") == 0) {
        want.hold_ms = (int)number(value, 600000);
    } else if (strcmp(name, "--scheme") != 0 || strcmp(value, "socks5") != 0) {
        errno = 0;
        die(name);
    }
}

static void raise_limit(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

int main(int argc, char **argv)
{
    raise_limit();
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--direct") == 0) {
            want.direct = true;
            continue;
        }
        errno = 0;
        if (i + 1 == argc)
            die(argv[i]);
        take(argv[i], argv[i + 1]);
        i++;
    }
    errno = 0;
    if (want.count == 0 || !want.target_text || (!want.direct && !want.proxy.sin_port))
        die("--proxy, --target and --sequential or --parallel are needed");
    if (want.clients > want.count)
        want.clients = (unsigned)want.count;
    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = (uint8_t)(i * 167 + i / 256);
    struct tunnel *tunnels = calloc(want.clients, sizeof *tunnels);
    run.us = calloc(want.count * want.echoes, sizeof *run.us);
    run.epoll = epoll_create1(0);
    if (!tunnels || !run.us || run.epoll < 0)
        die("start");
    int64_t began = now_us();
    play(tunnels, want.clients);
    report((double)(now_us() - began) / 1e6);
    free(tunnels);
    free(run.us);
    return run.errors ? 1 : 0;
}
