/*
 * viaduct-supervise LIBRARIES PATH ARGV0 [ARG...]: becomes PATH, in the care of a supervisor.
 *
 * A part of viaduct, not for users: the launcher and the library's exec hooks execute it where a
 * program cannot be carried otherwise. VIADUCT_SESSION names the session.
 * LIBRARIES is the LD_PRELOAD of PATH: the library would be in the way here.
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

/* A path that only glibc's loader can follow, as it replaces $LIB by the name of a folder that
 * there is: others find nothing there and go on, where our library would keep them from starting.
 */
#define FOR_GLIBC "/$LIB/../../../../../../../.."

/* `list` with our library left out, or by a path for glibc alone. */
static void change_library(char *to, const char *list, bool leave_out)
{
    while (*(list += strspn(list, ": "))) {
        size_t len = strcspn(list, ": ");
        bool ours = is_library(list, len);

        if (!ours || !leave_out) {
            strcat(to, *to ? ":" : "");
            strcat(to, ours && *list == '/' ? FOR_GLIBC : "");
            strncat(to, list, len);
        }
        list += len;
    }
}

/* Another libc's loader would not start this program with our library; a static program takes none,
 * but may start programs of whatever libc. */
static void set_libraries(const char *list, enum program_fault fault)
{
    char *changed = calloc(strlen(list) + 2, sizeof FOR_GLIBC);

    if (!changed)
        say_die(EXIT_OWN, "out of memory");
    if (program_needs_supervisor(fault))
        change_library(changed, list, fault == PROGRAM_OTHER_LIBC);
    else
        strcpy(changed, list);
    if (*changed && setenv("LD_PRELOAD", changed, 1) < 0)
        say_die(EXIT_OWN, "out of memory");
    free(changed);
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

    if (argc < 4)
        say_die(EXIT_OWN, "viaduct-supervise is a part of viaduct, which starts it");
    attach();
    path = argv[2];
    program_judge(&program, path);
    if (!supervised_is())
        supervise_start(argv, is_needed(program.fault));
    set_libraries(argv[1], program.fault);
    execv(path, argv + 3);
    say_die(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN, "%s: %s", path, strerror(errno));
}
