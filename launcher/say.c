#include "launcher/say.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/bytes.h"

enum { TEXT_MAX = 3072 };

static struct {
    enum plan_verbosity verbosity;
    int fd;
    bool json;
} say = {PLAN_FAILURES, STDERR_FILENO, false};

void say_setup(enum plan_verbosity verbosity, int log_fd, bool json)
{
    say.verbosity = verbosity;
    say.fd = log_fd < 0 ? STDERR_FILENO : log_fd;
    say.json = json;
}

int say_fd(void)
{
    return say.fd;
}

bool say_is_json(void)
{
    return say.json;
}

/* In the manner of the library's lines. */
static void write_json(struct vd_out *out, const char *text)
{
    struct timespec now;
    char head[96];

    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(head, sizeof head, "{\"time\":%lld.%03ld,\"program\":\"viaduct\",\"pid\":%d",
             (long long)now.tv_sec, now.tv_nsec / 1000000, (int)getpid());
    vd_out_text(out, head);
    vd_out_text(out, ",\"message\":\"");
    for (; *text; text++) {
        vd_out_text(out, strchr("\"\\", *text) ? "\\" : "");
        vd_out_u8(out, (uint8_t)(*text < ' ' || *text > '~' ? '?' : *text));
    }
    vd_out_text(out, "\"}");
}

/* One write, so that lines of several processes do not mix. */
static void put(int fd, bool json, const char *text)
{
    char line[2 * TEXT_MAX + 256];
    struct vd_out out = vd_out_over(line, sizeof line);

    if (json) {
        write_json(&out, text);
    } else {
        vd_out_text(&out, "viaduct: ");
        vd_out_text(&out, text);
    }
    vd_out_text(&out, "\n");
    if (write(fd, out.to, out.len) < 0)
        return; /* nobody is left to tell */
}

static void format_line(char *text, size_t cap, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

static void format_line(char *text, size_t cap, const char *format, va_list args)
{
    if (vsnprintf(text, cap, format, args) < 0)
        text[0] = 0;
}

void say_die(int status, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;

    va_start(args, format);
    format_line(text, sizeof text, format, args);
    va_end(args);
    put(STDERR_FILENO, false, text);
    if (say.fd != STDERR_FILENO)
        put(say.fd, say.json, text);
    exit(status);
}

void say_warning(const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;

    if (say.verbosity == PLAN_QUIET)
        return;
    va_start(args, format);
    format_line(text, sizeof text, format, args);
    va_end(args);
    put(say.fd, say.json, text);
}

void say_note(const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;

    if (say.verbosity < PLAN_CONNECTIONS)
        return;
    va_start(args, format);
    format_line(text, sizeof text, format, args);
    va_end(args);
    put(say.fd, say.json, text);
}
