/*
 * A connection serves one request:
 *
 *     READ ──head whole, or wrong──> SEND ──all is sent──> LINGER ──the client's end──> freed
 *      │                              │                      │
 *      └──────────────────────────────┴──────────────────────┴── TIMEOUT_MS, or lost ──> freed
 *
 * LINGER reads what the client still says: unread bytes would make close() a reset that overtakes
 * the answer. There are CONNECTIONS at a time; whoever comes later waits in the queue.
 *
 * With a login each request costs a crypt(3), which waits for nobody but delays nobody else's data:
 * this process carries none.
 */
#include "daemon/admin.h"

#include <crypt.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "daemon/admin_request.h"
#include "daemon/admin_write.h"
#include "daemon/log.h"

enum {
    CONNECTIONS = 32,
    TIMEOUT_MS = 10000,
    ROOM = 4 << 20,
    HEAD_ROOM = 1024,
    DRAIN_MAX = 1 << 20
};

enum state { FREE, READ, SEND, LINGER };

struct admin;

struct connection {
    struct admin *admin;
    enum state state;
    struct loop_io io;
    struct loop_timer timer;
    size_t len, searched, drained;
    uint8_t *answer;
    size_t answer_len, sent;
    uint8_t in[ADMIN_HEAD_MAX + 1];
};

struct door {
    struct admin *admin;
    struct loop_io io;
};

struct admin {
    struct loop loop;
    const char *login; /* NAME:HASH, or NULL */
    struct shared *shared;
    struct loop_timer sample;
    struct loop_io signals;
    struct door *doors;
    size_t door_count;
    struct admin_view view;
    uint8_t *room;
    struct connection connections[CONNECTIONS];
};

/* --- answers --- */

static bool same_text(const char *a, const char *b)
{
    size_t len = strlen(a);
    return len == strlen(b) && CRYPTO_memcmp(a, b, len) == 0;
}

static bool may_read(const struct admin *admin, struct admin_request *r)
{
    if (!admin->login)
        return true;
    size_t name = strcspn(admin->login, ":") + 1;
    char *colon = strchr(r->login, ':');
    bool known = colon && (size_t)(colon + 1 - r->login) == name &&
                 memcmp(r->login, admin->login, name) == 0;
    const char *hash = crypt(colon ? colon + 1 : "", admin->login + name);
    bool right = hash && *hash != '*' && same_text(hash, admin->login + name);
    explicit_bzero(r->login, sizeof r->login);
    return known && right;
}

static void make_nonce(char text[25])
{
    uint8_t random[16];
    struct vd_out out = vd_out_over(text, 25);
    if (getrandom(random, sizeof random, 0) != sizeof random)
        memset(random, 0, sizeof random);
    vd_out_base64(&out, random, sizeof random);
    vd_out_string(&out);
}

static void write_head(struct vd_out *out, int status, const char *type, const char *nonce,
                       size_t len)
{
    admin_print(out,
                "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                "Connection: close\r\nCache-Control: no-store\r\n"
                "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
                "Cross-Origin-Resource-Policy: same-origin\r\n"
                "Content-Security-Policy: default-src 'none'; ",
                status, admin_phrase(status), type, len);
    if (*nonce)
        admin_print(out, "style-src 'nonce-%s'; ", nonce);
    vd_out_text(out, "base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n");
    if (status == 401)
        vd_out_text(out, "WWW-Authenticate: Basic realm=\"viaductd\"\r\n");
    if (status == 405)
        vd_out_text(out, "Allow: GET, HEAD\r\n");
    vd_out_text(out, "\r\n");
}

static void send_on(struct connection *c);

/* Head and body, in memory of their own. */
static void answer(struct connection *c, int status, const char *type, const char *nonce,
                   const struct vd_out *body, bool head_only)
{
    uint8_t text[HEAD_ROOM];
    struct vd_out head = vd_out_over(text, sizeof text);
    write_head(&head, status, type, nonce, body->len);
    size_t len = head_only ? 0 : body->len;
    c->answer = malloc(head.len + len);
    c->answer_len = c->answer ? head.len + len : 0;
    if (c->answer) {
        memcpy(c->answer, head.to, head.len);
        memcpy(c->answer + head.len, body->to, len);
    }
    c->state = SEND;
    send_on(c);
}

