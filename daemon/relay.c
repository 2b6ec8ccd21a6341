/*
 * A flow is a direction; it is in one of these ways:
 *
 *     buffer ──more than STREAK_MIN without a pause of PAUSE_MS──> splice
 *        ^                                                            │
 *        └──────────── pipe empty and IDLE_MS without data ───────────┘
 *
 * and ends by eof (recv or splice gave 0, or FIN was told and the queue is empty), then shut, when
 * what was held is sent and the other side was told. Nothing is read from a side while the other
 * has not accepted what came before: the kernel's window then slows the sender down.
 *
 * Sockets are edge-triggered: `readable` and `writable` stay true until the kernel says EAGAIN, or
 * until a read came back short, which on a stream says the same and costs no call.
 */
#include "daemon/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/limit.h"
#include "daemon/net.h"
#include "daemon/trace.h"

enum {
    TURNS = 8,               /* reads of one flow before others have their turn */
    STREAK_MIN = 256 * 1024, /* bytes */
    PAUSE_MS = 20,
    IDLE_MS = 200,
    NO_PIPES_MS = 1000 /* how long no new pipe is tried for after one could not be had */
};

/* What a step came to; what stands behind STEP_ON ends the session. */
enum step { STEP_STOP, STEP_ON, STEP_LOST_FROM, STEP_LOST_TO, STEP_NO_MEMORY };

/* --- pipes --- */

static void close_pipe(struct relay_pipe *p)
{
    close(p->in);
    close(p->out);
    free(p);
}

static struct relay_pipe *open_pipe(void)
{
    int fds[2];
    struct relay_pipe *p = malloc(sizeof *p);
    if (!p || pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0) {
        free(p);
        return NULL;
    }
    int size = fcntl(fds[1], F_SETPIPE_SZ, RELAY_PIPE);
    *p = (struct relay_pipe){.in = fds[1], .out = fds[0], .size = (size_t)size};
    if (size >= RELAY_PIPE)
        return p;
    close_pipe(p); /* a small pipe is slower than the buffer */
    return NULL;
}

static struct relay_pipe *take_pipe(struct relay_pool *pool)
{
    struct relay_pipe *p = pool->pipes;
    if (p) {
        pool->pipes = p->next;
        pool->kept--;
        return p;
    }
    if (pool->loop->now_ms < pool->no_pipes_until_ms)
        return NULL;
    p = open_pipe();
    if (!p)
        pool->no_pipes_until_ms = pool->loop->now_ms + NO_PIPES_MS;
    return p;
}

static void give_pipe(struct relay_pool *pool, struct relay_flow *f)
{
    struct relay_pipe *p = f->pipe;
    *f->link = f->next;
    if (f->next)
        f->next->link = f->link;
    f->pipe = NULL;
    if (f->piped > 0 || pool->kept >= RELAY_PIPES_KEPT) {
        close_pipe(p);
        return;
    }
    p->next = pool->pipes;
    pool->pipes = p;
    pool->kept++;
}

static void start_streaming(struct relay_pool *pool, struct relay_flow *f)
{
    f->pipe = take_pipe(pool);
    f->streak = 0;
    if (!f->pipe)
        return;
    f->next = pool->streaming;
    f->link = &pool->streaming;
    if (f->next)
        f->next->link = &f->next;
    pool->streaming = f;
    if (pool->sweep.at_ms == 0)
        loop_timer_in(pool->loop, &pool->sweep, IDLE_MS);
}

static void close_kept(struct relay_pool *pool)
{
    while (pool->pipes) {
        struct relay_pipe *p = pool->pipes;
        pool->pipes = p->next;
        close_pipe(p);
    }
    pool->kept = 0;
}

/* Flows that pause give their pipe back; when none streams any more, all pipes are closed. */
static void sweep(struct loop_timer *timer)
{
    struct relay_pool *pool = loop_owner(timer, struct relay_pool, sweep);
    struct relay_flow *next;
    for (struct relay_flow *f = pool->streaming; f; f = next) {
        next = f->next;
        if (f->piped == 0 && pool->loop->now_ms - f->last_ms >= IDLE_MS)
            give_pipe(pool, f);
    }
    if (pool->streaming)
        loop_timer_in(pool->loop, &pool->sweep, IDLE_MS);
    else
        close_kept(pool);
}

