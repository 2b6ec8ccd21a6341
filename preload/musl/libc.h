/*
 * What the library's source takes from glibc and musl does not have, or declares in another way.
 * Included in front of every file when the library is built for programs that are linked with musl;
 * what such a program cannot call is a type here and no more.
 */
#ifndef VD_PRELOAD_MUSL_LIBC_H
#define VD_PRELOAD_MUSL_LIBC_H

/* Other integers in the prototypes. */
#define ioctl    declared_ioctl
#define recvmmsg declared_recvmmsg
#define sendmmsg declared_sendmmsg
#include <sys/ioctl.h>
#include <sys/socket.h>
#undef ioctl
#undef recvmmsg
#undef sendmmsg

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <netdb.h>
#include <resolv.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

int ioctl(int fd, unsigned long request, ...);
int recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags,
             struct timespec *timeout);
int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags);

/* Functions of their own, no macros. */
#undef fcntl64
#undef sendfile64
int fcntl64(int fd, int command, ...);
ssize_t sendfile64(int to, int from, off_t *offset, size_t len);

/* Hooked all the same, for the calls by number. */
int close_range(unsigned int first, unsigned int last, int flags);
int execveat(int dir, const char *path, char *const argv[], char *const environment[], int flags);

/* The loader's list of objects. */
extern struct r_debug *_dl_debug_addr;
#define _r_debug (*_dl_debug_addr)
extern const ElfW(Dyn) _DYNAMIC[] __attribute__((visibility("hidden")));

typedef long Lmid_t;
struct gaicb;
#define LM_ID_BASE     0
#define RTLD_DEEPBIND  0
#define NETDB_INTERNAL (-1)
#define NETDB_SUCCESS  0
#define AI_IDN         0
#define AI_CANONIDN    0

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
enum { SO_SNDTIMEO_OLD = SO_SNDTIMEO, SO_RCVTIMEO_OLD = SO_RCVTIMEO };

/* As free of locks as glibc's. */
#define strerrordesc_np strerror

#define __GLIBC_PREREQ(major, minor) 0
#define __TIMESIZE                   64 /* on 32-bit machines, too */

#endif
