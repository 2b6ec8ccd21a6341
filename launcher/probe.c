/*
 * A hop without login is told all in one flight. If it answers, or falls silent, that is that; if
 * it closes, it is asked again message by message: one that closes then too does so for the
 * command's sake. A hop with a login gets it in one flight only after it has taken it message by
 * message: else the login could be read by whatever listens there.
 *
 * What cannot be told, because the hop is down or does not let us in, is left alone for a minute.
 */
#include "launcher/probe.h"

#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "client/learned.h"
#include "launcher/aside.h"
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

/* Whoever adopts orphans would find a child that it never had. */
static bool adopts_orphans(void)
{
    int adopts = 0;

    return getpid() == 1 || prctl(PR_GET_CHILD_SUBREAPER, &adopts) < 0 || adopts;
}

void probe_start(const struct plan *plan, const char *session)
{
    int folder = probe_questions.count > 0 && !adopts_orphans() ? cache_lock() : -1;

    if (folder < 0)
        return;
    if (aside_fork()) {
        aside_let_go("viaduct-probe", &folder, 1);
        alarm(ALARM_S);
        ask(plan, session, folder);
        _exit(0);
    }
    close(folder);
}
