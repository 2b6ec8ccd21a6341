/*
 * The actions stand in a list, the last one first, in records that have not changed since there are
 * actions that change the directory (1.1.24). With one of those nothing is followed: refused.
 */
#include <errno.h>
#include <fcntl.h>

#include "client/say.h"
#include "preload/exec.h"
#include "preload/hook.h"
#include "preload/spawn_directory.h"

enum action_kind { ACT_CLOSE = 1, ACT_DUP2, ACT_OPEN, ACT_CHDIR, ACT_FCHDIR };

/* The beginning of musl's struct fdop. */
struct action {
    const struct action *next, *previous;
    int kind;
};

int spawn_directory(const posix_spawn_file_actions_t *actions)
{
    const struct action *a = actions ? actions->__actions : NULL;

    for (; a; a = a->next)
        if (a->kind < ACT_CLOSE || a->kind > ACT_OPEN) {
            if (exec_library())
                say_always("a program is not started: nothing tells in which directory it lies");
            return hook_fail(EACCES);
        }
    return AT_FDCWD;
}
