/*
 * Two sockets in the room hear all questions, whatever name server they are put to: each is bound
 * to port 53 of all addresses, of its family, and answers from the one that was asked. Where a rule
 * has a name resolved by the name server itself, the question goes on to it, and the answer comes
 * back the same way.
 */
#include "launcher/supervise_names.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "client/drive.h"
#include "client/stub.h"
#include "launcher/supervise_room.h"

enum {
    PORT = 53,
    QUERY_MAX = 1232,
    ANSWER_MAX = 4096,
    ASKED_MAX = 256,
    HERE_MAX = 256,
    LIMIT_S = 15
};

/* Who asked, and as whom he is answered. */
struct question {
    int fd; /* by which it came, and which answers */
    struct sockaddr_storage from, server;
    socklen_t from_len;
};

struct listener {
    struct supervise_watch watch;
    int fd;
    bool tried;
};
static struct listener listeners[2]; /* IPv4, IPv6 */

/* --- messages with the address they were sent to --------------------------------------------- */

union control {
    struct cmsghdr head;
    char space[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

static void read_server(struct question *q, struct msghdr *m)
{
    struct sockaddr_in *in4 = (struct sockaddr_in *)&q->server;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&q->server;

    memset(&q->server, 0, sizeof q->server);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;

            memcpy(&info, CMSG_DATA(c), sizeof info);
            *in4 = (struct sockaddr_in){AF_INET, htons(PORT), info.ipi_addr, {0}};
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;

            memcpy(&info, CMSG_DATA(c), sizeof info);
            *in6 = (struct sockaddr_in6){
                .sin6_family = AF_INET6, .sin6_port = htons(PORT), .sin6_addr = info.ipi6_addr};
        }
}

static void write_server(const struct question *q, union control *control, struct msghdr *m)
{
    struct in_pktinfo four = {.ipi_spec_dst = ((const struct sockaddr_in *)&q->server)->sin_addr};
    struct in6_pktinfo six = {.ipi6_addr = ((const struct sockaddr_in6 *)&q->server)->sin6_addr};
    bool is_four = q->server.ss_family == AF_INET;
    size_t len = is_four ? sizeof four : sizeof six;

    if (q->server.ss_family == AF_UNSPEC)
        return;
    memset(control, 0, sizeof *control);
    control->head.cmsg_level = is_four ? IPPROTO_IP : IPPROTO_IPV6;
    control->head.cmsg_type = is_four ? IP_PKTINFO : IPV6_PKTINFO;
    control->head.cmsg_len = CMSG_LEN(len);
    memcpy(CMSG_DATA(&control->head), is_four ? (void *)&four : (void *)&six, len);
    m->msg_control = control;
    m->msg_controllen = CMSG_SPACE(len);
}

static void answer(const struct question *q, const uint8_t *data, size_t len)
{
    union control control;
    struct iovec part = {(void *)data, len};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};

