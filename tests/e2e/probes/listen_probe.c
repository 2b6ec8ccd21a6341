/*
 * listen_probe SERVER PORT SCENARIO: what a listener looks like to which SERVER connects back.
 *
 * As FTP's active mode: a control connection, bind() to the address that getsockname() tells of it,
 * listen(), and the port said on the control connection ("call HOST PORT"), whereupon the server
 * connects and says "hello". It prints what it sees, without port numbers, so that the words are
 * the same on any listener, be it the kernel's or one at a proxy.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

union address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
    struct sockaddr_storage room;
};

static int control;
static union address told; /* the control connection's own address, port 0 */
static socklen_t told_len;
static union address server;

static void show(const char *what, long value)
{
    printf("%s: %ld%s%s\n", what, value, value < 0 ? " " : "",
           value < 0 ? strerrorname_np(errno) : "");
}

static in_port_t *port_of(union address *a)
{
    return a->any.sa_family == AF_INET6 ? &a->six.sin6_port : &a->four.sin_port;
}

static const char *text_of(const union address *a)
{
    static _Thread_local char text[2][INET6_ADDRSTRLEN];
    static _Thread_local int turn;
    const void *from = a->any.sa_family == AF_INET6 ? (const void *)&a->six.sin6_addr
                                                    : (const void *)&a->four.sin_addr;

    turn = !turn;
    return inet_ntop(a->any.sa_family, from, text[turn], sizeof text[turn]);
}

static void connect_control(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST}, *found;

    told_len = sizeof told;
    if (getaddrinfo(host, port, &hints, &found) != 0)
        exit(2);
    memcpy(&server, found->ai_addr, found->ai_addrlen);
    control = socket(found->ai_family, SOCK_STREAM, 0);
    if (connect(control, found->ai_addr, found->ai_addrlen) < 0 ||
        getsockname(control, &told.any, &told_len) < 0) {
        show("control", -1);
        exit(1);
    }
    *port_of(&told) = 0;
}

static int bound(void)
{
    int fd = socket(told.any.sa_family, SOCK_STREAM, 0);
    int r = bind(fd, &told.any, told_len);

    if (r < 0)
        show("bind", r);
    return fd;
}

static int listening(void)
{
    int fd = bound(), r = listen(fd, 3);

    if (r < 0)
        show("listen", r);
    return fd;
}

static union address name_of(int fd)
{
    union address a = {0};
    socklen_t len = sizeof a;

    if (getsockname(fd, &a.any, &len) < 0)
        show("getsockname", -1);
    return a;
}

/* Tells the server where to call. */
static void ask_at(union address at)
{
    char words[128];
    int len = snprintf(words, sizeof words, "call %s %u\n", text_of(&at), ntohs(*port_of(&at)));

    if (write(control, words, (size_t)len) != len)
        show("control", -1);
}

static void ask(int fd)
{
    ask_at(name_of(fd));
}

/* What the server says of its last call. */
static void show_outcome(void)
{
    char word[64] = "";
    size_t n = 0;

    while (n < sizeof word - 1 && read(control, word + n, 1) == 1 && word[n] != '\n')
        n++;
    word[n] = 0;
    printf("server: %s\n", word);
}

/* The connection as a program sees it, that its data go both ways, and its end. */
static void show_connection(int fd, int listener)
{
    union address peer = {0}, own = name_of(fd), at = name_of(listener);
    socklen_t len = sizeof peer;
    char data[64] = "";
    int flags = fcntl(fd, F_GETFL);

    if (fd < 0) {
        show("accept", fd);
        return;
    }
    show("getpeername", getpeername(fd, &peer.any, &len));
    printf("peer %s, %u bytes; own %s, as the listener's: %d\n", text_of(&peer), len, text_of(&own),
           *port_of(&own) == *port_of(&at));
    printf("O_NONBLOCK %d, FD_CLOEXEC %d\n", !!(flags & O_NONBLOCK), fcntl(fd, F_GETFD));
    fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
    show("read", recv(fd, data, 5, MSG_WAITALL));
    show("write", write(fd, "echo this", 9));
    show("read", recv(fd, data + 5, 9, MSG_WAITALL));
    shutdown(fd, SHUT_WR);
    show("end", read(fd, data + 14, 1));
    printf("data: %s\n", data);
    show("close", close(fd));
}

static void serve(int fd)
{
    show_connection(accept(fd, NULL, NULL), fd);
    show_outcome();
}

