/*
 * parts: where the files lie that belong to viaduct.
 */
#ifndef VIADUCT_LAUNCHER_PARTS_H
#define VIADUCT_LAUNCHER_PARTS_H

#include <limits.h>

/* The preloaded library, and the program that asks the system's resolver: beside this program in
 * the tree where it was built, or where they were installed. They end the program with status 125
 * if the file is nowhere. */
void parts_library(char path[PATH_MAX]);
void parts_resolver(char path[PATH_MAX]);

#endif
