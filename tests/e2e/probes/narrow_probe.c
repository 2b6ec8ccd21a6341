/*
 * narrow_probe WAY NAME PORT: connects without blocking, waits as WAY says (poll, ppoll, select,
 * pselect, epoll; block: blocking), and prints whom the origin saw; udp: sends a datagram and
 * prints the answer. Built for 32 bits, with times of 32 and of 64 bits.
 */
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/time.h>

#include "visit.h"

enum { SECONDS = 8 };

static int by_poll(int fd, int precise)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    struct timespec t = {.tv_sec = SECONDS};

    return precise ? ppoll(&p, 1, &t, NULL) : poll(&p, 1, SECONDS * 1000);
}

static int by_select(int fd, int precise)
{
    struct timespec t = {.tv_sec = SECONDS};
    struct timeval v = {.tv_sec = SECONDS};
    fd_set set;

    FD_ZERO(&set);
    FD_SET(fd, &set);
    return precise ? pselect(fd + 1, NULL, &set, NULL, &t, NULL)
                   : select(fd + 1, NULL, &set, NULL, &v);
}

static int by_epoll(int fd)
{
    struct epoll_event event = {.events = EPOLLOUT, .data.u64 = 0x123456789abcdef0};
    int epfd = epoll_create1(0);

    if (epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event) < 0)
        return -1;
    event.data.u64 = 0;
    return epoll_wait(epfd, &event, 1, SECONDS * 1000) == 1 && event.data.u64 == 0x123456789abcdef0;
}

static int wait_for(int fd, const char *way)
{
    if (!strcmp(way, "epoll"))
        return by_epoll(fd);
    return strstr(way, "poll") ? by_poll(fd, way[1] == 'p') : by_select(fd, way[0] == 'p');
}

static int visit_by(const char *way, int fd, const struct addrinfo *a)
{
    int r, error = 0, blocks = !strcmp(way, "block");
    socklen_t len = sizeof error;

    if (!blocks)
        fcntl(fd, F_SETFL, O_NONBLOCK);
    r = connect(fd, a->ai_addr, a->ai_addrlen);
    if (!blocks) {
        if (r == 0 || errno != EINPROGRESS || wait_for(fd, way) != 1)
            return printf("%s: no connection\n", way), 1;
        r = getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
        fcntl(fd, F_SETFL, 0);
    }
    errno = error ? error : errno;
    return visit_ask(fd, r == 0 && !error ? 0 : -1, way);
}

static int ask_by_datagram(int fd, const struct addrinfo *a)
{
    struct timeval limit = {.tv_sec = SECONDS};
    char answer[64];
    ssize_t n;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    sendto(fd, "hello", 5, 0, a->ai_addr, a->ai_addrlen);
    n = recvfrom(fd, answer, sizeof answer, 0, NULL, NULL);
    printf("%.*s\n", n < 0 ? 0 : (int)n, answer);
    return n < 0;
}

int main(int argc, char **argv)
{
    int datagrams = argc == 4 && !strcmp(argv[1], "udp"), fd;
    struct addrinfo hints = {.ai_socktype = datagrams ? SOCK_DGRAM : SOCK_STREAM}, *a;

    if (argc != 4 || getaddrinfo(argv[2], argv[3], &hints, &a))
        return 2;
    fd = socket(a->ai_family, a->ai_socktype, 0);
    return datagrams ? ask_by_datagram(fd, a) : visit_by(argv[1], fd, a);
}
