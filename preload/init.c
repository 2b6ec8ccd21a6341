/*
 * The constructor attaches the session and does nothing else. A hook may be called before it, from
 * another library's constructor: then it attaches first.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/say.h"
#include "preload/hook.h"
#include "preload/standalone.h"

static const char *broken_because = "it was not started through viaduct";

static void attach_named(void)
{
    const char *path = getenv(SESSION_ENV), *urls = getenv(STANDALONE_ENV);

    if (path)
        session_attach(path, &broken_because);
    else if (urls)
        standalone_attach(urls, &broken_because);
    else
        session_fail();
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
