/*
 * conf/import: the configuration of other programs of this kind, as viaduct.conf.
 *
 * Read are proxychains.conf (also that of proxychains-ng), torsocks.conf and tsocks.conf; which of
 * them a file is, its words tell. What has no counterpart stands in the result as a comment with
 * the reason, and so does what cannot be understood: nothing is dropped in silence.
 */
#ifndef VD_CONF_IMPORT_H
#define VD_CONF_IMPORT_H

#include <stdio.h>

/* Reads the file and writes the configuration. 0, or -1 with *error as in conf/value.h, and then
 * nothing was written: the file cannot be read, is of no known kind, or names no proxy. */
int vd_conf_import(FILE *to, const char *path, char **error);

#endif
