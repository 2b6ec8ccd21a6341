/*
 * c-ares on the loop: it tells which of its descriptors to watch, and closes them itself after
 * saying so; its timeouts are a timer. Those who asked are called from inside ares_process_fd or,
 * for names of /etc/hosts, from inside ares_getaddrinfo.
 */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include "daemon/log.h"
#include "daemon/net.h"
#include "daemon/resolve_state.h"
#include "proto/err.h"

#define RESOLV_CONF "/etc/resolv.conf"

enum { CONF_CHECK_MS = 2000, OLD_CHANNELS = 4, TIMEOUT_MAX_S = 30, TRIES_MAX = 5 };
enum { CHAIN_TIMEOUT_MS = 10000 }; /* at least: a whole chain may have to be set up first */

/* A c-ares channel keeps to the resolv.conf that it was opened with. When that has changed a new
 * one is opened for new questions; the old one lives until its last answer. */
struct resolve_channel {
    struct resolver *resolver;
    struct resolve_channel *next; /* older */
    ares_channel ares;
    struct loop_timer timer;
    struct resolve_io *ios;
    struct resolve_tunnel *tunnels;
    size_t outstanding; /* families asked for */
};

struct resolve_io {
    struct loop_io io;
    struct resolve_channel *channel;
    struct resolve_io *next;
};

/* --- the loop --- */

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
void resolve_cares_process(struct resolve_channel *c, int readable, int writable)
{
    c->resolver->inside = true;
    ares_process_fd(c->ares, readable, writable);
    c->resolver->inside = false;
    arm(c);
}

