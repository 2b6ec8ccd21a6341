/*
 * The constructor attaches the session and does nothing else. A hook may be called before it, from
 * another library's constructor: then it attaches first.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/say.h"
#include "preload/exec.h"
#include "preload/hook.h"
#include "preload/standalone.h"

static const char *broken_because = "it was not started through viaduct";

/* The first library that is preloaded and called like this one: the launcher puts it in front. */
static void remember(const char *name, const char *value)
{
    static const char own[] = "libviaduct.so";
    const char *list = getenv("LD_PRELOAD");
    char path[PATH_MAX];

    while (list && *(list += strspn(list, ": "))) {
        size_t len = strcspn(list, ": ");

        if (len >= sizeof own - 1 && len < sizeof path &&
            !memcmp(list + len - (sizeof own - 1), own, sizeof own - 1)) {
            memcpy(path, list, len);
            path[len] = 0;
            exec_remember(path, name, value);
            return;
        }
        list += len;
    }
}

static void attach_named(void)
{
    const char *path = getenv(SESSION_ENV), *urls = getenv(STANDALONE_ENV);

    if (path)
        session_attach(path, &broken_because);
    else if (urls)
        standalone_attach(urls, &broken_because);
    else
        session_fail();
    if (path || urls)
        remember(path ? SESSION_ENV : STANDALONE_ENV, path ? path : urls);
}

__attribute__((constructor)) static void attach(void)
{
    int saved = errno;

    if (session_state() == SESSION_NONE)
        attach_named();
    errno = saved;
}

bool hook_ready(void)
{
    if (session_state() == SESSION_NONE)
        attach();
    if (session_state() == SESSION_READY)
        return true;
    say_broken(broken_because);
    return false;
}
