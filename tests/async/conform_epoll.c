/*
 * Epoll in all its kinds, registered before connect() and after it.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "conform.h"

enum { ALL = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI };

static int control(int epfd, int op, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event e = {.events = events, .data.u64 = data};

    return epoll_ctl(epfd, op, fd, &e);
}

static void show_wait(int epfd, int ms)
{
    struct epoll_event got[4];
    int r = epoll_wait(epfd, got, 4, ms);

    show("epoll_wait", r);
    for (int i = 0; i < r; i++) {
        char text[64];

        snprintf(text, sizeof text, "  %llx", (unsigned long long)got[i].data.u64);
        show_events(text, got[i].events);
    }
}

/* What happens to a registration from connect() to the end, and when the error has been read. */
static void follow(int epfd, int fd)
{
    show_wait(epfd, 0);
    show_wait(epfd, 5000);
    show_wait(epfd, 50);
    show_error(fd);
    show_wait(epfd, 50);
    if (the_outcome == SUCCEEDS) {
        show("send", send(fd, "hello", 5, 0));
        show_wait(epfd, 1300);
    }
    show("delete", epoll_ctl(epfd, EPOLL_CTL_DEL, fd, NULL));
    show("delete again", epoll_ctl(epfd, EPOLL_CTL_DEL, fd, NULL));
}

static void registered_after(uint32_t kind)
{
    int epfd = epoll_create1(0), fd = pending_socket();

    show("add", control(epfd, EPOLL_CTL_ADD, fd, ALL | kind, 0x123456789abcdef0));
    follow(epfd, fd);
}

/* Not yet connected it is hung up, says the kernel; that is read first. */
static void registered_before(uint32_t kind)
{
    int epfd = epoll_create1(0), fd = tcp_socket(SOCK_NONBLOCK);

    show("add", control(epfd, EPOLL_CTL_ADD, fd, ALL | kind, 0x123456789abcdef0));
    show_wait(epfd, 0);
    show("connect", connect_target(fd));
    follow(epfd, fd);
}

static void registered_before_unread(uint32_t kind)
{
    int epfd = epoll_create1(0), fd = tcp_socket(SOCK_NONBLOCK);

    show("add", control(epfd, EPOLL_CTL_ADD, fd, ALL | kind, 42));
    show("connect", connect_target(fd));
    follow(epfd, fd);
}

static void level_after(void)
{
    registered_after(0);
}

static void level_before(void)
{
    registered_before(0);
}

static void level_before_unread(void)
{
    registered_before_unread(0);
}

static void edge_after(void)
{
    registered_after(EPOLLET);
}

static void edge_before(void)
{
    registered_before(EPOLLET);
}

static void edge_before_unread(void)
{
    registered_before_unread(EPOLLET);
}

static void once_after(void)
{
    registered_after(EPOLLONESHOT);
}

/* It fired before connect() and must stay disarmed. */
static void once_before(void)
{
    registered_before(EPOLLONESHOT);
}

static void once_before_unread(void)
{
    registered_before_unread(EPOLLONESHOT);
}

static void once_armed_again(void)
{
    int epfd = epoll_create1(0), fd = tcp_socket(SOCK_NONBLOCK);

    show("add", control(epfd, EPOLL_CTL_ADD, fd, ALL | EPOLLONESHOT, 1));
    show_wait(epfd, 0);
    show("connect", connect_target(fd));
    show("modify", control(epfd, EPOLL_CTL_MOD, fd, EPOLLOUT | EPOLLONESHOT, 2));
    follow(epfd, fd);
}

static void exclusive(uint32_t before)
{
    int epfd = epoll_create1(0), fd = before ? tcp_socket(SOCK_NONBLOCK) : pending_socket();

    show("add", control(epfd, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLOUT | EPOLLEXCLUSIVE, 9));
    if (before)
        show("connect", connect_target(fd));
    show("modify", control(epfd, EPOLL_CTL_MOD, fd, EPOLLIN, 9));
    show("modify", control(epfd, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLEXCLUSIVE, 9));
    follow(epfd, fd);
    show("add", control(epfd, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, 9));
}

