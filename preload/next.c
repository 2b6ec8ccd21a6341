/*
 * The next definitions behind our hooks. Each pointer begins as a resolver that looks its function
 * up, stores it and calls it; threads that meet there store the same value.
 */
#include <dlfcn.h>
#include <stdlib.h>

#include "client/sys.h"

static void *resolve(const char *name)
{
    void *next = dlsym(RTLD_NEXT, name);

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
