#include "launcher/private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/value.h"
#include "launcher/aside.h"
#include "launcher/parts.h"
#include "launcher/private_state.h"
#include "launcher/say.h"

#define USER "viaduct"

enum { SECRET_BYTES = 16, BACKLOG = 511 };

struct order {
    char title[VD_TITLE_MAX + 1];
    char *conf;
    int listener;
};

static struct order *orders;
static size_t order_count;
static char program[PATH_MAX];

/* --- before there is a session --------------------------------------------------------------- */

/* Whether there is no other way: where hops have IPv6 addresses only, IPv6 sockets can go alone. */
static bool is_needed(const struct vd_hop *hops, size_t span, enum vd_conf_dns dns)
{
    for (size_t i = 0; i < span; i++)
        if (private_is_special(&hops[i]))
            return true;
    return dns == VD_DNS_CHAIN;
}

static int open_listener(const char *title, uint16_t *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) < 0 || listen(fd, BACKLOG) < 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) < 0)
        say_die(EXIT_OWN, "chain `%s`: a listener on 127.0.0.1 for its viaductd: %s", title,
                strerror(errno));
    *port = ntohs(at.sin_port);
    return fd;
}

static void make_secret(char secret[2 * SECRET_BYTES + 1])
{
    uint8_t bytes[SECRET_BYTES];

    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        say_die(EXIT_OWN, "no random bytes: %s", strerror(errno));
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(secret + 2 * i, 3, "%02x", bytes[i]);
}

static void make_front(struct vd_hop *front, const struct vd_hop *last, size_t span, uint16_t port,
                       const char *secret)
{
    static const uint8_t loopback[4] = {127, 0, 0, 1};
    struct vd_ip ip = vd_ip4(loopback);

    memset(front, 0, sizeof *front);
    front->scheme = vd_hop_takes_names(last) ? VD_SOCKS5H : VD_SOCKS5;
    front->stands_for = (uint8_t)span;
    front->pipeline = VD_PIPELINE_KNOWN;
    front->addrs[0] = ip;
    front->addr_count = 1;
    vd_endpoint_set_ip(&front->at, &ip, port);
    front->has_login = 1;
    front->user_len = sizeof USER - 1;
    memcpy(front->user, USER, sizeof USER);
    front->password_len = 2 * SECRET_BYTES;
    memcpy(front->password, secret, 2 * SECRET_BYTES + 1);
}

static struct order *new_order(const char *title)
{
    struct order *more = reallocarray(orders, order_count + 1, sizeof *more);

    if (!more)
        say_die(EXIT_OWN, "out of memory");
    orders = more;
    more += order_count++;
    snprintf(more->title, sizeof more->title, "%s", title);
    return more;
}

bool private_prepare(struct vd_hop *front, const struct vd_conf_chain *chain,
                     const struct vd_hop *hops, size_t span, const struct vd_conf_client *conf,
                     bool asked_for)
{
    char secret[2 * SECRET_BYTES + 1], login[sizeof USER + sizeof secret];
    uint16_t port;

    if (!*program && !parts_daemon(program)) {
        if (asked_for)
            say_die(EXIT_OWN, "--trace-data: viaductd is missing, which sees what connections "
                              "carry; it belongs to " VIADUCT_PREFIX "/" VIADUCT_BINDIR);
        if (is_needed(hops, span, conf->dns))
            say_die(EXIT_OWN,
                    "chain `%s`: viaductd is missing, which carries such hops; it belongs "
                    "to " VIADUCT_PREFIX "/" VIADUCT_BINDIR,
                    chain->title);
        return false;
    }
    struct order *order = new_order(chain->title);
    make_secret(secret);
    snprintf(login, sizeof login, USER ":%s", secret);
    order->listener = open_listener(chain->title, &port);
    order->conf = private_conf(chain, hops, span, conf, login);
    if (!order->conf)
        say_die(EXIT_OWN, "out of memory");
    make_front(front, &hops[span - 1], span, port, secret);
    if (conf->dns == VD_DNS_CHAIN)
        front->scheme = VD_SOCKS5H;
    return true;
}

/* --- with a session -------------------------------------------------------------------------- */

/* Until the other end is closed. */
static void read_all(int fd, char *text, size_t cap)
{
    size_t have = 0;
    ssize_t n;

    while (have < cap - 1 && (n = read(fd, text + have, cap - 1 - have)) != 0)
        if (n > 0)
            have += (size_t)n;
        else if (errno != EINTR)
            break;
    text[have] = 0;
}

/* Where the trace goes; -1: nothing is traced. */
static int open_trace(const struct plan *plan)
{
    int fd;

    if (!plan->trace)
        return -1;
    if (!plan->trace_file[0])
        return STDERR_FILENO;
    fd = open(plan->trace_file, O_WRONLY | O_APPEND | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        say_die(EXIT_OWN, "--trace=%s: it cannot be written: %s", plan->trace_file,
                strerror(errno));
    return fd;
}

static void start(const struct order *order, const char *session, const struct plan *plan,
                  uint32_t trace_data)
{
    struct private_server s = {.program = program,
                               .conf = order->conf,
                               .session = session,
                               .log = plan->has_log ? plan->log : NULL,
                               .trace = open_trace(plan),
                               .plan = plan,
                               .trace_data = trace_data};
    char said[1024];
    int ready[2];

    s.listener = order->listener;
    if (pipe2(ready, O_CLOEXEC) < 0)
        say_die(EXIT_OWN, "chain `%s`: a pipe: %s", order->title, strerror(errno));
    s.ready = ready[1];
    if (aside_fork())
        private_serve(&s);
    if (s.trace > STDERR_FILENO)
        close(s.trace);
    close(ready[1]);
    close(order->listener);
    read_all(ready[0], said, sizeof said);
    close(ready[0]);
    explicit_bzero(order->conf, strlen(order->conf));
    free(order->conf);
    if (!strcmp(said, "+"))
        return;
    unlink(session);
    say_die(EXIT_OWN, "chain `%s`: its viaductd does not start: %s", order->title,
            *said ? said : "no process could be started");
}

void private_start(const char *session, const struct plan *plan, uint32_t trace_data)
{
    for (size_t i = 0; i < order_count; i++)
        start(&orders[i], session, plan, trace_data);
    free(orders);
    orders = NULL;
    order_count = 0;
}
