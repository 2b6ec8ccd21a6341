/*
 * Descriptors of a socket that is being connected: closed, duplicated, replaced.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "conform.h"

/* What is left must go on to the end. */
static void goes_on(int fd)
{
    show_state(fd);
    show("connect", connect_target(fd));
    show("poll", await(fd));
    show_state(fd);
    if (the_outcome == SUCCEEDS)
        show_echo(fd);
    close(fd);
}

static void closed(void)
{
    int fd = pending_socket();

    show("close", close(fd));
    show("close again", close(fd));
    show_state(fd);
}

static void dup_then_close(void)
{
    int fd = pending_socket(), copy = dup(fd);

    show("close", close(fd));
    goes_on(copy);
}

static void close_the_copy(void)
{
    int fd = pending_socket(), copy = dup(fd);

    show("close", close(copy));
    goes_on(fd);
}

static void dup_before(void)
{
    int fd = tcp_socket(SOCK_NONBLOCK), copy = dup(fd);

    show("connect", connect_target(fd));
    show_state(copy);
    show("close", close(fd));
    goes_on(copy);
}

static void dup_before_both_stay(void)
{
    int fd = tcp_socket(SOCK_NONBLOCK), copy = fcntl(fd, F_DUPFD, 500);

    show("connect", connect_target(copy));
    show("connect", connect_target(fd));
    show("poll", await(fd));
    show_poll(copy);
    show_error(copy);
    show_error(fd);
    show("connect", connect_target(fd));
    show("connect", connect_target(copy));
}

static void dup2_then_close(void)
{
    int fd = pending_socket();

    show("dup2", dup2(fd, 300));
    show("close", close(fd));
    goes_on(300);
}

static void dup3_then_close(void)
{
    int fd = pending_socket();

    show("dup3", dup3(fd, 301, O_CLOEXEC));
    show("F_GETFD", fcntl(301, F_GETFD));
    show("close", close(fd));
    goes_on(301);
}

static void fcntl_then_close(void)
{
    int fd = pending_socket(), copy = fcntl(fd, F_DUPFD_CLOEXEC, 400);

    say("copy is %d", copy);
    show("F_GETFD", fcntl(copy, F_GETFD));
    show("close", close(fd));
    goes_on(copy);
}

static void chain_of_copies(void)
{
    int fd = pending_socket();

    for (int i = 0; i < 20; i++) {
        int copy = dup(fd);

        close(fd);
        fd = copy;
    }
    goes_on(fd);
}

static void dup_after_end(void)
{
    int fd = pending_socket(), copy;

    await(fd);
    copy = dup(fd);
    show("close", close(fd));
    show_state(copy);
    show("connect", connect_target(copy));
}

static void dup2_onto_itself(void)
{
    int fd = pending_socket();

    say("dup2 onto itself: %s", dup2(fd, fd) == fd ? "the same" : "another");
    show("dup3 onto itself", dup3(fd, fd, 0));
    show("dup2 of a closed one", dup2(999, fd));
    show("dup2 to -1", dup2(fd, -1));
    goes_on(fd);
}

static void replaced(void)
{
    int fd = pending_socket(), pair[2];

    if (pipe(pair) < 0)
        return;
    say("dup2 over it: %s", dup2(pair[0], fd) == fd ? "done" : "failed");
    show_poll(fd);
    show("write", write(pair[1], "x", 1));
    let_settle();
    show_poll(fd);
    show_error(fd);
}

static void reused(void)
{
    int fd = pending_socket(), pair[2];

    show("close", close(fd));
    if (pipe(pair) < 0)
        return;
    say("the number is %s", pair[0] == fd ? "the same" : "another");
    show_poll(pair[0]);
    let_settle();
    show_poll(pair[0]);
    show("write", write(pair[1], "x", 1));
    show_poll(pair[0]);
}

static void reused_by_socket(void)
{
    int fd = pending_socket(), other;

    close(fd);
    other = pending_socket();
    say("the number is %s", other == fd ? "the same" : "another");
    goes_on(other);
}

static void closed_as_file(void)
{
    int fd = pending_socket(), other;
    FILE *file = fdopen(fd, "r+");

    show("fclose", fclose(file));
    other = pending_socket();
    say("the number is %s", other == fd ? "the same" : "another");
    goes_on(other);
}

