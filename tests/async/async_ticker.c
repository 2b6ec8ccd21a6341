/*
 * async_ticker ADDRESS PORT: connects without blocking and waits with an epoll that a timer wakes
 * every 10 ms. Prints the result of the connection, the seconds it took, and the longest time that
 * the timer was late.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int watch(int epfd, int fd, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.fd = fd};

    return epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &e);
}

static int begin(const char *address, const char *port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    inet_pton(AF_INET, address, &to.sin_addr);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 || errno != EINPROGRESS)
        perror("connect");
    return fd;
}

/* The socket's error, as soon as it is known. */
static int wait_for(int epfd, int fd, int timer, double *gap)
{
    double last = now();
    int error = -1;
    socklen_t len = sizeof error;

    while (error < 0) {
        struct epoll_event e;
        uint64_t ticks;
        double late;

        if (epoll_wait(epfd, &e, 1, 1000) != 1)
            return ETIMEDOUT;
        late = now() - last - 0.01;
        *gap = late > *gap ? late : *gap;
        last = now();
        if (e.data.fd == fd)
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
        else if (read(timer, &ticks, sizeof ticks) < 0)
            perror("read");
    }
    return error;
}

int main(int argc, char **argv)
{
    const struct itimerspec often = {{0, 10000000}, {0, 10000000}};
    int epfd = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, 0), fd, error;
    double began, gap = 0;

    if (argc != 3)
        return 2;
    timerfd_settime(timer, 0, &often, NULL);
    watch(epfd, timer, EPOLLIN);
    began = now();
    fd = begin(argv[1], argv[2]);
    gap = now() - began;
    watch(epfd, fd, EPOLLOUT);
    error = wait_for(epfd, fd, timer, &gap);
    printf("%d %f %f\n", error, now() - began, gap);
    return 0;
}
