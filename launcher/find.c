#include "launcher/find.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/say.h"

/* 0, or why execve() would fail. */
static int can_run(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return errno;
    if (S_ISDIR(st.st_mode))
        return EISDIR;
    if (!S_ISREG(st.st_mode) || faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0)
        return EACCES;
    return 0;
}

/* dir/command; an empty dir is the working directory. False: too long. */
static bool join(char path[PATH_MAX], const char *dir, size_t len, const char *command)
{
    size_t size = strlen(command) + 1, slash = len > 0;

    if (len + slash + size > PATH_MAX)
        return false;
    memcpy(path, dir, len);
    memcpy(path + len, "/", slash);
    memcpy(path + len + slash, command, size);
    return true;
}

static void search_path(char path[PATH_MAX], const char *command)
{
    const char *dirs = getenv("PATH");
    bool denied = false;

    for (dirs = dirs ? dirs : "/bin:/usr/bin";; dirs++) {
        size_t len = strcspn(dirs, ":");
        int error = join(path, dirs, len, command) ? can_run(path) : ENAMETOOLONG;
        if (error == 0)
            return;
        denied |= error == EACCES;
        dirs += len;
        if (!*dirs)
            break;
    }
    if (denied)
        say_die(EXIT_CANNOT_RUN, "%s: found, but it may not be executed", command);
    say_die(EXIT_NOT_FOUND, "%s: command not found; try how it is spelled, or its path", command);
}

static const char *remedy(int error)
{
    return error == EISDIR   ? "; name a program in it"
           : error == EACCES ? "; chmod +x makes a program of a file, if it is one"
                             : "";
}

static void find_file(char path[PATH_MAX], const char *command)
{
    if (*command && !strchr(command, '/')) {
        search_path(path, command);
        return;
    }
    if (!*command || !join(path, "", 0, command))
        say_die(EXIT_NOT_FOUND, "`%s`: command not found", *command ? "(too long)" : "");
    int error = can_run(path);
    if (error == ENOENT || error == ENOTDIR)
        say_die(EXIT_NOT_FOUND, "%s: %s", path, strerror(error));
    if (error)
        say_die(EXIT_CANNOT_RUN, "%s: %s%s", path, strerror(error), remedy(error));
}

void find_command(struct found *f, const char *command)
{
    f->by_shell = false;
    find_file(f->path, command);
}
