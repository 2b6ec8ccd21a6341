/*
 * supervised: whether a process is in the care of a supervisor (launcher/supervise.h), and how one
 * is started for what the library cannot carry.
 */
#ifndef VD_CLIENT_SUPERVISED_H
#define VD_CLIENT_SUPERVISED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/session.h"

/* --- the question ---------------------------------------------------------------------------- */

/* What a process gives to connect() as an address, on no descriptor. The kernel says EBADF, the
 * supervisor of this session SUPERVISED_YES. */
struct supervised_question {
    uint16_t family; /* AF_UNSPEC */
    char text[22];   /* SUPERVISED_TEXT */
    char session[SESSION_PATH_MAX];
};
#define SUPERVISED_TEXT "viaduct: who is there"
enum { SUPERVISED_YES = 0x7664 };

/* Asks, for the session that is attached. Keeps errno; takes no lock, allocates nothing. */
bool supervised_is(void);
/* The same question, as the supervisor hears it. */
bool supervised_is_asked(const void *bytes, size_t len);

/* --- the program that starts one ------------------------------------------------------------- */

/* viaduct-supervise LIBRARIES PATH ARGV0 [ARG...]: executes PATH, supervised, with the session of
 * the environment, and LD_PRELOAD set to LIBRARIES if that is not empty: it must itself be started
 * without. It lies beside the library; `path` gets the place. false: it is not there. */
enum { SUPERVISED_PATH_MAX = 4096 };
bool supervised_starter(const char *library, char path[SUPERVISED_PATH_MAX]);

#endif
