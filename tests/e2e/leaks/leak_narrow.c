/* What libc and the kernel have for 32-bit programs only: the names for 64-bit times, and
 * socketcall(). */
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/syscall.h>

#include "leak.h"

struct time64 {
    int64_t seconds, rest;
};

static struct iovec words = {(char[]){"leak"}, 4};

static struct msghdr message_to(const struct to *t)
{
    return (struct msghdr){
        .msg_name = (void *)at(t), .msg_namelen = t->len, .msg_iov = &words, .msg_iovlen = 1};
}

static int flags(const struct to *t)
{
    return t->type == SOCK_STREAM ? MSG_FASTOPEN : 0;
}

static int begin(const struct to *t)
{
    int (*fcntl_64)(int, int, ...) = symbol("__fcntl_time64");
    int fd = make(t);

    fcntl_64(fd, F_SETFL, O_NONBLOCK);
    connect(fd, at(t), t->len);
    return fd;
}

/* --- socketcall ------------------------------------------------------------------------------ */

enum { SOCKET = 1, CONNECT = 3, SEND = 9, SENDTO = 11, SENDMSG = 16, SENDMMSG = 20 };

static long socketcall(long call, long a, long b, long c, long d, long e, long f)
{
    long arguments[] = {a, b, c, d, e, f};

    return syscall(SYS_socketcall, call, arguments);
}

static void do_socketcall(const struct to *t)
{
    long fd = socketcall(SOCKET, t->family, t->type, 0, 0, 0, 0);

    if (socketcall(CONNECT, fd, (long)at(t), (long)t->len, 0, 0, 0) == 0)
        socketcall(SEND, fd, (long)"leak", 4, 0, 0, 0);
}

static void do_socketcall_sends(const struct to *t)
{
    struct mmsghdr many = {.msg_hdr = message_to(t)};
    int fd = make(t);

    socketcall(SENDTO, fd, (long)"leak", 4, flags(t), (long)at(t), (long)t->len);
    socketcall(SENDMSG, fd, (long)&many.msg_hdr, flags(t), 0, 0, 0);
    socketcall(SENDMMSG, fd, (long)&many, 1, flags(t), 0, 0);
}

/* --- 64-bit times ---------------------------------------------------------------------------- */

static void do_sendmsg64(const struct to *t)
{
    ssize_t (*send_64)(int, const struct msghdr *, int) = symbol("__sendmsg64");
    struct msghdr m = message_to(t);

    send_64(make(t), &m, flags(t));
}

static void do_sendmmsg64(const struct to *t)
{
    int (*send_64)(int, struct mmsghdr *, unsigned, int) = symbol("__sendmmsg64");
    struct mmsghdr many = {.msg_hdr = message_to(t)};

    send_64(make(t), &many, 1, flags(t));
}

static void do_receive64(const struct to *t)
{
    ssize_t (*receive_64)(int, struct msghdr *, int) = symbol("__recvmsg64");
    int (*receive_many_64)(int, struct mmsghdr *, unsigned, int, struct time64 *) =
        symbol("__recvmmsg64");
    char room[16];
    struct iovec part = {room, sizeof room};
    struct mmsghdr many = {.msg_hdr = {.msg_iov = &part, .msg_iovlen = 1}};
    struct time64 none = {0, 0};
    int fd = connected(t);

    write(fd, "leak", 4);
    receive_64(fd, &many.msg_hdr, MSG_DONTWAIT);
    receive_many_64(fd, &many, 1, MSG_DONTWAIT, &none);
}

static void do_wait64(const struct to *t)
{
    int (*poll_64)(struct pollfd *, nfds_t, const struct time64 *, const sigset_t *) =
        symbol("__ppoll64");
    int (*pselect_64)(int, fd_set *, fd_set *, fd_set *, const struct time64 *, const sigset_t *) =
        symbol("__pselect64");
    int (*select_64)(int, fd_set *, fd_set *, fd_set *, struct time64 *) = symbol("__select64");
    struct pollfd p = {.fd = begin(t), .events = POLLOUT};
    struct time64 none = {0, 0}, two = {2, 0}, for_ever = {INT64_MAX / 2, 0};
    fd_set set;

    FD_ZERO(&set);
    FD_SET(p.fd, &set);
    pselect_64(p.fd + 1, NULL, &set, NULL, &none, NULL);
    FD_SET(p.fd, &set);
    select_64(p.fd + 1, NULL, &set, NULL, &two);
    poll_64(&p, 1, &for_ever, NULL);
    write(p.fd, "leak", 4);
}

static void do_ask64(const struct to *t)
{
    int (*ask_64)(int, int, int, void *, socklen_t *) = symbol("__getsockopt64");
    int (*set_64)(int, int, int, const void *, socklen_t) = symbol("__setsockopt64");
    int (*control_64)(int, unsigned long, ...) = symbol("__ioctl_time64");
    int fd = begin(t), number = 1;
    socklen_t len = sizeof number;

    set_64(fd, SOL_SOCKET, SO_RCVLOWAT, &number, len);
    ask_64(fd, SOL_SOCKET, SO_ERROR, &number, &len);
    control_64(fd, FIONREAD, &number);
    write(fd, "leak", 4);
}

const struct row narrow_rows[] = {
    {"syscall (socketcall)", do_socketcall, TCP | UDP | ANYHOW},
    {"syscall (socketcall, sends)", do_socketcall_sends, TCP | UDP | ANYHOW},
    {"__sendmsg64", do_sendmsg64, TCP | UDP | ANYHOW},
    {"__sendmmsg64", do_sendmmsg64, TCP | UDP | ANYHOW},
    {"__recvmsg64 __recvmmsg64", do_receive64, UDP | ADDRESS | V4 | V6},
    {"__ppoll64 __pselect64 __select64", do_wait64, TCP | ANYHOW},
    {"__getsockopt64 __setsockopt64 __ioctl_time64 __fcntl_time64", do_ask64,
     TCP | UDP | ADDRESS | V4 | V6},
    {NULL, NULL, 0},
};
