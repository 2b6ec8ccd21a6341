/*
 * A lookup is made by the first who asks, and lives in a hash table:
 *
 *     asked ──a family answered──> waiters are called ──both──> kept until `expires_ms`, then
 *                                                               dropped when its bucket is cleaned
 *
 * It is never freed while a family is outstanding (c-ares holds its address) or somebody waits
 * (they read the addresses in place). c-ares calls back from inside ares_process_fd or, for names
 * of /etc/hosts, from inside ares_getaddrinfo: before the first waiter is on the list.
 *
 * c-ares tells which of its descriptors to watch, and closes them itself after saying so.
 */
#include "daemon/resolve.h"

#include <ares.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include "daemon/log.h"
#include "daemon/net.h"
#include "proto/err.h"

#define RESOLV_CONF "/etc/resolv.conf"

enum { BUCKETS = 256, KEPT_MAX = 2048, TTL_MAX_S = 3600 };
enum { CONF_CHECK_MS = 2000, OLD_CHANNELS = 4, TIMEOUT_MAX_S = 30, TRIES_MAX = 5 };

struct resolve_channel;

struct family_state {
    bool here;
    int err;
    size_t count;
    int64_t ttl_ms;
    struct vd_ip ips[RESOLVE_IPS_MAX];
};

struct resolve_lookup {
    struct resolver *resolver;
    struct resolve_channel *channel;
    struct resolve_lookup *next; /* in its bucket */
    struct resolve_wait *waiters;
    struct family_state family[2];
    int64_t expires_ms; /* past: nothing to keep */
    bool telling;
    size_t len;
    char name[VD_NAME_MAX + 1];
};

/* A c-ares channel keeps to the resolv.conf that it was opened with. When that has changed a new
 * one is opened for new questions; the old one lives until its last answer. */
struct resolve_channel {
    struct resolver *resolver;
    struct resolve_channel *next; /* older */
    ares_channel ares;
    struct loop_timer timer;
    struct resolve_io *ios;
    size_t outstanding; /* families asked for */
};

struct resolve_io {
    struct loop_io io;
    struct resolve_channel *channel;
    struct resolve_io *next;
};

struct resolver {
    struct loop *loop;
    struct resolve_channel *channels; /* the newest first */
    struct resolve_lookup *buckets[BUCKETS];
    bool inside;    /* c-ares is at work: no channel may go */
    size_t kept;    /* lookups in the table */
    unsigned sweep; /* the next bucket to clean */
    int64_t conf_checked_ms;
    struct timespec conf_time;
};

/* --- c-ares on the loop --- */

static void arm(struct resolve_channel *c)
{
    struct timeval left;
    struct loop *loop = c->resolver->loop;
    if (ares_timeout(c->ares, NULL, &left))
        loop_timer_in(loop, &c->timer, left.tv_sec * 1000 + left.tv_usec / 1000 + 1);
    else
        loop_timer_stop(loop, &c->timer);
}

/* Those who wait are called from here, and may start another lookup. */
static void process(struct resolve_channel *c, int readable, int writable)
{
    c->resolver->inside = true;
    ares_process_fd(c->ares, readable, writable);
    c->resolver->inside = false;
    arm(c);
}

