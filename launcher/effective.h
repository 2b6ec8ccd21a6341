/*
 * effective: the configuration that holds: the file, overridden by the command line, or what
 * ALL_PROXY says where no chain is given anywhere.
 */
#ifndef VIADUCT_LAUNCHER_EFFECTIVE_H
#define VIADUCT_LAUNCHER_EFFECTIVE_H

#include "conf/client.h"
#include "launcher/options.h"

struct effective {
    struct vd_conf_client conf; /* has_bypass and timeout_ms are always set */
    const char *path;           /* the file; NULL: none was found */
    const char *chain;          /* title of the chain for what no rule matches; it exists */
};

/* Ends the program with status 125 where nothing can hold. */
void effective_make(struct effective *e, const struct options *o);

/* Writes it as a viaduct.conf that reads back as the same, passwords masked. */
void effective_print(const struct effective *e);

#endif
