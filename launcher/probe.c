/*
 * A hop without login is told all in one flight. If it answers, or falls silent, that is that; if
 * it closes, it is asked again message by message: one that closes then too does so for the
 * command's sake. A hop with a login gets it in one flight only after it has taken it message by
 * message: else the login could be read by whatever listens there.
 *
 * What cannot be told, because the hop is down or does not let us in, is left alone for a minute.
 */
#include "launcher/probe.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/learned.h"
#include "launcher/cache.h"
#include "launcher/probe_visit.h"
#include "proto/bytes.h"

enum { QUESTIONS_MAX = 64, WAY_MAX = VD_HOPS_MAX * (VD_URL_TEXT + 1), LIMIT_S = 12, ALARM_S = 15 };

struct question {
    const struct plan_chain *chain;
    uint8_t position;
};

static struct {
    struct question all[QUESTIONS_MAX];
    size_t count;
} questions;

static struct cache *cache; /* large, and needed by few: not among what every start touches */

/* In chains whose hops stand in for each other every one may come first, and is asked so. */
static struct vd_path path_to(const struct plan *plan, const struct question *q)
{
    bool in_order = q->chain->mode == PLAN_STRICT || q->chain->mode == PLAN_DYNAMIC;
    struct vd_path path = {.hops = plan_hops(plan)};

    for (unsigned i = in_order ? 0 : q->position; i <= q->position; i++)
        path.order[path.count++] = q->chain->hops[i];
    return path;
}

static const char *write_way(char way[WAY_MAX], const struct vd_path *path)
{
    struct vd_out out = vd_out_over(way, WAY_MAX);

    for (unsigned i = 0; i < path->count; i++) {
        vd_out_text(&out, i ? " " : "");
        vd_url_print(&out, vd_path_hop(path, i));
    }
    return vd_out_string(&out);
}

/* --- before the command ---------------------------------------------------------------------- */

static bool is_question(const struct vd_hop *hop)
{
    return (hop->scheme == VD_SOCKS5 || hop->scheme == VD_SOCKS5H) && !hop->no_probe &&
           hop->unix_len == 0;
}

static void recall(struct plan *plan, const struct question *q, struct vd_hop *hop)
{
    struct vd_path path = path_to(plan, q);
    char way[WAY_MAX];

    switch (cache->len > 0 ? cache_find(cache, write_way(way, &path)) : CACHE_NONE) {
    case CACHE_FLIGHT:
        if (is_question(hop))
            hop->pipeline = VD_PIPELINE_KNOWN;
        break;
    case CACHE_SERIAL:
        hop->pipeline = VD_PIPELINE_OFF;
        break;
    case CACHE_NONE:
        if (is_question(hop) && questions.count < QUESTIONS_MAX)
            questions.all[questions.count++] = *q;
        break;
    }
}

/* What the path has no room for is not told to later commands. */
static void read_cache(struct plan *plan)
{
    char path[PATH_MAX];

    cache_read(cache, path);
    if (strlen(path) <= PLAN_CACHE_MAX)
        memcpy(plan->cache, path, strlen(path) + 1);
}

/* A chain of one HTTP or SOCKS4 hop is a single message in any case. */
static bool is_anything_open(const struct plan *plan)
{
    for (unsigned i = 0; i < plan->chain_count; i++)
        for (unsigned j = 0; j < plan_chain(plan, i)->count; j++) {
            const struct vd_hop *hop = plan_hops(plan) + plan_chain(plan, i)->hops[j];

            if (hop->pipeline == VD_PIPELINE_AUTO && (j > 0 || is_question(hop)))
                return true;
        }
    return false;
}