static void no_block(int fd)
{
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/* --- scenarios ------------------------------------------------------------------------------- */

static void plain(void)
{
    int fd = bound();
    union address before = name_of(fd), after, from = {0};
    socklen_t len = sizeof from;
    int taken;

    show("listen", listen(fd, 1));
    after = name_of(fd);
    printf("told %s, named %s, port kept: %d\n", text_of(&told), text_of(&before),
           *port_of(&before) && *port_of(&before) == *port_of(&after));
    ask(fd);
    taken = accept(fd, &from.any, &len);
    printf("from %s, %u bytes, a port: %d\n", text_of(&from), len, *port_of(&from) != 0);
    show_connection(taken, fd);
    show_outcome();
    show("close", close(fd));
}

static void flags(void)
{
    for (int i = 0; i < 4; i++) {
        int fd = listening();

        ask(fd);
        show_connection(
            accept4(fd, NULL, NULL, (i & 1 ? SOCK_NONBLOCK : 0) | (i & 2 ? SOCK_CLOEXEC : 0)), fd);
        show_outcome();
        close(fd);
    }
    show("bad flags", accept4(listening(), NULL, NULL, 1));
}

static void arguments(void)
{
    union address from = {0};
    socklen_t len = 4, none = 0;
    int fd = bound(), other = listening();

    show("not listening", accept(fd, NULL, NULL));
    show("bind again", bind(fd, &told.any, told_len));
    show("listen", listen(fd, 0));
    show("listen again", listen(fd, 5));
    show("bind again", bind(fd, &told.any, told_len));
    ask(fd);
    show_connection(accept(fd, &from.any, &len), fd);
    printf("%u bytes, of a buffer of 4\n", len);
    show_outcome();
    ask(other);
    show_connection(accept(other, &from.any, &none), other);
    printf("%u bytes, of a buffer of 0\n", none);
    show_outcome();
}

/* Three looks: nobody there, somebody there, nobody there any more. */
static void look(int fd, int (*ready)(int fd, int ms))
{
    no_block(fd);
    show("ready", ready(fd, 50));
    show("accept", accept(fd, NULL, NULL));
    ask(fd);
    show("ready", ready(fd, 3000));
    show("ready", ready(fd, 3000));
    show_connection(accept(fd, NULL, NULL), fd);
    show("ready", ready(fd, 50));
    show("accept", accept(fd, NULL, NULL));
    show_outcome();
}

static int by_poll(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
    int r = poll(&p, 1, ms);

    printf("poll: %x\n", (unsigned)p.revents);
    return r;
}

static int by_select(int fd, int ms)
{
    struct timeval t = {.tv_usec = ms * 1000};
    fd_set set;

    t.tv_sec = t.tv_usec / 1000000;
    t.tv_usec %= 1000000;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    return select(fd + 1, &set, NULL, NULL, &t);
}

static int epfd;

static int by_epoll(int fd, int ms)
{
    struct epoll_event event = {0};
    int r = epoll_wait(epfd, &event, 1, ms);

    printf("epoll: %x, own: %d\n", event.events, r > 0 && event.data.fd == fd);
    return r;
}

static void polled(void)
{
    look(listening(), by_poll);
}

static void selected(void)
{
    look(listening(), by_select);
}

static void watch(int fd, unsigned events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};

    epfd = epoll_create1(0);
    epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event);
}

static void epolled(void)
{
    int fd = listening();

    watch(fd, EPOLLIN);
    look(fd, by_epoll);
}

/* Registered before it listens; by edge. */
static void epolled_early(void)
{
    struct epoll_event event;
    int fd = bound();

    watch(fd, EPOLLIN | EPOLLET);
    show("listen", listen(fd, 5));
    no_block(fd);
    ask(fd);
    while (epoll_wait(epfd, &event, 1, 3000) == 1 && !(event.events & EPOLLIN))
        ; /* what bind() and listen() left behind, if anything */
    show("readable", event.events & EPOLLIN);
    serve(fd);
}

static void copied(void)
{
    int fd = listening(), copy = dup(fd), third = fcntl(copy, F_DUPFD, 100);

    show("close", close(fd));
    ask(copy);
    show("close", close(copy));
    serve(third);
    fd = listening();
    copy = open("/dev/null", O_RDONLY);
    show("dup2", dup2(fd, copy) == copy);
    show("close", close(fd));
    ask(copy);
    serve(copy);
}

/* Whoever closes the listener, however, is called in vain. */
static void closed(void)
{
    for (int i = 0; i < 4; i++) {
        int fd = listening(), null = open("/dev/null", O_RDONLY);
        union address at = name_of(fd);

        if (i == 0)
            close(fd);
        else if (i == 1)
            close_range((unsigned)fd, (unsigned)fd, 0);
        else if (i == 2)
            dup2(null, fd);
        else
            dup3(null, fd, O_CLOEXEC);
        usleep(100000); /* the other side learns of it */
        ask_at(at);
        show_outcome();
        close(null);
    }
}

