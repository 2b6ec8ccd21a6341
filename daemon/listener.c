#include "daemon/listener.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "daemon/session.h"
#include "daemon/worker.h"
#include "proto/accept.h"

enum { ACCEPT_BATCH = 64, FASTOPEN_QUEUE = 256 };

/* --- the parent: opening --- */

static const char *kind_name(enum vd_listen_kind kind)
{
    static const char *const names[] = {
        [VD_LISTEN_MIXED] = "mixed", [VD_LISTEN_SOCKS] = "socks", [VD_LISTEN_HTTP] = "http"};
    return names[kind];
}

static unsigned offers_of(enum vd_listen_kind kind, bool logins)
{
    static const unsigned offers[] = {[VD_LISTEN_MIXED] = VD_OFFER_MIXED,
                                      [VD_LISTEN_SOCKS] = VD_OFFER_SOCKS,
                                      [VD_LISTEN_HTTP] = VD_OFFER_HTTP};
    return offers[kind] | (logins ? VD_OFFER_LOGIN_NEEDED : 0u);
}

void listen_print(struct vd_out *out, const struct listen_at *at)
{
    vd_out_text(out, kind_name(at->kind));
    vd_out_text(out, "://");
    net_addr_print(out, &at->addr);
}

/* Accepted sockets inherit TCP_NODELAY: one call less for each of them. */
static int bound_socket(const struct net_addr *addr, bool shared)
{
    static const int on = 1, queue = FASTOPEN_QUEUE;
    int fd = socket(addr->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, &queue, sizeof queue);
    if (addr->any.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) {
        close(fd);
        return -1;
    }
    if (bind(fd, &addr->any, net_addr_len(addr)) == 0)
        return fd;
    int number = errno;
    close(fd);
    errno = number;
    return -1;
}

static int open_slot(struct listen_at *at, unsigned slot)
{
    int fd = bound_socket(&at->addr, true);
    if (fd < 0 || listen(fd, SOMAXCONN) != 0) {
        int number = errno;
        if (fd >= 0)
            close(fd);
        errno = number;
        return -1;
    }
    at->fds[slot] = fd;
    return 0;
}

/* A plain bind comes first: it fails where anybody listens, be it with SO_REUSEPORT. It also
 * chooses the port where 0 was asked for. */
static int open_address(struct listen_at *at, unsigned workers)
{
    int probe = bound_socket(&at->addr, false);
    if (probe < 0)
        return -1;
    net_addr_local(&at->addr, probe);
    close(probe);
    for (unsigned slot = 0; slot < workers; slot++)
        if (open_slot(at, slot) != 0)
            return -1;
    return 0;
}

int listen_open(struct listen_set *set, char **error)
{
    char text[VD_ENDPOINT_TEXT + 16];
    for (size_t i = 0; i < set->count; i++) {
        if (open_address(&set->at[i], set->workers) == 0)
            continue;
        int number = errno;
        struct vd_out out = vd_out_over(text, sizeof text);
        listen_print(&out, &set->at[i]);
        if (asprintf(error, "cannot listen on %s: %s", vd_out_string(&out), strerror(number)) < 0)
            *error = NULL;
        listen_close_others(set, -1);
        return -1;
    }
    return 0;
}

/* --- the parent: planning --- */

static int complain(char **error, const struct vd_endpoint *at, const char *what)
{
    char text[VD_ENDPOINT_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);
    vd_endpoint_print(&out, at);
    if (asprintf(error, "listener %s: %s", vd_out_string(&out), what) < 0)
        *error = NULL;
    return -1;
}

/* Who listens wider than this machine has to say for whom. */
static bool is_open_proxy(const struct vd_conf_daemon *conf, const struct net_addr *addr)
{
    struct vd_ip ip = net_addr_ip(addr);
    bool open = vd_ip_class(&ip) != VD_CLASS_LOOPBACK && conf->user_count == 0;
    for (size_t i = 0; open && i < conf->access_count; i++)
        open = conf->access[i].verdict != VD_ALLOW;
    return open;
}

static int plan_address(struct listen_set *set, const struct vd_conf_listen *l,
                        const struct addrinfo *ai, bool logins)
{
    struct listen_at *grown = realloc(set->at, (set->count + 1) * sizeof *grown);
    int *fds = malloc(set->workers * sizeof *fds);
    if (grown)
        set->at = grown;
    if (!grown || !fds) {
        free(fds);
        return -1;
    }
    struct listen_at *at = &grown[set->count++];
    *at = (struct listen_at){.kind = l->kind, .offers = offers_of(l->kind, logins), .fds = fds};
    memcpy(&at->addr, ai->ai_addr, ai->ai_addrlen);
    for (unsigned i = 0; i < set->workers; i++)
        fds[i] = -1;
    return 0;
}

