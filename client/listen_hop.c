/*
 * A listener's way to the last hop and back: the request, the thread that waits for the second
 * reply, and the connection that comes of it.
 *
 * The thread waits for one listener, for as long as the hop does, and ends. All signals are blocked
 * in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/time.h>

#include "client/addr.h"
#include "client/listen_entry.h"
#include "client/pending_entry.h"
#include "client/say.h"
#include "client/sockets.h"
#include "client/sys.h"
#include "proto/err.h"

enum { STACK = 128 * 1024, BACKLOG_LEAST = 16 /* for strangers, so that we can knock, too */ };

/* Nothing of ours is closed that the program has closed before, and made another file of. */
void listener_close(struct listener *e)
{
    if (e->hop_fd >= 0 && sockets_cookie(e->hop_fd) == e->hop_cookie)
        sys.close(e->hop_fd);
    if (e->knocker >= 0)
        sys.close(e->knocker);
    e->hop_fd = e->knocker = -1;
}

/* Out of the way of the low numbers that programs count on. */
static int make_socket(int domain)
{
    int fd = sys.socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int high = fd < 0 ? -1 : sys.fcntl(fd, F_DUPFD_CLOEXEC, (void *)(intptr_t)PENDING_HIGH_FD);

    if (high < 0)
        return fd;
    sys.close(fd);
    return high;
}

/* --- the first reply ------------------------------------------------------------------------- */

int listener_dial(struct listener *e)
{
    int family = e->asked.sin6_family;
    int r = drive_begin_command(&e->drive, &e->sign.target, VD_BIND, family, 0);

    if (r == VD_OK && e->sign.path.count) /* other modes than strict may find another one */
        r = vd_chain_start(&e->drive.chain, &e->sign.path, VD_BIND, &e->sign.target.at);
    if (r != VD_OK)
        return r;
    e->hop_fd = make_socket(family);
    if (e->hop_fd < 0) {
        e->drive.number = errno;
        return -VD_ERR_UNREACHABLE;
    }
    e->hop_cookie = sockets_cookie(e->hop_fd);
    return drive_dial(&e->drive, e->hop_fd);
}

static bool still_ours(const struct listener *e)
{
    return sockets_cookie(e->hop_fd) == e->hop_cookie;
}

int listener_converse(struct listener *e, int r)
{
    while (r > 0) {
        struct pollfd p = {.fd = e->hop_fd, .events = r == DRIVE_READ ? POLLIN : POLLOUT};
        int64_t left = drive_deadline_ns(&e->drive) - drive_now_ns();
        int ready = left > 0 ? sys.poll(&p, 1, (int)((left + 999999) / 1000000)) : 0;

        if (!still_ours(e))
            r = -VD_ERR_CLOSED;
        else if (ready > 0)
            r = drive_step(&e->drive, e->hop_fd);
        else if (left <= 0)
            r = drive_expire(&e->drive, e->hop_fd);
    }
    return r;
}

/* The last hop's own address, as far as it is known here. */
static struct vd_ip address_of_hop(const struct drive *d)
{
    const struct vd_hop *hop = vd_path_hop(&d->chain.path, d->chain.path.count - 1u);
    unsigned first = d->chain.path.count == 1 && !hop->stands_for ? d->addr : 0;

    hop += hop->stands_for; /* the last of those that another stands for */
    if (hop->addr_count > first)
        return hop->addrs[first];
    if (!vd_endpoint_is_name(&hop->at))
        return hop->at.ip;
    return (struct vd_ip){.family = VD_NO_IP};
}

static void say_where(const struct listener *e, const struct vd_endpoint *at)
{
    char text[SAY_MAX];
    struct vd_out out = vd_out_over(text, sizeof text);

    if (!say_wants(PLAN_CONNECTIONS))
        return;
    vd_url_print(&out, vd_chain_at(&e->drive.chain));
    vd_out_text(&out, " listens at ");
    vd_endpoint_print(&out, at);
    vd_out_text(&out, " for a connection back");
    say(PLAN_CONNECTIONS, &e->sign.target.at, vd_out_string(&out));
}

