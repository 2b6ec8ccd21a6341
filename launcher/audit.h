/*
 * audit: --audit, where the launcher stays behind as the command's parent.
 */
#ifndef VIADUCT_LAUNCHER_AUDIT_H
#define VIADUCT_LAUNCHER_AUDIT_H

#include "client/audit.h"

/* Forks. Returns in the child, which is to become the command. The parent blanks its argv, behaves
 * as the command would towards its own parent and its terminal, and when the command has ended
 * prints the audit of the session (at this path, with this plan) and ends as the command did, or
 * with status 125 if a DNS query went past the chain. */
void audit_stay(const struct plan *plan, const char *session, char **argv);

/* Writes the report where messages go to. */
void audit_print(const struct audit_report *report, const struct plan *plan);

#endif
