/*
 * One record for each hop, all fields of a byte or two, written and read without a lock: none
 * depends on another.
 */
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

static uint8_t get(const uint8_t *field)
{
    return __atomic_load_n(field, __ATOMIC_RELAXED);
}

/* Most of what is learned was known before. */
static void put(uint8_t *field, uint8_t value)
{
    if (get(field) != value)
        __atomic_store_n(field, value, __ATOMIC_RELAXED);
}

static bool bears(const struct vd_hop *hop, const struct record *r)
{
    switch ((enum vd_pipeline)hop->pipeline) {
    case VD_PIPELINE_OFF:
        return false;
    case VD_PIPELINE_LEAD:
    case VD_PIPELINE_KNOWN:
        return get(&r->bears) != BEARS_NOT;
    case VD_PIPELINE_AUTO:
        break;
    }
    switch ((enum vd_scheme)hop->scheme) {
    case VD_SOCKS4:
    case VD_SOCKS4A:
        return get(&r->bears) != BEARS_NOT;
    case VD_SOCKS5:
    case VD_SOCKS5H:
        return get(&r->bears) == BEARS_FLIGHT;
    case VD_HTTP:
    case VD_HTTPS:
        break;
    }
    return get(&r->said_yes) && get(&r->bears) != BEARS_NOT;
}

static uint16_t way_to(const struct vd_path *path, unsigned position)
{
    return position == 0 ? 1 : (uint16_t)(path->order[position - 1] + 2);
}

/* Whether the login of the hop, if any, is sure to reach that hop when it is said in a flight. */
static bool is_safe(const struct vd_path *path, unsigned position)
{
    const struct vd_hop *hop = vd_path_hop(path, position);
    const struct record *r = learned_record_of(path->order[position]);

    return !hop->has_login || hop->pipeline == VD_PIPELINE_KNOWN ||
           (r && __atomic_load_n(&r->behind, __ATOMIC_RELAXED) == way_to(path, position));
}

static bool flies(const struct vd_path *path, unsigned position)
{
    const struct record *r = learned_record_of(path->order[position]);

    return r && bears(vd_path_hop(path, position), r) && is_safe(path, position) &&
           (position + 1u == path->count || is_safe(path, position + 1));
}

void learned_path(struct vd_path *path)
{
    path->flights = path->proven = 0;
    for (unsigned i = 0; i < path->count; i++) {
        const struct record *r = learned_record_of(path->order[i]);

        if (flies(path, i))
            path->flights |= (uint16_t)(1u << i);
        if (r && get(&r->proven))
            path->proven |= (uint16_t)(1u << i);
    }
}

void learned_up(const struct vd_path *path, bool flown)
{
    unsigned proven = flown ? vd_path_proves(path) : 0;

    for (unsigned i = 0; i < path->count; i++) {
        struct record *r = learned_record_of(path->order[i]);
        uint16_t way = way_to(path, i);

        if (!r)
            return;
        put(&r->said_yes, 1);
        if (__atomic_load_n(&r->behind, __ATOMIC_RELAXED) != way)
            __atomic_store_n(&r->behind, way, __ATOMIC_RELAXED);
        if (proven >> i & 1)
            put(&r->proven, 1);
    }
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
    unsigned unfit = vd_path_suspects(path, position);
    int saved = errno;

    for (unsigned i = 0; i <= position; i++) {
        struct record *r = unfit >> i & 1 ? learned_record_of(path->order[i]) : NULL;

        if (!r || get(&r->bears) == BEARS_NOT)
            continue;
        put(&r->bears, BEARS_NOT);
        tell_later_ones(path, i);
    }
    errno = saved;
}
