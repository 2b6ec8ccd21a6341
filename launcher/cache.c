#include "launcher/cache.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proto/bytes.h"
#include "proto/text.h"

#define NAME     "hops"
#define NEW_NAME "hops.new"

static const char head[] = "viaduct hops 1\n";
static const char *const words[] = {[CACHE_SERIAL] = "serial", [CACHE_FLIGHT] = "flight"};

/* --- lines ----------------------------------------------------------------------------------- */

struct line {
    enum cache_word word; /* CACHE_NONE: it cannot be read, or holds no longer */
    struct vd_text whole, way;
};

static enum cache_word read_word(struct vd_text word)
{
    for (enum cache_word w = CACHE_SERIAL; w <= CACHE_FLIGHT; w++)
        if (word.len == strlen(words[w]) && !memcmp(word.at, words[w], word.len))
            return w;
    return CACHE_NONE;
}

static bool holds(struct vd_text until, time_t now)
{
    int64_t second = vd_uint_read(until.at, until.len, INT64_MAX);

    return second > now && second <= now + CACHE_DAY_S;
}

static bool next_line(struct vd_text *rest, struct line *line, time_t now)
{
    struct vd_text word, until;

    if (!vd_text_cut(rest, '\n', &line->whole))
        return false;
    line->word = CACHE_NONE;
    line->way = line->whole;
    if (vd_text_cut(&line->way, ' ', &word) && vd_text_cut(&line->way, ' ', &until) &&
        holds(until, now) && !vd_text_has_control(line->way))
        line->word = read_word(word);
    return true;
}

static struct vd_text lines_of(const struct cache *c)
{
    size_t skip = c->len > 0 ? sizeof head - 1 : 0;

    return (struct vd_text){c->text + skip, c->len - skip};
}

static bool is_way(struct vd_text text, const char *way)
{
    return text.len == strlen(way) && !memcmp(text.at, way, text.len);
}

enum cache_word cache_find(const struct cache *c, const char *way)
{
    struct vd_text rest = lines_of(c);
    enum cache_word found = CACHE_NONE;
    time_t now = time(NULL);
    struct line line;

    while (found != CACHE_SERIAL && next_line(&rest, &line, now))
        if (line.word != CACHE_NONE && is_way(line.way, way))
            found = line.word;
    return found;
}

/* --- files ----------------------------------------------------------------------------------- */

/* Of another user, or of several: what stands there is nobody's word. */
static bool is_ours(int fd, mode_t kind)
{
    struct stat st;

    return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == kind && st.st_uid == geteuid() &&
           (st.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

/* The folder above ours, without asking whether it is there; false: none is named. */
static bool base_path(char path[PATH_MAX])
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int len = -1;

    if (cache && *cache == '/')
        len = snprintf(path, PATH_MAX, "%s", cache);
    else if (home && *home == '/')
        len = snprintf(path, PATH_MAX, "%s/.cache", home);
    return len > 0 && len < PATH_MAX - 32;
}

static void read_from(struct cache *c, int fd)
{
    ssize_t n = is_ours(fd, S_IFREG) ? read(fd, c->text, sizeof c->text) : -1;
    size_t least = sizeof head - 1;

    if (n >= (ssize_t)least && n < (ssize_t)sizeof c->text && !memcmp(c->text, head, least))
        c->len = (size_t)n;
}

static void read_at(struct cache *c, int folder, const char *path)
{
    int fd = openat(folder, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    c->len = 0;
    if (fd < 0)
        return;
    read_from(c, fd);
    close(fd);
}

void cache_read(struct cache *c, char path[PATH_MAX])
{
    c->len = 0;
    if (!base_path(path)) {
        *path = 0;
        return;
    }
    strcat(path, "/viaduct/" NAME);
    read_at(c, AT_FDCWD, path);
}

int cache_lock(void)
{
    char path[PATH_MAX];
    int fd;

    if (!base_path(path))
        return -1;
    mkdir(path, 0700);
    strcat(path, "/viaduct");
    mkdir(path, 0700);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (is_ours(fd, S_IFDIR) && faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) == 0 &&
        flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    close(fd);
    return -1;
}

/* --- writing --------------------------------------------------------------------------------- */

static bool is_said_anew(const struct cache_line *lines, size_t count, struct vd_text way)
{
    for (size_t i = 0; i < count; i++)
        if (is_way(way, lines[i].way))
            return true;
    return false;
}

/* What has no room is what was found out first. */
static void write_old(struct vd_out *out, const struct cache *old, const struct cache_line *lines,
                      size_t count, time_t now)
{
    struct vd_text rest = lines_of(old);
    struct line line;

    while (next_line(&rest, &line, now)) {
        if (line.word == CACHE_NONE || is_said_anew(lines, count, line.way))
            continue;
        if (line.whole.len + 1 >= out->cap - out->len)
            return;
        vd_out_bytes(out, line.whole.at, line.whole.len);
        vd_out_u8(out, '\n');
    }
}

static void write_new(struct vd_out *out, const struct cache_line *line, time_t now)
{
    vd_out_text(out, words[line->word]);
    vd_out_text(out, " ");
    vd_out_uint(out, (uint64_t)now + line->seconds);
    vd_out_text(out, " ");
    vd_out_text(out, line->way);
    vd_out_text(out, "\n");
}

static bool put(int folder, const void *text, size_t len)
{
    int fd;
    bool ok;

    unlinkat(folder, NEW_NAME, 0);
    fd = openat(folder, NEW_NAME, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    ok = write(fd, text, len) == (ssize_t)len;
    ok = close(fd) == 0 && ok && renameat(folder, NEW_NAME, folder, NAME) == 0;
    if (!ok)
        unlinkat(folder, NEW_NAME, 0);
    return ok;
}

/* Large, and needed by few: not among what every start of the launcher touches. */
struct room {
    struct cache old;
    char text[CACHE_MAX];
};

bool cache_write(int folder, const struct cache_line *lines, size_t count)
{
    struct room *room = malloc(sizeof *room);
    struct vd_out out = vd_out_over(room ? room->text : NULL, room ? CACHE_MAX - 1 : 0);
    time_t now = time(NULL);
    bool ok;

    if (!room)
        return false;
    read_at(&room->old, folder, NAME);
    vd_out_text(&out, head);
    for (size_t i = 0; i < count; i++)
        write_new(&out, &lines[i], now);
    write_old(&out, &room->old, lines, count, now);
    ok = out.ok && put(folder, room->text, out.len);
    free(room);
    return ok;
}
