/*
 * say: what the launcher itself has to tell, one line each, "viaduct: ...".
 */
#ifndef VIADUCT_LAUNCHER_SAY_H
#define VIADUCT_LAUNCHER_SAY_H

#include <stdbool.h>

#include "client/plan.h"

/* viaduct's own exit statuses, as those of env(1) and timeout(1). */
enum { EXIT_OWN = 125, EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };

/* How much is told, and where: the standard error, or an open log file. Errors that end the
 * launcher always go to the standard error too. */
void say_setup(enum plan_verbosity verbosity, int log_fd, bool json);

/* Where lines go to, and whether they are JSON. */
int say_fd(void);
bool say_is_json(void);

#define SAY_FORMAT(n) __attribute__((format(printf, n, (n) + 1)))
void say_die(int status, const char *format, ...) SAY_FORMAT(2) __attribute__((noreturn));
void say_warning(const char *format, ...) SAY_FORMAT(1); /* unless quiet */
void say_note(const char *format, ...) SAY_FORMAT(1);    /* with -v */

#endif