static void on_timer(struct loop_timer *timer)
{
    struct resolve_channel *c = loop_owner(timer, struct resolve_channel, timer);
    process(c, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

static void on_ready(struct loop_io *io, uint32_t events)
{
    struct resolve_channel *c = loop_owner(io, struct resolve_io, io)->channel;
    int fd = io->fd;
    process(c, events & ~(uint32_t)EPOLLOUT ? fd : ARES_SOCKET_BAD,
            events & ~(uint32_t)EPOLLIN ? fd : ARES_SOCKET_BAD);
}

static void drop_io(struct resolve_channel *c, int fd)
{
    struct resolve_io **at = &c->ios;
    while (*at && (*at)->io.fd != fd)
        at = &(*at)->next;
    struct resolve_io *gone = *at;
    if (!gone)
        return;
    *at = gone->next;
    loop_forget(c->resolver->loop, &gone->io);
    free(gone);
}

/* Without memory the socket is not watched: the query then ends by its timeout. */
static void on_socket(void *data, ares_socket_t fd, int readable, int writable)
{
    struct resolve_channel *c = data;
    uint32_t events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u);
    drop_io(c, fd);
    struct resolve_io *io = events ? calloc(1, sizeof *io) : NULL;
    if (!io)
        return;
    *io = (struct resolve_io){.io = {.fd = fd, .ready = on_ready}, .channel = c, .next = c->ios};
    if (loop_watch(c->resolver->loop, &io->io, events) == 0)
        c->ios = io;
    else
        free(io);
}

/* --- /etc/resolv.conf --- */

/* c-ares reads all of it but these two, which it knows by other names. */
static void read_options(const char *line, struct ares_options *options)
{
    static const char blanks[] = " \t\n";
    unsigned value;
    for (line += strcspn(line, blanks); *line; line += strcspn(line, blanks)) {
        line += strspn(line, blanks);
        if (sscanf(line, "timeout:%u", &value) == 1 && value > 0)
            options->timeout = value < TIMEOUT_MAX_S ? (int)value * 1000 : TIMEOUT_MAX_S * 1000;
        if (sscanf(line, "attempts:%u", &value) == 1 && value > 0)
            options->tries = value < TRIES_MAX ? (int)value : TRIES_MAX;
    }
}

static void read_resolv_conf(struct ares_options *options)
{
    char line[1024];
    FILE *file = fopen(RESOLV_CONF, "re");
    options->timeout = 5000; /* resolv.conf(5) */
    options->tries = 2;
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "options", 7) == 0)
            read_options(line, options);
    if (file)
        fclose(file);
}

static int open_channel(struct resolver *r)
{
    struct stat st;
    struct resolve_channel *c = calloc(1, sizeof *c);
    struct ares_options options = {.sock_state_cb = on_socket, .sock_state_cb_data = c};
    int mask = ARES_OPT_SOCK_STATE_CB | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES;
    if (!c)
        return -1;
    if (stat(RESOLV_CONF, &st) == 0)
        r->conf_time = st.st_mtim;
    read_resolv_conf(&options);
    if (ares_init_options(&c->ares, &options, mask) != ARES_SUCCESS) {
        free(c);
        return -1;
    }
    c->resolver = r;
    c->timer.fire = on_timer;
    c->next = r->channels;
    r->channels = c;
    return 0;
}

static void close_channel(struct resolve_channel *c)
{
    ares_destroy(c->ares);
    loop_timer_stop(c->resolver->loop, &c->timer);
    free(c);
}

static unsigned close_old_channels(struct resolver *r)
{
    unsigned open = 0;
    for (struct resolve_channel **at = &r->channels->next; *at;) {
        struct resolve_channel *c = *at;
        if (c->outstanding > 0) {
            at = &c->next;
            open++;
            continue;
        }
        *at = c->next;
        close_channel(c);
    }
    return open;
}

static void follow_resolv_conf(struct resolver *r)
{
    struct stat st;
    if (r->inside || r->loop->now_ms - r->conf_checked_ms < CONF_CHECK_MS)
        return;
    r->conf_checked_ms = r->loop->now_ms;
    if (stat(RESOLV_CONF, &st) != 0 ||
        (st.st_mtim.tv_sec == r->conf_time.tv_sec && st.st_mtim.tv_nsec == r->conf_time.tv_nsec))
        return;
    if (close_old_channels(r) < OLD_CHANNELS)
        open_channel(r);
}

struct resolver *resolve_new(struct loop *loop)
{
    struct resolver *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->loop = loop;
    r->conf_checked_ms = loop->now_ms;
    if (ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS && open_channel(r) == 0)
        return r;
    free(r);
    return NULL;
}

/* --- the table --- */

static unsigned bucket_of(const char *name, size_t len)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)name[i]) * 16777619u;
    return (h ^ h >> 16) % BUCKETS;
}