static void exclusive_after(void)
{
    exclusive(0);
}

static void exclusive_before(void)
{
    exclusive(1);
}

static void exclusive_badly(void)
{
    int epfd = epoll_create1(0), fd = pending_socket();

    show("one-shot", control(epfd, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, 9));
    show("RDHUP", control(epfd, EPOLL_CTL_ADD, fd, EPOLLRDHUP | EPOLLEXCLUSIVE, 9));
    show("edge", control(epfd, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET | EPOLLEXCLUSIVE, 9));
    show_wait(epfd, 1500);
}

static void changes(void)
{
    int epfd = epoll_create1(0), fd = pending_socket();

    show("modify, not there", control(epfd, EPOLL_CTL_MOD, fd, ALL, 1));
    show("delete, not there", control(epfd, EPOLL_CTL_DEL, fd, ALL, 1));
    show("add", control(epfd, EPOLL_CTL_ADD, fd, EPOLLIN, 1));
    show("add again", control(epfd, EPOLL_CTL_ADD, fd, ALL, 2));
    show("modify", control(epfd, EPOLL_CTL_MOD, fd, ALL, 3));
    show("delete", control(epfd, EPOLL_CTL_DEL, fd, 0, 0));
    show("modify, deleted", control(epfd, EPOLL_CTL_MOD, fd, ALL, 4));
    show("add", control(epfd, EPOLL_CTL_ADD, fd, EPOLLIN, 5));
    show("modify", control(epfd, EPOLL_CTL_MOD, fd, EPOLLOUT, 6));
    follow(epfd, fd);
}

static void deleted(void)
{
    int epfd = epoll_create1(0), fd = tcp_socket(SOCK_NONBLOCK);

    show("add", control(epfd, EPOLL_CTL_ADD, fd, ALL, 1));
    show("connect", connect_target(fd));
    show("delete", control(epfd, EPOLL_CTL_DEL, fd, 0, 0));
    show_wait(epfd, 1300);
    show("modify", control(epfd, EPOLL_CTL_MOD, fd, ALL, 1));
    show("add", control(epfd, EPOLL_CTL_ADD, fd, ALL, 2));
    show_wait(epfd, 0);
}

static void errors(void)
{
    int epfd = epoll_create1(0), fd = pending_socket(), gone = dup(epfd), pair[2];
    int file = open("/proc/self/exe", O_RDONLY);

    close(gone);
    if (pipe(pair) < 0)
        return;
    show("a closed epoll", control(gone, EPOLL_CTL_ADD, fd, ALL, 1));
    show("no epoll", control(pair[0], EPOLL_CTL_ADD, fd, ALL, 1));
    show("itself no epoll", control(fd, EPOLL_CTL_ADD, fd, ALL, 1));
    show("itself", control(epfd, EPOLL_CTL_ADD, epfd, ALL, 1));
    show("a file", control(epfd, EPOLL_CTL_ADD, file, ALL, 1));
    show("a closed descriptor", control(epfd, EPOLL_CTL_ADD, gone, ALL, 1));
    show("-1", control(epfd, EPOLL_CTL_ADD, -1, ALL, 1));
    show("into -1", control(-1, EPOLL_CTL_ADD, fd, ALL, 1));
    show("no event", epoll_ctl(epfd, EPOLL_CTL_ADD, fd, NULL));
    show("modify without event", epoll_ctl(epfd, EPOLL_CTL_MOD, fd, NULL));
    show("operation 0", control(epfd, 0, fd, ALL, 1));
    show("operation 99", control(epfd, 99, fd, ALL, 1));
    show_wait(epfd, 0);
}

/* --- several --------------------------------------------------------------------------------- */

