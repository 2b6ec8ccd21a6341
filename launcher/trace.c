#include "launcher/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/trace.h"
#include "launcher/say.h"

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);

    return len > end_len && !strcmp(text + len - end_len, end);
}

static enum plan_trace format_of(const struct options *o)
{
    if (o->trace_format != PLAN_TRACE_OFF)
        return (enum plan_trace)o->trace_format;
    if (o->trace_file && ends_with(o->trace_file, ".pcapng"))
        return PLAN_TRACE_PCAPNG;
    if (o->trace_file && (ends_with(o->trace_file, ".pcap") || ends_with(o->trace_file, ".cap")))
        return PLAN_TRACE_PCAP;
    return PLAN_TRACE_TEXT;
}

/* The program may change its directory before it has something to trace. */
static void set_file(struct plan *plan, const char *file)
{
    char dir[PLAN_TRACE_MAX + 1] = "";
    int len;

    if (*file != '/' && !getcwd(dir, sizeof dir))
        say_die(EXIT_OWN, "--trace=%s: the working directory: %s", file, strerror(errno));
    len = snprintf(plan->trace_file, sizeof plan->trace_file, "%s%s%s", dir,
                   *file == '/' ? "" : "/", file);
    if (len > PLAN_TRACE_MAX)
        say_die(EXIT_OWN, "--trace=%s: too long; allowed: an absolute path of up to %d bytes", file,
                PLAN_TRACE_MAX);
}

static void begin_file(const struct plan *plan)
{
    uint8_t text[TRACE_HEAD_MAX];
    ssize_t len = (ssize_t)trace_head(text, plan->trace, plan->trace_secrets);
    int fd = STDERR_FILENO;

    if (plan->trace_file[0])
        fd = open(plan->trace_file,
                  O_WRONLY | O_CREAT | O_TRUNC | O_NOCTTY | O_CLOEXEC | O_NONBLOCK, 0600);
    if (fd < 0 || write(fd, text, (size_t)len) != len)
        say_die(EXIT_OWN, "--trace=%s: it cannot be written: %s", plan->trace_file,
                strerror(errno));
    if (plan->trace_file[0])
        close(fd);
}

void trace_setup(struct plan *plan, const struct options *o)
{
    if (!o->trace && (o->trace_secrets || o->trace_format != PLAN_TRACE_OFF))
        say_die(EXIT_OWN,
                "--trace-secrets and --trace-format say how to trace; --trace is missing");
    if (!o->trace)
        return;
    plan->trace = (uint8_t)format_of(o);
    plan->trace_secrets = o->trace_secrets;
    if (!o->trace_file && plan->trace != PLAN_TRACE_TEXT)
        say_die(EXIT_OWN, "--trace-format: a capture needs a file; give --trace=FILE");
    if (o->trace_file)
        set_file(plan, o->trace_file);
    begin_file(plan);
}
