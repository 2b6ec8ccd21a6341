/*
 * connect(): its results, what comes after it, options of the socket.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "conform.h"

static void blocking(void)
{
    int fd = tcp_socket(0);
    int64_t began = now_ms();

    show_timed("connect", began, connect_target(fd));
    show_state(fd);
    if (the_outcome == SUCCEEDS) {
        show("connect again", connect_target(fd));
        show_echo(fd);
        return;
    }
    began = now_ms();
    show_timed("connect again", began, connect_target(fd));
    show("connect to one that answers", connect_to(fd, conform_echo()));
    show_peer(fd);
    show_echo(fd);
}

static void nonblocking(void)
{
    int fd = tcp_socket(SOCK_NONBLOCK);
    int64_t began = now_ms();

    show_timed("connect", began, connect_target(fd));
    show_state(fd);
    show("connect while under way", connect_target(fd));
    show_timed("await", began, await(fd));
    show_state(fd);
    show_error(fd);
    show_poll(fd);
}

/* Three times, for the third one of a failed socket dials anew. */
static void connect_thrice(void)
{
    int fd = pending_socket();

    await(fd);
    show("first", connect_target(fd));
    show_poll(fd);
    show("second", connect_target(fd));
    show("third", connect_target(fd));
    await(fd);
    show_state(fd);
}

static void connect_thrice_error_read(void)
{
    int fd = pending_socket();

    await(fd);
    show_error(fd);
    show("first", connect_target(fd));
    show_error(fd);
    show("second", connect_target(fd));
    show("third", connect_target(fd));
    await(fd);
    show_state(fd);
}

static void connect_again_unwaited(void)
{
    int fd = pending_socket();

    let_settle();
    show("connect", connect_target(fd));
    show("connect", connect_target(fd));
}

static void reconnect_elsewhere(void)
{
    int fd = pending_socket();

    await(fd);
    show_error(fd);
    show("connect to one that answers", connect_to(fd, conform_echo()));
    show("connect to one that answers", connect_to(fd, conform_echo()));
    await(fd);
    show_state(fd);
    show_echo(fd);
}

static void becomes_blocking(void)
{
    int fd = pending_socket();
    int64_t began = now_ms();

    set_blocking(fd, true);
    show_timed("connect", began, connect_target(fd));
    show_state(fd);
}

static void send_limit(void)
{
    int fd = tcp_socket(0);
    struct timeval limit = {.tv_usec = 100000};
    int64_t began = now_ms();

    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    show_timed("connect", began, connect_target(fd));
    show_state(fd);
    show("connect", connect_target(fd));
    let_settle();
    show_state(fd);
    show("connect", connect_target(fd));
}

static void silent(void)
{
    int fd = pending_socket();
    struct pollfd p = {.fd = fd, .events = POLLOUT};

    let_settle();
    show("poll", poll(&p, 1, 100));
    show_state(fd);
    show("connect", connect_target(fd));
    show("close", close(fd));
}

/* --- dissolving and shutting down ------------------------------------------------------------ */

static void reconnects(int fd)
{
    show("connect to one that answers", connect_to(fd, conform_echo()));
    show_error(fd);
    await(fd);
    show_state(fd);
    show_echo(fd);
}

static void dissolve_pending(void)
{
    int fd = pending_socket();

    show("dissolve", dissolve(fd));
    show_state(fd);
    reconnects(fd);
}

static void dissolve_pending_unread(void)
{
    int fd = pending_socket();

    show("dissolve", dissolve(fd));
    reconnects(fd);
}

static void dissolve_settled(void)
{
    int fd = pending_socket();

    await(fd);
    show("dissolve", dissolve(fd));
    show_state(fd);
    reconnects(fd);
}

static void dissolve_settled_unread(void)
{
    int fd = pending_socket();

    await(fd);
    show("dissolve", dissolve(fd));
    reconnects(fd);
}

static void dissolve_read(void)
{
    int fd = pending_socket();

    await(fd);
    show_error(fd);
    show("dissolve", dissolve(fd));
    show_state(fd);
    reconnects(fd);
}

static void dissolve_blocking(void)
{
    int fd = tcp_socket(0);

    connect_target(fd);
    show("dissolve", dissolve(fd));
    show_state(fd);
    show("connect", connect_target(fd));
    show_state(fd);
}

/* Each way twice: to look at it, and to connect it again at once. */
static void shut_pending(int how)
{
    int fd = pending_socket();

    show("shutdown", shutdown(fd, how));
    show("shutdown again", shutdown(fd, how));
    show_state(fd);
    fd = pending_socket();
    show("shutdown", shutdown(fd, how));
    reconnects(fd);
    fd = pending_socket();
    show("shutdown", shutdown(fd, how));
    show_state(fd);
    reconnects(fd);
}