static void two_epolls(void)
{
    int one = epoll_create1(0), two = epoll_create1(0), three = epoll_create1(0);
    int fd = tcp_socket(SOCK_NONBLOCK);

    show("add", control(one, EPOLL_CTL_ADD, fd, ALL, 1));
    show("add", control(two, EPOLL_CTL_ADD, fd, ALL | EPOLLET, 2));
    show("connect", connect_target(fd));
    show("add", control(three, EPOLL_CTL_ADD, fd, EPOLLOUT, 3));
    show_wait(one, 0);
    show_wait(two, 0);
    show_wait(three, 0);
    show_wait(three, 5000);
    usleep(50000); /* the kernel tells all at once, a helper thread one after the other */
    show_wait(two, 0);
    show_wait(one, 0);
    show_wait(two, 0);
    show("delete", control(two, EPOLL_CTL_DEL, fd, 0, 0));
    show_wait(two, 0);
    show_wait(one, 0);
}

static void many_epolls(void)
{
    int epfds[20], fd = tcp_socket(SOCK_NONBLOCK);

    for (int i = 0; i < 20; i++) {
        epfds[i] = epoll_create1(0);
        control(epfds[i], EPOLL_CTL_ADD, fd, EPOLLOUT, (uint64_t)i);
    }
    show("connect", connect_target(fd));
    for (int i = 0; i < 20; i++)
        show_wait(epfds[i], 0);
    let_settle();
    for (int i = 0; i < 20; i++)
        show_wait(epfds[i], 0);
}

static void duplicate(bool before)
{
    int epfd = epoll_create1(0), fd = tcp_socket(SOCK_NONBLOCK), copy = dup(fd);

    if (before) {
        show("add", control(epfd, EPOLL_CTL_ADD, fd, ALL, 1));
        show("add copy", control(epfd, EPOLL_CTL_ADD, copy, ALL, 2));
    }
    show("connect", connect_target(fd));
    if (!before) {
        show("add", control(epfd, EPOLL_CTL_ADD, fd, ALL, 1));
        show("add copy", control(epfd, EPOLL_CTL_ADD, copy, ALL, 2));
        show("add copy again", control(epfd, EPOLL_CTL_ADD, copy, ALL, 2));
    }
    show_wait(epfd, 0);
    let_settle();
    show_wait(epfd, 0);
    show_wait(epfd, 0);
    show("delete", control(epfd, EPOLL_CTL_DEL, fd, 0, 0));
    show_wait(epfd, 0);
    show("modify copy", control(epfd, EPOLL_CTL_MOD, copy, EPOLLOUT, 3));
    show_wait(epfd, 0);
    show("delete copy", control(epfd, EPOLL_CTL_DEL, copy, 0, 0));
    show_wait(epfd, 0);
}

static void duplicate_before(void)
{
    duplicate(true);
}

static void duplicate_after(void)
{
    duplicate(false);
}

static void nested(void)
{
    int inner = epoll_create1(0), outer = epoll_create1(0), fd = pending_socket();

    show("add", control(inner, EPOLL_CTL_ADD, fd, ALL, 1));
    show("add the inner", control(outer, EPOLL_CTL_ADD, inner, EPOLLIN, 2));
    show_wait(outer, 0);
    show("poll of the inner", await(inner) < 0);
    show_poll(inner);
    show_wait(outer, 5000);
    show_poll(inner);
    show_wait(inner, 0);
}

static void nested_before(void)
{
    int inner = epoll_create1(0), outer = epoll_create1(0), fd = tcp_socket(SOCK_NONBLOCK);
    struct pollfd p = {.fd = inner, .events = POLLIN};

    show("add", control(inner, EPOLL_CTL_ADD, fd, ALL | EPOLLET, 1));
    show("add the inner", control(outer, EPOLL_CTL_ADD, inner, EPOLLIN | EPOLLET, 2));
    show_wait(outer, 0);
    show_wait(inner, 0);
    show("connect", connect_target(fd));
    show("poll", poll(&p, 1, 0));
    show_wait(outer, 0);
    show_wait(outer, 5000);
    show("poll", poll(&p, 1, 0));
}

