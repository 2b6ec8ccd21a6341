/* Sockets of both kinds, and streams. */
#undef _FORTIFY_SOURCE /* its inline definitions would stand beside ours */
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "proto/err.h"
#include "tests/fuzz/feed.h"
#include "tests/fuzz/fuzz.h"

enum { OURS_FROM = 600, FIRST_PORT = 40000 };

struct feed_end feed_ends[FEED_FDS];
bool (*feed_may_reach)(const struct net_addr *to, int type);

static unsigned age, shortage, fate;
static uint16_t next_port = FIRST_PORT;

/* --- the table --- */

struct feed_end *feed_of(int fd)
{
    bool is_one = feed_on && fd >= 0 && fd < FEED_FDS && feed_ends[fd].kind != FEED_NONE;

    return is_one ? &feed_ends[fd] : NULL;
}

int feed_pick(enum feed_kind kind, unsigned back)
{
    int best = -1;
    unsigned limit = ~0u;

    do {
        int found = -1;
        for (int fd = 0; fd < FEED_FDS; fd++)
            if (feed_ends[fd].kind == kind && feed_ends[fd].age < limit &&
                (found < 0 || feed_ends[fd].age > feed_ends[found].age))
                found = fd;
        if (found < 0)
            return best;
        best = found;
        limit = feed_ends[found].age;
    } while (back-- > 0);
    return best;
}

bool feed_is_short(void)
{
    if (shortage == 0)
        return false;
    shortage--;
    errno = EMFILE;
    return true;
}

void feed_reset_table(void)
{
    memset(feed_ends, 0, sizeof feed_ends);
    age = shortage = fate = 0;
    next_port = FIRST_PORT;
}

void feed_be_short(unsigned times)
{
    shortage = times;
}

void feed_set_fate(unsigned value)
{
    fate = value % FATES;
}

struct net_addr feed_addr(const char *host, uint16_t port)
{
    struct net_addr a;
    struct vd_endpoint e;

    PROPERTY(vd_endpoint_read_host(&e, host, strlen(host)) == VD_OK);
    net_addr_set(&a, &e.ip, port);
    return a;
}

void feed_copy_addr(const struct net_addr *a, struct sockaddr *to, socklen_t *len)
{
    socklen_t have = net_addr_len(a);

    if (!to || !len)
        return;
    memcpy(to, a, *len < have ? *len : have);
    *len = have;
}

static struct net_addr addr_of(const struct sockaddr *addr, socklen_t len)
{
    struct net_addr a = {.any.sa_family = AF_UNSPEC};

    memcpy(&a, addr, len < sizeof a ? len : sizeof a);
    return a;
}

/* --- opening and closing --- */

/* The daemon's end of a new pair; what the other end is, the table says. */
int feed_open(sa_family_t family, int type)
{
    int pair[2], base = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (feed_is_short() || syscall(SYS_socketpair, AF_UNIX, type, 0, pair) != 0)
        return -1;
    PROPERTY(pair[0] < FEED_FDS);
    int ours = fcntl(pair[1], F_DUPFD_CLOEXEC, OURS_FROM);
    syscall(SYS_close, pair[1]);
    PROPERTY(ours >= 0);
    feed_ends[pair[0]] =
        (struct feed_end){.kind = base == SOCK_DGRAM ? FEED_DATAGRAMS : FEED_SOCKET,
                          .age = ++age,
                          .ours = ours,
                          .type = (uint8_t)base,
                          .family = family};
    return pair[0];
}

FEED_CALL int socket(int family, int type, int protocol)
{
    if (!feed_on || (family != AF_INET && family != AF_INET6 && family != AF_UNIX))
        return (int)syscall(SYS_socket, family, type, protocol);
    return feed_open((sa_family_t)family, type);
}

FEED_CALL int close(int fd)
{
    struct feed_end *e = feed_of(fd);

    if (e && e->ours >= 0)
        syscall(SYS_close, e->ours);
    if (e)
        e->kind = FEED_NONE;
    return (int)syscall(SYS_close, fd);
}

/* --- addresses --- */

/* What is bound to no address, or to any, leaves by this one. */
static void be_local(struct feed_end *e)
{
    if (e->local.any.sa_family == AF_UNSPEC)
        e->local = feed_addr(e->family == AF_INET6 ? "2001:db8:1::1" : "198.51.100.1", 0);
    if (e->local.any.sa_family == AF_INET && e->local.in4.sin_port == 0)
        e->local.in4.sin_port = htons(next_port++);
    else if (e->local.any.sa_family == AF_INET6 && e->local.in6.sin6_port == 0)
        e->local.in6.sin6_port = htons(next_port++);
    if (next_port < FIRST_PORT)
        next_port = FIRST_PORT;
}

FEED_CALL int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    struct feed_end *e = feed_of(fd);

    if (!e)
        return (int)syscall(SYS_bind, fd, addr, len);
    e->local = addr_of(addr, len);
    be_local(e);
    return 0;
}

FEED_CALL int getsockname(int fd, struct sockaddr *addr, socklen_t *len)
{
    struct feed_end *e = feed_of(fd);

    if (!e)
        return (int)syscall(SYS_getsockname, fd, addr, len);
    be_local(e);
    feed_copy_addr(&e->local, addr, len);
    return 0;
}

FEED_CALL int getpeername(int fd, struct sockaddr *addr, socklen_t *len)
{
    const struct feed_end *e = feed_of(fd);

    if (!e)
        return (int)syscall(SYS_getpeername, fd, addr, len);
    feed_copy_addr(&e->peer, addr, len);
    return 0;
}

