/*
 * Receiving on a socket in our care: what is ours in front of a datagram is taken off, what must
 * not reach the program is dropped.
 *
 * The kernel is given
 *
 *     head (as long as the headers of the last datagram were) | the program's buffers | spare
 *
 * so that, as a rule, the payload lies where it belongs at once. Other headers than expected are
 * put right by moving bytes; the spare room takes what the program's buffers have not enough of
 * then. Nothing is allocated, and each datagram costs one call of the kernel's, so that threads
 * that receive side by side never see one another's.
 *
 * A datagram that is dropped leaves the program where it was: waiting, within its SO_RCVTIMEO, or
 * with EAGAIN.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <time.h>

#include "client/addr.h"
#include "client/assoc.h"
#include "client/drive.h"
#include "client/names.h"
#include "client/nameservers.h"
#include "client/origins.h"
#include "client/stub.h"
#include "preload/datagram.h"

enum {
    ROOM = ASSOC_HEADERS_MAX,
    FEW = 30,          /* parts that a message has as a rule */
    MANY = 1024,       /* UIO_MAXIOV */
    FIRST_GUESS = 10,  /* a header with an IPv4 address */
    LONGEST = 1 << 17, /* longer than any datagram */
    LEARN_MAX = 4096   /* bytes of a name server's answer that are looked at */
};

/* One datagram, as it was received. */
struct arrival {
    int fd;
    struct sockets_datagram *d;
    struct iovec *parts; /* head, the program's, spare */
    size_t count;
    size_t head, room; /* lengths of head and of the program's */
    size_t len;        /* of the whole datagram, in so far as it was received */
    size_t full;       /* of the whole datagram */
    size_t headers;    /* bytes to take off */
    struct sockaddr_storage source;
    socklen_t source_len;
};

/* --- bytes in parts -------------------------------------------------------------------------- */

/* Copies between `buf` and the bytes from `at` on; how many there were. */
static size_t copy(const struct arrival *a, size_t at, void *buf, size_t len, bool out)
{
    size_t done = 0;

    for (size_t i = 0; i < a->count && done < len; i++) {
        const struct iovec *part = &a->parts[i];
        size_t n = part->iov_len > at ? part->iov_len - at : 0;

        if (n > len - done)
            n = len - done;
        if (n && out)
            memcpy((uint8_t *)buf + done, (uint8_t *)part->iov_base + at, n);
        else if (n)
            memcpy((uint8_t *)part->iov_base + at, (uint8_t *)buf + done, n);
        done += n;
        at = at > part->iov_len ? at - part->iov_len : 0;
    }
    return done;
}

static void move_piece(const struct arrival *a, size_t to, size_t from, size_t len)
{
    uint8_t piece[256];

    copy(a, from, piece, len, true);
    copy(a, to, piece, len, false);
}

/* Moves `len` bytes of payload from behind the headers to the program's first byte. */
static void put_right(const struct arrival *a, size_t len)
{
    const size_t piece = 256;

    if (a->headers > a->head)
        for (size_t at = 0; at < len; at += piece)
            move_piece(a, a->head + at, a->headers + at, len - at < piece ? len - at : piece);
    else if (a->headers < a->head)
        for (size_t left = len; left > 0;) {
            size_t n = left < piece ? left : piece;

            left -= n;
            move_piece(a, a->head + left, a->headers + left, n);
        }
}

/* --- whose it is ----------------------------------------------------------------------------- */

enum verdict { TAKES, DROPS };

static void show_as(struct arrival *a, const void *addr, socklen_t len)
{
    memcpy(&a->source, addr, len);
    a->source_len = len;
}

static bool is_target(const struct sockets_datagram *d, const struct vd_endpoint *from)
{
    struct vd_endpoint target;

    if (!addr_read(&target, (const struct sockaddr *)&d->target, d->len) ||
        target.port != from->port)
        return false;
    if (names_is_placeholder(&target.ip)) /* of its addresses nothing is known here */
        return !vd_endpoint_is_name(from) ||
               (names_find(&target.ip, &target) && vd_endpoint_same(from, &target));
    target.ip = vd_ip_unmapped(&target.ip);
    target.ip.scope = 0;
    return vd_endpoint_same(from, &target);
}

