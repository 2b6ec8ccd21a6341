#include "daemon/admin_write.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void admin_print(struct vd_out *out, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    vd_out_bytes(out, text, len < 0 ? 0 : len < (int)sizeof text ? (size_t)len : sizeof text - 1);
}

void admin_print_html(struct vd_out *out, const char *text)
{
    for (; *text; text++) {
        switch (*text) {
        case '&':
            vd_out_text(out, "&amp;");
            break;
        case '<':
            vd_out_text(out, "&lt;");
            break;
        case '>':
            vd_out_text(out, "&gt;");
            break;
        case '"':
            vd_out_text(out, "&quot;");
            break;
        case '\'':
            vd_out_text(out, "&#39;");
            break;
        default:
            vd_out_u8(out, (uint8_t)*text);
        }
    }
}

void admin_print_quoted(struct vd_out *out, const char *text)
{
    vd_out_u8(out, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            vd_out_u8(out, '\\');
        vd_out_u8(out, (uint8_t)*text);
    }
    vd_out_u8(out, '"');
}

void admin_print_bytes(struct vd_out *out, double bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    size_t unit = 0;
    for (; bytes >= 999.5 && unit + 1 < sizeof units / sizeof *units; unit++)
        bytes /= 1000;
    admin_print(out, unit == 0 || bytes >= 99.95 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
}

void admin_print_number(struct vd_out *out, double number)
{
    char digits[32];
    if (number < 99.95 && number != (double)(int64_t)number) {
        admin_print(out, "%.1f", number);
        return;
    }
    size_t len = (size_t)snprintf(digits, sizeof digits, "%.0f", number);
    for (size_t i = 0; i < len; i++) {
        vd_out_u8(out, (uint8_t)digits[i]);
        if (i + 1 < len && (len - i - 1) % 3 == 0)
            vd_out_u8(out, ',');
    }
}

void admin_print_age(struct vd_out *out, int64_t ms)
{
    long long s = ms < 0 ? 0 : ms / 1000;
    if (s < 60)
        admin_print(out, "%lld s", s);
    else if (s < 3600)
        admin_print(out, s % 60 ? "%lld min %lld s" : "%lld min", s / 60, s % 60);
    else if (s < 86400)
        admin_print(out, "%lld h %lld min", s / 3600, s / 60 % 60);
    else
        admin_print(out, "%lld d %lld h", s / 86400, s / 3600 % 24);
}

double admin_rate(const struct shared_sample *from, const struct shared_sample *to, uint64_t before,
                  uint64_t after)
{
    int64_t ms = to->at_ms - from->at_ms;
    return ms > 0 && after > before ? (double)(after - before) * 1000 / (double)ms : 0;
}

struct admin_rates admin_rates_now(const struct admin_view *v)
{
    enum { BACK = 3 }; /* samples: one alone jumps about */
    if (v->sample_count < 2)
        return (struct admin_rates){.up = 0};
    unsigned back = v->sample_count > BACK ? BACK : v->sample_count - 1;
    const struct shared_sample *b = &v->samples[v->sample_count - 1], *a = b - back;
    return (struct admin_rates){.accepted = admin_rate(a, b, a->accepted, b->accepted),
                                .up = admin_rate(a, b, a->bytes_up, b->bytes_up),
                                .down = admin_rate(a, b, a->bytes_down, b->bytes_down),
                                .refused = admin_rate(a, b, a->refused, b->refused)};
}
