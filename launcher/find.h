/*
 * find: which file a command's name means.
 */
#ifndef VIADUCT_LAUNCHER_FIND_H
#define VIADUCT_LAUNCHER_FIND_H

#include <limits.h>
#include <stdbool.h>

struct found {
    char path[PATH_MAX]; /* the file to execute */
    bool by_shell;   /* a text without #!: the shell runs it, as execvp(3) does (judge_command) */
    bool twin;       /* it is of the other word size: the twin's library carries it */
    bool supervised; /* it needs a supervisor (judge_command) */
};

/* Looks `command` up as execvp(3) does. Ends the program with status 127 if
 * there is none, and 126 if it cannot be run. */
void find_command(struct found *f, const char *command);

#endif
