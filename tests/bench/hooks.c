/*
 * hooks calls
 *     What calls cost that the preloaded library hooks, beside libc's own definitions of the same
 *     process: the median of paired rounds, while nothing is under way.
 * hooks WAY TARGET_PORT HOP_PORT COUNT [OPEN]
 *     Microseconds of a connection to 127.0.0.1:TARGET_PORT; the median of COUNT. WAY: `itself` and
 *     `itself-nonblocking` speak SOCKS5 to the hop, `blocking` and `nonblocking` connect and leave
 *     the rest to whatever is preloaded. With OPEN that many descriptors are open meanwhile.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 61, CALLS = 20000, COUNT_MAX = 100000 };

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, by_size);
    return values[count / 2];
}

/* --- calls ------------------------------------------------------------------------------------ */

/* The same calls twice: by name, and as libc defines them. */
static struct {
    ssize_t (*read)(int fd, void *data, size_t len);
    ssize_t (*write)(int fd, const void *data, size_t len);
    ssize_t (*send)(int fd, const void *data, size_t len, int flags);
    ssize_t (*recv)(int fd, void *data, size_t len, int flags);
    int (*poll)(struct pollfd *fds, nfds_t count, int timeout);
    int (*epoll_wait)(int epfd, struct epoll_event *events, int count, int timeout);
    int (*epoll_ctl)(int epfd, int op, int fd, struct epoll_event *event);
    int (*dup)(int fd);
    int (*close)(int fd);
} hooked = {read, write, send, recv, poll, epoll_wait, epoll_ctl, dup, close}, plain;

static int pair[2], event_fd, epfd;

/* dlsym() would give the hooks: the file itself tells where libc's own functions lie. */
struct libc {
    const char *file;
    uintptr_t base;
};

static struct libc find_libc(void)
{
    struct link_map *map = dlopen("libc.so.6", RTLD_NOLOAD | RTLD_LAZY);
    int fd = map ? open(map->l_name, O_RDONLY) : -1;
    struct stat st;
    struct libc libc = {0};

    if (fd < 0 || fstat(fd, &st) < 0)
        exit(2);
    libc.file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    libc.base = map->l_addr;
    close(fd);
    return libc;
}

static void *look_up(const struct libc *libc, const char *name)
{
    const ElfW(Ehdr) *head = (const void *)libc->file;
    const ElfW(Shdr) *sections = (const void *)(libc->file + head->e_shoff), *s = sections;
    const ElfW(Sym) * symbols;
    const char *names;

    while (s->sh_type != SHT_DYNSYM)
        s++;
    symbols = (const void *)(libc->file + s->sh_offset);
    names = libc->file + sections[s->sh_link].sh_offset;
    for (size_t i = 0; i < s->sh_size / sizeof *symbols; i++)
        if (symbols[i].st_shndx && !strcmp(names + symbols[i].st_name, name))
            return (void *)(libc->base + symbols[i].st_value);
    exit(2);
}

static void find_plain(void)
{
    struct libc libc = find_libc();

    plain.read = look_up(&libc, "read");
    plain.write = look_up(&libc, "write");
    plain.send = look_up(&libc, "send");
    plain.recv = look_up(&libc, "recv");
    plain.poll = look_up(&libc, "poll");
    plain.epoll_wait = look_up(&libc, "epoll_wait");
    plain.epoll_ctl = look_up(&libc, "epoll_ctl");
    plain.dup = look_up(&libc, "dup");
    plain.close = look_up(&libc, "close");
}

typedef __typeof__(hooked) calls;

static long write_and_read(const calls *c)
{
    uint64_t one = 1;

    return c->write(event_fd, &one, sizeof one) + c->read(event_fd, &one, sizeof one);
}

static long send_and_recv(const calls *c)
{
    char byte = 'x';

    return c->send(pair[0], &byte, 1, 0) + c->recv(pair[1], &byte, 1, 0);
}

static long poll_two(const calls *c)
{
    struct pollfd p[2] = {{.fd = pair[0], .events = POLLIN}, {.fd = pair[1], .events = POLLIN}};

    return c->poll(p, 2, 0);
}

static long wait_epoll(const calls *c)
{
    struct epoll_event e;

    return c->epoll_wait(epfd, &e, 1, 0);
}

static long change_epoll(const calls *c)
{
    struct epoll_event e = {.events = EPOLLIN};

    return c->epoll_ctl(epfd, EPOLL_CTL_MOD, pair[0], &e);
}

static long dup_and_close(const calls *c)
{
    return c->close(c->dup(pair[0]));
}

static const struct {
    const char *name;
    long (*play)(const calls *c);
} plays[] = {
    {"write, read", write_and_read}, {"send, recv", send_and_recv}, {"poll", poll_two},
    {"epoll_wait", wait_epoll},      {"epoll_ctl", change_epoll},   {"dup, close", dup_and_close}};

static double time_of(long (*play)(const calls *c), const calls *c)
{
    double began = now();

    for (int i = 0; i < CALLS; i++)
        if (play(c) < 0)
            perror("a call");
    return now() - began;
}

