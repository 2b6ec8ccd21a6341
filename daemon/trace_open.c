#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/trace_state.h"
#include "proto/bytes.h"

enum { FD_LEAST = 10, HEAD_MAX = 256 };

bool trace_wanted;
struct trace_way trace_way = {.fd = STDERR_FILENO};

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);
    return len > end_len && strcmp(text + len - end_len, end) == 0;
}

static enum trace_format format_of(const struct trace_wish *wish)
{
    if (wish->format != TRACE_BY_NAME)
        return wish->format;
    if (wish->file && ends_with(wish->file, ".pcapng"))
        return TRACE_PCAPNG;
    if (wish->file && (ends_with(wish->file, ".pcap") || ends_with(wish->file, ".cap")))
        return TRACE_PCAP;
    return TRACE_TEXT;
}

/* A copy of the descriptor that /dev/fd/N means; -1 if that is not meant. */
static int given_fd(const char *file)
{
    static const char folder[] = "/dev/fd/";
    const char *number = file + sizeof folder - 1;
    if (strncmp(file, folder, sizeof folder - 1) != 0)
        return -1;
    int64_t fd = vd_uint_read(number, strlen(number), INT32_MAX);
    return fd < 0 ? -1 : fcntl((int)fd, F_DUPFD_CLOEXEC, FD_LEAST);
}

static int open_file(const char *file)
{
    int fd = given_fd(file);
    if (fd >= 0)
        return fd;
    return open(file, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOCTTY | O_CLOEXEC, 0600);
}

static ssize_t write_head(void)
{
    uint8_t text[HEAD_MAX];
    struct vd_out out = vd_out_over(text, sizeof text);
    if (trace_way.goes_on || trace_way.format == TRACE_TEXT)
        return 0;
    vd_capture_head(&out, trace_way.format == TRACE_PCAP);
    return write(trace_way.fd, text, out.len) == (ssize_t)out.len ? 0 : -1;
}

static int complain(const char *file, const char *why, char **error)
{
    if (asprintf(error, "--trace%s%s: %s", file ? "=" : "", file ? file : "", why) < 0)
        *error = NULL;
    return -1;
}

int trace_open(const struct trace_wish *wish, char **error)
{
    if (!wish->wanted)
        return 0;
    trace_way.format = format_of(wish);
    trace_way.secrets = wish->secrets;
    trace_way.goes_on = wish->goes_on;
    trace_way.payload = wish->payload;
    if (!wish->file && trace_way.format != TRACE_TEXT)
        return complain(NULL, "a capture needs a file; give --trace=FILE", error);
    if (wish->file)
        trace_way.fd = open_file(wish->file);
    if (trace_way.fd < 0 || write_head() != 0) {
        char why[256];
        snprintf(why, sizeof why, "it cannot be written: %s", strerror(errno));
        return complain(wish->file, why, error);
    }
    trace_wanted = true;
    return 0;
}

void trace_write(const void *data, size_t len)
{
    ssize_t n = trace_wanted ? write(trace_way.fd, data, len) : (ssize_t)len;
    if (n == (ssize_t)len)
        return;
    trace_wanted = false;
    log_say(LOG_QUIET, "the trace ends here, since it cannot be written: %s",
            n < 0 ? strerror(errno) : strerror(ENOSPC));
}
