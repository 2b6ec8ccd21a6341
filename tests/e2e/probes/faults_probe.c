/*
 * A connection while system calls fail: faults_probe HOW HOST PORT, HOW one of
 *   blocking, poll, epoll, edge    connect() to an address, and how it is waited for
 *   name                           getaddrinfo() first
 *   datagram                       a datagram there and back, three times at most
 *
 * Faults (tests/lib/faults.c, preloaded behind libviaduct.so) come from the moment that it begins
 * until it has an outcome; then, without them, the same once more. For both it says "ERRNO BYTES"
 * in a line: 0 for success, and how many bytes came back of the word that it sent to an echo
 * server.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char word[] = "the word that comes back";
static void (*arm_faults)(bool on);

static void arm(bool on)
{
    if (arm_faults)
        arm_faults(on);
}

static void wait_by_poll(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};

    while (poll(&p, 1, -1) < 0 && errno == EINTR)
        ;
}

static void wait_by_epoll(int fd, uint32_t how)
{
    struct epoll_event event = {.events = EPOLLOUT | how}, got;
    int epfd = epoll_create1(EPOLL_CLOEXEC);

    if (epfd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event) < 0) {
        wait_by_poll(fd); /* the program's own registration was made to fail */
    } else {
        while (epoll_wait(epfd, &got, 1, -1) < 0 && errno == EINTR)
            ;
    }
    if (epfd >= 0)
        close(epfd);
}

/* What became of a connection under way, or of one whose connect() was interrupted. */
static int outcome(int fd, const char *how)
{
    socklen_t len = sizeof(int);
    int number = 0;

    if (strcmp(how, "epoll") == 0)
        wait_by_epoll(fd, 0);
    else if (strcmp(how, "edge") == 0)
        wait_by_epoll(fd, EPOLLET);
    else
        wait_by_poll(fd);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &len) < 0)
        return errno;
    return number;
}

static int connect_to(int fd, const char *how, const struct addrinfo *to)
{
    bool blocking = strcmp(how, "blocking") == 0 || strcmp(how, "name") == 0;

    if (!blocking)
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    if (connect(fd, to->ai_addr, to->ai_addrlen) == 0)
        return 0;
    return errno == EINPROGRESS || errno == EINTR ? outcome(fd, how) : errno;
}

static size_t echo(int fd)
{
    char back[sizeof word];
    size_t got = 0;
    ssize_t n;

    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    if (send(fd, word, sizeof word, MSG_NOSIGNAL) != (ssize_t)sizeof word)
        return 0;
    while (got < sizeof word && (n = recv(fd, back + got, sizeof word - got, 0)) > 0)
        got += (size_t)n;
    return memcmp(back, word, got) == 0 ? got : 0;
}

static int exchange(int fd, const struct addrinfo *to, size_t *bytes)
{
    char back[sizeof word];
    int number = 0;

    for (int tries = 0; tries < 3 && *bytes == 0; tries++) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t n;

        if (sendto(fd, word, sizeof word, 0, to->ai_addr, to->ai_addrlen) < 0)
            number = errno;
        if (poll(&p, 1, 700) == 1 && (n = recv(fd, back, sizeof back, 0)) > 0 &&
            memcmp(back, word, (size_t)n) == 0)
            *bytes = (size_t)n;
    }
    return *bytes ? 0 : number ? number : ETIMEDOUT;
}

static void once(const char *how, const char *host, const char *port, bool faults)
{
    bool datagram = strcmp(how, "datagram") == 0;
    struct addrinfo hints = {.ai_socktype = datagram ? SOCK_DGRAM : SOCK_STREAM}, *to = NULL;
    size_t bytes = 0;
    int fd = -1, number = 0;

    if (strcmp(how, "name") == 0)
        arm(faults);
    if (getaddrinfo(host, port, &hints, &to) != 0)
        number = EHOSTUNREACH;
    arm(false);
    if (number == 0 && (fd = socket(to->ai_family, to->ai_socktype | SOCK_CLOEXEC, 0)) < 0)
        number = errno;
    arm(faults);
    if (number == 0)
        number = datagram ? exchange(fd, to, &bytes) : connect_to(fd, how, to);
    arm(false);
    if (number == 0 && !datagram)
        bytes = echo(fd);
    printf("%d %zu\n", number, bytes);
    fflush(stdout);
    if (fd >= 0)
        close(fd);
    if (to)
        freeaddrinfo(to);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    *(void **)&arm_faults = dlsym(RTLD_DEFAULT, "faults_arm");
    once(argv[1], argv[2], argv[3], true);
    once(argv[1], argv[2], argv[3], false);
    return 0;
}
