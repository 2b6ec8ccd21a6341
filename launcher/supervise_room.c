#include "launcher/supervise_room.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "client/addr.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

enum { LINE = 3, PATIENCE_S = 3 };

/* --- the process that is in the room --------------------------------------------------------- */

static bool loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ok;

    request.ifr_flags = IFF_UP | IFF_RUNNING;
    ok = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

/* local 0.0.0.0/0 dev lo, or local ::/0. */
static bool everything_is_local(int netlink, unsigned char family)
{
    struct {
        struct nlmsghdr head;
        struct rtmsg route;
        struct rtattr device;
        uint32_t index;
    } m = {
        .head = {.nlmsg_len = sizeof m,
                 .nlmsg_type = RTM_NEWROUTE,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK},
        .route = {.rtm_family = family,
                  .rtm_table = RT_TABLE_LOCAL,
                  .rtm_protocol = RTPROT_BOOT,
                  .rtm_scope = RT_SCOPE_HOST,
                  .rtm_type = RTN_LOCAL},
        .device = {.rta_len = RTA_LENGTH(sizeof(uint32_t)), .rta_type = RTA_OIF},
        .index = if_nametoindex("lo"),
    };
    struct {
        struct nlmsghdr head;
        struct nlmsgerr error;
        char more[64];
    } answer;

    return send(netlink, &m, sizeof m, 0) == sizeof m &&
           recv(netlink, &answer, sizeof answer, 0) >=
               (ssize_t)(sizeof answer.head + sizeof answer.error.error) &&
           answer.head.nlmsg_type == NLMSG_ERROR && answer.error.error == 0;
}

/* Any port may be taken by who has no rights in there. */
static void open_ports(void)
{
    int fd = open("/proc/sys/net/ipv4/ip_unprivileged_port_start", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    if (write(fd, "0", 1) < 0)
        errno = 0; /* the kernel is older: then ports below 1024 have nobody who answers */
    close(fd);
}

static bool furnish(void)
{
    int netlink;
    bool ok;

    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0 && unshare(CLONE_NEWNET) < 0)
        return false;
    netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    ok = netlink >= 0 && loopback_up() && everything_is_local(netlink, AF_INET);
    if (ok)
        everything_is_local(netlink, AF_INET6); /* where there is IPv6 */
    if (netlink >= 0)
        close(netlink);
    open_ports();
    return ok;
}

/* One byte and the descriptor; without one the byte alone. */
static void hand_over(int fd)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)),
                          .cmsg_level = SOL_SOCKET,
                          .cmsg_type = SCM_RIGHTS}};
    char byte = 0;
    struct iovec part = {&byte, 1};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};

    if (fd >= 0) {
        memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
        m.msg_control = &control;
        m.msg_controllen = sizeof control;
    }
    sendmsg(LINE, &m, MSG_NOSIGNAL);
    if (fd >= 0)
        close(fd);
}

static void serve(int line) __attribute__((noreturn));
static void serve(int line)
{
    int family;

    dup2(line, LINE);
    close_range(LINE + 1, ~0U, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "viaduct-room");
    if (!furnish())
        _exit(1);
    while (recv(LINE, &family, sizeof family, 0) == sizeof family)
        hand_over(socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    _exit(0);
}

/* --- the supervisor -------------------------------------------------------------------------- */

static struct {
    bool asked;
    int line; /* -1: there is no room */
    uint64_t network;
} room = {.line = -1};

static int receive(void)
{
    char space[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))), byte;
    struct iovec part = {&byte, 1};
    struct msghdr m = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    const struct cmsghdr *c;
    int fd = -1;

    if (recvmsg(room.line, &m, MSG_CMSG_CLOEXEC) != 1)
        return -1;
    c = CMSG_FIRSTHDR(&m);
    if (c && c->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
    return fd;
}

static void close_room(void)
{
    close(room.line);
    room.line = -1;
}

static int ask(int family)
{
    int fd;

    if (send(room.line, &family, sizeof family, MSG_NOSIGNAL) != sizeof family ||
        (fd = receive()) < 0) {
        close_room();
        return -1;
    }
    return fd;
}

static uint64_t network_of(int fd)
{
    uint64_t cookie = 0;
    socklen_t len = sizeof cookie;

    return getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) < 0 ? 0 : cookie;
}

static void open_room(void)
{
    struct timeval patience = {.tv_sec = PATIENCE_S};
    int ends[2], fd;

    room.asked = true;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return;
    if (fork() == 0)
        serve(ends[1]);
    close(ends[1]);
    room.line = ends[0];
    setsockopt(room.line, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    fd = ask(AF_INET);
    if (fd < 0)
        return;
    room.network = network_of(fd);
    close(fd);
}

int room_socket(int family)
{
    if (!room.asked)
        open_room();
    return room.line < 0 ? -1 : ask(family);
}

bool room_has(int fd)
{
    return room.network && network_of(fd) == room.network;
}

/* --- copies ---------------------------------------------------------------------------------- */

static void copy_option(int from, int to, int level, int name)
{
    char value[64];
    socklen_t len = sizeof value;

    if (getsockopt(from, level, name, value, &len) == 0)
        setsockopt(to, level, name, value, len);
}

static void copy_options(int from, int to)
{
    static const struct {
        int level, name;
    } copied[] = {
        {IPPROTO_IPV6, IPV6_V6ONLY},   {SOL_SOCKET, SO_REUSEADDR},
        {SOL_SOCKET, SO_RCVTIMEO},     {SOL_SOCKET, SO_SNDTIMEO},
        {SOL_SOCKET, SO_BROADCAST},    {SOL_SOCKET, SO_TIMESTAMP},
        {IPPROTO_IP, IP_RECVERR},      {IPPROTO_IPV6, IPV6_RECVERR},
        {IPPROTO_IP, IP_PKTINFO},      {IPPROTO_IPV6, IPV6_RECVPKTINFO},
        {IPPROTO_IP, IP_MTU_DISCOVER}, {IPPROTO_IPV6, IPV6_MTU_DISCOVER},
        {IPPROTO_IP, IP_RECVTOS},      {IPPROTO_IPV6, IPV6_RECVTCLASS},
    };

    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++)
        copy_option(from, to, copied[i].level, copied[i].name);
}

/* The port that the program knows of; the address may be one that only its network has. */
static bool copy_port(int from, int to)
{
    struct sockaddr_storage own;
    socklen_t len = sizeof own;
    struct vd_endpoint at;

    if (getsockname(from, (struct sockaddr *)&own, &len) < 0 ||
        !addr_read(&at, (struct sockaddr *)&own, len) || at.port == 0)
        return true;
    return bind(to, (struct sockaddr *)&own, len) == 0;
}

int room_copy(const struct supervise_socket *s)
{
    int fd = room_socket(s->domain);

    if (fd < 0)
        return -1;
    copy_options(s->fd, fd);
    if (!copy_port(s->fd, fd) || fcntl(fd, F_SETFL, fcntl(s->fd, F_GETFL)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}
