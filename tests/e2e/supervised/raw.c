/*
 * raw CALL ADDRESS PORT: one system call, made by the instruction, without any library's help. Says
 * what the kernel answered, as a number, or what the far end told about the connection.
 *
 *     connect               a blocking connection, and GET /whoami
 *     sendto, sendmsg, sendmmsg   a datagram with an address
 *     fastopen              sendto() with MSG_FASTOPEN
 *     x32, i386             connect() by another convention
 *     io_uring, socket DOMAIN TYPE PROTOCOL
 *     storm                 as connect, while a timer sends signals all the time
 *     filtered              as connect, below a seccomp filter of the program's own
 *     again                 a second connect() on a connected socket
 *     nonblocking, bad      connect() of a non-blocking socket; with arguments that make no sense
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

static volatile sig_atomic_t signals;

static long raw(long number, long a, long b, long c, long d, long e, long f)
{
    long result;
#ifdef __x86_64__
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
#else
    result = syscall(number, a, b, c, d, e, f);
    if (result < 0)
        result = -errno;
#endif
    return result;
}

#ifdef __x86_64__
/* socketcall(SYS_CONNECT) of i386. Its arguments lie below 4 GB, as does a static program. */
static long i386(long number, long a, long b)
{
    long result;

    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(number), "b"(a), "c"(b), "d"(0)
                     : "r8", "r9", "r10", "r11", "memory");
    return (int)result;
}
#endif

/* A filter of the program's own: chmod() is not permitted. */
static void install_filter(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fchmod, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};

    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    printf("%ld", raw(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, (long)&program, 0, 0, 0));
    printf(" %ld\n", raw(SYS_fchmod, 0, 0600, 0, 0, 0, 0));
}

static void on_signal(int number)
{
    (void)number;
    signals++;
}

static void begin_storm(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 1000}, {0, 1000}};

    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
}

static void visit(int fd)
{
    static const char request[] = "GET /whoami HTTP/1.0\r\n\r\n";
    char answer[4096];
    ssize_t n;
    size_t len = 0;

    if (write(fd, request, sizeof request - 1) < 0)
        printf("write: %d\n", errno);
    while ((n = read(fd, answer + len, sizeof answer - 1 - len)) > 0)
        len += (size_t)n;
    answer[len] = 0;
    const char *body = strstr(answer, "\r\n\r\n");
    fputs(body ? body + 4 : "nothing\n", stdout);
}

static int open_socket(int type)
{
    return (int)raw(SYS_socket, AF_INET, type, 0, 0, 0, 0);
}

static long dial(int fd, const struct sockaddr_in *to)
{
    return raw(SYS_connect, fd, (long)to, sizeof *to, 0, 0, 0);
}

static void play_connect(const char *call, const struct sockaddr_in *to)
{
    int fd = open_socket(SOCK_STREAM | (strcmp(call, "nonblocking") ? 0 : SOCK_NONBLOCK));
    long r;

    if (!strcmp(call, "storm"))
        begin_storm();
    if (!strcmp(call, "filtered"))
        install_filter();
    r = dial(fd, to);
    printf("%ld\n", r);
    if (!strcmp(call, "storm"))
        printf("signals %d\n", (int)signals);
    if (!strcmp(call, "again"))
        printf("%ld\n", dial(fd, to));
    fcntl(fd, F_SETFL, 0);
    if (r == 0)
        visit(fd);
}

static void play_bad(const struct sockaddr_in *to)
{
    int fd = open_socket(SOCK_STREAM), file = open("/dev/null", O_RDONLY);

    printf("%ld", raw(SYS_connect, 999, (long)to, sizeof *to, 0, 0, 0));
    printf(" %ld", raw(SYS_connect, file, (long)to, sizeof *to, 0, 0, 0));
    printf(" %ld", raw(SYS_connect, fd, 8, sizeof *to, 0, 0, 0));
    printf(" %ld", raw(SYS_connect, fd, (long)to, 4, 0, 0, 0));
    printf(" %ld", raw(SYS_connect, fd, (long)to, 1000, 0, 0, 0));
    printf(" %ld\n", raw(SYS_connect, fd, (long)to, -1, 0, 0, 0));
}

static long play_send(const char *call, struct sockaddr_in *to)
{
    int fd = open_socket(SOCK_DGRAM);
    struct iovec part = {"hello", 5};
    struct mmsghdr m = {.msg_hdr = {to, sizeof *to, &part, 1, NULL, 0, 0}};

    if (!strcmp(call, "sendto"))
        return raw(SYS_sendto, fd, (long)"hello", 5, 0, (long)to, sizeof *to);
    if (!strcmp(call, "sendmsg"))
        return raw(SYS_sendmsg, fd, (long)&m.msg_hdr, 0, 0, 0, 0);
    return raw(SYS_sendmmsg, fd, (long)&m, 1, 0, 0, 0);
}

static void play_fast_open(const struct sockaddr_in *to)
{
    static const char request[] = "GET /whoami HTTP/1.0\r\n";
    int fd = open_socket(SOCK_STREAM);
    long r =
        raw(SYS_sendto, fd, (long)request, sizeof request - 1, MSG_FASTOPEN, (long)to, sizeof *to);
    char answer[4096] = "";

    printf("%ld\n", r);
    if (r != sizeof request - 1 || write(fd, "\r\n", 2) != 2)
        return;
    usleep(100000);
    if (read(fd, answer, sizeof answer - 1) > 0 && strstr(answer, "\r\n\r\n"))
        fputs(strstr(answer, "\r\n\r\n") + 4, stdout);
}

#ifdef __x86_64__
static void play_i386(const struct sockaddr_in *to)
{
    static struct sockaddr_in low;
    static int words[3];

    low = *to;
    words[0] = open_socket(SOCK_STREAM);
    words[1] = (int)(long)&low;
    words[2] = sizeof low;
    printf("%ld\n", i386(102, 3, (long)words));
    printf("%ld\n", i386(20, 0, 0) > 0 ? 1L : 0L); /* getpid() */
}
#endif

int main(int argc, char **argv)
{
    const char *call = argc > 3 ? argv[1] : "";
    struct sockaddr_in to = {.sin_family = AF_INET};

    inet_aton(argc > 3 ? argv[2] : "0.0.0.0", &to.sin_addr);
    to.sin_port = htons((uint16_t)atoi(argc > 3 ? argv[3] : "0"));
    if (!strcmp(call, "bad"))
        play_bad(&to);
    else if (!strcmp(call, "fastopen"))
        play_fast_open(&to);
    else if (!strcmp(call, "io_uring"))
        printf("%ld\n", raw(SYS_io_uring_setup, 1, (long)&to, 0, 0, 0, 0));
    else if (!strcmp(call, "socket"))
        printf("%ld\n", raw(SYS_socket, atoi(argv[2]), atoi(argv[3]), argc > 4 ? atoi(argv[4]) : 0,
                            0, 0, 0));
    else if (!strncmp(call, "send", 4))
        printf("%ld\n", play_send(call, &to));
#ifdef __x86_64__
    else if (!strcmp(call, "x32"))
        printf("%ld\n", raw(SYS_connect | 0x40000000, open_socket(SOCK_STREAM), (long)&to,
                            sizeof to, 0, 0, 0));
    else if (!strcmp(call, "i386"))
        play_i386(&to);
#endif
    else
        play_connect(call, &to);
    return 0;
}
