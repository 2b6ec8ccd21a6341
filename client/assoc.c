/*
 * What the hooks ask for: to send through an association, and to judge what comes from one.
 *
 * The usual send takes no lock: a look into the record, one into the holding, whether it was seen
 * alive within ASSOC_CHECK_MS and nothing waits, then sendmsg(). Everything else happens under the
 * lock, in establish().
 */
#include "client/assoc.h"

#include <errno.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/mman.h>

#include "client/addr.h"
#include "client/assoc_entry.h"
#include "client/pending_entry.h"
#include "client/say.h"
#include "client/session.h"
#include "client/sockets.h"
#include "client/sys.h"
#include "proto/err.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

enum { FEW_PARTS = 16 };

/* --- chains ---------------------------------------------------------------------------------- */

static const struct vd_hop *hop_of(const struct plan_chain *chain, unsigned position)
{
    return plan_hops(session_plan()) + chain->hops[position];
}

static const char *why_not(const struct vd_hop *hop)
{
    const char *why = NULL;

    for (unsigned i = 1; !why && i <= hop->stands_for; i++)
        why = why_not(hop + i);
    if (hop->stands_for)
        return why;
    if (hop->scheme != VD_SOCKS5 && hop->scheme != VD_SOCKS5H)
        return "does not carry UDP: only SOCKS5 does";
    return hop->unix_len > 0 ? "does not carry UDP: it is reached by a unix socket" : NULL;
}

bool assoc_can(const struct plan_chain *chain, unsigned *hop, const char **why)
{
    for (*hop = 0; *hop < chain->count; ++*hop) {
        *why = why_not(hop_of(chain, *hop));
        if (*why)
            return false;
    }
    return true;
}

socklen_t assoc_way(const struct plan_chain *chain, int family, struct sockaddr_storage *to)
{
    const struct vd_hop *first = hop_of(chain, 0);
    socklen_t len = 0;

    for (unsigned i = 0; i < first->addr_count && !len; i++)
        len = addr_write(to, family, &first->addrs[i], first->at.port);
    return len;
}

static unsigned number_of_chain(const struct plan_chain *chain)
{
    return (unsigned)(chain - plan_chain(session_plan(), 0));
}

/* --- to have an association ------------------------------------------------------------------ */

/* By somebody who will come to an end with it. */
static bool is_being_made(int at, uint64_t cookie, const struct assoc_told *told, int fd)
{
    const struct assoc_hold *h = assoc_hold(at);

    if (!h)
        return false;
    if (told->owner == pending_process())
        return h->cookie == cookie && h->generation == told->generation && h->under_way > 0;
    if (!assoc_is_alive(told->owner))
        return false;
    if (h->cookie != cookie || h->generation != told->generation)
        h = assoc_hold_begin(at, cookie, told->generation, fd);
    return h;
}

static bool is_too_early(const struct assoc_told *told)
{
    return assoc_now_ms() - told->since_ms < ASSOC_RETRY_MS;
}

static void say_lost(void)
{
    say(PLAN_CONNECTIONS, NULL,
        "UDP: a control connection has ended, the association is made anew");
}

/* Whether nothing has to be done for it: else it is to be made. *number: why that is too early. */
static bool stands(int at, uint64_t cookie, const struct assoc_told *told, int fd, int *number)
{
    *number = 0;
    switch ((enum assoc_state)told->state) {
    case ASSOC_MAKING:
        return is_being_made(at, cookie, told, fd);
    case ASSOC_UP:
        if (assoc_hold_serves(at, cookie, told, fd))
            return true;
        say_lost();
        return false;
    case ASSOC_FAILED:
        *number = is_too_early(told) ? (int)told->error : 0;
        return *number != 0;
    case ASSOC_NONE:
        break;
    }
    return false;
}

/* Lock held. Sees to it that there is one, or that it is being made; *at is its place and *told
 * what the record tells. 0, or an errno. */
static int establish(int fd, uint64_t cookie, const struct plan_chain *chain, int *at,
                     struct assoc_told *told)
{
    unsigned number = number_of_chain(chain);
    int error;