static void measure(size_t i)
{
    double ratios[ROUNDS], plains[ROUNDS];

    for (int k = 0; k < ROUNDS; k++) {
        double one, other;

        if (k % 2)
            one = time_of(plays[i].play, &hooked);
        other = time_of(plays[i].play, &plain);
        if (k % 2 == 0)
            one = time_of(plays[i].play, &hooked);
        ratios[k] = one / other;
        plains[k] = other / CALLS * 1e9;
    }
    printf("%-12s %.3f  (%.0f ns without)\n", plays[i].name, median(ratios, ROUNDS),
           median(plains, ROUNDS));
}

static int measure_calls(void)
{
    struct epoll_event e = {.events = EPOLLIN};

    find_plain();
    event_fd = eventfd(0, 0);
    epfd = epoll_create1(0);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        return 1;
    epoll_ctl(epfd, EPOLL_CTL_ADD, pair[0], &e);
    for (size_t i = 0; i < sizeof plays / sizeof *plays; i++)
        measure(i);
    return 0;
}

/* --- connections ------------------------------------------------------------------------------ */

static struct sockaddr_in at(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int becomes(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    return poll(&p, 1, 10000) == 1;
}

/* Replies this short come in one piece. */
static int exchange(int fd, int polls, const uint8_t *out, size_t out_len, uint8_t *in,
                    size_t in_len)
{
    return send(fd, out, out_len, MSG_NOSIGNAL) == (ssize_t)out_len &&
           (!polls || becomes(fd, POLLIN)) &&
           recv(fd, in, in_len, polls ? 0 : MSG_WAITALL) == (ssize_t)in_len;
}

static int speak_socks5(int fd, int polls, uint16_t port)
{
    const uint8_t greeting[] = {5, 1, 0};
    const uint8_t request[] = {5, 1, 0, 1, 127, 0, 0, 1, (uint8_t)(port >> 8), (uint8_t)port};
    uint8_t reply[10];

    return exchange(fd, polls, greeting, sizeof greeting, reply, 2) && reply[1] == 0 &&
           exchange(fd, polls, request, sizeof request, reply, 10) && reply[1] == 0;
}

static int by_itself(uint16_t target, uint16_t hop)
{
    struct sockaddr_in to = at(hop);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int ok = connect(fd, (struct sockaddr *)&to, sizeof to) == 0 && speak_socks5(fd, 0, target);

    close(fd);
    return ok;
}

static int by_blocking(uint16_t target, uint16_t hop)
{
    struct sockaddr_in to = at(target);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int ok = connect(fd, (struct sockaddr *)&to, sizeof to) == 0;

    (void)hop;
    close(fd);
    return ok;
}

/* connect() as programs with an event loop do it; the socket, or -1. */
static int connect_nonblocking(uint16_t port)
{
    struct sockaddr_in to = at(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), error = -1;
    socklen_t len = sizeof error;

    if ((connect(fd, (struct sockaddr *)&to, sizeof to) == 0 || errno == EINPROGRESS) &&
        becomes(fd, POLLOUT) && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 &&
        error == 0)
        return fd;
    close(fd);
    return -1;
}

static int by_nonblocking(uint16_t target, uint16_t hop)
{
    int fd = connect_nonblocking(target);

    (void)hop;
    close(fd);
    return fd >= 0;
}

static int by_itself_nonblocking(uint16_t target, uint16_t hop)
{
    int fd = connect_nonblocking(hop);
    int ok = fd >= 0 && speak_socks5(fd, 1, target);

    close(fd);
    return ok;
}

static int measure_connections(int (*way)(uint16_t target, uint16_t hop), uint16_t target,
                               uint16_t hop, int count)
{
    static double took[COUNT_MAX];

    for (int i = 0; i < count; i++) {
        double began = now();

        if (!way(target, hop)) {
            perror("connection");
            return 1;
        }
        took[i] = (now() - began) * 1e6;
    }
    printf("%.2f\n", median(took, count));
    return 0;
}

/* Half of them sockets, the lowest numbers first. */
static void open_descriptors(int count)
{
    struct rlimit files;

    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    for (int i = 0; i < count; i++)
        if ((i % 2 ? socket(AF_INET, SOCK_STREAM, 0) : eventfd(0, 0)) < 0) {
            perror("descriptors");
            exit(1);
        }
}

int main(int argc, char **argv)
{
    uint16_t target, hop;
    int count;

    if (argc == 2 && !strcmp(argv[1], "calls"))
        return measure_calls();
    if (argc == 6)
        open_descriptors(atoi(argv[5]));
    if (argc < 5 || argc > 6 || atoi(argv[4]) < 1 || atoi(argv[4]) > COUNT_MAX)
        return 2;
    target = (uint16_t)atoi(argv[2]);
    hop = (uint16_t)atoi(argv[3]);
    count = atoi(argv[4]);
    if (!strcmp(argv[1], "itself"))
        return measure_connections(by_itself, target, hop, count);
    if (!strcmp(argv[1], "itself-nonblocking"))
        return measure_connections(by_itself_nonblocking, target, hop, count);
    if (!strcmp(argv[1], "blocking"))
        return measure_connections(by_blocking, target, hop, count);
    if (!strcmp(argv[1], "nonblocking"))
        return measure_connections(by_nonblocking, target, hop, count);
    return 2;
}
