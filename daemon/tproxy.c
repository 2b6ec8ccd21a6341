/*
 *     client ──> listener (transparent) ──by client──> association ──> target, or first relay
 *     client <── reply socket, bound to the target's address <── association <──
 *
 * The listener's socket tells where each datagram was sent to. All clients of a worker stand in one
 * hash table, and in a row by the time they were last heard of: in one the sessions, in another one
 * those who were refused. The kernel gives each worker always
 * the same clients: it chooses by the client's address and port and the listener's.
 *
 * A reply socket is transparent too, and serves all clients of that target. They are made when
 * first needed and kept, TPROXY_REPLIES of them in buckets; where one is full the one that was not
 * used for the longest time is closed for a new one. A rule with `socket transparent` brings
 * datagrams to a reply socket instead of the listener, whence they are taken alike.
 */
#include "daemon/tproxy.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "daemon/session_state.h"
#include "proto/err.h"

enum {
    BUCKETS = 1024,
    REFUSED_MAX = 4096,    /* kept, at most */
    LISTENERS_PASSED = 64, /* in search of a silent one */
    REPLIES_PER_BUCKET = 4,
    REPLY_BUCKETS = TPROXY_REPLIES / REPLIES_PER_BUCKET
};

struct row {
    struct tproxy_client *oldest, **end; /* where the next one will stand */
    unsigned count;
};

struct tproxy_client {
    struct tproxy_client *next, **link;        /* of its bucket */
    struct tproxy_client *newer, **from_older; /* in its row; what points to it */
    struct row *row;
    struct worker *worker;
    struct listener *from;
    struct net_addr addr;
    struct session *session; /* NULL: it was refused */
    int64_t heard_ms;
};

struct reply {
    struct loop_io io;
    struct listener *listener;
    struct net_addr at;
    int64_t used_ms;
};

struct tproxy {
    struct worker *worker;
    struct tproxy_client *buckets[BUCKETS];
    struct row served, refused;
    struct reply replies[REPLY_BUCKETS][REPLIES_PER_BUCKET];
};

static struct tproxy *of_worker(struct worker *w)
{
    if (w->tproxy)
        return w->tproxy;
    w->tproxy = calloc(1, sizeof *w->tproxy);
    if (!w->tproxy)
        return NULL;
    struct tproxy *t = w->tproxy;
    t->worker = w;
    t->served.end = &t->served.oldest;
    t->refused.end = &t->refused.oldest;
    for (unsigned i = 0; i < TPROXY_REPLIES; i++)
        t->replies[i / REPLIES_PER_BUCKET][i % REPLIES_PER_BUCKET].io.fd = -1;
    return t;
}

static bool same_addr(const struct net_addr *a, const struct net_addr *b)
{
    struct vd_ip x = net_addr_ip(a), y = net_addr_ip(b);
    return net_addr_port(a) == net_addr_port(b) && vd_ip_same(&x, &y);
}

/* --- the clients --- */

static unsigned hash_of(const struct net_addr *addr)
{
    struct vd_ip ip = net_addr_ip(addr);
    uint32_t h = 2166136261u ^ net_addr_port(addr); /* FNV-1a */
    for (unsigned i = 0; i < (ip.family == VD_IPV6 ? 16 : 4); i++)
        h = (h ^ ip.bytes[i]) * 16777619u;
    return h ^ h >> 16;
}

static struct tproxy_client *find(const struct tproxy *t, const struct listener *from,
                                  const struct net_addr *addr)
{
    struct tproxy_client *c = t->buckets[hash_of(addr) % BUCKETS];
    while (c && (c->from != from || !same_addr(&c->addr, addr)))
        c = c->next;
    return c;
}

static void leave_row(struct tproxy_client *c)
{
    *c->from_older = c->newer;
    if (c->newer)
        c->newer->from_older = c->from_older;
    else
        c->row->end = c->from_older;
    c->row->count--;
}

static void join_row(struct tproxy_client *c, struct row *row)
{
    c->row = row;
    c->newer = NULL;
    c->from_older = row->end;
    *row->end = c;
    row->end = &c->newer;
    row->count++;
    c->heard_ms = c->worker->loop.now_ms;
}