static void on_timer(struct loop_timer *timer)
{
    struct resolve_channel *c = loop_owner(timer, struct resolve_channel, timer);
    resolve_cares_process(c, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

static void on_ready(struct loop_io *io, uint32_t events)
{
    struct resolve_channel *c = loop_owner(io, struct resolve_io, io)->channel;
    int fd = io->fd;
    resolve_cares_process(c, events & ~(uint32_t)EPOLLOUT ? fd : ARES_SOCKET_BAD,
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
void resolve_cares_watch(struct resolve_channel *c, int fd, uint32_t events)
{
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

static void on_socket(void *data, ares_socket_t fd, int readable, int writable)
{
    struct resolve_channel *c = data;
    uint32_t events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u);
    if (!resolve_chain_defer(c, fd, events))
        resolve_cares_watch(c, fd, events);
}

struct resolver *resolve_cares_owner(struct resolve_channel *c)
{
    return c->resolver;
}

struct resolve_tunnel **resolve_cares_tunnels(struct resolve_channel *c)
{
    return &c->tunnels;
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

/* "ADDRESS:PORT,...": as c-ares wants them. */
static int set_servers(ares_channel ares, const struct resolve_setup *setup)
{
    char text[VD_NAMESERVERS_MAX * VD_ENDPOINT_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);
    for (size_t i = 0; i < setup->server_count; i++) {
        vd_out_text(&out, i > 0 ? "," : "");
        vd_endpoint_print(&out, &setup->servers[i]);
    }
    if (setup->server_count == 0)
        return ARES_SUCCESS;
    return ares_set_servers_ports_csv(ares, vd_out_string(&out));
}

static int init_channel(ares_channel *ares, const struct resolve_setup *setup,
                        struct resolve_channel *c)
{
    struct ares_options options = {.sock_state_cb = on_socket, .sock_state_cb_data = c};
    int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | (c ? ARES_OPT_SOCK_STATE_CB : 0);
    read_resolv_conf(&options);
    if (setup->through) {
        options.flags = ARES_FLAG_USEVC | ARES_FLAG_STAYOPEN;
        mask |= ARES_OPT_FLAGS;
        if (options.timeout < CHAIN_TIMEOUT_MS)
            options.timeout = CHAIN_TIMEOUT_MS;
    }
    if (ares_init_options(ares, &options, mask) != ARES_SUCCESS)
        return -1;
    if (set_servers(*ares, setup) == ARES_SUCCESS)
        return 0;
    ares_destroy(*ares);
    return -1;
}

static int open_channel(struct resolver *r)
{
    struct stat st;
    struct resolve_channel *c = calloc(1, sizeof *c);
    if (!c)
        return -1;
    if (stat(RESOLV_CONF, &st) == 0)
        r->conf_time = st.st_mtim;
    if (init_channel(&c->ares, &r->setup, c) != 0) {
        free(c);
        return -1;
    }
    c->resolver = r;
    c->timer.fire = on_timer;
    c->next = r->channels;
    r->channels = c;
    if (r->setup.through)
        resolve_chain_use(c->ares, c);
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

void resolve_cares_follow(struct resolver *r)
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

int resolve_cares_open(struct resolver *r)
{
    r->conf_checked_ms = r->loop->now_ms;
    return ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS ? open_channel(r) : -1;
}

void resolve_cares_close(struct resolver *r)
{
    while (r->channels) {
        struct resolve_channel *c = r->channels;
        r->channels = c->next;
        close_channel(c);
    }
}

/* --- asking --- */

static int reason(const struct resolver *r, int status)
{
    bool unheard = status == ARES_ETIMEOUT || status == ARES_ECANCELLED;
    if (r->said_err != VD_OK && (unheard || status == ARES_ECONNREFUSED))
        return r->said_err;
    return unheard ? VD_ERR_TTL : VD_ERR_NAME;
}

static void take(struct resolve_result *f, const struct ares_addrinfo *result)
{
    for (const struct ares_addrinfo_node *node = result->nodes; node; node = node->ai_next) {
        struct net_addr addr = {0};
        size_t len = node->ai_family == AF_INET ? sizeof addr.in4 : sizeof addr.in6;
        memcpy(&addr, node->ai_addr, len);
        struct vd_ip ip = net_addr_ip(&addr);
        resolve_add(f, &ip, node->ai_ttl * INT64_C(1000));
    }
}

static void answered(struct resolve_lookup *l, struct resolve_result *f, int status,
                     struct ares_addrinfo *result)
{
    l->channel->outstanding--;
    if (status == ARES_SUCCESS)
        take(f, result);
    if (result)
        ares_freeaddrinfo(result);
    if (status == ARES_EDESTRUCTION) {
        f->here = true;
        return;
    }
    resolve_done(l, f, reason(l->resolver, status));
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

void resolve_cares_ask(struct resolve_lookup *l)
{
    struct ares_addrinfo_hints hints = {.ai_flags = ARES_AI_NOSORT, .ai_family = AF_INET6};
    l->channel = l->resolver->channels;
    l->channel->outstanding += 2;
    ares_getaddrinfo(l->channel->ares, l->name, NULL, &hints, on_v6, l);
    hints.ai_family = AF_INET;
    ares_getaddrinfo(l->channel->ares, l->name, NULL, &hints, on_v4, l);
    arm(l->channel);
}

/* --- before the start --- */

static bool is_elsewhere(const struct ares_addr_port_node *server)
{
    struct net_addr addr = {0};
    if (server->family == AF_INET) {
        addr.in4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = server->addr.addr4};
    } else {
        addr.in6.sin6_family = AF_INET6;
        memcpy(&addr.in6.sin6_addr, &server->addr.addr6, sizeof addr.in6.sin6_addr);
    }
    struct vd_ip ip = net_addr_ip(&addr);
    return vd_ip_class(&ip) != VD_CLASS_LOOPBACK && vd_ip_class(&ip) != VD_CLASS_UNSPECIFIED;
}

/* Loopback at the chain's far end is another machine's. */
static bool has_servers_elsewhere(const struct resolve_setup *setup)
{
    struct ares_addr_port_node *servers = NULL;
    ares_channel ares;
    bool found = false;
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS ||
        init_channel(&ares, setup, NULL) != 0)
        return false;
    if (ares_get_servers_ports(ares, &servers) == ARES_SUCCESS)
        for (struct ares_addr_port_node *at = servers; at; at = at->next)
            found |= is_elsewhere(at);
    ares_free_data(servers);
    ares_destroy(ares);
    return found;
}

int resolve_check(const struct vd_conf_daemon *conf, char **error)
{
    struct resolve_setup setup = {.servers = conf->nameservers,
                                  .server_count = conf->nameserver_count};
    if (!conf->dns_chain || conf->nameserver_count > 0 || has_servers_elsewhere(&setup))
        return 0;
    *error =
        strdup("dns = \"chain\": " RESOLV_CONF " names no server that the chain could lead to, "
               "but this machine; allowed: nameservers = {\"ADDRESS\", ...}");
    return -1;
}
