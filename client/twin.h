/*
 * twin: the library for programs of the other word size.
 *
 * Both are installed side by side, each where its own loader has its libraries, and are made of the
 * same source; the session's file has one layout for both (client/session_layout.h). LD_PRELOAD
 * names the one that the program can load, by its whole path: whoever starts a program chooses.
 * ($LIB there means other folders to other builds of the same loader, and what is not there is left
 * out.)
 */
#ifndef VD_CLIENT_TWIN_H
#define VD_CLIENT_TWIN_H

#include <limits.h>
#include <stdbool.h>

/* Where the twin of the library at `library` lies, if it is there: as installed, or as built.
 * false: it is not there, not to be read, or no library for the twin's loader; errno says which.
 * Nothing is allocated. */
bool twin_library(char path[PATH_MAX], const char *library);

/* Its place, whether something is there or not. false: the machine has no twin, or `library` does
 * not lie where it belongs. */
bool twin_place(char path[PATH_MAX], const char *library);

#endif