/* Here libc closes without a call that could be seen. */
static void closed_unseen(void)
{
    int fd = pending_socket();
    FILE *file = freopen("/dev/null", "r", fdopen(fd, "r+"));

    say("freopen: %s, %s", file ? "done" : "failed", fileno(file) == fd ? "the same" : "another");
    show_poll(fileno(file));
    let_settle();
    show_poll(fileno(file));
    show_error(fileno(file));
    fclose(file);
    goes_on(pending_socket());
}

static void range_closed(void)
{
    int fd = pending_socket();

    show("close_range", close_range((unsigned)fd, ~0u, 0));
    show("close", close(fd));
    show_state(fd);
    goes_on(pending_socket());
}

static void range_around(void)
{
    int fd = pending_socket(), copy = dup2(fd, 600);

    show("close_range", close_range(3, 599, 0));
    show("close_range", close_range(601, ~0u, 0));
    show("a wrong range", close_range(7, 3, 0));
    show("a wrong flag", close_range(3, 7, 64));
    goes_on(copy);
}

static void range_marked(void)
{
    int fd = pending_socket();

    show("close_range", close_range(3, ~0u, CLOSE_RANGE_CLOEXEC));
    show("F_GETFD", fcntl(fd, F_GETFD));
    goes_on(fd);
}

static void closed_from(void)
{
    int fd = pending_socket();

    closefrom(3);
    show("close", close(fd));
    goes_on(pending_socket());
}

static void close_loop(void)
{
    int fd = pending_socket();

    for (int i = 3; i < 1024; i++)
        close(i);
    show_poll(fd);
    goes_on(pending_socket());
}

/* Loops of this kind leave what they were told to leave. */
static void close_loop_around(void)
{
    int fd = pending_socket();

    for (int i = 3; i < 1024; i++)
        if (i != fd)
            close(i);
    goes_on(fd);
}

/* --- another thread takes the numbers ----------------------------------------------------------
 */

static bool enough;

static void *open_and_close(void *unused)
{
    while (!__atomic_load_n(&enough, __ATOMIC_RELAXED)) {
        int pair[2];

        if (pipe(pair) < 0)
            continue;
        close(pair[0]);
        close(pair[1]);
    }
    return unused;
}

static void numbers_contended(void)
{
    pthread_t other;

    pthread_create(&other, NULL, open_and_close, NULL);
    for (int i = 0; i < 200; i++)
        close(pending_socket());
    int fd = pending_socket();
    show("poll", await(fd));
    __atomic_store_n(&enough, true, __ATOMIC_RELAXED);
    pthread_join(other, NULL);
    show_state(fd);
}

#define BOTH (IPV4 | IPV6)
#define ENDS (SUCCEEDS | IS_REFUSED)

const struct conform_case fd_cases[] = {
    {"closed", closed, IPV4, SUCCEEDS | IS_SILENT},
    {"dup, original closed", dup_then_close, BOTH, ENDS},
    {"dup, copy closed", close_the_copy, IPV4, ENDS},
    {"dup before connect", dup_before, IPV4, ENDS},
    {"dup before connect, both stay", dup_before_both_stay, IPV4, ENDS},
    {"dup2, original closed", dup2_then_close, IPV4, ENDS},
    {"dup3, original closed", dup3_then_close, IPV4, ENDS},
    {"F_DUPFD, original closed", fcntl_then_close, IPV4, ENDS},
    {"chain of copies", chain_of_copies, IPV4, ENDS},
    {"dup after the end", dup_after_end, IPV4, ENDS},
    {"dup2 onto itself", dup2_onto_itself, IPV4, ENDS},
    {"replaced by dup2", replaced, IPV4, SUCCEEDS},
    {"number reused", reused, IPV4, SUCCEEDS},
    {"number reused by a socket", reused_by_socket, IPV4, ENDS},
    {"fclose", closed_as_file, IPV4, ENDS},
    {"closed unseen", closed_unseen, IPV4, ENDS},
    {"close_range", range_closed, IPV4, ENDS},
    {"close_range around it", range_around, IPV4, ENDS},
    {"close_range marks it", range_marked, IPV4, ENDS},
    {"closefrom", closed_from, IPV4, ENDS},
    {"close loop", close_loop, IPV4, ENDS},
    {"close loop around it", close_loop_around, IPV4, ENDS},
    {"numbers contended", numbers_contended, IPV4, ENDS},
    {0},
};
