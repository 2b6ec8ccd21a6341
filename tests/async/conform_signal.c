/*
 * Signals and cancellation, in connect() and around it.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "conform.h"

static volatile sig_atomic_t came;

static void note_it(int number)
{
    came = number;
}

static void alarm_soon(int flags, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    struct itimerval soon = {.it_value = {.tv_usec = 100000}};

    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &soon, NULL);
}

static void interrupted(void)
{
    int fd = tcp_socket(0);
    int64_t began = now_ms();

    alarm_soon(0, note_it);
    show_timed("connect", began, connect_target(fd));
    say("the signal %s", came ? "came" : "did not come");
    show_state(fd);
    show("poll", await(fd));
    show_state(fd);
    show("connect", connect_target(fd));
    show("connect", connect_target(fd));
}

static void interrupted_then_again(void)
{
    int fd = tcp_socket(0);
    int64_t began = now_ms();

    alarm_soon(0, note_it);
    show("connect", connect_target(fd));
    show_timed("connect", began, connect_target(fd));
    show_state(fd);
    show("connect", connect_target(fd));
}

static void interrupted_twice(void)
{
    int fd = tcp_socket(0);

    alarm_soon(0, note_it);
    show("connect", connect_target(fd));
    alarm_soon(0, note_it);
    show("connect", connect_target(fd));
    show("connect", connect_target(fd));
    show_state(fd);
}

static void restarted(void)
{
    int fd = tcp_socket(0);
    int64_t began = now_ms();

    alarm_soon(SA_RESTART, note_it);
    show_timed("connect", began, connect_target(fd));
    say("the signal %s", came ? "came" : "did not come");
    show_state(fd);
}

static void restarted_second(void)
{
    int fd = pending_socket();

    set_blocking(fd, true);
    alarm_soon(SA_RESTART, note_it);
    show("connect", connect_target(fd));
    say("the signal %s", came ? "came" : "did not come");
    show_state(fd);
}

static void limit_is_not_restarted(void)
{
    int fd = tcp_socket(0);
    struct timeval limit = {.tv_sec = 9};

    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    alarm_soon(SA_RESTART, note_it);
    show("connect", connect_target(fd));
    show("poll", await(fd));
    show_state(fd);
}

static void ignored(void)
{
    int fd = tcp_socket(0);

    alarm_soon(0, SIG_IGN);
    show("connect", connect_target(fd));
    show_state(fd);
}

static void write_interrupted(int flags)
{
    int fd = pending_socket();
    int64_t began = now_ms();

    set_blocking(fd, true);
    alarm_soon(flags, note_it);
    show_timed("write", began, write(fd, "x", 1));
    say("the signal %s", came ? "came" : "did not come");
    show("poll", await(fd));
    show_state(fd);
}

static void write_is_interrupted(void)
{
    write_interrupted(0);
}

static void write_is_restarted(void)
{
    write_interrupted(SA_RESTART);
}

static void poll_interrupted(void)
{
    int fd = pending_socket();

    alarm_soon(SA_RESTART, note_it);
    show("poll", await(fd));
    show("poll", await(fd));
    show_state(fd);
}

static void poll_masked(void)
{
    int fd = pending_socket();
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    sigset_t set, none;

    sigemptyset(&none);
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    alarm_soon(0, note_it);
    show("poll", poll(&p, 1, 150));
    say("the signal %s", came ? "came" : "did not come");
    show("ppoll", ppoll(&p, 1, NULL, &none));
    say("the signal %s", came ? "came" : "did not come");
    show("ppoll", ppoll(&p, 1, NULL, &set));
    show_state(fd);
}

/* --- handlers that call --------------------------------------------------------------------- */

static int the_fd;
static long in_handler[5];

static void call_all(int number)
{
    struct pollfd p = {.fd = the_fd, .events = POLLOUT};
    int saved = errno;

    came = number;
    in_handler[0] = write(the_fd, "x", 1);
    in_handler[1] = poll(&p, 1, 0);
    in_handler[2] = connect_target(the_fd);
    in_handler[3] = close(dup(the_fd));
    in_handler[4] = close(pending_socket());
    errno = saved;
}

static void handler_calls(void)
{
    the_fd = pending_socket();
    alarm_soon(SA_RESTART, call_all);
    show("poll", await(the_fd));
    for (size_t i = 0; i < LENGTH(in_handler); i++)
        show("in the handler", in_handler[i] == -1 ? -2 : in_handler[i]);
    show("poll", await(the_fd));
    show_state(the_fd);
}

