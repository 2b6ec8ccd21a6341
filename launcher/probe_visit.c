#include "launcher/probe_visit.h"

#include "launcher/talk.h"
#include "proto/err.h"

enum { DIAL_MS = 3000, STAGE_MS = 5000 };

int64_t probe_now_ns(void)
{
    return talk_now_ns();
}

static enum probe_outcome outcome(const struct talk *t, int r)
{
    bool last = t->up && t->chain.at + 1u == t->chain.path.count;

    if (!last || t->chain.cause || r == -VD_ERR_LOGIN)
        return PROBE_ABSENT;
    if (talk_was_answered(t, r))
        return PROBE_ANSWERED;
    if (!t->ended && !t->silent)
        return PROBE_GARBLED;
    if (t->chain.shake.stage < VD_STAGE_REPLY)
        return PROBE_ABSENT;
    return t->silent ? PROBE_SILENT : PROBE_CLOSED;
}

enum probe_outcome probe_visit(struct probe_visit *v, bool in_flight)
{
    struct talk t = {
        .path = v->path,
        .command = VD_PROBE,
        .target = {.ip = {.family = VD_IPV4}}, /* 0.0.0.0:0 */
        .end_ns = v->end_ns,
        .dial_ms = DIAL_MS,
        .stage_ms = STAGE_MS,
        .in_flight = in_flight,
    };
    int r = talk(&t);

    v->no_login_wanted = t.up && t.chain.at + 1u == t.chain.path.count && t.chain.shake.method == 0;
    return talk_now_ns() < v->end_ns ? outcome(&t, r) : PROBE_ABSENT;
}