/* This machine has loopback and the addresses of be_local(). */
FEED_CALL int getifaddrs(struct ifaddrs **all)
{
    static struct net_addr addrs[3];
    static struct ifaddrs rows[3];

    addrs[0] = feed_addr("127.0.0.1", 0);
    addrs[1] = feed_addr("198.51.100.1", 0);
    addrs[2] = feed_addr("2001:db8:1::1", 0);
    for (int i = 0; i < 3; i++)
        rows[i] =
            (struct ifaddrs){.ifa_next = i < 2 ? &rows[i + 1] : NULL, .ifa_addr = &addrs[i].any};
    *all = rows;
    return 0;
}

FEED_CALL void freeifaddrs(struct ifaddrs *all)
{
    (void)all;
}

/* --- options --- */

FEED_CALL int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    return feed_of(fd) ? 0 : (int)syscall(SYS_setsockopt, fd, level, name, value, len);
}

FEED_CALL int getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    struct feed_end *e = feed_of(fd);

    if (!e || level != SOL_SOCKET || name != SO_ERROR || e->error == 0)
        return (int)syscall(SYS_getsockopt, fd, level, name, value, len);
    memcpy(value, &e->error, sizeof e->error);
    *len = sizeof e->error;
    e->error = 0;
    return 0;
}

/* --- listening --- */

FEED_CALL int listen(int fd, int backlog)
{
    struct feed_end *e = feed_of(fd);

    if (!e)
        return (int)syscall(SYS_listen, fd, backlog);
    e->kind = FEED_LISTENER;
    return 0;
}

int feed_listener(const struct net_addr *at)
{
    int fd = feed_open(at->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC);

    PROPERTY(fd >= 0);
    feed_ends[fd].local = *at;
    feed_ends[fd].kind = FEED_LISTENER;
    return fd;
}

void feed_push(struct feed_end *e, const struct net_addr *from)
{
    e->from[(e->from_at + e->from_count++) % FEED_QUEUE] = *from;
}

bool feed_pop(struct feed_end *e, struct net_addr *from)
{
    if (e->from_count == 0)
        return false;
    *from = e->from[e->from_at];
    e->from_at = (e->from_at + 1) % FEED_QUEUE;
    e->from_count--;
    return true;
}

/* A byte on the pair stands for each connection that waits, so that epoll knows of it. */
void feed_arrive(int listener, const struct net_addr *from)
{
    struct feed_end *e = &feed_ends[listener];

    if (e->from_count < FEED_QUEUE && send(e->ours, "", 1, MSG_NOSIGNAL) == 1)
        feed_push(e, from);
}

FEED_CALL int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
    struct feed_end *l = feed_of(fd);
    struct net_addr from;
    char one;

    PROPERTY(l && l->kind == FEED_LISTENER);
    if (l->from_count == 0) {
        errno = EAGAIN;
        return -1;
    }
    int got = feed_open(l->family, SOCK_STREAM | flags);
    if (got < 0)
        return -1;
    PROPERTY(syscall(SYS_read, fd, &one, 1) == 1 && feed_pop(l, &from));
    struct feed_end *e = &feed_ends[got];
    e->kind = FEED_CLIENT;
    e->local = l->local;
    e->peer = from;
    feed_copy_addr(&from, addr, len);
    return got;
}

/* --- connecting --- */

static int fail(int number)
{
    errno = number;
    return -1;
}

/* Nothing more can be written: that is how a connection looks that does not stand yet. */
static void fill(int fd)
{
    static const char nothing[1024];
    static const int least = 1;

    syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof least);
    while (syscall(SYS_write, fd, nothing, sizeof nothing) > 0)
        ;
}

static int connect_stream(int fd, struct feed_end *e)
{
    unsigned chosen = fate;

    fate = FATE_SOON;
    e->kind = FEED_TARGET;
    switch (chosen) {
    case FATE_AT_ONCE:
        return 0;
    case FATE_REFUSED:
        return fail(ECONNREFUSED);
    case FATE_UNREACHABLE:
        return fail(ENETUNREACH);
    case FATE_REFUSED_LATER:
        e->error = ECONNREFUSED;
        syscall(SYS_close, e->ours);
        e->ours = -1;
        break;
    case FATE_SILENT:
        fill(fd);
        e->held = true;
        break;
    case FATE_ENDED:
        shutdown(e->ours, SHUT_WR);
        break;
    default:
        break;
    }
    return fail(EINPROGRESS);
}

static bool is_name_server(const struct net_addr *a)
{
    struct net_addr server = feed_addr(FEED_NAME_SERVER, 53);

    return a->any.sa_family == AF_INET && a->in4.sin_port == server.in4.sin_port &&
           a->in4.sin_addr.s_addr == server.in4.sin_addr.s_addr;
}

FEED_CALL int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    struct feed_end *e = feed_of(fd);

    if (!e)
        return fail(ENETUNREACH);
    if (e->family == AF_UNIX)
        return e->type == SOCK_STREAM ? connect_stream(fd, e) : 0;
    e->peer = addr_of(addr, len);
    if (e->type == SOCK_DGRAM)
        return 0; /* what is sent is judged */
    if (!is_name_server(&e->peer)) {
        PROPERTY(feed_may_reach(&e->peer, SOCK_STREAM));
        PROPERTY(feed_secret_was_said());
    }
    return connect_stream(fd, e);
}
