/*
 * Whether the kernel would set AT_SECURE, and so the loader drop LD_PRELOAD, follows
 * cap_bprm_creds_from_file() and bprm_fill_uid() of Linux: the effective user or group would differ
 * from the real one, or somebody who is not root would gain capabilities from the file. Neither
 * counts on a mount with nosuid; the set-id bits count for nothing after no_new_privs, and for ids
 * that this user namespace does not know.
 */
#include "launcher/judge.h"

#include <endian.h>
#include <errno.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "launcher/elf.h"
#include "launcher/say.h"

/* --- other rights ---------------------------------------------------------------------------- */

/* `map` is /proc/self/uid_map or gid_map; without it every id is known. */
static bool is_known_id(const char *map, unsigned id)
{
    FILE *file = fopen(map, "re");
    unsigned inside, outside, count;
    bool known = !file;

    while (file && !known && fscanf(file, "%u %u %u", &inside, &outside, &count) == 3)
        known = id >= inside && id - inside < count;
    if (file)
        fclose(file);
    return known;
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

static void judge_rights(int fd, const char *program)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        say_die(EXIT_OWN, "%s: %s", program, strerror(errno));
    if (changes_ids(fd, &st))
        say_die(EXIT_OWN,
                "%s runs with other rights (setuid or setgid), so that the system keeps the "
                "library out of it; start viaduct from inside instead, as in: sudo viaduct ...",
                program);
    if (gains_capabilities(fd))
        say_die(EXIT_OWN,
                "%s has file capabilities, so that the system keeps the library out of it; run a "
                "copy of it without them, or run viaduct as root",
                program);
}

/* --- other worlds ---------------------------------------------------------------------------- */

static bool is_same_file(const char *a, const char *b)
{
    struct stat sa, sb;
    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
           sa.st_ino == sb.st_ino;
}

static void judge_machine(const char *program, const struct elf_facts *facts)
{
    int own_bits = (int)sizeof(void *) * 8;

    if (!facts->is_native && facts->bits != own_bits)
        say_die(EXIT_OWN,
                "%s is a %d-bit program, and the library a %d-bit one; use a %d-bit "
                "build of it",
                program, facts->bits, own_bits, own_bits);
    if (!facts->is_native)
        say_die(EXIT_OWN,
                "%s is built for another machine (ELF machine %u); use a build for this "
                "one",
                program, facts->machine);
}

/* The loader itself has no interpreter either, but loads the library. */
static void judge_loader(const char *program, const struct elf_facts *facts)
{
    const char *interpreter = facts->interpreter;

    if (is_same_file(program, "/proc/self/exe"))
        say_die(EXIT_OWN, "%s: viaduct inside viaduct; leave out one of them", program);
    if (!interpreter[0] && !is_same_file(program, ELF_LOADER))
        say_die(EXIT_OWN,
                "%s is statically linked: it loads no library that could carry its connections; "
                "use a dynamically linked build of it",
                program);
    if (!interpreter[0] || !strcmp(interpreter, ELF_LOADER))
        return;
    if (access(interpreter, F_OK) < 0)
        say_die(EXIT_CANNOT_RUN, "%s: its loader %s: %s", program, interpreter, strerror(errno));
    if (!is_same_file(interpreter, ELF_LOADER))
        say_die(EXIT_OWN,
                "%s is built for another libc (its loader is %s, not %s); use a build for this one",
                program, interpreter, ELF_LOADER);
}

static void judge_elf(int fd, const char *program)
{
    struct elf_facts facts;
    enum elf_result result = elf_read(fd, &facts);

    if (result == ELF_IO)
        say_die(EXIT_OWN, "%s: cannot be read", program);
    if (result != ELF_READ)
        say_die(EXIT_OWN, "%s: a malformed program (its ELF headers make no sense)", program);
    judge_machine(program, &facts);
    if (facts.is_go)
        say_die(EXIT_OWN,
                "%s is a Go program: it makes its system calls past libc, where nothing "
                "can carry them; give it the proxy itself, most take HTTPS_PROXY or "
                "ALL_PROXY",
                program);
    judge_loader(program, &facts);
}

void judge_program(int fd, const char *program)
{
    judge_rights(fd, program);
    judge_elf(fd, program);
}
