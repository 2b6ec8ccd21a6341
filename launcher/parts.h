/*
 * parts: where the files lie that belong to viaduct.
 */
#ifndef VIADUCT_LAUNCHER_PARTS_H
#define VIADUCT_LAUNCHER_PARTS_H

#include <limits.h>
#include <stdbool.h>

/* The preloaded library, for this word size or for the other one; the programs that ask the
 * system's resolver and start a supervisor, and the whole launcher, for one that hands over to it
 * (launcher/quick.c): beside this program in the tree where it was built, or where they were
 * installed. They end the program with status 125 if the file is nowhere. */
void parts_library(char path[PATH_MAX], bool twin);
void parts_resolver(char path[PATH_MAX]);
void parts_supervisor(char path[PATH_MAX]);
/* The program that puts TLS on a connection. */
void parts_tls(char path[PATH_MAX]);
void parts_whole(char path[PATH_MAX]);

/* Whether that file is this launcher, by whichever of its programs. */
bool parts_is_launcher(const char *path);
/* viaductd, likewise; false: it is nowhere. */
bool parts_daemon(char path[PATH_MAX]);

#endif