static void shut_pending_read(void)
{
    shut_pending(SHUT_RD);
}

static void shut_pending_write(void)
{
    shut_pending(SHUT_WR);
}

static void shut_pending_both(void)
{
    shut_pending(SHUT_RDWR);
}

static void shut_pending_badly(void)
{
    int fd = pending_socket();

    show("shutdown", shutdown(fd, 3));
    show("shutdown", shutdown(fd, -1));
    await(fd);
    show_state(fd);
}

static void shut_settled(void)
{
    int fd = pending_socket();
    char byte;

    await(fd);
    show("shutdown", shutdown(fd, SHUT_WR));
    show_state(fd);
    if (the_outcome == SUCCEEDS) { /* the echoing end closes, too */
        set_blocking(fd, true);
        show("recv", recv(fd, &byte, 1, 0));
        show_poll(fd);
    }
}

/* --- options --------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int level, option, value;
} options[] = {
    {"SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE, 1},
    {"TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY, 1},
    {"SO_RCVLOWAT", SOL_SOCKET, SO_RCVLOWAT, 5},
    {"SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR, 1},
    {"SO_PRIORITY", SOL_SOCKET, SO_PRIORITY, 3},
    {"SO_OOBINLINE", SOL_SOCKET, SO_OOBINLINE, 1},
    {"TCP_KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE, 77},
    {"TCP_USER_TIMEOUT", IPPROTO_TCP, TCP_USER_TIMEOUT, 12345},
    {"TCP_QUICKACK", IPPROTO_TCP, TCP_QUICKACK, 1},
    {"TCP_CORK", IPPROTO_TCP, TCP_CORK, 0},
    {"SO_DOMAIN", SOL_SOCKET, SO_DOMAIN, -1},
    {"SO_TYPE", SOL_SOCKET, SO_TYPE, -1},
    {"SO_PROTOCOL", SOL_SOCKET, SO_PROTOCOL, -1},
    {"SO_ACCEPTCONN", SOL_SOCKET, SO_ACCEPTCONN, -1},
};

static void show_options(int fd)
{
    struct timeval send = {0}, receive = {0};
    struct linger linger = {0};
    socklen_t len = sizeof send;

    for (size_t i = 0; i < LENGTH(options); i++) {
        int value = -1;
        socklen_t int_len = sizeof value;

        if (options[i].option == TCP_QUICKACK && options[i].level == IPPROTO_TCP)
            continue; /* the kernel changes it by itself */
        if (getsockopt(fd, options[i].level, options[i].option, &value, &int_len) < 0)
            show(options[i].name, -1);
        else
            say("%s is %d", options[i].name, value);
    }
    getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &send, &len);
    getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &receive, &len);
    say("time limits: %ld.%06ld %ld.%06ld", (long)send.tv_sec, (long)send.tv_usec,
        (long)receive.tv_sec, (long)receive.tv_usec);
    len = sizeof linger;
    getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &len);
    say("linger: %d %d", linger.l_onoff, linger.l_linger);
    say("descriptor flags: %d, file flags: %x", fcntl(fd, F_GETFD),
        (unsigned)(fcntl(fd, F_GETFL) & (O_NONBLOCK | O_APPEND | O_ASYNC | O_ACCMODE)));
}

static void set_options(int fd)
{
    struct timeval send = {.tv_sec = 7}, receive = {.tv_sec = 8, .tv_usec = 500000};
    struct linger linger = {1, 3};

    for (size_t i = 0; i < LENGTH(options); i++)
        if (options[i].value >= 0)
            setsockopt(fd, options[i].level, options[i].option, &options[i].value, sizeof(int));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &send, sizeof send);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &receive, sizeof receive);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

static void options_kept(void)
{
    int fd = tcp_socket(SOCK_NONBLOCK | SOCK_CLOEXEC);

    set_options(fd);
    show("connect", connect_target(fd));
    show_options(fd);
    await(fd);
    show_options(fd);
}

static void options_kept_blocking(void)
{
    int fd = tcp_socket(0);

    set_options(fd);
    show("connect", connect_target(fd));
    show_options(fd);
}

static void options_set_while_pending(void)
{
    int fd = pending_socket();

    set_options(fd);
    show_options(fd);
    await(fd);
    show_state(fd);
    show_options(fd);
}

/* A server's bytes after the handshake count for the program's own low water mark. */
static void low_water(void)
{
    int fd = pending_socket(), five = 5;
    struct pollfd p = {.fd = fd, .events = POLLIN};

    setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &five, sizeof five);
    await(fd);
    show("send", send(fd, "abc", 3, 0));
    show("poll", poll(&p, 1, 1200));
    show("send", send(fd, "de", 2, 0));
    show("poll", poll(&p, 1, 2000));
}

