/* A function of libc by which its object is known (preload/loader.c). */
#ifndef VD_PRELOAD_MUSL_LIBC_VERSION_H
#define VD_PRELOAD_MUSL_LIBC_VERSION_H

#include <unistd.h>

#define gnu_get_libc_version getppid

#endif
