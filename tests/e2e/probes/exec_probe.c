/*
 * exec_probe: starts a program by one call of libc, with an environment made for it.
 *
 *     exec_probe [-e ENVIRONMENT]... [-r TIMES] CALL FILE [ARGUMENT...]
 *
 * ENVIRONMENT: clear (clearenv()), null (environ = NULL), unset (without what viaduct put there),
 * many (2,000 variables more), twice (LD_PRELOAD once more, empty), NAME=VALUE (one more). What
 * replaces this process tells by its own output; a call that gives an error prints "CALL: ERRNO". A
 * child's exit status becomes ours. -r starts it so often in children and tells what they left
 * behind in this process.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wordexp.h>

enum { ARGUMENTS = 6, VARIABLES = 2000, LINE = 8192 };

struct start {
    const char *call;
    char *file;
    char **argv; /* the file's name, its arguments and NULL */
    char *a[ARGUMENTS + 1];
};

/* --- calls that replace this process ------------------------------------------------------- */

static int by_execve(const struct start *s)
{
    return execve(s->file, s->argv, environ);
}

static int by_execv(const struct start *s)
{
    return execv(s->file, s->argv);
}

static int by_execvp(const struct start *s)
{
    return execvp(s->file, s->argv);
}

static int by_execvpe(const struct start *s)
{
    return execvpe(s->file, s->argv, environ);
}

static int by_execl(const struct start *s)
{
    return execl(s->file, s->a[0], s->a[1], s->a[2], s->a[3], s->a[4], s->a[5], (char *)NULL);
}

/* 5,000 arguments behind the four that the caller gives. */
#define TEN(x)   x, x, x, x, x, x, x, x, x, x
#define THOUSAND TEN(TEN(TEN("x")))

static int by_execl_5000(const struct start *s)
{
    return execl(s->file, s->a[0], s->a[1], s->a[2], "name", THOUSAND, THOUSAND, THOUSAND, THOUSAND,
                 THOUSAND, (char *)NULL);
}

static int by_execlp(const struct start *s)
{
    return execlp(s->file, s->a[0], s->a[1], s->a[2], s->a[3], s->a[4], s->a[5], (char *)NULL);
}

static int by_execle(const struct start *s)
{
    char *const *a = s->a;

    if (!a[1])
        return execle(s->file, a[0], (char *)NULL, environ);
    if (!a[2])
        return execle(s->file, a[0], a[1], (char *)NULL, environ);
    return execle(s->file, a[0], a[1], a[2], (char *)NULL, environ);
}

static int open_or(const char *path, int flags)
{
    int fd = open(path, flags);

    if (fd < 0) {
        printf("open: %s\n", strerrorname_np(errno));
        exit(1);
    }
    return fd;
}

static int by_fexecve(const struct start *s)
{
    return fexecve(open_or(s->file, O_RDONLY), s->argv, environ);
}

static int by_execveat_path(const struct start *s)
{
    return execveat(AT_FDCWD, s->file, s->argv, environ, 0);
}

static int by_execveat_dir(const struct start *s)
{
    char dir[LINE], name[LINE];

    snprintf(dir, sizeof dir, "%s", s->file);
    snprintf(name, sizeof name, "%s", s->file);
    return execveat(open_or(dirname(dir), O_PATH | O_DIRECTORY), basename(name), s->argv, environ,
                    0);
}

static int by_execveat_fd(const struct start *s)
{
    return execveat(open_or(s->file, O_PATH), "", s->argv, environ, AT_EMPTY_PATH);
}

static int by_syscall(const struct start *s)
{
    return (int)syscall(SYS_execve, s->file, s->argv, environ);
}

static int by_syscall_at(const struct start *s)
{
    return (int)syscall(SYS_execveat, AT_FDCWD, s->file, s->argv, environ, 0);
}

/* --- calls that start another one: its wait status, or -1 ---------------------------------- */

