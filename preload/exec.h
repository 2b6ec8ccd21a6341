/*
 * exec: what the hooks that start programs share.
 *
 * All of it may run between vfork() and exec, in memory that belongs to the parent: only the stack
 * is used, and nothing is left behind.
 */
#ifndef VD_PRELOAD_EXEC_H
#define VD_PRELOAD_EXEC_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "client/program.h"

/* Memory of the calling function. */
#define exec_stack(size) __builtin_alloca(size)

/* --- the environment (exec_environment.c) ---------------------------------------------------- */

/* Remembers the library's own path and the variable that names the session; copies both. Called
 * once, when the library is loaded. */
void exec_remember(const char *library, const char *name, const char *value);

/* The library that goes with what is started; NULL: there is no session. */
const char *exec_library(void);

/* The one that this program can load: by its word size, of which there are two on some machines.
 * NULL: nothing was judged; then our own. Whether it is there is for exec_verdict() to say. */
const char *exec_library_for(const struct program *p);

/* All below: `library` is of exec_library_for(). */

/* Puts both into this process's own environment, if they are not there. */
void exec_restore_environment(const char *library);

/* How many bytes exec_environment() needs for `from`. */
size_t exec_environment_size(char *const *from, const char *library);

/* `from` with both variables as they must be: itself where that is so, else a list in `room`. NULL:
 * no kernel would take so many. */
char *const *exec_environment(char *const *from, const char *library, void *room);

/* --- the file (exec_judge.c) ----------------------------------------------------------------- */

/* Judges the file at `path`. false: nothing to say; the kernel will refuse it by itself. */
bool exec_look(struct program *p, const char *path);

/* The same for a path relative to a directory's descriptor, as execveat() takes it. `shown` gets
 * the path that was judged. */
bool exec_look_at(struct program *p, int dir, const char *name, int flags, char shown[PATH_MAX]);

/* The file that a name means, as execvp() looks for it, already judged; it lies in `path` or is the
 * name itself. NULL: there is none that the kernel would run. */
const char *exec_search(struct program *p, const char *name, char path[PATH_MAX]);

/* 0; EXEC_SUPERVISED; or the errno with which starting this file is refused: then a line was said.
 */
int exec_verdict(const struct program *p, const char *path);

/* --- what needs a supervisor (exec_supervised.c) --------------------------------------------- */

/* The program is to be started by another one, which puts it into the care of a supervisor. */
enum { EXEC_SUPERVISED = -1 };

/* Whether a program that needs a supervisor can have one (EXEC_SUPERVISED), or has it already, as
 * this process has (0); else EACCES. */
int exec_find_supervisor(const struct program *p);

/* How the other program is started: room for its path and its words. */
struct exec_detour {
    char starter[PATH_MAX], target[PATH_MAX];
    char *const *argv, *const *environment; /* without LD_PRELOAD, which goes with the words */
};
/* How many bytes of `room` exec_detour() needs. */
size_t exec_detour_size(char *const *argv, char *const *environment);
/* `path` is what was judged; one by a descriptor, which may be closed by then, is looked up. false:
 * it has no path, and a line was said. */
bool exec_detour(struct exec_detour *d, const char *path, char *const *argv,
                 char *const *environment, void *room);

#endif
