/*
 * dlopen() without RTLD_DEEPBIND: a plugin bound deep would call libc past every hook.
 *
 * The loader finds out by its return address which object asks, and searches along that object's
 * RUNPATH: so these hooks must end in a jump, which the optimizer makes of a call in tail position.
 */
#include <dlfcn.h>

#include "preload/hook.h"

#ifdef __clang__
#define JUMPS
#define JUMP __attribute__((musttail)) return
#else
#define JUMPS __attribute__((optimize("O2")))
#define JUMP return
#endif

HOOK JUMPS void *dlopen(const char *path, int mode)
{
    JUMP sys.dlopen(path, mode & ~RTLD_DEEPBIND);
}

HOOK JUMPS void *dlmopen(Lmid_t space, const char *path, int mode)
{
    JUMP sys.dlmopen(space, path, mode & ~RTLD_DEEPBIND);
}
