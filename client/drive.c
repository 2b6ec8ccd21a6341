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
#include "client/drive_say.h"
#include "client/learned.h"
#include "client/modes.h"
#include "client/session.h"
#include "client/sys.h"
#include "proto/err.h"

enum {
    PEEK = 4096,
    ADDRESS_LIMIT_MS = 5000, /* for one of several addresses */
    HOP_LIMIT_MS = 5000      /* for a hop that others can stand in for */
};

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

/* Chains of the plan have them, parts of such a chain do not. */
static const struct plan_chain *other_ways(const struct plan_chain *chain)
{
    const struct plan *plan = session_plan();
    const struct plan_chain *first = plan_chain(plan, 0);

    return chain >= first && chain < first + plan->chain_count && chain->mode != VD_MODE_STRICT
               ? chain
               : NULL;
}

int drive_begin(struct drive *d, const struct target *t, int family, int64_t limit_ns)
{
    return drive_begin_command(d, t, VD_CONNECT, family, limit_ns);
}

int drive_begin_command(struct drive *d, const struct target *t, enum vd_command command,
                        int family, int64_t limit_ns)
{
    int64_t total_ns = (int64_t)session_plan()->timeout_ms * 1000000;
    struct vd_path path = route_path(t->route.chain);

    memset(&d->route, 0, offsetof(struct drive, trace) - offsetof(struct drive, route));
    d->start_ns = drive_now_ns();
    d->family = family;
    d->route = t->route;
    d->deadline_ns = d->start_ns + (limit_ns && limit_ns < total_ns ? limit_ns : total_ns);
    d->via = other_ways(t->route.chain);
    d->trace.number = 0;
    return vd_chain_start(&d->chain, &path, command, &t->at);
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

static int lost(struct drive *d, enum vd_loss loss)
{
    int r = vd_chain_lost(&d->chain, loss);

    return r == VD_AGAIN ? DRIVE_FLIGHT_FAILED : r;
}

static void sent(struct drive *d, int fd, size_t n)
{
    struct vd_said before = vd_chain_said(&d->chain);

    vd_chain_sent(&d->chain, n);
    d->bytes += (uint32_t)n;
    if (trace_is_on())
        trace_said(&d->trace, &d->chain, fd, before);
}

static int send_pending(struct drive *d, int fd)
{
    uint8_t buf[VD_FLIGHT_MAX];

    while (vd_chain_speaks(&d->chain)) {
        size_t len = vd_chain_pending(&d->chain, buf, sizeof buf);
        ssize_t n = sys.send(fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && (errno == EAGAIN || errno == EINPROGRESS))
            return DRIVE_WRITE;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return lost(d, VD_LOSS_RESET);
        sent(d, fd, (size_t)n);
    }
    return DRIVE_READ;
}

/* Where another way is open, no hop may take up all the time. */
static uint32_t stage_limit_ms(const struct drive *d)
{
    uint32_t ms = vd_chain_timeout_ms(&d->chain);

    return d->via && d->tries < d->via->count && (!ms || ms > HOP_LIMIT_MS) ? HOP_LIMIT_MS : ms;
}

static void stage_begins(struct drive *d)
{
    d->stage_ms = stage_limit_ms(d);
    d->stage_ns = from_now(d->stage_ms);
}

/* With a hop's turn, and with a flight that begins or is over, another limit begins. */
static void stage_goes_on(struct drive *d)
{
    if (stage_limit_ms(d) != d->stage_ms)
        stage_begins(d);
}

static int feed(struct drive *d, const uint8_t *data, size_t len, size_t *used)
{
    unsigned at = d->chain.at;
    int r = vd_chain_feed(&d->chain, data, len, used);

    if (r == VD_DONE || d->chain.at != at) {
        drive_say_hop(d, at);
        stage_begins(d);
    }
    return r;
}

/* Most replies are longer than the shortest, so as many bytes as they have are asked for at once.
 * Who has taken bytes of the target that way asks for the certain ones from then on. */
static size_t want(const struct drive *d)
{
    return d->careful ? vd_chain_want(&d->chain) : vd_chain_usual(&d->chain);
}

/* One receive and what it means: VD_MORE, VD_DONE, enum drive_again, or a reason. *more says
 * whether another receive is worth trying before waiting. */
static int take(struct drive *d, int fd, bool *more)
{
    uint8_t buf[PEEK];
    bool peeks = vd_chain_peeks(&d->chain);
    size_t size = peeks ? sizeof buf : want(d), used;
    int flags = (peeks ? MSG_PEEK : 0) | (d->waits ? 0 : MSG_DONTWAIT), r;
    ssize_t n = sys.recv(fd, buf, size, flags);

    d->interrupted = n < 0 && errno == EINTR;
    *more = d->interrupted && !d->waits; /* who does not wait has no reason to stop */
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return VD_MORE;
    if (n <= 0)
        return lost(d, n == 0 ? VD_LOSS_EOF : VD_LOSS_RESET);
    d->received = 1;
    r = feed(d, buf, (size_t)n, &used);
    d->bytes += (uint32_t)used;
    if (trace_is_on())
        trace_heard(&d->trace, &d->chain, fd, buf, used);
    if (peeks && used > 0 && sys.recv(fd, buf, used, MSG_DONTWAIT) != (ssize_t)used)
        return -VD_ERR_PROTOCOL; /* somebody else reads this socket */
    if ((r == VD_DONE || r == VD_MORE) && !peeks && used < (size_t)n)
        return DRIVE_TOO_FAR;
    *more = r == VD_MORE && (size_t)n == size;
    return r == VD_AGAIN ? DRIVE_FLIGHT_FAILED : r;
}

static int converse(struct drive *d, int fd)
{
    bool more = true;

    while (more) {
        int r = take(d, fd, &more);

        if (r == VD_DONE)
            learned_up(&d->chain.path, d->chain.flown);
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

/* An unproven hop's silence in a flight ends the flight; what counts as silence depends on how far
 * it is away, and dialling took a round trip. */
static void set_patience(struct drive *d)
{
    int64_t ms = d->dial_ns ? (drive_now_ns() - d->dial_ns) * 8 / 1000000 : 0;

    if (ms > d->chain.patience_ms)
        d->chain.patience_ms = ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}

static int dialled(struct drive *d, int fd)
{
    int r;

    d->dialling = 0;
    set_patience(d);
    if (trace_is_on())
        trace_up(&d->trace, &d->chain, fd);
    r = send_pending(d, fd);
    stage_begins(d); /* the limit depends on what was sent */
    return r;
}

static int dial(struct drive *d, int fd)
{
    const struct vd_hop *hop = first_hop(d);

    d->dialling = 1;
    d->dial_ns = d->chain.path.flights ? drive_now_ns() : 0;
    for (; d->addr < hop->addr_count; d->addr++) {
        int number;

        limit_address(d);
        if (trace_is_on())
            trace_dial(&d->trace, &d->chain, fd, &hop->addrs[d->addr]);
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
    return dial(d, fd);
}

static int step(struct drive *d, int fd)
{
    int r;

    d->received = 0;
    if (d->dialling)
        return dial_outcome(d, fd);
    r = vd_chain_speaks(&d->chain) ? send_pending(d, fd) : DRIVE_READ;
    if (r == DRIVE_READ)
        r = converse(d, fd);
    stage_goes_on(d);
    return r;
}

/* From the start on the same socket. */
static int dial_anew(struct drive *d, int fd)
{
    drive_undo(fd);
    d->addr = 0;
    d->number = 0;
    return dial(d, fd);
}

/* More carefully. */
static int go_again(struct drive *d, int fd, enum drive_again again)
{
    if (again == DRIVE_FLIGHT_FAILED)
        learned_unfit(&d->chain.path, d->chain.at);
    else
        d->careful = 1;
    drive_say_again(d, again);
    vd_chain_again(&d->chain);
    return dial_anew(d, fd);
}

/* Over the hops of a chain, which its mode chooses. */
static int start_on(struct drive *d, const struct plan_chain *chain)
{
    struct vd_path path = route_path(chain);
    struct vd_endpoint target = d->chain.target;

    return vd_chain_start(&d->chain, &path, (enum vd_command)d->chain.command, &target);
}

static bool must_go_again(int result)
{
    return result == DRIVE_FLIGHT_FAILED || result == DRIVE_TOO_FAR;
}

static bool may_go_elsewhere(const struct drive *d, int result)
{
    return result < 0 && d->via && !(result == -VD_ERR_UNREACHABLE && is_our_own(d->number)) &&
           modes_failed(d->via, &d->chain, result) && drive_now_ns() < d->deadline_ns &&
           d->tries < d->via->count;
}

static int go_elsewhere(struct drive *d, int fd)
{
    int r;

    d->tries++;
    r = start_on(d, d->via);
    return r < 0 ? r : dial_anew(d, fd);
}

/* What a step came to, and what is done about it. */
static int conclude(struct drive *d, int fd, int r)
{
    while (must_go_again(r) || may_go_elsewhere(d, r)) {
        if (trace_is_on())
            drive_say_result(d, fd, r);
        if (must_go_again(r)) {
            r = go_again(d, fd, (enum drive_again)r);
            continue;
        }
        drive_say_elsewhere(d, r);
        r = go_elsewhere(d, fd);
    }
    if (trace_is_on() && r <= 0)
        drive_say_result(d, fd, r);
    return r;
}

int drive_dial(struct drive *d, int fd)
{
    if (trace_is_on() && !d->trace.number)
        trace_begin(&d->trace, &d->chain, fd);
    return conclude(d, fd, dial(d, fd));
}

int drive_step(struct drive *d, int fd)
{
    return conclude(d, fd, step(d, fd));
}

int drive_anew(struct drive *d, int fd)
{
    int r = start_on(d, d->route.chain);

    if (r < 0)
        return r;
    drive_say_again(d, DRIVE_ORPHANED);
    if (trace_is_on())
        drive_say_result(d, fd, DRIVE_ORPHANED);
    return conclude(d, fd, dial_anew(d, fd));
}

int64_t drive_deadline_ns(const struct drive *d)
{
    return d->stage_ns && d->stage_ns < d->deadline_ns ? d->stage_ns : d->deadline_ns;
}

int drive_expire(struct drive *d, int fd)
{
    bool another = d->dialling && d->addr + 1 < first_hop(d)->addr_count;
    bool over = drive_now_ns() >= d->deadline_ns;
    int r;

    if (over || !another) {
        r = lost(d, VD_LOSS_SILENT);
        if (!over)
            return conclude(d, fd, r);
        r = r == DRIVE_FLIGHT_FAILED ? -VD_ERR_SILENT : r;
        if (trace_is_on())
            drive_say_result(d, fd, r);
        return r;
    }
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

/* The socket may show the failure of another process, which is then told first, and once. */
int drive_fail(const struct drive *d, int fd, int result)
{
    int number = drive_errno(d, result), shown = 0;
    socklen_t len = sizeof shown;

    if (number == EINVAL && sys.getsockopt(fd, SOL_SOCKET, SO_ERROR, &shown, &len) == 0 && shown)
        number = shown;
    if (number != EISCONN && number != EALREADY)
        drive_dissolve(fd);
    return number;
}
