/*
 * program: whether the preloaded library can carry the connections of a program file.
 *
 * Reads the file with bounds and judges it as the kernel and the loader will; nothing is allocated
 * and nothing is kept, so that a hook may ask between vfork() and exec.
 */
#ifndef VD_CLIENT_PROGRAM_H
#define VD_CLIENT_PROGRAM_H

#include <stdbool.h>

#include "proto/bytes.h"

enum program_fault {
    PROGRAM_FINE,
    PROGRAM_MISSING,       /* it, its interpreter or its loader cannot be read */
    PROGRAM_OTHER_RIGHTS,  /* setuid or setgid, seen from the current user */
    PROGRAM_CAPABILITIES,  /* file capabilities that the current user would gain */
    PROGRAM_STATIC,        /* loads no library */
    PROGRAM_OTHER_CLASS,   /* 32 instead of 64 bits, or the other way round; see is_twin */
    PROGRAM_OTHER_MACHINE, /* of another processor */
    PROGRAM_OTHER_LIBC,    /* its loader is not this libc's */
    PROGRAM_GO,            /* makes system calls past libc */
    PROGRAM_MALFORMED,     /* its ELF headers make no sense */
    PROGRAM_NO_SCRIPT,     /* neither a program nor a text */
    PROGRAM_NO_INTERPRETER /* its #! line names none that could run it */
};

enum { PROGRAM_PATH_MAX = 4096, PROGRAM_LOADER_MAX = 256 };

struct program {
    enum program_fault fault;
    bool by_shell; /* a text without #!: execvp() hands it to the shell */
    bool is_twin; /* PROGRAM_OTHER_CLASS: the library of that word size can carry it, where it is */
    int number;   /* PROGRAM_MISSING: errno */
    unsigned bits, machine;      /* of the file */
    char path[PROGRAM_PATH_MAX]; /* what really runs: a script's interpreter, or the file itself */
    char loader[PROGRAM_LOADER_MAX]; /* PT_INTERP */
};

/* Judges the file at `path`, following #! lines. A program of the other word size is none that can
 * be carried, unless who asks has a library for it. */
enum program_fault program_judge(struct program *p, const char *path);

/* Whether what keeps the library out of a program does not keep a supervisor from it
 * (launcher/supervise.h). */
bool program_needs_supervisor(enum program_fault fault);

/* The reason and the way out in words: "is statically linked: it loads no library ..." */
void program_explain(struct vd_out *out, const struct program *p);

#endif
