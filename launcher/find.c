#include "launcher/find.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/say.h"

enum { HEAD_MAX = 256 /* what the kernel reads of a #! line */, SCRIPTS_MAX = 5 };

/* --- the file -------------------------------------------------------------------------------- */

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
    say_die(EXIT_NOT_FOUND, "%s: command not found", command);
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
        say_die(EXIT_CANNOT_RUN, "%s: %s", path, strerror(error));
}

/* --- scripts --------------------------------------------------------------------------------- */

/* Opens f->program and reads its first bytes, as text. Their number. */
static size_t open_program(struct found *f, char head[HEAD_MAX + 1])
{
    f->fd = open(f->program, O_RDONLY | O_CLOEXEC);
    ssize_t n = f->fd < 0 ? -1 : pread(f->fd, head, HEAD_MAX, 0);
    if (n < 0)
        say_die(EXIT_OWN,
                "%s: cannot be read, so nothing tells whether its connections can be carried (%s)",
                f->program, strerror(errno));
    head[n] = 0;
    return (size_t)n;
}

/* The interpreter of a #! line; false: the line has none that the kernel would take. */
static bool read_interpreter(const char *head, size_t len, char program[PATH_MAX])
{
    const char *from = head + 2 + strspn(head + 2, " \t");
    size_t size = strcspn(from, " \t\n");

    if (size == 0 || (size_t)(from - head) + size >= len)
        return false;
    memcpy(program, from, size);
    program[size] = 0;
    return true;
}

static bool is_text(const char *head, size_t len)
{
    return !memchr(head, 0, len);
}

/* One step from a script to its interpreter. False: f->program is no script. */
static bool follow(struct found *f)
{
    char head[HEAD_MAX + 1], script[PATH_MAX];
    size_t len = open_program(f, head);

    if (len >= 4 && !memcmp(head, "\177ELF", 4))
        return false;
    close(f->fd);
    strcpy(script, f->program);
    if (len >= 2 && !memcmp(head, "#!", 2)) {
        if (!read_interpreter(head, len, f->program))
            say_die(EXIT_CANNOT_RUN, "%s: its #! line names no interpreter", script);
    } else if (is_text(head, len)) {
        f->by_shell = true;
        memcpy(f->program, "/bin/sh", sizeof "/bin/sh");
    } else {
        say_die(EXIT_CANNOT_RUN, "%s: neither a program nor a script", script);
    }
    int error = can_run(f->program);
    if (error)
        say_die(EXIT_CANNOT_RUN, "%s: its interpreter %s: %s", script, f->program, strerror(error));
    return true;
}

void find_command(struct found *f, const char *command)
{
    int scripts = 0;

    f->by_shell = false;
    find_file(f->path, command);
    strcpy(f->program, f->path);
    while (follow(f))
        if (++scripts > SCRIPTS_MAX)
            say_die(EXIT_CANNOT_RUN, "%s: too many scripts that run scripts", f->path);
}
