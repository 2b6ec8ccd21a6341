/*
 * A new socket that is another by the time it is connected, or that somebody else has connected
 * meanwhile. The second connect() must see what is there: the first answer after a connection came
 * up is success, the next one EISCONN.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conform.h"

/* What became of it, to a connect() that would wait. */
static void is_up(int fd)
{
    set_blocking(fd, true);
    show("connect", connect_target(fd));
    show("connect again", connect_target(fd));
    show_state(fd);
    if (the_outcome == SUCCEEDS)
        show_echo(fd);
}

static void connect_and_wait(int fd)
{
    show("connect", connect_target(fd));
    show("poll", await(fd));
}

/* --- by another descriptor, or another process ----------------------------------------------- */

static void by_copy(void)
{
    int fd = tcp_socket(SOCK_NONBLOCK);

    connect_and_wait(dup(fd));
    is_up(fd);
}

static void by_high_copy(void)
{
    int fd = tcp_socket(SOCK_NONBLOCK);

    connect_and_wait(fcntl(fd, F_DUPFD_CLOEXEC, 700));
    is_up(fd);
}

static void by_replacing_copy(void)
{
    int fd = tcp_socket(SOCK_NONBLOCK);

    show("dup2", dup2(fd, 701) == 701);
    connect_and_wait(701);
    is_up(fd);
}

static void by_child(void)
{
    int fd = tcp_socket(SOCK_NONBLOCK);

    in_child(connect_and_wait, fd);
    is_up(fd);
}

static void in_child_by_parent(void)
{
    int fd = tcp_socket(SOCK_NONBLOCK), go[2];
    pid_t pid;
    char byte;

    if (pipe(go) < 0)
        return;
    pid = fork();
    if (pid == 0) {
        if (read(go[0], &byte, 1) == 1)
            is_up(fd);
        _exit(0);
    }
    connect_and_wait(fd);
    if (write(go[1], "x", 1) != 1)
        say("the child was not told");
    waitpid(pid, NULL, 0);
}

static bool pass(int through, int fd)
{
    char byte = 'x', room[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec part = {&byte, 1};
    struct msghdr m = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    return sendmsg(through, &m, 0) == 1;
}

static int take(int from)
{
    char byte, room[CMSG_SPACE(sizeof(int))];
    struct iovec part = {&byte, 1};
    struct msghdr m = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    int fd = -1;

    if (recvmsg(from, &m, 0) == 1 && CMSG_FIRSTHDR(&m))
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
    return fd;
}

static void take_and_connect(int from)
{
    connect_and_wait(take(from));
}

/* The receiver was there before the socket was made. */
static void by_receiver(void)
{
    int pair[2], fd;
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        return;
    pid = fork();
    if (pid == 0) {
        take_and_connect(pair[1]);
        _exit(0);
    }
    fd = tcp_socket(SOCK_NONBLOCK);
    if (!pass(pair[0], fd)) /* whatever is said here may stand before or behind the child's lines */
        say("it was not passed");
    waitpid(pid, NULL, 0);
    is_up(fd);
}

/* --- the number is another socket's ---------------------------------------------------------- */

/* A socket that is up, without its own connect() having been told so. */
static int another(void)
{
    int fd = pending_socket();

    show("poll", await(fd));
    return fd;
}

static void becomes(int fd, int r)
{
    say("the number is %s", r == fd ? "the same" : "another");
    is_up(fd);
}

static void replaced_by_dup2(void)
{
    int other = another(), fd = tcp_socket(0);

    becomes(fd, dup2(other, fd));
}

static void replaced_by_dup3(void)
{
    int other = another(), fd = tcp_socket(0);

    becomes(fd, dup3(other, fd, O_CLOEXEC));
}

static void after_close(void)
{
    int other = another(), fd = tcp_socket(0);

    show("close", close(fd));
    becomes(fd, dup(other));
}

static void after_fclose(void)
{
    int other = another(), fd = tcp_socket(0);

    show("fclose", fclose(fdopen(fd, "r+")));
    becomes(fd, dup(other));
}

static void after_close_range(void)
{
    int other = another(), fd = tcp_socket(0);

    show("close_range", close_range((unsigned)fd, (unsigned)fd, 0));
    becomes(fd, dup(other));
}

static void after_closefrom(void)
{
    int other = another(), fd = tcp_socket(0);

    closefrom(fd);
    becomes(fd, dup(other));
}

static void closed_and_received(void)
{
    int other = another(), pair[2], fd;

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        return;
    fd = tcp_socket(0);
    show("pass", pass(pair[0], other));
    show("close", close(fd));
    becomes(fd, take(pair[1]));
}

/* --- its mode -------------------------------------------------------------------------------- */

static void begins(int fd)
{
    show("connect", connect_target(fd));
    show("poll", await(fd));
    is_up(fd);
}

static void by_f_setfl(void)
{
    int fd = tcp_socket(0);

    show("fcntl", fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK));
    begins(fd);
}