static void heard(struct tproxy_client *c)
{
    if (c->heard_ms == c->worker->loop.now_ms)
        return;
    leave_row(c);
    join_row(c, c->row);
}

static void forget(struct tproxy_client *c)
{
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    leave_row(c);
    free(c);
}

static struct tproxy_client *add(struct tproxy *t, struct listener *from,
                                 const struct net_addr *addr)
{
    struct tproxy_client **bucket = &t->buckets[hash_of(addr) % BUCKETS];
    struct tproxy_client *c = malloc(sizeof *c);
    if (!c)
        return NULL;
    *c = (struct tproxy_client){
        .next = *bucket, .link = bucket, .worker = t->worker, .from = from, .addr = *addr};
    if (c->next)
        c->next->link = &c->next;
    *bucket = c;
    join_row(c, &t->served);
    return c;
}

void tproxy_left(struct tproxy_client *client, bool refused)
{
    struct row *row = &client->worker->tproxy->refused;
    if (!refused) {
        forget(client);
        return;
    }
    client->session = NULL;
    leave_row(client);
    join_row(client, row);
    if (row->count > REFUSED_MAX)
        forget(row->oldest);
}

static void forget_refused(struct tproxy *t)
{
    int64_t now_ms = t->worker->loop.now_ms;
    while (t->refused.oldest && now_ms - t->refused.oldest->heard_ms > TPROXY_REFUSED_MS)
        forget(t->refused.oldest);
}

/* Who says nothing for the longest time and gets nothing either; NULL: nobody is so silent. Those
 * who listen to somebody go to the new end of the row. */
static struct tproxy_client *most_silent(struct tproxy *t)
{
    int64_t now_ms = t->worker->loop.now_ms;
    for (unsigned i = 0; i < LISTENERS_PASSED && t->served.oldest; i++) {
        struct tproxy_client *c = t->served.oldest;
        if (now_ms - c->heard_ms < TPROXY_SILENT_MS)
            return NULL;
        if (now_ms - associate_last_ms(c->session->udp) >= TPROXY_SILENT_MS)
            return c;
        heard(c);
    }
    return NULL;
}

/* Whether there is room for one more association, which may cost another one its place. */
static bool make_room(struct tproxy *t)
{
    if (udp_has_room(t->worker))
        return true;
    struct tproxy_client *c = most_silent(t);
    if (c)
        session_end(c->session, "crowded-out");
    return c;
}

/* --- what comes --- */

bool tproxy_may_take(struct worker *w, const struct vd_ip *to)
{
    enum vd_class class = vd_ip_class(to);
    return class != VD_CLASS_MULTICAST && class != VD_CLASS_BROADCAST &&
           class != VD_CLASS_UNSPECIFIED && !access_is_own(w->access, to);
}

/* NULL, or with a session that may have ended already. Pending datagrams are sent first: their
 * association may be the one that gives way. */
static struct tproxy_client *welcome(struct tproxy *t, struct listener *l,
                                     const struct batch_in *in)
{
    struct worker *w = t->worker;
    batch_flush(w->batch);
    if (!make_room(t) || !worker_enter(w))
        return NULL;
    struct tproxy_client *c = add(t, l, in->from);
    struct session *s = session_new_caught(l, in->from, &in->to);
    if (!c || !s) {
        if (c)
            forget(c);
        if (s)
            session_end(s, "failed");
        return NULL;
    }
    c->session = s;
    s->caught = c;
    session_start_caught(s);
    return find(t, l, in->from);
}

static void take(struct tproxy *t, struct listener *l, const struct batch_in *in)
{
    struct vd_ip to = net_addr_ip(&in->to);
    struct vd_endpoint target;
    struct tproxy_client *c = find(t, l, in->from);
    vd_endpoint_set_ip(&target, &to, net_addr_port(&in->to));
    if (to.family == VD_NO_IP || target.port == 0)
        return;
    if (!c)
        c = welcome(t, l, in);
    if (!c || !c->session)
        return;
    heard(c);
    associate_take(c->session->udp, &target, in->data, in->len);
}

