/*
 * The next definitions of hooks where musl has none, so that there is no next one to be found: the
 * system calls, which come here by their number; and what is asked for by name only.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "client/sys.h"
#include "preload/loader.h"

void __chk_fail(void) __attribute__((noreturn));

/* The fortified twins are hooks that no program of musl's calls. */
void __chk_fail(void)
{
    abort();
}

static int next_close_range(unsigned int first, unsigned int last, int flags)
{
    return (int)sys.syscall(SYS_close_range, first, last, flags, 0, 0, 0);
}

static int next_execveat(int dir, const char *path, char *const argv[], char *const environment[],
                         int flags)
{
    return (int)sys.syscall(SYS_execveat, dir, (long)path, (long)argv, (long)environment, flags, 0);
}

static int next_fcntl64(int fd, int command, void *argument)
{
    return sys.fcntl(fd, command, argument);
}

static void *next_dlmopen(Lmid_t space, const char *path, int mode)
{
    (void)space;
    return sys.dlopen(path, mode);
}

static void *next_dlvsym(void *handle, const char *name, const char *version)
{
    (void)version; /* musl's symbols have none */
    return loader()->dlsym(handle, name);
}

void *loader_stand_in(const char *name)
{
    static const struct {
        const char *name;
        void *function;
    } all[] = {
        {"close_range", (void *)next_close_range}, {"execveat", (void *)next_execveat},
        {"fcntl64", (void *)next_fcntl64},         {"dlmopen", (void *)next_dlmopen},
        {"dlvsym", (void *)next_dlvsym},
    };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(all[i].name, name))
            return all[i].function;
    return NULL;
}
