/*
 *     dial --ok--> converse (send what is pending, take what comes) --VD_DONE--> DRIVE_DONE
 *       |  ^
 *       failed or late: the next address of the first hop, on the same socket, dissolved before
 */
#include "client/drive.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "client/addr.h"
#include "client/say.h"
#include "client/session.h"
#include "client/sys.h"
#include "proto/err.h"

enum { PEEK = 4096, ADDRESS_LIMIT_MS = 5000 /* for one of several addresses */ };

int64_t drive_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t from_now(uint32_t ms)
{
    return ms ? drive_now_ns() + (int64_t)ms * 1000000 : 0;
}

int drive_begin(struct drive *d, const struct target *t, int family, int64_t limit_ns)
{
    int64_t total_ns = (int64_t)session_plan()->timeout_ms * 1000000;
    struct vd_path path = route_path(t->route.chain);

    *d = (struct drive){.start_ns = drive_now_ns(), .family = family};
    d->deadline_ns = d->start_ns + (limit_ns && limit_ns < total_ns ? limit_ns : total_ns);
    return vd_chain_start(&d->chain, &path, VD_CONNECT, &t->at);
}

static const struct vd_hop *first_hop(const struct drive *d)
{
    return vd_path_hop(&d->chain.path, 0);
}

/* An IPv6 socket that was connected to an IPv4 address speaks IPv4 ever after, in Linux, whatever
 * it is connected to then; unless it is refused an IPv4 address at once, as a broadcast address is.
 */
static void speak_ipv6_again(int fd)
{
    static const struct sockaddr_in6 broadcast = {
        .sin6_family = AF_INET6,
        .sin6_port = 1,
        .sin6_addr.s6_addr = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255},
    };
    socklen_t len = sizeof(int);
    int domain = 0;

    if (sys.getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_INET6)
        sys.connect(fd, (const struct sockaddr *)&broadcast, sizeof broadcast);
}

void drive_undo(int fd)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};

    sys.connect(fd, &none, sizeof none);
    speak_ipv6_again(fd);
}

void drive_dissolve(int fd)
{
    socklen_t len = sizeof(int);
    int ignored;

    drive_undo(fd);
    sys.getsockopt(fd, SOL_SOCKET, SO_ERROR, &ignored, &len);
}

static int send_pending(struct drive *d, int fd)
{
    uint8_t buf[VD_SHAKE_MESSAGE_MAX];
    size_t len;

    while ((len = vd_chain_pending(&d->chain, buf, sizeof buf)) > 0) {
        ssize_t n = sys.send(fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && (errno == EAGAIN || errno == EINPROGRESS))
            return DRIVE_WRITE;
        if (n < 0)
            return vd_chain_lost(&d->chain, VD_LOSS_RESET);
        vd_chain_sent(&d->chain, (size_t)n);
    }
    return DRIVE_READ;
}

static void stage_begins(struct drive *d)
{
    d->stage_ns = from_now(vd_chain_timeout_ms(&d->chain));
}

static void report_hop(const struct drive *d, unsigned position)
{
    char text[VD_URL_TEXT + 64];
    struct vd_out out = vd_out_over(text, sizeof text);

    if (!say_wants(PLAN_HOPS))
        return;
    vd_out_text(&out, "hop ");
    vd_out_uint(&out, position + 1u);
    vd_out_text(&out, " of ");
    vd_out_uint(&out, d->chain.path.count);
    vd_out_text(&out, " (");
    vd_url_print(&out, vd_path_hop(&d->chain.path, position));
    vd_out_text(&out, ") is up after ");
    vd_out_uint(&out, (uint64_t)(drive_now_ns() - d->start_ns) / 1000000);
    vd_out_text(&out, " ms");
    say(PLAN_HOPS, &d->chain.target, vd_out_string(&out));
}

static int feed(struct drive *d, const uint8_t *data, size_t len, size_t *used)
{
    unsigned at = d->chain.at;
    int r = vd_chain_feed(&d->chain, data, len, used);

    if (r == VD_DONE || d->chain.at != at) {
        report_hop(d, at);
        stage_begins(d);
    }
    return r;
}

/* One receive and what it means: VD_MORE, VD_DONE, or a reason. *more says whether another receive
 * is worth trying before waiting. */
static int take(struct drive *d, int fd, bool *more)
{
    uint8_t buf[PEEK];
    bool peeks = vd_chain_peeks(&d->chain);
    size_t want = peeks ? sizeof buf : vd_chain_want(&d->chain), used;
    int flags = (peeks ? MSG_PEEK : 0) | (d->waits ? 0 : MSG_DONTWAIT), r;
    ssize_t n = sys.recv(fd, buf, want, flags);

    *more = false;
    d->interrupted = n < 0 && errno == EINTR;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return VD_MORE;
    if (n <= 0)
        return vd_chain_lost(&d->chain, n == 0 ? VD_LOSS_EOF : VD_LOSS_RESET);
    d->received = 1;
    r = feed(d, buf, (size_t)n, &used);
    if (peeks && used > 0 && sys.recv(fd, buf, used, MSG_DONTWAIT) != (ssize_t)used)
        return -VD_ERR_PROTOCOL; /* somebody else reads this socket */
    *more = r == VD_MORE && (size_t)n == want;
    return r;
}

static int converse(struct drive *d, int fd)
{
    bool more = true;

    while (more) {
        int r = take(d, fd, &more);

        if (r != VD_MORE)
            return r == VD_DONE ? DRIVE_DONE : r;
        if (vd_chain_speaks(&d->chain))
            return send_pending(d, fd); /* an answer to this cannot be here yet */
    }
    return DRIVE_READ;
}