    if (q->from_len) {
        m.msg_name = (void *)&q->from;
        m.msg_namelen = q->from_len;
    }
    write_server(q, &control, &m);
    sendmsg(q->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* --- questions that go on -------------------------------------------------------------------- */

struct asked {
    struct supervise_watch watch;
    struct supervise_timer timer;
    struct question question;
    int fd;
};
static unsigned asked_count;

static void forget(struct asked *a)
{
    supervise_clear_timer(&a->timer);
    supervise_unwatch(a->fd);
    close(a->fd);
    free(a);
    asked_count--;
}

static void on_answer(struct supervise_watch *w, uint32_t events)
{
    struct asked *a = (struct asked *)w;
    uint8_t data[ANSWER_MAX];
    ssize_t n = recv(a->fd, data, sizeof data, MSG_DONTWAIT);

    if (n > 0) {
        stub_learn(data, (size_t)n);
        answer(&a->question, data, (size_t)n);
    }
    if (n > 0 || events & (EPOLLERR | EPOLLHUP))
        forget(a);
}

static void on_silence(struct supervise_timer *t)
{
    forget((struct asked *)((char *)t - offsetof(struct asked, timer)));
}

static void pass_on(const struct question *q, const uint8_t *query, size_t len)
{
    socklen_t server_len =
        q->server.ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    struct asked *a = asked_count < ASKED_MAX ? calloc(1, sizeof *a) : NULL;

    if (!a)
        return;
    *a = (struct asked){.watch = {on_answer}, .timer = {.due = on_silence}, .question = *q};
    a->fd = socket(q->server.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    asked_count++;
    if (a->fd < 0 || connect(a->fd, (const struct sockaddr *)&q->server, server_len) < 0 ||
        !supervise_watch(a->fd, &a->watch) || send(a->fd, query, len, MSG_NOSIGNAL) < 0)
        forget(a);
    else
        supervise_set_timer(&a->timer, drive_now_ns() + (int64_t)LIMIT_S * 1000000000);
}

static void take_question(const struct question *q, const uint8_t *query, size_t len)
{
    uint8_t data[ANSWER_MAX];
    size_t data_len;

    switch (stub_query(query, len, data, QUERY_MAX, &data_len)) {
    case STUB_ANSWER:
        answer(q, data, data_len);
        break;
    case STUB_PASS:
        if (q->server.ss_family != AF_UNSPEC)
            pass_on(q, query, len);
        break;
    case STUB_SILENT:
        break;
    }
}

/* --- in the room ----------------------------------------------------------------------------- */

static bool hear(struct listener *l)
{
    uint8_t query[QUERY_MAX];
    union control control;
    struct question q = {.fd = l->fd};
    struct iovec part = {query, sizeof query};
    struct msghdr m = {.msg_name = &q.from,
                       .msg_namelen = sizeof q.from,
                       .msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof control};
    ssize_t n = recvmsg(l->fd, &m, MSG_DONTWAIT);

    if (n < 0)
        return false;
    q.from_len = m.msg_namelen;
    read_server(&q, &m);
    if (!(m.msg_flags & MSG_TRUNC))
        take_question(&q, query, (size_t)n);
    return true;
}

static void on_question(struct supervise_watch *w, uint32_t events)
{
    (void)events;
    while (hear((struct listener *)w))
        ;
}

static bool listen_on(struct listener *l, int family)
{
    struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
    bool four = family == AF_INET;
    int one = 1, fd;

    if (l->tried)
        return l->fd >= 0;
    l->tried = true;
    l->watch.event = on_question;
    l->fd = fd = room_socket(family);
    if (fd < 0)
        return false;
    if (!four)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one); /* others answer there themselves */
    setsockopt(fd, four ? IPPROTO_IP : IPPROTO_IPV6, four ? IP_PKTINFO : IPV6_RECVPKTINFO, &one,
               sizeof one);
    if (bind(fd, four ? (struct sockaddr *)&in4 : (struct sockaddr *)&in6,
             four ? sizeof in4 : sizeof in6) == 0 &&
        supervise_watch(fd, &l->watch))
        return true;
    close(fd);
    l->fd = -1;
    return false;
}

bool names_listens(void)
{
    bool four = listen_on(&listeners[0], AF_INET);

    listen_on(&listeners[1], AF_INET6);
    return four;
}

/* --- without a room -------------------------------------------------------------------------- */

static struct here {
    struct supervise_watch watch;
    struct question question;
    int fd_1;
} heres[HERE_MAX];

static void on_question_here(struct supervise_watch *w, uint32_t events)
{
    struct here *h = (struct here *)w;
    uint8_t query[QUERY_MAX];
    ssize_t n;

    (void)events;
    while ((n = recv(h->fd_1 - 1, query, sizeof query, MSG_DONTWAIT)) > 0)
        take_question(&h->question, query, (size_t)n);
}

/* The place of the one that was made longest ago. */
static struct here *take_place(void)
{
    static unsigned turn;
    struct here *h = &heres[turn++ % HERE_MAX];

    if (h->fd_1)
        supervise_unwatch(h->fd_1 - 1);
    if (h->fd_1)
        close(h->fd_1 - 1);
    memset(h, 0, sizeof *h);
    return h;
}

/* Each hears the other one only. */
static bool join(int ours, int theirs, int domain)
{
    struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr *at = domain == AF_INET ? (struct sockaddr *)&in4 : (struct sockaddr *)&in6;
    socklen_t len = domain == AF_INET ? sizeof in4 : sizeof in6;
    struct sockaddr_storage own;
    socklen_t own_len = sizeof own;

    return bind(ours, at, len) == 0 && getsockname(ours, at, &len) == 0 &&
           connect(theirs, at, len) == 0 &&
           getsockname(theirs, (struct sockaddr *)&own, &own_len) == 0 &&
           connect(ours, (struct sockaddr *)&own, own_len) == 0;
}

int names_connect_here(const struct supervise_socket *s)
{
    struct here *h = take_place();
    int fd = socket(s->domain, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), number;

    if (fd < 0)
        return -errno;
    h->watch.event = on_question_here;
    h->question.fd = fd;
    if (join(fd, s->fd, s->domain) && supervise_watch(fd, &h->watch)) {
        h->fd_1 = fd + 1;
        return 0;
    }
    number = errno;
    close(fd);
    return -number;
}
