#include "daemon/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LINE_ROOM = 32768, COLLECTED_ROOM = 2 * LINE_ROOM };

static struct {
    enum log_level level;
    bool json, socket;
    int fd;
    uint64_t lost;
    size_t have;
    struct vd_out line;
    uint8_t line_text[LINE_ROOM];
    char collected[COLLECTED_ROOM];
} to = {.fd = STDERR_FILENO, .level = LOG_NORMAL};

/* O_NONBLOCK belongs to an open file that others share: a pipe or terminal is opened anew. */
void log_open(enum log_level level, bool json)
{
    struct stat st;
    to.level = level;
    to.json = json;
    if (fstat(STDERR_FILENO, &st) != 0)
        return;
    to.socket = S_ISSOCK(st.st_mode);
    if (!S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode))
        return;
    int fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd >= 0)
        to.fd = fd;
}

void log_change(enum log_level level, bool json)
{
    log_flush();
    to.level = level;
    to.json = json;
}

bool log_wants(enum log_level level)
{
    return level <= to.level;
}

/* --- out --- */

static ssize_t put(const char *text, size_t len)
{
    return to.socket ? send(to.fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL)
                     : write(to.fd, text, len);
}

/* As many whole lines as a pipe takes in one piece, or one longer line. */
static size_t portion(const char *text, size_t len)
{
    if (len <= PIPE_BUF)
        return len;
    const char *end = memrchr(text, '\n', PIPE_BUF);
    if (!end)
        end = memchr(text, '\n', len);
    return end ? (size_t)(end - text) + 1 : len;
}

static uint64_t count_lines(const char *text, size_t len)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < len; i++)
        lines += text[i] == '\n';
    return lines;
}

static void tell_lost(void)
{
    char text[96];
    int len = snprintf(text, sizeof text, "%s%llu log lines lost%s",
                       to.json ? "{\"event\":\"message\",\"text\":\"" : "viaductd: ",
                       (unsigned long long)to.lost, to.json ? "\"}\n" : "\n");
    if (put(text, (size_t)len) == len)
        to.lost = 0;
}

void log_flush(void)
{
    size_t at = 0;
    if (to.have > 0 && to.lost > 0)
        tell_lost();
    while (at < to.have) {
        size_t n = portion(to.collected + at, to.have - at);
        if (put(to.collected + at, n) < 0)
            to.lost += count_lines(to.collected + at, n);
        at += n;
    }
    to.have = 0;
}

static void collect(void)
{
    vd_out_u8(&to.line, '\n');
    if (to.have + to.line.len > sizeof to.collected)
        log_flush();
    memcpy(to.collected + to.have, to.line_text, to.line.len);
    to.have += to.line.len;
}

/* --- values --- */

static void escape_json(const uint8_t *text, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        bool plain = text[i] >= 0x20 && text[i] < 0x7f && text[i] != '"' && text[i] != '\\';
        if (!plain) {
            vd_out_text(&to.line, "\\u00");
            vd_out_u8(&to.line, (uint8_t)digits[text[i] >> 4]);
        }
        vd_out_u8(&to.line, plain ? text[i] : (uint8_t)digits[text[i] & 15]);
    }
}

static void json_string(const void *text, size_t len)
{
    vd_out_u8(&to.line, '"');
    escape_json(text, len);
    vd_out_u8(&to.line, '"');
}

static void text_value(const void *text, size_t len)
{
    bool quoted = memchr(text, ' ', len) || (len == 1 && *(const char *)text == '-');
    if (quoted)
        vd_out_u8(&to.line, '"');
    vd_out_shown(&to.line, text, len);
    if (quoted)
        vd_out_u8(&to.line, '"');
}

static void key(const char *name)
{
    if (!to.json) {
        vd_out_u8(&to.line, ' ');
        vd_out_text(&to.line, name);
        vd_out_u8(&to.line, '=');
        return;
    }
    vd_out_u8(&to.line, ',');
    json_string(name, strlen(name));
    vd_out_u8(&to.line, ':');
}

/* UTC; the date is printed anew only when the second changes. */
static const char *time_text(void)
{
    static char text[40];
    static time_t second;
    static size_t n;
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec != second) {
        second = now.tv_sec;
        gmtime_r(&second, &tm);
        n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    }
    snprintf(text + n, sizeof text - n, ".%03dZ", (int)(now.tv_nsec / 1000000 % 1000));
    return text;
}

/* --- lines --- */

void log_begin(const char *event)
{
    to.line = vd_out_over(to.line_text, sizeof to.line_text - 1);
    if (!to.json) {
        vd_out_text(&to.line, "viaductd: ");
        vd_out_text(&to.line, event);
        return;
    }
    vd_out_text(&to.line, "{\"event\":");
    json_string(event, strlen(event));
}

void log_time(void)
{
    log_word("time", time_text());
}

void log_text(const char *name, const void *text, size_t len)
{
    key(name);
    if (to.json)
        json_string(text, len);
    else if (len == 0)
        vd_out_u8(&to.line, '-');
    else
        text_value(text, len);
}

void log_word(const char *name, const char *word)
{
    key(name);
    if (to.json)
        json_string(word, strlen(word));
    else
        vd_out_text(&to.line, word);
}

void log_addr(const char *name, const struct net_addr *addr)
{
    char text[VD_ENDPOINT_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);
    net_addr_print(&out, addr);
    log_word(name, vd_out_string(&out));
}

void log_endpoint(const char *name, const struct vd_endpoint *e)
{
    char text[VD_ENDPOINT_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);
    vd_endpoint_print(&out, e);
    log_text(name, text, out.len);
}

void log_number(const char *name, uint64_t number)
{
    key(name);
    vd_out_uint(&to.line, number);
}

void log_end(void)
{
    if (to.json)
        vd_out_u8(&to.line, '}');
    to.line.cap++; /* the room kept for the end of the line */
    to.line.ok = true;
    collect();
}

void log_say(enum log_level level, const char *format, ...)
{
    char text[2048];
    va_list args;
    if (!log_wants(level))
        return;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (len >= (int)sizeof text)
        len = sizeof text - 1;
    log_begin(to.json ? "message" : "");
    if (to.json) {
        log_text("text", text, (size_t)len);
        log_time();
    } else {
        vd_out_bytes(&to.line, text, (size_t)len);
    }
    log_end();
}
