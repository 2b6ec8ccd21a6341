/*
 * Calls of old that connect, or ask for names, inside libc, where no hook is in between. Those of
 * Sun RPC are left there for programs from before glibc 2.32; what is made now uses libtirpc, whose
 * calls are hooked.
 */
#include <netdb.h>
#include <stdint.h>
#include <stdio.h>

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

HOOK int iruserok(uint32_t address, int is_root, const char *remote, const char *local)
{
    (void)address, (void)is_root, (void)remote, (void)local;
    return REFUSE("iruserok");
}

HOOK int iruserok_af(const void *address, int is_root, const char *remote, const char *local,
                     sa_family_t family)
{
    (void)address, (void)is_root, (void)remote, (void)local, (void)family;
    return REFUSE("iruserok_af");
}

int __ivaliduser(FILE *file, uint32_t address, const char *local, const char *remote);

HOOK int __ivaliduser(FILE *file, uint32_t address, const char *local, const char *remote)
{
    (void)file, (void)address, (void)local, (void)remote;
    return REFUSE("__ivaliduser");
}

/* --- Sun RPC --------------------------------------------------------------------------------- */

enum { RPC_FAILED = 16 };

/* No header declares them any more; whatever their arguments are, none is looked at. */
#define RPC_CALL(type, name, value)                                                                \
    type name(void);                                                                               \
    HOOK type name(void)                                                                           \
    {                                                                                              \
        REFUSE(#name);                                                                             \
        return value;                                                                              \
    }

RPC_CALL(void *, clnt_create, NULL)
RPC_CALL(void *, clnttcp_create, NULL)
RPC_CALL(void *, clntudp_create, NULL)
RPC_CALL(void *, clntudp_bufcreate, NULL)
RPC_CALL(void *, authdes_create, NULL)
RPC_CALL(void *, authdes_pk_create, NULL)
RPC_CALL(void *, pmap_getmaps, NULL)
RPC_CALL(unsigned short, pmap_getport, 0)
RPC_CALL(int, pmap_rmtcall, RPC_FAILED)
RPC_CALL(int, clnt_broadcast, RPC_FAILED)
RPC_CALL(int, callrpc, RPC_FAILED)
RPC_CALL(int, getrpcport, 0)
RPC_CALL(int, rtime, -1)
