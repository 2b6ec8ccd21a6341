/*
 * What is added stands in a row of messages for one socket; another socket, or a full row, sends
 * it. Neighbours in the row that go to the same address and are equally long, or the last one
 * shorter, go as one that the kernel cuts again, as late as it can (UDP_SEGMENT). Where that cannot
 * be (the path takes less than such a piece, which cannot be cut further) they go one by one from
 * then on.
 */
#include "daemon/batch.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

enum {
    SLOT = BATCH_HEADROOM + BATCH_DATAGRAM,
    CONTROL = CMSG_SPACE(sizeof(struct sockaddr_in6)),
    SEGMENT_CONTROL = CMSG_SPACE(sizeof(uint16_t)),
    SEGMENT_MAX = 1452 /* of an Ethernet with IPv6; larger ones may have to be fragmented */
};

struct message {
    struct iovec parts[2]; /* head and data, or data alone */
    struct net_addr to;
    struct batch_tally *tally;
    size_t bytes; /* of it that count */
    size_t len;   /* of all of it */
    unsigned part_count;
    uint8_t head[BATCH_HEAD];
};

struct batch {
    const struct loop *loop;
    struct mmsghdr in[BATCH_MAX], out[BATCH_MAX];
    struct iovec in_iov[BATCH_MAX], out_iov[2 * BATCH_MAX];
    unsigned in_out[BATCH_MAX]; /* how many messages each of `out` holds */
    alignas(struct cmsghdr) uint8_t segment[BATCH_MAX][SEGMENT_CONTROL];
    struct net_addr in_addr[BATCH_MAX];
    struct message messages[BATCH_MAX];
    unsigned pending;
    int fd; /* where they go */
    alignas(struct cmsghdr) uint8_t control[BATCH_MAX][CONTROL];
    uint8_t data[BATCH_MAX][SLOT];
};

struct batch *batch_new(const struct loop *loop)
{
    struct batch *b = calloc(1, sizeof *b);
    if (b)
        b->loop = loop;
    return b;
}

void batch_free(struct batch *b)
{
    free(b);
}

/* --- receiving --- */

static void prepare(struct batch *b, bool caught)
{
    for (unsigned i = 0; i < BATCH_MAX; i++) {
        b->in_iov[i] =
            (struct iovec){.iov_base = b->data[i] + BATCH_HEADROOM, .iov_len = BATCH_DATAGRAM};
        b->in[i].msg_hdr = (struct msghdr){.msg_iov = &b->in_iov[i],
                                           .msg_iovlen = 1,
                                           .msg_name = &b->in_addr[i],
                                           .msg_namelen = sizeof b->in_addr[i],
                                           .msg_control = caught ? b->control[i] : NULL,
                                           .msg_controllen = caught ? CONTROL : 0};
    }
}

static unsigned receive(struct batch *b, int fd, bool caught)
{
    prepare(b, caught);
    int n = recvmmsg(fd, b->in, BATCH_MAX, MSG_DONTWAIT, NULL);
    return n > 0 ? (unsigned)n : 0;
}

unsigned batch_receive(struct batch *b, int fd)
{
    return receive(b, fd, false);
}

unsigned batch_receive_caught(struct batch *b, int fd)
{
    return receive(b, fd, true);
}

static struct net_addr sent_to(const struct msghdr *message)
{
    struct net_addr to = {.any.sa_family = AF_UNSPEC};
    struct msghdr *m = (struct msghdr *)(uintptr_t)message;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level == SOL_IP && c->cmsg_type == IP_ORIGDSTADDR)
            memcpy(&to.in4, CMSG_DATA(c), sizeof to.in4);
        else if (c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_ORIGDSTADDR)
            memcpy(&to.in6, CMSG_DATA(c), sizeof to.in6);
    }
    return to;
}

struct batch_in batch_get(const struct batch *b, unsigned at)
{
    return (struct batch_in){.from = &b->in_addr[at],
                             .to = sent_to(&b->in[at].msg_hdr),
                             .data = b->in_iov[at].iov_base,
                             .len = b->in[at].msg_len};
}

/* --- sending --- */

/* Those that have none go where the socket is connected to. */
static bool same_to(const struct net_addr *a, const struct net_addr *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_INET)
        return a->in4.sin_port == b->in4.sin_port &&
               a->in4.sin_addr.s_addr == b->in4.sin_addr.s_addr;
    return a->any.sa_family != AF_INET6 ||
           (a->in6.sin6_port == b->in6.sin6_port && a->in6.sin6_scope_id == b->in6.sin6_scope_id &&
            memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof a->in6.sin6_addr) == 0);
}