/* A relay says that it is from `from`. */
static enum verdict judge_origin(struct arrival *a, const struct vd_endpoint *from)
{
    enum vd_family family = a->source.ss_family == AF_INET ? VD_IPV4 : VD_IPV6;
    struct sockaddr_storage shown;
    struct vd_ip ip;
    socklen_t len;

    if (a->d->kind == SOCKETS_CARRIED) {
        if (!is_target(a->d, from))
            return DROPS;
        show_as(a, &a->d->target, a->d->len);
        return TAKES;
    }
    if (!origins_show(a->d->cookie, from, family, &ip))
        return DROPS;
    len = addr_write(&shown, a->source.ss_family, &ip, from->port);
    if (!len)
        return DROPS;
    show_as(a, &shown, len);
    return TAKES;
}

/* The answer of a name server that was asked itself. */
static enum verdict judge_server(struct arrival *a, const struct vd_endpoint *from)
{
    uint8_t answer[LEARN_MAX];
    struct vd_endpoint server;

    if (!a->d->asked || !nameservers_has(from))
        return DROPS;
    if (a->d->kind == SOCKETS_NAMES &&
        (!addr_read(&server, (struct sockaddr *)&a->d->target, a->d->len) ||
         !vd_endpoint_same(&server, from)))
        return DROPS;
    stub_learn(answer, copy(a, 0, answer, a->len < LEARN_MAX ? a->len : LEARN_MAX, true));
    return TAKES;
}

/* It came neither from the socket itself nor from a relay. */
static enum verdict judge_stranger(struct arrival *a)
{
    struct vd_endpoint from;
    struct target t;

    a->headers = 0;
    if (!addr_read(&from, (struct sockaddr *)&a->source, a->source_len))
        return DROPS;
    if (judge_server(a, &from) == TAKES)
        return TAKES;
    if (a->d->kind != SOCKETS_LOOSE || route_target(&t, &from) < 0)
        return DROPS;
    return t.route.action == PLAN_DIRECT ||
                   (t.route.action == PLAN_CHAIN && session_plan()->udp == PLAN_UDP_DIRECT)
               ? TAKES
               : DROPS;
}

static enum verdict judge_ours(struct arrival *a)
{
    uint8_t front[ROOM];
    size_t len = copy(a, 0, front, a->len < ROOM ? a->len : ROOM, true);
    const struct sockaddr *source = (struct sockaddr *)&a->source;
    struct sockaddr_storage server;
    struct assoc_origin origin;
    socklen_t server_len;

    if (self_recognise(a->fd, source, a->source_len, front, len, &server, &server_len)) {
        a->headers = SELF_HEADER;
        show_as(a, &server, server_len);
        return TAKES;
    }
    if (a->d->kind == SOCKETS_NAMES)
        return judge_stranger(a);
    switch (assoc_judge(a->d->cookie, source, a->source_len, front, len, &origin)) {
    case ASSOC_TAKEN:
        a->headers = origin.headers;
        return judge_origin(a, &origin.from);
    case ASSOC_DROP:
        return DROPS;
    case ASSOC_NOT_OURS:
        break;
    }
    return judge_stranger(a);
}

/* While the call waited the socket may have been connected, or have come into our care. */
static enum verdict judge(struct arrival *a)
{
    struct sockets_datagram now = {.cookie = a->d->cookie};

    if (now.cookie) {
        sockets_get_datagram(&now);
        if (now.kind != SOCKETS_UNKNOWN && now.kind != SOCKETS_DIRECT)
            *a->d = now;
    } else if (!datagram_is_ours(a->fd, a->d)) {
        a->d->kind = SOCKETS_DIRECT;
    }
    if (a->d->kind != SOCKETS_DIRECT)
        return judge_ours(a);
    a->headers = 0;
    return TAKES;
}

