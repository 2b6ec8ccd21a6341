/* Calls on sockets, and on descriptors of sockets. */
#include <fcntl.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "leak.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static struct iovec words = {(char[]){"leak"}, 4};

static struct msghdr message_to(const struct to *t)
{
    return (struct msghdr){
        .msg_name = (void *)at(t), .msg_namelen = t->len, .msg_iov = &words, .msg_iovlen = 1};
}

/* --- connect --------------------------------------------------------------------------------- */

static void do_connect(const struct to *t)
{
    write(connected(t), "leak", 4);
}

static void do_other_connect(const struct to *t)
{
    int (*other)(int, const struct sockaddr *, socklen_t) = symbol("__connect");
    int fd = make(t);

    if (other(fd, at(t), t->len) == 0)
        write(fd, "leak", 4);
}

static void do_syscall(const struct to *t)
{
    long fd = syscall(SYS_socket, t->family, t->type, 0);

    if (syscall(SYS_connect, fd, at(t), t->len) == 0)
        syscall(SYS_write, fd, "leak", 4);
}

static void do_syscall_sends(const struct to *t)
{
    struct mmsghdr many = {.msg_hdr = message_to(t)};
    int fd = make(t);

    syscall(SYS_sendto, fd, "leak", 4, 0, at(t), t->len);
    syscall(SYS_sendmsg, fd, &many.msg_hdr, 0);
    syscall(SYS_sendmmsg, fd, &many, 1, 0);
}

static void do_thread_start(void *t)
{
    do_connect(t);
}

static void *thread(void *t)
{
    do_thread_start(t);
    return NULL;
}

static void do_thread(const struct to *t)
{
    pthread_t id;

    pthread_create(&id, NULL, thread, (void *)t);
    pthread_join(id, NULL);
}

static void do_fork(const struct to *t)
{
    if (fork() == 0) {
        alarm(2);
        do_connect(t);
    } else {
        sleep(1);
    }
}

static void do_multipath(const struct to *t)
{
    connect(socket(t->family, SOCK_STREAM, IPPROTO_MPTCP), at(t), t->len);
}

static void do_again(const struct to *t)
{
    struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
    int fd = make(t);

    connect(fd, at(t), t->len);
    connect(fd, &nowhere, sizeof nowhere);
    if (connect(fd, at(t), t->len) == 0)
        send(fd, "leak", 4, 0);
}

/* --- sending with a destination -------------------------------------------------------------- */

static int flags(const struct to *t)
{
    return t->type == SOCK_STREAM ? MSG_FASTOPEN : 0;
}

static void do_sendto(const struct to *t)
{
    sendto(make(t), "leak", 4, flags(t), at(t), t->len);
}

static void do_sendmsg(const struct to *t)
{
    struct msghdr m = message_to(t);

    sendmsg(make(t), &m, flags(t));
}

static void do_sendmmsg(const struct to *t)
{
    struct mmsghdr many[2] = {{.msg_hdr = message_to(t)}, {.msg_hdr = message_to(t)}};

    sendmmsg(make(t), many, 2, flags(t));
}

static void do_fast_connect(const struct to *t)
{
    int fd = make(t), one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof one);
    if (connect(fd, at(t), t->len) == 0)
        write(fd, "leak", 4);
}

/* --- sending on a connected socket ----------------------------------------------------------- */

static void do_send(const struct to *t)
{
    send(connected(t), "leak", 4, 0);
}

static void do_writev(const struct to *t)
{
    writev(connected(t), &words, 1);
}

static void do_connected_messages(const struct to *t)
{
    struct mmsghdr many = {.msg_hdr = {.msg_iov = &words, .msg_iovlen = 1}};
    int fd = connected(t);

    sendto(fd, "leak", 4, 0, NULL, 0);
    sendmsg(fd, &many.msg_hdr, 0);
    sendmmsg(fd, &many, 1, 0);
}

static void do_other_names(const struct to *t)
{
    ssize_t (*other_write)(int, const void *, size_t) = symbol("__write");
    ssize_t (*other_send)(int, const void *, size_t, int) = symbol("__send");
    int fd = connected(t);

    other_write(fd, "leak", 4);
    other_send(fd, "leak", 4, 0);
}

static void do_within_libc(const struct to *t)
{
    int fd = connected(t);

    dprintf(fd, "leak");
    pwritev2(fd, &words, 1, -1, 0);
    FILE *file = fdopen(fd, "w");
    fputs("leak", file);
    fflush(file);
}

