/*
 * The driver of proto/chain: sends what is pending, feeds what it may read. When a flight went
 * wrong the race is run once more, on new sockets, and the chain goes message by message.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "daemon/dial_state.h"
#include "proto/err.h"

/* --- the end --- */

/* What a hop says about itself, or about us, is not the client's fault: not its login, not its
 * request. What it says about the target is passed on, and so is that it has no such command where
 * that is not the one that every hop has. */
static int for_client(const struct dial *d, int err)
{
    switch ((enum vd_err)(err < 0 ? -err : err)) {
    case VD_ERR_COMMAND:
        return d->command ? VD_ERR_COMMAND : VD_ERR_FAILED;
    case VD_ERR_LOGIN:
    case VD_ERR_METHOD:
    case VD_ERR_IDENT:
    case VD_ERR_IDENT_USER:
    case VD_ERR_PROTOCOL:
    case VD_ERR_TOO_LONG:
    case VD_ERR_NAME_FORM:
    case VD_ERR_UNSUPPORTED:
    case VD_ERR_LIMIT:
    case VD_ERR_SPACE:
        return VD_ERR_FAILED;
    case VD_OK:
    case VD_ERR_REFUSED:
    case VD_ERR_NET:
    case VD_ERR_HOST:
    case VD_ERR_NAME:
    case VD_ERR_TTL:
    case VD_ERR_TARGET_RESET:
    case VD_ERR_DENIED:
    case VD_ERR_ADDRESS_TYPE:
    case VD_ERR_FAILED:
    case VD_ERR_BUSY:
    case VD_ERR_UNREACHABLE:
    case VD_ERR_CLOSED:
    case VD_ERR_RESET:
    case VD_ERR_SILENT:
    case VD_ERR_TLS:
    case VD_ERR_CERTIFICATE:
    case VD_ERR_RULE:
    case VD_ERR_COUNT:
        break;
    }
    return err < 0 ? -err : err;
}

/* Why the first hop was not reached. */
static void explain_race(const struct dial *d, struct vd_out *out)
{
    const char *words = d->number ? strerrordesc_np(d->number) : NULL;
    if (!words && d->err == VD_ERR_NAME)
        words = "its name is unknown";
    vd_out_text(out, words ? ": " : "");
    vd_out_text(out, words ? words : "");
}

/* Keeps what the chain has to say about `err`; the reason for the client. */
static int explain(struct dial *d, int err)
{
    struct vd_out out = vd_out_over(d->said, sizeof d->said);
    vd_chain_explain(&out, &d->chain, err);
    if (err == -VD_ERR_UNREACHABLE && d->phase == DIAL_RACE)
        explain_race(d, &out);
    dial_tls_explain(d, &out, err);
    d->said_len = out.len;
    d->said_err = (uint8_t)(err < 0 ? -err : err);
    return for_client(d, err);
}

void dial_chain_failed(struct dial *d, int err)
{
    dial_finish(d, explain(d, err));
}

int dial_chain_late(struct dial *d)
{
    int err = d->phase == DIAL_CHAIN ? vd_chain_lost(&d->chain, VD_LOSS_SILENT) : VD_OK;
    return explain(d, err < 0 ? err : -VD_ERR_SILENT);
}

/* --- the beginning --- */

static bool is_chain_started(struct dial *d)
{
    const struct vd_conf_chain *up = d->by->upstream;
    struct vd_path path = {.hops = up->hops, .count = d->hops ? d->hops : (uint8_t)up->hop_count};
    for (uint8_t i = 0; i < path.count; i++)
        path.order[i] = i;
    path.tls = true;
    learned_path(d->by->learned, &path);
    int err = vd_chain_start(&d->chain, &path, d->command ? d->command : VD_CONNECT, &d->final);
    if (err < 0)
        dial_chain_failed(d, err);
    return err >= 0;
}

static void race_to_first_hop(struct dial *d)
{
    d->raced_ms = dial_loop(d)->now_ms;
    dial_race_to_hop(d, &d->by->upstream->hops[0]);
}

void dial_chain_start(struct dial *d)
{
    if (is_chain_started(d))
        race_to_first_hop(d);
}

/* --- under way --- */

