/*
 * conform: one table of what POSIX and Linux say of connect() and of sockets that are being
 * connected. Each case prints a line per observation, in words that do not depend on time, process
 * or descriptor numbers, so that two runs (the kernel's own connect(), and a chain) can be
 * compared.
 *
 * A case runs in a process of its own. The target takes about half a second to answer.
 */
#ifndef TESTS_ASYNC_CONFORM_H
#define TESTS_ASYNC_CONFORM_H

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum outcome { SUCCEEDS = 1, IS_REFUSED = 2, IS_SILENT = 4 };
enum family { IPV4 = 1, IPV6 = 2 };

struct conform_case {
    const char *name;
    void (*play)(void);
    int families; /* of enum family: played once for each of them */
    int outcomes; /* and each of enum outcome */
};

/* Of the case that is played. */
extern int the_domain; /* AF_INET, AF_INET6 */
extern enum outcome the_outcome;

struct address {
    union {
        struct sockaddr any;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
    };
    socklen_t len;
};
/* What this case connects to; and the one that always answers (it echoes). */
struct address conform_target(void);
struct address conform_echo(void);

/* --- observations --------------------------------------------------------------------------- */

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *errno_name(int number);
/* "what: r", with the errno if r is -1. Gives r. */
long show(const char *what, long r);
/* The same, and whether it was answered at once or had to wait for the target. */
int64_t now_ms(void);
long show_timed(const char *what, int64_t since_ms, long r);
/* "what: OUT HUP" */
void show_events(const char *what, unsigned events);
void show_poll(int fd); /* what poll() says now */
void show_error(int fd);
void show_peer(int fd);
/* Error, peer and readiness together. */
void show_state(int fd);
/* Five bytes there and back; waits for them. */
void show_echo(int fd);

/* --- steps ---------------------------------------------------------------------------------- */

int tcp_socket(int type_flags); /* SOCK_NONBLOCK, SOCK_CLOEXEC */
int connect_to(int fd, struct address a);
int connect_target(int fd); /* to what this case connects to */
/* A non-blocking socket whose connect() is under way. */
int pending_socket(void);
int dissolve(int fd); /* connect(AF_UNSPEC) */
void set_blocking(int fd, bool on);
/* Waits until the target must have answered; without a call on the socket. */
void let_settle(void);
/* poll(POLLOUT), at most 10 s; its result. */
int await(int fd);
/* Forks; the child plays `child`, which is said before the parent goes on. */
void in_child(void (*child)(int fd), int fd);

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

/* The tables; each ends with an empty row. */
extern const struct conform_case connect_cases[], argument_cases[], io_cases[], ready_cases[],
    epoll_cases[], fd_cases[], fresh_cases[], process_cases[], signal_cases[];

/* main() of a program that a case executes with a descriptor that is being connected. */
int conform_resume(const char *fd);
extern const char *conform_self;

#endif
