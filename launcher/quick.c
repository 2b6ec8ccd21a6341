/*
 * viaduct, as most starts need it: the way from plain options to the command, and nothing else.
 *
 * It is linked with musl, whose start costs a fifth of that of glibc's, statically linked or not
 * (which asks the processor for its caches by some 70 CPUID instructions: in a virtual machine each
 * is a trap). Whatever is not the straight way is the whole launcher's, viaduct-full, which begins
 * anew with the same arguments and environment: a configuration file, options that are not named in
 * is_plain(), hops that want to be asked something, and every warning and error, so that there is
 * one program that speaks. Nothing is left behind for it: up to the exec there is no effect but a
 * session file, which is removed.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/session.h"
#include "conf/import.h"
#include "launcher/build.h"
#include "launcher/cache.h"
#include "launcher/effective.h"
#include "launcher/find.h"
#include "launcher/judge.h"
#include "launcher/options.h"
#include "launcher/parts.h"
#include "launcher/private.h"
#include "launcher/probe.h"
#include "launcher/probe_question.h"
#include "launcher/run.h"
#include "launcher/say.h"

static struct {
    char **argv, **environment;
    bool over; /* the second failure is that the launcher is not there */
} given;

/* By which the whole launcher knows this program (parts_is_launcher). */
static void name_self(void)
{
    static char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    if (n > 0 && given.argv[0])
        given.argv[0] = self;
}

static void __attribute__((noreturn)) hand_over(void)
{
    static const char missing[] =
        "viaduct: viaduct-full is missing; it belongs to " VIADUCT_PREFIX "/" VIADUCT_PKGLIB "\n";
    static char path[PATH_MAX];

    if (!given.over) {
        given.over = true;
        parts_whole(path);
        name_self();
        execve(path, given.argv, given.environment);
    }
    if (write(STDERR_FILENO, missing, sizeof missing - 1) < 0)
        _exit(EXIT_OWN); /* nobody is left to tell */
    _exit(EXIT_OWN);
}

/* --- what ends the straight way -------------------------------------------------------------- */

void say_die(int status, const char *format, ...)
{
    (void)status, (void)format;
    hand_over();
}

void say_warning(const char *format, ...)
{
    (void)format;
    hand_over();
}

/* With -v only, which is not plain. */
void say_note(const char *format, ...)
{
    (void)format;
}

int vd_conf_client_read(struct vd_conf_client *c, const char *path, char **error, char **warning)
{
    (void)c, (void)path, (void)error, (void)warning;
    hand_over();
}

int vd_conf_import(FILE *to, const char *path, char **error)
{
    (void)to, (void)path, (void)error;
    hand_over();
}

bool private_prepare(struct vd_hop *front, const struct vd_conf_chain *chain,
                     const struct vd_hop *hops, size_t span, const struct vd_conf_client *conf,
                     bool asked_for)
{
    (void)front, (void)chain, (void)hops, (void)span, (void)conf, (void)asked_for;
    hand_over();
}

/* --- the straight way ------------------------------------------------------------------------ */

/* setenv() and unsetenv() change the table, not what was in it. */
static void keep(char **argv)
{
    size_t count = 0;

    while (environ[count])
        count++;
    given.argv = argv;
    given.environment = malloc((count + 1) * sizeof *environ);
    if (!given.environment)
        _exit(EXIT_OWN);
    memcpy(given.environment, environ, (count + 1) * sizeof *environ);
}

_Static_assert(offsetof(struct options, hops) == 0, "what comes behind the hops is compared");

static bool is_zero(const char *bytes, size_t len)
{
    while (len > 0 && !bytes[len - 1])
        len--;
    return len == 0;
}

/* Options are told apart by what they set: one that is not among these is not plain, known here or
 * not. */
static bool is_plain(const struct options *o)
{
    enum { REST = offsetof(struct options, hop_count) };
    struct options left;

    memcpy((char *)&left + REST, (const char *)o + REST, sizeof left - REST);
    left.hop_count = 0;
    left.bypass = NULL;
    left.bypass_count = 0;
    left.clear_bypass = left.has_mode = left.has_dns = left.has_udp = false;
    left.mode = VD_MODE_STRICT;
    left.pick = 0;
    left.dns = o->dns == VD_DNS_CHAIN ? o->dns : VD_DNS_AUTO;
    left.udp = VD_UDP_AUTO;
    left.timeout_ms = 0;
    left.verbosity = o->verbosity == PLAN_QUIET || o->verbosity == PLAN_FAILURES ? 0 : 1;
    left.keep_proxy_env = left.keep_argv = false;
    left.command = NULL;
    return o->command[0] && is_zero((const char *)&left + REST, sizeof left - REST);
}

static bool is_plain_hop(const struct vd_hop *hop)
{
    switch (hop->scheme) {
    case VD_SOCKS4:
    case VD_SOCKS4A:
    case VD_SOCKS5:
    case VD_SOCKS5H:
    case VD_HTTP:
        return hop->unix_len == 0;
    default:
        return false;
    }
}

static bool are_plain_hops(const struct effective *e)
{
    const struct vd_conf_chain *chain = vd_conf_client_chain(&e->conf, e->chain);

    for (size_t i = 0; i < chain->hop_count; i++)
        if (!is_plain_hop(&chain->hops[i]))
            return false;
    return true;
}

/* The answer has to be kept somewhere. */
static bool is_to_be_asked(void)
{
    int folder = probe_questions.count > 0 ? cache_lock() : -1;

    if (folder < 0)
        return false;
    close(folder);
    return true;
}

int main(int argc, char **argv)
{
    static struct options options;
    static struct effective effective;
    struct found found;
    struct plan *plan;
    char library[PATH_MAX], session[SESSION_PATH_MAX];

    (void)argc;
    keep(argv);
    options.keep_argv = true;
    options_read(&options, argv);
    if (!is_plain(&options) || getenv(SESSION_ENV))
        hand_over();
    effective_make(&effective, &options);
    if (!are_plain_hops(&effective))
        hand_over();
    find_command(&found, options.command[0]);
    judge_command(&found, PLAN_ENGINE_AUTO, false);
    if (found.supervised)
        hand_over();
    parts_library(library, found.twin);
    plan = build_plan(&effective, &options);
    probe_recall(plan);
    if (is_to_be_asked())
        hand_over();
    session_sweep();
    if (session_make(plan, session))
        hand_over();
    if (!options.keep_proxy_env)
        run_scrub_environment();
    run_command(&found, options.command, library, session);
}
