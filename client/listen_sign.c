/*
 * Which connections count, and which bind() is the sign of a peer that is to come through the
 * chain.
 *
 * What getsockname() tells of a connection that counts stands in the session beside its target,
 * found by cookie. That it was told, and for which descriptor, is remembered per process in a few
 * places that are written without a lock.
 */
#include <errno.h>
#include <string.h>

#include "client/addr.h"
#include "client/listen.h"
#include "client/names.h"
#include "client/session.h"
#include "client/sockets.h"
#include "client/sys.h"

enum { FTP = 21, TOLD_MAX = 16 };

static struct told {
    _Alignas(8) uint64_t cookie;
    uint32_t turn;
    int fd;
    bool asked;          /* by getsockname(); else only connected */
    struct vd_path path; /* that it took; count 0: not known */
} told[TOLD_MAX];
uint32_t listen_turns;

/* --- what counts ----------------------------------------------------------------------------- */

static enum plan_listen mode_of(const struct route *r)
{
    uint8_t own = r->rule ? r->rule->listen : (uint8_t)PLAN_LISTEN_UNSAID;

    return (enum plan_listen)(own ? own : session_plan()->listen);
}

static bool counts(const struct target *t)
{
    if (t->route.action != PLAN_CHAIN)
        return false;
    switch (mode_of(&t->route)) {
    case PLAN_LISTEN_UNSAID:
    case PLAN_LISTEN_AUTO:
        return t->at.port == FTP;
    case PLAN_LISTEN_CHAIN:
        return true;
    case PLAN_LISTEN_DIRECT:
        break;
    }
    return false;
}

/* Whether connections to other ports may count at all. */
static bool others_may_count(void)
{
    static uint8_t known; /* 1: no, 2: yes */
    const struct plan *plan = session_plan();
    bool may = plan->listen == PLAN_LISTEN_CHAIN;

    if (__atomic_load_n(&known, __ATOMIC_RELAXED))
        return __atomic_load_n(&known, __ATOMIC_RELAXED) == 2;
    for (unsigned i = 0; i < plan->rule_count && !may; i++)
        may = plan_rule(plan, i)->listen == PLAN_LISTEN_CHAIN;
    __atomic_store_n(&known, (uint8_t)(may ? 2 : 1), __ATOMIC_RELAXED);
    return may;
}

/* --- what was told --------------------------------------------------------------------------- */

static struct told *place_of(uint64_t cookie)
{
    struct told *oldest = &told[0];

    for (unsigned i = 0; i < TOLD_MAX; i++) {
        if (__atomic_load_n(&told[i].cookie, __ATOMIC_RELAXED) == cookie)
            return &told[i];
        if ((int32_t)(told[i].turn - oldest->turn) < 0)
            oldest = &told[i];
    }
    return oldest;
}

