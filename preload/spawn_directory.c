/*
 * The list of actions is read as glibc lays it out, which has not changed since it got the actions
 * that change the directory (2.29).
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "client/say.h"
#include "preload/exec.h"
#include "preload/hook.h"
#include "preload/spawn_directory.h"

enum action_kind { ACT_CLOSE, ACT_DUP2, ACT_OPEN, ACT_CHDIR, ACT_FCHDIR, ACT_CLOSEFROM, ACT_TTY };

/* glibc's struct __spawn_action. */
struct action {
    int kind;
    union {
        int fd; /* CLOSE, FCHDIR, CLOSEFROM, TTY */
        struct {
            int from, to;
        } dup2;
        struct {
            int fd;
            char *path;
            int flags;
            mode_t mode;
        } open;
        char *chdir;
    };
};

/* Whether a descriptor of the child is another one than the parent's of that number. */
static bool is_replaced(const struct action *a, size_t count, int fd)
{
    for (size_t i = 0; i < count; i++)
        if ((a[i].kind == ACT_OPEN && a[i].open.fd == fd) ||
            (a[i].kind == ACT_DUP2 && a[i].dup2.to == fd))
            return true;
    return false;
}

static int not_told(void)
{
    if (exec_library())
        say_always("a program is not started: nothing tells in which directory it lies");
    return hook_fail(EACCES);
}

static int follow(int dir, const struct action *a, size_t at)
{
    int next;

    if (a[at].kind == ACT_CHDIR)
        next = openat(dir, a[at].chdir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    else if (is_replaced(a, at, a[at].fd))
        next = not_told();
    else
        next = openat(a[at].fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0)
        sys.close(dir);
    return next;
}

int spawn_directory(const posix_spawn_file_actions_t *actions)
{
    const struct action *a = actions ? (const struct action *)(void *)actions->__actions : NULL;
    size_t count = actions ? (size_t)actions->__used : 0;
    int dir = AT_FDCWD;

    for (size_t i = 0; i < count && dir != -1; i++)
        if (a[i].kind == ACT_CHDIR || a[i].kind == ACT_FCHDIR)
            dir = follow(dir, a, i);
        else if (a[i].kind < ACT_CLOSE || a[i].kind > ACT_TTY)
            dir = not_told();
    return dir;
}