void tproxy_ready(struct loop_io *io, uint32_t events)
{
    struct listener *l = loop_owner(io, struct listener, io);
    struct worker *w = l->worker;
    struct tproxy *t = of_worker(w);
    (void)events;
    if (!w->batch)
        w->batch = batch_new(&w->loop);
    if (!t || !w->batch)
        return;
    forget_refused(t);
    unsigned n = batch_receive_caught(w->batch, io->fd);
    for (unsigned i = 0; i < n; i++) {
        struct batch_in in = batch_get(w->batch, i);
        take(t, l, &in);
    }
    batch_flush(w->batch);
}

/* --- answers --- */

static void on_reply_ready(struct loop_io *io, uint32_t events)
{
    struct reply *r = loop_owner(io, struct reply, io);
    struct listener *l = r->listener;
    struct worker *w = l->worker;
    unsigned n = batch_receive(w->batch, io->fd);
    (void)events;
    for (unsigned i = 0; i < n && !w->draining; i++) {
        struct batch_in in = batch_get(w->batch, i);
        in.to = r->at;
        take(w->tproxy, l, &in);
    }
    batch_flush(w->batch);
}

static int open_reply(struct worker *w, struct reply *r)
{
    static const int on = 1;
    int family = r->at.any.sa_family;
    int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (w->conf->mark)
        setsockopt(fd, SOL_SOCKET, SO_MARK, &w->conf->mark, sizeof w->conf->mark);
    r->io = (struct loop_io){.fd = fd, .ready = on_reply_ready};
    if (net_be_transparent(fd, family) == 0 && bind(fd, &r->at.any, net_addr_len(&r->at)) == 0 &&
        loop_watch(&w->loop, &r->io, EPOLLIN) == 0)
        return 0;
    close(fd);
    r->io.fd = -1;
    return -1;
}

/* That of this address, or else an empty place, or that of the one that was not used for the
 * longest time. */
static struct reply *place_of(struct tproxy *t, const struct net_addr *at)
{
    struct reply *bucket = t->replies[hash_of(at) % REPLY_BUCKETS], *best = bucket;
    for (unsigned i = 0; i < REPLIES_PER_BUCKET; i++) {
        struct reply *r = &bucket[i];
        if (r->io.fd >= 0 && same_addr(&r->at, at))
            return r;
        if (best->io.fd >= 0 && (r->io.fd < 0 || r->used_ms < best->used_ms))
            best = r;
    }
    return best;
}

/* NULL: the address cannot be answered from. */
static struct reply *reply_from(struct tproxy *t, struct listener *l, const struct net_addr *at)
{
    struct reply *r = place_of(t, at);
    if (r->io.fd >= 0 && same_addr(&r->at, at))
        return r;
    if (r->io.fd >= 0) {
        batch_flush(t->worker->batch);
        loop_close(&t->worker->loop, &r->io);
    }
    *r = (struct reply){.io.fd = -1, .listener = l, .at = *at};
    return open_reply(t->worker, r) == 0 ? r : NULL;
}

bool tproxy_answer(struct associate *a, const struct vd_endpoint *from, uint8_t *data, size_t len)
{
    struct session *s = a->owner;
    struct worker *w = s->worker;
    struct net_addr at;
    if (vd_endpoint_is_name(from) || !tproxy_may_take(w, &from->ip))
        return false;
    net_addr_set(&at, &from->ip, from->port);
    struct reply *r = reply_from(w->tproxy, (struct listener *)(uintptr_t)s->from, &at);
    if (!r)
        return false;
    r->used_ms = w->loop.now_ms;
    batch_add(w->batch, r->io.fd, &a->down,
              &(struct batch_out){.to = &a->from, .data = data, .len = len});
    return true;
}

/* --- the end --- */

void tproxy_drain(struct worker *w)
{
    struct tproxy_client *c = w->tproxy ? w->tproxy->served.oldest : NULL, *newer;
    for (; c; c = newer) {
        newer = c->newer;
        if (c->session->state == SESSION_UDP)
            session_watch(c->session);
    }
}

void tproxy_free(struct worker *w)
{
    struct tproxy *t = w->tproxy;
    if (!t)
        return;
    while (t->refused.oldest)
        forget(t->refused.oldest);
    for (unsigned i = 0; i < TPROXY_REPLIES; i++)
        loop_close(&w->loop, &t->replies[i / REPLIES_PER_BUCKET][i % REPLIES_PER_BUCKET].io);
    free(t);
    w->tproxy = NULL;
}
