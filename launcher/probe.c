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
#include "launcher/probe_question.h"
#include "launcher/probe_visit.h"

enum { LIMIT_S = 12, ALARM_S = 15 };

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
    static struct cache_line lines[PROBE_QUESTIONS_MAX];
    int64_t end_ns = probe_now_ns() + LIMIT_S * INT64_C(1000000000);
    size_t count = 0;

    for (; count < probe_questions.count && probe_now_ns() < end_ns; count++) {
        const struct probe_question *q = &probe_questions.all[count];
        struct probe_visit v = {.path = probe_path(plan, q), .end_ns = end_ns};
        char way[PROBE_WAY_MAX];

        lines[count] = answer(&v);
        lines[count].way = strdup(probe_write_way(way, &v.path));
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
    int folder = probe_questions.count > 0 && !adopts_orphans() ? cache_lock() : -1;
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
