/* Datagrams, and answers to questions about names. */
#undef _FORTIFY_SOURCE /* its inline definitions would stand beside ours */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "tests/fuzz/feed.h"
#include "tests/fuzz/fuzz.h"

enum { DNS_QUESTION = 12, DNS_A = 1, DNS_AAAA = 28, DNS_MOST = 512 };

static unsigned answer;

/* --- sending --- */

/* What has no address goes where the socket is connected to. */
static void judge(struct feed_end *e, const void *name)
{
    struct net_addr to = e->peer;

    if (name)
        memcpy(&to, name,
               ((const struct sockaddr *)name)->sa_family == AF_INET6 ? sizeof to.in6
                                                                      : sizeof to.in4);
    PROPERTY(feed_may_reach(&to, SOCK_DGRAM));
    e->last = to;
}

static ssize_t send_message(int fd, struct feed_end *e, const struct msghdr *message, int flags)
{
    struct msghdr plain = *message;

    judge(e, message->msg_name);
    plain.msg_name = NULL;
    plain.msg_namelen = 0;
    plain.msg_control = NULL;
    plain.msg_controllen = 0;
    return syscall(SYS_sendmsg, fd, &plain, flags | MSG_NOSIGNAL | MSG_DONTWAIT);
}

FEED_CALL ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct feed_end *e = feed_of(fd);

    if (!e || e->type != SOCK_DGRAM)
        return syscall(SYS_sendmsg, fd, message, flags);
    return send_message(fd, e, message, flags);
}

FEED_CALL int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    struct feed_end *e = feed_of(fd);
    unsigned i;

    PROPERTY(e && e->type == SOCK_DGRAM);
    for (i = 0; i < count; i++) {
        ssize_t n = send_message(fd, e, &messages[i].msg_hdr, flags);
        if (n < 0)
            break;
        messages[i].msg_len = (unsigned)n;
    }
    return i > 0 ? (int)i : -1;
}

FEED_CALL ssize_t sendto(int fd, const void *data, size_t len, int flags, const struct sockaddr *to,
                         socklen_t to_len)
{
    struct feed_end *e = feed_of(fd);

    if (!e)
        return syscall(SYS_sendto, fd, data, len, flags, to, to_len);
    if (e->type == SOCK_DGRAM && (to || e->peer.any.sa_family))
        judge(e, to);
    return syscall(SYS_sendto, fd, data, len, flags, NULL, 0);
}

/* --- receiving --- */

void feed_put_datagram(int fd, const struct net_addr *from, const uint8_t *data, size_t len)
{
    struct feed_end *e = &feed_ends[fd];

    if (e->from_count < FEED_QUEUE && syscall(SYS_sendto, e->ours, data, len,
                                              MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0) == (ssize_t)len)
        feed_push(e, from);
}

static ssize_t receive(int fd, struct feed_end *e, struct msghdr *m, int flags)
{
    struct net_addr from = e->peer;
    struct msghdr plain = {.msg_iov = m->msg_iov, .msg_iovlen = m->msg_iovlen};
    ssize_t n = syscall(SYS_recvmsg, fd, &plain, flags);

    if (n < 0)
        return n;
    feed_pop(e, &from);
    m->msg_controllen = 0;
    m->msg_flags = plain.msg_flags;
    feed_copy_addr(&from, m->msg_name, &m->msg_namelen);
    return n;
}

FEED_CALL int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags,
                       struct timespec *wait)
{
    struct feed_end *e = feed_of(fd);
    unsigned i;

    PROPERTY(e && e->type == SOCK_DGRAM && !wait);
    for (i = 0; i < count; i++) {
        ssize_t n = receive(fd, e, &messages[i].msg_hdr, flags | MSG_DONTWAIT);
        if (n < 0)
            break;
        messages[i].msg_len = (unsigned)n;
    }
    return i > 0 ? (int)i : -1;
}

