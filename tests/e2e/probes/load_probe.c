/*
 * load_probe: ways to a connection beside a plain connect().
 *
 *     load_probe dlopen|deepbind|dlmopen|dlmopen-base PLUGIN ADDRESS      a plugin that connects
 *     load_probe syscall ADDRESS                     syscall(SYS_socket), SYS_connect, SYS_sendto
 *     load_probe fast-open ADDRESS                   syscall(SYS_sendto) with MSG_FASTOPEN
 *     load_probe datagram ADDRESS                    syscall(SYS_sendto), SYS_sendmsg by UDP
 *     load_probe rcmd|rcmd_af|rexec|rexec_af|ruserok HOST      connections and queries inside libc
 *
 * A plugin's name without a slash is looked up along this program's own RUNPATH. LM_ID_NEWLM gets
 * libc anew, without a hook before it.
 */
#include <dlfcn.h>
#include <netdb.h>
#include <sys/syscall.h>

#include "visit.h"

static int load(const char *how, const char *path, const char *address)
{
    void *handle;
    int (*plugin_visit)(const char *);

    if (!strcmp(how, "dlmopen"))
        handle = dlmopen(LM_ID_NEWLM, path, RTLD_NOW);
    else if (!strcmp(how, "dlmopen-base"))
        handle = dlmopen(LM_ID_BASE, path, RTLD_NOW | RTLD_DEEPBIND);
    else
        handle = dlopen(path, RTLD_NOW | (strcmp(how, "deepbind") ? 0 : RTLD_DEEPBIND));
    if (!handle) {
        printf("%s\n", dlerror());
        return 1;
    }
    plugin_visit = (int (*)(const char *))dlsym(handle, "plugin_visit");
    return plugin_visit ? plugin_visit(address) : 3;
}

static int by_number(const char *address)
{
    struct sockaddr_in to = visit_target(address);
    int fd = (int)syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);

    return visit_ask(fd, (int)syscall(SYS_connect, fd, &to, sizeof to), "connect");
}

static int fast_open(const char *address)
{
    struct sockaddr_in to = visit_target(address);
    int fd = (int)syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
    long n = syscall(SYS_sendto, fd, "", 0, MSG_FASTOPEN, &to, sizeof to);

    return visit_ask(fd, n < 0 ? -1 : 0, "sendto");
}

static int datagram(const char *address)
{
    struct sockaddr_in to = visit_target(address);
    int fd = (int)syscall(SYS_socket, AF_INET, SOCK_DGRAM, 0);
    char x[] = "x";
    struct iovec part = {x, 1};
    struct msghdr message = {
        .msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &part, .msg_iovlen = 1};
    struct mmsghdr many = {.msg_hdr = message};

    if (syscall(SYS_sendto, fd, "x", 1, 0, &to, sizeof to) < 0)
        printf("sendto: %s\n", strerrorname_np(errno));
    if (syscall(SYS_sendmsg, fd, &message, 0) < 0)
        printf("sendmsg: %s\n", strerrorname_np(errno));
    if (syscall(SYS_sendmmsg, fd, &many, 1, 0) < 0)
        printf("sendmmsg: %s\n", strerrorname_np(errno));
    return 0;
}

static int remote(const char *how, char *host)
{
    char **where = &host;
    int r, second;

    errno = 0;
    if (!strcmp(how, "rcmd"))
        r = rcmd(where, htons(514), "root", "root", "true", &second);
    else if (!strcmp(how, "rcmd_af"))
        r = rcmd_af(where, htons(514), "root", "root", "true", &second, AF_INET6);
    else if (!strcmp(how, "rexec"))
        r = rexec(where, htons(512), "root", "x", "true", &second);
    else if (!strcmp(how, "rexec_af"))
        r = rexec_af(where, htons(512), "root", "x", "true", &second, AF_INET6);
    else
        r = ruserok(host, 0, "root", "root");
    printf("%d %s\n", r, strerrorname_np(errno));
    return 0;
}

int main(int argc, char **argv)
{
    const char *how = argc > 2 ? argv[1] : "";

    setvbuf(stdout, NULL, _IONBF, 0);
    if (argc == 4)
        return load(how, argv[2], argv[3]);
    if (argc != 3)
        return 2;
    if (!strcmp(how, "syscall"))
        return by_number(argv[2]);
    if (!strcmp(how, "fast-open"))
        return fast_open(argv[2]);
    if (!strcmp(how, "datagram"))
        return datagram(argv[2]);
    return remote(how, argv[2]);
}