/* Signals by the thousand while sockets are begun, polled and closed. */
static void handler_storm(void)
{
    struct itimerval often = {{.tv_usec = 500}, {.tv_usec = 500}}, never = {0};
    struct sigaction action = {.sa_handler = call_all, .sa_flags = SA_RESTART};

    the_fd = pending_socket();
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < 50; i++) {
        int fd = pending_socket(), copy = dup(fd);
        struct pollfd p = {.fd = copy, .events = POLLOUT};

        poll(&p, 1, 5);
        close(fd);
        close(copy);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    say("the signal %s", came ? "came" : "did not come");
}

static void handler_closes(int number)
{
    came = number;
    close(the_fd);
}

static void closed_by_handler(void)
{
    struct pollfd p = {.events = POLLOUT};

    the_fd = pending_socket();
    p.fd = the_fd;
    alarm_soon(0, handler_closes);
    show("poll", poll(&p, 1, 3000));
    show("poll", poll(&p, 1, 100));
    show_events("  revents", (unsigned)p.revents);
}

/* --- cancellation ----------------------------------------------------------------------------- */

static void *poll_in_thread(void *fd)
{
    await(*(int *)fd);
    return fd;
}

static void *connect_in_thread(void *fd)
{
    connect_target(*(int *)fd);
    return fd;
}

static void *write_in_thread(void *fd)
{
    return write(*(int *)fd, "x", 1) == 1 ? fd : NULL;
}

static void cancel(void *(*work)(void *), int fd)
{
    pthread_t thread;
    void *result;

    pthread_create(&thread, NULL, work, &fd);
    usleep(100000);
    show("cancel", pthread_cancel(thread));
    pthread_join(thread, &result);
    say("the thread %s", result == PTHREAD_CANCELED ? "was cancelled" : "ended by itself");
    set_blocking(fd, false);
    show_state(fd);
    show("poll", await(fd));
    show_state(fd);
    if (the_outcome == SUCCEEDS)
        show("send", send(fd, "hello", 5, 0));
}

static void cancelled_in_poll(void)
{
    cancel(poll_in_thread, pending_socket());
}

static void cancelled_in_connect(void)
{
    cancel(connect_in_thread, tcp_socket(0));
}

static void cancelled_in_write(void)
{
    int fd = pending_socket();

    set_blocking(fd, true);
    cancel(write_in_thread, fd);
}

static void *cancelled_already(void *fd)
{
    pthread_cancel(pthread_self());
    connect_target(*(int *)fd);
    return fd;
}

static void cancelled_before_connect(void)
{
    int fd = tcp_socket(SOCK_NONBLOCK);
    pthread_t thread;
    void *result;

    pthread_create(&thread, NULL, cancelled_already, &fd);
    pthread_join(thread, &result);
    say("the thread %s", result == PTHREAD_CANCELED ? "was cancelled" : "ended by itself");
    connect_target(fd);
    await(fd);
    show_error(fd);
    show_peer(fd);
}

#define BOTH (IPV4 | IPV6)
#define ENDS (SUCCEEDS | IS_REFUSED)

const struct conform_case signal_cases[] = {
    {"interrupted", interrupted, BOTH, ENDS},
    {"interrupted, connect again", interrupted_then_again, IPV4, ENDS},
    {"interrupted twice", interrupted_twice, IPV4, ENDS},
    {"restarted", restarted, BOTH, ENDS},
    {"restarted, second connect", restarted_second, IPV4, ENDS},
    {"not restarted with a limit", limit_is_not_restarted, IPV4, ENDS},
    {"signal ignored", ignored, IPV4, ENDS},
    {"write interrupted", write_is_interrupted, IPV4, ENDS},
    {"write restarted", write_is_restarted, IPV4, ENDS},
    {"poll interrupted", poll_interrupted, IPV4, ENDS},
    {"poll masked", poll_masked, IPV4, ENDS},
    {"handler calls", handler_calls, IPV4, ENDS},
    {"handler storm", handler_storm, IPV4, ENDS},
    {"closed by a handler", closed_by_handler, IPV4, SUCCEEDS},
    {"cancelled in poll", cancelled_in_poll, IPV4, ENDS},
    {"cancelled in connect", cancelled_in_connect, IPV4, ENDS},
    {"cancelled in write", cancelled_in_write, IPV4, ENDS},
    {"cancelled before connect", cancelled_before_connect, IPV4, ENDS},
    {0},
};
