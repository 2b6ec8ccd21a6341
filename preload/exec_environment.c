#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/twin.h"
#include "preload/exec.h"
#include "preload/hook.h"

#define PRELOAD "LD_PRELOAD="

enum { PRELOAD_LEN = sizeof PRELOAD - 1, VARIABLES_MAX = 1 << 18 };

/* What a program needs to be part of the session, as it was when this one started. */
static struct {
    char library[PATH_MAX];
    char twin[PATH_MAX];    /* its place for the other word size; "": there is none */
    char session[PATH_MAX]; /* NAME=value */
} keep;

/* Given without a folder, in one relative to the directory of that time, or by a path that only the
 * loader can follow (launcher/supervise_main.c): the loader knows where it was. */
static bool find_own_path(char path[PATH_MAX])
{
    Dl_info info;

    return dladdr(&keep, &info) && info.dli_fname && realpath(info.dli_fname, path);
}

void exec_remember(const char *library, const char *name, const char *value)
{
    struct vd_out out = vd_out_over(keep.session, sizeof keep.session - 1);

    if (library[0] != '/' || strchr(library, '$') || strlen(library) >= sizeof keep.library) {
        if (!find_own_path(keep.library))
            return;
    } else {
        strcpy(keep.library, library);
    }
    if (!twin_place(keep.twin, keep.library))
        keep.twin[0] = 0;
    vd_out_text(&out, name);
    vd_out_text(&out, "=");
    vd_out_text(&out, value);
    vd_out_string(&out);
    if (!out.ok)
        keep.session[0] = 0;
}

const char *exec_library(void)
{
    return keep.session[0] ? keep.library : NULL;
}

static bool is_preload(const char *variable)
{
    return !strncmp(variable, PRELOAD, PRELOAD_LEN);
}

static bool is_session(const char *variable)
{
    return !strncmp(variable, keep.session, strcspn(keep.session, "=") + 1);
}

const char *exec_library_for(const struct program *p)
{
    return p && p->fault == PROGRAM_OTHER_CLASS ? keep.twin : keep.library;
}

/* The one that such a program cannot load. */
static const char *other_than(const char *library)
{
    return library == keep.library ? keep.twin : keep.library;
}

static bool is_text(const char *bytes, size_t len, const char *text)
{
    return len == strlen(text) && !memcmp(bytes, text, len);
}

/* Whether the list of libraries names this one. */
static bool names_library(const char *libraries, const char *library)
{
    while (*(libraries += strspn(libraries, ": "))) {
        size_t len = strcspn(libraries, ": ");

        if (is_text(libraries, len, library))
            return true;
        libraries += len;
    }
    return false;
}

/* What an environment says. Of several LD_PRELOAD the loader takes the last one; of several
 * sessions getenv() finds the first. */
struct said {
    size_t count, sessions;
    const char *libraries;
    bool same_session;
};

static struct said read_environment(char *const *from)
{
    struct said s = {.libraries = ""};

    for (; from && *from; from++, s.count++) {
        if (is_preload(*from)) {
            s.libraries = *from + PRELOAD_LEN;
        } else if (is_session(*from)) {
            s.sessions++;
            s.same_session = !strcmp(*from, keep.session);
        }
    }
    return s;
}

static bool is_complete(const struct said *s, const char *library)
{
    return !exec_library() ||
           (s->sessions == 1 && s->same_session && names_library(s->libraries, library) &&
            !names_library(s->libraries, other_than(library)));
}

static size_t preload_size(const struct said *s, const char *library)
{
    return PRELOAD_LEN + strlen(library) + 1 + strlen(s->libraries) + 1;
}

/* Two variables of ours and the end; the text of one of them. */
size_t exec_environment_size(char *const *from, const char *library)
{
    struct said s = read_environment(from);

    if (is_complete(&s, library) || s.count > VARIABLES_MAX)
        return 0;
    return (s.count + 3) * sizeof *from + preload_size(&s, library);
}

/* The twin's place goes to this library, which stands in front where neither is named. */
static void print_preload(char *to, const char *libraries, const char *library)
{
    const char *other = other_than(library);
    bool named = names_library(libraries, library) || names_library(libraries, other);
    const char *begin;

    strcpy(to, PRELOAD);
    begin = to + PRELOAD_LEN;
    if (!named)
        strcat(to, library);
    while (*(libraries += strspn(libraries, ": "))) {
        size_t len = strcspn(libraries, ": ");

        strcat(to, *begin ? ":" : "");
        if (is_text(libraries, len, other))
            strcat(to, library);
        else
            strncat(to, libraries, len);
        libraries += len;
    }
}

char *const *exec_environment(char *const *from, const char *library, void *room)
{
    struct said s = read_environment(from);
    static char *const none[1];
    char **to = room, *preload = (char *)(to + s.count + 3);

    if (is_complete(&s, library))
        return from ? from : none;
    if (s.count > VARIABLES_MAX)
        return NULL;
    print_preload(preload, s.libraries, library);
    *to++ = keep.session;
    *to++ = preload;
    for (; from && *from; from++)
        if (!is_preload(*from) && !is_session(*from))
            *to++ = *from;
    *to = NULL;
    return room;
}

void exec_restore_environment(const char *library)
{
    struct said s = read_environment(environ);
    size_t name_len = strcspn(keep.session, "=");
    char *preload, *name;

    if (is_complete(&s, library))
        return;
    name = exec_stack(name_len + 1);
    memcpy(name, keep.session, name_len);
    name[name_len] = 0;
    preload = exec_stack(preload_size(&s, library));
    print_preload(preload, s.libraries, library);
    unsetenv("LD_PRELOAD"); /* all of them */
    setenv("LD_PRELOAD", preload + PRELOAD_LEN, 1);
    unsetenv(name);
    setenv(name, keep.session + name_len + 1, 1);
}
