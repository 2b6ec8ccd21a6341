/*
 * viaduct: runs a command with its connections sent through a chain of proxies.
 *
 * options -> effective configuration -> the command's file and whether it can be carried -> plan ->
 * session file -> exec (with --audit: fork, then exec in the child). Whatever is wrong ends the
 * launcher before the command starts: it never runs unproxied.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/session.h"
#include "launcher/audit.h"
#include "launcher/build.h"
#include "launcher/check.h"
#include "launcher/effective.h"
#include "launcher/find.h"
#include "launcher/judge.h"
#include "launcher/options.h"
#include "launcher/parts.h"
#include "launcher/private.h"
#include "launcher/probe.h"
#include "launcher/run.h"
#include "launcher/say.h"
#include "launcher/trace.h"

static void setup_say(const struct options *o)
{
    int fd = -1;

    if (o->log) {
        fd = open(o->log, O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY | O_CLOEXEC, 0600);
        if (fd < 0)
            say_die(EXIT_OWN, "--log %s: %s; try a file that you may write", o->log,
                    strerror(errno));
    }
    say_setup((enum plan_verbosity)o->verbosity, fd, o->log_json);
}

static void make_session(const struct plan *plan, char path[SESSION_PATH_MAX])
{
    session_sweep();
    int error = session_make(plan, path);
    if (error)
        say_die(EXIT_OWN, "the session file in /dev/shm: %s", strerror(error));
}

/* --check HOST:PORT, with a space: what stands where the command would. */
static void take_check_target(struct options *o)
{
    if (!o->check && o->json)
        say_die(EXIT_OWN, "--json says how to check; --check is missing");
    if (!o->check || !o->command[0])
        return;
    if (o->check_target || o->command[1])
        say_die(EXIT_OWN,
                "--check starts no command; `%s` is one too many: usage: viaduct [OPTIONS] "
                "--check [HOST:PORT]",
                o->command[o->check_target ? 0 : 1]);
    o->check_target = *o->command++;
}

int main(int argc, char **argv)
{
    static struct options options;
    static struct effective effective;
    struct found found;
    struct plan *plan;
    char library[PATH_MAX], session[SESSION_PATH_MAX];

    (void)argc;
    options_read(&options, argv);
    setup_say(&options);
    take_check_target(&options);
    if (!options.command[0] && !options.print_config && !options.check)
        say_die(EXIT_OWN, "no command is given; usage: viaduct [OPTIONS] [--] COMMAND [ARG...]");
    effective_make(&effective, &options);
    if (options.print_config) {
        effective_print(&effective);
        return 0;
    }
    if (options.check)
        return check_chain(&effective, &options);
    if (getenv(SESSION_ENV))
        say_die(EXIT_OWN, "already inside a viaduct session (" SESSION_ENV " is set): the outer "
                          "chain would carry the inner one; leave out one of them");
    find_command(&found, options.command[0]);
    judge_command(&found, options.engine, options.audit || options.strict);
    parts_library(library, found.twin);
    plan = build_plan(&effective, &options);
    trace_setup(plan, &options);
    probe_recall(plan);
    make_session(plan, session);
    private_start(session, plan, options.trace_data);
    probe_start(plan, session);
    if (!options.keep_proxy_env)
        run_scrub_environment();
    found.supervised |= options.audit || options.strict; /* observed */
    if (options.audit)
        audit_stay(plan, session, argv);
    run_command(&found, options.command, options.engine == PLAN_ENGINE_SUPERVISE ? NULL : library,
                session);
}
