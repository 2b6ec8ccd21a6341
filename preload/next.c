/*
 * The next definitions behind our hooks. Each pointer begins as a resolver that looks its function
 * up, stores it and calls it; threads that meet there store the same value.
 */
#include <dlfcn.h>
#include <stdlib.h>

#include "client/sys.h"
#include "preload/loader.h"

static void *resolve(const char *name)
{
    void *next = loader()->dlsym(RTLD_NEXT, name);

    if (!next)
        next = loader_stand_in(name);
    if (!next)
        abort(); /* a libc without it: going on would mean to guess */
    return next;
}

#define SYS_RESOLVER(type, name, parameters, arguments)                                            \
    static type first_##name parameters                                                            \
    {                                                                                              \
        __atomic_store_n((void **)&sys.name, resolve(#name), __ATOMIC_RELAXED);                    \
        return sys.name arguments;                                                                 \
    }
SYS_LIST(SYS_RESOLVER)

#define SYS_INITIAL(type, name, parameters, arguments) .name = first_##name,
struct sys sys = {SYS_LIST(SYS_INITIAL)};

#ifdef __SANITIZE_THREAD__
/* The pointers are loaded plainly, without cost, while another thread may store what it has looked
 * up: the same value. A detector of races cannot know that this is harmless, so it finds them
 * stored already. */
__attribute__((constructor(101))) static void resolve_all(void)
{
#define SYS_RESOLVE(type, name, parameters, arguments) sys.name = resolve(#name);
    SYS_LIST(SYS_RESOLVE)
}
#endif
