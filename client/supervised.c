#include "client/supervised.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "client/sys.h"
#include "proto/bytes.h"

static_assert(sizeof SUPERVISED_TEXT == sizeof((struct supervised_question *)0)->text,
              "the text has its place");

static struct supervised_question question(void)
{
    struct supervised_question q = {.family = AF_UNSPEC, .text = SUPERVISED_TEXT};
    struct vd_out session = vd_out_over(q.session, sizeof q.session - 1);

    vd_out_text(&session, session_path());
    return q;
}

bool supervised_is(void)
{
    struct supervised_question q = question();
    int saved = errno;
    int r = sys.connect(-1, (const struct sockaddr *)&q, sizeof q);

    errno = saved;
    return r == SUPERVISED_YES;
}

bool supervised_is_asked(const void *bytes, size_t len)
{
    struct supervised_question q = question();

    return len == sizeof q && !memcmp(bytes, &q, sizeof q);
}

static bool is_there(char path[SUPERVISED_PATH_MAX], const char *library, const char *name)
{
    struct vd_out out = vd_out_over(path, SUPERVISED_PATH_MAX - 1);
    const char *slash = strrchr(library, '/');

    if (!slash)
        return false;
    vd_out_bytes(&out, library, (size_t)(slash + 1 - library));
    vd_out_text(&out, name);
    vd_out_string(&out);
    return out.ok && access(path, X_OK) == 0;
}

/* Installed, they share a folder; as they were built, they do not. */
bool supervised_starter(const char *library, char path[SUPERVISED_PATH_MAX])
{
    int saved = errno;
    bool found = is_there(path, library, "viaduct-supervise") ||
                 is_there(path, library, "../launcher/viaduct-supervise");

    errno = saved;
    return found;
}
