/*
 *     14:03:22.123999 curl[4711] #1 fd 5 > hop 1 of 2 (socks5h://gw.example:1080) 3 bytes: ...
 *         0000  05                       .         VER         SOCKS version 5
 */
#include <string.h>

#include "client/trace_page.h"
#include "proto/describe_print.h"

enum { DAY_S = 24 * 60 * 60 };

static void put_digits(struct vd_out *out, uint64_t value, unsigned digits)
{
    uint64_t unit = 1;

    while (--digits > 0)
        unit *= 10;
    for (; unit > 0; unit /= 10)
        vd_out_u8(out, (uint8_t)('0' + value / unit % 10));
}

/* In UTC: libc's calendar would take the lock of its time zones. */
static void put_time(struct vd_out *out, const struct timespec *when)
{
    uint64_t second = (uint64_t)(when->tv_sec % DAY_S);

    put_digits(out, second / 3600, 2);
    vd_out_text(out, ":");
    put_digits(out, second / 60 % 60, 2);
    vd_out_text(out, ":");
    put_digits(out, second % 60, 2);
    vd_out_text(out, ".");
    put_digits(out, (uint64_t)when->tv_nsec / 1000, 6);
}

void trace_text_head(struct vd_out *out, bool secrets, time_t now)
{
    struct tm day;

    gmtime_r(&now, &day);
    vd_out_text(out, "viaduct: trace of the handshakes from ");
    put_digits(out, (uint64_t)day.tm_year + 1900, 4);
    vd_out_text(out, "-");
    put_digits(out, (uint64_t)day.tm_mon + 1, 2);
    vd_out_text(out, "-");
    put_digits(out, (uint64_t)day.tm_mday, 2);
    vd_out_text(out, ", times in UTC; ");
    vd_out_text(out, secrets ? "with passwords\n" : "a password is shown as ********\n");
}

/* "14:03:22.123999 curl[4711] #1 fd 5 " */
static void put_who(struct trace_page *page)
{
    const struct say_speaker *speaker = &page->speaker;

    put_time(&page->out, &page->when);
    vd_out_text(&page->out, " ");
    vd_out_shown(&page->out, speaker->name, strnlen(speaker->name, sizeof speaker->voice.name));
    vd_out_text(&page->out, "[");
    vd_out_uint(&page->out, (uint64_t)speaker->pid);
    vd_out_text(&page->out, "] #");
    vd_out_uint(&page->out, page->trace->number);
    vd_out_text(&page->out, " fd ");
    vd_out_uint(&page->out, page->fd < 0 ? 0 : (uint64_t)page->fd);
    vd_out_text(&page->out, " ");
}

void trace_text_line(struct trace_page *page, const char *what, const char *more)
{
    put_who(page);
    vd_out_text(&page->out, "- ");
    vd_out_text(&page->out, what);
    vd_out_text(&page->out, more);
    vd_out_text(&page->out, "\n");
}

void trace_text_message(struct trace_page *page, const struct trace_message *m)
{
    struct vd_out *out = &page->out;

    put_who(page);
    vd_out_text(out, m->said ? "> hop " : "< hop ");
    vd_out_uint(out, m->at + 1u);
    vd_out_text(out, " of ");
    vd_out_uint(out, page->chain->path.count);
    vd_out_text(out, " (");
    vd_url_print(out, vd_path_hop(&page->chain->path, m->at));
    vd_out_text(out, ") ");
    vd_out_uint(out, m->len);
    vd_out_text(out, m->len == 1 ? " byte: " : " bytes: ");
    vd_out_text(out, vd_says_title(m->says));
    vd_out_text(out, "\n");
    vd_describe_print(out, m->says, m->data, m->len, &page->field);
}
