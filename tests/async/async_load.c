/*
 * async_load ADDRESS PORT WHAT COUNT: many connections; the other end echoes or only takes them.
 *
 *   pending    COUNT at once, not blocking, one epoll; each echoes
 *   polled     the same with poll()
 *   threads    COUNT threads, each with blocking connections; each echoes
 *   sequence   COUNT one after another, in turn blocking and not
 *   forks      COUNT children are forked while 50 connections are under way
 *   nothread   a connection where no thread can be started: the system call is refused
 *   nproc      the same by RLIMIT_NPROC, which does not hold for root
 *   nofile     a connection where no descriptor is left
 *
 * Prints "name value" lines: how many came up, how long it took, what is left behind.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { NOBODY = 65534, MOST = 4096, ROUNDS = 5, PENDING_DURING_FORKS = 50 };

static struct sockaddr_in target;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int begin(int flags)
{
    int fd = socket(AF_INET, SOCK_STREAM | flags, 0);

    if (fd < 0 ||
        (connect(fd, (struct sockaddr *)&target, sizeof target) < 0 && errno != EINPROGRESS)) {
        perror("connect");
        exit(1);
    }
    return fd;
}

static int error_of(int fd)
{
    int error = -1;
    socklen_t len = sizeof error;

    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    return error;
}

/* A number of its own there and back: no connection may be mistaken for another. */
static int echoes(int fd, uint32_t number)
{
    uint32_t got = ~number;

    fcntl(fd, F_SETFL, 0);
    return send(fd, &number, sizeof number, MSG_NOSIGNAL) == sizeof number &&
           recv(fd, &got, sizeof got, MSG_WAITALL) == sizeof got && got == number;
}

/* The same for all, in one round trip; the number that did. */
static int all_echo(const int *fds, int count)
{
    int good = 0;

    for (int i = 0; i < count; i++) {
        uint32_t number = (uint32_t)i * 2654435761u;

        fcntl(fds[i], F_SETFL, 0);
        if (send(fds[i], &number, sizeof number, MSG_NOSIGNAL) < 0)
            perror("send");
    }
    for (int i = 0; i < count; i++) {
        uint32_t got = 0;

        good += recv(fds[i], &got, sizeof got, MSG_WAITALL) == sizeof got &&
                got == (uint32_t)i * 2654435761u;
    }
    return good;
}

/* --- what is left behind ---------------------------------------------------------------------- */

static int entries(const char *path)
{
    DIR *folder = opendir(path);
    int count = 0;

    if (!folder)
        return -1;
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static int mappings(void)
{
    FILE *file = fopen("/proc/self/maps", "r");
    int count = 0, c;

    while (file && (c = getc(file)) != EOF)
        count += c == '\n';
    if (file)
        fclose(file);
    return count;
}

/* KiB that were written: of its own, or in the session that all processes share. */
static long memory(const char *kind)
{
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    char line[256];
    size_t len = strlen(kind);
    long kib = -1;

    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, kind, len))
            kib = atol(line + len);
    if (file)
        fclose(file);
    return kib;
}

static void print_left(const char *when)
{
    printf("memory_%s %ld\n", when, memory("Pss_Anon:"));
    printf("session_%s %ld\n", when, memory("Pss_Shmem:"));
    printf("descriptors_%s %d\n", when, entries("/proc/self/fd"));
    printf("threads_%s %d\n", when, entries("/proc/self/task"));
    printf("mappings_%s %d\n", when, mappings());
}

/* --- the loads -------------------------------------------------------------------------------- */

static int await_with_epoll(const int *fds, int count)
{
    int epfd = epoll_create1(0), up = 0;
    struct epoll_event e;

    for (int i = 0; i < count; i++) {
        e = (struct epoll_event){.events = EPOLLOUT | EPOLLONESHOT, .data.fd = fds[i]};
        epoll_ctl(epfd, EPOLL_CTL_ADD, fds[i], &e);
    }
    for (int i = 0; i < count && epoll_wait(epfd, &e, 1, 20000) == 1; i++)
        up += error_of(e.data.fd) == 0;
    close(epfd);
    return up;
}

static int await_with_poll(const int *fds, int count)
{
    static struct pollfd p[MOST];
    int up = 0, left = count;

    for (int i = 0; i < count; i++)
        p[i] = (struct pollfd){.fd = fds[i], .events = POLLOUT};
    while (left > 0 && poll(p, (nfds_t)count, 20000) > 0)
        for (int i = 0; i < count; i++)
            if (p[i].fd >= 0 && p[i].revents) {
                up += error_of(p[i].fd) == 0;
                p[i].fd = -1;
                left--;
            }
    return up;
}

static void many_pending(int count, int (*await)(const int *fds, int count))
{
    static int fds[MOST];
    double began = now();
    int up;

    for (int i = 0; i < count; i++)
        fds[i] = begin(SOCK_NONBLOCK);
    printf("begun %f\n", now() - began);
    up = await(fds, count);
    printf("up %d\ntook %f\n", up, now() - began);
    printf("good %d\n", all_echo(fds, count));
    for (int i = 0; i < count; i++)
        close(fds[i]);
}

