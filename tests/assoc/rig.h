/*
 * rig: a session over the servers of relay.h, and datagrams through it, by client/assoc.h alone.
 */
#ifndef TESTS_ASSOC_RIG_H
#define TESTS_ASSOC_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/assoc.h"

/* The chains of the session's plan. */
enum rig_chain {
    RIG_ONE,
    RIG_TWO,
    RIG_THREE,
    RIG_REFUSED,
    RIG_REFUSED_SECOND,
    RIG_NAME,
    RIG_MULTICAST,
    RIG_NO_PORT,
    RIG_SLOW,
    RIG_SILENT,
    RIG_BRIEF,
    RIG_NOISY,
    RIG_HTTP,
    RIG_DEAD,
    RIG_CHAINS
};

enum { RIG_DATAGRAM = 65536 };

/* The time limit of the session, and what is waited for datagrams. $VIADUCT_TEST_SLOWER says how
 * many times longer both are, as for valgrind. */
int rig_timeout_ms(void);
int rig_patience_ms(void);

/* Starts the servers and a session with a file; then the latter is $VIADUCT_SESSION and the echo's
 * port $RIG_ECHO. rig_attach: what a program does that is executed later. */
bool rig_begin(void);
bool rig_attach(void);
void rig_end(void);

const struct plan_chain *rig_chain(enum rig_chain chain);
struct vd_endpoint rig_echo(void);
bool rig_echo_got(const char *text); /* as the last datagram */
/* Takes the lines written since the last time; rig_said: whether this text is in one of them. */
void rig_take_lines(void);
bool rig_said(const char *text);

int rig_socket(void);
uint64_t rig_cookie(int fd);
/* Closes as the hooks do. */
void rig_close(int fd);

/* What assoc_send says. */
ssize_t rig_send(int fd, enum rig_chain chain, const void *data, size_t len);
/* Receives what the program would get within `ms`; its length, -1: nothing, with errno. `data`:
 * RIG_DATAGRAM bytes. */
ssize_t rig_receive(int fd, void *data, int ms);
/* Sends a text and waits for its echo. The port that the echo saw, 0: none came. */
unsigned rig_visit(int fd, enum rig_chain chain, const char *text);

unsigned rig_descriptors(void); /* how many this process has open */
void rig_nap(int ms);

#endif