static void refuse(struct connection *c, int status, bool head_only)
{
    char text[64];
    struct vd_out body = vd_out_over(text, sizeof text);
    admin_print(&body, "%d %s\n", status, admin_phrase(status));
    answer(c, status, "text/plain; charset=utf-8", "", &body, head_only);
}

static void serve(struct connection *c, const struct admin_request *r)
{
    static const char *const types[] = {[ADMIN_PAGE] = "text/html; charset=utf-8",
                                        [ADMIN_JSON] = "application/json",
                                        [ADMIN_METRICS] =
                                            "text/plain; version=0.0.4; charset=utf-8"};
    struct admin *admin = c->admin;
    struct vd_out body = vd_out_over(admin->room, ROOM);
    char nonce[25] = "";
    admin_view_read(&admin->view, admin->shared);
    if (r->what == ADMIN_PAGE) {
        make_nonce(nonce);
        admin_write_page(&body, &admin->view, nonce);
    } else if (r->what == ADMIN_JSON) {
        admin_write_json(&body, &admin->view);
    } else {
        admin_write_metrics(&body, &admin->view);
    }
    if (body.ok)
        answer(c, 200, types[r->what], nonce, &body, r->head_only);
    else
        refuse(c, 500, r->head_only);
}

static void judge(struct connection *c, size_t end)
{
    struct admin_request r = {.head_only = false};
    bool whole = end <= c->len;
    int status = whole ? admin_request_read(&r, c->in, end, c->admin->login != NULL) : 431;
    if (status != 400 && status != 431 && status != 421 && !may_read(c->admin, &r))
        status = 401;
    if (status)
        refuse(c, status, r.head_only);
    else
        serve(c, &r);
}

/* --- a connection --- */

static void open_doors(struct admin *admin, bool open)
{
    for (size_t i = 0; i < admin->door_count; i++)
        loop_change(&admin->loop, &admin->doors[i].io, open ? EPOLLIN : 0);
}

static void end(struct connection *c)
{
    struct loop *loop = &c->admin->loop;
    loop_timer_stop(loop, &c->timer);
    loop_close(loop, &c->io);
    free(c->answer);
    c->answer = NULL;
    c->state = FREE;
    open_doors(c->admin, true);
}

static void linger_on(struct connection *c)
{
    ssize_t n = 1;
    while (n > 0 && c->drained < DRAIN_MAX) {
        n = recv(c->io.fd, c->in, sizeof c->in, 0);
        c->drained += n > 0 ? (size_t)n : 0;
    }
    if (n >= 0 || errno != EAGAIN)
        end(c);
}

static void send_on(struct connection *c)
{
    while (c->sent < c->answer_len) {
        ssize_t n = send(c->io.fd, c->answer + c->sent, c->answer_len - c->sent, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN)
                end(c);
            return;
        }
        c->sent += (size_t)n;
        loop_timer_in(&c->admin->loop, &c->timer, TIMEOUT_MS);
    }
    shutdown(c->io.fd, SHUT_WR);
    c->state = LINGER;
    linger_on(c);
}

static void read_on(struct connection *c)
{
    for (;;) {
        ssize_t n = recv(c->io.fd, c->in + c->len, sizeof c->in - c->len, 0);
        if (n <= 0) {
            if (n == 0 || errno != EAGAIN)
                end(c);
            return;
        }
        c->len += (size_t)n;
        size_t head = admin_request_end(c->in, c->len, &c->searched);
        if (head > 0) {
            judge(c, head);
            return;
        }
    }
}

static void on_ready(struct loop_io *io, uint32_t events)
{
    struct connection *c = loop_owner(io, struct connection, io);
    (void)events;
    if (c->state == READ)
        read_on(c);
    else if (c->state == SEND)
        send_on(c);
    else if (c->state == LINGER)
        linger_on(c);
}

