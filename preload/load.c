/*
 * dlopen() without RTLD_DEEPBIND: a plugin bound deep would call libc past every hook. A new link
 * namespace is refused: it gets a libc of its own, before which nothing is preloaded.
 *
 * The loader finds out by its return address which object asks, and searches along that object's
 * RUNPATH: so these hooks must end in a jump, whatever the optimizer is told to do, and the
 * resolver behind sys.dlopen must have been there before.
 */
#include <dlfcn.h>

#include "client/say.h"
#include "preload/hook.h"

#ifdef __clang__
#define JUMPS
#define JUMP __attribute__((musttail)) return
#else
#define JUMPS __attribute__((optimize("O2")))
#define JUMP  return
#endif

static bool is_resolved;

static void resolve(void)
{
    sys.dlopen(NULL, RTLD_LAZY);
    sys.dlmopen(LM_ID_BASE, NULL, RTLD_LAZY);
    is_resolved = true;
}

HOOK JUMPS void *dlopen(const char *path, int mode)
{
    if (!is_resolved)
        resolve();
    JUMP sys.dlopen(path, mode & ~RTLD_DEEPBIND);
}

/* A file that cannot be, so that dlerror() has something to tell. */
static const char *refuse_namespace(void)
{
    if (hook_ready())
        say(PLAN_FAILURES, NULL,
            "dlmopen() is refused: a new link namespace would go around the chain");
    return "/viaduct refuses new link namespaces/";
}

HOOK JUMPS void *dlmopen(Lmid_t space, const char *path, int mode)
{
    if (!is_resolved)
        resolve();
    if (space != LM_ID_BASE)
        path = refuse_namespace();
    JUMP sys.dlmopen(LM_ID_BASE, path, mode & ~RTLD_DEEPBIND);
}
