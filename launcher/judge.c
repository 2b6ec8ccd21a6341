#include "launcher/judge.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "client/program.h"
#include "client/say.h"
#include "client/twin.h"
#include "launcher/parts.h"
#include "launcher/say.h"

/* What keeps it from running at all, without any say of ours. */
static void judge_missing(const struct found *f, const struct program *p)
{
    bool is_script = strcmp(p->path, f->path) != 0;

    if (p->loader[0] && access(p->loader, F_OK) < 0)
        say_die(EXIT_CANNOT_RUN, "%s: its loader %s: %s", p->path, p->loader, strerror(errno));
    if (is_script && access(p->path, X_OK) < 0)
        say_die(EXIT_CANNOT_RUN, "%s: its interpreter %s: %s", f->path, p->path, strerror(errno));
}

/* A supervisor refuses the calls of the other word size. */
static bool has_library(const struct program *p, bool supervised)
{
    char own[PATH_MAX], path[PATH_MAX];

    if (p->fault != PROGRAM_OTHER_CLASS || !p->is_twin)
        return false;
    if (supervised)
        say_die(EXIT_OWN,
                "%s is a %u-bit program: --engine supervise, --audit and --strict cannot be had "
                "with it; use a build for this word size, or leave the option out",
                p->path, p->bits);
    parts_library(own, false);
    return twin_library(path, own);
}

void judge_command(struct found *f, enum plan_engine engine, bool observed)
{
    static struct program p;
    char text[SAY_MAX];
    struct vd_out out = vd_out_over(text, sizeof text);

    program_judge(&p, f->path);
    f->by_shell = p.by_shell;
    f->supervised = engine == PLAN_ENGINE_SUPERVISE ||
                    (engine == PLAN_ENGINE_AUTO && program_needs_supervisor(p.fault));
    if (p.fault == PROGRAM_MISSING)
        judge_missing(f, &p);
    if (parts_is_launcher(p.path))
        say_die(EXIT_OWN, "%s: viaduct inside viaduct; leave out one of them", p.path);
    program_explain(&out, &p);
    if (p.fault == PROGRAM_NO_SCRIPT || p.fault == PROGRAM_NO_INTERPRETER)
        say_die(EXIT_CANNOT_RUN, "%s %s", p.path, vd_out_string(&out));
    f->twin = has_library(&p, f->supervised || observed);
    if (p.fault != PROGRAM_FINE && !f->twin &&
        !(f->supervised && program_needs_supervisor(p.fault)))
        say_die(EXIT_OWN, "%s %s", p.path, vd_out_string(&out));
}
