/*
 * datagrams serve
 *     Sends every datagram back to where it came from; prints the port first.
 * datagrams itself TARGET_PORT HOP_PORT COUNT
 *     Asks a SOCKS5 hop on loopback for an association and sends COUNT datagrams through it, each
 * with its header, and awaits each one's echo. datagrams plain TARGET_PORT HOP_PORT COUNT The same
 * by send() and recv() on a connected socket, and leaves the rest to whatever is preloaded.
 *
 * Prints the microseconds of processor time that this process took for a datagram and its echo, and
 * those that went by. 1,200 bytes of payload.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { PAYLOAD = 1200, HEADER = 10, WARM = 100 };

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static struct sockaddr_in loopback(const char *port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)atoi(port)),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int open_socket(int type, const struct sockaddr_in *to)
{
    int fd = socket(AF_INET, type, 0);
    struct timeval limit = {.tv_sec = 5};

    if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof *to) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0)
        die("connect");
    return fd;
}

static void serve(void)
{
    struct sockaddr_in at = loopback("0"), from;
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    char data[2048];

    if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) < 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) < 0)
        die("bind");
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        ssize_t n;

        len = sizeof from;
        n = recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&from, &len);
        if (n >= 0)
            sendto(fd, data, (size_t)n, 0, (struct sockaddr *)&from, len);
    }
}

/* The relay's address; the control connection stays open. */
static struct sockaddr_in associate(const char *hop)
{
    static const uint8_t greeting[] = {5, 1, 0}, request[] = {5, 3, 0, 1, 0, 0, 0, 0, 0, 0};
    struct sockaddr_in to = loopback(hop), relay = to;
    int fd = open_socket(SOCK_STREAM, &to);
    uint8_t reply[10];

    if (send(fd, greeting, sizeof greeting, 0) < 0 || recv(fd, reply, 2, MSG_WAITALL) != 2 ||
        send(fd, request, sizeof request, 0) < 0 || recv(fd, reply, 10, MSG_WAITALL) != 10 ||
        reply[1] != 0 || reply[3] != 1)
        die("associate");
    memcpy(&relay.sin_port, reply + 8, 2);
    return relay;
}

static void exchange_itself(int fd, const struct sockaddr_in *target)
{
    static uint8_t payload[PAYLOAD], back[PAYLOAD];
    uint8_t header[HEADER] = {0, 0, 0, 1}, from[HEADER];
    struct iovec out[] = {{header, HEADER}, {payload, PAYLOAD}};
    struct iovec in[] = {{from, HEADER}, {back, PAYLOAD}};
    struct msghdr sent = {.msg_iov = out, .msg_iovlen = 2}, got = {.msg_iov = in, .msg_iovlen = 2};

    memcpy(header + 4, &target->sin_addr, 4);
    memcpy(header + 8, &target->sin_port, 2);
    if (sendmsg(fd, &sent, 0) < 0 || recvmsg(fd, &got, 0) != HEADER + PAYLOAD ||
        memcmp(header, from, HEADER) != 0)
        die("itself");
}

static void exchange_plain(int fd, const struct sockaddr_in *target)
{
    static uint8_t payload[PAYLOAD], back[PAYLOAD];

    (void)target;
    if (send(fd, payload, PAYLOAD, 0) < 0 || recv(fd, back, PAYLOAD, 0) != PAYLOAD)
        die("plain");
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static double processor(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void run(int fd, const struct sockaddr_in *target, int count,
                void (*exchange)(int fd, const struct sockaddr_in *target))
{
    double spent, since;

    for (int i = 0; i < WARM; i++)
        exchange(fd, target);
    spent = processor();
    since = now();
    for (int i = 0; i < count; i++)
        exchange(fd, target);
    printf("%.3f %.3f\n", (processor() - spent) * 1e6 / count, (now() - since) * 1e6 / count);
}

int main(int argc, char **argv)
{
    struct sockaddr_in target, relay;

    if (argc == 2 && !strcmp(argv[1], "serve"))
        serve();
    if (argc != 5) {
        fprintf(stderr, "usage: see the head of datagrams.c\n");
        return 2;
    }
    target = loopback(argv[2]);
    if (!strcmp(argv[1], "itself")) {
        relay = associate(argv[3]);
        run(open_socket(SOCK_DGRAM, &relay), &target, atoi(argv[4]), exchange_itself);
    } else {
        run(open_socket(SOCK_DGRAM, &target), &target, atoi(argv[4]), exchange_plain);
    }
    return 0;
}
