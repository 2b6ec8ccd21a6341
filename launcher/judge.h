/*
 * judge: whether the command may start.
 */
#ifndef VIADUCT_LAUNCHER_JUDGE_H
#define VIADUCT_LAUNCHER_JUDGE_H

#include "launcher/find.h"

/* Ends the launcher, with the reason and the way out, if the command would run without the library
 * or past it (status 125), or cannot run at all (126). Tells whether the shell runs it. */
void judge_command(struct found *f);

#endif
