/*
 * Opening, in the parent. What another set holds already is taken over from it: at a reload from
 * the set that is in use, at the start from what was opened for us before (socket activation). So a
 * listener that stays never has a moment without a socket, and what is queued on it waits.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/listener.h"

enum { FASTOPEN_QUEUE = 256, DATAGRAM_BUFFER = 4 << 20, GIVEN_FIRST = 3, GIVEN_MAX = 256 };

static int close_with(int fd, int number)
{
    close(fd);
    errno = number;
    return -1;
}

/* --- sockets of our own --- */

/* Each datagram is to tell where it was sent to. */
static int be_told_targets(int fd, int family)
{
    static const int on = 1, size = DATAGRAM_BUFFER;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    return family == AF_INET6 ? setsockopt(fd, SOL_IPV6, IPV6_RECVORIGDSTADDR, &on, sizeof on)
                              : setsockopt(fd, SOL_IP, IP_RECVORIGDSTADDR, &on, sizeof on);
}

/* Where all clients are on this machine; those of who is caught are anywhere. */
static void unpace_if_near(int fd, const struct listen_at *at)
{
    struct vd_ip ip = net_addr_ip(&at->addr);
    bool caught = at->conf->kind == VD_LISTEN_REDIRECT || at->conf->kind == VD_LISTEN_TPROXY;
    if (!caught && vd_ip_class(&ip) == VD_CLASS_LOOPBACK && net_is_paced(fd))
        net_be_unpaced(fd);
}

/* Accepted sockets inherit what is set here: some calls less for each of them. */
static int new_socket(const struct listen_at *at)
{
    static const int on = 1, queue = FASTOPEN_QUEUE;
    int family = at->addr.any.sa_family, type = at->datagrams ? SOCK_DGRAM : SOCK_STREAM;
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (at->datagrams)
        return be_told_targets(fd, family) == 0 ? fd : close_with(fd, errno);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, &queue, sizeof queue);
    unpace_if_near(fd, at);
    return fd;
}

static int bound_socket(const struct listen_at *at, bool shared)
{
    const struct net_addr *addr = &at->addr;
    static const int on = 1;
    int fd = new_socket(at);
    if (fd < 0)
        return -1;
    if (addr->any.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0)
        return close_with(fd, errno);
    if (at->conf->kind == VD_LISTEN_TPROXY && net_be_transparent(fd, addr->any.sa_family) != 0)
        return close_with(fd, errno);
    return bind(fd, &addr->any, net_addr_len(addr)) == 0 ? fd : close_with(fd, errno);
}

static int open_slot(struct listen_at *at, unsigned slot)
{
    int fd = bound_socket(at, true);
    if (fd < 0)
        return -1;
    if (!at->datagrams && listen(fd, SOMAXCONN) != 0)
        return close_with(fd, errno);
    at->fds[slot] = fd;
    return 0;
}

/* A plain bind comes first: it fails where anybody listens, be it with SO_REUSEPORT. It also
 * chooses the port where 0 was asked for. */
static int probe(struct listen_at *at)
{
    int fd = bound_socket(at, false);
    if (fd < 0)
        return -1;
    net_addr_local(&at->addr, fd);
    close(fd);
    return 0;
}

/* --- unix sockets --- */