static int wait_for(pid_t pid)
{
    int status = -1;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

static int spawned(int error, pid_t pid)
{
    errno = error;
    return error ? -1 : wait_for(pid);
}

static int by_posix_spawn(const struct start *s)
{
    pid_t pid = -1;

    return spawned(posix_spawn(&pid, s->file, NULL, NULL, s->argv, environ), pid);
}

static int by_posix_spawnp(const struct start *s)
{
    pid_t pid = -1;

    return spawned(posix_spawnp(&pid, s->file, NULL, NULL, s->argv, environ), pid);
}

/* In the file's folder, by its name alone. */
static int by_spawn_elsewhere(const struct start *s)
{
    char dir[LINE], name[LINE], file[LINE];
    posix_spawn_file_actions_t actions;
    pid_t pid = -1;
    int r;

    snprintf(dir, sizeof dir, "%s", s->file);
    snprintf(name, sizeof name, "%s", s->file);
    snprintf(file, sizeof file, "./%s", basename(name));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 9, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addchdir_np(&actions, "/");
    posix_spawn_file_actions_addchdir_np(&actions, dirname(dir) + 1);
    r = posix_spawn(&pid, file, &actions, NULL, s->argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return spawned(r, pid);
}

/* The same by a descriptor of the folder. */
static int by_spawn_at(const struct start *s)
{
    char dir[LINE], name[LINE], file[LINE];
    posix_spawn_file_actions_t actions;
    pid_t pid = -1;
    int r, fd;

    snprintf(dir, sizeof dir, "%s", s->file);
    snprintf(name, sizeof name, "%s", s->file);
    snprintf(file, sizeof file, "./%s", basename(name));
    fd = open_or(dirname(dir), O_PATH | O_DIRECTORY);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addfchdir_np(&actions, fd);
    r = posix_spawn(&pid, file, &actions, NULL, s->argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    r = spawned(r, pid);
    close(fd);
    return r;
}

/* From the folder that an action opens: no hook can know it. */
static int by_spawn_opened(const struct start *s)
{
    char dir[LINE], name[LINE], file[LINE];
    posix_spawn_file_actions_t actions;
    pid_t pid = -1;
    int r;

    snprintf(dir, sizeof dir, "%s", s->file);
    snprintf(name, sizeof name, "%s", s->file);
    snprintf(file, sizeof file, "./%s", basename(name));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 9, dirname(dir), O_RDONLY, 0);
    posix_spawn_file_actions_addfchdir_np(&actions, 9);
    r = posix_spawn(&pid, file, &actions, NULL, s->argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return spawned(r, pid);
}

/* Found along a PATH that means the child's folder. */
static int by_spawnp_elsewhere(const struct start *s)
{
    char dir[LINE], name[LINE];
    posix_spawn_file_actions_t actions;
    pid_t pid = -1;
    int r;

    snprintf(dir, sizeof dir, "%s", s->file);
    snprintf(name, sizeof name, "%s", s->file);
    setenv("PATH", ".", 1);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, dirname(dir));
    r = posix_spawnp(&pid, basename(name), &actions, NULL, s->argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return spawned(r, pid);
}

static int by_vfork(const struct start *s)
{
    static int error;
    pid_t pid;

    error = 0;
    pid = vfork();
    if (pid == 0) {
        execve(s->file, s->argv, environ);
        error = errno;
        _exit(127);
    }
    return error ? (wait_for(pid), errno = error, -1) : wait_for(pid);
}

static int by_vfork_search(const struct start *s)
{
    static int error;
    pid_t pid;

    error = 0;
    pid = vfork();
    if (pid == 0) {
        execvp(s->file, s->argv);
        error = errno;
        _exit(127);
    }
    return error ? (wait_for(pid), errno = error, -1) : wait_for(pid);
}

/* Words for the shell: none of ours needs quotes but these. */
static const char *command_line(const struct start *s)
{
    static char line[LINE];
    size_t n = (size_t)snprintf(line, sizeof line, "exec '%s'", s->file);

    for (char **a = s->argv + 1; *a; a++)
        n += (size_t)snprintf(line + n, sizeof line - n, " '%s'", *a);
    return line;
}

static int by_system(const struct start *s)
{
    fflush(stdout);
    return system(command_line(s));
}

static int by_popen(const struct start *s)
{
    FILE *f = popen(command_line(s), "r");
    char part[LINE];
    size_t n;

    if (!f)
        return -1;
    while ((n = fread(part, 1, sizeof part, f)) > 0)
        fwrite(part, 1, n, stdout);
    return pclose(f);
}

/* The words of a command substitution, one a line. */
static int by_wordexp(const struct start *s)
{
    char text[LINE + 8];
    wordexp_t words;
    int r;

    snprintf(text, sizeof text, "$(%s)", command_line(s));
    r = wordexp(text, &words, WRDE_SHOWERR);
    for (size_t i = 0; r == 0 && i < words.we_wordc; i++)
        puts(words.we_wordv[i]);
    if (r == WRDE_CMDSUB)
        puts("wordexp: WRDE_CMDSUB");
    return r == 0 && words.we_wordc ? 0 : 126 << 8;
}

static const struct call {
    const char *name;
    int (*start)(const struct start *s);
} calls[] = {
    {"execve", by_execve},
    {"execv", by_execv},
    {"execvp", by_execvp},
    {"execvpe", by_execvpe},
    {"execl", by_execl},
    {"execl-5000", by_execl_5000},
    {"execlp", by_execlp},
    {"execle", by_execle},
    {"fexecve", by_fexecve},
    {"execveat-path", by_execveat_path},
    {"execveat-dir", by_execveat_dir},
    {"execveat-fd", by_execveat_fd},
    {"syscall", by_syscall},
    {"syscall-at", by_syscall_at},
    {"posix_spawn", by_posix_spawn},
    {"posix_spawnp", by_posix_spawnp},
    {"spawn-elsewhere", by_spawn_elsewhere},
    {"spawn-at", by_spawn_at},
    {"spawn-opened", by_spawn_opened},
    {"spawnp-elsewhere", by_spawnp_elsewhere},
    {"vfork", by_vfork},
    {"vfork-search", by_vfork_search},
    {"system", by_system},
    {"popen", by_popen},
    {"wordexp", by_wordexp},
};

/* --- the environment ------------------------------------------------------------------------- */

static void add_many(void)
{
    for (int i = 0; i < VARIABLES; i++) {
        char name[32];

        snprintf(name, sizeof name, "VARIABLE_%d", i);
        setenv(name, "a value of some length that is of no use", 1);
    }
}

/* Twice the same variable, of which the loader takes the last one. */
static void preload_twice(void)
{
    static char *variables[VARIABLES], empty[] = "LD_PRELOAD=";
    size_t n = 0;

    for (; environ[n] && n < VARIABLES - 2; n++)
        variables[n] = environ[n];
    variables[n] = empty;
    environ = variables;
}

static void make_environment(char *how)
{
    if (!strcmp(how, "clear")) {
        clearenv();
    } else if (!strcmp(how, "null")) {
        environ = NULL;
    } else if (!strcmp(how, "many")) {
        add_many();
    } else if (!strcmp(how, "twice")) {
        preload_twice();
    } else if (!strcmp(how, "unset")) {
        unsetenv("LD_PRELOAD");
        unsetenv("VIADUCT_SESSION");
    } else {
        putenv(how);
    }
}

/* --- what is left behind ------------------------------------------------------------------- */

struct traces {
    char **environment;
    size_t variables, letters, descriptors, mappings;
};

static size_t entries(const char *path)
{
    DIR *dir = opendir(path);
    size_t n = 0;

    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static size_t lines(const char *path)
{
    FILE *f = fopen(path, "r");
    size_t n = 0;

    for (int c; f && (c = getc(f)) != EOF;)
        n += c == '\n';
    if (f)
        fclose(f);
    return n;
}

static struct traces look(void)
{
    struct traces t = {.environment = environ};

    for (char **v = environ; v && *v; v++, t.variables++)
        t.letters += strlen(*v);
    t.descriptors = entries("/proc/self/fd");
    t.mappings = lines("/proc/self/maps");
    return t;
}

static void compare(const struct traces *a, const struct traces *b)
{
    if (a->environment != b->environment)
        puts("environ moved");
    if (a->variables != b->variables || a->letters != b->letters)
        printf("%zu variables of %zu letters became %zu of %zu\n", a->variables, a->letters,
               b->variables, b->letters);
    if (a->descriptors != b->descriptors)
        printf("%zu descriptors became %zu\n", a->descriptors, b->descriptors);
    if (a->mappings != b->mappings)
        printf("%zu mappings became %zu\n", a->mappings, b->mappings);
}

/* --- */

static int run(const struct call *call, const struct start *s)
{
    int r = call->start(s);

    if (r >= 0)
        return WIFEXITED(r) ? WEXITSTATUS(r) : 255;
    printf("%s: %s\n", s->call, strerrorname_np(errno));
    return 1;
}

/* The first time may resolve symbols and buffers, which is no trace. */
static int run_often(const struct call *call, const struct start *s, int times)
{
    struct traces before, after;
    int r = run(call, s);

    look();
    before = look();
    for (int i = 1; i < times; i++)
        r |= run(call, s);
    after = look();
    compare(&before, &after);
    return r;
}

static const struct call *find(const char *name)
{
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (!strcmp(calls[i].name, name))
            return &calls[i];
    fprintf(stderr, "no call %s\n", name);
    exit(2);
}

int main(int argc, char **argv)
{
    struct start s;
    const struct call *call;
    int times = 1;

    setvbuf(stdout, NULL, _IONBF, 0);
    for (int c; (c = getopt(argc, argv, "+e:r:")) != -1;) {
        if (c == 'e')
            make_environment(optarg);
        else
            times = atoi(optarg);
    }
    if (argc - optind < 2 || argc - optind - 1 > ARGUMENTS)
        return 2;
    call = find(argv[optind]);
    s = (struct start){.call = argv[optind], .file = argv[optind + 1], .argv = argv + optind + 1};
    for (int i = 0; i < ARGUMENTS; i++)
        s.a[i] = i < argc - optind - 1 ? s.argv[i] : NULL;
    return times > 1 ? run_often(call, &s, times) : run(call, &s);
}
