/*
 * fork(), exec and descriptors that are passed on, while a socket is being connected.
 */
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conform.h"

static void goes_on(int fd)
{
    show("poll", await(fd));
    show_state(fd);
    if (the_outcome == SUCCEEDS)
        show_echo(fd);
}

/* The parent ends, or only closes, or does nothing, while the child goes on. */
static void child_goes_on(void (*child)(int fd), bool parent_closes)
{
    int fd = pending_socket();
    pid_t pid = fork();

    if (pid == 0) {
        child(fd);
        _exit(0);
    }
    if (parent_closes)
        show("close", close(fd));
    waitpid(pid, NULL, 0);
}

static void in_both(void)
{
    int fd = pending_socket(), status;
    pid_t pid = fork();

    if (pid == 0) {
        int r = await(fd);

        _exit(r);
    }
    show("poll", await(fd));
    waitpid(pid, &status, 0);
    say("the child's poll: %d", WEXITSTATUS(status));
    show_state(fd);
}

static void parent_closes(void)
{
    child_goes_on(goes_on, true);
}

static void parent_waits(void)
{
    child_goes_on(goes_on, false);
}

static void child_writes(int fd)
{
    set_blocking(fd, true);
    show_echo(fd);
}

static void child_waits_to_write(void)
{
    child_goes_on(child_writes, false);
}

static void child_closes(void)
{
    int fd = pending_socket();
    pid_t pid = fork();

    if (pid == 0)
        _exit(close(fd));
    waitpid(pid, NULL, 0);
    goes_on(fd);
}

static void child_shuts(int fd)
{
    show("child: shutdown", shutdown(fd, SHUT_RDWR));
}

static void child_dissolves(int fd)
{
    show("child: dissolve", dissolve(fd));
}

static void child_ends_it(void)
{
    int fd = pending_socket();

    in_child(child_shuts, fd);
    show("poll", await(fd));
    show_state(fd);
    fd = pending_socket();
    in_child(child_dissolves, fd);
    show("poll", await(fd));
    show_state(fd);
}

/* Of three generations the middle one began and is gone at once. */
static void parent_ends(void)
{
    int ready[2];
    char byte;
    pid_t middle;

    if (pipe(ready) < 0)
        return;
    middle = fork();
    if (middle == 0) {
        int fd = pending_socket();

        if (fork() != 0)
            _exit(0);
        close(ready[0]);
        goes_on(fd);
        fflush(stdout);
        _exit(0);
    }
    close(ready[1]);
    waitpid(middle, NULL, 0);
    show("the orphan's end", read(ready[0], &byte, 1));
}

static void show_epoll(int epfd)
{
    struct epoll_event got = {0};

    show("epoll_wait", epoll_wait(epfd, &got, 1, 10000));
    show_events("  events", got.events);
    say("  data %llu", (unsigned long long)got.data.u64);
}

static int watch(int epfd, int fd)
{
    struct epoll_event e = {.events = EPOLLOUT | EPOLLET, .data.u64 = 77};

    return epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &e);
}

static void parent_ends_epoll(void)
{
    int ready[2];
    char byte;
    pid_t middle;

    if (pipe(ready) < 0)
        return;
    middle = fork();
    if (middle == 0) {
        int epfd = epoll_create1(0), fd = pending_socket();

        watch(epfd, fd);
        if (fork() != 0)
            _exit(0);
        close(ready[0]);
        show_epoll(epfd);
        show_state(fd);
        _exit(0);
    }
    close(ready[1]);
    waitpid(middle, NULL, 0);
    show("the orphan's end", read(ready[0], &byte, 1));
}

static int the_epoll;

static void wait_in_shared(int fd)
{
    show_epoll(the_epoll);
    show_state(fd);
}

static void epoll_shared(void)
{
    int fd;

    the_epoll = epoll_create1(0);
    fd = tcp_socket(SOCK_NONBLOCK);
    show("add", watch(the_epoll, fd));
    show_epoll(the_epoll);
    show("connect", connect_target(fd));
    in_child(wait_in_shared, fd);
}

static void add_to_shared(int fd)
{
    show("child: add", watch(the_epoll, fd));
    show("child: add again", watch(the_epoll, fd));
    show_epoll(the_epoll);
}

static void epoll_shared_child_adds(void)
{
    int fd;

    the_epoll = epoll_create1(0);
    fd = pending_socket();
    in_child(add_to_shared, fd);
    show_state(fd);
}

static void own_epoll(int fd)
{
    int epfd = epoll_create1(0);

    show("child: add", watch(epfd, fd));
    show_epoll(epfd);
}

static void epoll_of_child(void)
{
    int epfd = epoll_create1(0), fd = pending_socket();

    show("add", watch(epfd, fd));
    in_child(own_epoll, fd);
    show_epoll(epfd);
    show_state(fd);
}

