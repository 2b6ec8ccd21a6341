/*
 * Arguments that are wrong, and sockets that cannot be connected.
 */
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "conform.h"

static void addresses_to(int flags)
{
    static const socklen_t lengths[] = {0, 1, 2, 4, 7, 15, 16, 23, 24, 27, 28, 29, 64, 128, 129};
    union {
        struct sockaddr any;
        struct sockaddr_in6 in6;
        uint8_t room[256];
    } a = {.room = {0}};
    struct address target = conform_target();

    memcpy(a.room, &target.in6, target.len);
    for (size_t i = 0; i < LENGTH(lengths); i++) {
        int fd = tcp_socket(flags);
        char text[64];

        snprintf(text, sizeof text, "address of %u bytes", lengths[i]);
        show(text, connect(fd, &a.any, lengths[i]));
        show_error(fd);
        close(fd);
    }
}

static void short_addresses(void)
{
    addresses_to(SOCK_NONBLOCK);
}

static void short_addresses_blocking(void)
{
    addresses_to(0);
}

static void no_address(void)
{
    int fd = tcp_socket(SOCK_NONBLOCK);
    struct address a = conform_target();
    volatile socklen_t minus = (socklen_t)-1;
    volatile uintptr_t nowhere = 8;

    show("NULL, length of an address", connect(fd, NULL, a.len));
    show("NULL, length 0", connect(fd, NULL, 0));
    show("negative length", connect(fd, &a.any, minus));
    show("NULL, negative length", connect(fd, NULL, minus));
    show("nowhere", connect(fd, (struct sockaddr *)nowhere, a.len));
    show("nowhere, short", connect(fd, (struct sockaddr *)nowhere, 2));
    show("sendto nowhere", sendto(fd, "x", 1, MSG_FASTOPEN, (struct sockaddr *)nowhere, a.len));
    show_state(fd);
}

static void families(void)
{
    static const sa_family_t wrong[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, 255};
    union {
        struct sockaddr any;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    } a;

    for (size_t i = 0; i < LENGTH(wrong); i++) {
        struct address target = conform_target();
        int fd = tcp_socket(SOCK_NONBLOCK);

        if (wrong[i] == the_domain)
            continue;
        memset(&a, 0, sizeof a);
        memcpy(&a.in6, &target.in6, target.len);
        a.any.sa_family = wrong[i];
        say("family %u", wrong[i]);
        show("whole", connect(fd, &a.any, sizeof a.in6));
        show("as long as for IPv4", connect(fd, &a.any, sizeof(struct sockaddr_in)));
        show_state(fd);
        show("connect", connect_to(fd, target));
        close(fd);
    }
}

static void not_a_socket(void)
{
    int pair[2], file = open("/dev/null", O_RDWR), gone = dup(file);
    struct address a = conform_target();

    close(gone);
    show("pipe", pipe(pair));
    show("connect a pipe", connect_to(pair[0], a));
    show("connect a file", connect_to(file, a));
    show("connect what is closed", connect_to(gone, a));
    show("connect -1", connect_to(-1, a));
    show("connect a million", connect_to(1000000, a));
    show("dissolve a pipe", dissolve(pair[0]));
    show("dissolve what is closed", dissolve(gone));
    show_peer(pair[0]);
    show_peer(gone);
    show("shutdown of a pipe", shutdown(pair[0], SHUT_RDWR));
    show("shutdown of what is closed", shutdown(gone, SHUT_RDWR));
    show("send to a pipe", send(pair[1], "x", 1, 0));
}

static void unix_socket(void)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/nonexistent/socket"};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), pair[2];

    show("connect to an INET address", connect_to(fd, conform_target()));
    show("connect to a path", connect(fd, (struct sockaddr *)&un, sizeof un));
    show("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    show("connect a pair", connect_to(pair[0], conform_target()));
    show("write", write(pair[0], "x", 1));
    show_poll(pair[1]);
}

static void listening(void)
{
    int fd = tcp_socket(SOCK_NONBLOCK);

    show("listen", listen(fd, 1));
    show("connect", connect_target(fd));
    show_poll(fd);
    show("connect", connect_target(fd));
    show("accept", accept(fd, NULL, NULL));
}

static void listen_while_pending(void)
{
    int fd = pending_socket();

    show("listen", listen(fd, 1));
    show("accept", accept(fd, NULL, NULL));
    await(fd);
    show_state(fd);
}

static void bind_while_pending(void)
{
    int fd = pending_socket();
    struct address a = {.len = sizeof a.in6};

    memset(&a.in6, 0, sizeof a.in6);
    a.any.sa_family = (sa_family_t)the_domain;
    show("bind", bind(fd, &a.any, a.len));
    await(fd);
    show_state(fd);
}