/* How many of the messages from `at` on can go as one. */
static unsigned count_alike(const struct batch *b, unsigned at)
{
    const struct message *first = &b->messages[at];
    unsigned n = 1;
    if (first->tally->unsegmented || first->len == 0 || first->len > SEGMENT_MAX)
        return 1;
    for (; at + n < b->pending; n++) {
        const struct message *m = &b->messages[at + n];
        if (m->tally != first->tally || m->len > first->len || m->len == 0 ||
            !same_to(&m->to, &first->to))
            return n;
        if (m->len < first->len)
            return n + 1;
    }
    return n;
}

static void put_size(struct msghdr *header, uint8_t *control, size_t len)
{
    uint16_t size = (uint16_t)len;
    header->msg_control = control;
    header->msg_controllen = SEGMENT_CONTROL;
    struct cmsghdr *c = CMSG_FIRSTHDR(header);
    *c = (struct cmsghdr){
        .cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof size)};
    memcpy(CMSG_DATA(c), &size, sizeof size);
}

/* Writes the messages from `at` on to `out`; how many of the latter there are. */
static unsigned arrange(struct batch *b, unsigned at)
{
    struct iovec *parts = b->out_iov;
    unsigned outs = 0;
    for (unsigned n; at < b->pending; at += n, outs++) {
        struct message *first = &b->messages[at];
        struct msghdr *header = &b->out[outs].msg_hdr;
        bool connected = first->to.any.sa_family == AF_UNSPEC;
        *header = (struct msghdr){.msg_iov = parts,
                                  .msg_name = connected ? NULL : &first->to,
                                  .msg_namelen = connected ? 0 : net_addr_len(&first->to)};
        n = b->in_out[outs] = count_alike(b, at);
        for (unsigned i = at; i < at + n; i++)
            for (unsigned k = 0; k < b->messages[i].part_count; k++)
                *parts++ = b->messages[i].parts[k];
        header->msg_iovlen = (size_t)(parts - header->msg_iov);
        if (n > 1)
            put_size(header, b->segment[outs], first->len);
    }
    return outs;
}

/* How many messages went. */
static unsigned account(const struct batch *b, unsigned at, unsigned outs)
{
    unsigned n = 0;
    for (unsigned i = 0; i < outs; i++)
        n += b->in_out[i];
    for (unsigned i = at; i < at + n; i++) {
        struct batch_tally *tally = b->messages[i].tally;
        tally->bytes += b->messages[i].bytes;
        tally->datagrams++;
        tally->last_ms = b->loop->now_ms;
    }
    return n;
}

/* Nothing of `out` went. An error belongs to its first one, or to a datagram that was sent long
 * ago: a connected socket tells of those with ECONNREFUSED, once. A full socket takes none of the
 * rest. How many messages are lost by that; 0: what is left is worth another try. */
static unsigned lose(struct batch *b, unsigned at, int number, bool *again)
{
    struct batch_tally *tally = b->messages[at].tally;
    unsigned n = number == EAGAIN ? b->pending - at : b->in_out[0];
    if (number == ECONNREFUSED)
        tally->refused = true;
    if (number == ECONNREFUSED && *again) {
        *again = false;
        return 0;
    }
    if (number != EAGAIN && number != ECONNREFUSED && n > 1) {
        tally->unsegmented = true;
        return 0;
    }
    for (unsigned i = at; i < at + n; i++)
        b->messages[i].tally->lost++;
    return n;
}

void batch_flush(struct batch *b)
{
    unsigned at = 0;
    bool again = true;
    while (at < b->pending) {
        int n = sendmmsg(b->fd, b->out, arrange(b, at), MSG_NOSIGNAL);
        if (n > 0) {
            at += account(b, at, (unsigned)n);
            again = true;
        } else {
            at += lose(b, at, errno, &again);
        }
    }
    b->pending = 0;
}

static void put(struct message *m, const struct batch_out *out)
{
    static const struct net_addr connected = {.any.sa_family = AF_UNSPEC};
    m->part_count = 0;
    if (out->head_len > 0) {
        memcpy(m->head, out->head, out->head_len);
        m->parts[m->part_count++] = (struct iovec){.iov_base = m->head, .iov_len = out->head_len};
    }
    m->parts[m->part_count++] =
        (struct iovec){.iov_base = (void *)(uintptr_t)out->data, .iov_len = out->len};
    m->len = out->head_len + out->len;
    m->bytes = out->len - out->header;
    m->to = out->to ? *out->to : connected;
}

void batch_add(struct batch *b, int fd, struct batch_tally *tally, const struct batch_out *out)
{
    if (b->pending == BATCH_MAX || (b->pending > 0 && b->fd != fd))
        batch_flush(b);
    struct message *m = &b->messages[b->pending++];
    b->fd = fd;
    m->tally = tally;
    put(m, out);
}
