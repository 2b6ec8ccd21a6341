/*
 * poll() and select() and their relatives.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

#include "conform.h"

static void show_fds(const char *what, int r, const struct pollfd *fds, int count)
{
    show(what, r);
    for (int i = 0; i < count; i++)
        show_events("  revents", (unsigned)fds[i].revents);
}

static void polls(void)
{
    int fd = pending_socket();
    struct pollfd p[4] = {{.fd = fd, .events = POLLIN | POLLOUT, .revents = 7},
                          {.fd = fd, .events = 0, .revents = 7},
                          {.fd = -1, .events = POLLIN, .revents = 7},
                          {.fd = fd, .events = POLLIN, .revents = 7}};
    int64_t began = now_ms();

    show_fds("poll", poll(p, 4, 0), p, 4);
    show_fds("poll", poll(p, 4, 100), p, 4);
    show_timed("poll", began, 0);
    show_fds("poll", poll(p, 4, -1), p, 4);
    show_timed("poll", began, 0);
    show_fds("poll", poll(p, 4, 100), p, 4);
    show_error(fd);
    show_fds("poll", poll(p, 4, 0), p, 4);
}

static void ppolls(void)
{
    int fd = pending_socket();
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};
    struct timespec none = {0}, wrong = {.tv_nsec = 1000000000}, while_ = {.tv_sec = 5};
    int64_t began = now_ms();

    show_fds("ppoll", ppoll(&p, 1, &none, NULL), &p, 1);
    show("ppoll, a wrong time", ppoll(&p, 1, &wrong, NULL));
    wrong.tv_sec = -1;
    show("ppoll, a wrong time", ppoll(&p, 1, &wrong, NULL));
    show_fds("ppoll", ppoll(&p, 1, &while_, NULL), &p, 1);
    show_timed("ppoll", began, while_.tv_sec);
    p.events = POLLIN;
    none.tv_nsec = 100000000;
    show_fds("ppoll", ppoll(&p, 1, &none, NULL), &p, 1);
}

static void poll_among_others(void)
{
    int fd = pending_socket(), pair[2], gone = dup(fd);
    volatile uintptr_t nowhere = 8;
    struct pollfd p[3];

    close(gone);
    if (pipe(pair) < 0)
        return;
    p[0] = (struct pollfd){.fd = pair[0], .events = POLLIN};
    p[1] = (struct pollfd){.fd = fd, .events = POLLOUT};
    p[2] = (struct pollfd){.fd = gone, .events = POLLOUT};
    show_fds("poll, one is closed", poll(p, 3, 1000), p, 3);
    show_fds("poll", poll(p, 2, 50), p, 2);
    show("write", write(pair[1], "x", 1));
    show_fds("poll", poll(p, 2, 1000), p, 2);
    p[0].events = 0;
    show_fds("poll", poll(p, 2, 3000), p, 2);
    show_fds("poll of none", poll(p, 0, 10), p, 0);
    show("poll of nowhere", poll((struct pollfd *)nowhere, 1, 10));
}

static void poll_two(void)
{
    int one = pending_socket(), two = tcp_socket(SOCK_NONBLOCK);
    struct pollfd p[2] = {{.fd = one, .events = POLLOUT}, {.fd = two, .events = POLLOUT}};

    show_fds("poll, one not connected", poll(p, 2, 1000), p, 2);
    connect_to(two, conform_echo());
    for (int ready = 0; ready < 2;) {
        ready = poll(p, 2, 5000);
        usleep(50000);
    }
    show_fds("poll", poll(p, 2, 0), p, 2);
}

/* --- select ---------------------------------------------------------------------------------- */

static void show_sets(const char *what, int r, const fd_set *in, const fd_set *out, const fd_set *x,
                      int fd)
{
    show(what, r);
    say("  read %d write %d except %d", FD_ISSET(fd, in) != 0, FD_ISSET(fd, out) != 0,
        FD_ISSET(fd, x) != 0);
}

struct sets {
    fd_set in, out, x;
};

static void fill(struct sets *s, int fd)
{
    FD_ZERO(&s->in);
    FD_ZERO(&s->out);
    FD_ZERO(&s->x);
    FD_SET(fd, &s->in);
    FD_SET(fd, &s->out);
    FD_SET(fd, &s->x);
}