static void questions(void)
{
    int fd = pending_socket(), error = 7;
    socklen_t len = 0;
    struct sockaddr_in6 peer;

    show("SO_ERROR into 0 bytes", getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len));
    say("length %u", len);
    len = 1;
    show("SO_ERROR into 1 byte", getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len));
    say("length %u, value %d", len, error);
    len = (socklen_t)-1;
    show("SO_ERROR into -1 bytes", getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len));
    len = sizeof error;
    show("SO_ERROR into NULL", getsockopt(fd, SOL_SOCKET, SO_ERROR, NULL, &len));
    show("SO_ERROR, no length", getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, NULL));
    show("getpeername into NULL", getpeername(fd, NULL, &len));
    await(fd);
    len = 0;
    show("SO_ERROR into 0 bytes", getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len));
    show_error(fd);
    len = 4;
    memset(&peer, 0, sizeof peer);
    show("getpeername into 4 bytes", getpeername(fd, (struct sockaddr *)&peer, &len));
    say("length %u, family %d", len, peer.sin6_family);
    len = (socklen_t)-1;
    show("getpeername, length -1", getpeername(fd, (struct sockaddr *)&peer, &len));
    show("getpeername, no length", getpeername(fd, (struct sockaddr *)&peer, NULL));
    len = sizeof peer;
    show("getpeername into NULL", getpeername(fd, NULL, &len));
}

/* --- fast open -------------------------------------------------------------------------------- */

static void fast_open(int flags)
{
    int fd = tcp_socket(flags);
    struct address a = conform_target();
    int64_t began = now_ms();

    show_timed("sendto", began, sendto(fd, "hello", 5, MSG_FASTOPEN, &a.any, a.len));
    show_peer(fd);
    await(fd);
    show_state(fd);
    if (the_outcome == SUCCEEDS && flags == 0) {
        char got[8] = "";

        show("recv", recv(fd, got, 5, MSG_WAITALL));
        say("got %s", got);
    }
    if (the_outcome == SUCCEEDS && flags != 0)
        show_echo(fd);
    show("sendto again", sendto(fd, "hello", 5, MSG_FASTOPEN | MSG_NOSIGNAL, &a.any, a.len));
}

static void fast_open_blocking(void)
{
    fast_open(0);
}

static void fast_open_nonblocking(void)
{
    fast_open(SOCK_NONBLOCK);
}

static void fast_open_message(void)
{
    int fd = tcp_socket(0);
    struct address a = conform_target();
    char text[] = "hello";
    struct iovec parts[2] = {{text, 3}, {text + 3, 2}};
    struct msghdr m = {&a.any, a.len, parts, 2, NULL, 0, 0};
    char got[8] = "";

    show("sendmsg", sendmsg(fd, &m, MSG_FASTOPEN));
    show_state(fd);
    if (the_outcome != SUCCEEDS)
        return;
    show("recv", recv(fd, got, 5, MSG_WAITALL));
    say("got %s", got);
    show("sendmsg", sendmsg(fd, &m, MSG_FASTOPEN));
    show("sendmsg without", sendmsg(fd, &m, 0));
}

static void fast_open_badly(void)
{
    int fd = tcp_socket(SOCK_NONBLOCK);
    struct address a = conform_target();
    struct sockaddr none = {.sa_family = AF_UNSPEC};

    show("no address", sendto(fd, "hello", 5, MSG_FASTOPEN | MSG_NOSIGNAL, NULL, 0));
    show("short address", sendto(fd, "hello", 5, MSG_FASTOPEN, &a.any, 3));
    show("AF_UNSPEC", sendto(fd, "hello", 5, MSG_FASTOPEN, &none, sizeof none));
    show("without the flag", sendto(fd, "hello", 5, MSG_NOSIGNAL, &a.any, a.len));
    show_state(fd);
    show("connect", connect_target(fd));
    show("while under way", sendto(fd, "hello", 5, MSG_FASTOPEN, &a.any, a.len));
}

/* Whether data went with the first segment depends on what the target is; not the end. */
static void fast_open_option(void)
{
    int fd = tcp_socket(SOCK_NONBLOCK), one = 1;
    char got[8] = "";

    show("TCP_FASTOPEN_CONNECT",
         setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof one));
    connect_target(fd);
    await(fd);
    set_blocking(fd, true);
    show("send", send(fd, "hello", 5, 0));
    show("recv", recv(fd, got, 5, MSG_WAITALL));
    say("got %s", got);
    show_peer(fd);
}

#define BOTH (IPV4 | IPV6)
#define ENDS (SUCCEEDS | IS_REFUSED)

const struct conform_case argument_cases[] = {
    {"short addresses", short_addresses, BOTH, SUCCEEDS},
    {"short addresses, blocking", short_addresses_blocking, BOTH, SUCCEEDS},
    {"no address", no_address, BOTH, SUCCEEDS},
    {"families", families, BOTH, SUCCEEDS},
    {"not a socket", not_a_socket, BOTH, SUCCEEDS},
    {"unix socket", unix_socket, IPV4, SUCCEEDS},
    {"listening", listening, BOTH, SUCCEEDS},
    {"listen while pending", listen_while_pending, IPV4, ENDS},
    {"bind while pending", bind_while_pending, IPV4, ENDS},
    {"questions", questions, BOTH, ENDS},
    {"fast open, blocking", fast_open_blocking, BOTH, ENDS},
    {"fast open, nonblocking", fast_open_nonblocking, BOTH, ENDS},
    {"fast open, sendmsg", fast_open_message, IPV4, ENDS},
    {"fast open badly", fast_open_badly, IPV4, SUCCEEDS},
    {"fast open, option", fast_open_option, BOTH, SUCCEEDS},
    {0},
};