static bool is_asked(const struct resolve_lookup *l)
{
    return !l->family[RESOLVE_V4].here || !l->family[RESOLVE_V6].here;
}

static bool in_use(const struct resolve_lookup *l)
{
    return l->waiters || l->telling || is_asked(l);
}

static void clean(struct resolver *r, unsigned bucket, bool all)
{
    struct resolve_lookup **at = &r->buckets[bucket];
    while (*at) {
        struct resolve_lookup *l = *at;
        if (in_use(l) || (!all && l->expires_ms > r->loop->now_ms)) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        r->kept--;
        free(l);
    }
}

static bool is_fresh(const struct resolve_lookup *l)
{
    return is_asked(l) || l->expires_ms > l->resolver->loop->now_ms;
}

static struct resolve_lookup *find(struct resolver *r, unsigned bucket, const char *name,
                                   size_t len)
{
    struct resolve_lookup *l = r->buckets[bucket];
    while (l && (l->len != len || memcmp(l->name, name, len) != 0 || !is_fresh(l)))
        l = l->next;
    return l;
}

void resolve_free(struct resolver *r)
{
    while (r->channels) {
        struct resolve_channel *c = r->channels;
        r->channels = c->next;
        close_channel(c);
    }
    for (unsigned i = 0; i < BUCKETS; i++)
        clean(r, i, true);
    free(r);
}

/* --- answers --- */

static void link_wait(struct resolve_wait *w, struct resolve_wait **list)
{
    w->next = *list;
    w->link = list;
    if (w->next)
        w->next->link = &w->next;
    *list = w;
}

static void unlink_wait(struct resolve_wait *w)
{
    *w->link = w->next;
    if (w->next)
        w->next->link = w->link;
}

static int reason(int status)
{
    return status == ARES_ETIMEOUT || status == ARES_ECANCELLED ? VD_ERR_TTL : VD_ERR_NAME;
}

static void keep(struct family_state *f, const struct ares_addrinfo_node *node)
{
    struct net_addr addr = {0};
    size_t len = node->ai_family == AF_INET ? sizeof addr.in4 : sizeof addr.in6;
    int64_t ttl = node->ai_ttl < 0 ? 0 : node->ai_ttl > TTL_MAX_S ? TTL_MAX_S : node->ai_ttl;
    memcpy(&addr, node->ai_addr, len);
    f->ips[f->count++] = net_addr_ip(&addr);
    if (f->count == 1 || ttl * 1000 < f->ttl_ms)
        f->ttl_ms = ttl * 1000;
}

static void read_answer(struct family_state *f, int status, const struct ares_addrinfo *result)
{
    const struct ares_addrinfo_node *node = status == ARES_SUCCESS ? result->nodes : NULL;
    for (; node && f->count < RESOLVE_IPS_MAX; node = node->ai_next)
        keep(f, node);
    f->here = true;
    f->err = f->count > 0 ? VD_OK : reason(status);
}

/* How long both answers together hold: an unknown name and a silent server are asked anew. */
static int64_t lifetime_ms(const struct resolve_lookup *l)
{
    const struct family_state *a = &l->family[0], *b = &l->family[1];
    if (a->err == VD_ERR_TTL || b->err == VD_ERR_TTL)
        return 0;
    if (a->count && b->count)
        return a->ttl_ms < b->ttl_ms ? a->ttl_ms : b->ttl_ms;
    return a->count ? a->ttl_ms : b->count ? b->ttl_ms : 0;
}

/* Each waiter is moved to a list of those who know before it is called: it may leave either list,
 * others may come. */
static void tell(struct resolve_lookup *l)
{
    struct resolve_wait *told = NULL;
    l->telling = true;
    while (l->waiters) {
        struct resolve_wait *w = l->waiters;
        unlink_wait(w);
        link_wait(w, &told);
        w->answered(w);
    }
    while (told) {
        struct resolve_wait *w = told;
        unlink_wait(w);
        link_wait(w, &l->waiters);
    }
    l->telling = false;
}