static void on_late(struct loop_timer *timer)
{
    struct connection *c = loop_owner(timer, struct connection, timer);
    if (c->state == READ)
        refuse(c, 408, false);
    else
        end(c);
}

/* --- accepting --- */

static struct connection *find_free(struct admin *admin)
{
    for (size_t i = 0; i < CONNECTIONS; i++)
        if (admin->connections[i].state == FREE)
            return &admin->connections[i];
    return NULL;
}

static void on_door(struct loop_io *io, uint32_t events)
{
    struct admin *admin = loop_owner(io, struct door, io)->admin;
    struct connection *c = find_free(admin);
    (void)events;
    if (!c) {
        open_doors(admin, false);
        return;
    }
    int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    memset(c, 0, offsetof(struct connection, in));
    c->admin = admin;
    c->state = READ;
    c->io = (struct loop_io){.fd = fd, .ready = on_ready};
    c->timer.fire = on_late;
    loop_timer_in(&admin->loop, &c->timer, TIMEOUT_MS);
    if (loop_watch(&admin->loop, &c->io, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET) != 0)
        end(c);
}

/* --- the process --- */

static void on_sample(struct loop_timer *timer)
{
    struct admin *admin = loop_owner(timer, struct admin, sample);
    admin_view_sample(admin->shared);
    loop_timer_in(&admin->loop, &admin->sample, SHARED_SAMPLE_MS);
}

static void on_signal(struct loop_io *io, uint32_t events)
{
    (void)events;
    loop_owner(io, struct admin, signals)->loop.stop = true;
}

static void after_batch(struct loop *loop)
{
    (void)loop;
    log_flush();
}

static int watch_signals(struct admin *admin)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    admin->signals = (struct loop_io){.ready = on_signal};
    admin->signals.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return admin->signals.fd < 0 ? -1 : loop_watch(&admin->loop, &admin->signals, EPOLLIN);
}

static int start_doors(struct admin *admin, const struct listen_set *set)
{
    admin->doors = calloc(set->count, sizeof *admin->doors);
    for (size_t i = 0; admin->doors && i < set->count; i++) {
        if (set->at[i].conf->kind != VD_LISTEN_ADMIN)
            continue;
        struct door *door = &admin->doors[admin->door_count++];
        *door = (struct door){.admin = admin, .io = {.fd = set->at[i].fds[0], .ready = on_door}};
        if (loop_watch(&admin->loop, &door->io, EPOLLIN) != 0)
            return -1;
    }
    return admin->doors ? 0 : -1;
}

static int start(struct admin *admin, const struct listen_set *set)
{
    admin->room = malloc(ROOM);
    if (!admin->room || loop_init(&admin->loop) != 0 || watch_signals(admin) != 0 ||
        loop_reserve(&admin->loop, CONNECTIONS + 8) != 0 || start_doors(admin, set) != 0)
        return -1;
    admin->loop.after = after_batch;
    admin->sample.fire = on_sample;
    on_sample(&admin->sample);
    return 0;
}

static void stop(struct admin *admin)
{
    for (size_t i = 0; i < CONNECTIONS; i++)
        if (admin->connections[i].state != FREE)
            end(&admin->connections[i]);
    for (size_t i = 0; i < admin->door_count; i++)
        loop_close(&admin->loop, &admin->doors[i].io);
    loop_close(&admin->loop, &admin->signals);
    loop_free(&admin->loop);
    free(admin->doors);
    free(admin->room);
}

int admin_run(const struct vd_conf_daemon *conf, struct listen_set *set, struct shared *shared)
{
    static struct admin admin;
    admin.login = conf->admin_login;
    admin.shared = shared;
    listen_close_all_but_admin(set);
    if (start(&admin, set) != 0) {
        log_say(LOG_QUIET, "the status page cannot be served: %s", strerror(errno));
        log_flush();
        return 1;
    }
    loop_run(&admin.loop);
    stop(&admin);
    log_flush();
    return 0;
}