/* --- receiving ------------------------------------------------------------------------------- */

/* What the kernel would have said of the payload alone. */
static ssize_t tell(struct arrival *a, struct msghdr *m, const struct msghdr *got, int flags)
{
    size_t payload = a->full - a->headers;
    size_t given = payload < a->room ? payload : a->room;

    if (a->headers != a->head)
        put_right(a, given);
    if (a->headers && a->headers != a->d->headers)
        sockets_note_headers(a->d->cookie, (uint16_t)a->headers);
    m->msg_controllen = got->msg_controllen;
    m->msg_flags = got->msg_flags & ~MSG_TRUNC;
    if (payload > a->room)
        m->msg_flags |= MSG_TRUNC;
    if (m->msg_name)
        addr_copy_out(m->msg_name, &m->msg_namelen, &a->source, a->source_len);
    return (ssize_t)(flags & MSG_TRUNC ? payload : given);
}

/* What was only looked at is taken off the queue. */
static void discard(const struct arrival *a, int flags)
{
    char byte;

    if (flags & MSG_PEEK)
        sys.recv(a->fd, &byte, 1, MSG_DONTWAIT | MSG_TRUNC);
}

/* When a call that may wait has to end. 0: never. */
static int64_t deadline_ns(int fd)
{
    struct timeval limit = {0};
    socklen_t len = sizeof limit;

    sys.getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, &len);
    if (limit.tv_sec == 0 && limit.tv_usec == 0)
        return 0;
    return drive_now_ns() + (int64_t)limit.tv_sec * 1000000000 + (int64_t)limit.tv_usec * 1000;
}

/* Waits for another datagram; false with errno. */
static bool wait_again(int fd, int64_t deadline)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int64_t left = deadline - drive_now_ns();
    int r = left > 0 ? sys.poll(&p, 1, (int)((left + 999999) / 1000000)) : 0;

    if (r == 0)
        errno = EAGAIN;
    return r > 0;
}

static bool may_wait(int fd, int flags)
{
    return !(flags & MSG_DONTWAIT) && !(sys.fcntl(fd, F_GETFL, NULL) & O_NONBLOCK);
}

/* One datagram that is for the program. */
static ssize_t receive(struct arrival *a, struct msghdr *m, int flags)
{
    const struct msghdr asked = {.msg_name = &a->source,
                                 .msg_namelen = sizeof a->source,
                                 .msg_iov = a->parts,
                                 .msg_iovlen = a->count,
                                 .msg_control = m->msg_control,
                                 .msg_controllen = m->msg_controllen};
    int64_t deadline = 0;
    struct msghdr got;
    bool dropped = false;

    for (;;) {
        ssize_t n;

        got = asked;
        n = sys.recvmsg(a->fd, &got, flags | MSG_TRUNC | (dropped && deadline ? MSG_DONTWAIT : 0));
        if (n < 0 && !(dropped && deadline && errno == EAGAIN))
            return -1;
        if (n >= 0) {
            a->full = (size_t)n;
            a->len = a->full < a->head + a->room + ROOM ? a->full : a->head + a->room + ROOM;
            a->source_len = got.msg_namelen;
            if (judge(a) == TAKES)
                return tell(a, m, &got, flags);
            discard(a, flags);
        }
        if (!dropped)
            deadline = may_wait(a->fd, flags) ? deadline_ns(a->fd) : 0;
        dropped = true;
        if (deadline && !wait_again(a->fd, deadline))
            return -1;
    }
}

static size_t expected_headers(const struct sockets_datagram *d)
{
    if (d->kind == SOCKETS_DIRECT)
        return 0;
    if (d->headers)
        return d->headers < ROOM ? d->headers : ROOM;
    return d->kind == SOCKETS_NAMES ? SELF_HEADER : FIRST_GUESS;
}

