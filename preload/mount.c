/*
 * Mounting a network file system: the kernel connects by itself, past every hook.
 */
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include "client/say.h"
#include "preload/hook.h"

static bool needs_network(const char *type)
{
    static const char *const types[] = {"9p",  "afs",  "beegfs",   "ceph", "cifs",  "coda",  "gfs2",
                                        "nfs", "nfs4", "orangefs", "smb3", "smbfs", "lustre"};

    for (size_t i = 0; type && i < sizeof types / sizeof *types; i++)
        if (!strcmp(type, types[i]))
            return true;
    return false;
}

static int refuse(void)
{
    if (hook_ready())
        say(PLAN_FAILURES, NULL,
            "mounting a network file system is refused: the kernel goes around the chain");
    return hook_fail(EACCES);
}

HOOK int mount(const char *source, const char *target, const char *type, unsigned long flags,
               const void *data)
{
    return needs_network(type) ? refuse() : sys.mount(source, target, type, flags, data);
}

#if !__GLIBC_PREREQ(2, 36)
int fsopen(const char *type, unsigned int flags);
#endif

HOOK int fsopen(const char *type, unsigned int flags)
{
    return needs_network(type) ? refuse()
                               : (int)sys.syscall(SYS_fsopen, (long)type, flags, 0, 0, 0, 0);
}
