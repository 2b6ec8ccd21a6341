#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "preload/exec.h"
#include "preload/hook.h"

#define PRELOAD "LD_PRELOAD="

enum { PRELOAD_LEN = sizeof PRELOAD - 1, VARIABLES_MAX = 1 << 18 };

/* What a program needs to be part of the session, as it was when this one started. */
static struct {
    char library[PATH_MAX];
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

/* Whether the list of libraries names ours. */
static bool names_library(const char *list)
{
    size_t len = strlen(keep.library);

    while (*(list += strspn(list, ": "))) {
        size_t one = strcspn(list, ": ");

        if (one == len && !memcmp(list, keep.library, len))
            return true;
        list += one;
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

static bool is_complete(const struct said *s)
{
    return !exec_library() || (s->sessions == 1 && s->same_session && names_library(s->libraries));
}

static size_t preload_size(const struct said *s)
{
    return PRELOAD_LEN + strlen(keep.library) + 1 + strlen(s->libraries) + 1;
}

/* Two variables of ours and the end; the text of one of them. */
size_t exec_environment_size(char *const *from)
{
    struct said s = read_environment(from);

    if (is_complete(&s) || s.count > VARIABLES_MAX)
        return 0;
    return (s.count + 3) * sizeof *from + preload_size(&s);
}

static void print_preload(char *to, const char *libraries)
{
    strcpy(to, PRELOAD);
    if (!names_library(libraries)) {
        strcat(to, keep.library);
        strcat(to, *libraries ? ":" : "");
    }
    strcat(to, libraries);
}

char *const *exec_environment(char *const *from, void *room)
{
    struct said s = read_environment(from);
    static char *const none[1];
    char **to = room, *preload = (char *)(to + s.count + 3);

    if (is_complete(&s))
        return from ? from : none;
    if (s.count > VARIABLES_MAX)
        return NULL;
    print_preload(preload, s.libraries);
    *to++ = keep.session;
    *to++ = preload;
    for (; from && *from; from++)
        if (!is_preload(*from) && !is_session(*from))
            *to++ = *from;
    *to = NULL;
    return room;
}

void exec_restore_environment(void)
{
    struct said s = read_environment(environ);
    size_t name_len = strcspn(keep.session, "=");
    char *preload, *name;

    if (is_complete(&s))
        return;
    name = exec_stack(name_len + 1);
    memcpy(name, keep.session, name_len);
    name[name_len] = 0;
    preload = exec_stack(preload_size(&s));
    print_preload(preload, s.libraries);
    unsetenv("LD_PRELOAD"); /* all of them */
    setenv("LD_PRELOAD", preload + PRELOAD_LEN, 1);
    unsetenv(name);
    setenv(name, keep.session + name_len + 1, 1);
}
