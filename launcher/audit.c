/*
 * The launcher as the command's parent. To its own parent it looks like the command:
 *
 *   a signal for it        goes on to the command; one that the terminal gave to the whole
 * foreground group has reached the command already (it comes from the kernel) the command stops it
 * stops, too; when it is continued, so is the command the command ends       after the report it
 * exits, or dies by the same signal
 *
 * Signals are taken one by one by sigwaitinfo(), blocked but for that time; the command gets the
 * mask and the disposition of SIGCHLD that the launcher was started with. Both stay in the one
 * process group, so that the terminal and the shell notice no difference.
 */
#include "launcher/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/say.h"

static void set_of_all(sigset_t *set)
{
    static const int not_ours[] = {SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGSEGV,
                                   SIGBUS,  SIGFPE,  SIGILL,  SIGTRAP, SIGABRT};

    sigfillset(set);
    for (size_t i = 0; i < sizeof not_ours / sizeof *not_ours; i++)
        sigdelset(set, not_ours[i]);
}

static void stop_as(pid_t command)
{
    kill(getpid(), SIGSTOP);
    kill(command, SIGCONT);
}

/* Whether the command has ended; *status says how. */
static bool has_ended(pid_t command, int *status)
{
    pid_t pid;

    while ((pid = waitpid(command, status, WNOHANG | WUNTRACED)) == command) {
        if (!WIFSTOPPED(*status))
            return true;
        stop_as(command);
    }
    return pid < 0 && errno == ECHILD;
}

static int wait_for(pid_t command, const sigset_t *signals)
{
    siginfo_t info;
    int status = 0;

    while (!has_ended(command, &status)) {
        int number = sigwaitinfo(signals, &info);

        if (number > 0 && number != SIGCHLD && info.si_code != SI_KERNEL && info.si_pid != command)
            kill(command, number);
    }
    return status;
}

/* What the process list shows. The memory of argv is one piece. */
static void blank(char **argv)
{
    for (char **word = argv + 1; argv[0] && *word; word++)
        memset(*word, 0, strlen(*word));
}

/* The session counts as used as long as somebody holds a shared lock on it. */
static int open_session(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) < 0)
        say_die(EXIT_OWN, "--audit: the session file %s: %s", path, strerror(errno));
    return fd;
}

static void die_by(int number)
{
    struct rlimit no_core = {0, 0};
    sigset_t only;

    setrlimit(RLIMIT_CORE, &no_core); /* the command has left one, if that is wanted */
    signal(number, SIG_DFL);
    sigemptyset(&only);
    sigaddset(&only, number);
    raise(number);
    sigprocmask(SIG_UNBLOCK, &only, NULL);
}

/* Prints; what was wrong, NULL if nothing was. */
static const char *report(const struct plan *plan, int fd)
{
    struct audit_report report;
    int error = audit_read(&report, fd);

    if (error) {
        say_warning("--audit: the session cannot be read: %s", strerror(error));
        return NULL;
    }
    audit_print(&report, plan);
    free(report.rows);
    if (report.counters[AUDIT_PAST_LIBRARY] > 0)
        return "a leak: connections or datagrams were made past the library";
    return report.counters[AUDIT_LEFT] > 0
               ? "a leak: DNS went past the chain, which should have resolved all names"
               : NULL;
}

static void stay(const struct plan *plan, const char *session, pid_t command,
                 const sigset_t *signals, int fd) __attribute__((noreturn));

static void stay(const struct plan *plan, const char *session, pid_t command,
                 const sigset_t *signals, int fd)
{
    int status = wait_for(command, signals);
    const char *leak;

    if (access(session, F_OK) < 0) /* it could not be run; the child has said why */
        exit(WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_CANNOT_RUN);
    leak = report(plan, fd);
    if (leak)
        say_die(EXIT_OWN, "%s", leak);
    if (WIFSIGNALED(status))
        die_by(WTERMSIG(status));
    exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

void audit_stay(const struct plan *plan, const char *session, char **argv)
{
    struct sigaction fallback = {.sa_handler = SIG_DFL}, before;
    sigset_t all, mask;
    int fd = open_session(session);
    pid_t command;

    set_of_all(&all);
    sigprocmask(SIG_BLOCK, &all, &mask);
    sigaction(SIGCHLD, &fallback, &before);
    command = fork();
    if (command < 0)
        say_die(EXIT_OWN, "--audit: fork: %s", strerror(errno));
    if (command > 0) {
        blank(argv);
        stay(plan, session, command, &all, fd);
    }
    sigaction(SIGCHLD, &before, NULL);
    sigprocmask(SIG_SETMASK, &mask, NULL);
}
