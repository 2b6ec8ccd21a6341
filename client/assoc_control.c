/*
 * Control connections: made all at once, the i-th through the hops before it, each by a driver of
 * its own (client/drive.h) on the helper's epoll.
 *
 *     begin: N dials --> each answers --> all have: the record gets the relays --> UP
 *                         \--one fails: all are closed --> FAILED
 *
 * Afterwards they are silent; that they are still open is what the association lives by.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/mman.h>

#include "client/addr.h"
#include "client/assoc_entry.h"
#include "client/modes.h"
#include "client/pending_entry.h"
#include "client/say.h"
#include "client/session.h"
#include "client/sockets.h"
#include "client/sys.h"
#include "proto/err.h"

enum { CONTROLS_MAX = 4096, KEEP_IDLE_S = 30, KEEP_INTERVAL_S = 10, KEEP_PROBES = 3 };

struct control {
    bool used;
    bool done; /* its hop has answered */
    uint8_t position;
    int at; /* the place of its association */
    int fd;
    uint64_t cookie;
    uint32_t next_free;     /* number + 1 */
    struct plan_chain part; /* the hops up to its own */
    struct drive drive;
};

static struct {
    struct control *all;
    uint32_t touched; /* numbers below were used */
    uint32_t free;    /* number + 1 */
} controls;

static bool have_table(void)
{
    void *all;

    if (controls.all)
        return true;
    all = mmap(NULL, CONTROLS_MAX * sizeof *controls.all, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED)
        return false;
    controls.all = all;
    return true;
}

static struct control *take(void)
{
    struct control *c = NULL;

    if (controls.free) {
        c = &controls.all[controls.free - 1];
        controls.free = c->next_free;
    } else if (controls.touched < CONTROLS_MAX) {
        c = &controls.all[controls.touched++];
    }
    if (c)
        *c = (struct control){.used = true, .fd = -1};
    return c;
}

static uint32_t number_of(const struct control *c)
{
    return (uint32_t)(c - controls.all);
}

static void give_back(struct control *c)
{
    c->used = false;
    c->next_free = controls.free;
    controls.free = number_of(c) + 1;
}

/* The next one of a place, from a number on; NULL: none. */
static struct control *next_of(int at, uint32_t *number)
{
    while (*number < controls.touched) {
        struct control *c = &controls.all[(*number)++];

        if (c->used && c->at == at)
            return c;
    }
    return NULL;
}

/* The drivers have served, or nobody wants to know; the connections are the holding's. */
void assoc_abandon(int at)
{
    uint32_t number = 0;
    struct control *c;

    if (assoc_hold_made(at)->under_way == 0)
        return;
    while ((c = next_of(at, &number))) {
        if (sockets_cookie(c->fd) == c->cookie)
            helper_unwatch_fd(c->fd);
        give_back(c);
    }
    assoc_hold_made(at)->under_way = 0;
}

void assoc_forget_controls(void)
{
    controls.touched = 0;
    controls.free = 0;
}

void assoc_move_control(int fd, int moved)
{
    for (uint32_t i = 0; i < controls.touched; i++)
        if (controls.all[i].used && controls.all[i].fd == fd)
            controls.all[i].fd = moved;
}

/* --- how it ends ----------------------------------------------------------------------------- */

static const struct plan_chain *chain_at(int at)
{
    return plan_chain(session_plan(), assoc_chain_of(at));
}

/* The hops that its mode has chosen, or the first of them. */
static struct plan_chain chosen(const struct assoc_hold *h, unsigned count)
{
    struct plan_chain chain = {.mode = VD_MODE_STRICT, .count = (uint8_t)count};

    memcpy(chain.hops, h->order, count * sizeof *chain.hops);
    return chain;
}

