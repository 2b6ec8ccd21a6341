/*
 * Associations over fork, exec and exit. Which association carries a datagram shows in the port
 * that the echo sees.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/pending.h"
#include "tests/assoc/rig.h"
#include "tests/unit/tap.h"

/* What a child finds out, 0 to 65535: by a pipe. */
static unsigned in_child(unsigned (*f)(int fd), int fd)
{
    unsigned found = 0;
    int ends[2];
    pid_t pid;

    if (pipe(ends) < 0)
        return 0;
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        found = f(fd);
        if (write(ends[1], &found, sizeof found) < 0)
            _exit(1);
        _exit(0);
    }
    close(ends[1]);
    if (read(ends[0], &found, sizeof found) < 0)
        found = 0;
    close(ends[0]);
    waitpid(pid, NULL, 0);
    return found;
}

static unsigned visit_two(int fd)
{
    return rig_visit(fd, RIG_TWO, "from a child");
}

static unsigned visit_brief(int fd)
{
    return rig_visit(fd, RIG_BRIEF, "from a child");
}

static unsigned visit_slow(int fd)
{
    return rig_visit(fd, RIG_SLOW, "from a child");
}

static void forked(void)
{
    int fd = rig_socket();
    unsigned port = rig_visit(fd, RIG_TWO, "x");

    tap_ok(port && in_child(visit_two, fd) == port, "a child uses the parent's association");
    tap_ok(rig_visit(fd, RIG_TWO, "y") == port, "and so does the parent still");
    rig_close(fd);
}

static unsigned visit_orphaned(int fd)
{
    rig_close(fd + 1); /* no socket of that number: nothing happens */
    return rig_visit(fd, RIG_TWO, "from an orphan");
}

/* The parent closes while the child goes on. */
static void parent_closes(void)
{
    int fd = rig_socket(), ends[2];
    unsigned port = rig_visit(fd, RIG_TWO, "x"), found = 0;

    if (!port || pipe(ends) < 0)
        return;
    fflush(stdout);
    if (fork() == 0) {
        rig_nap(200);
        found = visit_orphaned(fd);
        if (write(ends[1], &found, sizeof found) < 0)
            _exit(1);
        _exit(0);
    }
    rig_close(fd);
    if (read(ends[0], &found, sizeof found) < 0)
        found = 0;
    tap_ok(found == port, "the parent closes, the child goes on");
    wait(NULL);
}

/* A child that came into being while the association was being made. */
static void forked_early(void)
{
    int fd = rig_socket();
    unsigned child, own = 0;
    char got[RIG_DATAGRAM];

    rig_send(fd, RIG_SLOW, "early", 5);
    child = in_child(visit_slow, fd);
    if (rig_receive(fd, got, 100) > 6)
        own = (unsigned)atoi(got); /* unless the child has taken it */
    tap_ok(child && (!own || own == child), "a child waits for the parent's association");
    tap_ok(rig_visit(fd, RIG_SLOW, "later") == child, "which is the same for both");
    rig_close(fd);
}

static unsigned send_slow(int fd)
{
    rig_send(fd, RIG_SLOW, "child", 5);
    rig_nap(600);
    return 1;
}

static void held_once(void)
{
    int fd = rig_socket(), early = 0, child = 0;
    char got[RIG_DATAGRAM];

    rig_send(fd, RIG_SLOW, "early", 5);
    in_child(send_slow, fd);
    while (rig_receive(fd, got, 300) == 11) {
        early += !memcmp(got + 6, "early", 5);
        child += !memcmp(got + 6, "child", 5);
    }
    tap_ok(early == 1 && child == 1, "what is held is sent once: %d, %d", early, child);
    rig_close(fd);
}

/* Who finds it dead makes it for both. */
static void lost_by_one(void)
{
    int fd = rig_socket();
    unsigned first = rig_visit(fd, RIG_BRIEF, "x"), second;

    rig_nap(1100);
    second = in_child(visit_brief, fd);
    tap_ok(first && second && first != second, "a child makes it anew");
    rig_close(fd);
}

static void maker_gone(void)
{
    int fd = rig_socket();
    unsigned first = in_child(visit_two, fd), second = rig_visit(fd, RIG_TWO, "x");

    tap_ok(first && second && first != second, "a child made it and is gone: it is made anew");
    tap_ok(rig_visit(fd, RIG_TWO, "x") == second, "and stays");
    rig_close(fd);
}

/* Two that send all the time do not take it from each other. */
static void both_send(void)
{
    int fd = rig_socket(), status;
    unsigned first;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        rig_visit(fd, RIG_TWO, "mine");
        for (int i = 0; i < 30; i++) {
            rig_send(fd, RIG_TWO, "c", 1);
            rig_nap(100);
        }
        _exit(0);
    }
    rig_nap(300);
    first = rig_visit(fd, RIG_TWO, "x");
    for (int i = 0; i < 20; i++) {
        unsigned now = rig_visit(fd, RIG_TWO, "x");

        if (now && now != first)
            first = 0;
        rig_nap(100);
    }
    tap_ok(first, "a parent and a child that made it share it");
    waitpid(pid, &status, 0);
    rig_close(fd);
}

