/*
 * What the library cannot carry is not started. What the kernel would refuse anyway is left to it,
 * so that its errno is the one that the program expects; the same file is looked at a moment before
 * the kernel does, as every check of a path is.
 */
#undef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64 /* large files and inodes, where libc tells them apart */

#include <fcntl.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client/say.h"
#include "client/supervised.h"
#include "client/twin.h"
#include "preload/exec.h"
#include "preload/hook.h"

static bool may_run(int dir, const char *name, int flags)
{
    struct stat st;

    flags &= AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW;
    return fstatat(dir, name, &st, flags) == 0 && S_ISREG(st.st_mode) &&
           faccessat(dir, name, X_OK, AT_EACCESS | flags) == 0;
}

bool exec_look(struct program *p, const char *path)
{
    if (!exec_library() || !path || strlen(path) >= PROGRAM_PATH_MAX)
        return false;
    if (program_judge(p, path) != PROGRAM_MISSING)
        return may_run(AT_FDCWD, path, 0);
    /* It, its interpreter or its loader is not there; or only we cannot read it. */
    return may_run(AT_FDCWD, p->path, 0) && (!p->loader[0] || may_run(AT_FDCWD, p->loader, 0));
}

static const char *path_at(int dir, const char *name, int flags, char path[PATH_MAX])
{
    struct vd_out out = vd_out_over(path, PATH_MAX - 1);

    vd_out_text(&out, "/proc/self/fd/");
    vd_out_uint(&out, (uint64_t)dir);
    if (*name || !(flags & AT_EMPTY_PATH))
        vd_out_text(&out, "/");
    vd_out_text(&out, name);
    return vd_out_string(&out);
}

bool exec_look_at(struct program *p, int dir, const char *name, int flags, char shown[PATH_MAX])
{
    if (!name || strlen(name) >= PATH_MAX - 32)
        return false;
    strcpy(shown, name);
    if (*name == '/' || dir == AT_FDCWD)
        return exec_look(p, name);
    if (dir < 0)
        return false;
    if (exec_look(p, path_at(dir, name, flags, shown)))
        return true;
    /* Without /proc nothing can be judged that the kernel would run all the same. */
    return exec_library() && access(shown, F_OK) < 0 && may_run(dir, name, flags);
}

static const char *next_candidate(const char **dirs, const char *name, char path[PATH_MAX])
{
    size_t len = strcspn(*dirs, ":");
    struct vd_out out = vd_out_over(path, PATH_MAX - 1);

    vd_out_bytes(&out, *dirs, len);
    vd_out_text(&out, len ? "/" : "");
    vd_out_text(&out, name);
    *dirs = (*dirs)[len] ? *dirs + len + 1 : NULL;
    return out.ok ? vd_out_string(&out) : "";
}

const char *exec_search(struct program *p, const char *name, char path[PATH_MAX])
{
    const char *dirs = getenv("PATH");

    if (strchr(name, '/'))
        return exec_look(p, name) ? name : NULL;
    for (dirs = dirs ? dirs : "/bin:/usr/bin"; dirs && *name;)
        if (exec_look(p, next_candidate(&dirs, name, path)))
            return path;
    return NULL;
}

/* --- the verdict ----------------------------------------------------------------------------- */

/* 0, or an errno: another word size's library must be one, too. */
static int try_library(const struct program *p)
{
    char path[PATH_MAX];
    int fd;

    if (p->fault == PROGRAM_OTHER_CLASS)
        return twin_library(path, exec_library()) ? 0 : errno;
    fd = open(exec_library(), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    sys.close(fd);
    return 0;
}

/* Where the library cannot be read, in a chroot or by another user, the loader would leave it out
 * and start the program all the same. As what is started will see it: somebody who is not root
 * loses his capabilities by exec. */
static int library_error(const struct program *p)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct had[2] = {{0}, {0}}, bare[2];
    int number;

    if (geteuid() == 0 || syscall(SYS_capget, &head, had) < 0 ||
        (had[0].effective | had[1].effective) == 0)
        return try_library(p);
    memcpy(bare, had, sizeof bare);
    bare[0].effective = bare[1].effective = 0;
    if (syscall(SYS_capset, &head, bare) < 0)
        return errno;
    number = try_library(p);
    syscall(SYS_capset, &head, had);
    return number;
}

/* 0, EXEC_SUPERVISED, or why not. A supervisor refuses the calls of the other word size. */
static int find_carrier(const struct program *p)
{
    if (p->fault == PROGRAM_FINE)
        return library_error(p);
    if (p->fault != PROGRAM_OTHER_CLASS)
        return exec_find_supervisor(p);
    return p->is_twin && !supervised_is() ? library_error(p) : EACCES;
}

static void explain_library(struct vd_out *out, int number)
{
    const char *words = strerrordesc_np(number);

    vd_out_text(out, "the library ");
    vd_out_shown(out, exec_library(), strlen(exec_library()));
    vd_out_text(out, " cannot be read from there (");
    vd_out_text(out, words ? words : "no reason");
    vd_out_text(out, "), so that nothing would carry its connections");
}

int exec_verdict(const struct program *p, const char *path)
{
    char text[SAY_MAX];
    struct vd_out out = vd_out_over(text, sizeof text);
    int number = find_carrier(p);

    if (number <= 0)
        return number;
    vd_out_shown(&out, path, strlen(path));
    vd_out_text(&out, " is not started: ");
    if (p->fault == PROGRAM_FINE) {
        explain_library(&out, number);
    } else {
        vd_out_text(&out, "it ");
        program_explain(&out, p);
    }
    say_always(vd_out_string(&out));
    return EACCES;
}
