/*
 * paper: an input as a file, for what reads files by their names. It lies in memory.
 */
#ifndef TESTS_FUZZ_PAPER_H
#define TESTS_FUZZ_PAPER_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int paper_fd = -1;

/* Good until the end; always the same file. */
static inline const char *paper_path(void)
{
    static char path[32];

    snprintf(path, sizeof path, "/proc/self/fd/%d", paper_fd);
    return path;
}

static inline void paper_write(const void *data, size_t size)
{
    if (paper_fd < 0)
        paper_fd = memfd_create("paper", MFD_CLOEXEC);
    if (paper_fd < 0 || ftruncate(paper_fd, 0) < 0 ||
        pwrite(paper_fd, data, size, 0) != (ssize_t)size)
        abort();
    fchmod(paper_fd, 0600);
}

#endif
