#include "launcher/aside.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

bool aside_fork(void)
{
    pid_t between = fork();

    if (between == 0) {
        if (fork() == 0)
            return true;
        _exit(0);
    }
    if (between > 0)
        waitpid(between, NULL, 0);
    return false;
}

/* Out of the way first: what is kept may have a number that another one is to get. */
static void keep(int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3 + (int)count);
        if (fds[i] < 0)
            _exit(1);
    }
    for (unsigned i = 0; i < count; i++) {
        if (dup3(fds[i], 3 + (int)i, O_CLOEXEC) < 0)
            _exit(1);
        fds[i] = 3 + (int)i;
    }
    close_range(3 + count, UINT_MAX, 0);
}

/* However the command's signals are set. */
static void reset_signals(void)
{
    sigset_t none;

    sigemptyset(&none);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

void aside_let_go(const char *name, int *fds, unsigned count)
{
    keep(fds, count);
    close_range(0, 2, 0);
    for (int fd = 0; fd < 3; fd++)
        if (open("/dev/null", O_RDWR) != fd)
            _exit(1);
    setsid();
    umask(077);
    if (chdir("/") < 0)
        _exit(1);
    prctl(PR_SET_NAME, name);
    reset_signals();
}