static void vfork_child(void)
{
    int fd = pending_socket(), status;
    pid_t pid = vfork();

    if (pid == 0) {
        close(fd);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    goes_on(fd);
}

static void fork_after_end(void)
{
    int fd = pending_socket();

    await(fd);
    in_child(show_error, fd);
    show_state(fd);
    show("connect", connect_target(fd));
}

/* --- exec --------------------------------------------------------------------------------------
 */

int conform_resume(const char *text)
{
    int fd = atoi(text);

    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IONBF, 0);
    let_settle();
    show_state(fd);
    show("send", send(fd, "hello", 5, 0));
    return 0;
}

static void execute(int fd)
{
    char text[16];

    snprintf(text, sizeof text, "%d", fd);
    execl(conform_self, conform_self, "--resume", text, (char *)NULL);
    show("execl", -1);
}

static void executed(void)
{
    execute(pending_socket());
}

static void executed_in_child(void)
{
    int fd = pending_socket();

    in_child(execute, fd);
    show_state(fd);
}

static void spawned(void)
{
    int fd = pending_socket(), status;
    char text[16], option[] = "--resume";
    char *words[] = {(char *)conform_self, option, text, NULL};
    pid_t pid;

    snprintf(text, sizeof text, "%d", fd);
    say("posix_spawn: %d", posix_spawn(&pid, conform_self, NULL, NULL, words, environ));
    close(fd);
    waitpid(pid, &status, 0);
}

static void exec_fails(void)
{
    int fd = pending_socket();

    show("execl", execl("/nonexistent/program", "program", (char *)NULL));
    goes_on(fd);
}

/* --- passing ------------------------------------------------------------------------------------
 */

static int pair[2];

static ssize_t pass(int fd)
{
    char byte = 'x', room[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec part = {&byte, 1};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room};
    struct cmsghdr *c;

    m.msg_controllen = sizeof room;
    c = CMSG_FIRSTHDR(&m);
    *c = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    return sendmsg(pair[0], &m, 0);
}

static int receive(void)
{
    char byte, room[CMSG_SPACE(sizeof(int))];
    struct iovec part = {&byte, 1};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room};
    int fd = -1;

    m.msg_controllen = sizeof room;
    if (recvmsg(pair[1], &m, 0) == 1 && CMSG_FIRSTHDR(&m))
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
    return fd;
}

static void take_over(int unused)
{
    int fd = receive();

    (void)unused;
    show("child: poll", await(fd));
    show_state(fd);
    if (the_outcome == SUCCEEDS)
        show_echo(fd);
}

static void passed(bool settled)
{
    int fd;
    ssize_t n;
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        return;
    pid = fork();
    if (pid == 0) {
        take_over(0);
        _exit(0);
    }
    fd = pending_socket();
    if (settled)
        await(fd);
    n = pass(fd);
    close(fd);
    waitpid(pid, NULL, 0);
    show("pass", n);
}

static void passed_pending(void)
{
    passed(false);
}

static void passed_settled(void)
{
    passed(true);
}

static void passed_to_itself(void)
{
    int fd = pending_socket(), got;

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        return;
    show("pass", pass(fd));
    close(fd);
    got = receive();
    goes_on(got);
}

#define BOTH (IPV4 | IPV6)
#define ENDS (SUCCEEDS | IS_REFUSED)

const struct conform_case process_cases[] = {
    {"fork, both wait", in_both, BOTH, ENDS},
    {"fork, parent closes", parent_closes, IPV4, ENDS},
    {"fork, parent waits", parent_waits, IPV4, ENDS},
    {"fork, child waits to write", child_waits_to_write, IPV4, ENDS},
    {"fork, child closes", child_closes, IPV4, ENDS},
    {"fork, child ends it", child_ends_it, IPV4, SUCCEEDS},
    {"fork, parent ends", parent_ends, IPV4, ENDS},
    {"fork, parent ends, epoll", parent_ends_epoll, IPV4, ENDS},
    {"fork, shared epoll", epoll_shared, IPV4, ENDS},
    {"fork, shared epoll, child adds", epoll_shared_child_adds, IPV4, ENDS},
    {"fork, epoll of the child", epoll_of_child, IPV4, ENDS},
    {"fork after the end", fork_after_end, IPV4, ENDS},
    {"vfork", vfork_child, IPV4, ENDS},
    {"exec", executed, IPV4, ENDS},
    {"exec in a child", executed_in_child, IPV4, SUCCEEDS},
    {"posix_spawn", spawned, IPV4, ENDS},
    {"exec fails", exec_fails, IPV4, ENDS},
    {"passed while pending", passed_pending, IPV4, ENDS},
    {"passed when settled", passed_settled, IPV4, SUCCEEDS},
    {"passed to itself", passed_to_itself, IPV4, ENDS},
    {0},
};
