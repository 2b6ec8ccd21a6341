/*
 * loader: dlsym() and dlvsym() themselves.
 *
 * Both are hooks, and whoever asks for them by name finds the hooks; so the next definitions are
 * looked up in the symbol tables of the objects behind this library.
 */
#ifndef VD_PRELOAD_LOADER_H
#define VD_PRELOAD_LOADER_H

#include <stdbool.h>

struct loader {
    void *(*dlsym)(void *handle, const char *name);
    void *(*dlvsym)(void *handle, const char *name, const char *version);
};

/* Never fails: a process without them is ended. */
const struct loader *loader(void);

/* What stands in for a definition that this libc does not have; NULL: nothing does. */
void *loader_stand_in(const char *name);

/* What to give for a symbol that was found by a handle: the hook of that name, if it is libc's
 * function; else the symbol itself. NULL stays NULL. */
void *loader_hook_of(void *symbol, const char *name);

#endif
