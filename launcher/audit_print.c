#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "launcher/audit.h"
#include "launcher/say.h"

enum { CELL_MAX = 400, COLUMNS = 7 };

static const char *kind_words(const struct audit_row *row)
{
    if (row->kind == AUDIT_NAME)
        return "lookup";
    return vd_endpoint_is_name(&row->at) ? "name" : "address";
}

static const char *protocol(const struct audit_row *row)
{
    return row->kind == AUDIT_STREAM ? "tcp" : row->kind == AUDIT_DATAGRAMS ? "udp" : "";
}

static const char *rule_title(const struct plan *plan, const struct audit_row *row)
{
    return row->rule < plan->rule_count ? plan_rule(plan, row->rule)->title : "";
}

static const char *chain_title(const struct plan *plan, const struct audit_row *row)
{
    return row->chain < plan->chain_count ? plan_chain(plan, row->chain)->title : "";
}

static const char *result_words(const struct audit_row *row)
{
    const char *name = row->number ? strerrorname_np(row->number) : NULL;

    if (name)
        return name;
    return row->kind == AUDIT_NAME || row->way != AUDIT_BY_CHAIN ? "" : "ok";
}

static void print_target(struct vd_out *out, const struct audit_row *row)
{
    (row->at.port ? vd_endpoint_print : vd_endpoint_print_host)(out, &row->at);
}

/* --- text ------------------------------------------------------------------------------------ */

static void print_way(struct vd_out *out, const struct plan *plan, const struct audit_row *row)
{
    static const char *const connected[] = {"chain ", "direct", "refused", "past the library"};
    static const char *const resolved[] = {"stayed: chain ", "asked here", "stayed: refused", ""};
    const char *rule = rule_title(plan, row);

    vd_out_text(out, (row->kind == AUDIT_NAME ? resolved : connected)[row->way]);
    if (row->way == AUDIT_BY_CHAIN)
        vd_out_text(out, chain_title(plan, row));
    if (*rule) {
        vd_out_text(out, " (");
        vd_out_text(out, rule);
        vd_out_text(out, ")");
    }
}

struct line {
    char cells[COLUMNS][CELL_MAX];
};

static void print_count(char cell[CELL_MAX], uint32_t value)
{
    snprintf(cell, CELL_MAX, "%u", value);
}

static void fill_line(struct line *line, const struct plan *plan, const struct audit_row *row)
{
    struct vd_out target = vd_out_over(line->cells[0], CELL_MAX - 1);
    struct vd_out way = vd_out_over(line->cells[2], CELL_MAX - 1);

    memset(line, 0, sizeof *line);
    print_target(&target, row);
    vd_out_string(&target);
    snprintf(line->cells[1], CELL_MAX, "%s%s%s", kind_words(row), *protocol(row) ? ", " : "",
             protocol(row));
    print_way(&way, plan, row);
    vd_out_string(&way);
    snprintf(line->cells[3], CELL_MAX, "%s", result_words(row));
    print_count(line->cells[4], row->count);
    if (row->kind == AUDIT_STREAM && row->count > 0) {
        print_count(line->cells[5], row->ms_total / row->count);
        print_count(line->cells[6], row->bytes_total / row->count);
    }
}

static void put_line(FILE *out, const struct line *line, const int widths[COLUMNS])
{
    fprintf(out, "  %-*s  %-*s  %-*s  %-*s  %*s", widths[0], line->cells[0], widths[1],
            line->cells[1], widths[2], line->cells[2], widths[3], line->cells[3], widths[4],
            line->cells[4]);
    if (*line->cells[5])
        fprintf(out, "  %*s  %*s", widths[5], line->cells[5], widths[6], line->cells[6]);
    fputc('\n', out);
}

static void widen(int widths[COLUMNS], const struct line *line)
{
    for (int i = 0; i < COLUMNS; i++)
        if ((int)strlen(line->cells[i]) > widths[i])
            widths[i] = (int)strlen(line->cells[i]);
}

static void put_table(FILE *out, const struct audit_report *report, const struct plan *plan)
{
    static const struct line head = {
        {"TARGET", "GIVEN AS", "WAY", "RESULT", "TIMES", "MS", "BYTES"}};
    int widths[COLUMNS] = {0};
    struct line line;

    if (report->count == 0)
        return;
    widen(widths, &head);
    for (size_t i = 0; i < report->count; i++) {
        fill_line(&line, plan, &report->rows[i]);
        widen(widths, &line);
    }
    put_line(out, &head, widths);
    for (size_t i = 0; i < report->count; i++) {
        fill_line(&line, plan, &report->rows[i]);
        put_line(out, &line, widths);
    }
}

