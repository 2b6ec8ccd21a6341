/*
 * What is told of a handshake: lines for people, the trace, the audit.
 */
#include "client/drive_say.h"

#include <errno.h>
#include <string.h>

#include "client/audit.h"
#include "client/say.h"
#include "proto/err.h"
#include "proto/hint.h"

/* An association has no target. */
static const struct vd_endpoint *target_told(const struct drive *d)
{
    return d->chain.command == VD_ASSOCIATE ? NULL : &d->chain.target;
}

static struct vd_out begin_line(const struct drive *d, char text[SAY_MAX])
{
    struct vd_out out = vd_out_over(text, SAY_MAX);

    if (d->chain.command == VD_ASSOCIATE)
        vd_out_text(&out, "UDP: ");
    return out;
}

void drive_say_hop(const struct drive *d, unsigned position)
{
    char text[VD_URL_TEXT + 64];
    struct vd_out out = vd_out_over(text, sizeof text);

    if (!say_wants(PLAN_HOPS))
        return;
    vd_path_name(&out, &d->chain.path, position);
    vd_out_text(&out, " is up after ");
    vd_out_uint(&out, (uint64_t)(drive_now_ns() - d->start_ns) / 1000000);
    vd_out_text(&out, " ms");
    say(PLAN_HOPS, target_told(d), vd_out_string(&out));
}

static const char *why_again(enum drive_again again)
{
    switch (again) {
    case DRIVE_FLIGHT_FAILED:
        return " takes one message at a time: once more so";
    case DRIVE_TOO_FAR:
        return " gave a shorter reply than most, and bytes of the target behind it: once more";
    case DRIVE_ORPHANED:
        break;
    }
    return " was spoken to by a process that has ended: once more";
}

void drive_say_again(const struct drive *d, enum drive_again again)
{
    char text[VD_URL_TEXT + 128];
    struct vd_out out = vd_out_over(text, sizeof text);

    if (!say_wants(PLAN_HOPS))
        return;
    vd_path_name(&out, &d->chain.path, d->chain.at);
    vd_out_text(&out, why_again(again));
    say(PLAN_HOPS, target_told(d), vd_out_string(&out));
}

/* Nobody listens where a viaductd of our own was, which stands for the first hops. */
static bool is_ours_gone(const struct drive *d)
{
    return vd_path_hop(&d->chain.path, 0)->stands_for && d->number == ECONNREFUSED;
}

static void write_reason(struct vd_out *out, const struct drive *d, int result)
{
    vd_chain_explain(out, &d->chain, result);
    if (result == -VD_ERR_UNREACHABLE && d->number) {
        const char *words = strerrordesc_np(d->number);

        vd_out_text(out, ": ");
        if (is_ours_gone(d))
            words = "the viaductd that was started for it is gone; run the command again";
        vd_out_text(out, words ? words : "unknown error");
    }
}

static void explain(const struct drive *d, int result, enum plan_verbosity level, const char *more)
{
    char text[SAY_MAX];
    struct vd_out out = begin_line(d, text);

    if (!say_wants(level))
        return;
    write_reason(&out, d, result);
    vd_out_text(&out, more);
    say(level, target_told(d), vd_out_string(&out));
}

void drive_say_elsewhere(const struct drive *d, int result)
{
    explain(d, result, PLAN_CONNECTIONS, "; another way is tried");
}

void drive_say_result(struct drive *d, int fd, int result)
{
    char text[SAY_MAX];
    struct vd_out out = vd_out_over(text, sizeof text);

    if (result == DRIVE_FLIGHT_FAILED) {
        vd_out_text(&out, "no answer to a flight: once more, message by message");
    } else if (result == DRIVE_TOO_FAR) {
        vd_out_text(&out, "more was received than the reply: once more");
    } else if (result == DRIVE_ORPHANED) {
        vd_out_text(&out, "the process that made it has ended: once more");
    } else if (result < 0) {
        write_reason(&out, d, result);
    } else {
        vd_out_text(&out, "complete after ");
        vd_out_uint(&out, (uint64_t)(drive_now_ns() - d->start_ns) / 1000000);
        vd_out_text(&out, " ms");
    }
    trace_end(&d->trace, &d->chain, fd, result != DRIVE_DONE, vd_out_string(&out));
}

static void audit(const struct drive *d, int result)
{
    int64_t ms = (drive_now_ns() - d->start_ns) / 1000000;

    if (d->chain.command == VD_CONNECT)
        audit_handshake(&d->chain.target, &d->route, result < 0 ? drive_errno(d, result) : 0,
                        (uint32_t)ms, d->bytes);
}

void drive_report(const struct drive *d, int result)
{
    char text[SAY_MAX];
    struct vd_out out = begin_line(d, text);

    if (audit_is_on())
        audit(d, result);
    if (result < 0) {
        explain(d, result, PLAN_FAILURES, vd_hint(&d->chain, result));
        return;
    }
    if (!say_wants(PLAN_CONNECTIONS))
        return;
    vd_out_text(&out, "connected through ");
    for (unsigned i = 0; i < d->chain.path.count; i++) {
        vd_out_text(&out, i ? ", " : "");
        vd_url_print(&out, vd_path_hop(&d->chain.path, i));
    }
    vd_out_text(&out, " in ");
    vd_out_uint(&out, (uint64_t)(drive_now_ns() - d->start_ns) / 1000000);
    vd_out_text(&out, " ms");
    say(PLAN_CONNECTIONS, target_told(d), vd_out_string(&out));
}
