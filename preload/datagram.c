/*
 * Datagrams: which way they go, which sockets are in our care, and connect().
 *
 * connect() on a UDP socket sends nothing, and programs use it to learn their source address; so it
 * succeeds also where sending will not. The kernel's socket is then connected to that very address:
 *
 *   SOCKETS_DENIED   port 9 (discard): whatever is written to it, even by libc itself, stays here
 *   SOCKETS_CARRIED  port 9 too, till the first relay is known, then to the relay (client/assoc.h)
 *   SOCKETS_NAMES    its own port (preload/datagram_self.c)
 *
 * The program is shown the target that it gave. A socket that is not connected becomes
 * SOCKETS_LOOSE with the first datagram that is carried or answered inside. What was noted of a
 * socket holds for every process that has it, by its cookie; a connected socket of which nothing is
 * known any more is judged anew by its peer, and must not send if that should be carried.
 */
#include <netinet/in.h>
#include <string.h>

#include "client/addr.h"
#include "client/assoc.h"
#include "preload/datagram.h"

/* --- which sockets --------------------------------------------------------------------------- */

static bool is_direct(const struct sockaddr *peer, socklen_t len)
{
    struct vd_endpoint given;
    struct target t;

    if (!addr_read(&given, peer, len))
        return true;
    if (route_target(&t, &given) < 0)
        return false;
    return t.route.action == PLAN_DIRECT ||
           (t.route.action == PLAN_CHAIN && session_plan()->udp == PLAN_UDP_DIRECT);
}

static bool is_none(int fd)
{
    datagram_is_none(fd);
    return false;
}

/* A socket that nothing was noted of: from before, from elsewhere, or forgotten. The verdict is not
 * noted in the session: another thread may be about to. */
static bool classify(int fd, struct sockets_datagram *d)
{
    socklen_t len = sizeof d->target;

    if (datagram_was_direct(fd, d->cookie))
        return false;
    if (judge_carries(fd) != CARRIES_DATAGRAMS)
        return is_none(fd);
    if (sys.getpeername(fd, (struct sockaddr *)&d->target, &len) < 0 ||
        is_direct((struct sockaddr *)&d->target, len)) {
        datagram_is_direct(fd, d->cookie);
        return false;
    }
    d->kind = SOCKETS_DENIED;
    d->len = len;
    return true;
}

static bool look(int fd, struct sockets_datagram *d)
{
    d->cookie = sockets_cookie(fd);
    if (!d->cookie)
        return is_none(fd);
    sockets_get_datagram(d);
    switch (d->kind) {
    case SOCKETS_UNKNOWN:
        return classify(fd, d);
    case SOCKETS_STREAM:
        return is_none(fd);
    case SOCKETS_DIRECT:
        return false;
    case SOCKETS_DENIED:
    case SOCKETS_NAMES:
    case SOCKETS_CARRIED:
    case SOCKETS_LOOSE:
        break;
    }
    return true;
}

bool datagram_look(int fd, struct sockets_datagram *d)
{
    int saved = errno;
    bool ours = datagram_may_be(fd) && look(fd, d);

    errno = saved;
    return ours;
}

/* --- connecting ------------------------------------------------------------------------------ */

/* Before a socket in our care is connected elsewhere. */
static void leave(const struct sockets_datagram *d)
{
    if (d->kind == SOCKETS_CARRIED)
        assoc_disconnect(d->cookie);
}

static int connect_directly(int fd, const struct sockaddr *addr, socklen_t len)
{
    struct sockets_datagram d;
    bool ours = datagram_is_ours(fd, &d);
    int r;

    if (ours)
        leave(&d);
    r = ours ? self_leave(fd, addr, len) : sys.connect(fd, addr, len);
    if (r == 0 && sockets_any_datagrams())
        sockets_put_datagram(sockets_cookie(fd), SOCKETS_DIRECT, NULL, 0);
    return r;
}

static int connect_inside(int fd, const struct sockaddr *addr, socklen_t len,
                          enum sockets_kind kind)
{
    struct sockets_datagram d;

    if (datagram_is_ours(fd, &d))
        leave(&d);
    if (self_connect(fd, addr, len, kind == SOCKETS_NAMES) < 0)
        return -1;
    sockets_put_datagram(sockets_cookie(fd), kind, addr, len);
    return 0;
}

static const struct plan_chain *chain_of(const struct sockets_datagram *d)
{
    struct vd_endpoint given;
    struct target t;

    if (d->kind != SOCKETS_CARRIED || !addr_read(&given, (struct sockaddr *)&d->target, d->len) ||
        route_target(&t, &given) < 0)
        return NULL;
    return t.route.chain;
}

