#include "client/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "client/sys.h"

bool lines_open(struct lines *l, const char *path)
{
    l->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    l->skips = false;
    l->at = l->end = 0;
    return l->fd >= 0;
}

/* Moves what is left to the front and reads behind it; false at the end of the file. */
static bool fill(struct lines *l)
{
    ssize_t n;

    memmove(l->buf, l->buf + l->at, l->end - l->at);
    l->end -= l->at;
    l->at = 0;
    do
        n = sys.read(l->fd, l->buf + l->end, LINES_MAX - l->end);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return false;
    l->end += (size_t)n;
    return true;
}

/* `len` bytes of a line, with its end or cut off. NULL: they belong to one that was cut before. */
static char *give(struct lines *l, size_t len, bool ends)
{
    char *line = l->buf + l->at;
    bool skipped = l->skips;

    l->at += len + (ends && l->at + len < l->end);
    l->skips = !ends;
    line[len] = 0;
    line[strcspn(line, "#")] = 0;
    return skipped ? NULL : line;
}

char *lines_next(struct lines *l)
{
    for (;;) {
        size_t len = l->end - l->at;
        const char *end = memchr(l->buf + l->at, '\n', len);
        char *line = NULL;

        if (end)
            line = give(l, (size_t)(end - l->buf) - l->at, true);
        else if (len == LINES_MAX)
            line = give(l, len, false);
        else if (!fill(l))
            return l->end > l->at ? give(l, l->end - l->at, true) : NULL;
        if (line)
            return line;
    }
}

void lines_close(struct lines *l)
{
    sys.close(l->fd);
}
