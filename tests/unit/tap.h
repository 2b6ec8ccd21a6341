/*
 * tap: a row of a test is one line of TAP; what went wrong stands before it as notes.
 *
 *     tap_begin();
 *     if (got != wanted)
 *         tap_wrong("got %d instead of %d", got, wanted);
 *     tap_end("name of the row");
 *     ...
 *     return tap_done();
 */
#ifndef TESTS_UNIT_TAP_H
#define TESTS_UNIT_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

static unsigned tap_rows, tap_failed, tap_wrongs;

static inline void tap_begin(void)
{
    tap_wrongs = 0;
}

/* Only the first notes of a row are told: the same defect shows at every chunk size. */
__attribute__((format(printf, 1, 2))) static inline void tap_wrong(const char *format, ...)
{
    va_list args;

    if (++tap_wrongs > 3)
        return;
    va_start(args, format);
    fputs("#   ", stdout);
    vprintf(format, args);
    fputs("\n", stdout);
    va_end(args);
}

/* In a name "#" would begin a directive of TAP. */
static inline void tap_end(const char *name)
{
    tap_rows++;
    tap_failed += tap_wrongs > 0;
    printf("%s %u - ", tap_wrongs > 0 ? "not ok" : "ok", tap_rows);
    for (; *name; name++)
        putchar(*name < 0x20 || *name > 0x7e || *name == '#' ? '?' : *name);
    putchar('\n');
}

/* A row of a single condition. */
__attribute__((format(printf, 2, 3))) static inline void tap_ok(bool ok, const char *format, ...)
{
    char name[256];
    va_list args;

    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    tap_wrongs = !ok;
    tap_end(name);
}

/* A test without rows has failed. */
static inline int tap_done(void)
{
    printf("1..%u\n", tap_rows);
    return tap_failed > 0 || tap_rows == 0;
}

#endif