static void by_fionbio(void)
{
    int fd = tcp_socket(0), on = 1;

    show("ioctl", ioctl(fd, FIONBIO, &on));
    begins(fd);
}

static void by_syscall(void)
{
    int fd = tcp_socket(0);

    show("fcntl", (int)syscall(SYS_fcntl, fd, F_SETFL, O_RDWR | O_NONBLOCK));
    begins(fd);
}

static void of_a_copy(void)
{
    int fd = tcp_socket(0);

    show("fcntl", fcntl(dup(fd), F_SETFL, O_RDWR | O_NONBLOCK));
    begins(fd);
}

static void back_again(void)
{
    int fd = tcp_socket(SOCK_NONBLOCK);

    show("fcntl", fcntl(fd, F_SETFL, O_RDWR));
    show("connect", connect_target(fd));
    show_state(fd);
}

/* --- it is what it was ----------------------------------------------------------------------- */

static void twice(void)
{
    int fd = tcp_socket(0);

    show("connect", connect_target(fd));
    show("connect again", connect_target(fd));
    show_state(fd);
}

static void listens(void)
{
    int fd = tcp_socket(0);

    show("listen", listen(fd, 1));
    show("connect", connect_target(fd));
    show_state(fd);
}

static void of_a_pipe(void)
{
    int fd = tcp_socket(0), pair[2];

    if (pipe(pair) < 0)
        return;
    show("dup2", dup2(pair[0], fd) == fd);
    show("connect", connect_target(fd));
}

static void beyond_all_notes(void)
{
    int fd = fcntl(tcp_socket(0), F_DUPFD, 1500);

    show("connect", connect_target(fd));
    show("connect again", connect_target(fd));
    show_state(fd);
}

#define BOTH (IPV4 | IPV6)
#define ENDS (SUCCEEDS | IS_REFUSED)

const struct conform_case fresh_cases[] = {
    {"new, connected by a copy", by_copy, IPV4, ENDS},
    {"new, connected by a high copy", by_high_copy, IPV4, ENDS},
    {"new, connected by a copy of dup2", by_replacing_copy, IPV4, ENDS},
    {"new, connected by a child", by_child, BOTH, ENDS},
    {"new, connected by the parent", in_child_by_parent, IPV4, ENDS},
    {"new, connected by who received it", by_receiver, IPV4, ENDS},
    {"new, replaced by dup2", replaced_by_dup2, BOTH, SUCCEEDS},
    {"new, replaced by dup3", replaced_by_dup3, IPV4, SUCCEEDS},
    {"new, then close and dup", after_close, IPV4, SUCCEEDS},
    {"new, then fclose and dup", after_fclose, IPV4, SUCCEEDS},
    {"new, then close_range and dup", after_close_range, IPV4, SUCCEEDS},
    {"new, then closefrom and dup", after_closefrom, IPV4, SUCCEEDS},
    {"new, then close and a socket received", closed_and_received, IPV4, SUCCEEDS},
    {"new, O_NONBLOCK by fcntl", by_f_setfl, BOTH, ENDS},
    {"new, O_NONBLOCK by ioctl", by_fionbio, IPV4, ENDS},
    {"new, O_NONBLOCK by syscall", by_syscall, IPV4, ENDS},
    {"new, O_NONBLOCK by a copy", of_a_copy, IPV4, ENDS},
    {"new, O_NONBLOCK no more", back_again, IPV4, ENDS},
    {"new, connected twice", twice, BOTH, ENDS},
    {"new, then listens", listens, IPV4, SUCCEEDS},
    {"new, then a pipe", of_a_pipe, IPV4, SUCCEEDS},
    {"new, beyond all notes", beyond_all_notes, IPV4, ENDS},
    {0},
};
