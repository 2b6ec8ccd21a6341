#include "launcher/parts.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "launcher/say.h"

/* The directory above that of the running program, with a slash at its end; false: not known. */
static bool directory_above(char dir[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", dir, PATH_MAX - 1);
    if (n <= 0 || dir[0] != '/')
        return false;
    dir[n] = 0;
    *strrchr(dir, '/') = 0;
    char *slash = strrchr(dir, '/');
    if (!slash)
        return false;
    slash[1] = 0;
    return true;
}

static bool is_there(char path[PATH_MAX], const char *dir, const char *below, const char *name)
{
    int len = snprintf(path, PATH_MAX, "%s%s/%s", dir, below, name);
    return len < PATH_MAX && access(path, R_OK) == 0;
}

static void look(char path[PATH_MAX], const char *built_in, const char *name)
{
    char above[PATH_MAX];

    if (directory_above(above) &&
        (is_there(path, above, built_in, name) || is_there(path, above, VIADUCT_PKGLIB, name)))
        return;
    if (!is_there(path, VIADUCT_PREFIX "/", VIADUCT_PKGLIB, name))
        say_die(EXIT_OWN, "%s is missing; it belongs to " VIADUCT_PREFIX "/" VIADUCT_PKGLIB, name);
}

void parts_library(char path[PATH_MAX])
{
    look(path, "preload", "libviaduct.so");
    if (strpbrk(path, ": \t\n")) /* LD_PRELOAD is split there */
        say_die(EXIT_OWN,
                "%s: the loader takes no path with a space or a colon; install viaduct elsewhere",
                path);
}

void parts_resolver(char path[PATH_MAX])
{
    look(path, "launcher", "viaduct-resolve");
}