/* What a daemon left behind that is no more: a socket that nobody listens on. */
static bool is_stale(const struct sockaddr_un *addr)
{
    struct stat st;
    if (lstat(addr->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool stale = fd >= 0 && connect(fd, (const struct sockaddr *)addr, sizeof *addr) != 0 &&
                 errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return stale;
}

/* Nobody may connect before the permissions are what they shall be. */
static int bind_unix(int fd, const struct sockaddr_un *addr, uint32_t mode)
{
    mode_t before = umask(0777 & ~mode);
    int result = bind(fd, (const struct sockaddr *)addr, sizeof *addr);
    if (result != 0 && errno == EADDRINUSE && is_stale(addr) && unlink(addr->sun_path) == 0)
        result = bind(fd, (const struct sockaddr *)addr, sizeof *addr);
    else if (result != 0 && errno == ECONNREFUSED)
        errno = EADDRINUSE;
    umask(before);
    return result;
}

static int open_unix(struct listen_at *at)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct stat st;
    memcpy(addr.sun_path, at->conf->unix_path, strlen(at->conf->unix_path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (bind_unix(fd, &addr, at->conf->unix_mode) != 0)
        return close_with(fd, errno == EAGAIN || errno == EINPROGRESS ? EADDRINUSE : errno);
    if (listen(fd, SOMAXCONN) != 0 || stat(addr.sun_path, &st) != 0)
        return close_with(fd, errno);
    at->dev = st.st_dev;
    at->inode = st.st_ino;
    at->fds[0] = fd;
    return 0;
}

/* --- a set --- */

static bool same_address(const struct net_addr *a, const struct net_addr *b)
{
    struct vd_ip x = net_addr_ip(a), y = net_addr_ip(b);
    return a->any.sa_family == b->any.sa_family && net_addr_port(a) == net_addr_port(b) &&
           x.scope == y.scope && vd_ip_same(&x, &y);
}

/* The same listener; of one for which the kernel chose a port the one that was asked for alike. */
static bool same_place(const struct listen_at *at, const struct listen_at *had)
{
    if ((at->conf->kind == VD_LISTEN_TPROXY) != (had->conf->kind == VD_LISTEN_TPROXY) ||
        at->datagrams != had->datagrams ||
        (at->conf->kind == VD_LISTEN_ADMIN) != (had->conf->kind == VD_LISTEN_ADMIN))
        return false;
    if (at->conf->unix_path[0] || had->conf->unix_path[0])
        return strcmp(at->conf->unix_path, had->conf->unix_path) == 0;
    return same_address(&at->asked, &had->asked) || same_address(&at->asked, &had->addr);
}

static const struct listen_at *find(const struct listen_set *have, const struct listen_at *at)
{
    for (size_t i = 0; have && i < have->count; i++)
        if (same_place(at, &have->at[i]))
            return &have->at[i];
    return NULL;
}

static void take_over(struct listen_at *at, const struct listen_at *had, unsigned slots)
{
    at->addr = had->addr;
    at->shared = had->shared;
    at->given = had->given;
    at->dev = had->dev;
    at->inode = had->inode;
    if (at->conf->unix_path[0] && !at->given)
        chmod(at->conf->unix_path, at->conf->unix_mode);
    for (unsigned slot = 0; slot < (had->shared ? 1 : slots); slot++)
        at->fds[slot] = had->fds[slot];
    if (at->given)
        unpace_if_near(at->fds[0], at);
}

static int open_rest(struct listen_at *at, unsigned workers)
{
    for (unsigned slot = 0; slot < workers; slot++)
        if (at->fds[slot] < 0 && open_slot(at, slot) != 0)
            return -1;
    return 0;
}

/* The port that the kernel chose for connections is that for datagrams too. */
static void follow_port(struct listen_at *at)
{
    struct vd_ip ip = net_addr_ip(&at->addr);
    if (at->datagrams && net_addr_port(&at->addr) == 0)
        net_addr_set(&at->addr, &ip, net_addr_port(&at[-1].addr));
}

static int open_at(struct listen_set *set, struct listen_at *at, const struct listen_set *have)
{
    const struct listen_at *had = find(have, at);
    unsigned slots = have && have->workers < set->workers ? have->workers : set->workers;
    if (had)
        take_over(at, had, slots);
    if (at->shared)
        return had ? 0 : open_unix(at);
    follow_port(at);
    if (!had && probe(at) != 0)
        return -1;
    return open_rest(at, at->conf->kind == VD_LISTEN_ADMIN ? 1 : set->workers);
}

int listen_open(struct listen_set *set, const struct listen_set *have, char **error)
{
    char text[VD_ENDPOINT_TEXT + VD_UNIX_PATH_MAX + 16];
    for (size_t i = 0; i < set->count; i++) {
        if (open_at(set, &set->at[i], have) == 0)
            continue;
        int number = errno;
        struct vd_out out = vd_out_over(text, sizeof text);
        listen_print(&out, &set->at[i]);
        if (asprintf(error, "cannot listen on %s: %s%s", vd_out_string(&out), strerror(number),
                     number == EADDRINUSE ? "; end who listens there, or take another port" : "") <
            0)
            *error = NULL;
        listen_unlink_unless(set, have);
        listen_close_unless(set, have);
        return -1;
    }
    return 0;
}

bool listen_holds(const struct listen_set *set, int fd)
{
    for (size_t i = 0; set && i < set->count; i++)
        for (unsigned slot = 0; slot < set->workers; slot++)
            if (set->at[i].fds[slot] == fd)
                return true;
    return false;
}

void listen_close_unless(struct listen_set *set, const struct listen_set *other)
{
    for (size_t i = 0; i < set->count; i++) {
        for (unsigned slot = 0; slot < set->workers; slot++) {
            int fd = set->at[i].fds[slot];
            set->at[i].fds[slot] = -1;
            if (fd >= 0 && !listen_holds(other, fd))
                close(fd);
        }
    }
}

void listen_unlink_unless(const struct listen_set *set, const struct listen_set *other)
{
    for (size_t i = 0; i < set->count; i++) {
        const struct listen_at *at = &set->at[i];
        struct stat st;
        bool ours = at->conf->unix_path[0] && at->fds[0] >= 0 && !at->given;
        if (!ours || listen_holds(other, at->fds[0]))
            continue;
        if (lstat(at->conf->unix_path, &st) == 0 && st.st_dev == at->dev && st.st_ino == at->inode)
            unlink(at->conf->unix_path);
    }
}

void listen_close_all_but_admin(struct listen_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        for (unsigned k = 0; k < set->workers; k++) {
            int *fd = &set->at[i].fds[k];
            if (*fd >= 0 && set->at[i].conf->kind != VD_LISTEN_ADMIN) {
                close(*fd);
                *fd = -1;
            }
        }
}

void listen_close_others(struct listen_set *set, int slot)
{
    for (size_t i = 0; i < set->count; i++) {
        for (unsigned k = 0; k < set->workers; k++) {
            struct listen_at *at = &set->at[i];
            bool own = at->conf->kind != VD_LISTEN_ADMIN && ((int)k == slot || at->shared);
            if (at->fds[k] < 0 || own)
                continue;
            close(at->fds[k]);
            at->fds[k] = -1;
        }
    }
}

/* --- sockets that were opened for us --- */

/* What stands for it until a listener of the configuration takes it. */
static const struct vd_conf_listener *conf_of_given(int fd)
{
    struct sockaddr_un addr = {0};
    socklen_t len = sizeof addr;
    struct vd_conf_listener *l = calloc(1, sizeof *l);
    if (l && getsockname(fd, (struct sockaddr *)&addr, &len) == 0 && addr.sun_family == AF_UNIX)
        memcpy(l->unix_path, addr.sun_path, strnlen(addr.sun_path, VD_UNIX_PATH_MAX));
    return l;
}

static bool listens(int fd)
{
    int value = 0, type = 0;
    socklen_t len = sizeof value, type_len = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len) == 0 && value &&
           getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) == 0 && type == SOCK_STREAM;
}

static int give(struct listen_at *at, int fd)
{
    static const int on = 1;
    *at = (struct listen_at){.shared = true, .given = true, .fds = malloc(sizeof *at->fds)};
    at->conf = conf_of_given(fd);
    if (!at->fds || !at->conf)
        return -1;
    at->fds[0] = fd;
    net_addr_local(&at->addr, fd);
    at->asked = at->addr;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return 0;
}

/* LISTEN_PID and LISTEN_FDS: they are for this process, or for nobody. */
static unsigned count_given(void)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    int64_t count = -1;
    if (pid && fds && vd_uint_read(pid, strlen(pid), INT32_MAX) == getpid())
        count = vd_uint_read(fds, strlen(fds), GIVEN_MAX);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return count > 0 ? (unsigned)count : 0;
}

