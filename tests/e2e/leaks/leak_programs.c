/*
 * Programs that are started with an empty environment, and libraries that are loaded: each then
 * connects by itself.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <spawn.h>
#include <sys/wait.h>
#include <wordexp.h>

#include "leak.h"

static char self[PATH_MAX], number[16], command[PATH_MAX + 32];
static char *words[] = {self, (char[]){"again"}, number, NULL};
static char *nothing[] = {NULL};

/* This program once more, which connects to the target of the row. */
static void prepare(const struct to *t)
{
    static char folder[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    self[n > 0 ? n : 0] = 0;
    strcpy(folder, self);
    snprintf(number, sizeof number, "%u", t->index);
    snprintf(command, sizeof command, "%s again %s", self, number);
    clearenv();
    setenv("PATH", dirname(folder), 1);
}

static void do_execve(const struct to *t)
{
    prepare(t);
    execve(self, words, nothing);
}

static void do_execv(const struct to *t)
{
    prepare(t);
    execv(self, words);
}

static void do_execvp(const struct to *t)
{
    prepare(t);
    execvp(basename(self), words);
}

static void do_execvpe(const struct to *t)
{
    prepare(t);
    execvpe(basename(self), words, nothing);
}

static void do_execl(const struct to *t)
{
    prepare(t);
    execl(self, self, words[1], number, NULL);
}

static void do_execlp(const struct to *t)
{
    prepare(t);
    execlp(basename(self), self, words[1], number, NULL);
}

static void do_execle(const struct to *t)
{
    prepare(t);
    execle(self, self, words[1], number, NULL, nothing);
}

static void do_fexecve(const struct to *t)
{
    prepare(t);
    fexecve(open(self, O_RDONLY), words, nothing);
}

static void do_execveat(const struct to *t)
{
    prepare(t);
    execveat(AT_FDCWD, self, words, nothing, 0);
}

static void do_vfork(const struct to *t)
{
    prepare(t);
    if (vfork() == 0) {
        execve(self, words, nothing);
        _exit(1);
    }
    wait(NULL);
}

static void do_spawn(const struct to *t)
{
    pid_t pid;

    prepare(t);
    if (posix_spawn(&pid, self, NULL, NULL, words, nothing) == 0)
        waitpid(pid, NULL, 0);
}

static void do_spawnp(const struct to *t)
{
    pid_t pid;

    prepare(t);
    if (posix_spawnp(&pid, basename(self), NULL, NULL, words, nothing) == 0)
        waitpid(pid, NULL, 0);
}

static void do_system(const struct to *t)
{
    prepare(t);
    system(command);
}

static void do_popen(const struct to *t)
{
    FILE *file;

    prepare(t);
    file = popen(command, "r");
    if (file)
        pclose(file);
}

static void do_other_popen(const struct to *t)
{
    FILE *(*other)(const char *, const char *) = symbol("_IO_popen");
    FILE *(*open_part)(FILE *, const char *, const char *) = symbol("_IO_proc_open");
    FILE *file;

    prepare(t);
    file = other(command, "r");
    if (file)
        pclose(file);
    if (getenv("VIADUCT_SESSION"))
        open_part(NULL, command, "r");
}

static void do_wordexp(const struct to *t)
{
    char text[PATH_MAX + 64];
    wordexp_t result;

    prepare(t);
    snprintf(text, sizeof text, "$(%s)", command);
    wordexp(text, &result, 0);
}

/* A static program beside this one. */
static void do_static(const struct to *t)
{
    char path[PATH_MAX + 16];

    prepare(t);
    snprintf(path, sizeof path, "%s_static", self);
    words[0] = path;
    execve(path, words, nothing);
}

/* --- libraries ------------------------------------------------------------------------------- */

static void visit(void *plugin, const struct to *t)
{
    int (*connects)(const struct to *) = plugin ? dlsym(plugin, "leak_plugin") : NULL;

    if (connects)
        connects(t);
}

static void do_dlopen(const struct to *t)
{
    visit(dlopen("leak_plugin.so", RTLD_NOW | RTLD_DEEPBIND), t);
}

static void do_dlmopen(const struct to *t)
{
    visit(dlmopen(LM_ID_NEWLM, "leak_plugin.so", RTLD_NOW), t);
}

typedef int connects(int, const struct sockaddr *, socklen_t);
typedef ssize_t sends(int, const void *, size_t, int, const struct sockaddr *, socklen_t);

static void use(const struct to *t, connects *by_connect, sends *by_sendto)
{
    if (t->type == SOCK_STREAM)
        by_connect(make(t), at(t), t->len);
    else
        by_sendto(make(t), "leak", 4, 0, at(t), t->len);
}

static void do_dlsym(const struct to *t)
{
    void *libc = dlopen("libc.so.6", RTLD_LAZY);

    use(t, (connects *)dlsym(libc, "connect"), (sends *)dlsym(libc, "sendto"));
}

/* A library that has libc behind it. */
static void do_dlsym_behind(const struct to *t)
{
    void *library = dlopen("libresolv.so.2", RTLD_LAZY);

    use(t, (connects *)dlsym(library, "connect"), (sends *)dlsym(library, "sendto"));
}

static void do_dlvsym(const struct to *t)
{
    void *libc = dlopen("libc.so.6", RTLD_LAZY);

    use(t, (connects *)dlvsym(libc, "connect", FIRST_VERSION),
        (sends *)dlvsym(libc, "sendto", FIRST_VERSION));
    use(t, (connects *)dlvsym(RTLD_DEFAULT, "connect", FIRST_VERSION),
        (sends *)dlvsym(RTLD_DEFAULT, "sendto", FIRST_VERSION));
}

const struct row program_rows[] = {
    {"execve", do_execve, TCP | UDP | ADDRESS | V4 | V6},
    {"execv", do_execv, TCP | ADDRESS | V4},
    {"execvp", do_execvp, TCP | ADDRESS | V4},
    {"execvpe", do_execvpe, TCP | ADDRESS | V4},
    {"execl", do_execl, TCP | ADDRESS | V4},
    {"execlp", do_execlp, TCP | ADDRESS | V4},
    {"execle", do_execle, TCP | ADDRESS | V4},
    {"fexecve", do_fexecve, TCP | ADDRESS | V4},
    {"execveat", do_execveat, TCP | ADDRESS | V4},
    {"execve (after vfork)", do_vfork, TCP | ADDRESS | V4},
    {"posix_spawn", do_spawn, TCP | ADDRESS | V4},
    {"posix_spawnp", do_spawnp, TCP | ADDRESS | V4},
    {"system", do_system, TCP | ADDRESS | V4},
    {"popen", do_popen, TCP | ADDRESS | V4},
    {"_IO_popen _IO_proc_open", do_other_popen, TCP | ADDRESS | V4},
    {"wordexp", do_wordexp, TCP | ADDRESS | V4},
    {"execve (static)", do_static, TCP | UDP | ADDRESS | V4},
    {"dlopen (deep)", do_dlopen, TCP | UDP | ANYHOW},
    {"dlmopen", do_dlmopen, TCP | UDP | ANYHOW},
    {"dlsym", do_dlsym, TCP | UDP | ANYHOW},
    {"dlsym (behind another library)", do_dlsym_behind, TCP | UDP | ADDRESS | V4},
    {"dlvsym", do_dlvsym, TCP | UDP | ANYHOW},
    {NULL, NULL, 0},
};
