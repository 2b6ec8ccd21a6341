/*
 * Bytes: every call that moves them, on sockets that are being connected or have failed.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include "conform.h"

static char buf[64], hello[] = "hello";

static ssize_t by_send(int fd)
{
    return send(fd, "hello", 5, 0);
}

static ssize_t by_send_nothing(int fd)
{
    return send(fd, "", 0, 0);
}

static ssize_t by_send_unwaiting(int fd)
{
    return send(fd, "hello", 5, MSG_DONTWAIT);
}

static ssize_t by_sendto(int fd)
{
    return sendto(fd, "hello", 5, 0, NULL, 0);
}

static ssize_t by_sendto_address(int fd)
{
    struct address a = conform_target();

    return sendto(fd, "hello", 5, 0, &a.any, a.len);
}

static ssize_t by_write(int fd)
{
    return write(fd, "hello", 5);
}

static ssize_t by_write_nothing(int fd)
{
    return write(fd, "", 0);
}

static ssize_t by_writev(int fd)
{
    struct iovec parts[2] = {{hello, 3}, {hello + 3, 2}};

    return writev(fd, parts, 2);
}

static ssize_t by_sendmsg(int fd)
{
    struct iovec part = {hello, 5};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};

    return sendmsg(fd, &m, 0);
}

static ssize_t by_sendmmsg(int fd)
{
    struct iovec part = {hello, 5};
    struct mmsghdr m = {.msg_hdr = {.msg_iov = &part, .msg_iovlen = 1}};

    return sendmmsg(fd, &m, 1, 0);
}

static ssize_t by_sendfile(int fd)
{
    FILE *file = tmpfile();
    off_t at = 0;

    if (fputs("hello", file) < 0 || fflush(file))
        return -2;
    return sendfile(fd, fileno(file), &at, 5);
}

static ssize_t by_splice_to(int fd)
{
    int pair[2];

    if (pipe(pair) < 0 || write(pair[1], "hello", 5) != 5)
        return -2;
    return splice(pair[0], NULL, fd, NULL, 5, 0);
}

static ssize_t by_splice_to_unwaiting(int fd)
{
    int pair[2];

    if (pipe(pair) < 0 || write(pair[1], "hello", 5) != 5)
        return -2;
    return splice(pair[0], NULL, fd, NULL, 5, SPLICE_F_NONBLOCK);
}

static ssize_t by_recv(int fd)
{
    return recv(fd, buf, 5, 0);
}

static ssize_t by_recv_nothing(int fd)
{
    return recv(fd, buf, 0, 0);
}

static ssize_t by_recv_peek(int fd)
{
    return recv(fd, buf, 5, MSG_PEEK);
}

static ssize_t by_recv_unwaiting(int fd)
{
    return recv(fd, buf, 5, MSG_DONTWAIT);
}

static ssize_t by_recvfrom(int fd)
{
    return recvfrom(fd, buf, 5, 0, NULL, NULL);
}

static ssize_t by_read(int fd)
{
    return read(fd, buf, 5);
}

static ssize_t by_read_nothing(int fd)
{
    return read(fd, buf, 0);
}

static ssize_t by_readv(int fd)
{
    struct iovec parts[2] = {{buf, 3}, {buf + 3, 2}};

    return readv(fd, parts, 2);
}

static ssize_t by_recvmsg(int fd)
{
    struct iovec part = {buf, 5};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};

    return recvmsg(fd, &m, 0);
}

static ssize_t by_recvmmsg(int fd)
{
    struct iovec part = {buf, 5};
    struct mmsghdr m = {.msg_hdr = {.msg_iov = &part, .msg_iovlen = 1}};

    return recvmmsg(fd, &m, 1, 0, NULL);
}

static ssize_t by_splice_from(int fd)
{
    int pair[2];

    return pipe(pair) < 0 ? -2 : splice(fd, NULL, pair[1], NULL, 5, 0);
}

static ssize_t by_fionread(int fd)
{
    int count = -1;

    return ioctl(fd, FIONREAD, &count) < 0 ? -1 : count;
}

static ssize_t by_pwrite(int fd)
{
    return pwrite(fd, "hello", 5, 0);
}

static const struct {
    const char *name;
    ssize_t (*call)(int fd);
    bool receives;
} calls[] = {
    {"send", by_send, false},
    {"send nothing", by_send_nothing, false},
    {"send, MSG_DONTWAIT", by_send_unwaiting, false},
    {"sendto", by_sendto, false},
    {"sendto an address", by_sendto_address, false},
    {"write", by_write, false},
    {"write nothing", by_write_nothing, false},
    {"writev", by_writev, false},
    {"sendmsg", by_sendmsg, false},
    {"sendmmsg", by_sendmmsg, false},
    {"sendfile", by_sendfile, false},
    {"splice to it", by_splice_to, false},
    {"splice to it, SPLICE_F_NONBLOCK", by_splice_to_unwaiting, false},
    {"recv", by_recv, true},
    {"recv nothing", by_recv_nothing, false},
    {"recv, MSG_PEEK", by_recv_peek, true},
    {"recv, MSG_DONTWAIT", by_recv_unwaiting, false},
    {"recvfrom", by_recvfrom, true},
    {"read", by_read, true},
    {"read nothing", by_read_nothing, false},
    {"readv", by_readv, true},
    {"recvmsg", by_recvmsg, true},
    {"recvmmsg", by_recvmmsg, true},
    {"splice from it", by_splice_from, true},
    {"FIONREAD", by_fionread, false},
    {"pwrite", by_pwrite, false},
};

/* All on one socket, none of which may take a byte out of the handshake. */
static void while_pending(void)
{
    int fd = pending_socket();

    for (size_t i = 0; i < LENGTH(calls); i++)
        show(calls[i].name, calls[i].call(fd));
    await(fd);
    show_state(fd);
    if (the_outcome == SUCCEEDS)
        show_echo(fd);
}

