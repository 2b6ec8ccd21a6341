/*
 * Starting programs: what the library cannot carry is refused (EACCES, with a line that says why),
 * and the session goes with what is started, even if the program scrubbed its environment.
 *
 * All of this may run between vfork() and exec, in memory that belongs to the parent: only the
 * stack is used, and an anonymous mapping where an environment is too large for it. libc does not
 * route one exec call through another, so each is a hook of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/pending.h"
#include "client/program.h"
#include "client/say.h"
#include "preload/exec.h"
#include "preload/hook.h"

#define PRELOAD "LD_PRELOAD="

enum { VARIABLES = 512, ARGUMENTS = 4096 };

/* What a program needs to be part of the session, as it was when this one started. */
static struct {
    char library[PATH_MAX];
    char session[PATH_MAX]; /* NAME=value */
} keep;

void exec_remember(const char *library, const char *name, const char *value)
{
    struct vd_out out = vd_out_over(keep.session, sizeof keep.session - 1);

    if (strlen(library) < sizeof keep.library)
        strcpy(keep.library, library);
    vd_out_text(&out, name);
    vd_out_text(&out, "=");
    vd_out_text(&out, value);
    vd_out_string(&out);
    if (!out.ok)
        keep.session[0] = 0;
}

/* --- the environment ------------------------------------------------------------------------- */

struct environment {
    char *on_stack[VARIABLES];
    char **variables;
    size_t room;
    char preload[2 * PATH_MAX];
};

static bool is_named(const char *variable, const char *like, size_t len)
{
    return !strncmp(variable, like, len);
}

static size_t name_len(const char *variable)
{
    return strcspn(variable, "=") + 1;
}

/* Whether the list of libraries names ours. */
static bool names_library(const char *list)
{
    size_t len = strlen(keep.library);

    while (*(list += strspn(list, ": "))) {
        size_t one = strcspn(list, ": ");

        if (one == len && !memcmp(list, keep.library, len))
            return true;
        list += one;
    }
    return false;
}

static char *with_library(struct environment *e, const char *others)
{
    struct vd_out out = vd_out_over(e->preload, sizeof e->preload - 1);

    vd_out_text(&out, PRELOAD);
    vd_out_text(&out, keep.library);
    if (*others)
        vd_out_text(&out, ":");
    vd_out_text(&out, others);
    vd_out_string(&out);
    return e->preload;
}

static bool make_room(struct environment *e, char *const *from)
{
    size_t count = 0;
    void *mapped;

    while (from && from[count])
        count++;
    e->room = count + 3; /* two of ours, and the end */
    e->variables = e->on_stack;
    if (e->room <= VARIABLES)
        return true;
    mapped = mmap(NULL, e->room * sizeof *from, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                  -1, 0);
    if (mapped == MAP_FAILED)
        return false;
    e->variables = mapped;
    return true;
}

static void drop_room(const struct environment *e)
{
    if (e->variables != e->on_stack)
        munmap(e->variables, e->room * sizeof *e->variables);
}

/* `from` with our two variables as they must be. */
static bool make_environment(struct environment *e, char *const *from)
{
    size_t preload_len = sizeof PRELOAD - 1, session_len = name_len(keep.session), n = 2;
    const char *others = "";

    if (!make_room(e, from))
        return false;
    for (; from && *from; from++) {
        if (is_named(*from, PRELOAD, preload_len))
            others = *from + preload_len;
        else if (!is_named(*from, keep.session, session_len))
            e->variables[n++] = *from;
    }
    e->variables[n] = NULL;
    e->variables[0] = keep.session;
    e->variables[1] = with_library(e, names_library(others) ? "" : others);
    if (names_library(others)) {
        struct vd_out out = vd_out_over(e->preload, sizeof e->preload - 1);

        vd_out_text(&out, PRELOAD);
        vd_out_text(&out, others);
        vd_out_string(&out);
    }
    return true;
}

void exec_restore_environment(void)
{
    struct environment e;
    char *value = strchr(keep.session, '=');
    const char *others = getenv("LD_PRELOAD");

    if (!value)
        return;
    *value = 0;
    setenv(keep.session, value + 1, 1);
    *value = '=';
    if (!others || !names_library(others))
        setenv("LD_PRELOAD", with_library(&e, others ? others : "") + sizeof PRELOAD - 1, 1);
}

/* --- the program ----------------------------------------------------------------------------- */

static void say_refused(const struct program *p, const char *path)
{
    char text[SAY_MAX];
    struct vd_out out = vd_out_over(text, sizeof text);

    vd_out_shown(&out, path, strlen(path));
    vd_out_text(&out, " is not started: it ");
    program_explain(&out, p);
    say(PLAN_FAILURES, NULL, vd_out_string(&out));
}

/* 0, or the errno with which starting this file is refused. What cannot be found or read is the
 * kernel's to judge, unless it would run all the same. */
static int judge(const char *path)
{
    struct program p;

    if (!path || !keep.session[0] || !hook_ready())
        return 0;
    program_judge(&p, path);
    if (p.fault == PROGRAM_FINE || (p.fault == PROGRAM_MISSING && access(path, X_OK) < 0))
        return 0;
    say_refused(&p, path);
    return EACCES;
}

/* The file that a name means, as execvp() looks for it; the name itself if there is none. */
static const char *search(const char *name, char path[PATH_MAX])
{
    const char *dirs = getenv("PATH");

    if (!name || !*name || strchr(name, '/'))
        return name;
    for (dirs = dirs ? dirs : "/bin:/usr/bin";; dirs++) {
        size_t len = strcspn(dirs, ":");
        struct vd_out out = vd_out_over(path, PATH_MAX - 1);

        vd_out_bytes(&out, dirs, len);
        vd_out_text(&out, len ? "/" : "");
        vd_out_text(&out, name);
        if (out.ok && access(vd_out_string(&out), X_OK) == 0)
            return path;
        dirs += len;
        if (!*dirs)
            return name;
    }
}