/* The epoll goes, and its number is that of another one, which knows nothing of the socket. */
static void epoll_closed(void)
{
    int epfd = epoll_create1(0), fd = pending_socket(), other;

    show("add", control(epfd, EPOLL_CTL_ADD, fd, ALL, 1));
    show("close the epoll", close(epfd));
    other = epoll_create1(0);
    say("the number is %s", other == epfd ? "the same" : "another");
    show_wait(other, 1500);
    show_state(fd);
    show("add", control(other, EPOLL_CTL_ADD, fd, EPOLLOUT, 2));
    show_wait(other, 0);
}

/* The socket goes, and its number is that of another one. */
static void socket_closed(void)
{
    int epfd = epoll_create1(0), fd = pending_socket(), pair[2];

    show("add", control(epfd, EPOLL_CTL_ADD, fd, ALL, 1));
    show("close", close(fd));
    if (pipe(pair) < 0)
        return;
    show("write", write(pair[1], "x", 1));
    show_wait(epfd, 1500);
    show("add", control(epfd, EPOLL_CTL_ADD, pair[0], EPOLLIN, 2));
    show_wait(epfd, 0);
}

static void *wait_in_thread(void *epfd)
{
    show_wait(*(int *)epfd, 5000);
    return NULL;
}

/* Somebody waits already when the socket is connected and registered. */
static void waited_for(void)
{
    int epfd = epoll_create1(0), fd;
    pthread_t waiter;

    pthread_create(&waiter, NULL, wait_in_thread, &epfd);
    usleep(50000);
    fd = pending_socket();
    show("add", control(epfd, EPOLL_CTL_ADD, fd, ALL | EPOLLET, 1));
    pthread_join(waiter, NULL);
    show_wait(epfd, 0);
}

#define BOTH (IPV4 | IPV6)
#define ENDS (SUCCEEDS | IS_REFUSED)

const struct conform_case epoll_cases[] = {
    {"epoll level, after", level_after, BOTH, ENDS},
    {"epoll level, before", level_before, BOTH, ENDS},
    {"epoll level, before, unread", level_before_unread, IPV4, ENDS},
    {"epoll edge, after", edge_after, BOTH, ENDS},
    {"epoll edge, before", edge_before, BOTH, ENDS},
    {"epoll edge, before, unread", edge_before_unread, IPV4, ENDS},
    {"epoll one-shot, after", once_after, BOTH, ENDS},
    {"epoll one-shot, before", once_before, BOTH, ENDS},
    {"epoll one-shot, before, unread", once_before_unread, IPV4, ENDS},
    {"epoll one-shot, armed again", once_armed_again, IPV4, ENDS},
    {"epoll exclusive, after", exclusive_after, IPV4, ENDS},
    {"epoll exclusive, before", exclusive_before, IPV4, ENDS},
    {"epoll exclusive, badly", exclusive_badly, IPV4, ENDS},
    {"epoll changes", changes, IPV4, ENDS},
    {"epoll deleted", deleted, IPV4, ENDS},
    {"epoll errors", errors, IPV4, SUCCEEDS},
    {"two epolls", two_epolls, IPV4, ENDS},
    {"many epolls", many_epolls, IPV4, ENDS},
    {"epoll, duplicate before", duplicate_before, IPV4, ENDS},
    {"epoll, duplicate after", duplicate_after, IPV4, ENDS},
    {"epoll nested", nested, IPV4, ENDS},
    {"epoll nested, before", nested_before, IPV4, ENDS},
    {"epoll closed", epoll_closed, IPV4, ENDS},
    {"epoll, socket closed", socket_closed, IPV4, ENDS},
    {"epoll waited for", waited_for, IPV4, ENDS},
    {0},
};