static void answered(struct resolve_lookup *l, struct family_state *f, int status,
                     struct ares_addrinfo *result)
{
    l->channel->outstanding--;
    read_answer(f, status, result);
    if (result)
        ares_freeaddrinfo(result);
    if (l->family[0].here && l->family[1].here)
        l->expires_ms = l->resolver->loop->now_ms + lifetime_ms(l);
    if (status != ARES_EDESTRUCTION)
        tell(l);
}

static void on_v4(void *data, int status, int timeouts, struct ares_addrinfo *result)
{
    struct resolve_lookup *l = data;
    (void)timeouts;
    answered(l, &l->family[RESOLVE_V4], status, result);
}

static void on_v6(void *data, int status, int timeouts, struct ares_addrinfo *result)
{
    struct resolve_lookup *l = data;
    (void)timeouts;
    answered(l, &l->family[RESOLVE_V6], status, result);
}

/* --- asking --- */

/* RFC 6761 section 6.3: never a question to a name server. (c-ares 1.18 answers it as well, and
 * loses a few bytes each time where /etc/hosts has one family only.) */
static bool is_localhost(const char *name, size_t len)
{
    static const char local[] = ".localhost";
    size_t want = sizeof local - 1;
    if (len > 0 && name[len - 1] == '.')
        len--;
    if (len == want - 1)
        return memcmp(name, local + 1, len) == 0;
    return len >= want && memcmp(name + len - want, local, want) == 0;
}

static void answer_localhost(struct resolve_lookup *l)
{
    static const uint8_t v4[4] = {127, 0, 0, 1}, v6[16] = {[15] = 1};
    l->family[RESOLVE_V4] = (struct family_state){.here = true, .count = 1, .ips = {vd_ip4(v4)}};
    l->family[RESOLVE_V6] = (struct family_state){.here = true, .count = 1, .ips = {vd_ip6(v6, 0)}};
}

static void ask_cares(struct resolve_lookup *l)
{
    struct ares_addrinfo_hints hints = {.ai_flags = ARES_AI_NOSORT, .ai_family = AF_INET6};
    l->channel->outstanding += 2;
    ares_getaddrinfo(l->channel->ares, l->name, NULL, &hints, on_v6, l);
    hints.ai_family = AF_INET;
    ares_getaddrinfo(l->channel->ares, l->name, NULL, &hints, on_v4, l);
    arm(l->channel);
}

static struct resolve_lookup *ask(struct resolver *r, unsigned bucket, const char *name, size_t len)
{
    struct resolve_lookup *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->resolver = r;
    l->channel = r->channels;
    l->len = len;
    memcpy(l->name, name, len);
    l->next = r->buckets[bucket];
    r->buckets[bucket] = l;
    r->kept++;
    if (is_localhost(name, len))
        answer_localhost(l);
    else
        ask_cares(l);
    return l;
}

int resolve_start(struct resolver *r, struct resolve_wait *wait, const char *name, size_t len)
{
    char lower[VD_NAME_MAX + 1];
    for (size_t i = 0; i < len; i++)
        lower[i] = vd_lower(name[i]);
    unsigned bucket = bucket_of(lower, len);
    follow_resolv_conf(r);
    clean(r, bucket, false);
    clean(r, r->sweep++ % BUCKETS, r->kept > KEPT_MAX);
    struct resolve_lookup *l = find(r, bucket, lower, len);
    if (!l)
        l = ask(r, bucket, lower, len);
    if (!l)
        return -1;
    wait->lookup = l;
    link_wait(wait, &l->waiters);
    return 0;
}

struct resolve_answer resolve_answer(const struct resolve_wait *wait, enum resolve_family family)
{
    const struct family_state *f = &wait->lookup->family[family];
    return (struct resolve_answer){f->here, f->err, f->count, f->ips};
}

void resolve_stop(struct resolve_wait *wait)
{
    if (!wait->lookup)
        return;
    unlink_wait(wait);
    wait->lookup = NULL;
}
