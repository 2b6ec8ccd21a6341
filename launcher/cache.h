/*
 * cache: what earlier launches found out about hops, kept for a day.
 *
 * $XDG_CACHE_HOME/viaduct/hops, else $HOME/.cache/viaduct/hops: text, a line for each way, which is
 * the hop's URL behind those of the hops that lead to it, never with a password:
 *
 *     viaduct hops 1
 *     flight 1795262400 socks5h://alice@gw.example:1080
 *     serial 1795262400 socks5h://alice@gw.example:1080 socks5h://10.0.0.2:1080
 *
 * The number is the second until which the line holds. A wrong line costs time, never safety. A
 * file of another user, one that others may write, one that is too long or of another version
 * counts as none, and a line that cannot be read as not there. The launcher replaces the file; the
 * command's connections append a line where a flight went wrong (client/learned.c).
 */
#ifndef LAUNCHER_CACHE_H
#define LAUNCHER_CACHE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

enum { CACHE_MAX = 65536, CACHE_DAY_S = 24 * 60 * 60, CACHE_SOON_S = 60 };

enum cache_word { CACHE_NONE, CACHE_SERIAL, CACHE_FLIGHT };

struct cache {
    size_t len; /* 0: there is none */
    char text[CACHE_MAX];
};

/* Tells also where the file is, or would be; "": nowhere. */
void cache_read(struct cache *c, char path[PATH_MAX]);
/* If there are several lines, serial counts. */
enum cache_word cache_find(const struct cache *c, const char *way);

/* The cache's folder, made if need be, as a descriptor that holds its lock; -1: there is none that
 * is ours and can be written, or somebody else is about to write there. */
int cache_lock(void);

struct cache_line {
    enum cache_word word; /* not CACHE_NONE */
    unsigned seconds;     /* how long it holds, up to CACHE_DAY_S */
    char *way;
};
/* Puts lines in front of what the file in the locked folder has to say of other ways. */
bool cache_write(int folder, const struct cache_line *lines, size_t count);

#endif
