/*
 * standalone: LD_PRELOAD=libviaduct.so VIADUCT_PROXY="URL URL" command, without the launcher.
 *
 * The first hop must be given by address, since nobody resolved it; loopback is bypassed. Each
 * executed program has a table of names of its own.
 */
#ifndef VD_PRELOAD_STANDALONE_H
#define VD_PRELOAD_STANDALONE_H

#define STANDALONE_ENV "VIADUCT_PROXY"

/* Makes the session of `urls`, separated by blanks. On failure the session is broken and `why`
 * (static) says what is wrong; a URL may hold a secret and is not repeated. */
void standalone_attach(const char *urls, const char **why);

#endif
