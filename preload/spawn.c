/*
 * posix_spawn() and libc's own users of it: system(), popen(), wordexp().
 *
 * A child may change its directory before it looks for the file. Then the file is judged as seen
 * from there (preload/spawn_directory.c). What cannot be followed is refused.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wordexp.h>

#include "client/pending.h"
#include "client/say.h"
#include "preload/exec.h"
#include "preload/hook.h"
#include "preload/spawn_directory.h"

/* --- posix_spawn ----------------------------------------------------------------------------- */

struct spawn {
    pid_t *pid;
    const char *path;
    const posix_spawn_file_actions_t *actions;
    const posix_spawnattr_t *attributes;
    char *const *argv, *const *environment;
    __typeof__(posix_spawn) *real;
    char *const *with; /* the environment with what belongs there */
    bool judged;       /* the program was, and can be read */
    struct program program;
};

static int judge_elsewhere(struct spawn *s, int dir)
{
    char shown[PATH_MAX];

    s->judged = exec_look_at(&s->program, dir, s->path, 0, shown);
    sys.close(dir);
    return s->judged ? exec_verdict(&s->program, shown) : 0;
}

static int spawn_supervised(const struct spawn *s)
{
    void *room = exec_stack(exec_detour_size(s->argv, s->with));
    struct exec_detour d;

    if (!exec_detour(&d, s->path, s->argv, s->with, room))
        return EACCES;
    return s->real(s->pid, d.starter, s->actions, s->attributes, d.argv, d.environment);
}

static int judge(struct spawn *s)
{
    int dir = s->path && *s->path != '/' ? spawn_directory(s->actions) : AT_FDCWD;

    if (dir >= 0)
        return judge_elsewhere(s, dir);
    if (dir != AT_FDCWD)
        return errno;
    s->judged = exec_look(&s->program, s->path);
    return s->judged ? exec_verdict(&s->program, s->path) : 0;
}

static int start(struct spawn *s)
{
    int saved = errno, r = judge(s);
    const char *library = exec_library_for(s->judged ? &s->program : NULL);
    void *room = exec_stack(exec_environment_size(s->environment, library));

    s->with = exec_environment(s->environment, library, room);
    if (r <= 0 && !s->with)
        r = E2BIG;
    if (r <= 0)
        pending_before_exec();
    if (r == 0)
        r = s->real(s->pid, s->path, s->actions, s->attributes, s->argv, s->with);
    else if (r == EXEC_SUPERVISED)
        r = spawn_supervised(s);
    errno = saved;
    return r;
}

HOOK int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                     const posix_spawnattr_t *attributes, char *const argv[],
                     char *const environment[])
{
    struct spawn s = {.pid = pid,
                      .path = path,
                      .actions = actions,
                      .attributes = attributes,
                      .argv = argv,
                      .environment = environment,
                      .real = sys.posix_spawn};

    return start(&s);
}

static bool changes_directory(const posix_spawn_file_actions_t *actions)
{
    int dir = spawn_directory(actions);

    if (dir >= 0)
        sys.close(dir);
    return dir != AT_FDCWD;
}

/* A name is looked up here, so that what is started is what was judged; a relative part of PATH
 * means the parent's directory. libc finds the errno for a name that nobody has. */
HOOK int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                      const posix_spawnattr_t *attributes, char *const argv[],
                      char *const environment[])
{
    const char *library = exec_library_for(NULL);
    void *room = exec_stack(exec_environment_size(environment, library));
    struct spawn s = {.pid = pid,
                      .path = file,
                      .actions = actions,
                      .attributes = attributes,
                      .argv = argv,
                      .environment = environment,
                      .real = sys.posix_spawn};
    char path[PATH_MAX];
    struct program p;

    if (!strchr(file, '/'))
        s.path = exec_search(&p, file, path);
    if (s.path)
        return start(&s);
    if (exec_library() && changes_directory(actions))
        return ENOENT;
    return sys.posix_spawnp(pid, file, actions, attributes, argv,
                            exec_environment(environment, library, room));
}

/* --- the shell, started by libc itself with the environment as it stands --------------------- */

/* false: it may not be started, and a line was said. */
static bool prepare_shell(void)
{
    int saved = errno;
    struct program p;
    bool judged = exec_look(&p, "/bin/sh");
    int verdict = judged ? exec_verdict(&p, "/bin/sh") : 0;

    exec_restore_environment(exec_library_for(judged ? &p : NULL));
    if (verdict == EXEC_SUPERVISED)
        say_always("/bin/sh is not started: the C library starts it itself, and it would need a "
                   "supervisor");
    errno = saved;
    return verdict == 0;
}

HOOK int system(const char *command)
{
    if (command && !prepare_shell())
        return hook_fail(EACCES);
    return sys.system(command);
}

static FILE *start_piped(const char *command, const char *mode)
{
    if (prepare_shell())
        return sys.popen(command, mode);
    errno = EACCES;
    return NULL;
}

HOOK FILE *popen(const char *command, const char *mode)
{
    return start_piped(command, mode);
}

FILE *_IO_popen(const char *command, const char *mode);
FILE *_IO_proc_open(FILE *file, const char *command, const char *mode);

HOOK FILE *_IO_popen(const char *command, const char *mode)
{
    return start_piped(command, mode);
}

/* A part of popen() that is left for programs of the last century. */
HOOK FILE *_IO_proc_open(FILE *file, const char *command, const char *mode)
{
    (void)file, (void)command, (void)mode;
    say_always("_IO_proc_open() is refused: it goes around what popen() sees to");
    errno = EACCES;
    return NULL;
}

HOOK int wordexp(const char *words, wordexp_t *result, int flags)
{
    return sys.wordexp(words, result, prepare_shell() ? flags : flags | WRDE_NOCMD);
}
