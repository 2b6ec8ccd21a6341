/*
 *     command                          supervisor (a grandchild, in a session of its own)
 *        | fork ----------------------> lets go of all descriptors, opens a pidfd of the command
 *        | <------------- its number --
 *        | lets it look into the command (PR_SET_PTRACER)
 *        | ----- some descriptor ------>
 *        |                              takes a copy, reads the command's memory: is that allowed?
 *        | <------------ 0 or an errno -
 *        | installs the filter
 *        | ---- the listener's number ->
 *        |                              takes the listener, is ready for calls
 *        | <------------ 0 or an errno -
 *        | closes the listener and goes on
 *
 * The command keeps its process, its parent, its terminal: nothing stands between it and who
 * started it. The supervisor is nobody's child that anybody waits for, and holds nothing that
 * anybody waits to be closed. Once the filter is there the command must not make a call that waits,
 * so that all is told by write().
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/audit.h"
#include "launcher/say.h"
#include "launcher/supervise.h"
#include "proto/bytes.h"

enum { LINE = 3 /* the descriptor between the two, in the supervisor */ };

/* What the supervisor found out. */
struct finding {
    int error;
    char stage; /* which step */
};

static const uint64_t known_word = 0x76696164756374;

/* --- the supervisor's side ------------------------------------------------------------------- */

static void let_go(int line)
{
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO && nothing >= 0; fd++)
        dup2(nothing, fd);
    dup2(line, LINE);
    fcntl(LINE, F_SETFD, FD_CLOEXEC);
    close_range(LINE + 1, ~0U, 0);
    if (chdir("/") < 0)
        return; /* then it stays where it is */
}

/* Who ends a whole group of processes ends the command; the supervisor follows. */
static void be_apart(void)
{
    static const int ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGUSR1, SIGUSR2};
    struct rlimit files;
    sigset_t none;

    setsid();
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_NAME, "viaduct-superv");
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

/* What the process list shows. */
static void blank(char **argv)
{
    for (char **word = argv + 1; argv[0] && *word; word++)
        memset(*word, 0, strlen(*word));
}

/* Takes a descriptor of the command and reads its memory. The descriptor, or -1 and what failed. */
static int look_into(int command, pid_t pid, struct finding *f)
{
    uint64_t word = 0;
    int number, fd;

    if (read(LINE, &number, sizeof number) != sizeof number)
        _exit(0); /* it goes on without */
    if (f->error)
        return -1;
    f->stage = 'f';
    fd = (int)syscall(SYS_pidfd_getfd, command, number, 0);
    f->error = fd < 0 ? errno : 0;
    if (fd < 0)
        return -1;
    f->stage = 'm';
    if (tracee_read(pid, (uintptr_t)&known_word, &word, sizeof word) < 0 || word != known_word)
        f->error = EPERM;
    return fd;
}

static void tell(const struct finding *f)
{
    if (write(LINE, f, sizeof *f) != sizeof *f || f->error)
        _exit(0);
}

static void supervise(pid_t pid, int line, char **argv) __attribute__((noreturn));
static void supervise(pid_t pid, int line, char **argv)
{
    struct finding f = {0, 'p'};
    pid_t self = getpid();
    int command, fd;

    let_go(line);
    be_apart();
    blank(argv);
    command = (int)syscall(SYS_pidfd_open, pid, 0);
    f.error = command < 0 ? errno : 0;
    if (write(LINE, &self, sizeof self) != sizeof self)
        _exit(0);
    fd = look_into(command, pid, &f); /* the line's other end, to try it */
    close(fd);
    tell(&f);
    fd = look_into(command, pid, &f);
    if (!f.error) {
        f.stage = 'o';
        f.error = supervise_open(fd);
    }
    tell(&f);
    close(LINE);
    close(command);
    supervise_run();
}

/* --- the command's side ---------------------------------------------------------------------- */

static int start_supervisor(char **argv)
{
    int ends[2], status;
    pid_t self = getpid(), child;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        say_die(EXIT_OWN, "a pair of sockets: %s", strerror(errno));
    child = fork();
    if (child < 0)
        say_die(EXIT_OWN, "fork: %s", strerror(errno));
    if (child == 0) {
        if (fork() == 0)
            supervise(self, ends[1], argv);
        _exit(0);
    }
    close(ends[1]);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return ends[0];
}

/* What would be needed, and is not there. */
static const char *lacks_filter(char why[AUDIT_LACK_MAX], int error)
{
    struct vd_out out = vd_out_over(why, AUDIT_LACK_MAX);

    if (error == EBUSY)
        return "a supervisor (seccomp user notification), and has one already, of somebody else; "
               "start viaduct outside of that container or sandbox";
    vd_out_text(&out, error == ENOSYS || error == EINVAL
                          ? "seccomp user notification (Linux 5.9 or newer), and this kernel or "
                            "container does not have it: "
                          : "a seccomp filter, and this system forbids it: ");
    vd_out_text(&out, strerror(error));
    return vd_out_string(&out);
}

static const char *lacks_sight(char why[AUDIT_LACK_MAX], const struct finding *f)
{
    const char *what = f->stage == 'p'   ? "pidfd_open: "
                       : f->stage == 'f' ? "pidfd_getfd: "
                                         : "process_vm_readv: ";
    struct vd_out out = vd_out_over(why, AUDIT_LACK_MAX);
    bool sees = f->stage == 'o';

    vd_out_text(&out, sees ? "a supervisor, which could not start: "
                           : "a supervisor, which this system does not let look into it (");
    vd_out_text(&out, sees ? "" : what);
    vd_out_text(&out, strerror(f->error));
    vd_out_text(&out, sees ? ""
                           : "); in a container, allow it: --cap-add SYS_PTRACE, or a seccomp "
                             "profile with pidfd_getfd and process_vm_readv");
    return vd_out_string(&out);
}

/* It goes on without, if it may. */
static void do_without(const char *why, bool needed)
{
    if (needed)
        say_die(EXIT_OWN, "this program needs %s", why);
    audit_lacks(why);
}

void supervise_start(char **argv, bool needed)
{
    struct finding f = {EPIPE, 'p'};
    int line = start_supervisor(argv), listener;
    char why[AUDIT_LACK_MAX];
    pid_t supervisor;

    if (read(line, &supervisor, sizeof supervisor) != sizeof supervisor)
        say_die(EXIT_OWN, "the supervisor did not start");
    prctl(PR_SET_PTRACER, supervisor, 0, 0, 0); /* EINVAL where nobody asks for it */
    if (write(line, &line, sizeof line) != sizeof line || read(line, &f, sizeof f) != sizeof f ||
        f.error) {
        do_without(lacks_sight(why, &f), needed);
        close(line);
        return;
    }
    listener = supervise_install_filter();
    if (listener < 0) {
        do_without(lacks_filter(why, -listener), needed);
    } else if (write(line, &listener, sizeof listener) != sizeof listener ||
               read(line, &f, sizeof f) != sizeof f || f.error) {
        do_without(lacks_sight(why, &f), true); /* the filter stays */
    } else {
        close(listener);
    }
    close(line);
}
