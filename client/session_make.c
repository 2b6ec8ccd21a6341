/*
 * Making a session file, and removing those that nobody uses any more.
 *
 * A file is in use while somebody holds a shared lock on it. Between the launcher's exit and the
 * moment when the program maps the file, and likewise at each later exec, nobody does: so a file is
 * abandoned only if it is unlocked and was not touched for ABANDONED_S seconds.
 *
 * Looking through /dev/shm costs time that grows with what others left there; one look within
 * SWEEP_S seconds is enough, and a stamp file of this user remembers the last one.
 */
#include "client/session.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "client/session_layout.h"

#define SHM_DIR "/dev/shm"
#define PREFIX  "viaduct-"
#define STAMP   "viaduct.swept-"

enum { ABANDONED_S = 60, SWEEP_S = 20, RANDOM_BYTES = 15 };

static_assert(sizeof SHM_DIR + sizeof PREFIX + RANDOM_BYTES * 8 / 5 <= SESSION_PATH_MAX,
              "the path has room");

/* --- making ---------------------------------------------------------------------------------- */

/* 5 bits to a letter. */
static int random_name(char name[RANDOM_BYTES * 8 / 5 + 1])
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";
    uint8_t bytes[RANDOM_BYTES];
    unsigned bits = 0, have = 0;
    char *to = name;

    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        return EIO;
    for (size_t i = 0; i < sizeof bytes; i++) {
        bits = bits << 8 | bytes[i];
        for (have += 8; have >= 5; have -= 5)
            *to++ = letters[bits >> (have - 5) & 31];
    }
    *to = 0;
    return 0;
}

static uint32_t whole_pages(size_t len)
{
    return (uint32_t)((len + SESSION_PAGE - 1) / SESSION_PAGE * SESSION_PAGE);
}

static struct session_header layout(const struct plan *plan)
{
    struct session_header h = {.magic = SESSION_MAGIC, .version = SESSION_VERSION};

    h.plan_at = SESSION_PLAN_AT;
    h.plan_len = plan->size;
    h.names_at = whole_pages(h.plan_at + (size_t)plan->size);
    h.names_len = SESSION_NAMES_LEN;
    h.book_at = h.names_at + h.names_len;
    h.book_len = SESSION_BOOK_LEN;
    h.sockets_at = h.book_at + h.book_len;
    h.sockets_len = SESSION_SOCKETS_LEN;
    h.assocs_at = h.sockets_at + h.sockets_len;
    h.assocs_len = SESSION_ASSOCS_LEN;
    h.hops_at = h.assocs_at + h.assocs_len;
    h.hops_len = SESSION_HOPS_LEN;
    h.size = h.hops_at + h.hops_len + SESSION_AUDIT_LEN;
    return h;
}

/* Writing allocates: header and plan never raise SIGBUS. */
static int fill(int fd, const struct plan *plan)
{
    struct session_header h = layout(plan);
    char head[SESSION_PLAN_AT] = {0};
    struct iovec parts[] = {{head, sizeof head}, {(void *)plan, plan->size}};
    ssize_t all = (ssize_t)(sizeof head + plan->size);

    memcpy(head, &h, sizeof h);
    ssize_t n = writev(fd, parts, 2);
    if (n < 0)
        return errno;
    if (n != all)
        return ENOSPC;
    return ftruncate(fd, h.size) < 0 ? errno : 0;
}

int session_make(const struct plan *plan, char path[SESSION_PATH_MAX])
{
    char name[RANDOM_BYTES * 8 / 5 + 1];
    int error = random_name(name);
    if (error)
        return error;

    snprintf(path, SESSION_PATH_MAX, "%s/%s%s", SHM_DIR, PREFIX, name);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    error = fchmod(fd, 0600) < 0 ? errno : fill(fd, plan); /* a umask may have taken bits */
    if (error)
        unlink(path);
    close(fd);
    return error;
}

/* --- sweeping -------------------------------------------------------------------------------- */

static bool is_old(const struct stat *st, int seconds)
{
    time_t now = time(NULL);

    return st->st_mtim.tv_sec < now - seconds || st->st_mtim.tv_sec > now + seconds;
}

static bool is_abandoned(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_uid == geteuid() && is_old(st, ABANDONED_S);
}

/* Judged again under the lock: the name must still be the file that is locked. */
static void remove_unused(int dir, const char *name)
{
    struct stat before, now;
    int fd = openat(dir, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &before) == 0 && is_abandoned(&before) &&
        fstatat(dir, name, &now, AT_SYMLINK_NOFOLLOW) == 0 && now.st_ino == before.st_ino)
        unlinkat(dir, name, 0);
    close(fd);
}

static void sweep_dir(DIR *dir)
{
    struct dirent *entry;
    struct stat st;

    while ((entry = readdir(dir)))
        if (!strncmp(entry->d_name, PREFIX, strlen(PREFIX)) &&
            fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && is_abandoned(&st))
            remove_unused(dirfd(dir), entry->d_name);
}

/* Whether a sweep is due; then the stamp is renewed. A stamp that is not ours counts for nothing.
 */
static bool is_due(void)
{
    char path[SESSION_PATH_MAX];
    struct stat st;

    snprintf(path, sizeof path, "%s/%s%u", SHM_DIR, STAMP, (unsigned)geteuid());
    bool is_ours = lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid();
    if (is_ours && !is_old(&st, SWEEP_S))
        return false;
    int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (fd >= 0) {
        if (is_ours)
            futimens(fd, NULL);
        close(fd);
    }
    return true;
}

void session_sweep(void)
{
    if (!is_due())
        return;
    DIR *dir = opendir(SHM_DIR);
    if (!dir)
        return;
    sweep_dir(dir);
    closedir(dir);
}