void datagram_fit(int fd, const struct plan_chain *chain)
{
    struct sockaddr_storage way;
    struct vd_endpoint hop;
    socklen_t len = assoc_way(chain, AF_INET6, &way);

    if (addr_read(&hop, (struct sockaddr *)&way, len) && vd_ip_unmapped(&hop.ip).family == VD_IPV4)
        self_open_to_ipv4(fd);
}

static bool is_loopback(const struct sockaddr *addr, socklen_t len)
{
    struct vd_endpoint e;

    return addr_read(&e, addr, len) && vd_ip_class(&e.ip) == VD_CLASS_LOOPBACK;
}

/* A first hop on loopback wants a source there, too; but who asks the socket for its address wants
 * to know by which this machine is reached. */
static void note_own(int fd, const struct sockaddr *addr, socklen_t len)
{
    int probe = sys.socket(addr->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_storage own;
    socklen_t own_len = sizeof own;

    if (probe < 0)
        return;
    if (sys.connect(probe, addr, len) == 0 &&
        sys.getsockname(probe, (struct sockaddr *)&own, &own_len) == 0)
        sockets_put_own(sockets_cookie(fd), (struct sockaddr *)&own, own_len);
    sys.close(probe);
}

bool datagram_shows(int fd, struct sockaddr_storage *own, socklen_t *len)
{
    struct sockets_datagram d;
    struct sockaddr_storage shown;
    struct vd_endpoint real, told;

    if (!datagram_is_ours(fd, &d) || !sockets_get_own(d.cookie, &shown) ||
        !addr_read(&real, (struct sockaddr *)own, *len) ||
        !addr_read(&told, (struct sockaddr *)&shown, *len))
        return false;
    *len = addr_write(own, shown.ss_family, &told.ip, real.port);
    return *len > 0;
}

/* Setting the association up is left to the first datagram, but for a socket that has one. */
static int connect_through(int fd, const struct sockaddr *addr, socklen_t len,
                           const struct plan_chain *chain)
{
    struct sockaddr_storage way;
    socklen_t way_len = assoc_way(chain, addr->sa_family, &way);
    struct sockets_datagram d = {.kind = SOCKETS_UNKNOWN};
    bool ours = datagram_is_ours(fd, &d);
    bool stays = ours && (chain_of(&d) == chain ||
                          (d.kind == SOCKETS_LOOSE && assoc_join(fd, d.cookie, chain)));

    if (ours && !stays)
        leave(&d);
    if (!stays)
        datagram_fit(fd, chain);
    if (!stays && (!way_len || self_connect(fd, (struct sockaddr *)&way, way_len, false) < 0) &&
        self_connect(fd, addr, len, false) < 0)
        return -1;
    sockets_put_datagram(sockets_cookie(fd), SOCKETS_CARRIED, addr, len);
    if (way_len && is_loopback((struct sockaddr *)&way, way_len) && !is_loopback(addr, len))
        note_own(fd, addr, len);
    if ((ours && d.kind == SOCKETS_LOOSE) || (stays && d.opened)) {
        assoc_open(fd, d.cookie, chain, true);
        sockets_note_opened(d.cookie);
    }
    return 0;
}

int datagram_connect(int fd, const struct sockaddr *addr, socklen_t len,
                     const struct vd_endpoint *given, enum carries carries)
{
    struct target t = {.route.action = PLAN_REFUSE};
    int saved = errno, way = judge_datagram(&t, given, carries), r;

    if (way == WAY_DIRECT)
        r = connect_directly(fd, addr, len);
    else if (way == WAY_NAMES)
        r = connect_inside(fd, addr, len, SOCKETS_NAMES);
    else if (way == WAY_CHAIN)
        r = connect_through(fd, addr, len, t.route.chain);
    else if (way == -EACCES && carries == CARRIES_DATAGRAMS && t.route.action == PLAN_CHAIN)
        r = connect_inside(fd, addr, len, SOCKETS_DENIED);
    else
        r = hook_fail(-way);
    if (r == 0)
        errno = saved;
    return r;
}

int datagram_dissolve(int fd, const struct sockaddr *addr, socklen_t len)
{
    struct sockets_datagram d;

    if (!datagram_is_ours(fd, &d)) {
        int r = sys.connect(fd, addr, len);

        if (r == 0)
            sockets_drop(sockets_cookie(fd));
        return r;
    }
    if (d.len == 0)
        return sys.connect(fd, addr, len);
    leave(&d);
    if (self_come_loose(fd) < 0)
        return -1;
    sockets_put_datagram(d.cookie, SOCKETS_LOOSE, NULL, 0);
    return 0;
}
