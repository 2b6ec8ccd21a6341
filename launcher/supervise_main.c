/*
 * viaduct-supervise PATH ARGV0 [ARG...]: becomes PATH, in the care of a supervisor.
 *
 * A part of viaduct, not for users: the launcher and the library's exec hooks execute it where a
 * program cannot be carried otherwise. VIADUCT_SESSION names the session.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/program.h"
#include "client/session.h"
#include "client/supervised.h"
#include "launcher/say.h"
#include "launcher/supervise.h"

static const char *base_name(const char *path, size_t len)
{
    const char *slash = memrchr(path, '/', len);

    return slash ? slash + 1 : path;
}

static bool is_library(const char *path, size_t len)
{
    static const char own[] = "libviaduct.so";
    const char *name = base_name(path, len);

    return (size_t)(path + len - name) == sizeof own - 1 && !memcmp(name, own, sizeof own - 1);
}

/* Another libc's loader would not start a program with our library. */
static void drop_library(void)
{
    const char *list = getenv("LD_PRELOAD");
    char *kept = list ? calloc(1, strlen(list) + 1) : NULL;

    if (!kept)
        return;
    while (*(list += strspn(list, ": "))) {
        size_t len = strcspn(list, ": ");

        if (!is_library(list, len)) {
            strcat(kept, *kept ? ":" : "");
            strncat(kept, list, len);
        }
        list += len;
    }
    if (*kept)
        setenv("LD_PRELOAD", kept, 1);
    else
        unsetenv("LD_PRELOAD");
    free(kept);
}

static void attach(void)
{
    const char *path = getenv(SESSION_ENV), *why;

    if (!path)
        say_die(EXIT_OWN, "viaduct-supervise is a part of viaduct, which starts it");
    if (session_attach(path, &why) != SESSION_READY)
        say_die(EXIT_OWN, "%s", why);
    say_setup((enum plan_verbosity)session_plan()->verbosity, -1, session_plan()->log_json);
}

/* Who only looks on is done without where the system has no place for him. */
static bool is_needed(enum program_fault fault)
{
    const struct plan *plan = session_plan();

    return plan->strict || plan->engine == PLAN_ENGINE_SUPERVISE || !plan->audit ||
           program_needs_supervisor(fault);
}

int main(int argc, char **argv)
{
    static struct program program;
    const char *path;

    if (argc < 3)
        say_die(EXIT_OWN, "viaduct-supervise is a part of viaduct, which starts it");
    attach();
    path = argv[1];
    if (program_judge(&program, path) == PROGRAM_OTHER_LIBC)
        drop_library();
    if (!supervised_is())
        supervise_start(argv, is_needed(program.fault));
    execv(path, argv + 2);
    say_die(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN, "%s: %s", path, strerror(errno));
}