bool listener_learn(struct listener *e)
{
    const struct vd_shake *s = &e->drive.chain.shake;
    struct vd_ip ip = vd_ip_unmapped(&s->bound_ip);
    struct sockaddr_storage shown;
    struct vd_endpoint at;

    if (ip.family == VD_NO_IP || vd_ip_class(&ip) == VD_CLASS_UNSPECIFIED)
        ip = address_of_hop(&e->drive);
    vd_endpoint_set_ip(&at, &ip, s->bound_port);
    e->shown_len = ip.family == VD_NO_IP || s->bound_port == 0
                       ? 0
                       : addr_write(&shown, e->asked.sin6_family, &ip, s->bound_port);
    if (!e->shown_len) {
        say(PLAN_FAILURES, &e->sign.target.at,
            "the last hop listens at an address that it does not tell, or of another family");
        return false;
    }
    memcpy(&e->shown, &shown, e->shown_len);
    vd_chain_next(&e->drive.chain);
    say_where(e, &at);
    return true;
}

/* --- listening here -------------------------------------------------------------------------- */

/* IPv4's own one for a socket that was to be bound to an IPv4 address, whatever its family. */
static socklen_t loopback_like(struct sockaddr_storage *to, const struct sockaddr_in6 *asked)
{
    static const struct vd_ip four = {.family = VD_IPV4, .bytes = {127, 0, 0, 1}},
                              six = {.family = VD_IPV6, .bytes = {[15] = 1}};
    bool is_six = asked->sin6_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&asked->sin6_addr);

    return addr_write(to, asked->sin6_family, is_six ? &six : &four, 0);
}

static int listen_here(const struct listener *e, int fd, int backlog, struct sockaddr_storage *door)
{
    socklen_t len = loopback_like(door, &e->asked);

    if (sys.bind(fd, (struct sockaddr *)door, len) < 0 ||
        sys.listen(fd, backlog < BACKLOG_LEAST ? BACKLOG_LEAST : backlog) < 0)
        return errno;
    return 0;
}

/* It has its port before anybody else can connect with that. */
static int prepare_knocker(struct listener *e, struct sockaddr_storage *door)
{
    socklen_t len = sizeof e->knocker_at;

    e->knocker = make_socket(e->asked.sin6_family);
    if (e->knocker < 0 ||
        sys.bind(e->knocker, (struct sockaddr *)door, loopback_like(door, &e->asked)) < 0 ||
        sys.getsockname(e->knocker, (struct sockaddr *)&e->knocker_at, &len) < 0)
        return errno;
    return 0;
}

static void knock(struct listener *e)
{
    struct sockaddr_storage door;
    socklen_t len = sizeof door;

    for (int i = 0; i < LISTENER_FDS_MAX; i++) {
        int fd = e->fds_1[i] - 1;

        if (fd >= 0 && sockets_cookie(fd) == e->cookie &&
            sys.getsockname(fd, (struct sockaddr *)&door, &len) == 0) {
            sys.connect(e->knocker, (struct sockaddr *)&door, len);
            return;
        }
    }
}

static void *wait_for_call(void *listener)
{
    struct listener *e = listener;
    int r = DRIVE_READ;

    while (r > 0) {
        struct pollfd p = {.fd = e->hop_fd, .events = POLLIN};

        sys.poll(&p, 1, -1);
        r = still_ours(e) ? drive_step(&e->drive, e->hop_fd) : -VD_ERR_CLOSED;
    }
    pending_lock_mutex(); /* no signal comes here */
    e->result = r;
    e->state = LISTENER_CALLED;
    if (e->gone)
        listener_free(e);
    else
        knock(e);
    pending_unlock_mutex();
    return NULL;
}

static int start_thread(struct listener *e)
{
    pthread_attr_t attr;
    pthread_t thread;
    int r;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK);
    r = pthread_create(&thread, &attr, wait_for_call, e); /* signals are held back: so in it */
    if (r == 0)
        pthread_setname_np(thread, "viaduct-listen");
    pthread_attr_destroy(&attr);
    return r;
}

