/* What is added stands in a row of messages for one socket; another socket, or a full row, sends
 * it. */
#include "daemon/batch.h"

#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

enum { SLOT = BATCH_HEADROOM + BATCH_DATAGRAM, CONTROL = CMSG_SPACE(sizeof(struct sockaddr_in6)) };

struct message {
    struct iovec parts[2]; /* head and data, or data alone */
    struct net_addr to;
    struct batch_tally *tally;
    size_t bytes; /* of it that count */
    uint8_t head[BATCH_HEAD];
};

struct batch {
    const struct loop *loop;
    struct mmsghdr in[BATCH_MAX], out[BATCH_MAX];
    struct iovec in_iov[BATCH_MAX];
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

static void account(const struct batch *b, unsigned at, unsigned n)
{
    for (unsigned i = at; i < at + n; i++) {
        struct batch_tally *tally = b->messages[i].tally;
        tally->bytes += b->messages[i].bytes;
        tally->datagrams++;
        tally->last_ms = b->loop->now_ms;
    }
}

/* An error belongs to the first datagram, or to one that was sent long ago: a connected socket
 * tells of those with ECONNREFUSED, once. A full socket takes none of the rest. The number of those
 * that are done with. */
static unsigned lose(struct batch *b, unsigned at, int number)
{
    unsigned n = number == EAGAIN ? b->pending - at : 1;
    for (unsigned i = at; i < at + n; i++)
        b->messages[i].tally->lost++;
    return n;
}

void batch_flush(struct batch *b)
{
    unsigned at = 0;
    bool again = true;
    while (at < b->pending) {
        int n = sendmmsg(b->fd, b->out + at, b->pending - at, MSG_NOSIGNAL);
        if (n > 0) {
            account(b, at, (unsigned)n);
            at += (unsigned)n;
            again = true;
            continue;
        }
        if (errno == ECONNREFUSED)
            b->messages[at].tally->refused = true;
        if (errno != ECONNREFUSED || !again)
            at += lose(b, at, errno);
        else
            again = false;
    }
    b->pending = 0;
}

static void put(struct message *m, struct msghdr *header, const struct batch_out *out)
{
    unsigned parts = 0;
    if (out->head_len > 0) {
        memcpy(m->head, out->head, out->head_len);
        m->parts[parts++] = (struct iovec){.iov_base = m->head, .iov_len = out->head_len};
    }
    m->parts[parts++] =
        (struct iovec){.iov_base = (void *)(uintptr_t)out->data, .iov_len = out->len};
    m->bytes = out->len - out->header;
    *header = (struct msghdr){.msg_iov = m->parts, .msg_iovlen = parts};
    if (!out->to)
        return;
    m->to = *out->to;
    header->msg_name = &m->to;
    header->msg_namelen = net_addr_len(&m->to);
}

void batch_add(struct batch *b, int fd, struct batch_tally *tally, const struct batch_out *out)
{
    if (b->pending == BATCH_MAX || (b->pending > 0 && b->fd != fd))
        batch_flush(b);
    unsigned i = b->pending++;
    b->fd = fd;
    b->messages[i].tally = tally;
    put(&b->messages[i], &b->out[i].msg_hdr, out);
}
