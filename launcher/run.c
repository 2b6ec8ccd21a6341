#include "launcher/run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/session.h"
#include "launcher/parts.h"
#include "launcher/say.h"
#include "proto/bytes.h"

/* --- the environment ------------------------------------------------------------------------- */

void run_scrub_environment(void)
{
    static const char *const names[] = {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY",
                                        "all_proxy",  "ALL_PROXY",  "ftp_proxy",   "FTP_PROXY"};
    char list[256];
    struct vd_out out = vd_out_over(list, sizeof list);

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (getenv(names[i])) {
            vd_out_text(&out, out.len ? ", " : "");
            vd_out_text(&out, names[i]);
            unsetenv(names[i]);
        }
    if (out.len > 0)
        say_note("removed from the command's environment: %s", vd_out_string(&out));
}

static void set(const char *name, const char *value)
{
    if (setenv(name, value, 1) < 0)
        say_die(EXIT_OWN, "%s: %s", name, strerror(errno));
}

/* What is preloaded already stays, behind ours. */
static void preload(const char *library)
{
    const char *others = getenv("LD_PRELOAD");
    char *value = NULL;

    if (!others || !*others) {
        set("LD_PRELOAD", library);
        return;
    }
    if (asprintf(&value, "%s:%s", library, others) < 0)
        say_die(EXIT_OWN, "out of memory");
    set("LD_PRELOAD", value);
    free(value);
}

/* --- the command ----------------------------------------------------------------------------- */

/* `first` words in the place of the first of argv; NULL: out of memory. */
static char **begin_with(const char *const *first, size_t first_count, char **argv)
{
    size_t count = 0;
    while (argv[count])
        count++;

    char **longer = calloc(first_count + count + 1, sizeof *longer);
    if (!longer)
        return NULL;
    memcpy(longer, first, first_count * sizeof *longer);
    memcpy(longer + first_count, argv + 1, count * sizeof *longer); /* and the NULL */
    return longer;
}

/* The shell takes the place of a text. */
static void run_by_shell(const char *script, char **argv)
{
    char **longer = begin_with((const char *[]){"/bin/sh", script}, 2, argv);

    if (longer)
        execv("/bin/sh", longer);
}

/* What is to be preloaded goes with the words: nothing must be, into who starts the supervisor. */
static void run_supervised(const struct found *found, char **argv)
{
    char starter[PATH_MAX];
    const char *libraries = getenv("LD_PRELOAD");
    char **longer;

    libraries = libraries ? libraries : "";
    parts_supervisor(starter);
    longer =
        found->by_shell
            ? begin_with((const char *[]){starter, libraries, "/bin/sh", "/bin/sh", found->path}, 5,
                         argv)
            : begin_with((const char *[]){starter, libraries, found->path, argv[0]}, 4, argv);
    unsetenv("LD_PRELOAD");
    if (longer)
        execv(starter, longer);
}

void run_command(const struct found *found, char **argv, const char *library, const char *session)
{
    if (library)
        preload(library);
    set(SESSION_ENV, session);
    if (found->supervised)
        run_supervised(found, argv);
    else if (found->by_shell)
        run_by_shell(found->path, argv);
    else
        execv(found->path, argv);
    int error = errno;
    unlink(session);
    say_die(EXIT_CANNOT_RUN, "%s: %s", found->path, strerror(error));
}
