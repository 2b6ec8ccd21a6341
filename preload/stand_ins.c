/* glibc has all that there are hooks for; where musl does not, preload/musl/stand_ins.c. */
#include <stddef.h>

#include "preload/loader.h"

void *loader_stand_in(const char *name)
{
    (void)name;
    return NULL;
}