static void print_text(FILE *out, const struct audit_report *report, const struct plan *plan)
{
    const uint32_t *n = report->counters;

    fputs(n[AUDIT_OBSERVED] > 0
              ? "viaduct: audit: observed: system calls were seen, too, not only what was called "
                "through the C library\n"
              : "viaduct: audit: hooks only: what was called through the C library was seen, raw "
                "system calls were not\n",
          out);
    if (n[AUDIT_OBSERVED] == 0 && *report->lacks)
        fprintf(out, "viaduct: audit: to see those the command needs %s\n", report->lacks);
    fprintf(out,
            "viaduct: audit: names: %u stayed (%u lookups), %u lookups asked here; DNS past the "
            "chain: %u\n",
            n[AUDIT_PLACEHOLDERS], n[AUDIT_STAYED], n[AUDIT_ASKED], n[AUDIT_LEFT]);
    put_table(out, report, plan);
    if (n[AUDIT_NOT_SHOWN] > 0)
        fprintf(out, "  and %u more, to targets for which the table had no room\n",
                n[AUDIT_NOT_SHOWN]);
}

/* --- JSON ------------------------------------------------------------------------------------ */

/* The texts are titles and targets, which hold no control byte; others are shown as "?". */
static void put_string(FILE *out, const char *name, const char *text)
{
    fprintf(out, ",\"%s\":\"", name);
    for (; *text; text++) {
        if (strchr("\"\\", *text))
            fputc('\\', out);
        fputc(*text < ' ' || *text > '~' ? '?' : *text, out);
    }
    fputc('"', out);
}

static void put_object(FILE *out, const struct plan *plan, const struct audit_row *row)
{
    static const char *const ways[] = {"chain", "direct", "refused", "past"};
    char target[VD_ENDPOINT_TEXT + 1];
    struct vd_out text = vd_out_over(target, sizeof target);

    print_target(&text, row);
    fprintf(out, "{\"count\":%u", row->count);
    put_string(out, "target", vd_out_string(&text));
    put_string(out, "given", kind_words(row));
    if (*protocol(row))
        put_string(out, "protocol", protocol(row));
    put_string(out, "way", ways[row->way]);
    if (row->way == AUDIT_BY_CHAIN)
        put_string(out, "chain", chain_title(plan, row));
    if (*rule_title(plan, row))
        put_string(out, "rule", rule_title(plan, row));
    if (*result_words(row))
        put_string(out, "result", result_words(row));
    if (row->kind == AUDIT_STREAM)
        fprintf(out, ",\"ms_mean\":%u,\"ms_max\":%u,\"handshake_bytes_mean\":%u",
                row->ms_total / (row->count ? row->count : 1), row->ms_max,
                row->bytes_total / (row->count ? row->count : 1));
    fputc('}', out);
}

static void print_json(FILE *out, const struct audit_report *report, const struct plan *plan)
{
    const uint32_t *n = report->counters;
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    fprintf(out,
            "{\"time\":%lld.%03ld,\"program\":\"viaduct\",\"pid\":%d,\"message\":\"audit\","
            "\"observer\":\"%s\",\"names_stayed\":%u,\"lookups_stayed\":%u,"
            "\"lookups_asked_here\":%u,\"dns_past_chain\":%u,\"past_library\":%u,\"not_shown\":%u",
            (long long)now.tv_sec, now.tv_nsec / 1000000, (int)getpid(),
            n[AUDIT_OBSERVED] > 0 ? "system calls" : "hooks only", n[AUDIT_PLACEHOLDERS],
            n[AUDIT_STAYED], n[AUDIT_ASKED], n[AUDIT_LEFT], n[AUDIT_PAST_LIBRARY],
            n[AUDIT_NOT_SHOWN]);
    if (n[AUDIT_OBSERVED] == 0 && *report->lacks)
        put_string(out, "observer_needs", report->lacks);
    fputs(",\"targets\":[", out);
    for (size_t i = 0; i < report->count; i++) {
        fputs(i ? "," : "", out);
        put_object(out, plan, &report->rows[i]);
    }
    fputs("]}\n", out);
}

void audit_print(const struct audit_report *report, const struct plan *plan)
{
    int fd = dup(say_fd());
    FILE *out = fd >= 0 ? fdopen(fd, "a") : NULL;

    if (!out)
        return; /* nobody is left to tell */
    (say_is_json() ? print_json : print_text)(out, report, plan);
    fclose(out);
}
