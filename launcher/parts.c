#include "launcher/parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/twin.h"
#include "launcher/say.h"

/* Cuts the last part off, and leaves the slash. False: there is none. */
static bool cut(char *dir)
{
    char *slash = strrchr(dir, '/');
    if (slash)
        slash[1] = 0;
    return slash;
}

/* The directory of the running program, with a slash at its end; false: not known. */
static bool own_directory(char dir[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", dir, PATH_MAX - 1);
    if (n <= 0 || dir[0] != '/')
        return false;
    dir[n] = 0;
    return cut(dir);
}

static bool is_there(char path[PATH_MAX], const char *dir, const char *below, const char *name)
{
    int len = snprintf(path, PATH_MAX, "%s%s%s%s", dir, below, *below ? "/" : "", name);
    return len < PATH_MAX && access(path, R_OK) == 0;
}

/* Above the program's directory, as built or installed, or in it, as what is installed together. */
static bool is_near(char path[PATH_MAX], const char *built_in, const char *name)
{
    char dir[PATH_MAX], above[PATH_MAX];

    if (!own_directory(dir))
        return false;
    strcpy(above, dir);
    above[strlen(above) - 1] = 0;
    return (cut(above) && (is_there(path, above, built_in, name) ||
                           is_there(path, above, VIADUCT_PKGLIB, name))) ||
           is_there(path, dir, "", name);
}

static void look(char path[PATH_MAX], const char *built_in, const char *name)
{
    if (!is_near(path, built_in, name) && !is_there(path, VIADUCT_PREFIX "/", VIADUCT_PKGLIB, name))
        say_die(EXIT_OWN, "%s is missing; it belongs to " VIADUCT_PREFIX "/" VIADUCT_PKGLIB, name);
}

void parts_library(char path[PATH_MAX], bool twin)
{
    char own[PATH_MAX];

    look(path, "preload", "libviaduct.so");
    strcpy(own, path);
    if (twin && !twin_library(path, own))
        say_die(EXIT_OWN, "%s: %s", path, strerror(errno));
    if (strpbrk(path, ": \t\n")) /* LD_PRELOAD is split there */
        say_die(EXIT_OWN,
                "%s: the loader takes no path with a space or a colon; install viaduct elsewhere",
                path);
}

void parts_resolver(char path[PATH_MAX])
{
    look(path, "launcher", "viaduct-resolve");
}

void parts_supervisor(char path[PATH_MAX])
{
    look(path, "launcher", "viaduct-supervise");
}

void parts_tls(char path[PATH_MAX])
{
    look(path, "daemon", "viaduct-tls");
}

void parts_whole(char path[PATH_MAX])
{
    look(path, "launcher", "viaduct-full");
}

static bool is_same(const char *path, const struct stat *st)
{
    struct stat other;
    return stat(path, &other) == 0 && other.st_dev == st->st_dev && other.st_ino == st->st_ino;
}

/* What handed over to this program gave its own path as the name. */
bool parts_is_launcher(const char *path)
{
    const char *name = program_invocation_name;
    struct stat st;

    return stat(path, &st) == 0 &&
           (is_same("/proc/self/exe", &st) || (strchr(name, '/') && is_same(name, &st)));
}

/* The program that was called, where that was a way of coming here. */
static bool is_beside_caller(char path[PATH_MAX], const char *name)
{
    char dir[PATH_MAX];

    if (strlen(program_invocation_name) >= sizeof dir)
        return false;
    strcpy(dir, program_invocation_name);
    return parts_is_launcher(program_invocation_name) && cut(dir) && is_there(path, dir, "", name);
}

bool parts_daemon(char path[PATH_MAX])
{
    static const char name[] = "viaductd";

    return (is_near(path, "daemon", name) || is_beside_caller(path, name) ||
            is_there(path, VIADUCT_PREFIX "/", VIADUCT_BINDIR, name)) &&
           access(path, X_OK) == 0;
}
