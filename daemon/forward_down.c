/* The way of a response; the states are at the head of forward.c. */
#include "daemon/forward.h"

#include "proto/err.h"
#include "proto/shake.h"

static enum forward_turn pass_on(struct session *s, const struct vd_out *out)
{
    if (trace_is_on())
        trace_payload(s->trace, false, out->to, out->len);
    switch (forward_send(s, RELAY_CLIENT, out->to, out->len)) {
    case FORWARD_LOST:
        return forward_lost_client(s);
    case FORWARD_NO_MEMORY:
        return forward_end(s, "failed");
    case FORWARD_SENT:
    case FORWARD_FULL:
        break;
    }
    return FORWARD_ON;
}

static void choose_framing(struct forward *f, const struct vd_http_head *head)
{
    bool open = head->framing == VD_HTTP_CHUNKED || head->framing == VD_HTTP_UNTIL_CLOSE;
    f->down.framing = head->framing;
    if (open)
        f->down.framing = f->old_client ? VD_HTTP_UNTIL_CLOSE : VD_HTTP_CHUNKED;
    f->last |= f->down.framing == VD_HTTP_UNTIL_CLOSE || f->up_state != UP_DONE;
    f->origin_last |= head->last || head->framing == VD_HTTP_UNTIL_CLOSE;
    vd_http_body_start(&f->down.body, (enum vd_http_framing)head->framing, head->length);
}

/* The names are kept for the log: from here on there is no setup. */
static enum forward_turn begin_response(struct session *s, const struct vd_http_head *head)
{
    struct forward *f = s->forward;
    struct vd_out out = forward_out(s);
    if (session_keep_names(s) != 0)
        return forward_end(s, "failed");
    session_free_setup(s);
    forward_forget_request(f);
    f->status = head->status;
    f->down_state = DOWN_BODY;
    choose_framing(f, head);
    vd_http_write_response(&out, head, (enum vd_http_framing)f->down.framing, f->last);
    return pass_on(s, &out);
}

/* HTTP/1.0 knows no such responses. */
static enum forward_turn pass_interim(struct session *s, const struct vd_http_head *head)
{
    struct vd_out out = forward_out(s);
    if (s->forward->old_client)
        return FORWARD_ON;
    vd_http_write_response(&out, head, VD_HTTP_NO_BODY, false);
    return pass_on(s, &out);
}

/* Before the head of a response was whole. */
static enum forward_turn origin_ended(struct session *s, bool said_something)
{
    const struct forward *f = s->forward;
    if (!said_something && f->reused && f->repeatable)
        return forward_repeat(s);
    return forward_refuse(s, VD_HTTP_CUT_RESPONSE);
}

static enum forward_turn take_response(struct session *s)
{
    struct forward *f = s->forward;
    struct forward_view v = forward_fill(s, RELAY_TARGET);
    struct vd_http_head head;
    size_t end_at = vd_http_head_end(v.data, v.len, &f->down.searched);
    if (end_at > VD_HEAD_MAX || (end_at == 0 && v.len >= VD_HEAD_MAX))
        return forward_refuse(s, VD_HTTP_LONG_RESPONSE);
    if (end_at == 0 && f->down.eof)
        return origin_ended(s, v.len > 0);
    if (end_at == 0)
        return forward_keep(&f->down, v.data, v.len) == 0 ? forward_more(s, RELAY_TARGET)
                                                          : forward_end(s, "failed");
    enum vd_http_fault fault = vd_http_read_response(&head, v.data, end_at, f->to_head);
    if (fault != VD_HTTP_GOOD)
        return forward_refuse(s, fault);
    f->reused = false;
    f->down.searched = 0;
    enum forward_turn turn = head.status < 200 ? pass_interim(s, &head) : begin_response(s, &head);
    if (turn != FORWARD_GONE && forward_keep(&f->down, v.data + end_at, v.len - end_at) != 0)
        return forward_end(s, "failed");
    return turn;
}

/* A body that lasts as long as its connection is whole when that ends in order. */
static bool is_whole_by_eof(struct session *s)
{
    const struct forward_flow *down = &s->forward->down;
    return down->eof && down->body.framing == VD_HTTP_UNTIL_CLOSE &&
           !session_leg(s, RELAY_TARGET)->broken;
}

static enum forward_turn carry_response(struct session *s)
{
    struct forward *f = s->forward;
    struct forward_view v = forward_fill(s, RELAY_TARGET);
    struct vd_out out = forward_out(s);
    size_t taken;
    int whole = forward_rewrite(&f->down, &out, v.data, v.len, &taken);
    if (whole == 0 && is_whole_by_eof(s)) {
        vd_http_write_end(&out, (enum vd_http_framing)f->down.framing, (struct vd_text){0});
        whole = 1;
    }
    if (whole < 0)
        return forward_cut(s, RELAY_TARGET, "reset-by-target");
    if (forward_keep(&f->down, v.data + taken, v.len - taken) != 0)
        return forward_end(s, "failed");
    if (whole)
        f->down_state = DOWN_DONE;
    enum forward_turn turn = pass_on(s, &out);
    if (turn == FORWARD_GONE || whole)
        return turn;
    return f->down.eof ? forward_cut(s, RELAY_TARGET, "reset-by-target")
                       : forward_more(s, RELAY_TARGET);
}

/* The response is with the client. */
static enum forward_turn finish(struct session *s)
{
    struct forward *f = s->forward;
    bool last = f->last || f->up_state != UP_DONE || s->worker->draining;
    session_log_request(s, "closed");
    f->down_state = DOWN_IDLE;
    if (last || f->origin_last || f->up.held || f->down.eof || f->down.kept_len > 0)
        forward_close_origin(s);
    if (last) {
        handshake_linger(s);
        return FORWARD_GONE;
    }
    f->up_state = UP_HEAD;
    loop_timer_in(session_loop(s), &s->timer,
                  f->up.kept_len > 0 ? s->worker->conf->handshake_ms : FORWARD_KEEP_ALIVE_MS);
    return FORWARD_ON;
}

enum forward_turn forward_down_on(struct session *s)
{
    struct forward *f = s->forward;
    if (f->down.held) {
        enum forward_sent sent = forward_send(s, RELAY_CLIENT, NULL, 0);
        if (sent != FORWARD_SENT)
            return sent == FORWARD_LOST ? forward_lost_client(s) : FORWARD_STOP;
    }
    switch ((enum forward_down)f->down_state) {
    case DOWN_IDLE:
        if (session_leg(s, RELAY_TARGET)->io.fd >= 0 && !forward_is_origin_quiet(s))
            forward_close_origin(s);
        return FORWARD_STOP;
    case DOWN_HEAD:
        return take_response(s);
    case DOWN_BODY:
        return carry_response(s);
    case DOWN_DONE:
        return finish(s);
    }
    return FORWARD_STOP;
}
