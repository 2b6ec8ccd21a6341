/*
 * trace: where the trace of the handshakes goes (client/trace.h).
 */
#ifndef VIADUCT_LAUNCHER_TRACE_H
#define VIADUCT_LAUNCHER_TRACE_H

#include "client/plan.h"
#include "launcher/options.h"

/* Fills in what the plan says of it, and begins the file, which is written anew and for this user
 * only. Ends the program with status 125 where that cannot be. */
void trace_setup(struct plan *plan, const struct options *o);

#endif
