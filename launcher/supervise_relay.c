/*
 *     program's socket <--> peer (has the target's address) ... flow's socket <--> relay, or target
 *     ------------------ in the room ----------------------     ------- this network --------
 *
 * A flow stands for one socket of the program. Whoever answers is shown as the target that he was
 * sent to as; an address that nothing was sent to is taken for the first target given by name, of
 * that port, that has not answered yet, else shown as it is.
 *
 * Nobody tells when the program closes its socket. A flow that nothing comes or goes by makes room
 * for others, so at most RELAY_FLOWS_MAX of them outlive their sockets.
 */
#include "launcher/supervise_relay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/addr.h"
#include "client/assoc.h"
#include "client/pending.h"
#include "client/sockets.h"
#include "launcher/supervise_room.h"

enum { PACKET_MAX = 65536 };

struct flow;

struct peer {
    struct supervise_watch watch;
    struct flow *flow;
    struct peer *next;
    int fd;
    bool direct;
    const struct plan_chain *chain;
    struct vd_endpoint at;    /* what the hop is asked for */
    struct vd_endpoint shown; /* the address that the program gave */
    struct vd_ip heard;       /* from where it answered, if it is a name */
};

struct flow {
    struct supervise_watch watch;
    struct flow *next;   /* the one used before it */
    uint64_t cookie;     /* of the program's socket */
    uint64_t out_cookie; /* of ours */
    int out, domain;
    struct sockaddr_storage own; /* of the program's socket; may be any address */
    struct peer *peers;
    unsigned peer_count;
};

static struct flow *flows;
static uint8_t packet[PACKET_MAX];

/* --- their end ------------------------------------------------------------------------------- */

static void drop_peer(struct peer *p)
{
    struct peer **at = &p->flow->peers;

    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    p->flow->peer_count--;
    supervise_unwatch(p->fd);
    close(p->fd);
    free(p);
}

static void drop_flow(struct flow *f)
{
    struct flow **at = &flows;

    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    while (f->peers)
        drop_peer(f->peers);
    supervise_unwatch(f->out);
    pending_before_close(f->out); /* the association's end */
    close(f->out);
    free(f);
}

/* The flow was used: it goes to the front. */
static void touch(struct flow *f)
{
    struct flow **at = &flows;

    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    f->next = flows;
    flows = f;
}

/* --- on the way out -------------------------------------------------------------------------- */

static ssize_t send_on(const struct peer *p, const uint8_t *data, size_t len)
{
    struct iovec part = {(void *)data, len};
    struct sockaddr_storage to;

    if (!p->direct)
        return assoc_send(p->flow->out, p->flow->out_cookie, p->chain, &p->at, &part, 1, NULL, 0,
                          MSG_DONTWAIT);
    return sendto(p->flow->out, data, len, MSG_DONTWAIT, (struct sockaddr *)&to,
                  addr_write(&to, p->flow->domain, &p->at.ip, p->at.port));
}

/* What cannot be carried at all is told to the program as if nobody listened there: the next send
 * finds nobody. */
static void on_peer(struct supervise_watch *w, uint32_t events)
{
    struct peer *p = (struct peer *)w;
    ssize_t n;

    (void)events;
    touch(p->flow);
    while ((n = recv(p->fd, packet, sizeof packet, MSG_DONTWAIT)) >= 0)
        if (send_on(p, packet, (size_t)n) == -EACCES) {
            drop_peer(p);
            return;
        }
}

/* --- peers ----------------------------------------------------------------------------------- */

static struct peer *find_peer(const struct flow *f, const struct vd_endpoint *shown)
{
    struct peer *p = f->peers;

    while (p && !vd_endpoint_same(&p->shown, shown))
        p = p->next;
    return p;
}

static bool is_anywhere(const struct sockaddr_storage *at, struct vd_endpoint *e)
{
    static const struct vd_ip none4 = {.family = VD_IPV4}, none6 = {.family = VD_IPV6};
    struct vd_ip ip;

    addr_read(e, (const struct sockaddr *)at, sizeof *at);
    ip = vd_ip_unmapped(&e->ip);
    return vd_ip_within(&ip, &none4, 32) || vd_ip_within(&ip, &none6, 128);
}

/* Where the peer finds the program's socket: in the room, who sends from any address sends from
 * that of whom he sends to. */
static bool join(int fd, const struct flow *f, const struct vd_endpoint *shown)
{
    struct sockaddr_storage at, own;
    struct vd_endpoint program;
    socklen_t len = addr_write(&at, f->domain, &shown->ip, shown->port);
    int one = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (is_anywhere(&f->own, &program))
        program.ip = shown->ip;
    return len && bind(fd, (struct sockaddr *)&at, len) == 0 &&
           connect(fd, (struct sockaddr *)&own,
                   addr_write(&own, f->domain, &program.ip, program.port)) == 0;
}

/* The one that was made first makes room for another. */
static void make_room(struct flow *f)
{
    struct peer *last = f->peers;

    if (f->peer_count < RELAY_PEERS_MAX)
        return;
    while (last->next)
        last = last->next;
    drop_peer(last);
}

static struct peer *make_peer(struct flow *f, const struct vd_endpoint *shown)
{
    struct peer *p = calloc(1, sizeof *p);

    if (!p)
        return NULL;
    p->fd = room_socket(f->domain);
    if (p->fd < 0 || !join(p->fd, f, shown) || !supervise_watch(p->fd, &p->watch)) {
        if (p->fd >= 0)
            close(p->fd);
        free(p);
        return NULL;
    }
    make_room(f);
    p->watch.event = on_peer;
    p->flow = f;
    p->shown = p->at = *shown;
    p->next = f->peers;
    f->peers = p;
    f->peer_count++;
    return p;
}

