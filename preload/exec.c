/*
 * Starting programs: what needs a supervisor gets one, what cannot be carried is refused (EACCES,
 * with a line that says why), and the session goes with what is started, even if the program
 * scrubbed its environment. libc does not route one exec call through another, so each is a hook of
 * its own.
 *
 * The search along PATH is made here, not by libc: what is started must be what was judged.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "client/assoc.h"
#include "client/pending.h"
#include "preload/exec.h"
#include "preload/hook.h"

static char shell[] = "/bin/sh";

enum start { FAILS /* with errno */, STARTS, BY_SUPERVISOR };

/* Everything before the real call. `p`: NULL where nothing was judged. */
static enum start prepare(const struct program *p, const char *path, char *const *with)
{
    int saved = errno, number = with ? 0 : E2BIG;

    if (!number && p)
        number = exec_verdict(p, path);
    if (number > 0) {
        errno = number;
        return FAILS;
    }
    assoc_before_end();
    pending_before_exec();
    errno = saved;
    return number == EXEC_SUPERVISED ? BY_SUPERVISOR : STARTS;
}

static int start_supervised(const char *path, char *const argv[], char *const *with)
{
    void *room = exec_stack(exec_detour_size(argv, with));
    struct exec_detour d;

    if (!exec_detour(&d, path, argv, with, room))
        return hook_fail(EACCES);
    return sys.execve(d.starter, d.argv, d.environment);
}

HOOK int execve(const char *path, char *const argv[], char *const environment[])
{
    struct program p;
    const struct program *judged = exec_look(&p, path) ? &p : NULL;
    const char *library = exec_library_for(judged);
    void *room = exec_stack(exec_environment_size(environment, library));
    char *const *with = exec_environment(environment, library, room);

    switch (prepare(judged, path, with)) {
    case STARTS:
        return sys.execve(path, argv, with);
    case BY_SUPERVISOR:
        return start_supervised(path, argv, with);
    case FAILS:
        break;
    }
    return -1;
}

HOOK int execv(const char *path, char *const argv[])
{
    return execve(path, argv, environ);
}

static size_t count(char *const argv[])
{
    size_t n = 0;

    while (argv[n])
        n++;
    return n;
}

/* A text without #! */
static int start_shell(const char *path, char *const argv[], char *const *with)
{
    size_t n = count(argv);
    char **words = exec_stack((n + 2) * sizeof *words);

    words[0] = shell;
    words[1] = (char *)path;
    if (n > 0)
        memcpy(words + 2, argv + 1, n * sizeof *words); /* and the NULL */
    else
        words[2] = NULL;
    return sys.execve(shell, words, with);
}

HOOK int execvpe(const char *file, char *const argv[], char *const environment[])
{
    char path[PATH_MAX];
    struct program p;
    const char *found = exec_search(&p, file, path);
    const struct program *judged = found ? &p : NULL;
    const char *library = exec_library_for(judged);
    void *room = exec_stack(exec_environment_size(environment, library));
    char *const *with = exec_environment(environment, library, room);
    enum start start = prepare(judged, found, with);

    if (start != STARTS)
        return start == FAILS ? -1 : start_supervised(found, argv, with);
    if (!found)
        return sys.execvpe(file, argv, with);
    sys.execve(found, argv, with);
    return errno == ENOEXEC && p.by_shell ? start_shell(found, argv, with) : -1;
}

HOOK int execvp(const char *file, char *const argv[])
{
    return execvpe(file, argv, environ);
}

HOOK int fexecve(int fd, char *const argv[], char *const environment[])
{
    char path[PATH_MAX];
    struct program p;
    const struct program *judged = exec_look_at(&p, fd, "", AT_EMPTY_PATH, path) ? &p : NULL;
    const char *library = exec_library_for(judged);
    void *room = exec_stack(exec_environment_size(environment, library));
    char *const *with = exec_environment(environment, library, room);

    switch (prepare(judged, path, with)) {
    case STARTS:
        return sys.fexecve(fd, argv, with);
    case BY_SUPERVISOR:
        return start_supervised(path, argv, with);
    case FAILS:
        break;
    }
    return -1;
}

HOOK int execveat(int dir, const char *name, char *const argv[], char *const environment[],
                  int flags)
{
    char path[PATH_MAX];
    struct program p;
    const struct program *judged = exec_look_at(&p, dir, name, flags, path) ? &p : NULL;
    const char *library = exec_library_for(judged);
    void *room = exec_stack(exec_environment_size(environment, library));
    char *const *with = exec_environment(environment, library, room);

    switch (prepare(judged, path, with)) {
    case STARTS:
        return sys.execveat(dir, name, argv, with, flags);
    case BY_SUPERVISOR:
        return start_supervised(path, argv, with);
    case FAILS:
        break;
    }
    return -1;
}

/* --- arguments one by one -------------------------------------------------------------------- */

/* Arguments and the NULL that ends them. */
static size_t count_arguments(const char *first, va_list *rest)
{
    size_t n = 1;

    for (; first; first = va_arg(*rest, char *))
        n++;
    return n;
}

/* As argv, ended by NULL; *rest stands behind that. */
static void collect(char **argv, const char *first, va_list *rest)
{
    size_t n = 0;

    for (argv[n] = (char *)first; argv[n]; argv[n] = va_arg(*rest, char *))
        n++;
}

HOOK int execl(const char *path, const char *first, ...)
{
    char **argv;
    va_list rest;

    va_start(rest, first);
    argv = exec_stack(count_arguments(first, &rest) * sizeof *argv);
    va_end(rest);
    va_start(rest, first);
    collect(argv, first, &rest);
    va_end(rest);
    return execve(path, argv, environ);
}

HOOK int execlp(const char *file, const char *first, ...)
{
    char **argv;
    va_list rest;

    va_start(rest, first);
    argv = exec_stack(count_arguments(first, &rest) * sizeof *argv);
    va_end(rest);
    va_start(rest, first);
    collect(argv, first, &rest);
    va_end(rest);
    return execvpe(file, argv, environ);
}

HOOK int execle(const char *path, const char *first, ...)
{
    char **argv, **environment;
    va_list rest;

    va_start(rest, first);
    argv = exec_stack(count_arguments(first, &rest) * sizeof *argv);
    va_end(rest);
    va_start(rest, first);
    collect(argv, first, &rest);
    environment = va_arg(rest, char **);
    va_end(rest);
    return execve(path, argv, environment);
}
