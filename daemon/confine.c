#include "daemon/confine.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- the user --- */

/* NULL with errno 0: there is no such user. */
static const struct passwd *find(const struct vd_conf_daemon *conf)
{
    errno = 0;
    return getpwnam(conf->run_as);
}

int confine_check(const struct vd_conf_daemon *conf, char **error)
{
    const char *why = NULL;
    if (!conf->run_as)
        return 0;
    if (!find(conf))
        why = errno ? strerror(errno) : "there is no such user";
    else if (geteuid() != 0)
        why = "only root may change its user";
    if (why && asprintf(error, "user `%s`: %s", conf->run_as, why) < 0)
        *error = NULL;
    return why ? -1 : 0;
}

/* Keeps one capability, or none; setuid() has taken them out of force already. */
static int keep_capability(uint32_t kept)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{.effective = kept, .permitted = kept}};
    return (int)syscall(SYS_capset, &header, data);
}

/* SO_MARK needs it, and so do the sockets that answer for tproxy:// from other hosts' addresses. */
static uint32_t capabilities(const struct vd_conf_daemon *conf)
{
    bool needed = conf->mark != 0;
    for (size_t i = 0; i < conf->listen_count; i++)
        needed |= conf->listens[i].kind == VD_LISTEN_TPROXY && !conf->listens[i].no_udp;
    return needed ? 1u << CAP_NET_ADMIN : 0;
}

static int change_user(const struct vd_conf_daemon *conf)
{
    const struct passwd *user = find(conf);
    if (!user) {
        errno = errno ? errno : ENOENT;
        return -1;
    }
    if (prctl(PR_SET_KEEPCAPS, capabilities(conf) ? 1 : 0) != 0 ||
        initgroups(user->pw_name, user->pw_gid) != 0 || setgid(user->pw_gid) != 0 ||
        setuid(user->pw_uid) != 0)
        return -1;
    return keep_capability(capabilities(conf));
}

/* --- files --- */

/* Everything that changes a file system or executes from it, as the first version of Landlock knows
 * it; reading stays, for /etc/hosts, resolv.conf and the modules of libc. */
static int forbid_files(void)
{
    struct landlock_ruleset_attr attr = {
        .handled_access_fs = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                             LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                             LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |
                             LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
                             LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
                             LANDLOCK_ACCESS_FS_MAKE_SYM};
    int rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (rules < 0) /* no Landlock in this kernel, or not switched on */
        return errno == ENOSYS || errno == EOPNOTSUPP ? 0 : -1;
    int result = (int)syscall(SYS_landlock_restrict_self, rules, 0);
    close(rules);
    return result;
}

int confine_worker(const struct vd_conf_daemon *conf)
{
    if (conf->run_as && change_user(conf) != 0)
        return -1;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    return forbid_files() == 0 ? confine_calls() : -1;
}
