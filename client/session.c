/*
 * The file is mapped twice: the plan read-only, the tables writable. The descriptor is closed at
 * once; its shared lock lives on with the mapping.
 */
#include "client/session.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "client/session_layout.h"
#include "client/session_tables.h"
#include "client/sys.h"

enum { LOCK_TRIES = 200 };

static struct {
    enum session_state state;
    const struct plan *plan;
    uint8_t *tables;    /* where the names begin */
    uint32_t tables_at; /* offset of that in the file */
    bool local;         /* no file: private to this process and its children */
    char path[SESSION_PATH_MAX];
} session;

enum session_state session_state(void)
{
    return session.state;
}

const struct plan *session_plan(void)
{
    return session.plan;
}

const char *session_path(void)
{
    return session.path;
}

static bool header_is_sound(const struct session_header *h, uint64_t size)
{
    return !memcmp(h->magic, SESSION_MAGIC, sizeof h->magic) && h->version == SESSION_VERSION &&
           h->size == size && h->names_at < size && h->plan_len <= h->names_at - h->plan_at &&
           h->names_at % SESSION_PAGE == 0 && h->plan_at < h->names_at &&
           h->names_len == SESSION_NAMES_LEN && h->book_len == SESSION_BOOK_LEN &&
           h->sockets_len == SESSION_SOCKETS_LEN && h->book_at == h->names_at + h->names_len &&
           h->sockets_at == h->book_at + h->book_len && h->assocs_len == SESSION_ASSOCS_LEN &&
           h->assocs_at == h->sockets_at + h->sockets_len &&
           h->hops_at == h->assocs_at + h->assocs_len && h->hops_len == SESSION_HOPS_LEN &&
           size == h->hops_at + h->hops_len + SESSION_AUDIT_LEN;
}

static const char *map(int fd, uint64_t size)
{
    const struct session_header *h;
    const uint8_t *head = mmap(NULL, SESSION_PAGE, PROT_READ, MAP_SHARED, fd, 0);
    const struct plan *plan;
    void *tables;

    if (head == MAP_FAILED)
        return "its session cannot be mapped";
    h = (const struct session_header *)head;
    if (!header_is_sound(h, size))
        return "its session is of another version, or damaged";
    if (h->names_at > SESSION_PAGE) {
        head = mremap((void *)head, SESSION_PAGE, h->names_at, MREMAP_MAYMOVE);
        if (head == MAP_FAILED)
            return "its session cannot be mapped";
        h = (const struct session_header *)head;
    }
    plan = (const struct plan *)(head + h->plan_at);
    if (!plan_is_sound(plan, h->plan_len))
        return "its session holds a damaged plan";
    tables = mmap(NULL, (size_t)(size - h->names_at), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                  (off_t)h->names_at);
    if (tables == MAP_FAILED)
        return "its session cannot be mapped";
    madvise((void *)head, h->names_at, MADV_DONTDUMP);
    session.plan = plan;
    session.tables = tables;
    session.tables_at = h->names_at;
    return NULL;
}

/* Whoever finds out whether a session is over has the lock for a moment. */
static bool lock(int fd)
{
    static const struct timespec pause = {.tv_nsec = 1000000};
    struct stat st;
    bool locked = false;

    for (int i = 0; i < LOCK_TRIES && !(locked = flock(fd, LOCK_SH | LOCK_NB) == 0); i++)
        nanosleep(&pause, NULL);
    return locked && fstat(fd, &st) == 0 && st.st_nlink > 0;
}

static const char *attach(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    const char *why = "its session cannot be reached";
    struct stat st;

    if (fd < 0)
        return why;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > SESSION_PAGE)
        why = lock(fd) ? map(fd, (uint64_t)st.st_size) : "its session is being removed";
    sys.close(fd);
    return why;
}

enum session_state session_attach(const char *path, const char **why)
{
    size_t len = strlen(path);

    *why = len < sizeof session.path ? attach(path) : "its session has too long a path";
    session.state = *why ? SESSION_BROKEN : SESSION_READY;
    if (!*why)
        memcpy(session.path, path, len + 1);
    return session.state;
}

enum session_state session_adopt(const struct plan *plan, const char **why)
{
    size_t size = SESSION_NAMES_LEN + SESSION_BOOK_LEN + SESSION_SOCKETS_LEN + SESSION_ASSOCS_LEN +
                  SESSION_HOPS_LEN + SESSION_AUDIT_LEN;
    void *tables =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (tables == MAP_FAILED) {
        *why = "no memory";
        return session.state = SESSION_BROKEN;
    }
    session.plan = plan;
    session.tables = tables;
    session.local = true;
    return session.state = SESSION_READY;
}

enum session_state session_fail(void)
{
    return session.state = SESSION_BROKEN;
}

void *session_names(void)
{
    return session.tables;
}

void *session_book(void)
{
    return session.tables + SESSION_NAMES_LEN;
}

void *session_sockets(void)
{
    return session.tables + SESSION_NAMES_LEN + SESSION_BOOK_LEN;
}

void *session_assocs(void)
{
    return (uint8_t *)session_sockets() + SESSION_SOCKETS_LEN;
}

void *session_hops(void)
{
    return (uint8_t *)session_assocs() + SESSION_ASSOCS_LEN;
}

void *session_audit(void)
{
    return (uint8_t *)session_hops() + SESSION_HOPS_LEN;
}

/* Allocating by the file needs a descriptor of it for a moment, and only where the kernel cannot
 * populate a mapping (before Linux 5.14). */
static bool allocate_by_file(uint64_t at, size_t len)
{
    int fd = session.local ? -1 : open(session.path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    int r;

    if (fd < 0)
        return session.local; /* anonymous memory needs no allocating */
    r = posix_fallocate(fd, (off_t)at, (off_t)len);
    sys.close(fd);
    return r == 0;
}

bool session_commit(void *from, size_t len)
{
    uint8_t *p = from;
    size_t at = (size_t)(p - session.tables), slack = at % SESSION_PAGE;
    int saved = errno;
    bool ok;

    len = (len + slack + SESSION_PAGE - 1) / SESSION_PAGE * SESSION_PAGE;
    ok = madvise(p - slack, len, MADV_POPULATE_WRITE) == 0 ||
         (errno == EINVAL && allocate_by_file(session.tables_at + at - slack, len));
    errno = saved;
    return ok;
}
