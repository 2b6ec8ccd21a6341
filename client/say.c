#include "client/say.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "client/session.h"
#include "client/sys.h"

static void (*ask_voice)(struct say_voice *voice);

void say_for_others(void (*ask)(struct say_voice *voice))
{
    ask_voice = ask;
}

void say_find_speaker(struct say_speaker *s)
{
    s->name = program_invocation_short_name;
    s->pid = getpid();
    s->fd = STDERR_FILENO;
    if (!ask_voice)
        return;
    ask_voice(&s->voice);
    s->name = s->voice.name;
    s->pid = s->voice.pid;
    s->fd = s->voice.fd;
}

void say_forget_speaker(const struct say_speaker *s)
{
    if (ask_voice && s->fd >= 0)
        sys.close(s->fd);
}

bool say_wants(enum plan_verbosity level)
{
    const struct plan *plan = session_plan();

    return plan && plan->verbosity >= level;
}

static void json_string(struct vd_out *out, const char *text)
{
    static const char hex[] = "0123456789abcdef";

    vd_out_text(out, "\"");
    for (; *text; text++) {
        uint8_t c = (uint8_t)*text;

        if (c == '"' || c == '\\')
            vd_out_bytes(out, (const char[]){'\\', (char)c}, 2);
        else if (c < 0x20 || c >= 0x7f)
            vd_out_bytes(out, (const char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
        else
            vd_out_u8(out, c);
    }
    vd_out_text(out, "\"");
}

/* Seconds since the epoch: a calendar would take libc's time zone lock. */
static void json_time(struct vd_out *out)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    vd_out_uint(out, (uint64_t)now.tv_sec);
    vd_out_text(out, ".");
    for (long digit = 100, ms = now.tv_nsec / 1000000; digit > 0; digit /= 10)
        vd_out_u8(out, (uint8_t)('0' + ms / digit % 10));
}

static void write_json(struct vd_out *out, const struct say_speaker *s, const char *target,
                       const char *message)
{
    vd_out_text(out, "{\"time\":");
    json_time(out);
    vd_out_text(out, ",\"program\":");
    json_string(out, s->name);
    vd_out_text(out, ",\"pid\":");
    vd_out_uint(out, (uint64_t)s->pid);
    if (*target) {
        vd_out_text(out, ",\"target\":");
        json_string(out, target);
    }
    vd_out_text(out, ",\"message\":");
    json_string(out, message);
    vd_out_text(out, "}");
}

static void write_text(struct vd_out *out, const struct say_speaker *s, const char *target,
                       const char *message)
{
    vd_out_text(out, "viaduct: ");
    vd_out_shown(out, s->name, strlen(s->name));
    vd_out_text(out, "[");
    vd_out_uint(out, (uint64_t)s->pid);
    vd_out_text(out, "]: ");
    if (*target) {
        vd_out_text(out, target);
        vd_out_text(out, ": ");
    }
    vd_out_text(out, message);
}

bool say_reaches_stderr(const struct say_speaker *s)
{
    const struct plan *plan = session_plan();
    struct stat st;
    uint64_t dev = (uint64_t)plan->stderr_dev[1] << 32 | plan->stderr_dev[0];
    uint64_t ino = (uint64_t)plan->stderr_ino[1] << 32 | plan->stderr_ino[0];

    return plan->has_stderr && fstat(s->fd, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

static void emit(const struct plan *plan, const struct say_speaker *s, const struct vd_out *line)
{
    int fd = s->fd;

    if (plan->has_log)
        fd = open(plan->log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
    else if (!say_reaches_stderr(s))
        return;
    if (fd < 0)
        return;
    if (sys.write(fd, line->to, line->len) < 0)
        errno = 0; /* nowhere left to complain */
    if (plan->has_log)
        sys.close(fd);
}

void say(enum plan_verbosity level, const struct vd_endpoint *target, const char *message)
{
    char shown[VD_ENDPOINT_TEXT + 1] = "", buf[SAY_MAX];
    struct vd_out name = vd_out_over(shown, sizeof shown - 1);
    struct vd_out line = vd_out_over(buf, sizeof buf - 1);
    struct say_speaker speaker;
    int saved = errno;

    if (!say_wants(level))
        return;
    say_find_speaker(&speaker);
    if (target)
        vd_endpoint_print(&name, target);
    vd_out_string(&name);
    (session_plan()->log_json ? write_json : write_text)(&line, &speaker, shown, message);
    line.cap++;
    line.ok = true;
    vd_out_text(&line, "\n");
    emit(session_plan(), &speaker, &line);
    say_forget_speaker(&speaker);
    errno = saved;
}

static void say_without_plan(const char *message, const char *more)
{
    char buf[SAY_MAX];
    struct vd_out line = vd_out_over(buf, sizeof buf);
    struct say_speaker speaker;
    int saved = errno;

    say_find_speaker(&speaker);
    write_text(&line, &speaker, "", message);
    vd_out_text(&line, more);
    vd_out_text(&line, "\n");
    if (sys.write(speaker.fd, line.to, line.len) < 0)
        errno = 0;
    say_forget_speaker(&speaker);
    errno = saved;
}

void say_always(const char *message)
{
    if (session_plan())
        say(PLAN_FAILURES, NULL, message);
    else
        say_without_plan(message, "");
}

void say_broken(const char *why)
{
    static bool said;

    if (!__atomic_exchange_n(&said, true, __ATOMIC_RELAXED))
        say_without_plan("every connection is refused: ", why);
}
