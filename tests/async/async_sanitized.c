/*
 * The hooks and the helper thread under a sanitizer: the objects of the library are linked into
 * this program, whose calls so go to the hooks. A hop runs in a child and answers after a while; it
 * takes itself for every target. Threads then connect, wait, duplicate, fork and close all at once.
 *
 * Exit status 0 if every connection came up and echoed; the sanitizer adds its own judgement.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 6, TIMES = 40, FORKS = 12, DELAY_US = 30000, WAIT_MS = 20000 };

static int failures;

static void expect(int condition, const char *what)
{
    if (condition)
        return;
    __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED);
    fprintf(stderr, "%s\n", what);
}

/* --- the hop -----------------------------------------------------------------------------------
 */

static int take(int fd, void *data, size_t len)
{
    return recv(fd, data, len, MSG_WAITALL) == (ssize_t)len;
}

static void *serve(void *arg)
{
    static const uint8_t chosen[] = {5, 0}, reply[] = {5, 0, 0, 1, 0, 0, 0, 0, 0, 0};
    int fd = (int)(intptr_t)arg;
    uint8_t head[10];
    ssize_t n;

    if (take(fd, head, 3) && send(fd, chosen, 2, MSG_NOSIGNAL) == 2 && take(fd, head, 10)) {
        usleep(DELAY_US);
        n = send(fd, reply, sizeof reply, MSG_NOSIGNAL);
        while (n > 0 && (n = recv(fd, head, sizeof head, 0)) > 0)
            n = send(fd, head, (size_t)n, MSG_NOSIGNAL);
    }
    close(fd);
    return NULL;
}

static void serve_all(int listener)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        pthread_t thread;
        int fd = accept(listener, NULL, NULL);

        if (fd >= 0 && pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) == 0)
            pthread_detach(thread);
    }
}

/* Executes this program again, now with a hop in its environment. */
static int start(char **argv)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char url[64], path[PATH_MAX];

    if (bind(listener, (struct sockaddr *)&a, len) < 0 || listen(listener, 1024) < 0 ||
        getsockname(listener, (struct sockaddr *)&a, &len) < 0)
        return 1;
    if (fork() == 0)
        serve_all(listener);
    snprintf(url, sizeof url, "socks5://127.0.0.1:%u", ntohs(a.sin_port));
    setenv("VIADUCT_PROXY", url, 1);
    if (realpath("/proc/self/exe", path)) /* behind the link valgrind would find itself */
        execv(path, argv);
    return 1;
}

/* --- connections -------------------------------------------------------------------------------
 */

/* A documentation address: without the hop nobody is there. */
static int begin(int flags)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(7)};
    int fd = socket(AF_INET, SOCK_STREAM | flags, 0);

    inet_pton(AF_INET, "192.0.2.1", &to.sin_addr);
    expect(connect(fd, (struct sockaddr *)&to, sizeof to) == (flags & SOCK_NONBLOCK ? -1 : 0),
           "connect");
    return fd;
}

static void finish(int fd)
{
    int error = -1;
    socklen_t len = sizeof error;
    char byte = 0;

    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    expect(error == 0, "SO_ERROR");
    fcntl(fd, F_SETFL, 0);
    expect(send(fd, "x", 1, MSG_NOSIGNAL) == 1 && recv(fd, &byte, 1, 0) == 1 && byte == 'x',
           "echo");
    close(fd);
}

static void by_poll(void)
{
    int fd = begin(SOCK_NONBLOCK), copy = dup(fd);
    struct pollfd p = {.fd = copy, .events = POLLOUT};

    close(fd);
    expect(poll(&p, 1, WAIT_MS) == 1, "poll");
    finish(copy);
}

static void by_select(void)
{
    int fd = begin(SOCK_NONBLOCK);
    struct timeval limit = {.tv_sec = WAIT_MS / 1000};
    fd_set set;

    FD_ZERO(&set);
    FD_SET(fd, &set);
    expect(select(fd + 1, NULL, &set, NULL, &limit) == 1, "select");
    finish(fd);
}

static void by_epoll(void)
{
    int one = epoll_create1(0), two = epoll_create1(0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct epoll_event e = {.events = EPOLLOUT | EPOLLET};

    epoll_ctl(one, EPOLL_CTL_ADD, fd, &e);
    epoll_ctl(two, EPOLL_CTL_ADD, fd, &e);
    close(fd);
    fd = begin(SOCK_NONBLOCK);
    epoll_ctl(one, EPOLL_CTL_ADD, fd, &e);
    epoll_ctl(two, EPOLL_CTL_ADD, fd, &e);
    epoll_ctl(two, EPOLL_CTL_DEL, fd, &e);
    expect(epoll_wait(one, &e, 1, WAIT_MS) == 1, "epoll_wait");
    close(one);
    close(two);
    finish(fd);
}

static void by_blocking(void)
{
    int fd = begin(SOCK_NONBLOCK);

    fcntl(fd, F_SETFL, 0);
    expect(write(fd, "y", 1) == 1, "write");
    expect(read(fd, &(char){0}, 1) == 1, "read");
    finish(fd);
    finish(begin(0));
}

static void *play(void *number)
{
    static void (*const ways[])(void) = {by_poll, by_select, by_epoll, by_blocking};

    for (int i = 0; i < TIMES; i++) {
        ways[((int)(intptr_t)number + i) % 4]();
        if (i % 8 == 0)
            close(begin(SOCK_NONBLOCK)); /* given up */
    }
    return NULL;
}

/* --- processes ---------------------------------------------------------------------------------
 */

static void child(int fd, int epfd, int i)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    struct epoll_event e;

    if (i % 3 == 0)
        _exit(epoll_wait(epfd, &e, 1, WAIT_MS) != 1);
    if (i % 3 == 1)
        _exit(poll(&p, 1, WAIT_MS) != 1);
    close(begin(SOCK_NONBLOCK));
    _exit(0);
}

/* An epoll that parent and children share watches a socket that both have. */
static void *fork_often(void *unused)
{
    for (int i = 0; i < FORKS; i++) {
        int epfd = epoll_create1(0), fd = begin(SOCK_NONBLOCK), status = -1;
        struct epoll_event e = {.events = EPOLLOUT};
        pid_t pid;

        epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &e);
        pid = fork();
        if (pid == 0)
            child(fd, epfd, i);
        expect(poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, WAIT_MS) == 1, "poll");
        expect(epoll_wait(epfd, &e, 1, WAIT_MS) == 1, "the shared epoll");
        expect(waitpid(pid, &status, 0) == pid && status == 0, "a child");
        finish(fd);
        close(epfd);
    }
    return unused;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS + 1];

    if (argc > 1 && !getenv("VIADUCT_PROXY"))
        return start(argv);
    if (argc < 2) {
        fprintf(stderr, "usage: async_sanitized run\n");
        return 2;
    }
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, play, (void *)(intptr_t)i);
    pthread_create(&threads[THREADS], NULL, fork_often, NULL);
    for (int i = 0; i <= THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("%d failures\n", failures);
    return failures != 0;
}
