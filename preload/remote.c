/*
 * Calls of old that connect, or ask for names, inside libc, where no hook is in between.
 */
#include <netdb.h>

#include "client/say.h"
#include "preload/hook.h"

static int refuse(const char *line)
{
    if (hook_ready())
        say(PLAN_FAILURES, NULL, line);
    return hook_fail(EACCES);
}

#define REFUSE(name) refuse(name "() is refused: it goes around the chain")

HOOK int rcmd(char **host, unsigned short port, const char *local, const char *remote,
              const char *command, int *second)
{
    (void)host, (void)port, (void)local, (void)remote, (void)command, (void)second;
    return REFUSE("rcmd");
}

HOOK int rcmd_af(char **host, unsigned short port, const char *local, const char *remote,
                 const char *command, int *second, sa_family_t family)
{
    (void)host, (void)port, (void)local, (void)remote, (void)command, (void)second, (void)family;
    return REFUSE("rcmd_af");
}

HOOK int rexec(char **host, int port, const char *user, const char *password, const char *command,
               int *second)
{
    (void)host, (void)port, (void)user, (void)password, (void)command, (void)second;
    return REFUSE("rexec");
}

HOOK int rexec_af(char **host, int port, const char *user, const char *password,
                  const char *command, int *second, sa_family_t family)
{
    (void)host, (void)port, (void)user, (void)password, (void)command, (void)second, (void)family;
    return REFUSE("rexec_af");
}

HOOK int ruserok(const char *host, int is_root, const char *remote, const char *local)
{
    (void)host, (void)is_root, (void)remote, (void)local;
    return REFUSE("ruserok");
}

HOOK int ruserok_af(const char *host, int is_root, const char *remote, const char *local,
                    sa_family_t family)
{
    (void)host, (void)is_root, (void)remote, (void)local, (void)family;
    return REFUSE("ruserok_af");
}
