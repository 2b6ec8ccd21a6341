/*
 * session: one file in /dev/shm that every process of a command maps.
 *
 * It holds the plan (mapped read-only), the names behind placeholder addresses, and what was
 * learned of sockets. The launcher makes it (0600, random name, O_EXCL | O_NOFOLLOW) and gives its
 * path in the environment as VIADUCT_SESSION. Each mapper takes flock(LOCK_SH) before it closes
 * the descriptor: the mapping keeps the lock, also over fork, so that a later launch can tell an
 * abandoned file (LOCK_EX succeeds, untouched for 60 s) and remove it.
 *
 * Fixed-width fields, offsets instead of pointers; a file of another version is refused. The file
 * is as long as its tables may grow, but sparse: before a part is used for the first time it is
 * allocated (posix_fallocate), so that a full /dev/shm is an error and never a SIGBUS.
 */
#ifndef VD_CLIENT_SESSION_H
#define VD_CLIENT_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/plan.h"

#define SESSION_ENV "VIADUCT_SESSION"

/* --- for the launcher --------------------------------------------------------------------- */

enum { SESSION_PATH_MAX = 64 };

/* Makes a session file with a copy of `plan` and writes its path. 0, or an errno (positive). */
int session_make(const struct plan *plan, char path[SESSION_PATH_MAX]);
/* Removes files that launches of this user abandoned. */
void session_sweep(void);

/* --- for whoever carries connections ------------------------------------------------------ */

enum session_state {
    SESSION_NONE,  /* not attached yet */
    SESSION_READY, /* plan and tables are mapped */
    SESSION_BROKEN /* there is one, but it cannot be used: refuse everything */
};

/* Maps the session at `path` (as in the environment). SESSION_READY or SESSION_BROKEN; `why`
 * (static text) says what is wrong. Called once, before threads. */
enum session_state session_attach(const char *path, const char **why);
enum session_state session_state(void);

/* A session without a file: `plan` (borrowed for good) with tables that this process shares with
 * the children it forks, not with programs it executes. */
enum session_state session_adopt(const struct plan *plan, const char **why);
/* There is no usable session: from now on SESSION_BROKEN. */
enum session_state session_fail(void);

/* The file's path; "" for a session without one. */
const char *session_path(void);

/* NULL unless SESSION_READY. */
const struct plan *session_plan(void);

#endif