static bool is_connected_to_itself(int fd)
{
    struct sockaddr_storage own, peer;
    socklen_t own_len = sizeof own, peer_len = sizeof peer;
    struct vd_endpoint here, there;

    return sys.getsockname(fd, (struct sockaddr *)&own, &own_len) == 0 &&
           sys.getpeername(fd, (struct sockaddr *)&peer, &peer_len) == 0 &&
           addr_read(&here, (struct sockaddr *)&own, own_len) &&
           addr_read(&there, (struct sockaddr *)&peer, peer_len) && vd_ip_same(&here.ip, &there.ip);
}

/* Who waits for an answer learns that none will come: a datagram to a port of this machine where
 * nobody listens is refused. */
static void wake_with_error(int at, struct assoc_hold *h)
{
    int fd = assoc_hold_fd(h);

    if (fd >= 0 && assoc_is_connected(at) && is_connected_to_itself(fd))
        sys.send(fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Gives the errno back. */
static int fail(int at, int number)
{
    struct assoc_hold *h = assoc_hold_made(at);
    struct assoc_told told;

    if (assoc_read(at, h->cookie, &told) && told.generation == h->generation) {
        told.state = ASSOC_FAILED;
        told.error = (uint32_t)number;
        told.since_ms = assoc_now_ms();
        assoc_write(at, h->cookie, told.generation, &told);
    }
    wake_with_error(at, h);
    if (h->lingers)
        assoc_hold_finish(at);
    else
        assoc_hold_end(at);
    return number;
}

/* The errno of a chain that cannot, or may not, is that of a refusal. */
static int number_of_result(const struct drive *d, int result)
{
    switch (-result) {
    case VD_ERR_COMMAND:
    case VD_ERR_ADDRESS_TYPE:
    case VD_ERR_FAILED:
    case VD_ERR_REFUSED:
    case VD_ERR_UNSUPPORTED:
        return EACCES;
    default:
        return drive_errno(d, result);
    }
}

/* Where the chain's mode has other hops to offer, it begins anew with these. */
static int fail_by_hop(struct control *c, int result)
{
    const struct plan_chain *chain = chain_at(c->at);
    struct assoc_hold *h = assoc_hold_made(c->at);
    struct vd_path *path = &c->drive.chain.path;

    if (chain->mode != VD_MODE_STRICT && modes_failed(chain, &c->drive.chain, result))
        return assoc_begin(c->at, h->cookie, assoc_hold_fd(h), chain);
    path->count = h->hops; /* "of 3" */
    memcpy(path->order, h->order, sizeof path->order);
    drive_report(&c->drive, result);
    return fail(c->at, number_of_result(&c->drive, result));
}

static int fail_here(int at, const char *what)
{
    int number = errno == EMFILE || errno == ENFILE ? errno : ENOBUFS;

    say(PLAN_FAILURES, NULL, what);
    return fail(at, number);
}

/* --- all have answered ----------------------------------------------------------------------- */

int assoc_connect(int fd, const struct assoc_told *told)
{
    return sys.connect(fd, (const struct sockaddr *)told->relay, told->relay_len) == 0 ? 0 : errno;
}

static void note_controls(const struct assoc_hold *h, struct assoc_told *told)
{
    for (int i = 0; i < h->count; i++) {
        told->control[i].fd = (uint32_t)h->control[i];
        told->control[i].cookie[0] = (uint32_t)h->control_cookie[i];
        told->control[i].cookie[1] = (uint32_t)(h->control_cookie[i] >> 32);
    }
}

static void collect(int at, const struct drive *answers[VD_HOPS_MAX])
{
    uint32_t number = 0;
    struct control *c;

    while ((c = next_of(at, &number)))
        answers[c->position] = &c->drive;
}

static void come_up(int at)
{
    struct assoc_hold *h = assoc_hold_made(at);
    const struct drive *answers[VD_HOPS_MAX] = {NULL};
    struct plan_chain chain = chosen(h, h->hops);
    struct assoc_told told;
    int fd = assoc_hold_fd(h);

    if (fd < 0 || !assoc_read(at, h->cookie, &told) || told.generation != h->generation) {
        assoc_hold_end(at); /* the socket is gone, or another process was quicker */
        return;
    }
    collect(at, answers);
    if (!assoc_put_relays(&told, &chain, answers, h->control[0], fd)) {
        fail(at, EACCES);
        return;
    }
    drive_report(answers[told.hops - 1], DRIVE_DONE);
    assoc_abandon(at);
    told.state = ASSOC_UP;
    note_controls(h, &told);
    if (!assoc_write(at, h->cookie, told.generation, &told)) {
        assoc_hold_end(at);
        return;
    }
    if (assoc_is_connected(at))
        assoc_connect(fd, &told);
    assoc_held_send(at, &told);
}

/* --- one of them ----------------------------------------------------------------------------- */

static void go_on(struct control *c, int r)
{
    struct assoc_hold *h = assoc_hold_made(c->at);

    if (r < 0) {
        fail_by_hop(c, r);
    } else if (r == DRIVE_DONE) {
        c->done = true;
        for (uint32_t i = 0; i < controls.touched; i++)
            if (controls.all[i].used && controls.all[i].at == c->at && !controls.all[i].done)
                return;
        if (h->count == h->hops)
            come_up(c->at);
    }
}

void assoc_event(uint32_t number, uint32_t events)
{
    struct control *c = number < controls.touched ? &controls.all[number] : NULL;

    if (!c || !c->used || c->done)
        return;
    if (sockets_cookie(c->fd) == c->cookie)
        go_on(c, helper_step(&c->drive, c->fd, events));
    else
        fail_by_hop(c, -VD_ERR_CLOSED); /* behind our back */
}

/* The relay may look whether datagrams come from where the control connection does. */
static void bind_alike(int control, int fd)
{
    struct sockaddr_storage own;
    socklen_t len = sizeof own;
    struct vd_endpoint e;
    int on = 1;

    if (sys.getsockname(fd, (struct sockaddr *)&own, &len) < 0 ||
        !addr_read(&e, (struct sockaddr *)&own, len) || vd_ip_class(&e.ip) == VD_CLASS_UNSPECIFIED)
        return;
    len = addr_write(&own, own.ss_family, &e.ip, 0);
    sys.setsockopt(control, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    sys.bind(control, (struct sockaddr *)&own, len);
}

/* A hop that is gone without a word is noticed in a minute. */
static void keep_alive(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {{SOL_SOCKET, SO_KEEPALIVE, 1},
                   {IPPROTO_TCP, TCP_KEEPIDLE, KEEP_IDLE_S},
                   {IPPROTO_TCP, TCP_KEEPINTVL, KEEP_INTERVAL_S},
                   {IPPROTO_TCP, TCP_KEEPCNT, KEEP_PROBES}};

    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        sys.setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
}

static struct control *open_control(int at, struct assoc_hold *h, int family)
{
    struct control *c = have_table() ? take() : NULL;

    if (!c)
        return NULL;
    c->at = at;
    c->position = h->count;
    c->fd = helper_make_ours(
        sys.socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
    if (c->fd < 0 || !assoc_hold_add(h, c->fd)) {
        give_back(c);
        return NULL;
    }
    c->cookie = h->control_cookie[c->position];
    h->under_way++;
    keep_alive(c->fd);
    return c;
}

/* What the request says of where datagrams will come from: it is not known yet. */
static struct target anywhere(const struct plan_chain *part)
{
    const struct vd_hop *hop = plan_hops(session_plan()) + part->hops[part->count - 1];
    bool six = vd_endpoint_is_name(&hop->at) ? hop->addrs[0].family == VD_IPV6
                                             : hop->at.ip.family == VD_IPV6;
    struct target t = {.route = {.action = PLAN_CHAIN, .chain = part}};

    t.at.ip.family = six ? VD_IPV6 : VD_IPV4;
    return t;
}

static int start(struct control *c, const struct assoc_hold *h, int family)
{
    struct target t;
    int r;

    c->part = chosen(h, c->position + 1u);
    t = anywhere(&c->part);
    r = drive_begin_command(&c->drive, &t, VD_ASSOCIATE, family, 0);
    if (r == VD_OK)
        r = drive_dial(&c->drive, c->fd);
    if (r > 0 && !helper_watch_fd(c->fd, ASSOC_EVENT + number_of(c)))
        return -VD_ERR_SPACE;
    return r;
}

static int start_all(int at, struct assoc_hold *h, int fd)
{
    socklen_t len = sizeof(int);
    int family = AF_INET;

    sys.getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len);
    while (h->count < h->hops) {
        struct control *c = open_control(at, h, family);
        int r;

        if (!c)
            return fail_here(at, "UDP: no room for another control connection");
        bind_alike(c->fd, fd);
        r = start(c, h, family);
        if (r < 0)
            return fail_by_hop(c, r);
    }
    return 0;
}

/* Takes the record over, for one more generation. */
static bool claim(int at, uint64_t cookie, unsigned hops, struct assoc_told *told)
{
    uint32_t generation;

    if (!assoc_read(at, cookie, told))
        return false;
    generation = told->generation++;
    if (told->state == ASSOC_UP)
        memcpy(told->former, told->relay, sizeof told->former);
    told->state = ASSOC_MAKING;
    told->owner = pending_process();
    told->since_ms = assoc_now_ms();
    told->hops = (uint8_t)hops;
    return assoc_write(at, cookie, generation, told);
}

int assoc_begin(int at, uint64_t cookie, int fd, const struct plan_chain *chain)
{
    struct vd_path path = route_path(chain);
    struct assoc_told told;
    struct assoc_hold *h;
    const char *why;
    unsigned hop;

    if (!claim(at, cookie, path.count, &told))
        return 0; /* another process is at it: the record tells */
    h = assoc_hold_begin(at, cookie, told.generation, fd);
    if (!h)
        return ENOMEM;
    h->hops = path.count;
    memcpy(h->order, path.order, sizeof h->order);
    if (!assoc_can(chain, &hop, &why)) {
        assoc_say_of_hop(chain, hop, why, NULL);
        return fail(at, EACCES);
    }
    if (!helper_ensure())
        return fail_here(at, "UDP: no thread can be started to set the association up");
    return start_all(at, h, fd);
}

/* --- for the helper -------------------------------------------------------------------------- */

void assoc_watch_all(void)
{
    for (uint32_t i = 0; i < controls.touched; i++) {
        const struct control *c = &controls.all[i];

        if (c->used && !c->done && sockets_cookie(c->fd) == c->cookie)
            helper_watch_fd(c->fd, ASSOC_EVENT + i);
    }
}

static unsigned look_at_controls(int64_t now, int64_t *next_ns)
{
    unsigned left = 0;

    for (uint32_t i = 0; i < controls.touched; i++) {
        struct control *c = &controls.all[i];
        int64_t deadline = c->used && !c->done ? drive_deadline_ns(&c->drive) : INT64_MAX;

        left += c->used;
        if (deadline <= now)
            go_on(c, drive_expire(&c->drive, c->fd));
        else if (deadline < *next_ns)
            *next_ns = deadline;
    }
    return left;
}

unsigned assoc_look(int64_t now, int64_t *next_ns)
{
    unsigned left = look_at_controls(now, next_ns);

    for (int at = assoc_hold_next(0); at >= 0; at = assoc_hold_next(at + 1)) {
        struct assoc_hold *h = assoc_hold_made(at);

        if (h->waiting > 0)
            assoc_held_look(at);
        if (!assoc_hold_look(at))
            continue;
        left++;
        if (now + PENDING_TICK_MS * 1000000LL < *next_ns)
            *next_ns = now + PENDING_TICK_MS * 1000000LL;
    }
    return left;
}
