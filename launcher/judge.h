/*
 * judge: whether the command may start.
 */
#ifndef VIADUCT_LAUNCHER_JUDGE_H
#define VIADUCT_LAUNCHER_JUDGE_H

#include "client/plan.h"
#include "launcher/find.h"

/* Ends the launcher, with the reason and the way out, if the command could not be carried in that
 * way (status 125), or cannot run at all (126). Tells whether the shell runs it, and whether it
 * needs a supervisor, or the library of the other word size. `observed`: it will be looked at by a
 * supervisor, whatever it needs. */
void judge_command(struct found *f, enum plan_engine engine, bool observed);

#endif
