/*
 * run: the command's environment, and the exec that ends the launcher.
 */
#ifndef VIADUCT_LAUNCHER_RUN_H
#define VIADUCT_LAUNCHER_RUN_H

#include "launcher/find.h"

/* Takes the variables away by which programs find a proxy of their own. */
void run_scrub_environment(void);

/* Becomes the command, with the session, and the library if it is not NULL, in its environment, and
 * with a supervisor if it needs one. Ends the program with
 * status 126, and removes the session, where that fails. */
void run_command(const struct found *found, char **argv, const char *library, const char *session)
    __attribute__((noreturn));

#endif