    *at = assoc_find(cookie, number);
    if (*at < 0)
        *at = assoc_take_place(cookie, number);
    if (*at < 0 || !assoc_read(*at, cookie, told))
        return ENOBUFS;
    if (stands(*at, cookie, told, fd, &error))
        return error;
    error = assoc_begin(*at, cookie, fd, chain);
    if (!error && !assoc_read(*at, cookie, told))
        error = ENOBUFS;
    return error;
}

static bool may_change(void)
{
    return session_state() == SESSION_READY && pending_arena() && !pending_in_vfork_child();
}

int assoc_open(int fd, uint64_t cookie, const struct plan_chain *chain, bool connected)
{
    struct assoc_told told;
    struct pending_guard g;
    int at, error, saved = errno;

    if (!may_change())
        return EACCES;
    pending_lock(&g);
    error = establish(fd, cookie, chain, &at, &told);
    if (!error && connected) {
        assoc_set_connected(at, true);
        /* Whoever brings it up asks afterwards whether the socket is connected. */
        if (assoc_read(at, cookie, &told) && told.state == ASSOC_UP)
            error = assoc_connect(fd, &told);
    }
    pending_unlock(&g);
    errno = saved;
    return error;
}

bool assoc_join(int fd, uint64_t cookie, const struct plan_chain *chain)
{
    struct assoc_told told;
    struct pending_guard g;
    bool joined = false;
    int at, saved = errno;

    if (!assoc_any() || !may_change())
        return false;
    pending_lock(&g);
    at = assoc_find(cookie, number_of_chain(chain));
    if (at >= 0 && assoc_read(at, cookie, &told) && told.state == ASSOC_UP &&
        assoc_hold_serves(at, cookie, &told, fd)) {
        joined = assoc_connect(fd, &told) == 0;
        assoc_set_connected(at, joined);
    }
    pending_unlock(&g);
    errno = saved;
    return joined;
}

void assoc_disconnect(uint64_t cookie)
{
    struct pending_guard g;
    unsigned step = 0;
    int at;

    if (!assoc_any() || !may_change())
        return;
    pending_lock(&g);
    while ((at = assoc_find_next(cookie, &step)) >= 0)
        assoc_set_connected(at, false);
    pending_unlock(&g);
}

/* --- sending --------------------------------------------------------------------------------- */

struct parcel {
    const struct iovec *parts; /* the payload */
    size_t count, payload;
    const void *control;
    size_t control_len;
    int flags;
    size_t header_len;
    uint8_t header[VD_UDP_HEADER_MAX]; /* for the target */
};

/* Segments that the kernel cuts would have one header among them all. */
static bool cuts_segments(const struct parcel *p)
{
    struct msghdr m = {.msg_control = (void *)p->control, .msg_controllen = p->control_len};

    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
        if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_SEGMENT)
            return true;
    return false;
}

/* 0, or an errno. `hops`: at least so many headers. */
static int pack(struct parcel *p, const struct vd_endpoint *to, unsigned hops)
{
    struct vd_out out = vd_out_over(p->header, sizeof p->header);
    size_t headers;

    vd_udp_write(&out, to);
    p->header_len = out.len;
    headers = out.len + (hops - 1) * (size_t)VD_UDP_HEADER_IPV4;
    if (p->flags & MSG_MORE)
        return EOPNOTSUPP;
    if (p->control_len > 0 && cuts_segments(p))
        return EIO;
    for (size_t i = 0; i < p->count; i++) {
        size_t len = p->parts[i].iov_len;

        if (len > VD_UDP_DATAGRAM_MAX || p->payload + len > VD_UDP_DATAGRAM_MAX - headers)
            return EMSGSIZE;
        p->payload += len;
    }
    return to->port ? 0 : EINVAL;
}

static ssize_t send_parts(int fd, const struct parcel *p, const struct assoc_told *told,
                          struct iovec *all)
{
    struct msghdr m = {.msg_name = (void *)told->relay,
                       .msg_namelen = told->relay_len,
                       .msg_iov = all,
                       .msg_iovlen = p->count + 2,
                       .msg_control = (void *)p->control,
                       .msg_controllen = p->control_len};
    size_t headers = told->prefix_len + p->header_len;
    ssize_t n;

