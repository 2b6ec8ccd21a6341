/*
 * build: from the effective configuration to the plan of a session.
 */
#ifndef VIADUCT_LAUNCHER_BUILD_H
#define VIADUCT_LAUNCHER_BUILD_H

#include "client/plan.h"
#include "launcher/effective.h"
#include "launcher/options.h"

/* The plan, the caller's to free. Only chains that something uses are in it; names of hops that
 * this machine has to resolve are resolved. Ends the program with status 125 where that cannot be
 * done. */
struct plan *build_plan(const struct effective *e, const struct options *o);

#endif
