/*
 * lines: a text file line by line, without memory of its own, for calls that may come in a signal
 * handler.
 */
#ifndef VD_CLIENT_LINES_H
#define VD_CLIENT_LINES_H

#include <stdbool.h>
#include <stddef.h>

enum { LINES_MAX = 4096 }; /* bytes of a line; what is beyond is left out */

struct lines {
    int fd;
    bool skips;     /* the rest of a line that was too long */
    size_t at, end; /* what was read and not given out yet */
    char buf[LINES_MAX + 1];
};

/* false: there is no such file, or it cannot be read; errno says why. */
bool lines_open(struct lines *l, const char *path);
/* The next line, without its end and without a comment behind `#`; the caller may change it until
 * the next call. NULL behind the last one. */
char *lines_next(struct lines *l);
void lines_close(struct lines *l);

#endif
