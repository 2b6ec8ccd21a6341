#include "client/learned.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "client/learned_record.h"
#include "client/session_tables.h"
#include "client/sys.h"

enum { LINE = 2048, DAY_S = 24 * 60 * 60 };

struct record *learned_record_of(unsigned hop)
{
    static bool has_storage;
    uint8_t *table;

    if (session_state() != SESSION_READY || hop >= SESSION_HOPS_MAX)
        return NULL;
    table = session_hops();
    if (!__atomic_load_n(&has_storage, __ATOMIC_RELAXED)) {
        if (!session_commit(table, SESSION_PLAIN_RECORDS_AT +
                                       session_plan()->hop_count * (size_t)SESSION_HOP_SIZE))
            return NULL;
        __atomic_store_n(&has_storage, true, __ATOMIC_RELAXED);
    }
    return (struct record *)(table + SESSION_PLAIN_RECORDS_AT) + hop;
}

static void records_of(const struct vd_path *path, struct vd_repute *of[VD_HOPS_MAX])
{
    for (unsigned i = 0; i < path->count; i++) {
        struct record *r = learned_record_of(path->order[i]);

        of[i] = r ? &r->repute : NULL;
    }
}

void learned_path(struct vd_path *path)
{
    struct vd_repute *of[VD_HOPS_MAX];

    records_of(path, of);
    vd_repute_path(path, of, 0);
}

void learned_up(const struct vd_path *path, bool flown)
{
    struct vd_repute *of[VD_HOPS_MAX];

    records_of(path, of);
    vd_repute_up(path, of, 0, flown);
}

/* The line of the launcher's cache that says so of the hop at a position; see launcher/cache.h. */
static struct vd_out unfit_line(char text[LINE], const struct vd_path *path, unsigned position)
{
    struct vd_out out = vd_out_over(text, LINE);
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    vd_out_text(&out, "serial ");
    vd_out_uint(&out, (uint64_t)now.tv_sec + DAY_S);
    for (unsigned i = 0; i <= position; i++) {
        vd_out_text(&out, " ");
        vd_url_print(&out, vd_path_hop(path, i));
    }
    vd_out_text(&out, "\n");
    return out;
}

/* Later commands need not find it out again. Only where the file is there, and ours. */
static void tell_later_ones(const struct vd_path *path, unsigned position)
{
    const char *cache = session_plan()->cache;
    int fd = *cache ? open(cache, O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;
    char text[LINE];
    struct vd_out line;
    struct stat st;

    if (fd < 0)
        return;
    line = unfit_line(text, path, position);
    if (line.ok && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid())
        (void)!sys.write(fd, text, line.len);
    sys.close(fd);
}

void learned_unfit(const struct vd_path *path, unsigned position)
{
    struct vd_repute *of[VD_HOPS_MAX];
    unsigned news;
    int saved = errno;

    records_of(path, of);
    news = vd_repute_unfit(path, of, position);
    for (unsigned i = 0; i <= position; i++)
        if (news >> i & 1)
            tell_later_ones(path, i);
    errno = saved;
}