/* --- on the way back ------------------------------------------------------------------------- */

static bool may_be(const struct peer *p, const struct vd_endpoint *from)
{
    const struct vd_ip ip = vd_ip_unmapped(&from->ip);

    if (!vd_endpoint_is_name(&p->at) || vd_endpoint_is_name(from) || p->at.port != from->port)
        return false;
    return p->heard.family == VD_NO_IP || vd_ip_same(&p->heard, &ip);
}

static struct peer *who_answers(struct flow *f, const struct vd_endpoint *from)
{
    struct vd_endpoint plain = *from;
    struct peer *named = NULL;

    if (!vd_endpoint_is_name(from))
        plain.ip = vd_ip_unmapped(&from->ip);
    for (struct peer *p = f->peers; p; p = p->next)
        if (vd_endpoint_same(&p->at, &plain))
            return p;
    for (struct peer *p = f->peers; p; p = p->next) /* the newest first */
        if (may_be(p, from))
            named = p;
    if (named)
        named->heard = plain.ip;
    if (named)
        return named;
    return vd_endpoint_is_name(from) ? NULL : make_peer(f, &plain);
}

static void take_answer(struct flow *f, const struct sockaddr_storage *source, socklen_t source_len,
                        size_t len)
{
    struct assoc_origin origin = {.headers = 0};
    struct peer *p;

    switch (assoc_judge(f->out_cookie, (const struct sockaddr *)source, source_len, packet, len,
                        &origin)) {
    case ASSOC_DROP:
        return;
    case ASSOC_NOT_OURS: /* from whom a rule lets be sent to directly */
        addr_read(&origin.from, (const struct sockaddr *)source, source_len);
        origin.from.ip = vd_ip_unmapped(&origin.from.ip);
        p = find_peer(f, &origin.from);
        p = p && p->direct ? p : NULL;
        break;
    case ASSOC_TAKEN:
    default:
        p = who_answers(f, &origin.from);
        break;
    }
    if (p)
        send(p->fd, packet + origin.headers, len - origin.headers, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void on_answer(struct supervise_watch *w, uint32_t events)
{
    struct flow *f = (struct flow *)w;
    struct sockaddr_storage source;
    socklen_t source_len;
    ssize_t n;

    (void)events;
    touch(f);
    for (;;) {
        source_len = sizeof source;
        n = recvfrom(f->out, packet, sizeof packet, MSG_DONTWAIT, (struct sockaddr *)&source,
                     &source_len);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n >= 0)
            take_answer(f, &source, source_len, (size_t)n);
    }
}

/* --- flows ----------------------------------------------------------------------------------- */

static struct flow *find_flow(uint64_t cookie)
{
    struct flow *f = flows;

    while (f && f->cookie != cookie)
        f = f->next;
    return f;
}

/* The family in which the first hop can be reached. */
static int family_of(const struct target *t)
{
    struct sockaddr_storage way;

    if (t->route.action != PLAN_CHAIN)
        return vd_ip_unmapped(&t->at.ip).family == VD_IPV4 ? AF_INET : AF_INET6;
    return assoc_way(t->route.chain, AF_INET, &way) ? AF_INET : AF_INET6;
}

static void make_room_for_flow(void)
{
    struct flow *last = flows;
    unsigned count = 1;

    for (; last && last->next; last = last->next)
        count++;
    if (last && count >= RELAY_FLOWS_MAX)
        drop_flow(last);
}

static struct flow *make_flow(const struct supervise_socket *s, const struct target *t)
{
    struct flow *f = calloc(1, sizeof *f);

    if (!f)
        return NULL;
    f->watch.event = on_answer;
    f->cookie = s->cookie;
    f->domain = s->domain;
    f->out = socket(family_of(t), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (f->out < 0 || !supervise_watch(f->out, &f->watch)) {
        if (f->out >= 0)
            close(f->out);
        free(f);
        return NULL;
    }
    make_room_for_flow();
    f->out_cookie = sockets_cookie(f->out);
    f->next = flows;
    flows = f;
    return f;
}

int relay_reach(const struct supervise_socket *s, const struct sockaddr_storage *addr,
                socklen_t len, const struct target *t)
{
    struct flow *f = find_flow(s->cookie);
    struct vd_endpoint shown;
    socklen_t own_len;
    struct peer *p;

    if (!f)
        f = make_flow(s, t);
    if (!f)
        return -ENOBUFS;
    own_len = sizeof f->own;
    if (getsockname(s->fd, (struct sockaddr *)&f->own, &own_len) < 0)
        return -errno;
    addr_read(&shown, (const struct sockaddr *)addr, len);
    shown.ip = vd_ip_unmapped(&shown.ip);
    p = find_peer(f, &shown);
    if (!p)
        p = make_peer(f, &shown);
    if (!p)
        return -ENETUNREACH;
    touch(f);
    p->at = t->at;
    p->direct = t->route.action != PLAN_CHAIN;
    p->chain = t->route.chain;
    return 0;
}

/* The sockets of a program that has ended leave what they sent with the peers. */
void relay_drain(void)
{
    for (struct flow *f = flows; f; f = f->next)
        for (struct peer *p = f->peers, *next; p; p = next) {
            ssize_t n;

            next = p->next;
            while ((n = recv(p->fd, packet, sizeof packet, MSG_DONTWAIT)) >= 0)
                send_on(p, packet, (size_t)n);
        }
    if (flows)
        assoc_before_end();
}
