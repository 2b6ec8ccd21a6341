/*
 * judge: whether the library can carry the connections of a program.
 */
#ifndef VIADUCT_LAUNCHER_JUDGE_H
#define VIADUCT_LAUNCHER_JUDGE_H

/* Ends the launcher, with status 125, the reason and the way out, if `program` (no script; `fd` is
 * open for reading it) would run without the library or past it: started with other rights,
 * statically linked, built for another machine or another libc, or by Go. */
void judge_program(int fd, const char *program);

#endif