static void later_while_pending(void)
{
    int fd = pending_socket();

    usleep(100000);
    for (size_t i = 0; i < LENGTH(calls); i++)
        show(calls[i].name, calls[i].call(fd));
    await(fd);
    show_state(fd);
}

static void after_failure(void)
{
    for (size_t i = 0; i < LENGTH(calls); i++) {
        int fd = pending_socket();

        await(fd);
        show(calls[i].name, calls[i].call(fd));
        show_poll(fd);
        show("again", calls[i].call(fd));
        show_state(fd);
        show("connect", connect_target(fd));
        close(fd);
    }
}

/* --- blocking calls on a socket whose non-blocking connect() is under way --------------------- */

static void *send_later(void *fd)
{
    let_settle();
    if (send(*(int *)fd, "hello", 5, MSG_NOSIGNAL) < 0)
        return fd;
    return NULL;
}

static void play_waiting(size_t i)
{
    int fd = pending_socket();
    int64_t began = now_ms();
    pthread_t other;

    set_blocking(fd, true);
    if (calls[i].receives && the_outcome == SUCCEEDS)
        pthread_create(&other, NULL, send_later, &fd);
    show_timed(calls[i].name, began, calls[i].call(fd));
    if (calls[i].receives && the_outcome == SUCCEEDS)
        pthread_join(other, NULL);
    show_state(fd);
    close(fd);
}

static void waiting(size_t first, size_t last)
{
    for (size_t i = first; i < last && i < LENGTH(calls); i++)
        play_waiting(i);
}

static void waiting_sends(void)
{
    waiting(0, 13);
}

static void waiting_receives(void)
{
    waiting(13, LENGTH(calls));
}

static void waiting_with_limit(void)
{
    struct timeval limit = {.tv_usec = 100000};
    int fd = pending_socket();
    int64_t began = now_ms();

    set_blocking(fd, true);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    show_timed("recv", began, recv(fd, buf, 5, 0));
    began = now_ms();
    show_timed("send", began, send(fd, "hello", 5, 0));
    await(fd);
    show_state(fd);
}

/* The other end speaks first, in the same breath as a proxy's reply: nothing may be lost. */
static void much_data(void)
{
    static char out[300000], in[300000];
    int fd = pending_socket();
    size_t sent = 0, got = 0;

    memset(out, 'x', sizeof out);
    await(fd);
    while (got < sizeof in) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t n;

        if (sent < sizeof out)
            p.events |= POLLOUT;
        if (poll(&p, 1, 5000) <= 0)
            break;
        n = sent < sizeof out ? send(fd, out + sent, sizeof out - sent, MSG_NOSIGNAL) : 0;
        sent += n > 0 ? (size_t)n : 0;
        n = recv(fd, in + got, sizeof in - got, 0);
        if (n == 0)
            break;
        got += n > 0 ? (size_t)n : 0;
    }
    say("sent %zu, got %zu, %s", sent, got, memcmp(in, out, sizeof in) ? "changed" : "the same");
}

#define BOTH (IPV4 | IPV6)
#define ENDS (SUCCEEDS | IS_REFUSED)

const struct conform_case io_cases[] = {
    {"bytes while pending", while_pending, BOTH, ENDS},
    {"bytes later while pending", later_while_pending, IPV4, ENDS},
    {"bytes after failure", after_failure, IPV4, IS_REFUSED},
    {"bytes, waiting sends", waiting_sends, IPV4, ENDS},
    {"bytes, waiting receives", waiting_receives, IPV4, ENDS},
    {"bytes, waiting with limit", waiting_with_limit, IPV4, ENDS},
    {"much data", much_data, BOTH, SUCCEEDS},
    {0},
};
