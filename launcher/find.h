/*
 * find: which file a command's name means, and which program runs that file.
 */
#ifndef VIADUCT_LAUNCHER_FIND_H
#define VIADUCT_LAUNCHER_FIND_H

#include <limits.h>
#include <stdbool.h>

struct found {
    char path[PATH_MAX];    /* the file to execute */
    char program[PATH_MAX]; /* the program that then runs: path itself, or a script's interpreter */
    bool by_shell;          /* a text without #!: the shell runs it, as execvp(3) does */
    int fd;                 /* of program, for reading; close-on-exec */
};

/* Looks `command` up as execvp(3) does, and follows #! lines. Ends the program with status 127 if
 * there is none, and 126 if it cannot be run. */
void find_command(struct found *f, const char *command);

#endif
