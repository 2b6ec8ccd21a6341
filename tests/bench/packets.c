/*
 * packets: datagrams of one client through a SOCKS5 association, one way, to a sink of its own.
 *
 *     packets PROXY_PORT SIZE PER_SECOND SECONDS      PER_SECOND 0: as many as can be sent
 *
 * All on 127.0.0.1. Prints "sent N received N per_second N". Each carries a number; one that comes
 * twice or differs is an error.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 32, SIZE_MAX_ = 1500, HEAD = 10, ROOM = 8 << 20 };

static int sink;
static size_t size;
static _Atomic uint64_t received, wrong;

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int bound(struct sockaddr_in *at)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0), room = ROOM;
    socklen_t len = sizeof *at;

    *at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) < 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (fd < 0 || bind(fd, (struct sockaddr *)at, len) < 0)
        die("bind");
    getsockname(fd, (struct sockaddr *)at, &len);
    return fd;
}

static void *receive(void *data)
{
    static uint8_t buffers[BATCH][SIZE_MAX_ + HEAD];
    struct iovec parts[BATCH];
    struct mmsghdr batch[BATCH] = {0};
    uint64_t last = 0, number;

    (void)data;
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){buffers[i], sizeof buffers[i]};
        batch[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    for (;;) {
        int n = recvmmsg(sink, batch, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < n; i++) {
            memcpy(&number, buffers[i], sizeof number);
            wrong += batch[i].msg_len != size || number <= last;
            last = number;
        }
        received += n > 0 ? (uint64_t)n : 0;
    }
    return NULL;
}

static void get(int fd, void *to, size_t len)
{
    if (recv(fd, to, len, MSG_WAITALL) != (ssize_t)len)
        die("the proxy closed");
}

/* The relay's address. */
static struct sockaddr_in associate(uint16_t proxy, int *control)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(proxy), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint8_t answer[10];

    *control = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(*control, (struct sockaddr *)&at, sizeof at) < 0)
        die("connect");
    if (send(*control, "\5\1\0", 3, 0) != 3)
        die("send");
    get(*control, answer, 2);
    if (send(*control, "\5\3\0\1\0\0\0\0\0\0", 10, 0) != 10)
        die("send");
    get(*control, answer, sizeof answer);
    if (answer[1])
        die("refused");
    memcpy(&at.sin_port, answer + 8, 2);
    return at;
}

/* Numbers that begin with 1; in time, if a rate is given. */
static uint64_t flood(int fd, const struct sockaddr_in *target, double rate, double seconds)
{
    static uint8_t buffers[BATCH][SIZE_MAX_ + HEAD];
    struct iovec parts[BATCH];
    struct mmsghdr batch[BATCH] = {0};
    uint64_t sent = 0;
    double began = now(), at;

    for (int i = 0; i < BATCH; i++) {
        memcpy(buffers[i], "\0\0\0\1", 4);
        memcpy(buffers[i] + 4, &target->sin_addr, 4);
        memcpy(buffers[i] + 8, &target->sin_port, 2);
        parts[i] = (struct iovec){buffers[i], size + HEAD};
        batch[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    while ((at = now() - began) < seconds) {
        uint64_t due = rate > 0 ? (uint64_t)(at * rate) : sent + BATCH;
        unsigned count = due - sent < BATCH ? (unsigned)(due - sent) : BATCH;
        for (unsigned i = 0; i < count; i++) {
            uint64_t number = sent + i + 1;
            memcpy(buffers[i] + HEAD, &number, sizeof number);
        }
        if (count < BATCH / 4) {
            usleep(200);
            continue;
        }
        int n = sendmmsg(fd, batch, count, 0);
        sent += n > 0 ? (uint64_t)n : 0;
    }
    return sent;
}

int main(int argc, char **argv)
{
    struct sockaddr_in at, relay, mine;
    pthread_t thread;
    int control;

    if (argc != 5)
        die("usage");
    size = (size_t)atoi(argv[2]);
    double rate = atof(argv[3]), seconds = atof(argv[4]);
    if (size < sizeof(uint64_t) || size > SIZE_MAX_)
        die("size");
    sink = bound(&at);
    int fd = bound(&mine);
    relay = associate((uint16_t)atoi(argv[1]), &control);
    if (connect(fd, (struct sockaddr *)&relay, sizeof relay) < 0)
        die("connect");
    pthread_create(&thread, NULL, receive, NULL);
    uint64_t sent = flood(fd, &at, rate, seconds);
    usleep(300000);
    printf("sent %llu received %llu wrong %llu per_second %.0f\n", (unsigned long long)sent,
           (unsigned long long)received, (unsigned long long)wrong, (double)received / seconds);
    return wrong ? 1 : 0;
}
