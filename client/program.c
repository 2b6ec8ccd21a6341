/*
 * Whether the kernel would set AT_SECURE, and so the loader drop LD_PRELOAD, follows
 * cap_bprm_creds_from_file() and bprm_fill_uid() of Linux: the effective user or group would differ
 * from the real one, or somebody who is not root would gain capabilities from the file. Neither
 * counts on a mount with nosuid; the set-id bits count for nothing after no_new_privs, and for ids
 * that this user namespace does not know.
 */
#include "client/program.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "client/elf_file.h"

/* --- other rights ---------------------------------------------------------------------------- */

/* The next number of a text, -1 at its end. */
static int64_t next_number(const char **text)
{
    size_t len;
    int64_t number;

    *text += strspn(*text, " \n");
    len = strspn(*text, "0123456789");
    number = vd_uint_read(*text, len, UINT32_MAX);
    *text += len;
    return number;
}

/* `map` is /proc/self/uid_map or gid_map: lines of INSIDE OUTSIDE COUNT. Without it every id is
 * known. */
static bool is_known_id(const char *map, unsigned id)
{
    int fd = open(map, O_RDONLY | O_CLOEXEC);
    char text[4096];
    const char *at = text;
    ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof text - 1, 0);
    int64_t inside, count;

    if (fd >= 0)
        close(fd);
    if (n < 0)
        return true;
    text[n] = 0;
    while ((inside = next_number(&at)) >= 0) {
        next_number(&at);
        count = next_number(&at);
        if (id >= inside && id - inside < count)
            return true;
    }
    return false;
}

static bool is_nosuid(int fd)
{
    struct statvfs fs;
    return fstatvfs(fd, &fs) == 0 && (fs.f_flag & ST_NOSUID);
}

/* Whether effective and real ids would differ. */
static bool changes_ids(int fd, const struct stat *st)
{
    const mode_t group_bits = S_ISGID | S_IXGRP;
    uid_t uid = geteuid();
    gid_t gid = getegid();
    bool set_uid = st->st_mode & S_ISUID;
    bool set_gid = (st->st_mode & group_bits) == group_bits;

    if ((set_uid || set_gid) && !is_nosuid(fd) && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 &&
        is_known_id("/proc/self/uid_map", st->st_uid) &&
        is_known_id("/proc/self/gid_map", st->st_gid)) {
        uid = set_uid ? st->st_uid : uid;
        gid = set_gid ? st->st_gid : gid;
    }
    return uid != getuid() || gid != getgid();
}

static uint64_t own_inheritable(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}, {0}};

    if (syscall(SYS_capget, &head, data) < 0)
        return UINT64_MAX;
    return data[0].inheritable | (uint64_t)data[1].inheritable << 32;
}

static uint64_t join(uint32_t low, uint32_t high)
{
    return le32toh(low) | (uint64_t)le32toh(high) << 32;
}

/* Whether the file gives capabilities to somebody who is not root. */
static bool gains_capabilities(int fd)
{
    struct vfs_ns_cap_data caps = {0};
    ssize_t len = getuid() ? fgetxattr(fd, "security.capability", &caps, sizeof caps) : -1;

    if (len < (ssize_t)sizeof caps.magic_etc || is_nosuid(fd))
        return len < 0 && errno == ERANGE;
    uint64_t permitted = join(caps.data[0].permitted, caps.data[1].permitted);
    uint64_t inheritable = join(caps.data[0].inheritable, caps.data[1].inheritable);
    bool effective = le32toh(caps.magic_etc) & VFS_CAP_FLAGS_EFFECTIVE;
    return effective || permitted || (inheritable && (inheritable & own_inheritable()));
}

static enum program_fault judge_rights(int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return PROGRAM_MISSING;
    if (changes_ids(fd, &st))
        return PROGRAM_OTHER_RIGHTS;
    return gains_capabilities(fd) ? PROGRAM_CAPABILITIES : PROGRAM_FINE;
}

/* --- other worlds ---------------------------------------------------------------------------- */

static bool is_same_file(const char *a, const char *b)
{
    struct stat sa, sb;

    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
           sa.st_ino == sb.st_ino;
}

/* The loader itself has no interpreter either, but loads the library. */
static enum program_fault judge_loader(const struct program *p)
{
    if (!p->loader[0])
        return is_same_file(p->path, ELF_LOADER) ? PROGRAM_FINE : PROGRAM_STATIC;
    if (!strcmp(p->loader, ELF_LOADER))
        return PROGRAM_FINE;
    if (access(p->loader, F_OK) < 0)
        return PROGRAM_MISSING;
    return is_same_file(p->loader, ELF_LOADER) ? PROGRAM_FINE : PROGRAM_OTHER_LIBC;
}

/* "": there is no twin. */
static const char *twin_loader(void)
{
    const char *loader = ELF_TWIN_LOADER;

    return loader ? loader : "";
}

static enum program_fault judge_elf(struct program *p, int fd)
{
    struct elf_facts facts;
    enum elf_result result = elf_read(fd, &facts);

    if (result == ELF_IO)
        return PROGRAM_MISSING;
    if (result != ELF_READ)
        return PROGRAM_MALFORMED;
    p->bits = facts.bits;
    p->machine = facts.machine;
    strcpy(p->loader, facts.interpreter);
    p->is_twin = facts.is_twin && !facts.is_go && !strcmp(p->loader, twin_loader());
    if (!facts.is_native)
        return facts.bits != sizeof(void *) * CHAR_BIT ? PROGRAM_OTHER_CLASS
                                                       : PROGRAM_OTHER_MACHINE;
    return facts.is_go ? PROGRAM_GO : judge_loader(p);
}

/* --- scripts --------------------------------------------------------------------------------- */

