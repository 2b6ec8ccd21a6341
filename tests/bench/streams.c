/*
 * streams: moves bytes through a proxy in some TCP streams at once.
 *
 *     streams serve                                     prints "port N"; a source and a sink
 *     streams PROXY_PORT TARGET_PORT COUNT MIB down|up  COUNT streams of MIB each; PROXY_PORT 0:
 *                                                       straight to TARGET_PORT
 *     streams idle PROXY_PORT TARGET_PORT COUNT         COUNT tunnels that do nothing; prints
 *                                                       "ready" and keeps them until its input ends
 *
 * All on 127.0.0.1; the proxy speaks SOCKS5. The last line of a run is "GB/s N". A stream begins
 * with a byte for the direction and 8 for the length; the sink answers with a byte at the end.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 262144, STREAMS_MAX = 256, STACK = 65536 };

struct order {
    char way;
    uint64_t bytes;
} __attribute__((packed));

static struct {
    uint16_t proxy, target;
    struct order order;
} run;

static uint8_t zeros[BUFFER];

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

static struct sockaddr_in here(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void get(int fd, void *to, size_t len)
{
    if (recv(fd, to, len, MSG_WAITALL) != (ssize_t)len)
        die("recv");
}

static void put(int fd, const void *data, size_t len)
{
    if (send(fd, data, len, MSG_NOSIGNAL) != (ssize_t)len)
        die("send");
}

static void pour(int fd, uint64_t bytes)
{
    while (bytes > 0) {
        ssize_t n = send(fd, zeros, bytes < BUFFER ? bytes : BUFFER, MSG_NOSIGNAL);
        if (n <= 0)
            die("send");
        bytes -= (uint64_t)n;
    }
}

static void drain(int fd, uint64_t bytes)
{
    uint8_t *buffer = malloc(BUFFER);

    while (bytes > 0) {
        ssize_t n = recv(fd, buffer, BUFFER, 0);
        if (n <= 0)
            die("recv");
        bytes -= (uint64_t)n;
    }
    free(buffer);
}

/* --- the server ------------------------------------------------------------------------------ */

static void *serve_one(void *data)
{
    int fd = (int)(intptr_t)data;
    struct order order;

    if (recv(fd, &order, sizeof order, MSG_WAITALL) == sizeof order) {
        if (order.way == 'd') {
            pour(fd, order.bytes);
        } else {
            drain(fd, order.bytes);
            put(fd, "!", 1);
        }
    }
    close(fd);
    return NULL;
}

static void begin(void *(*does)(void *), void *data, pthread_t *thread)
{
    pthread_attr_t attributes;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    if (pthread_create(thread, &attributes, does, data))
        die("pthread_create");
}

static _Noreturn void serve(void)
{
    struct sockaddr_in at = here(0);
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    if (bind(listener, (struct sockaddr *)&at, len) < 0 || listen(listener, SOMAXCONN) < 0)
        die("listen");
    getsockname(listener, (struct sockaddr *)&at, &len);
    printf("port %d\n", ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        pthread_t thread;

        if (fd < 0)
            die("accept");
        begin(serve_one, (void *)(intptr_t)fd, &thread);
        pthread_detach(thread);
    }
}

/* --- the client ------------------------------------------------------------------------------ */

static int reach(void)
{
    struct sockaddr_in at = here(run.proxy ? run.proxy : run.target), target = here(run.target);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    uint8_t request[10] = {5, 1, 0, 1}, answer[10];

    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at) < 0)
        die("connect");
    if (!run.proxy)
        return fd;
    put(fd, "\5\1\0", 3);
    get(fd, answer, 2);
    memcpy(request + 4, &target.sin_addr, 4);
    memcpy(request + 8, &target.sin_port, 2);
    put(fd, request, sizeof request);
    get(fd, answer, sizeof answer);
    if (answer[1]) {
        fprintf(stderr, "the proxy refused\n");
        exit(1);
    }
    return fd;
}

static void *stream(void *data)
{
    int fd = reach();
    char done;

    (void)data;
    put(fd, &run.order, sizeof run.order);
    if (run.order.way == 'd') {
        drain(fd, run.order.bytes);
    } else {
        pour(fd, run.order.bytes);
        get(fd, &done, 1);
    }
    close(fd);
    return NULL;
}

static void move(unsigned count)
{
    pthread_t threads[STREAMS_MAX];
    double began = now();

    for (unsigned i = 0; i < count; i++)
        begin(stream, NULL, &threads[i]);
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    printf("GB/s %.3f\n", (double)count * (double)run.order.bytes / 1e9 / (now() - began));
}

static void idle(unsigned count)
{
    struct rlimit files;

    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    for (unsigned i = 0; i < count; i++)
        reach();
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF)
        ;
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "serve"))
        serve();
    bool is_idle = argc == 5 && !strcmp(argv[1], "idle");
    if (argc != 6 && !is_idle)
        die("usage");
    argv += is_idle;
    run.proxy = (uint16_t)atoi(argv[1]);
    run.target = (uint16_t)atoi(argv[2]);
    unsigned count = (unsigned)atoi(argv[3]);
    if (is_idle) {
        idle(count);
        return 0;
    }
    run.order = (struct order){.way = argv[5][0], .bytes = (uint64_t)atol(argv[4]) << 20};
    if (count > STREAMS_MAX)
        die("too many streams");
    move(count);
    return 0;
}