FEED_CALL ssize_t recvfrom(int fd, void *data, size_t len, int flags, struct sockaddr *from,
                           socklen_t *from_len)
{
    struct feed_end *e = feed_of(fd);
    struct iovec part = {.iov_base = data, .iov_len = len};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_name = from};

    if (!e || e->type != SOCK_DGRAM)
        return syscall(SYS_recvfrom, fd, data, len, flags, from, from_len);
    m.msg_namelen = from_len ? *from_len : 0;
    ssize_t n = receive(fd, e, &m, flags);
    if (n >= 0 && from_len)
        *from_len = m.msg_namelen;
    return n;
}

/* What _FORTIFY_SOURCE makes of it, in libraries too. */
FEED_CALL ssize_t __recvfrom_chk(int fd, void *data, size_t len, size_t room, int flags,
                                 struct sockaddr *from, socklen_t *from_len);
FEED_CALL ssize_t __recvfrom_chk(int fd, void *data, size_t len, size_t room, int flags,
                                 struct sockaddr *from, socklen_t *from_len)
{
    PROPERTY(len <= room);
    return recvfrom(fd, data, len, flags, from, from_len);
}

/* --- names --- */

void feed_set_answer(unsigned value)
{
    answer = value % ANSWERS;
}

/* The end of the only question; 0: there is none. */
static size_t question_end(const uint8_t *m, size_t len)
{
    size_t at = DNS_QUESTION;

    while (at < len && m[at] != 0)
        at += 1u + m[at];
    return at + 5 <= len ? at + 5 : 0;
}

static size_t add_address(uint8_t *m, size_t at, uint8_t type)
{
    static const uint8_t head[] = {0xc0, DNS_QUESTION, 0, 0, 0, 1, 0, 0, 0, 60, 0, 0};
    bool inside = answer == ANSWER_LOOPBACK && m[DNS_QUESTION + 1] != FEED_HONEST;
    struct net_addr v4 = feed_addr(inside ? "127.0.0.1" : "203.0.113.80", 0);
    struct net_addr v6 = feed_addr(inside ? "::ffff:127.0.0.1" : "2001:db8:80::80", 0);
    size_t len = type == DNS_A ? 4 : 16;

    if (type != DNS_A && type != DNS_AAAA)
        return at;
    memcpy(m + at, head, sizeof head);
    m[at + 3] = type;
    m[at + 11] = (uint8_t)len;
    at += sizeof head;
    memcpy(m + at, type == DNS_A ? (const void *)&v4.in4.sin_addr : &v6.in6.sin6_addr, len);
    m[7] = 1;
    return at + len;
}

/* 0: there is none. */
static size_t make_answer(uint8_t *m, size_t len)
{
    static const uint8_t codes[ANSWERS] = {[ANSWER_UNKNOWN] = 3, [ANSWER_FAILURE] = 2};
    size_t end = question_end(m, len);

    if (end == 0 || end + 32 > DNS_MOST || answer == ANSWER_SILENCE)
        return 0;
    m[2] = (uint8_t)(0x81 | (answer == ANSWER_CUT ? 2 : 0));
    m[3] = 0x80 | codes[answer];
    memset(m + 6, 0, 6);
    if (answer == ANSWER_BROKEN)
        m[7] = 3;
    if (answer == ANSWER_GLOBAL || answer == ANSWER_LOOPBACK)
        return add_address(m, end, m[end - 3]);
    return end;
}

/* By TCP two bytes of length stand before each. */
void feed_hear(int fd, const uint8_t *data, size_t len)
{
    struct feed_end *e = &feed_ends[fd];
    size_t before = e->type == SOCK_STREAM ? 2 : 0;
    uint8_t m[2 + DNS_MOST];

    if (net_addr_port(&e->peer) != 53 || len < before + DNS_QUESTION || len > DNS_MOST)
        return;
    memcpy(m, data, len);
    len = make_answer(m + before, len - before);
    if (len == 0)
        return;
    m[0] = before ? (uint8_t)(len >> 8) : m[0];
    m[1] = before ? (uint8_t)len : m[1];
    if (before)
        syscall(SYS_write, e->ours, m, before + len);
    else
        feed_put_datagram(fd, &e->peer, m, len);
}