/* With `parts` as room for the list of buffers. */
static ssize_t receive_into(int fd, struct sockets_datagram *d, struct msghdr *m, int flags,
                            struct iovec *parts)
{
    uint8_t head[ROOM], spare[ROOM];
    struct arrival a = {.fd = fd, .d = d, .parts = parts, .count = m->msg_iovlen + 2};

    a.head = expected_headers(d);
    parts[0] = (struct iovec){head, a.head};
    for (size_t i = 0; i < m->msg_iovlen; i++) {
        parts[i + 1] = m->msg_iov[i];
        if (parts[i + 1].iov_len > LONGEST)
            parts[i + 1].iov_len = LONGEST;
        a.room += parts[i + 1].iov_len;
    }
    parts[a.count - 1] = (struct iovec){spare, ROOM};
    return receive(&a, m, flags);
}

static __attribute__((noinline)) ssize_t receive_into_many(int fd, struct sockets_datagram *d,
                                                           struct msghdr *m, int flags)
{
    struct iovec parts[MANY];

    return receive_into(fd, d, m, flags, parts);
}

ssize_t datagram_receive(int fd, struct sockets_datagram *d, struct msghdr *m, int flags)
{
    struct iovec parts[FEW + 2];
    int saved = errno;
    ssize_t n;

    if (flags & MSG_ERRQUEUE || d->kind == SOCKETS_DENIED)
        return sys.recvmsg(fd, m, flags);
    if (m->msg_iovlen > MANY - 2)
        return hook_fail(EMSGSIZE);
    n = m->msg_iovlen <= FEW ? receive_into(fd, d, m, flags, parts)
                             : receive_into_many(fd, d, m, flags);
    if (n >= 0)
        errno = saved;
    return n;
}

ssize_t datagram_receive_parts(int fd, struct sockets_datagram *d, const struct iovec *parts,
                               size_t count, int flags, struct sockaddr *addr, socklen_t *addr_len)
{
    struct msghdr m = {.msg_name = addr_len ? addr : NULL,
                       .msg_namelen = addr && addr_len ? *addr_len : 0,
                       .msg_iov = (struct iovec *)parts,
                       .msg_iovlen = count};
    ssize_t n = datagram_receive(fd, d, &m, flags);

    if (n >= 0 && addr && addr_len)
        *addr_len = m.msg_namelen;
    return n;
}

/* As the kernel's: the time is looked at after each datagram, and what is left is told. */
int datagram_receive_many(int fd, struct sockets_datagram *d, struct mmsghdr *messages,
                          unsigned count, int flags, struct timespec *timeout)
{
    int64_t end = 0, left;
    unsigned i = 0;

    if (timeout)
        end = drive_now_ns() + (int64_t)timeout->tv_sec * 1000000000 + timeout->tv_nsec;
    while (i < count) {
        ssize_t n = datagram_receive(fd, d, &messages[i].msg_hdr, flags & ~MSG_WAITFORONE);

        if (n < 0)
            break;
        messages[i++].msg_len = (unsigned)n;
        if (flags & MSG_WAITFORONE)
            flags |= MSG_DONTWAIT;
        left = timeout ? end - drive_now_ns() : 1;
        if (timeout)
            *timeout = (struct timespec){left > 0 ? (time_t)(left / 1000000000) : 0,
                                         left > 0 ? (long)(left % 1000000000) : 0};
        if (left <= 0)
            break;
    }
    return i || !count ? (int)i : -1;
}

/* The kernel judges the argument, which need not be aligned. */
int datagram_count(int fd, struct sockets_datagram *d, void *count)
{
    struct msghdr m = {.msg_iovlen = 0};
    int n, saved = errno;

    if (sys.ioctl(fd, FIONREAD, count) < 0)
        return -1;
    n = (int)datagram_receive(fd, d, &m, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
    if (n < 0)
        n = 0;
    memcpy(count, &n, sizeof n);
    errno = saved;
    return 0;
}
