/*
 * Memory by process_vm_readv(2), descriptors by pidfd_getfd(2): both need what ptrace(2) needs.
 *
 * A pidfd is kept for the threads that called last. It stands for the very thread it was opened
 * for: when that is gone and its number is another's, pidfd_getfd() says so and it is opened anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "launcher/supervise.h"
#include "proto/bytes.h"

enum { KEPT = 64, OF_THREAD = O_EXCL /* PIDFD_THREAD, Linux 6.9 */ };

static struct {
    pid_t thread;
    int fd;
} kept[KEPT];

/* --- memory ---------------------------------------------------------------------------------- */

static int errno_of_access(void)
{
    return errno == EPERM || errno == ENOSYS ? -EPERM : -EFAULT;
}

int tracee_read(pid_t thread, uint64_t from, void *to, size_t len)
{
    struct iovec here = {to, len}, there = {(void *)(uintptr_t)from, len};
    ssize_t n = len ? process_vm_readv(thread, &here, 1, &there, 1, 0) : 0;

    return n == (ssize_t)len ? 0 : n < 0 ? errno_of_access() : -EFAULT;
}

int tracee_write(pid_t thread, uint64_t to, const void *from, size_t len)
{
    struct iovec here = {(void *)from, len}, there = {(void *)(uintptr_t)to, len};
    ssize_t n = len ? process_vm_writev(thread, &here, 1, &there, 1, 0) : 0;

    return n == (ssize_t)len ? 0 : n < 0 ? errno_of_access() : -EFAULT;
}

/* --- who ------------------------------------------------------------------------------------- */

/* The beginning of a file of /proc/THREAD; its length. */
static size_t read_proc(pid_t thread, const char *name, char *text, size_t size)
{
    char path[64];
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "/proc/%d/%s", (int)thread, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? 0 : read(fd, text, size - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    return n > 0 ? (size_t)n : 0;
}

static int process_of(pid_t thread)
{
    char text[1024];
    const char *line;

    read_proc(thread, "status", text, sizeof text);
    line = strstr(text, "\nTgid:\t");
    if (!line)
        return thread;
    line += 7;
    return (int)vd_uint_read(line, strspn(line, "0123456789"), INT32_MAX);
}

void tracee_name(pid_t thread, char name[64], int *process)
{
    *process = process_of(thread);
    if (read_proc(*process, "comm", name, 64) == 0)
        strcpy(name, "?");
    name[strcspn(name, "\n")] = 0;
}

/* --- descriptors ----------------------------------------------------------------------------- */

/* Of the thread itself where the kernel can, as it may have descriptors of its own. */
static int open_thread(pid_t thread)
{
    int fd = (int)syscall(SYS_pidfd_open, thread, OF_THREAD);

    if (fd < 0 && errno == EINVAL)
        fd = (int)syscall(SYS_pidfd_open, process_of(thread), 0);
    return fd;
}

static int thread_fd(pid_t thread, bool anew)
{
    unsigned at = (unsigned)thread % KEPT;

    if (kept[at].thread == thread && !anew)
        return kept[at].fd;
    if (kept[at].thread)
        close(kept[at].fd);
    kept[at].fd = open_thread(thread);
    kept[at].thread = kept[at].fd < 0 ? 0 : thread;
    return kept[at].fd;
}

int tracee_fd(pid_t thread, int fd)
{
    bool was_kept = kept[(unsigned)thread % KEPT].thread == thread;
    int copy = (int)syscall(SYS_pidfd_getfd, thread_fd(thread, false), fd, 0);

    if (copy < 0 && errno == ESRCH && was_kept)
        copy = (int)syscall(SYS_pidfd_getfd, thread_fd(thread, true), fd, 0);
    if (copy >= 0)
        return copy;
    return errno == EPERM || errno == ENOSYS ? -EPERM : errno == EMFILE ? -ENOBUFS : -EBADF;
}

/* --- messages -------------------------------------------------------------------------------- */

int tracee_read_address(pid_t thread, uint64_t from, uint64_t len, struct sockaddr_storage *to,
                        socklen_t *to_len)
{
    int length = (int)len; /* as the kernel takes it */

    memset(to, 0, sizeof *to);
    *to_len = 0;
    if (length < 0 || length > (int)sizeof *to)
        return -EINVAL;
    *to_len = (socklen_t)length;
    return tracee_read(thread, from, to, (size_t)length);
}

int tracee_read_send(const struct supervise_call *c, struct tracee_message *m)
{
    size_t len = c->args[2];
    int r = tracee_read_address(c->thread, c->args[4], c->args[5], &m->name, &m->name_len);

    m->control_len = 0;
    m->whole = len <= sizeof m->data;
    m->len = m->whole ? len : sizeof m->data;
    return r < 0 ? r : tracee_read(c->thread, c->args[1], m->data, m->len);
}

static int read_parts(pid_t thread, const struct msghdr *head, struct tracee_message *m)
{
    static struct iovec parts[TRACEE_PARTS_MAX];
    size_t count = head->msg_iovlen;
    int r;

    if (count > TRACEE_PARTS_MAX)
        return -EMSGSIZE;
    r = tracee_read(thread, (uintptr_t)head->msg_iov, parts, count * sizeof *parts);
    m->len = 0;
    m->whole = true;
    for (size_t i = 0; r == 0 && i < count; i++) {
        size_t room = sizeof m->data - m->len, len = parts[i].iov_len;

        m->whole &= len <= room;
        len = len <= room ? len : room;
        r = tracee_read(thread, (uintptr_t)parts[i].iov_base, m->data + m->len, len);
        m->len += len;
    }
    return r;
}

int tracee_read_message(pid_t thread, uint64_t from, struct tracee_message *m)
{
    struct msghdr head;
    int r = tracee_read(thread, from, &head, sizeof head);

    if (r < 0)
        return r;
    if (head.msg_controllen > sizeof m->control)
        return -ENOBUFS;
    if (!head.msg_name)
        head.msg_namelen = 0;
    if (head.msg_namelen > sizeof m->name && head.msg_namelen <= INT32_MAX)
        head.msg_namelen = sizeof m->name; /* as the kernel does */
    r = tracee_read_address(thread, (uintptr_t)head.msg_name, head.msg_namelen, &m->name,
                            &m->name_len);
    m->control_len = head.msg_control ? head.msg_controllen : 0;
    if (r == 0)
        r = tracee_read(thread, (uintptr_t)head.msg_control, m->control, m->control_len);
    return r == 0 ? read_parts(thread, &head, m) : r;
}
