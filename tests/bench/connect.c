/*
 * connect MODE PORT HOP_PORT COUNT: time per connection to 127.0.0.1:PORT, microseconds.
 *
 *     self      speaks SOCKS5 to the hop at 127.0.0.1:HOP_PORT itself
 *     blocking  plain connect(); under viaduct the library speaks SOCKS5
 *     poll      connect() on a non-blocking socket, poll(), SO_ERROR
 *     self-poll speaks SOCKS5 itself on a non-blocking socket
 *
 * Each connection is made, the target's greeting byte is read, and it is closed. `connect serve`
 * is the target: prints its port, greets and closes.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static struct sockaddr_in local(const char *port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)atoi(port)),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static _Noreturn void serve(void)
{
    struct sockaddr_in at = local("0");
    socklen_t len = sizeof at;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 1024) < 0)
        die("listen");
    getsockname(fd, (struct sockaddr *)&at, &len);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        int peer = accept(fd, NULL, NULL);

        if (peer < 0)
            continue;
        if (send(peer, "!", 1, MSG_NOSIGNAL) < 0)
            perror("send");
        close(peer);
    }
}

static void wait_for(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    if (poll(&p, 1, 5000) != 1)
        die("poll");
}

static void dial(int fd, const struct sockaddr_in *to, bool polls)
{
    int error = 0;
    socklen_t len = sizeof error;

    if (connect(fd, (const struct sockaddr *)to, sizeof *to) == 0)
        return;
    if (!polls || errno != EINPROGRESS)
        die("connect");
    wait_for(fd, POLLOUT);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error) {
        errno = error;
        die("SO_ERROR");
    }
}

static void hear(int fd, uint8_t *data, size_t want, bool polls)
{
    for (size_t have = 0; have < want;) {
        ssize_t n;

        if (polls)
            wait_for(fd, POLLIN);
        n = recv(fd, data + have, want - have, 0);
        if (n <= 0)
            die("recv");
        have += (size_t)n;
    }
}

static void speak_socks5(int fd, const struct sockaddr_in *to, bool polls)
{
    uint8_t request[10] = {5, 1, 0, 1}, reply[10];

    memcpy(request + 4, &to->sin_addr, 4);
    memcpy(request + 8, &to->sin_port, 2);
    if (send(fd, "\5\1\0", 3, MSG_NOSIGNAL) != 3)
        die("send");
    hear(fd, reply, 2, polls);
    if (send(fd, request, sizeof request, MSG_NOSIGNAL) != sizeof request)
        die("send");
    hear(fd, reply, sizeof reply, polls);
    if (reply[1] != 0) {
        fprintf(stderr, "SOCKS5 reply %d\n", reply[1]);
        exit(1);
    }
}

static void once(const struct sockaddr_in *to, const struct sockaddr_in *hop, bool self, bool polls)
{
    int fd = socket(AF_INET, SOCK_STREAM | (polls ? SOCK_NONBLOCK : 0), 0);
    uint8_t greeting;

    if (fd < 0)
        die("socket");
    dial(fd, self ? hop : to, polls);
    if (self)
        speak_socks5(fd, to, polls);
    hear(fd, &greeting, 1, polls);
    close(fd);
}

static double now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "serve"))
        serve();
    if (argc != 5) {
        fprintf(stderr, "usage: connect MODE PORT HOP_PORT COUNT\n");
        return 2;
    }
    struct sockaddr_in to = local(argv[2]), hop = local(argv[3]);
    bool self = !strncmp(argv[1], "self", 4), polls = strstr(argv[1], "poll") != NULL;
    int count = atoi(argv[4]);
    double began;

    once(&to, &hop, self, polls);
    began = now_us();
    for (int i = 0; i < count; i++)
        once(&to, &hop, self, polls);
    printf("%.2f\n", (now_us() - began) / count);
    return 0;
}