int listen_given(struct listen_set *set, char **error)
{
    unsigned count = count_given();
    *set = (struct listen_set){.workers = 1, .at = calloc(count ? count : 1, sizeof *set->at)};
    for (unsigned i = 0; set->at && i < count; i++) {
        int fd = GIVEN_FIRST + (int)i;
        if (!listens(fd)) {
            if (asprintf(error, "descriptor %d, given by LISTEN_FDS, does not listen", fd) < 0)
                *error = NULL;
            return -1;
        }
        if (give(&set->at[set->count++], fd) != 0)
            return -1;
    }
    return set->at ? 0 : -1;
}

void listen_free_given(struct listen_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        free((void *)set->at[i].conf);
    listen_free(set);
}

static int add_given(struct vd_conf_daemon *conf, const struct listen_at *at, char **error)
{
    char text[VD_ENDPOINT_TEXT + VD_UNIX_PATH_MAX];
    struct vd_out out = vd_out_over(text, sizeof text);
    if (at->conf->unix_path[0]) {
        vd_out_text(&out, "unix:");
        vd_out_text(&out, at->conf->unix_path);
    } else {
        net_addr_print(&out, &at->addr);
    }
    return vd_conf_daemon_add_listen(conf, vd_out_string(&out), error);
}

static bool is_asked_for(const struct listen_at *given, const struct vd_conf_daemon *conf)
{
    struct vd_ip ip = net_addr_ip(&given->addr);
    struct vd_endpoint at;
    vd_endpoint_set_ip(&at, &ip, net_addr_port(&given->addr));
    for (size_t i = 0; i < conf->listen_count; i++) {
        const struct vd_conf_listener *l = &conf->listens[i];
        if (given->conf->unix_path[0] ? strcmp(l->unix_path, given->conf->unix_path) == 0
                                      : !l->unix_path[0] && (vd_endpoint_is_name(&l->at) ||
                                                             vd_endpoint_same(&l->at, &at)))
            return true;
    }
    return false;
}

int listen_use_given(const struct listen_set *given, struct vd_conf_daemon *conf, char **error)
{
    bool all = conf->listen_count == 0;
    char text[VD_ENDPOINT_TEXT];
    for (size_t i = 0; i < given->count; i++) {
        struct vd_out out = vd_out_over(text, sizeof text);
        if (all && add_given(conf, &given->at[i], error) != 0)
            return -1;
        if (is_asked_for(&given->at[i], conf))
            continue;
        net_addr_print(&out, &given->at[i].addr);
        if (asprintf(error, "no listener is configured for the socket that was given: %s",
                     vd_out_string(&out)) < 0)
            *error = NULL;
        return -1;
    }
    return 0;
}
