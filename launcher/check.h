/*
 * check: --check, the chain tried hop by hop.
 *
 * One connection goes the whole way, message by message: its times are the waterfall. Once it
 * stands, what each hop can do is found out by asking it, on connections of their own, all at once.
 * Nothing is asked for that would have an effect: a command that no server knows, a name that
 * cannot exist (RFC 6761 section 6.4), an association or a listener that is let go of at once.
 * Everything is over when the time limit is.
 */
#ifndef LAUNCHER_CHECK_H
#define LAUNCHER_CHECK_H

#include "launcher/effective.h"
#include "launcher/options.h"

/* Checks the chain of the configuration, prints, and gives the exit status: 0, or 1 if a hop or the
 * target fails. */
int check_chain(const struct effective *e, const struct options *o);

#endif