static void *connect_in_thread(void *number)
{
    intptr_t good = 0;

    for (int i = 0; i < ROUNDS; i++) {
        int fd = begin(0);

        good += echoes(fd, (uint32_t)(intptr_t)number * ROUNDS + (uint32_t)i);
        close(fd);
    }
    return (void *)good;
}

static void many_threads(int count)
{
    static pthread_t threads[MOST];
    intptr_t good = 0;

    for (int i = 0; i < count; i++)
        pthread_create(&threads[i], NULL, connect_in_thread, (void *)(intptr_t)i);
    for (int i = 0; i < count; i++) {
        void *result;

        pthread_join(threads[i], &result);
        good += (intptr_t)result;
    }
    printf("good %ld\nwanted %d\n", (long)good, count * ROUNDS);
}

static int play_one(int i)
{
    int fd = begin(i % 2 ? SOCK_NONBLOCK : 0), good;
    struct pollfd p = {.fd = fd, .events = POLLOUT};

    good = poll(&p, 1, 20000) == 1 && error_of(fd) == 0;
    close(fd);
    return good;
}

static void long_sequence(int count)
{
    int good = 0;

    for (int i = 0; i < 100; i++)
        good += play_one(i);
    sleep(1); /* helpers end */
    print_left("before");
    for (int i = 100; i < count; i++)
        good += play_one(i);
    sleep(1);
    print_left("after");
    printf("good %d\n", good);
}

static void child_of(int i, const int *fds)
{
    static char program[] = "/bin/true";
    char *words[] = {program, NULL};

    switch (i % 4) {
    case 0:
        _exit(0);
    case 1:
        closefrom(3);
        execv(words[0], words);
        _exit(1);
    case 2:
        for (int k = 0; k < PENDING_DURING_FORKS; k++)
            close(fds[k]);
        exit(0);
    default:
        _exit(poll(&(struct pollfd){.fd = fds[i % PENDING_DURING_FORKS], .events = POLLOUT}, 1,
                   20000) != 1);
    }
}

static void many_forks(int count)
{
    int fds[PENDING_DURING_FORKS], failed = 0, status;

    for (int i = 0; i < PENDING_DURING_FORKS; i++)
        fds[i] = begin(SOCK_NONBLOCK);
    for (int i = 0; i < count; i++) {
        pid_t pid = fork();

        if (pid == 0)
            child_of(i, fds);
        failed += pid < 0;
    }
    printf("up %d\n", await_with_poll(fds, PENDING_DURING_FORKS));
    while (wait(&status) > 0)
        failed += status != 0;
    printf("good %d\nfailed %d\n", all_echo(fds, PENDING_DURING_FORKS), failed);
}

/* --- nothing left to work with ---------------------------------------------------------------- */

static void show_one(int fd)
{
    double began = now();
    int r = connect(fd, (struct sockaddr *)&target, sizeof target);

    printf("connect %d %s\n", r, r < 0 ? strerrorname_np(errno) : "-");
    printf("returned %f\n", now() - began);
    printf("up %d\n", await_with_poll(&fd, 1));
    printf("good %d\n", echoes(fd, 77));
}

/* As a limit of processes or a sandbox would have it. */
static void forbid_threads(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};

    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        perror("seccomp");
}

static void without_thread(void)
{
    forbid_threads();
    show_one(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
}

static void over_the_limit(void)
{
    struct rlimit one = {1, 1};

    if (geteuid() == 0 && setresuid(NOBODY, NOBODY, NOBODY) < 0)
        perror("setresuid"); /* a user namespace without it: its root is no root outside */
    if (setrlimit(RLIMIT_NPROC, &one) < 0)
        perror("setrlimit");
    show_one(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
}

static void without_descriptor(void)
{
    struct rlimit limit = {64, 64};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    setrlimit(RLIMIT_NOFILE, &limit);
    while (dup(fd) >= 0)
        continue;
    show_one(fd);
}

static void raise_limit(void)
{
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
    int count = argc == 5 ? atoi(argv[4]) : 0;

    if (argc != 5 || count > 100000)
        return 2;
    target =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
    inet_pton(AF_INET, argv[1], &target.sin_addr);
    raise_limit();
    if (!strcmp(argv[3], "pending") && count <= MOST)
        many_pending(count, await_with_epoll);
    else if (!strcmp(argv[3], "polled") && count <= MOST)
        many_pending(count, await_with_poll);
    else if (!strcmp(argv[3], "threads") && count <= MOST)
        many_threads(count);
    else if (!strcmp(argv[3], "sequence"))
        long_sequence(count);
    else if (!strcmp(argv[3], "forks"))
        many_forks(count);
    else if (!strcmp(argv[3], "nothread"))
        without_thread();
    else if (!strcmp(argv[3], "nproc"))
        over_the_limit();
    else if (!strcmp(argv[3], "nofile"))
        without_descriptor();
    else
        return 2;
    return 0;
}