    if (p->payload > VD_UDP_DATAGRAM_MAX - headers)
        return -EMSGSIZE;
    all[0] = (struct iovec){(void *)told->prefix, told->prefix_len};
    all[1] = (struct iovec){(void *)p->header, p->header_len};
    memcpy(all + 2, p->parts, p->count * sizeof *all);
    n = sys.sendmsg(fd, &m, p->flags);
    return n < 0 ? -errno : n - (ssize_t)headers;
}

static ssize_t send_now(int fd, const struct parcel *p, const struct assoc_told *told)
{
    struct iovec few[FEW_PARTS + 2], *all;
    size_t size = (p->count + 2) * sizeof *all;
    ssize_t n;

    if (p->count <= FEW_PARTS)
        return send_parts(fd, p, told, few);
    all = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED)
        return -ENOBUFS;
    n = send_parts(fd, p, told, all);
    munmap(all, size);
    return n;
}

/* Without the lock: whether it stands, was seen alive not long ago, and nothing waits before. */
static bool is_ready(uint64_t cookie, unsigned chain, struct assoc_told *told)
{
    int at = assoc_find(cookie, chain);
    const struct assoc_hold *h = at < 0 ? NULL : assoc_hold_made(at);

    return h && __atomic_load_n(&h->cookie, __ATOMIC_ACQUIRE) == cookie &&
           __atomic_load_n(&h->waiting, __ATOMIC_RELAXED) == 0 &&
           assoc_now_ms() - __atomic_load_n(&h->checked_ms, __ATOMIC_RELAXED) < ASSOC_CHECK_MS &&
           assoc_read_front(at, cookie, told, offsetof(struct assoc_told, prefix)) &&
           told->state == ASSOC_UP &&
           told->generation == __atomic_load_n(&h->generation, __ATOMIC_RELAXED) &&
           (told->prefix_len == 0 ||
            assoc_read_front(at, cookie, told,
                             offsetof(struct assoc_told, prefix) + told->prefix_len));
}

/* Nobody sends it on but the helper. */
static int hold_back(int at, const struct parcel *p)
{
    if (!assoc_hold_made(at) || !helper_ensure())
        return ENOBUFS;
    return assoc_held_add(at, p->header, p->header_len, p->parts, p->count, p->payload);
}

static ssize_t send_slowly(int fd, uint64_t cookie, const struct plan_chain *chain,
                           const struct parcel *p, struct assoc_told *told)
{
    struct pending_guard g;
    bool now = false;
    int at, error;

    if (!may_change())
        return -EACCES;
    pending_lock(&g);
    error = establish(fd, cookie, chain, &at, told);
    if (!error)
        now = told->state == ASSOC_UP && assoc_hold_made(at)->waiting == 0;
    if (!error && !now)
        error = hold_back(at, p);
    pending_unlock(&g);
    if (error)
        return -error;
    return now ? send_now(fd, p, told) : (ssize_t)p->payload;
}

ssize_t assoc_send(int fd, uint64_t cookie, const struct plan_chain *chain,
                   const struct vd_endpoint *to, const struct iovec *parts, size_t count,
                   const void *control, size_t control_len, int flags)
{
    struct parcel p = {.parts = parts,
                       .count = count,
                       .control = control,
                       .control_len = control_len,
                       .flags = flags};
    int error = pack(&p, to, chain->count), saved = errno;
    struct assoc_told told;
    ssize_t n;

    if (error)
        return -error;
    if (is_ready(cookie, number_of_chain(chain), &told))
        n = send_now(fd, &p, &told);
    else
        n = send_slowly(fd, cookie, chain, &p, &told);
    errno = saved;
    return n;
}

/* --- receiving ------------------------------------------------------------------------------- */

static bool is_same4(const struct sockaddr *a, const uint8_t *b)
{
    struct sockaddr_in x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x.sin_family == y.sin_family && x.sin_port == y.sin_port &&
           x.sin_addr.s_addr == y.sin_addr.s_addr;
}