static void do_sendfile(const struct to *t)
{
    int fd = connected(t), file = open("/etc/passwd", O_RDONLY);

    sendfile(fd, file, NULL, 4);
    sendfile64(fd, file, NULL, 4);
}

static void do_splice(const struct to *t)
{
    int fd = connected(t), ends[2];

    if (pipe(ends) == 0 && write(ends[1], "leak", 4) == 4)
        splice(ends[0], NULL, fd, NULL, 4, 0);
}

static void do_receive(const struct to *t)
{
    ssize_t (*other_read)(int, void *, size_t) = symbol("__read");
    ssize_t (*read_chk)(int, void *, size_t, size_t) = symbol("__read_chk");
    ssize_t (*recv_chk)(int, void *, size_t, size_t, int) = symbol("__recv_chk");
    ssize_t (*recvfrom_chk)(int, void *, size_t, size_t, int, struct sockaddr *, socklen_t *) =
        symbol("__recvfrom_chk");
    char room[16];
    struct iovec part = {room, sizeof room};
    struct mmsghdr many = {.msg_hdr = {.msg_iov = &part, .msg_iovlen = 1}};
    int fd = connected(t);

    fcntl(fd, F_SETFL, O_NONBLOCK);
    write(fd, "leak", 4);
    recv(fd, room, sizeof room, 0);
    recvfrom(fd, room, sizeof room, 0, NULL, NULL);
    recvmsg(fd, &many.msg_hdr, 0);
    recvmmsg(fd, &many, 1, 0, NULL);
    read(fd, room, sizeof room);
    readv(fd, &part, 1);
    other_read(fd, room, sizeof room);
    read_chk(fd, room, sizeof room, sizeof room);
    recv_chk(fd, room, sizeof room, sizeof room, 0);
    recvfrom_chk(fd, room, sizeof room, sizeof room, 0, NULL, NULL);
}

/* --- under way ------------------------------------------------------------------------------- */

static int begin(const struct to *t)
{
    int fd = make(t);

    fcntl(fd, F_SETFL, O_NONBLOCK);
    connect(fd, at(t), t->len);
    return fd;
}

static void do_poll(const struct to *t)
{
    int (*other)(struct pollfd *, nfds_t, int) = symbol("__poll");
    int (*chk)(struct pollfd *, nfds_t, int, size_t) = symbol("__poll_chk");
    int (*ppoll_chk)(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *, size_t) =
        symbol("__ppoll_chk");
    struct pollfd p = {.fd = begin(t), .events = POLLOUT};
    struct timespec none = {0};

    other(&p, 1, 0);
    chk(&p, 1, 0, sizeof p);
    ppoll_chk(&p, 1, &none, NULL, sizeof p);
    ppoll(&p, 1, &none, NULL);
    poll(&p, 1, 2000);
    write(p.fd, "leak", 4);
}

static void do_select(const struct to *t)
{
    int (*other)(int, fd_set *, fd_set *, fd_set *, struct timeval *) = symbol("__select");
    int fd = begin(t);
    struct timeval two = {.tv_sec = 2}, none = {0};
    struct timespec nothing = {0};
    fd_set set;

    FD_ZERO(&set);
    FD_SET(fd, &set);
    other(fd + 1, NULL, &set, NULL, &none);
    FD_SET(fd, &set);
    pselect(fd + 1, NULL, &set, NULL, &nothing, NULL);
    FD_SET(fd, &set);
    select(fd + 1, NULL, &set, NULL, &two);
    write(fd, "leak", 4);
}

static void do_epoll(const struct to *t)
{
    struct epoll_event event = {.events = EPOLLOUT};
    int fd = begin(t), epfd = epoll_create1(0);

    epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event);
    epoll_wait(epfd, &event, 1, 2000);
    write(fd, "leak", 4);
}

static void do_ask(const struct to *t)
{
    struct sockaddr_storage told;
    socklen_t len = sizeof told;
    int fd = begin(t), number;

    getpeername(fd, (struct sockaddr *)&told, &len);
    len = sizeof told;
    getsockname(fd, (struct sockaddr *)&told, &len);
    len = sizeof number;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &len);
    ioctl(fd, FIONREAD, &number);
    write(fd, "leak", 4);
    shutdown(fd, SHUT_RDWR);
    write(fd, "leak", 4);
}

/* --- descriptors ----------------------------------------------------------------------------- */

