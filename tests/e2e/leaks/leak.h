/*
 * leak: rows of calls that would send something to a target, one by one, each to a target of its
 * own.
 */
#ifndef LEAK_H
#define LEAK_H

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Of libc's symbols. */
#ifdef __i386__
#define FIRST_VERSION "GLIBC_2.0"
#else
#define FIRST_VERSION "GLIBC_2.2.5"
#endif

/* What a row is played with; bits of `with`. */
enum {
    TCP = 1,
    UDP = 2,
    STREAMS = TCP,
    NAME = 4,    /* the target is given by a name that is looked up first */
    ADDRESS = 8, /* by an address */
    V4 = 16,
    V6 = 32,
    SILENT = 64, /* nothing can be seen of it here without viaduct either */
    ANYHOW = NAME | ADDRESS | V4 | V6
};

struct to {
    unsigned index; /* of this row among all that are played */
    int family, type;
    const char *name;
    struct sockaddr_storage addr;
    socklen_t len;
};

struct row {
    const char *calls; /* the symbols of libc that it is about; a remark in brackets */
    void (*play)(const struct to *t);
    unsigned with;
};

extern const struct row socket_rows[], name_rows[], program_rows[]; /* end with calls NULL */
extern const struct row narrow_rows[];                              /* of 32-bit programs */

static inline const struct sockaddr *at(const struct to *t)
{
    return (const struct sockaddr *)&t->addr;
}

static inline int make(const struct to *t)
{
    return socket(t->family, t->type, 0);
}

static inline int connected(const struct to *t)
{
    int fd = make(t);

    if (connect(fd, at(t), t->len) < 0)
        exit(1);
    return fd;
}

/* A call that no header declares, or not by this name. */
void *symbol(const char *name);

#endif
