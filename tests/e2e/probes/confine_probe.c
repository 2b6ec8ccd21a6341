/* Preloaded into viaductd: a worker that was taken over, at its first accept. Each attempt is a
 * line on the standard error: "probe NAME ERRNO", 0 for one that went well. ESCAPE names a file. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void tell(const char *name, long result)
{
    char line[64];
    int len = snprintf(line, sizeof line, "probe %s %d\n", name, result < 0 ? errno : 0);
    if (write(STDERR_FILENO, line, (size_t)len) != len)
        abort();
}

static void try_all(void)
{
    static char name[] = "true";
    char *const argv[] = {name, NULL};
    const char *escape = getenv("ESCAPE");
    tell("read", open("/etc/hosts", O_RDONLY));
    tell("make", open(escape, O_WRONLY | O_CREAT, 0600));
    tell("write", open("/etc/hosts", O_WRONLY));
    tell("remove", unlink("/etc/hosts"));
    tell("mkdir", mkdir(escape, 0700));
    tell("execute", execv("/bin/true", argv));
    tell("trace", ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
    tell("unshare", unshare(CLONE_NEWUSER));
    tell("signal", kill(getppid(), SIGTERM));
    tell("root", setuid(0));
    tell("raw", socket(AF_INET, SOCK_RAW, 1));
}

__attribute__((visibility("default"))) int accept4(int fd, struct sockaddr *addr, socklen_t *len,
                                                   int flags)
{
    static int tried;
    int (*next)(int, struct sockaddr *, socklen_t *, int) =
        (int (*)(int, struct sockaddr *, socklen_t *, int))dlsym(RTLD_NEXT, "accept4");
    if (!tried++)
        try_all();
    return next(fd, addr, len, flags);
}