static void do_copies(const struct to *t)
{
    int (*other_dup2)(int, int) = symbol("__dup2");
    int (*other_fcntl)(int, int, ...) = symbol("__fcntl");
    int (*fcntl_64)(int, int, ...) = symbol("fcntl64");
    int fd = connected(t);

    write(dup(fd), "leak", 4);
    write(dup2(fd, 60), "leak", 4);
    write(dup3(fd, 61, O_CLOEXEC), "leak", 4);
    write(other_dup2(fd, 62), "leak", 4);
    write(fcntl(fd, F_DUPFD, 63), "leak", 4);
    write(fcntl_64(fd, F_DUPFD, 70), "leak", 4);
    write(other_fcntl(fd, F_DUPFD_CLOEXEC, 80), "leak", 4);
}

/* A socket with the number of one that was closed. */
static void do_closed(const struct to *t)
{
    int (*other)(int) = symbol("__close");

    close(connected(t));
    other(connected(t));
    fclose(fdopen(connected(t), "r"));
    close_range((unsigned)connected(t), ~0u, 0);
    closefrom(connected(t));
    if (t->type == SOCK_DGRAM)
        do_sendto(t);
    else
        do_connect(t);
}

static void do_listen(const struct to *t)
{
    struct sockaddr_storage any = {.ss_family = (sa_family_t)t->family};
    int fd = socket(t->family, SOCK_STREAM | SOCK_NONBLOCK, 0);

    bind(fd, (struct sockaddr *)&any, t->len);
    listen(fd, 5);
    accept(fd, NULL, NULL);
    accept4(fd, NULL, NULL, SOCK_CLOEXEC);
}

/* --- other protocols ------------------------------------------------------------------------- */

static void send_by(const struct to *t, int type, int protocol)
{
    static const char echo_request[8] = {8, 0, (char)0xf7, (char)0xff};
    static const char echo_request6[8] = {(char)128};
    struct sockaddr_storage to = t->addr;
    int six = t->family == AF_INET6;

    if (six && type == SOCK_RAW)
        ((struct sockaddr_in6 *)&to)->sin6_port = 0;
    sendto(socket(t->family, type, protocol), six ? echo_request6 : echo_request, 8, 0,
           (struct sockaddr *)&to, t->len);
}

