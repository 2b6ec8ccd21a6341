/*
 * conf_test: what the tests of configuration files share.
 */
#ifndef TESTS_CONF_CONF_TEST_H
#define TESTS_CONF_CONF_TEST_H

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/tap.h"

/* The name under which a row's text is read. */
#define CONF_FILE "x.conf"

/* A text, and the whole error that it must give: "x.conf:LINE: ..."; NULL: it must be taken. */
struct conf_row {
    const char *text, *error;
};

extern const struct conf_row conf_client_rows[], conf_daemon_rows[]; /* ended by a NULL text */

/* Goes to an empty directory whose name is put into `dir`. */
static inline void conf_enter(char dir[32])
{
    strcpy(dir, "/tmp/conf_test.XXXXXX");
    if (!mkdtemp(dir) || chdir(dir) < 0)
        abort();
}

static inline void conf_write(const char *name, const char *text, size_t len)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, text, len) != (ssize_t)len)
        abort();
    close(fd);
}

/* Notes it as wrong if the texts differ; NULL is the empty one. Frees `got`. */
static inline void conf_same(char *got, const char *want)
{
    if (strcmp(got ? got : "", want ? want : ""))
        tap_wrong("got  %s\n#   want %s", got ? got : "(nothing)", want ? want : "(nothing)");
    free(got);
}

#endif
