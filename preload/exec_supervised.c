/*
 * Programs that the library cannot reach are put into the care of a supervisor
 * (launcher/supervise.h): instead of them viaduct-supervise is started, which becomes them.
 */
#undef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64 /* large inodes, where libc tells them apart */

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/say.h"
#include "client/supervised.h"
#include "preload/exec.h"
#include "preload/hook.h"

#define BY_DESCRIPTOR "/proc/self/fd/"
#define PRELOAD       "LD_PRELOAD="

int exec_find_supervisor(const struct program *p)
{
    char starter[PATH_MAX];

    if (!program_needs_supervisor(p->fault) || !session_path()[0])
        return EACCES;
    if (supervised_is())
        return 0;
    if (session_plan()->engine == PLAN_ENGINE_PRELOAD ||
        !supervised_starter(exec_library(), starter))
        return EACCES;
    return EXEC_SUPERVISED;
}

/* --- the path -------------------------------------------------------------------------------- */

static bool is_same_file(const char *a, const char *b)
{
    struct stat sa, sb;

    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
           sa.st_ino == sb.st_ino;
}

/* What stands behind the descriptor of /proc/self/fd/N/REST, and the rest. */
static bool look_up(char to[PATH_MAX], const char *path)
{
    char link[sizeof BY_DESCRIPTOR + 16];
    size_t len = sizeof BY_DESCRIPTOR - 1;
    const char *rest;
    ssize_t n;

    len += strspn(path + len, "0123456789");
    rest = path + len;
    if (len >= sizeof link)
        return false;
    memcpy(link, path, len);
    link[len] = 0;
    n = readlink(link, to, PATH_MAX - 1);
    if (n <= 0 || (size_t)n + strlen(rest) >= PATH_MAX)
        return false;
    strcpy(to + n, rest);
    return is_same_file(to, path);
}

static bool find_target(char to[PATH_MAX], const char *path)
{
    if (strlen(path) >= PATH_MAX)
        return false;
    if (strncmp(path, BY_DESCRIPTOR, sizeof BY_DESCRIPTOR - 1) != 0) {
        strcpy(to, path);
        return true;
    }
    return look_up(to, path);
}

/* --- the words ------------------------------------------------------------------------------- */

static size_t count(char *const argv[])
{
    size_t n = 0;

    while (argv && argv[n])
        n++;
    return n;
}

size_t exec_detour_size(char *const *argv, char *const *environment)
{
    return (count(argv) + 5 + count(environment) + 1) * sizeof *argv;
}

/* The environment without LD_PRELOAD, of which the last one counts. */
static void take_libraries(char **to, char *const *from, char **libraries)
{
    for (; *from; from++)
        if (strncmp(*from, PRELOAD, sizeof PRELOAD - 1) != 0)
            *to++ = *from;
        else
            *libraries = *from + sizeof PRELOAD - 1;
    *to = NULL;
}

/* viaduct-supervise LIBRARIES PATH ARGV0 [ARG...] */
bool exec_detour(struct exec_detour *d, const char *path, char *const *argv,
                 char *const *environment, void *room)
{
    static char none[1];
    size_t n = count(argv), last = 3 + (n > 0 ? n : 1);
    char **words = room, **variables = words + last + 1;

    if (!supervised_starter(exec_library(), d->starter) || !find_target(d->target, path)) {
        say_always("a program is not started: it has no path by which a supervisor could start it");
        return false;
    }
    words[0] = d->starter;
    words[1] = none;
    words[2] = d->target;
    words[3] = d->target; /* for a program that is given no name */
    if (n > 0)
        memcpy(words + 3, argv, n * sizeof *words);
    words[last] = NULL;
    take_libraries(variables, environment, &words[1]);
    d->argv = words;
    d->environment = variables;
    return true;
}