static void do_raw(const struct to *t)
{
    send_by(t, SOCK_RAW, t->family == AF_INET6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

static void do_ping(const struct to *t)
{
    send_by(t, SOCK_DGRAM, t->family == AF_INET6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

static void do_lite(const struct to *t)
{
    send_by(t, SOCK_DGRAM, IPPROTO_UDPLITE);
}

static void do_packet(const struct to *t)
{
    struct sockaddr_ll link = {.sll_family = AF_PACKET,
                               .sll_protocol = htons(ETHERTYPE_IP),
                               .sll_ifindex = (int)if_nametoindex("app0"),
                               .sll_halen = 6};
    unsigned char packet[28] = {0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, 2};

    memcpy(packet + 16, &((const struct sockaddr_in *)at(t))->sin_addr, 4);
    sendto(socket(AF_PACKET, SOCK_DGRAM, htons(ETHERTYPE_IP)), packet, sizeof packet, 0,
           (struct sockaddr *)&link, sizeof link);
}

static void do_other_transports(const struct to *t)
{
    connect(socket(t->family, SOCK_STREAM, IPPROTO_SCTP), at(t), t->len);
    connect(socket(t->family, SOCK_SEQPACKET, IPPROTO_SCTP), at(t), t->len);
    connect(socket(t->family, 6 /* SOCK_DCCP */, 33), at(t), t->len);
    connect(socket(43 /* AF_SMC */, SOCK_STREAM, t->family == AF_INET6), at(t), t->len);
    syscall(SYS_request_key, "dns_resolver", t->name, NULL, 0);
}

/* --- groups ---------------------------------------------------------------------------------- */

static struct sockaddr_in group_of(const struct to *t)
{
    struct sockaddr_in group = {.sin_family = AF_INET, .sin_port = htons(5353)};

    group.sin_addr.s_addr = htonl(0xef030000u + t->index);
    return group;
}

static void do_join(const struct to *t)
{
    struct ip_mreq by_address = {.imr_multiaddr = group_of(t).sin_addr};
    struct group_req shared = {0};
    struct sockaddr_in group = group_of(t);
    int fd = make(t);

    by_address.imr_multiaddr.s_addr ^= htonl(0x00800000u);
    memcpy(&shared.gr_group, &group, sizeof group);
    setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &by_address, sizeof by_address);
    setsockopt(fd, IPPROTO_IP, MCAST_JOIN_GROUP, &shared, sizeof shared);
    sleep(1); /* the kernel's report */
}

static void do_group(const struct to *t)
{
    struct sockaddr_in group = group_of(t);

    sendto(make(t), "leak", 4, 0, (struct sockaddr *)&group, sizeof group);
}

static void do_broadcast(const struct to *t)
{
    struct sockaddr_in all = {.sin_family = AF_INET,
                              .sin_port = htons((uint16_t)(40000 + t->index))};
    int fd = make(t), one = 1;

    setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof one);
    all.sin_addr.s_addr = htonl(0x0a0100ffu);
    sendto(fd, "leak", 4, 0, (struct sockaddr *)&all, sizeof all);
    all.sin_addr.s_addr = INADDR_BROADCAST;
    sendto(fd, "leak", 4, 0, (struct sockaddr *)&all, sizeof all);
}

const struct row socket_rows[] = {
    {"connect socket", do_connect, TCP | UDP | ANYHOW},
    {"__connect", do_other_connect, TCP | UDP | ANYHOW},
    {"syscall", do_syscall, TCP | UDP | ANYHOW},
    {"syscall (sends)", do_syscall_sends, UDP | ANYHOW},
    {"connect (thread)", do_thread, TCP | UDP | ADDRESS | V4},
    {"connect (child of fork)", do_fork, TCP | UDP | ADDRESS | V4},
    {"connect (MPTCP)", do_multipath, TCP | ADDRESS | V4 | V6},
    {"connect (dissolved)", do_again, TCP | UDP | ADDRESS | V4 | V6},
    {"sendto", do_sendto, TCP | UDP | ANYHOW},
    {"sendmsg", do_sendmsg, TCP | UDP | ANYHOW},
    {"sendmmsg", do_sendmmsg, TCP | UDP | ANYHOW},
    {"setsockopt (TCP_FASTOPEN_CONNECT)", do_fast_connect, TCP | ANYHOW},
    {"send", do_send, UDP | ANYHOW},
    {"write", do_connect, UDP | ANYHOW},
    {"writev", do_writev, UDP | ANYHOW},
    {"sendto sendmsg sendmmsg (connected)", do_connected_messages, UDP | ANYHOW},
    {"__write __send", do_other_names, UDP | ANYHOW},
    {"dprintf pwritev2 fputs", do_within_libc, UDP | ANYHOW},
    {"sendfile sendfile64", do_sendfile, UDP | ADDRESS | V4 | V6},
    {"splice", do_splice, UDP | ADDRESS | V4 | V6},
    {"recv recvfrom recvmsg recvmmsg read readv __read __read_chk __recv_chk __recvfrom_chk",
     do_receive, UDP | ADDRESS | V4 | V6},
    {"poll ppoll __poll __poll_chk __ppoll_chk", do_poll, TCP | ANYHOW},
    {"select __select pselect", do_select, TCP | ANYHOW},
    {"epoll_ctl", do_epoll, TCP | ANYHOW},
    {"getpeername getsockname getsockopt ioctl shutdown", do_ask, TCP | UDP | ADDRESS | V4 | V6},
    {"dup dup2 dup3 __dup2 fcntl fcntl64 __fcntl", do_copies, UDP | ADDRESS | V4 | V6},
    {"close __close fclose close_range closefrom", do_closed, UDP | ADDRESS | V4 | V6},
    {"bind listen accept accept4", do_listen, TCP | ADDRESS | V4 | V6 | SILENT},
    {"socket (raw)", do_raw, ADDRESS | V4 | V6},
    {"socket (ping)", do_ping, ADDRESS | V4 | V6 | SILENT},
    {"socket (UDP-Lite)", do_lite, ADDRESS | V4 | V6},
    {"socket (packet)", do_packet, ADDRESS | V4},
    {"socket (SCTP, DCCP, SMC) syscall (request_key)", do_other_transports,
     ADDRESS | V4 | V6 | SILENT},
    {"setsockopt (joining a group)", do_join, UDP | ADDRESS | V4},
    {"sendto (multicast)", do_group, UDP | ADDRESS | V4},
    {"sendto (broadcast)", do_broadcast, UDP | ADDRESS | V4},
    {NULL, NULL, 0},
};