static uint16_t port_of(int fd)
{
    struct address a = {.len = sizeof a.in6};

    getsockname(fd, &a.any, &a.len);
    return a.in4.sin_port;
}

static int bind_port(int fd, uint16_t port)
{
    struct address a = {.len = sizeof a.in6};

    memset(&a.in6, 0, sizeof a.in6);
    a.any.sa_family = (sa_family_t)the_domain;
    a.in4.sin_port = port;
    return bind(fd, &a.any, a.len);
}

static void bound_port(void)
{
    int fd = tcp_socket(SOCK_NONBLOCK), other = tcp_socket(0);
    uint16_t port;

    bind_port(other, 0);
    port = port_of(other);
    close(other);
    show("bind", bind_port(fd, port));
    show("connect", connect_target(fd));
    await(fd);
    say("the port is %s", port_of(fd) == port ? "kept" : "another one");
    show_state(fd);
    show("dissolve", dissolve(fd));
    say("the port is %s", port_of(fd) == port ? "kept" : "another one");
}

/* --- other names ------------------------------------------------------------------------------ */

static void by_number(void)
{
    int fd = tcp_socket(SOCK_NONBLOCK);
    struct address a = conform_target();

    show("syscall(connect)", syscall(SYS_connect, fd, &a.any, a.len));
    show_state(fd);
    show("syscall(connect)", syscall(SYS_connect, fd, &a.any, a.len));
    show("syscall(write)", syscall(SYS_write, fd, "x", 1));
    show("syscall(dup3)", syscall(SYS_dup3, fd, 320, 0));
    show("syscall(close)", syscall(SYS_close, fd));
    fd = (int)syscall(SYS_fcntl, 320, F_DUPFD, 330);
    show("syscall(close_range)", syscall(SYS_close_range, 320, 329, 0));
    show_state(fd);
    await(fd);
    show_state(fd);
}

static void by_other_name(void)
{
    int (*other)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_DEFAULT, "__connect");
    int (*poll_chk)(struct pollfd *, nfds_t, int, size_t) = dlsym(RTLD_DEFAULT, "__poll_chk");
    struct address a = conform_target();
    int fd = tcp_socket(SOCK_NONBLOCK);
    struct pollfd p = {.fd = fd, .events = POLLOUT};

    show("__connect", other(fd, &a.any, a.len));
    show("__poll_chk", poll_chk(&p, 1, 100, sizeof p));
    show("__poll_chk", poll_chk(&p, 1, 5000, sizeof p));
    show_state(fd);
}

#define BOTH (IPV4 | IPV6)
#define ENDS (SUCCEEDS | IS_REFUSED)

const struct conform_case connect_cases[] = {
    {"blocking", blocking, BOTH, ENDS},
    {"nonblocking", nonblocking, BOTH, ENDS},
    {"connect thrice", connect_thrice, BOTH, ENDS},
    {"connect thrice, error read", connect_thrice_error_read, BOTH, ENDS},
    {"connect again, unwaited", connect_again_unwaited, IPV4, ENDS},
    {"reconnect elsewhere", reconnect_elsewhere, BOTH, IS_REFUSED},
    {"becomes blocking", becomes_blocking, BOTH, ENDS},
    {"send limit", send_limit, BOTH, ENDS | IS_SILENT},
    {"silent", silent, BOTH, IS_SILENT},
    {"dissolve pending", dissolve_pending, BOTH, ENDS | IS_SILENT},
    {"dissolve pending, unread", dissolve_pending_unread, IPV4, ENDS},
    {"dissolve settled", dissolve_settled, BOTH, ENDS},
    {"dissolve settled, unread", dissolve_settled_unread, IPV4, ENDS},
    {"dissolve, error read", dissolve_read, IPV4, ENDS},
    {"dissolve blocking", dissolve_blocking, IPV4, ENDS},
    {"shutdown(RD) pending", shut_pending_read, BOTH, SUCCEEDS | IS_SILENT},
    {"shutdown(WR) pending", shut_pending_write, BOTH, SUCCEEDS | IS_SILENT},
    {"shutdown(RDWR) pending", shut_pending_both, BOTH, SUCCEEDS | IS_SILENT},
    {"shutdown badly", shut_pending_badly, IPV4, SUCCEEDS},
    {"shutdown settled", shut_settled, IPV4, ENDS},
    {"options kept", options_kept, BOTH, ENDS},
    {"options kept, blocking", options_kept_blocking, BOTH, ENDS},
    {"options set while pending", options_set_while_pending, IPV4, ENDS},
    {"low water", low_water, IPV4, SUCCEEDS},
    {"bound port", bound_port, BOTH, ENDS},
    {"by number", by_number, IPV4, ENDS},
    {"by other name", by_other_name, IPV4, ENDS},
    {0},
};