static bool is_same6(const struct sockaddr *a, const uint8_t *b)
{
    struct sockaddr_in6 x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x.sin6_family == y.sin6_family && x.sin6_port == y.sin6_port &&
           !memcmp(&x.sin6_addr, &y.sin6_addr, sizeof x.sin6_addr);
}

/* Whether the source is the relay. */
static bool is_from(const struct sockaddr *source, socklen_t len, const uint8_t *relay)
{
    if (len >= sizeof(struct sockaddr_in) && source->sa_family == AF_INET)
        return is_same4(source, relay);
    return len >= sizeof(struct sockaddr_in6) && source->sa_family == AF_INET6 &&
           is_same6(source, relay);
}

/* The header at the front of `data`; its length, or 0: malformed, or a fragment. */
static size_t header_of(const uint8_t *data, size_t len, struct vd_endpoint *from)
{
    size_t header;

    return vd_udp_unwrap(data, len, NULL, 0, from, &header) == VD_OK ? header : 0;
}

static bool is_relay(const struct vd_endpoint *from, const struct vd_endpoint *relay)
{
    return vd_endpoint_is_name(relay) ? from->port == relay->port : vd_endpoint_same(from, relay);
}

/* Takes off the headers that name the relays behind the first; how long they are, SIZE_MAX: they do
 * not. Mostly they are what is sent there, byte by byte. */
static size_t strip(const struct assoc_told *told, const uint8_t *data, size_t len)
{
    struct vd_endpoint from, relay;
    size_t at = 0, step;

    if (len >= told->prefix_len && !memcmp(data, told->prefix, told->prefix_len))
        return told->prefix_len;
    for (size_t known = 0; known < told->prefix_len; known += step) {
        size_t header = header_of(data + at, len - at, &from);

        step = header_of(told->prefix + known, told->prefix_len - known, &relay);
        if (!header || !step || !is_relay(&from, &relay))
            return SIZE_MAX;
        at += header;
    }
    return at;
}

static enum assoc_verdict take(const struct assoc_told *told, const uint8_t *data, size_t len,
                               struct assoc_origin *origin)
{
    size_t at = strip(told, data, len), header;

    if (at == SIZE_MAX)
        return ASSOC_DROP;
    header = header_of(data + at, len - at, &origin->from);
    origin->headers = at + header;
    return header ? ASSOC_TAKEN : ASSOC_DROP;
}

/* While it is made anew, the relay that the record tells of is the one before. */
static enum assoc_verdict judge(int at, uint64_t cookie, const struct sockaddr *source,
                                socklen_t source_len, const uint8_t *data, size_t len,
                                struct assoc_origin *origin)
{
    const size_t front = offsetof(struct assoc_told, prefix);
    struct assoc_told told;

    if (!assoc_read_front(at, cookie, &told, front))
        return ASSOC_NOT_OURS;
    if (told.relay_len > 0 && is_from(source, source_len, told.relay))
        return told.prefix_len == 0 || assoc_read_front(at, cookie, &told, front + told.prefix_len)
                   ? take(&told, data, len, origin)
                   : ASSOC_DROP;
    if (!assoc_read(at, cookie, &told))
        return ASSOC_NOT_OURS;
    return is_from(source, source_len, told.former) ? ASSOC_DROP : ASSOC_NOT_OURS;
}

enum assoc_verdict assoc_judge(uint64_t cookie, const struct sockaddr *source, socklen_t source_len,
                               const uint8_t *data, size_t len, struct assoc_origin *origin)
{
    enum assoc_verdict verdict = ASSOC_NOT_OURS;
    unsigned step = 0;
    int at;

    while ((at = assoc_find_next(cookie, &step)) >= 0) {
        enum assoc_verdict one = judge(at, cookie, source, source_len, data, len, origin);

        if (one == ASSOC_TAKEN) {
            assoc_held_answered();
            return one;
        }
        if (one == ASSOC_DROP)
            verdict = one;
    }
    return verdict;
}