/* As in client/sockets.c the cookie goes first and comes last. */
static void note(int fd, uint64_t cookie, const struct vd_path *path)
{
    struct told *t = place_of(cookie);
    bool is_new = t->cookie != cookie;

    __atomic_store_n(&t->cookie, 0, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    t->fd = fd;
    t->asked = !path || (!is_new && t->asked);
    if (path)
        t->path = *path;
    else if (is_new)
        t->path.count = 0;
    t->turn = __atomic_add_fetch(&listen_turns, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&t->cookie, cookie, __ATOMIC_RELEASE);
}

/* false: nothing stands there, or it is being written. */
static bool read_told(struct told *copy, const struct told *from)
{
    uint64_t cookie = __atomic_load_n(&from->cookie, __ATOMIC_ACQUIRE);

    *copy = *from;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    copy->cookie = cookie;
    return cookie && __atomic_load_n(&from->cookie, __ATOMIC_RELAXED) == cookie;
}

/* An address that somebody could connect to: servers that have none to tell give zeros, or
 * loopback. */
static bool is_real(const struct vd_shake *s)
{
    struct vd_ip ip = vd_ip_unmapped(&s->bound_ip);

    if (ip.family == VD_NO_IP || s->bound_port == 0)
        return false;
    switch (vd_ip_class(&ip)) {
    case VD_CLASS_GLOBAL:
    case VD_CLASS_PRIVATE:
        return true;
    case VD_CLASS_UNSPECIFIED:
    case VD_CLASS_LOOPBACK:
    case VD_CLASS_LINK_LOCAL:
    case VD_CLASS_MULTICAST:
    case VD_CLASS_BROADCAST:
        break;
    }
    return false;
}

static socklen_t own_address(int fd, struct sockaddr_storage *own)
{
    socklen_t len = sizeof *own;

    return sys.getsockname(fd, (struct sockaddr *)own, &len) == 0 ? len : 0;
}

void listen_note_connection(int fd, const struct sockaddr *given, socklen_t len,
                            const struct vd_chain *chain)
{
    struct sockaddr_storage seen;
    struct vd_endpoint e;
    struct target t;
    socklen_t seen_len = 0;
    uint64_t cookie;
    int saved = errno;

    if ((chain->target.port != FTP && !others_may_count()) || !addr_read(&e, given, len) ||
        route_target(&t, &e) < 0 || !counts(&t))
        return;
    cookie = sockets_cookie(fd);
    if (is_real(&chain->shake))
        seen_len =
            addr_write(&seen, given->sa_family, &chain->shake.bound_ip, chain->shake.bound_port);
    if (!seen_len)
        seen_len = own_address(fd, &seen);
    sockets_put_bound(cookie, (struct sockaddr *)&seen, seen_len);
    note(fd, cookie, &chain->path);
    errno = saved;
}

socklen_t listen_shown(int fd, struct sockaddr_storage *shown)
{
    uint64_t cookie = session_state() == SESSION_READY ? sockets_cookie(fd) : 0;
    socklen_t len = cookie ? sockets_get_bound(cookie, shown) : 0;

    if (len)
        note(fd, cookie, NULL);
    return len;
}

/* --- the sign -------------------------------------------------------------------------------- */

static bool is_anywhere(const struct vd_ip *ip)
{
    static const uint8_t zero[16];

    return !memcmp(ip->bytes, zero, ip->family == VD_IPV4 ? 4 : 16);
}

static bool is_alive(int fd)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;

    return sys.getpeername(fd, (struct sockaddr *)&peer, &len) == 0;
}

static bool same_address(const struct vd_ip *ip, const struct sockaddr_storage *addr, socklen_t len)
{
    struct vd_endpoint e;
    struct vd_ip plain;

    if (!addr_read(&e, (const struct sockaddr *)addr, len))
        return false;
    plain = vd_ip_unmapped(&e.ip);
    return plain.family == ip->family &&
           !memcmp(plain.bytes, ip->bytes, plain.family == VD_IPV4 ? 4 : 16);
}

/* Whether bind() to `ip` (unmapped) means the peer of that connection. */
static bool means(const struct told *t, const struct vd_ip *ip, struct listen_sign *s)
{
    uint64_t cookie = t->cookie;
    struct sockaddr_storage given, shown, own;
    struct vd_endpoint e;
    socklen_t len, own_len;

    if (sockets_cookie(t->fd) != cookie || !is_alive(t->fd))
        return false;
    len = sockets_get(cookie, &given);
    if (!len || !addr_read(&e, (struct sockaddr *)&given, len) ||
        route_target(&s->target, &e) < 0 || !counts(&s->target))
        return false;
    s->path = t->path;
    s->placeholder = names_is_placeholder(&e.ip) ? e.ip : (struct vd_ip){.family = VD_NO_IP};
    if (is_anywhere(ip)) {
        s->is_local = true;
        return mode_of(&s->target.route) == PLAN_LISTEN_CHAIN;
    }
    len = sockets_get_bound(cookie, &shown);
    own_len = own_address(t->fd, &own);
    s->is_local = same_address(ip, &own, own_len);
    return t->asked && same_address(ip, &shown, len);
}

bool listen_is_sign(struct listen_sign *s, const struct sockaddr *addr, socklen_t len)
{
    bool found = false;
    uint32_t turn = 0;
    struct vd_endpoint e;
    struct vd_ip ip;
    int saved = errno;

    if (session_state() != SESSION_READY || !addr_read(&e, addr, len) || e.port != 0)
        return false;
    ip = vd_ip_unmapped(&e.ip);
    for (unsigned i = 0; i < TOLD_MAX; i++) {
        struct listen_sign one;
        struct told t;

        if (!read_told(&t, &told[i]) || (found && (int32_t)(t.turn - turn) < 0) ||
            !means(&t, &ip, &one))
            continue;
        found = true;
        turn = t.turn;
        *s = one;
    }
    errno = saved;
    return found;
}