void probe_recall(struct plan *plan)
{
    struct vd_hop *hops = (struct vd_hop *)plan_hops(plan); /* of a plan that may be changed */

    cache = is_anything_open(plan) ? malloc(sizeof *cache) : NULL;
    if (!cache)
        return;
    read_cache(plan);
    for (unsigned i = 0; i < plan->chain_count; i++) {
        struct question q = {.chain = plan_chain(plan, i)};

        for (; q.position < q.chain->count; q.position++) {
            struct vd_hop *hop = hops + q.chain->hops[q.position];

            if (hop->pipeline == VD_PIPELINE_AUTO)
                recall(plan, &q, hop);
        }
    }
}

/* --- beside the command ---------------------------------------------------------------------- */

static struct cache_line answer(struct probe_visit *v)
{
    bool has_login = vd_path_hop(&v->path, v->path.count - 1u)->has_login;
    enum probe_outcome plain = has_login ? probe_visit(v, false) : PROBE_ABSENT, flight;
    struct cache_line serial = {.word = CACHE_SERIAL, .seconds = CACHE_DAY_S}, later = serial;

    later.seconds = CACHE_SOON_S;
    if (has_login && plain != PROBE_ANSWERED && plain != PROBE_CLOSED)
        return later;
    if (has_login && v->no_login_wanted)
        return serial;
    flight = probe_visit(v, true);
    if (!has_login && (flight == PROBE_CLOSED || flight == PROBE_ABSENT))
        plain = probe_visit(v, false);
    if (flight == PROBE_ABSENT && plain == PROBE_ABSENT)
        return later;
    if (flight == PROBE_ANSWERED || (flight == PROBE_CLOSED && plain == PROBE_CLOSED))
        serial.word = CACHE_FLIGHT;
    return serial;
}

static void ask(const struct plan *plan, const char *session, int folder)
{
    static struct cache_line lines[QUESTIONS_MAX];
    int64_t end_ns = probe_now_ns() + LIMIT_S * INT64_C(1000000000);
    size_t count = 0;

    for (; count < questions.count && probe_now_ns() < end_ns; count++) {
        const struct question *q = &questions.all[count];
        struct probe_visit v = {.path = path_to(plan, q), .end_ns = end_ns};
        char way[WAY_MAX];

        lines[count] = answer(&v);
        lines[count].way = strdup(write_way(way, &v.path));
        if (!lines[count].way)
            return;
        if (lines[count].seconds == CACHE_DAY_S)
            learned_write(session, q->chain->hops[q->position], lines[count].word == CACHE_FLIGHT);
    }
    cache_write(folder, lines, count);
}

/* However the command's signals are set. */
static void limit_life(void)
{
    sigset_t none;

    sigemptyset(&none);
    signal(SIGALRM, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    alarm(ALARM_S);
}

/* Nothing is held that somebody may wait for the end of; `folder` goes with us. */
static int let_go(int folder)
{
    int kept = fcntl(folder, F_DUPFD, 3);

    if (kept < 0)
        _exit(1);
    close_range(0, (unsigned)kept - 1, 0);
    close_range((unsigned)kept + 1, UINT_MAX, 0);
    for (int fd = 0; fd < 3; fd++)
        if (open("/dev/null", O_RDWR) != fd)
            _exit(1);
    setsid();
    umask(077);
    if (chdir("/") < 0)
        _exit(1);
    prctl(PR_SET_NAME, "viaduct-probe");
    limit_life();
    return kept;
}

/* Whoever adopts orphans would find a child that it never had. */
static bool adopts_orphans(void)
{
    int adopts = 0;

    return getpid() == 1 || prctl(PR_GET_CHILD_SUBREAPER, &adopts) < 0 || adopts;
}

void probe_start(const struct plan *plan, const char *session)
{
    int folder = questions.count > 0 && !adopts_orphans() ? cache_lock() : -1;
    pid_t between;

    if (folder < 0)
        return;
    between = fork();
    if (between == 0) {
        if (fork() == 0)
            ask(plan, session, let_go(folder));
        _exit(0);
    }
    if (between > 0)
        waitpid(between, NULL, 0);
    close(folder);
}
