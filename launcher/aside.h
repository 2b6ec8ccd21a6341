/*
 * aside: processes beside the command: never its child, and nobody waits for them.
 */
#ifndef VIADUCT_LAUNCHER_ASIDE_H
#define VIADUCT_LAUNCHER_ASIDE_H

#include <stdbool.h>

/* Forks twice. True in the process that was wanted, whose parent is nobody's business; there it
 * must end by _exit(). False in the caller: it was started, or could not be. */
bool aside_fork(void);

/* In such a process: keeps the descriptors of `fds`, which get the numbers from 3 on, and has
 * nothing else of its origin that somebody could wait for the end of: a session of its own,
 * /dev/null as standard streams, the root directory. `name` is shown by ps. Ends the process where
 * that fails. */
void aside_let_go(const char *name, int *fds, unsigned count);

#endif
