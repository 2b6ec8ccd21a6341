/*
 * supervise: the second way of interception, for programs that the library cannot reach: static
 * ones, those of another libc, Go, and whoever makes system calls by himself.
 *
 * A seccomp filter has the kernel hold certain system calls of the program until a supervisor, a
 * process beside it, has answered them (seccomp_unotify(2)). The supervisor copies what the call
 * points to, once; it takes a copy of the program's own socket (pidfd_getfd(2)) and does on it what
 * the client engine says: the same rules, names, chains and lines as in the library. An answer is
 * given when all is done, so the program is told of a connection when its whole chain stands.
 *
 *   supervise_main      viaduct-supervise: starts a supervisor and becomes the command
 *   supervise_start     the two of them get to know each other
 *   supervise_filter    which system calls wait for an answer
 *   supervise_loop      the supervisor's life: calls, descriptors, time
 *   supervise_calls     what a call wants, and who sees to it
 *   supervise_tracee    memory and descriptors of the caller
 *   supervise_origin    what the library has to do with it, where that is in the program, too
 *   supervise_stream    connections
 *   supervise_datagram  datagrams
 *   supervise_relay     those that go through the chain
 *   supervise_names     questions to name servers
 *   supervise_room      the network in which both are heard
 *   supervise_sys       what the client engine is built on, here
 *
 * A call about an INET address is never let go on as it stands: another thread could change what
 * was judged. What the supervisor does not answer (it died) fails with ENOSYS.
 */
#ifndef VIADUCT_LAUNCHER_SUPERVISE_H
#define VIADUCT_LAUNCHER_SUPERVISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

/* --- supervise_start ------------------------------------------------------------------------- */

/* Starts a supervisor for this process and all that will descend from it, over exec too. Ends the
 * program, with status 125 and a line that says what the system forbids, where that cannot be. The
 * session must be attached. Where it is not `needed` the program goes on without a supervisor
 * instead. */
void supervise_start(char **argv, bool needed);

/* --- supervise_filter ------------------------------------------------------------------------ */

/* Installs the filter on this process. The descriptor by which its calls are answered, or -errno.
 * no_new_privs is set where the system insists. */
int supervise_install_filter(void);

/* --- supervise_loop -------------------------------------------------------------------------- */

/* A system call that waits for its answer. */
struct supervise_call {
    uint64_t id; /* 0: none, or answered */
    pid_t thread;
    int number;
    bool foreign; /* of another architecture's convention */
    uint64_t args[6];
};

/* Makes ready for the calls that `listener` tells of, and counts itself as an observer of the
 * session: before the program goes on, which may have ended a moment later. 0 or an errno. */
int supervise_open(int listener);
/* The supervisor's life: until nobody is left who could call. */
void supervise_run(void) __attribute__((noreturn));

/* Gives the answer: a value, or -errno. false: nobody waits for it any more. */
bool supervise_answer(struct supervise_call *c, int64_t result);
/* Lets the kernel go on with the call as it stands. */
void supervise_let_pass(struct supervise_call *c);
/* Whether the caller still waits. */
bool supervise_waits(const struct supervise_call *c);
/* Puts a copy of `fd` in the place of the caller's descriptor `number`. */
bool supervise_replace_fd(const struct supervise_call *c, int fd, int number, bool cloexec);

/* Lines are said in the name of this thread's process from now on. */
void supervise_speak_for(pid_t thread);

/* Events of a descriptor, by edge, until it is unwatched. */
struct supervise_watch {
    void (*event)(struct supervise_watch *w, uint32_t events);
};
bool supervise_watch(int fd, struct supervise_watch *w);
void supervise_unwatch(int fd);

/* What is to be done at a time (CLOCK_MONOTONIC), once; set and cleared as often as one likes. */
struct supervise_timer {
    int64_t at_ns;
    void (*due)(struct supervise_timer *t);
    struct supervise_timer *next;
    bool set;
};
void supervise_set_timer(struct supervise_timer *t, int64_t at_ns);
void supervise_clear_timer(struct supervise_timer *t);

/* --- supervise_tracee ------------------------------------------------------------------------ */

/* Copies memory of the caller. 0, or -EFAULT, or -EPERM where he may not be looked into. */
int tracee_read(pid_t thread, uint64_t from, void *to, size_t len);
int tracee_write(pid_t thread, uint64_t to, const void *from, size_t len);

/* A copy of a descriptor of the caller, close-on-exec; -ENOBUFS, -EBADF, or -EPERM as above. The
 * caller must be known to wait still (supervise_waits) after the first of these for him. */
int tracee_fd(pid_t thread, int fd);

/* The name of a thread's program and the number of its process. */
void tracee_name(pid_t thread, char name[64], int *process);

/* What sendmsg() is given, copied. */
enum { TRACEE_DATA_MAX = 65536, TRACEE_CONTROL_MAX = 4096, TRACEE_PARTS_MAX = 1024 };
struct tracee_message {
    struct sockaddr_storage name;
    socklen_t name_len; /* 0: none */
    size_t len;         /* of data; what is longer is cut off, see `whole` */
    bool whole;
    size_t control_len;
    uint8_t data[TRACEE_DATA_MAX];
    uint8_t control[TRACEE_CONTROL_MAX] __attribute__((aligned(16)));
};
/* An address as the kernel takes it. 0, -EINVAL or as tracee_read. */
int tracee_read_address(pid_t thread, uint64_t from, uint64_t len, struct sockaddr_storage *to,
                        socklen_t *to_len);
/* The arguments of sendto(), and the msghdr of sendmsg(). 0 or -errno. */
int tracee_read_send(const struct supervise_call *c, struct tracee_message *m);
int tracee_read_message(pid_t thread, uint64_t from, struct tracee_message *m);

/* --- supervise_calls ------------------------------------------------------------------------- */

void supervise_take(struct supervise_call *c);

/* What is known of the socket that a call is about. */
struct supervise_socket {
    int fd; /* ours; whoever takes it over closes it */
    int domain;
    uint64_t cookie;
    bool blocks;
};

/* --- supervise_stream ------------------------------------------------------------------------ */

/* connect() of a stream socket, and with `message` the sending that begins with one
 * (MSG_FASTOPEN). Takes the descriptor; answers the call. */
void stream_connect(struct supervise_call *c, const struct supervise_socket *s,
                    const struct sockaddr_storage *addr, socklen_t len,
                    const struct tracee_message *message, int flags);
/* connect() to nowhere. */
void stream_dissolve(struct supervise_call *c, const struct supervise_socket *s);

/* --- supervise_datagram ---------------------------------------------------------------------- */

/* connect() of a socket that carries no stream. Takes the descriptor; answers the call. */
void datagram_connect(struct supervise_call *c, const struct supervise_socket *s,
                      const struct sockaddr_storage *addr, socklen_t len);
/* One message, with or without an address: what the call returns. Borrows the descriptor. */
int64_t datagram_send(struct supervise_call *c, struct supervise_socket *s,
                      const struct tracee_message *m, int flags);

#endif