/* Everything before the real call: 0, or -1 with errno. */
static int prepare(struct environment *e, const char *path, char *const *environment)
{
    int saved = errno, number = judge(path);

    if (number)
        return hook_fail(number);
    if (!make_environment(e, environment))
        return hook_fail(ENOMEM);
    pending_before_exec();
    errno = saved;
    return 0;
}

/* --- exec ------------------------------------------------------------------------------------ */

HOOK int execve(const char *path, char *const argv[], char *const environment[])
{
    struct environment e;

    if (prepare(&e, path, environment) < 0)
        return -1;
    sys.execve(path, argv, e.variables);
    drop_room(&e);
    return -1;
}

HOOK int execv(const char *path, char *const argv[])
{
    return execve(path, argv, environ);
}

HOOK int execvpe(const char *file, char *const argv[], char *const environment[])
{
    struct environment e;
    char path[PATH_MAX];

    if (prepare(&e, search(file, path), environment) < 0)
        return -1;
    sys.execvpe(file, argv, e.variables);
    drop_room(&e);
    return -1;
}

HOOK int execvp(const char *file, char *const argv[])
{
    return execvpe(file, argv, environ);
}

static const char *path_of_fd(int fd, char path[64])
{
    struct vd_out out = vd_out_over(path, 64);

    vd_out_text(&out, "/proc/self/fd/");
    vd_out_uint(&out, (uint64_t)(fd < 0 ? 0 : fd));
    return vd_out_string(&out);
}

HOOK int fexecve(int fd, char *const argv[], char *const environment[])
{
    struct environment e;
    char path[64];

    if (prepare(&e, path_of_fd(fd, path), environment) < 0)
        return -1;
    sys.fexecve(fd, argv, e.variables);
    drop_room(&e);
    return -1;
}

/* A path relative to a directory's descriptor is judged by way of /proc. */
static const char *path_at(int dir, const char *name, int flags, char path[PATH_MAX])
{
    struct vd_out out = vd_out_over(path, PATH_MAX - 1);
    char at[64];

    if (!name || name[0] == '/' || (dir == AT_FDCWD && *name))
        return name;
    vd_out_text(&out, path_of_fd(dir, at));
    if (*name || !(flags & AT_EMPTY_PATH)) {
        vd_out_text(&out, "/");
        vd_out_text(&out, name);
    }
    return vd_out_string(&out);
}

HOOK int execveat(int dir, const char *name, char *const argv[], char *const environment[],
                  int flags)
{
    struct environment e;
    char path[PATH_MAX];

    if (prepare(&e, path_at(dir, name, flags, path), environment) < 0)
        return -1;
    sys.execveat(dir, name, argv, e.variables, flags);
    drop_room(&e);
    return -1;
}

/* Arguments up to the NULL that ends them; false: more than fit. */
static bool collect(char *argv[ARGUMENTS], const char *first, va_list rest)
{
    size_t n = 0;

    for (argv[n] = (char *)first; argv[n]; argv[n] = va_arg(rest, char *))
        if (++n == ARGUMENTS)
            return false;
    return true;
}

HOOK int execl(const char *path, const char *first, ...)
{
    char *argv[ARGUMENTS];
    va_list rest;
    bool fits;

    va_start(rest, first);
    fits = collect(argv, first, rest);
    va_end(rest);
    return fits ? execve(path, argv, environ) : hook_fail(E2BIG);
}

HOOK int execlp(const char *file, const char *first, ...)
{
    char *argv[ARGUMENTS];
    va_list rest;
    bool fits;

    va_start(rest, first);
    fits = collect(argv, first, rest);
    va_end(rest);
    return fits ? execvpe(file, argv, environ) : hook_fail(E2BIG);
}

HOOK int execle(const char *path, const char *first, ...)
{
    char *argv[ARGUMENTS], **environment = NULL;
    va_list rest;
    bool fits;

    va_start(rest, first);
    fits = collect(argv, first, rest);
    if (fits)
        environment = va_arg(rest, char **);
    va_end(rest);
    return fits ? execve(path, argv, environment) : hook_fail(E2BIG);
}

/* --- spawn ----------------------------------------------------------------------------------- */

static int spawn(pid_t *pid, const char *judged, const char *path,
                 const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
                 char *const argv[], char *const environment[], __typeof__(posix_spawn) *real)
{
    struct environment e;
    int saved = errno, r;

    if (prepare(&e, judged, environment) < 0) {
        r = errno;
        errno = saved;
        return r;
    }
    r = real(pid, path, actions, attributes, argv, e.variables);
    drop_room(&e);
    return r;
}

HOOK int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                     const posix_spawnattr_t *attributes, char *const argv[],
                     char *const environment[])
{
    return spawn(pid, path, path, actions, attributes, argv, environment, sys.posix_spawn);
}

HOOK int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                      const posix_spawnattr_t *attributes, char *const argv[],
                      char *const environment[])
{
    char path[PATH_MAX];

    return spawn(pid, search(file, path), file, actions, attributes, argv, environment,
                 sys.posix_spawnp);
}

/* --- the shell ------------------------------------------------------------------------------- */

/* libc starts the shell by itself, with the environment as it stands. */
HOOK int system(const char *command)
{
    if (command)
        exec_restore_environment();
    return sys.system(command);
}

HOOK FILE *popen(const char *command, const char *mode)
{
    exec_restore_environment();
    return sys.popen(command, mode);
}
