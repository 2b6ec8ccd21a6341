/*
 * The system calls that a worker and its login helper may make, as a filter of seccomp(2): an
 * allow-list. Others fail with ENOSYS, as on a kernel that does not have them: libc knows what to
 * do then, and what a worker never does on purpose is not worth its end.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "daemon/confine.h"

#if defined __x86_64__
#define ARCH AUDIT_ARCH_X86_64
#elif defined __aarch64__
#define ARCH AUDIT_ARCH_AARCH64
#endif

/* Sanitizers have calls of their own. */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__ || !defined ARCH

int confine_calls(void)
{
    return 0;
}

#else

#define ALLOW(name)                                                                                \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1),                                         \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static struct sock_filter filter[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    /* what a connection costs */
    ALLOW(epoll_pwait),
    ALLOW(epoll_ctl),
    ALLOW(accept4),
    ALLOW(recvfrom),
    ALLOW(sendto),
    ALLOW(splice),
    ALLOW(read),
    ALLOW(write),
    ALLOW(close),
    ALLOW(socket),
    ALLOW(connect),
    ALLOW(setsockopt),
    ALLOW(getsockopt),
    ALLOW(getsockname),
    ALLOW(shutdown),
    ALLOW(ioctl),
    ALLOW(fcntl),
    ALLOW(pipe2),
    ALLOW(clock_gettime),
    /* datagrams, BIND, name servers, this machine's addresses */
    ALLOW(recvmsg),
    ALLOW(sendmsg),
    ALLOW(recvmmsg),
    ALLOW(sendmmsg),
    ALLOW(bind),
    ALLOW(listen),
    ALLOW(getpeername),
    ALLOW(socketpair),
    ALLOW(ppoll),
    /* memory */
    ALLOW(mmap),
    ALLOW(munmap),
    ALLOW(mremap),
    ALLOW(mprotect),
    ALLOW(madvise),
    ALLOW(brk),
    ALLOW(futex),
    /* files that are read */
    ALLOW(openat),
    ALLOW(fstat),
    ALLOW(newfstatat),
    ALLOW(statx),
    ALLOW(lseek),
    ALLOW(pread64),
    ALLOW(readv),
    ALLOW(writev),
    ALLOW(faccessat),
    ALLOW(readlinkat),
    ALLOW(getdents64),
    /* the start, the login helper, the end */
    ALLOW(epoll_create1),
    ALLOW(signalfd4),
    ALLOW(clone),
    ALLOW(dup3),
    ALLOW(close_range),
    ALLOW(set_robust_list),
    ALLOW(rseq),
    ALLOW(prctl),
    ALLOW(prlimit64),
    ALLOW(rt_sigaction),
    ALLOW(rt_sigprocmask),
    ALLOW(rt_sigreturn),
    ALLOW(restart_syscall),
    ALLOW(wait4),
    ALLOW(getrandom),
    ALLOW(uname),
    ALLOW(sysinfo),
    ALLOW(getpid),
    ALLOW(getppid),
    ALLOW(gettid),
    ALLOW(getuid),
    ALLOW(geteuid),
    ALLOW(getgid),
    ALLOW(getegid),
    ALLOW(sched_yield),
    ALLOW(nanosleep),
    ALLOW(clock_nanosleep),
    ALLOW(gettimeofday),
    ALLOW(tgkill),
    ALLOW(exit),
    ALLOW(exit_group),
#ifdef SYS_epoll_wait
    ALLOW(epoll_wait),
    ALLOW(dup2),
    ALLOW(poll),
    ALLOW(select),
    ALLOW(open),
    ALLOW(stat),
    ALLOW(access),
    ALLOW(readlink),
    ALLOW(getrlimit),
    ALLOW(time),
#endif
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
};

/* A kernel without seccomp has to do without. */
int confine_calls(void)
{
    struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
    int result = prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
    return result != 0 && errno != EINVAL ? -1 : 0;
}

#endif
