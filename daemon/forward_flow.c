#include "daemon/forward.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* --- receiving --- */

static size_t receive(struct session *s, enum relay_side from, uint8_t *to)
{
    struct relay_leg *leg = session_leg(s, from);
    struct relay_flow *counts = &s->relay.flow[from];
    size_t room = relay_room(&s->relay, from, FORWARD_READ);
    if (room == 0)
        return 0;
    ssize_t n = recv(leg->io.fd, to, room, 0);
    if (n <= 0) {
        leg->readable = false;
        forward_flow(s, from)->eof = n == 0 || errno != EAGAIN;
        leg->broken |= n < 0 ? errno != EAGAIN : tls_is_cut(leg->tls);
        return 0;
    }
    relay_used(&s->relay, from, (size_t)n);
    leg->readable = n == (ssize_t)room || leg->ended || leg->urgent;
    counts->bytes += (uint64_t)n;
    counts->last_ms = s->worker->loop.now_ms;
    return (size_t)n;
}

struct forward_view forward_fill(struct session *s, enum relay_side from)
{
    struct forward_flow *flow = forward_flow(s, from);
    uint8_t *buffer = s->worker->pool.buffer;
    struct forward_view v = {.data = buffer, .len = flow->kept_len};
    if (flow->kept_len > 0)
        memcpy(buffer, flow->kept, flow->kept_len);
    if (!flow->eof && session_leg(s, from)->readable &&
        flow->kept_len <= FORWARD_HALF - FORWARD_READ)
        v.len += receive(s, from, buffer + flow->kept_len);
    return v;
}

int forward_keep(struct forward_flow *flow, const uint8_t *data, size_t len)
{
    uint8_t *kept = len > 0 ? malloc(len) : NULL;
    if (len > 0 && !kept)
        return -1;
    if (len > 0)
        memcpy(kept, data, len);
    free(flow->kept);
    flow->kept = kept;
    flow->kept_len = (uint32_t)len;
    return 0;
}

/* --- sending --- */

struct vd_out forward_out(const struct session *s)
{
    return vd_out_over(s->worker->pool.buffer + FORWARD_HALF, FORWARD_HALF);
}

/* Without memory for a packet the connection lives on, but something is missing in it now: reading,
 * which tells of ends, is to tell of one. */
static ssize_t lost(const struct relay_leg *leg)
{
    if (errno != EPIPE && errno != ECONNRESET)
        shutdown(leg->io.fd, SHUT_RDWR);
    return -1;
}

/* What the socket takes of it; -1 if the connection is lost. */
static ssize_t put(struct relay_leg *leg, const uint8_t *data, size_t len)
{
    if (len == 0 || !leg->writable)
        return 0;
    ssize_t n = send(leg->io.fd, data, len, MSG_NOSIGNAL);
    if (n < (ssize_t)len)
        leg->writable = false;
    if (n >= 0)
        return n;
    return errno == EAGAIN ? 0 : lost(leg);
}

static enum forward_sent send_held(struct forward_flow *flow, struct relay_leg *leg)
{
    ssize_t n = put(leg, flow->held + flow->held_at, flow->held_len);
    if (n < 0)
        return FORWARD_LOST;
    flow->held_at += (uint32_t)n;
    flow->held_len -= (uint32_t)n;
    if (flow->held_len > 0)
        return FORWARD_FULL;
    free(flow->held);
    flow->held = NULL;
    flow->held_at = 0;
    return FORWARD_SENT;
}

static enum forward_sent hold(struct forward_flow *flow, const uint8_t *data, size_t len)
{
    uint8_t *held = malloc(flow->held_len + len);
    if (!held)
        return FORWARD_NO_MEMORY;
    if (flow->held)
        memcpy(held, flow->held + flow->held_at, flow->held_len);
    memcpy(held + flow->held_len, data, len);
    free(flow->held);
    flow->held = held;
    flow->held_at = 0;
    flow->held_len += (uint32_t)len;
    return FORWARD_FULL;
}

enum forward_sent forward_send(struct session *s, enum relay_side to, const uint8_t *data,
                               size_t len)
{
    struct forward_flow *flow = forward_flow(s, !to);
    struct relay_leg *leg = session_leg(s, to);
    enum forward_sent sent = flow->held ? send_held(flow, leg) : FORWARD_SENT;
    ssize_t n = 0;
    if (sent == FORWARD_SENT && len > 0)
        n = put(leg, data, len);
    if (n < 0 || sent == FORWARD_LOST)
        return FORWARD_LOST;
    return (size_t)n < len ? hold(flow, data + n, len - (size_t)n) : sent;
}

void forward_drop(struct forward_flow *flow)
{
    free(flow->kept);
    free(flow->held);
    *flow = (struct forward_flow){.kept = NULL};
}