/* Errors of connect() that are the program's own doing, or this machine's: shown as they are. */
static bool is_our_own(int number)
{
    switch (number) {
    case EBADF:
    case ENOTSOCK:
    case EISCONN:
    case EALREADY:
    case EINVAL:
    case EAFNOSUPPORT:
    case EPROTOTYPE:
    case EADDRINUSE:
    case EADDRNOTAVAIL:
    case ENOBUFS:
    case ENOMEM:
        return true;
    default:
        return false;
    }
}

/* An IPv6 socket that takes no IPv4 cannot reach an IPv4 hop, unless it may still be told to. */
static int dial_once(const struct drive *d, int fd, const struct vd_ip *ip)
{
    struct sockaddr_storage to;
    socklen_t len = addr_write(&to, d->family, ip, first_hop(d)->at.port);
    bool mapped = d->family == AF_INET6 && ip->family == VD_IPV4;
    int off = 0;

    if (!len)
        return EAFNOSUPPORT;
    if (sys.connect(fd, (struct sockaddr *)&to, len) == 0)
        return 0;
    if (errno != ENETUNREACH || !mapped)
        return errno;
    if (sys.setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) < 0)
        return EADDRNOTAVAIL;
    return sys.connect(fd, (struct sockaddr *)&to, len) == 0 ? 0 : errno;
}

static void limit_address(struct drive *d)
{
    bool another = d->addr + 1 < first_hop(d)->addr_count;

    stage_begins(d);
    if (another && (!d->stage_ns || d->stage_ns > from_now(ADDRESS_LIMIT_MS)))
        d->stage_ns = from_now(ADDRESS_LIMIT_MS);
}

static int dialled(struct drive *d, int fd)
{
    d->dialling = 0;
    stage_begins(d);
    return send_pending(d, fd);
}

int drive_dial(struct drive *d, int fd)
{
    const struct vd_hop *hop = first_hop(d);

    d->dialling = 1;
    for (; d->addr < hop->addr_count; d->addr++) {
        int number;

        limit_address(d);
        number = dial_once(d, fd, &hop->addrs[d->addr]);
        if (number == 0)
            return dialled(d, fd);
        d->interrupted = number == EINTR;
        if (number == EINPROGRESS || number == EINTR)
            return DRIVE_WRITE;
        if (d->number == 0 || number != EAFNOSUPPORT)
            d->number = number;
        if (number != EAFNOSUPPORT && is_our_own(number))
            break;
        drive_undo(fd);
    }
    return -VD_ERR_UNREACHABLE;
}

/* What became of a dial that was under way. */
static int dial_outcome(struct drive *d, int fd)
{
    socklen_t len = sizeof d->number;

    if (sys.getsockopt(fd, SOL_SOCKET, SO_ERROR, &d->number, &len) < 0)
        d->number = errno;
    if (d->number == 0)
        return dialled(d, fd);
    drive_undo(fd);
    d->addr++;
    return drive_dial(d, fd);
}

int drive_step(struct drive *d, int fd)
{
    int r;

    d->received = 0;
    if (d->dialling)
        return dial_outcome(d, fd);
    r = vd_chain_speaks(&d->chain) ? send_pending(d, fd) : DRIVE_READ;
    return r == DRIVE_READ ? converse(d, fd) : r;
}

int64_t drive_deadline_ns(const struct drive *d)
{
    return d->stage_ns && d->stage_ns < d->deadline_ns ? d->stage_ns : d->deadline_ns;
}

int drive_expire(struct drive *d, int fd)
{
    bool another = d->dialling && d->addr + 1 < first_hop(d)->addr_count;

    if (!another || drive_now_ns() >= d->deadline_ns)
        return vd_chain_lost(&d->chain, VD_LOSS_SILENT);
    drive_undo(fd);
    d->number = ETIMEDOUT;
    d->addr++;
    return drive_dial(d, fd);
}

int drive_errno(const struct drive *d, int result)
{
    if (result == -VD_ERR_UNREACHABLE && is_our_own(d->number))
        return d->number;
    return vd_err_errno(result);
}

static void report_failure(const struct drive *d, int result)
{
    char text[SAY_MAX];
    struct vd_out out = vd_out_over(text, sizeof text);

    vd_chain_explain(&out, &d->chain, result);
    if (result == -VD_ERR_UNREACHABLE && d->number) {
        const char *words = strerrordesc_np(d->number);

        vd_out_text(&out, ": ");
        vd_out_text(&out, words ? words : "unknown error");
    }
    say(PLAN_FAILURES, &d->chain.target, vd_out_string(&out));
}

void drive_report(const struct drive *d, int result)
{
    char text[SAY_MAX];
    struct vd_out out = vd_out_over(text, sizeof text);

    if (result < 0) {
        report_failure(d, result);
        return;
    }
    if (!say_wants(PLAN_CONNECTIONS))
        return;
    vd_out_text(&out, "connected through ");
    for (unsigned i = 0; i < d->chain.path.count; i++) {
        vd_out_text(&out, i ? ", " : "");
        vd_url_print(&out, vd_path_hop(&d->chain.path, i));
    }
    vd_out_text(&out, " in ");
    vd_out_uint(&out, (uint64_t)(drive_now_ns() - d->start_ns) / 1000000);
    vd_out_text(&out, " ms");
    say(PLAN_CONNECTIONS, &d->chain.target, vd_out_string(&out));
}
