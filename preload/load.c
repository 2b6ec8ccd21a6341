/*
 * dlopen() without RTLD_DEEPBIND: a plugin bound deep would call libc past every hook. A new link
 * namespace is refused: it gets a libc of its own, before which nothing is preloaded. dlsym() by a
 * handle of libc, or of whatever needs it, would find libc's own functions: it gives the hooks.
 *
 * The loader finds out by its return address which object asks, and searches along that object's
 * RUNPATH, or behind it (RTLD_NEXT): so these hooks must end in a jump, whatever the optimizer is
 * told to do, and the resolver behind sys.dlopen must have been there before.
 */
#include <dlfcn.h>

#include "client/say.h"
#include "preload/hook.h"
#include "preload/loader.h"

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

/* A sanitizer, which only a test links these hooks with, asks dlsym() for what lies behind it
 * before anything is set up. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

HOOK JUMPS void *dlsym(void *handle, const char *name)
{
    const struct loader *real = loader();

    /* In the program's own order the hooks come first. */
    if (handle != RTLD_DEFAULT && handle != RTLD_NEXT)
        return loader_hook_of(real->dlsym(handle, name), name);
    JUMP real->dlsym(handle, name);
}

HOOK JUMPS void *dlvsym(void *handle, const char *name, const char *version)
{
    const struct loader *real = loader();

    /* No hook has a version, so the program's own order would pass them by, too. */
    if (handle != RTLD_NEXT)
        return loader_hook_of(real->dlvsym(handle, name, version), name);
    JUMP real->dlvsym(handle, name, version);
}

#endif