/* Sends what is pending. 1: all of it; 0: the socket is full; or a reason. */
static int chain_send(struct dial *d)
{
    size_t n;
    while ((n = vd_chain_pending(&d->chain, d->by->scratch, d->by->scratch_len)) > 0) {
        ssize_t sent = send(d->io.fd, d->by->scratch, n, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN ? 0 : dial_tls_lost(d, VD_LOSS_RESET);
        vd_chain_sent(&d->chain, (size_t)sent);
    }
    return 1;
}

/* Receives and feeds once. VD_MORE, VD_DONE, a reason; *again false when there is no more to read.
 */
static int chain_receive(struct dial *d, bool *again)
{
    bool peek = vd_chain_peeks(&d->chain);
    size_t want = peek ? VD_SHAKE_READ_MAX : vd_chain_want(&d->chain), used = 0;
    ssize_t n = recv(d->io.fd, d->by->scratch, want, peek ? MSG_PEEK : 0);
    if (n < 0 && errno == EAGAIN)
        *again = false;
    if (n < 0)
        return *again ? dial_tls_lost(d, VD_LOSS_RESET) : VD_MORE;
    if (n == 0)
        return dial_tls_lost(d, VD_LOSS_EOF);
    int result = vd_chain_feed(&d->chain, d->by->scratch, (size_t)n, &used);
    if (peek && used > 0 && recv(d->io.fd, d->by->scratch, used, 0) != (ssize_t)used)
        return -VD_ERR_RESET;
    return result;
}

static void chain_done(struct dial *d)
{
    loop_timer_stop(dial_loop(d), &d->timer);
    if (d->chain.path.count == d->by->upstream->hop_count)
        learned_up(d->by->learned, &d->chain);
    vd_endpoint_set_ip(&d->bound, &d->chain.shake.bound_ip, d->chain.shake.bound_port);
    d->seen |= EPOLLIN | EPOLLOUT; /* whether more is there is not known */
    dial_finish(d, VD_OK);
}

static void chain_limit(struct dial *d, uint8_t stage_of)
{
    uint32_t limit = vd_chain_timeout_ms(&d->chain);
    bool waits = d->chain.shake.stage == VD_STAGE_SECOND; /* for the peer, not for the hop */
    if (waits || (stage_of == d->chain.at && limit == d->limit_ms))
        return;
    d->limit_ms = limit;
    loop_timer_stop(dial_loop(d), &d->timer);
    if (limit > 0)
        loop_timer_in(dial_loop(d), &d->timer, limit);
}

static void chain_again(struct dial *d)
{
    learned_unfit(d->by->learned, &d->chain);
    loop_timer_stop(dial_loop(d), &d->timer);
    dial_close(d);
    dial_race_forget(d);
    vd_chain_again(&d->chain);
    race_to_first_hop(d);
}

void dial_chain_on(struct dial *d)
{
    bool again = true;
    uint8_t stage_of = d->chain.at;
    int result = VD_MORE;
    while (again && result == VD_MORE) {
        if (vd_chain_awaits_tls(&d->chain))
            result = dial_tls_start(d);
        if (result == VD_MORE)
            result = chain_send(d);
        again = result == 1;
        if (again)
            result = chain_receive(d, &again);
    }
    if (result < 0)
        dial_chain_failed(d, result);
    else if (result == VD_AGAIN)
        chain_again(d);
    else if (result == VD_DONE && again)
        chain_done(d);
    else
        chain_limit(d, stage_of);
}

void dial_chain_next(struct dial *d)
{
    vd_chain_next(&d->chain);
    dial_chain_on(d);
}

/* What counts as silence depends on how far the hop is away. */
static void set_patience(struct dial *d)
{
    int64_t ms = (dial_loop(d)->now_ms - d->raced_ms) * 8;
    if (ms > d->chain.patience_ms && ms < UINT32_MAX)
        d->chain.patience_ms = (uint32_t)ms;
}

void dial_chain_connected(struct dial *d)
{
    d->phase = DIAL_CHAIN;
    set_patience(d);
    dial_chain_on(d);
}

void dial_chain_silent(struct dial *d)
{
    int result = vd_chain_lost(&d->chain, VD_LOSS_SILENT);
    if (result == VD_AGAIN)
        chain_again(d);
    else
        dial_chain_failed(d, result);
}