static void two(void)
{
    int first = listening(), second = listening();
    union address a = name_of(first), b = name_of(second);

    printf("different: %d\n", *port_of(&a) != *port_of(&b));
    ask(second);
    serve(second);
    ask(first);
    serve(first);
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A child that lives on does not keep a connection open that the parent accepts and closes. */
static void forked(void)
{
    int fd = listening(), status = 0, taken;
    pid_t child = fork();
    int64_t since = now_ms();
    char data[8];

    if (child == 0) {
        close(fd);
        _exit(0);
    }
    waitpid(child, &status, 0);
    show("system", system("exit 3") >> 8);
    child = fork();
    if (child == 0) {
        usleep(1500000);
        _exit(0);
    }
    ask(fd);
    taken = accept(fd, NULL, NULL);
    show("read", recv(taken, data, 5, MSG_WAITALL));
    close(taken);
    show_outcome();
    show("in time", now_ms() - since < 1000);
    waitpid(child, &status, 0);
}

static void *accept_in_thread(void *listener)
{
    int fd = *(int *)listener;

    show_connection(accept(fd, NULL, NULL), fd);
    return NULL;
}

static void threaded(void)
{
    int fd = listening();
    pthread_t thread;

    pthread_create(&thread, NULL, accept_in_thread, &fd);
    usleep(100000);
    ask(fd);
    pthread_join(thread, NULL);
    show_outcome();
}

static void on_alarm(int number)
{
    (void)number;
}

static void waits(void)
{
    struct timeval limit = {.tv_usec = 100000};
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval soon = {.it_value.tv_usec = 100000};
    int fd = listening();

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    show("SO_RCVTIMEO", accept(fd, NULL, NULL));
    limit.tv_usec = 0;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &soon, NULL);
    show("a signal", accept(fd, NULL, NULL));
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &soon, NULL);
    ask(fd);
    usleep(200000);
    serve(fd);
}

static void options(void)
{
    int fd = bound(), one = 1, taken;
    struct linger linger = {1, 7};
    socklen_t len = sizeof linger;

    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    show("listen", listen(fd, 1));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    len = sizeof one;
    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &one, &len);
    show("SO_ACCEPTCONN", one);
    ask(fd);
    taken = accept(fd, NULL, NULL);
    getsockopt(taken, SOL_SOCKET, SO_KEEPALIVE, &one, &len);
    show("SO_KEEPALIVE", one);
    getsockopt(taken, IPPROTO_TCP, TCP_NODELAY, &one, &len);
    show("TCP_NODELAY", one);
    len = sizeof linger;
    getsockopt(taken, SOL_SOCKET, SO_LINGER, &linger, &len);
    show("SO_LINGER", linger.l_linger);
    show_connection(taken, fd);
    show_outcome();
}

/* Bound to the same address, but to connect: as lftp does for passive mode. */
static void connects(void)
{
    for (int i = 0; i < 2; i++) {
        int fd = bound();
        union address peer = server, own = {0};
        socklen_t len = sizeof peer;

        if (i == 1)
            own = name_of(fd);
        show("named", *port_of(&own) != 0);
        show("connect", connect(fd, &peer.any, told_len));
        show("getpeername", getpeername(fd, &peer.any, &len));
        printf("peer %s\n", text_of(&peer));
        show("write", write(fd, "bye\n", 4));
        close(fd);
    }
}

/* --- of proxies only ------------------------------------------------------------------------- */

/* Waits for a word on the standard input before the server is asked to call: others are at the door
 * by then. They are turned away by the accept() that takes who was waited for. */
static void strangers(void)
{
    int fd = listening();
    char word;

    printf("ready\n");
    if (read(0, &word, 1) == 1)
        ask(fd);
    usleep(300000);
    show_connection(accept(fd, NULL, NULL), fd);
    by_poll(fd, 50);
    show_outcome();
}

/* Nobody is asked to call. */
static void nobody(void)
{
    int fd = listening();

    no_block(fd);
    show("ready", by_poll(fd, 5000));
    show("accept", accept(fd, NULL, NULL));
    show("ready", by_poll(fd, 50));
    show("accept", accept(fd, NULL, NULL));
}

static void nobody_blocking(void)
{
    show("accept", accept(listening(), NULL, NULL));
}

/* A child that was made later cannot accept; nor does it disturb. */
static void inherited(void)
{
    int fd = listening(), status = 0;
    pid_t child = fork();

    if (child == 0) {
        show("child", accept(fd, NULL, NULL));
        _exit(0);
    }
    waitpid(child, &status, 0);
    ask(fd);
    serve(fd);
}

static void name_only(void)
{
    int fd = bound();
    union address at = name_of(fd);

    printf("named %s, a port: %d\n", text_of(&at), *port_of(&at) != 0);
    show("listen", listen(fd, 1));
    at = name_of(fd);
    printf("named %s, a port: %d\n", text_of(&at), *port_of(&at) != 0);
}

/* Any address, as Python's ftplib binds to. */
static void anywhere(void)
{
    if (told.any.sa_family == AF_INET6)
        told.six.sin6_addr = in6addr_any;
    else
        told.four.sin_addr.s_addr = 0;
    name_only();
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*play)(void);
    } scenarios[] = {
#define PLAY(name) {#name, name}
        PLAY(plain),         PLAY(flags),     PLAY(arguments),
        PLAY(polled),        PLAY(selected),  PLAY(epolled),
        PLAY(epolled_early), PLAY(copied),    PLAY(closed),
        PLAY(two),           PLAY(forked),    PLAY(threaded),
        PLAY(waits),         PLAY(options),   PLAY(connects),
        PLAY(strangers),     PLAY(nobody),    PLAY(nobody_blocking),
        PLAY(inherited),     PLAY(name_only), PLAY(anywhere)};

    if (argc != 4)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    connect_control(argv[1], argv[2]);
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        if (strcmp(argv[3], scenarios[i].name) != 0)
            continue;
        scenarios[i].play();
        return 0;
    }
    return 2;
}