int relay_pool_init(struct relay_pool *pool, struct loop *loop)
{
    *pool = (struct relay_pool){.loop = loop, .sweep.fire = sweep};
    pool->buffer = malloc(RELAY_BUFFER);
    return pool->buffer ? 0 : -1;
}

void relay_pool_free(struct relay_pool *pool)
{
    loop_timer_stop(pool->loop, &pool->sweep);
    close_kept(pool);
    free(pool->buffer);
}

/* --- sending --- */

static enum step send_failed(struct relay_leg *to)
{
    if (errno != EAGAIN)
        return STEP_LOST_TO;
    to->writable = false;
    return STEP_STOP;
}

static enum step send_held(struct relay_flow *f, struct relay_leg *to)
{
    while (f->held_len > 0) {
        ssize_t n = send(to->io.fd, f->held + f->held_at, f->held_len, MSG_NOSIGNAL);
        if (n < 0)
            return send_failed(to);
        f->held_at += (uint32_t)n;
        f->held_len -= (uint32_t)n;
    }
    free(f->held);
    f->held = NULL;
    return STEP_ON;
}

static enum step send_piped(struct relay_flow *f, struct relay_leg *to)
{
    while (f->piped > 0) {
        ssize_t n = splice(f->pipe->out, NULL, to->io.fd, NULL, f->piped,
                           SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (n < 0)
            return send_failed(to);
        f->piped -= (uint32_t)n;
    }
    return STEP_ON;
}

static int hold(struct relay_flow *f, const uint8_t *data, size_t len)
{
    f->held = malloc(len);
    if (!f->held)
        return -1;
    memcpy(f->held, data, len);
    f->held_at = 0;
    f->held_len = (uint32_t)len;
    return 0;
}

static enum step send_fresh(struct relay_flow *f, struct relay_leg *to, const uint8_t *data,
                            size_t len)
{
    ssize_t n = send(to->io.fd, data, len, MSG_NOSIGNAL);
    if (n == (ssize_t)len)
        return STEP_ON;
    if (n < 0 && errno != EAGAIN)
        return STEP_LOST_TO;
    to->writable = false;
    size_t done = n < 0 ? 0 : (size_t)n;
    return hold(f, data + done, len - done) == 0 ? STEP_STOP : STEP_NO_MEMORY;
}

/* --- receiving --- */

static enum step receive_failed(struct relay_leg *from)
{
    if (errno != EAGAIN)
        return STEP_LOST_FROM;
    from->readable = false;
    return STEP_STOP;
}

static void count(struct relay_pool *pool, struct relay_flow *f, size_t n)
{
    int64_t now = pool->loop->now_ms;
    if (now - f->last_ms > PAUSE_MS)
        f->streak = 0;
    f->last_ms = now;
    f->bytes += n;
    f->streak = f->streak > STREAK_MIN ? f->streak : f->streak + (uint32_t)n;
}

/* Nothing comes any more: since the other side has ended, or since TLS broke off. */
static enum step came_to_end(struct relay_flow *f, const struct relay_leg *from)
{
    if (tls_is_cut(from->tls))
        return STEP_LOST_FROM;
    f->eof = true;
    return STEP_ON;
}

/* A read that came back short emptied the queue; with FIN in it, nothing comes any more. */
static void came_short(struct relay_flow *f, struct relay_leg *from)
{
    if (from->urgent || from->tls)
        return;
    if (from->ended)
        f->eof = true;
    else
        from->readable = false;
}

static enum step carry_buffer(struct relay *r, enum relay_side side)
{
    struct relay_flow *f = &r->flow[side];
    struct relay_leg *from = &r->leg[side];
    size_t room = relay_room(r, side, RELAY_BUFFER);
    if (room == 0)
        return STEP_STOP;
    ssize_t n = recv(from->io.fd, r->pool->buffer, room, 0);
    if (n < 0)
        return receive_failed(from);
    if (n == 0)
        return came_to_end(f, from);
    if (n < (ssize_t)room)
        came_short(f, from);
    count(r->pool, f, (size_t)n);
    relay_used(r, side, (size_t)n);
    if (r->trace)
        trace_payload(r->trace, side == RELAY_CLIENT, r->pool->buffer, (size_t)n);
    enum step step = send_fresh(f, &r->leg[!side], r->pool->buffer, (size_t)n);
    if (step == STEP_ON && f->streak > STREAK_MIN && !trace_follows(r->trace, side == RELAY_CLIENT))
        start_streaming(r->pool, f);
    return step;
}

/* While a full pipe waits for the other side, each segment that comes would wake the worker for
 * nothing: two of five times that it wakes, under one stream. Ends and errors are told all the
 * same. The kernel calls any segment urgent until it has looked. */
static void hush(struct relay *r, struct relay_flow *f, struct relay_leg *from)
{
    uint32_t data = EPOLLIN | EPOLLPRI;
    f->hushed = loop_change(r->pool->loop, &from->io, loop_everything & ~data) == 0;
}

/* What came meanwhile is told at once. */
static enum step unhush(struct relay *r, struct relay_flow *f, struct relay_leg *from)
{
    f->hushed = false;
    return loop_change(r->pool->loop, &from->io, loop_everything) == 0 ? STEP_ON : STEP_NO_MEMORY;
}

static enum step empty_pipe(struct relay *r, struct relay_flow *f, struct relay_leg *from,
                            struct relay_leg *to)
{
    enum step step = send_piped(f, to);
    if (step == STEP_STOP && !f->hushed)
        hush(r, f, from);
    else if (step == STEP_ON && f->hushed)
        return unhush(r, f, from);
    return step;
}

static enum step carry_pipe(struct relay *r, enum relay_side side)
{
    struct relay_flow *f = &r->flow[side];
    struct relay_leg *from = &r->leg[side];
    size_t room = relay_room(r, side, f->pipe->size);
    if (room == 0)
        return STEP_STOP;
    ssize_t n =
        splice(from->io.fd, NULL, f->pipe->in, NULL, room, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n < 0)
        return receive_failed(from);
    if (n == 0)
        return came_to_end(f, from);
    count(r->pool, f, (size_t)n);
    relay_used(r, side, (size_t)n);
    f->piped = (uint32_t)n;
    return empty_pipe(r, f, from, &r->leg[!side]);
}

/* --- a flow --- */

/* Closing both descriptors will say it as well as a second shutdown. */
static void pass_eof_on(struct relay_flow *f, const struct relay_flow *back, struct relay_leg *to)
{
    if (!back->shut)
        shutdown(to->io.fd, SHUT_WR);
    f->shut = true;
}

static enum step step_flow(struct relay *r, enum relay_side side)
{
    struct relay_flow *f = &r->flow[side];
    struct relay_leg *from = &r->leg[side], *to = &r->leg[!side];
    enum step step = STEP_ON;
    if (f->held)
        step = send_held(f, to);
    else if (f->piped)
        step = empty_pipe(r, f, from, to);
    if (step != STEP_ON)
        return step;
    if (f->eof) {
        pass_eof_on(f, &r->flow[!side], to);
        return STEP_STOP;
    }
    if (!from->readable)
        return STEP_STOP;
    return f->pipe ? carry_pipe(r, side) : carry_buffer(r, side);
}

static bool may_step(const struct relay *r, enum relay_side side)
{
    const struct relay_flow *f = &r->flow[side];
    if (f->shut || !r->leg[!side].writable)
        return false;
    return f->held || f->piped || f->eof || (r->leg[side].readable && !f->waits);
}

static enum relay_result result_of(enum step step, enum relay_side side)
{
    enum relay_side lost = step == STEP_LOST_FROM ? side : !side;
    if (step == STEP_NO_MEMORY)
        return RELAY_FAILED;
    return lost == RELAY_CLIENT ? RELAY_RESET_BY_CLIENT : RELAY_RESET_BY_TARGET;
}

static enum relay_result go_on_with(struct relay *r, enum relay_side side)
{
    for (int turns = 0; may_step(r, side); turns++) {
        if (turns == TURNS) {
            loop_later(r->pool->loop, &r->task);
            break;
        }
        enum step step = step_flow(r, side);
        if (step > STEP_ON)
            return result_of(step, side);
    }
    return RELAY_GOES_ON;
}

/* --- the face --- */

void relay_close(struct relay *r, enum relay_side side, enum tls_end how)
{
    struct relay_leg *leg = &r->leg[side];
    int fd = loop_take(r->pool->loop, &leg->io);
    if (fd >= 0 && how == TLS_BY_RESET)
        net_abort(fd);
    else if (fd >= 0)
        close(fd);
    tls_end(leg->tls, how);
    leg->tls = NULL;
}

bool relay_is_sending(const struct relay *r, enum relay_side side)
{
    const struct relay_leg *leg = &r->leg[side];
    return leg->io.fd >= 0 && (net_unsent(leg->io.fd) || tls_is_sending(leg->tls));
}

void relay_note(struct relay *r, enum relay_side side, uint32_t events)
{
    struct relay_leg *leg = &r->leg[side];
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        leg->readable = true;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        leg->writable = true;
    /* A hang-up may be a FIN or a reset: only reading to the end tells. */
    if (events & (EPOLLPRI | EPOLLHUP | EPOLLERR))
        leg->urgent = true;
    /* With an error the FIN that epoll tells is a reset. */
    if ((events & EPOLLRDHUP) && !(events & (EPOLLERR | EPOLLHUP)))
        leg->ended = true;
    if ((events & EPOLLERR) || tls_is_cut(leg->tls))
        leg->broken = true;
}

int relay_hold(struct relay *r, enum relay_side side, const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    count(r->pool, &r->flow[side], len);
    if (r->trace)
        trace_payload(r->trace, side == RELAY_CLIENT, data, len);
    return hold(&r->flow[side], data, len);
}

/* A reset after the peer's FIN: nothing is read from that side any more that could tell. */
static bool broke_after_eof(const struct relay *r, enum relay_side side)
{
    return r->leg[side].broken && r->flow[side].eof;
}

enum relay_result relay_go_on(struct relay *r)
{
    enum relay_result result = go_on_with(r, RELAY_CLIENT);
    if (result == RELAY_GOES_ON)
        result = go_on_with(r, RELAY_TARGET);
    if (result != RELAY_GOES_ON)
        return result;
    if (r->flow[RELAY_CLIENT].shut && r->flow[RELAY_TARGET].shut)
        return RELAY_ENDED;
    if (broke_after_eof(r, RELAY_CLIENT))
        return RELAY_RESET_BY_CLIENT;
    return broke_after_eof(r, RELAY_TARGET) ? RELAY_RESET_BY_TARGET : RELAY_GOES_ON;
}

size_t relay_room(struct relay *r, enum relay_side side, size_t most)
{
    if (!r->limit)
        return most;
    size_t room = limit_room(r->limit, side);
    r->flow[side].waits = room == 0;
    return room < most ? room : most;
}

void relay_used(struct relay *r, enum relay_side side, size_t n)
{
    if (r->limit)
        rate_used(&r->limit->rate, side, n);
}

void relay_wake(struct relay *r)
{
    r->flow[RELAY_CLIENT].waits = r->flow[RELAY_TARGET].waits = false;
    loop_later(r->pool->loop, &r->task);
}

int64_t relay_last_ms(const struct relay *r)
{
    int64_t a = r->flow[0].last_ms, b = r->flow[1].last_ms;
    return a > b ? a : b;
}

bool relay_is_half_closed(const struct relay *r)
{
    return r->flow[0].shut || r->flow[1].shut;
}

void relay_stop(struct relay *r)
{
    loop_task_stop(r->pool->loop, &r->task);
    for (int side = 0; side < 2; side++) {
        if (r->flow[side].pipe)
            give_pipe(r->pool, &r->flow[side]);
        free(r->flow[side].held);
        r->flow[side].held = NULL;
    }
}
