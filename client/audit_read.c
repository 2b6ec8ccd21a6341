#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/audit_table.h"

static int by_turn(const void *a, const void *b)
{
    uint32_t x = ((const struct audit_row *)a)->turn, y = ((const struct audit_row *)b)->turn;

    return (x > y) - (x < y);
}

static void join(struct audit_row *to, const struct audit_row *from)
{
    to->count += from->count;
    to->ms_total += from->ms_total;
    to->bytes_total += from->bytes_total;
    to->ms_max = from->ms_max > to->ms_max ? from->ms_max : to->ms_max;
}

/* A row may stand twice, and then both lie within one window behind their hash: rows are still in
 * the table's order here. */
static bool is_joined(struct audit_report *report, const struct audit_row *row)
{
    for (size_t i = report->count; i > 0; i--)
        if (audit_same(&report->rows[i - 1], row)) {
            join(&report->rows[i - 1], row);
            return true;
        }
    return false;
}

/* The fields of a row that printing relies on. */
static bool is_sound(const struct audit_row *row)
{
    return row->kind <= AUDIT_NAME && row->way <= AUDIT_PAST &&
           row->at.name[row->at.name_len] == 0 &&
           (row->at.name_len > 0 || row->at.ip.family == VD_IPV4 || row->at.ip.family == VD_IPV6);
}

static void take_rows(struct audit_report *report, const uint8_t *table)
{
    for (size_t i = 0; i < SESSION_AUDIT_MAX; i++) {
        const uint8_t *place = table + SESSION_PLAIN_RECORDS_AT + i * SESSION_AUDIT_SIZE;
        struct audit_row row;

        memcpy(&row, place, sizeof row);
        if (row.state == AUDIT_WRITTEN && is_sound(&row) && !is_joined(report, &row))
            report->rows[report->count++] = row;
    }
    qsort(report->rows, report->count, sizeof *report->rows, by_turn);
}

/* Any process of the session may have written there. */
static void take_lacks(struct audit_report *report, const struct audit_head *head)
{
    for (size_t i = 0; i + 1 < sizeof report->lacks && isprint((unsigned char)head->lacks[i]); i++)
        report->lacks[i] = head->lacks[i];
}

/* By reading, not by a mapping: that would give parts storage that nobody has written to. */
static int read_table(uint8_t *table, int fd)
{
    struct stat st;
    ssize_t n;

    if (fstat(fd, &st) < 0)
        return errno;
    if (st.st_size < SESSION_AUDIT_LEN)
        return EINVAL;
    n = pread(fd, table, SESSION_AUDIT_LEN, st.st_size - SESSION_AUDIT_LEN);
    return n < 0 ? errno : n == SESSION_AUDIT_LEN ? 0 : EIO;
}

int audit_read(struct audit_report *report, int fd)
{
    uint8_t *table = calloc(1, SESSION_AUDIT_LEN);
    int error;

    memset(report, 0, sizeof *report);
    report->rows = calloc(SESSION_AUDIT_MAX, sizeof *report->rows);
    error = table && report->rows ? read_table(table, fd) : ENOMEM;
    if (!error) {
        memcpy(report->counters, ((const struct audit_head *)table)->counters,
               sizeof report->counters);
        take_lacks(report, (const struct audit_head *)table);
        take_rows(report, table);
    }
    free(table);
    return error;
}