enum { HEAD_MAX = 256 /* what the kernel reads of a #! line */, SCRIPTS_MAX = 5 };

/* The interpreter of a #! line goes to p->path; false: the line has none that the kernel takes. */
static bool take_interpreter(struct program *p, const char *head, size_t len)
{
    const char *from = head + 2 + strspn(head + 2, " \t");
    size_t size = strcspn(from, " \t\n");

    if (size == 0 || (size_t)(from - head) + size >= len)
        return false;
    memcpy(p->path, from, size);
    p->path[size] = 0;
    return true;
}

/* One file. *again: it is a script, p->path is its interpreter, to be judged next. */
static enum program_fault judge_file(struct program *p, int fd, bool *again)
{
    char head[HEAD_MAX + 1];
    ssize_t n = pread(fd, head, HEAD_MAX, 0);
    enum program_fault fault;

    *again = false;
    if (n < 0)
        return PROGRAM_MISSING;
    head[n] = 0;
    if (n >= 4 && !memcmp(head, "\177ELF", 4)) {
        fault = judge_rights(fd);
        return fault == PROGRAM_FINE ? judge_elf(p, fd) : fault;
    }
    if (n >= 2 && !memcmp(head, "#!", 2)) {
        *again = take_interpreter(p, head, (size_t)n);
        return *again ? PROGRAM_FINE : PROGRAM_NO_INTERPRETER;
    }
    if (memchr(head, 0, (size_t)n))
        return PROGRAM_NO_SCRIPT;
    strcpy(p->path, "/bin/sh"); /* as execvp() and shells run such a text */
    p->by_shell = *again = true;
    return PROGRAM_FINE;
}

static enum program_fault judge_path(struct program *p, bool *again)
{
    int fd = open(p->path, O_RDONLY | O_CLOEXEC);
    enum program_fault fault = PROGRAM_MISSING;

    *again = false;
    if (fd >= 0)
        fault = judge_file(p, fd, again);
    p->number = errno;
    if (fd >= 0)
        close(fd);
    return fault;
}

enum program_fault program_judge(struct program *p, const char *path)
{
    bool again = true;

    p->loader[0] = 0;
    p->by_shell = p->is_twin = false;
    p->number = ENAMETOOLONG;
    p->fault = PROGRAM_MISSING;
    if (strlen(path) >= sizeof p->path)
        return p->fault;
    strcpy(p->path, path);
    for (int scripts = 0; again && scripts <= SCRIPTS_MAX; scripts++)
        p->fault = judge_path(p, &again);
    if (again)
        p->fault = PROGRAM_NO_INTERPRETER;
    return p->fault;
}

bool program_needs_supervisor(enum program_fault fault)
{
    return fault == PROGRAM_STATIC || fault == PROGRAM_GO || fault == PROGRAM_OTHER_LIBC;
}

/* --- words ----------------------------------------------------------------------------------- */

static const char *words(enum program_fault fault)
{
    switch (fault) {
    case PROGRAM_FINE:
        return "can be carried";
    case PROGRAM_MISSING:
        return "cannot be read, so nothing tells whether its connections can be carried";
    case PROGRAM_OTHER_RIGHTS:
        return "runs with other rights (setuid or setgid), so that the system keeps the library "
               "out of it; start viaduct from inside instead, as in: sudo viaduct ...";
    case PROGRAM_CAPABILITIES:
        return "has file capabilities, so that the system keeps the library out of it; run a copy "
               "of it without them, or run viaduct as root";
    case PROGRAM_STATIC:
        return "is statically linked: it loads no library that could carry its connections; use a "
               "dynamically linked build of it";
    case PROGRAM_OTHER_CLASS:
        return "is built for another word size than the library; use a build for this one";
    case PROGRAM_OTHER_MACHINE:
        return "is built for another machine; use a build for this one";
    case PROGRAM_OTHER_LIBC:
        return "is built for another libc; use a build for this one";
    case PROGRAM_GO:
        return "is a Go program: it makes its system calls past libc, where nothing can carry "
               "them; give it the proxy itself, most take HTTPS_PROXY or ALL_PROXY";
    case PROGRAM_MALFORMED:
        return "is a malformed program (its ELF headers make no sense)";
    case PROGRAM_NO_SCRIPT:
        return "is neither a program nor a script";
    case PROGRAM_NO_INTERPRETER:
        break;
    }
    return "has a #! line that names no interpreter, or too many scripts that run scripts";
}

/* What of the file shows it, where that is a number or a path. */
static void print_detail(struct vd_out *out, const struct program *p)
{
    if (p->fault == PROGRAM_MISSING) {
        vd_out_text(out, " (");
        vd_out_text(out, strerrordesc_np(p->number) ? strerrordesc_np(p->number) : "no reason");
        vd_out_text(out, ")");
    } else if (p->fault == PROGRAM_OTHER_CLASS) {
        vd_out_text(out, p->is_twin ? ", or install viaduct's library for it" : "");
        vd_out_text(out, " (it is a ");
        vd_out_uint(out, p->bits);
        vd_out_text(out, "-bit program)");
    } else if (p->fault == PROGRAM_OTHER_MACHINE) {
        vd_out_text(out, " (it is for ELF machine ");
        vd_out_uint(out, p->machine);
        vd_out_text(out, ")");
    } else if (p->fault == PROGRAM_OTHER_LIBC) {
        vd_out_text(out, " (its loader is ");
        vd_out_shown(out, p->loader, strlen(p->loader));
        vd_out_text(out, ", not " ELF_LOADER ")");
    }
}

void program_explain(struct vd_out *out, const struct program *p)
{
    vd_out_text(out, words(p->fault));
    print_detail(out, p);
}