static void left_at_exit(void)
{
    int fd = rig_socket();
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        rig_send(fd, RIG_SLOW, "a last word", 11);
        exit(0);
    }
    waitpid(pid, NULL, 0);
    rig_nap(50);
    tap_ok(rig_echo_got("a last word"), "what was sent before exit() still goes");
    rig_close(fd);
}

/* --- exec ------------------------------------------------------------------------------------ */

static int executed(char **argv)
{
    int fd = atoi(argv[2]);
    unsigned found;

    if (!rig_attach())
        return 1;
    if (!strcmp(argv[1], "bare"))
        syscall(SYS_close_range, 64u, ~0u, 0u); /* as programs do that no hook sees */
    found = assoc_any() ? rig_visit(fd, RIG_TWO, "from another program") : 1;
    if (!strcmp(argv[1], "close")) {
        found = rig_descriptors();
        rig_close(fd);
        found -= rig_descriptors();
    }
    return write(atoi(argv[3]), &found, sizeof found) < 0;
}

/* Its own name: valgrind would find itself behind /proc/self/exe. */
static char *self(void)
{
    static char path[PATH_MAX];

    if (!realpath("/proc/self/exe", path))
        path[0] = 0;
    return path;
}

static unsigned run(const char *how, int fd, bool by_vfork)
{
    char a[16], b[16];
    char *argv[] = {self(), (char *)how, a, b, NULL};
    unsigned found = 0;
    int ends[2];
    pid_t pid;

    if (pipe(ends) < 0)
        return 0;
    snprintf(a, sizeof a, "%d", fd);
    snprintf(b, sizeof b, "%d", ends[1]);
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fflush(stdout);
    pid = by_vfork ? vfork() : fork();
    if (pid == 0) {
        pending_before_exec();
        execv(argv[0], argv);
        _exit(1);
    }
    close(ends[1]);
    if (read(ends[0], &found, sizeof found) < 0)
        found = 0;
    close(ends[0]);
    waitpid(pid, NULL, 0);
    return found;
}

static void over_exec(void)
{
    int fd = rig_socket();
    unsigned port = rig_visit(fd, RIG_TWO, "x"), remade, closed;

    fcntl(fd, F_SETFD, 0);
    tap_ok(port && run("visit", fd, false) == port, "fork, exec: the association goes on");
    tap_ok(run("visit", fd, true) == port, "vfork, exec: the same");
    closed = run("close", fd, false);
    tap_ok(closed == 3, "there the last close ends the control connections (%u of 3)", closed);
    remade = run("bare", fd, false);
    tap_ok(remade == port, "without control connections, as long as the maker lives: the same");
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    tap_ok(rig_visit(fd, RIG_TWO, "x") == port, "and here it is the same all the time");
    rig_close(fd);
}

static unsigned exec_bare(int fd)
{
    char a[16], b[16];
    char *argv[] = {self(), (char *)"bare", a, b, NULL};
    unsigned port = rig_visit(fd, RIG_TWO, "x"), found = 0;
    int ends[2];

    if (!port || pipe(ends) < 0)
        return 0;
    snprintf(a, sizeof a, "%d", fd);
    snprintf(b, sizeof b, "%d", ends[1]);
    fcntl(fd, F_SETFD, 0);
    if (fork() > 0) { /* the maker becomes another program and loses its control connections */
        pending_before_exec();
        execv(argv[0], argv);
        _exit(1);
    }
    close(ends[1]);
    rig_close(fd);
    if (read(ends[0], &found, sizeof found) < 0)
        return 0;
    return found && found != port;
}

/* The handshakes end with the program that drove them. */
static unsigned exec_early(int fd)
{
    char a[16], b[16];
    char *argv[] = {self(), (char *)"visit", a, b, NULL};
    unsigned found = 0;
    int ends[2];

    if (pipe(ends) < 0)
        return 0;
    snprintf(a, sizeof a, "%d", fd);
    snprintf(b, sizeof b, "%d", ends[1]);
    fcntl(fd, F_SETFD, 0);
    if (fork() == 0) {
        assoc_open(fd, rig_cookie(fd), rig_chain(RIG_TWO), false);
        pending_before_exec();
        execv(argv[0], argv);
        _exit(1);
    }
    close(ends[1]);
    return read(ends[0], &found, sizeof found) > 0 && found > 0;
}

static void unfinished(void)
{
    int fd = rig_socket();

    tap_ok(in_child(exec_early, fd) == 1, "what was being made before exec is made anew");
    rig_close(fd);
}

static void after_closefrom(void)
{
    int fd = rig_socket();

    tap_ok(in_child(exec_bare, fd) == 1,
           "control connections that the executed program has closed are made anew");
    rig_close(fd);
}

int main(int argc, char **argv)
{
    if (argc == 4)
        return executed(argv);
    if (!rig_begin())
        return 1;
    forked();
    parent_closes();
    forked_early();
    held_once();
    lost_by_one();
    maker_gone();
    both_send();
    left_at_exit();
    over_exec();
    after_closefrom();
    unfinished();
    rig_end();
    return tap_done();
}