int listener_open(struct listener *e, int fd, int backlog)
{
    struct sockaddr_storage door;
    int error = listen_here(e, fd, backlog, &door);

    if (!error)
        error = prepare_knocker(e, &door);
    if (!error)
        error = start_thread(e);
    if (error)
        say(PLAN_FAILURES, &e->sign.target.at, "no socket or thread is left to listen with");
    else
        e->state = LISTENER_WAITING;
    return error;
}

/* --- the second reply ------------------------------------------------------------------------ */

bool listener_is_knock(const struct listener *e, const struct sockaddr_storage *from)
{
    struct vd_endpoint who, knocker;

    return addr_read(&who, (const struct sockaddr *)from, sizeof *from) &&
           addr_read(&knocker, (const struct sockaddr *)&e->knocker_at, sizeof e->knocker_at) &&
           vd_endpoint_same(&who, &knocker);
}

/* An accepted socket has the options of its listener. */
static void inherit_options(int from, int to)
{
    static const struct {
        int level, name;
    } options[] = {
        {SOL_SOCKET, SO_KEEPALIVE}, {SOL_SOCKET, SO_OOBINLINE}, {SOL_SOCKET, SO_LINGER},
        {SOL_SOCKET, SO_RCVTIMEO},  {SOL_SOCKET, SO_SNDTIMEO},  {SOL_SOCKET, SO_RCVLOWAT},
        {IPPROTO_TCP, TCP_NODELAY},
    };

    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        struct timeval value; /* as long as the longest of them */
        socklen_t len = sizeof value;

        if (sys.getsockopt(from, options[i].level, options[i].name, &value, &len) == 0)
            sys.setsockopt(to, options[i].level, options[i].name, &value, len);
    }
}

/* Who has come, as the hop says; where the program knows it by a placeholder, by that. */
static socklen_t peer_of(const struct listener *e, struct sockaddr_storage *peer)
{
    const struct vd_shake *s = &e->drive.chain.shake;
    struct vd_ip ip = e->sign.placeholder;
    socklen_t len = 0;

    if (ip.family == VD_NO_IP)
        ip = vd_ip_unmapped(&s->bound_ip);
    if (ip.family != VD_NO_IP && vd_ip_class(&ip) != VD_CLASS_UNSPECIFIED)
        len = addr_write(peer, e->asked.sin6_family, &ip, s->bound_port);
    if (!len && !vd_endpoint_is_name(&e->sign.target.at))
        len = addr_write(peer, e->asked.sin6_family, &e->sign.target.at.ip, s->bound_port);
    return len;
}

static void say_who(const struct listener *e)
{
    const struct vd_shake *s = &e->drive.chain.shake;
    char text[VD_ENDPOINT_TEXT + 64];
    struct vd_out out = vd_out_over(text, sizeof text);
    struct vd_endpoint from;

    if (!say_wants(PLAN_CONNECTIONS))
        return;
    vd_endpoint_set_ip(&from, &s->bound_ip, s->bound_port);
    vd_out_text(&out, "connected back from ");
    vd_endpoint_print(&out, &from);
    say(PLAN_CONNECTIONS, &e->sign.target.at, vd_out_string(&out));
}

int listener_hand_over(struct listener *e, int fd, int flags)
{
    struct sockaddr_storage peer;
    socklen_t peer_len;
    uint64_t cookie = e->hop_cookie;

    if (e->result < 0) {
        drive_report(&e->drive, e->result);
        return drive_errno(&e->drive, e->result);
    }
    if (!still_ours(e))
        return ECONNABORTED;
    inherit_options(fd, e->hop_fd);
    sys.fcntl(e->hop_fd, F_SETFL, (void *)(intptr_t)(flags & SOCK_NONBLOCK ? O_NONBLOCK : 0));
    if (sys.dup3(e->hop_fd, fd, flags & SOCK_CLOEXEC ? O_CLOEXEC : 0) < 0)
        return errno;
    peer_len = peer_of(e, &peer);
    if (peer_len) {
        sockets_put(cookie, (struct sockaddr *)&peer, peer_len);
        sockets_put_bound(cookie, (const struct sockaddr *)&e->shown, e->shown_len);
    }
    say_who(e);
    return 0;
}
