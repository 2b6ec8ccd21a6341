/*
 * Observations and steps that all cases share.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>

#include "conform.h"

/* The target answers after half a second. */
enum { SOON_MS = 250, SETTLED_MS = 1300 };

void say(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
}

const char *errno_name(int number)
{
    const char *name = strerrorname_np(number);

    return number == 0 ? "0" : name ? name : "?";
}

long show(const char *what, long r)
{
    int number = errno;

    if (r == -1)
        say("%s: -1 %s", what, errno_name(number));
    else
        say("%s: %ld", what, r);
    return r;
}

int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

long show_timed(const char *what, int64_t since_ms, long r)
{
    int number = errno;
    char text[128];

    snprintf(text, sizeof text, "%s, %s", what,
             now_ms() - since_ms < SOON_MS ? "at once" : "having waited");
    errno = number;
    return show(text, r);
}

void show_events(const char *what, unsigned events)
{
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = {{POLLIN, "IN"},         {POLLPRI, "PRI"},       {POLLOUT, "OUT"},
                 {POLLERR, "ERR"},       {POLLHUP, "HUP"},       {POLLNVAL, "NVAL"},
                 {POLLRDNORM, "RDNORM"}, {POLLWRNORM, "WRNORM"}, {POLLRDHUP, "RDHUP"}};

    printf("%s:", what);
    for (size_t i = 0; i < LENGTH(names); i++) {
        if (events & names[i].bit)
            printf(" %s", names[i].name);
        events &= ~names[i].bit;
    }
    if (events)
        printf(" %x", events);
    printf("\n");
}

void show_poll(int fd)
{
    struct pollfd p = {
        .fd = fd,
        .events = POLLIN | POLLPRI | POLLOUT | POLLRDHUP | POLLRDNORM | POLLWRNORM,
    };
    int r = poll(&p, 1, 0);

    if (r < 0)
        show("poll", r);
    show_events("poll says", (unsigned)p.revents);
}

void show_error(int fd)
{
    int error = -1;
    socklen_t len = sizeof error;

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        show("SO_ERROR", -1);
    else
        say("SO_ERROR is %s", errno_name(error));
}

void show_peer(int fd)
{
    struct sockaddr_in6 in6 = {0};
    struct sockaddr_in *in4 = (struct sockaddr_in *)&in6;
    socklen_t len = sizeof in6;
    char text[64] = "?";

    if (getpeername(fd, (struct sockaddr *)&in6, &len) < 0) {
        show("getpeername", -1);
        return;
    }
    if (in6.sin6_family == AF_INET6)
        inet_ntop(AF_INET6, &in6.sin6_addr, text, sizeof text);
    else
        inet_ntop(AF_INET, &in4->sin_addr, text, sizeof text);
    say("getpeername: %u bytes, %s port %u", len, text, ntohs(in6.sin6_port));
}

void show_state(int fd)
{
    show_poll(fd);
    show_peer(fd);
    show_error(fd);
    show_poll(fd);
}

void show_echo(int fd)
{
    char got[16] = "";
    size_t have = 0;

    set_blocking(fd, true);
    show("echo: send", send(fd, "hello", 5, MSG_NOSIGNAL));
    while (have < 5) {
        ssize_t n = recv(fd, got + have, 5 - have, 0);

        if (n <= 0) {
            show("echo: recv", n);
            return;
        }
        have += (size_t)n;
    }
    say("echo: %.5s", got);
}

/* --- steps ----------------------------------------------------------------------------------- */

int tcp_socket(int type_flags)
{
    int fd = socket(the_domain, SOCK_STREAM | type_flags, 0);

    if (fd < 0) {
        show("socket", fd);
        exit(1);
    }
    return fd;
}

int connect_to(int fd, struct address a)
{
    return connect(fd, &a.any, a.len);
}

int connect_target(int fd)
{
    return connect_to(fd, conform_target());
}

int pending_socket(void)
{
    int fd = tcp_socket(SOCK_NONBLOCK);
    int r = connect_target(fd);

    if (r != -1 || errno != EINPROGRESS)
        show("connect of a non-blocking socket", r);
    return fd;
}

int dissolve(int fd)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};

    return connect(fd, &none, sizeof none);
}

void set_blocking(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);

    fcntl(fd, F_SETFL, on ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
}

void let_settle(void)
{
    int64_t end = now_ms() + SETTLED_MS;

    while (now_ms() < end)
        usleep(20000);
}

int await(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};

    return poll(&p, 1, 10000);
}

void in_child(void (*child)(int fd), int fd)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        child(fd);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    if (status)
        say("the child ended with status %x", (unsigned)status);
}