static int plan_addresses(struct listen_set *set, const struct vd_conf_daemon *conf,
                          const struct vd_conf_listen *l, const struct addrinfo *all, char **error)
{
    for (const struct addrinfo *ai = all; ai; ai = ai->ai_next) {
        if (plan_address(set, l, ai, conf->user_count > 0) != 0)
            return complain(error, &l->at, strerror(ENOMEM));
        if (is_open_proxy(conf, &set->at[set->count - 1].addr))
            return complain(error, &l->at,
                            "refused, for it would be open to everybody; give --user "
                            "NAME:PASSWORD or --users FILE, or say who may use it with --allow "
                            "RULE, or listen on 127.0.0.1");
    }
    return 0;
}

static int plan(struct listen_set *set, const struct vd_conf_daemon *conf,
                const struct vd_conf_listen *l, char **error)
{
    char host[VD_ENDPOINT_TEXT], port[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *all;
    struct vd_out out = vd_out_over(host, sizeof host);
    if (vd_endpoint_is_name(&l->at))
        vd_endpoint_print_host(&out, &l->at);
    else
        vd_ip_print(&out, &l->at.ip);
    snprintf(port, sizeof port, "%u", l->at.port);
    int gai = getaddrinfo(vd_out_string(&out), port, &hints, &all);
    if (gai != 0)
        return complain(error, &l->at, gai_strerror(gai));
    int result = plan_addresses(set, conf, l, all, error);
    freeaddrinfo(all);
    return result;
}

int listen_plan(struct listen_set *set, const struct vd_conf_daemon *conf, unsigned workers,
                char **error)
{
    *set = (struct listen_set){.workers = workers};
    for (size_t i = 0; i < conf->listen_count; i++) {
        if (plan(set, conf, &conf->listens[i], error) != 0) {
            listen_free(set);
            return -1;
        }
    }
    return 0;
}

void listen_close_others(struct listen_set *set, int slot)
{
    for (size_t i = 0; i < set->count; i++) {
        for (unsigned k = 0; k < set->workers; k++) {
            if ((int)k == slot || set->at[i].fds[k] < 0)
                continue;
            close(set->at[i].fds[k]);
            set->at[i].fds[k] = -1;
        }
    }
}

void listen_free(struct listen_set *set)
{
    listen_close_others(set, -1);
    for (size_t i = 0; i < set->count; i++)
        free(set->at[i].fds);
    free(set->at);
    *set = (struct listen_set){0};
}

/* --- a worker: accepting --- */

static bool is_shortage(int number)
{
    return number == EMFILE || number == ENFILE || number == ENOBUFS || number == ENOMEM;
}

/* false: nothing is queued, or nothing can be taken now. */
static bool accept_one(struct listener *l)
{
    struct net_addr client = {0};
    socklen_t len = sizeof client;
    if (!worker_has_room(l->worker))
        return false;
    int fd = accept4(l->io.fd, &client.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        session_new(l, fd, &client);
        return true;
    }
    if (is_shortage(errno))
        worker_pause(l->worker, errno);
    return errno == ECONNABORTED || errno == EPROTO; /* one connection broke off in the queue */
}

static void on_ready(struct loop_io *io, uint32_t events)
{
    struct listener *l = loop_owner(io, struct listener, io);
    (void)events;
    for (int i = 0; i < ACCEPT_BATCH && accept_one(l); i++)
        ;
}

int listener_start(struct listener *l, struct worker *worker, const struct listen_at *at, int slot)
{
    struct vd_ip ip = net_addr_ip(&at->addr);
    *l = (struct listener){.io = {.fd = at->fds[slot], .ready = on_ready},
                           .worker = worker,
                           .addr = at->addr,
                           .wildcard = vd_ip_class(&ip) == VD_CLASS_UNSPECIFIED,
                           .offers = (uint8_t)at->offers};
    return loop_watch(&worker->loop, &l->io, EPOLLIN);
}

void listener_pause(struct listener *l)
{
    if (l->io.fd >= 0)
        loop_change(&l->worker->loop, &l->io, 0);
}

void listener_resume(struct listener *l)
{
    if (l->io.fd >= 0)
        loop_change(&l->worker->loop, &l->io, EPOLLIN);
}

void listener_end(struct listener *l)
{
    while (l->io.fd >= 0 && accept_one(l))
        ;
    loop_close(&l->worker->loop, &l->io);
}