static void selects(void)
{
    int fd = pending_socket(), r;
    struct timeval t = {.tv_usec = 100000};
    struct sets s;
    int64_t began = now_ms();

    fill(&s, fd);
    r = select(fd + 1, &s.in, &s.out, &s.x, &t);
    show_sets("select", r, &s.in, &s.out, &s.x, fd);
    say("time left: %ld.%06ld", (long)t.tv_sec, (long)t.tv_usec);
    t = (struct timeval){.tv_sec = 20};
    fill(&s, fd);
    r = select(fd + 1, &s.in, &s.out, &s.x, &t);
    show_sets("select", r, &s.in, &s.out, &s.x, fd);
    show_timed("select", began, t.tv_sec);
    t = (struct timeval){.tv_sec = -1};
    show("a negative time", select(fd + 1, &s.in, NULL, NULL, &t));
    show("a negative count", select(-1, &s.in, NULL, NULL, NULL));
    fill(&s, fd);
    r = select(fd + 1, NULL, &s.out, NULL, NULL);
    show_sets("select", r, &s.in, &s.out, &s.x, fd);
}

static void selects_with_closed(void)
{
    int fd = pending_socket(), gone = dup(fd);
    struct timeval t = {.tv_sec = 1};
    struct sets s;

    close(gone);
    fill(&s, fd);
    FD_SET(gone, &s.in);
    show("one is closed", select(gone + 1, &s.in, &s.out, NULL, &t));
}

static void pselects(void)
{
    int fd = pending_socket(), r;
    struct timespec t = {.tv_nsec = 100000000};
    struct sets s;

    fill(&s, fd);
    r = pselect(fd + 1, &s.in, &s.out, &s.x, &t, NULL);
    show_sets("pselect", r, &s.in, &s.out, &s.x, fd);
    say("time: %ld.%09ld", (long)t.tv_sec, (long)t.tv_nsec);
    t = (struct timespec){.tv_sec = 5};
    fill(&s, fd);
    r = pselect(fd + 1, &s.in, &s.out, &s.x, &t, NULL);
    show_sets("pselect", r, &s.in, &s.out, &s.x, fd);
    t = (struct timespec){.tv_nsec = -1};
    show("a wrong time", pselect(fd + 1, &s.in, NULL, NULL, &t, NULL));
}

/* --- from another thread ---------------------------------------------------------------------- */

static void *wait_for_it(void *fd)
{
    int r = await(*(int *)fd);

    show("the other thread's poll", r);
    show_poll(*(int *)fd);
    return NULL;
}

static void polled_by_two(void)
{
    int fd = pending_socket();
    pthread_t other;

    pthread_create(&other, NULL, wait_for_it, &fd);
    await(fd);
    pthread_join(other, NULL);
    show_poll(fd);
    show_state(fd);
}

static void *close_it(void *fd)
{
    usleep(100000);
    show("close", close(*(int *)fd));
    return NULL;
}

/* What poll() holds stays open until it returns; only the time is told, and then it is gone. */
static void closed_while_polled(void)
{
    int fd = pending_socket(), same = fd;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    pthread_t other;

    pthread_create(&other, NULL, close_it, &same);
    pthread_join(other, NULL);
    show("poll", poll(&p, 1, 200));
    show_events("  revents", (unsigned)p.revents);
}

/* --- high descriptors ------------------------------------------------------------------------- */

static void high_descriptor(void)
{
    struct rlimit limit;
    int low = tcp_socket(SOCK_NONBLOCK), fd;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    fd = dup2(low, 70000);
    close(low);
    show("connect", connect_target(fd));
    show_state(fd);
    show("poll", await(fd));
    show_state(fd);
    close(fd);
}

#define BOTH (IPV4 | IPV6)
#define ENDS (SUCCEEDS | IS_REFUSED)

const struct conform_case ready_cases[] = {
    {"poll", polls, BOTH, ENDS},
    {"ppoll", ppolls, BOTH, ENDS},
    {"poll among others", poll_among_others, IPV4, ENDS},
    {"poll two", poll_two, IPV4, ENDS},
    {"select", selects, BOTH, ENDS},
    {"select with closed", selects_with_closed, IPV4, ENDS},
    {"pselect", pselects, IPV4, ENDS},
    {"polled by two", polled_by_two, IPV4, ENDS},
    {"closed while polled", closed_while_polled, IPV4, SUCCEEDS},
    {"high descriptor", high_descriptor, IPV4, ENDS},
    {0},
};
