/* The way of a request: heads, then bodies; the states are at the head of forward.c. */
#include "daemon/forward.h"

#include <stdlib.h>
#include <string.h>

/* --- heads --- */

static int keep_request(struct forward *f, const struct vd_http_head *head, size_t len)
{
    struct vd_out out;
    forward_forget_request(f);
    f->request = malloc(len + VD_HTTP_GROWS);
    if (!f->request)
        return -1;
    out = vd_out_over(f->request, len + VD_HTTP_GROWS);
    vd_http_write_request(&out, head, f->last);
    f->request_len = (uint32_t)out.len;
    return 0;
}

static void note_request(struct session *s, const struct vd_http_head *head)
{
    struct forward *f = s->forward;
    size_t len = head->method.len < FORWARD_METHOD ? head->method.len : FORWARD_METHOD;
    memcpy(f->method, head->method.at, len);
    f->method_len = (uint8_t)len;
    f->old_client = head->minor == 0;
    f->last = head->last || s->worker->draining;
    f->to_head = vd_http_is_head(head);
    f->repeatable = vd_http_is_repeatable(head);
    f->status = 0;
    f->began_ms = session_loop(s)->now_ms;
    f->up.framing = head->framing;
    vd_http_body_start(&f->up.body, (enum vd_http_framing)head->framing, head->length);
}

/* The codec of the handshake asks for login and request, as if it had read the head itself. */
static enum forward_turn ask(struct session *s, const struct vd_http_head *head)
{
    s->logged_in = false;
    s->forward->up_state = UP_ASKED;
    s->state = SESSION_ACCEPT;
    s->setup->at = s->setup->len = 0;
    loop_timer_in(session_loop(s), &s->timer, s->worker->conf->handshake_ms);
    if (vd_accept_forwarded(&s->setup->accept, head) < 0)
        handshake_refuse(s);
    else
        handshake_on(s);
    return s->state == SESSION_FORWARD ? FORWARD_ON : FORWARD_GONE;
}

static enum forward_turn take_request(struct session *s, const uint8_t *data, size_t len,
                                      size_t end_at)
{
    struct forward *f = s->forward;
    struct vd_http_head head;
    s->command = 0;
    f->to_head = false;
    if (!s->setup && session_renew_setup(s, f->offers) != 0)
        return forward_end(s, "failed");
    enum vd_http_fault fault = vd_http_read_request(&head, data, end_at);
    if (fault != VD_HTTP_GOOD) {
        f->to_head = vd_http_is_head(&head);
        return forward_refuse(s, fault);
    }
    note_request(s, &head);
    if (trace_is_on())
        trace_request(s->trace, data, end_at);
    if (keep_request(f, &head, end_at) != 0 ||
        forward_keep(&f->up, data + end_at, len - end_at) != 0)
        return forward_end(s, "failed");
    f->up.searched = 0;
    for (int side = 0; side < 2; side++)
        f->bytes_before[side] = s->relay.flow[side].bytes;
    f->bytes_before[RELAY_CLIENT] -= len;
    return ask(s, &head);
}

/* A tunnel on a connection that served requests: the handshake begins anew. */
static enum forward_turn become_tunnel(struct session *s, const uint8_t *data, size_t len)
{
    s->command = 0;
    s->forward->to_head = false;
    if (!s->setup && session_renew_setup(s, s->forward->offers) != 0)
        return forward_end(s, "failed");
    if (len > SESSION_INPUT)
        return forward_refuse(s, VD_HTTP_BAD_FORM);
    memcpy(s->setup->in, data, len);
    s->setup->at = 0;
    s->setup->len = (uint16_t)len;
    forward_close_origin(s);
    forward_stop(s);
    s->logged_in = false;
    s->state = SESSION_ACCEPT;
    loop_timer_in(session_loop(s), &s->timer, s->worker->conf->handshake_ms);
    handshake_on(s);
    return FORWARD_GONE;
}

enum prefix { OTHER, CONNECTS, TOO_SHORT };

static enum prefix prefix_of(const uint8_t *data, size_t len)
{
    static const char method[] = "CONNECT ";
    size_t n = len < sizeof method - 1 ? len : sizeof method - 1;
    if (memcmp(data, method, n) != 0)
        return OTHER;
    return n == sizeof method - 1 ? CONNECTS : TOO_SHORT;
}

/* Neither a whole head nor CONNECT: more is needed. */
static enum forward_turn await_head(struct session *s, const uint8_t *data, size_t len)
{
    struct forward *f = s->forward;
    enum vd_http_fault fault =
        len >= VD_HEAD_MAX ? VD_HTTP_LONG_HEAD : vd_http_judge_line(data, len);
    if (fault != VD_HTTP_GOOD) {
        s->command = 0;
        f->to_head = false;
        if (!s->setup && session_renew_setup(s, f->offers) != 0)
            return forward_end(s, "failed");
        return forward_refuse(s, fault);
    }
    if (f->up.eof)
        return forward_end(s, len > 0 ? "client-gone" : "closed");
    if (f->up.kept_len == 0 && len > 0)
        loop_timer_in(session_loop(s), &s->timer, s->worker->conf->handshake_ms);
    return forward_keep(&f->up, data, len) == 0 ? forward_more(s, RELAY_CLIENT)
                                                : forward_end(s, "failed");
}

static enum forward_turn take_head(struct session *s)
{
    struct forward *f = s->forward;
    struct forward_view v = forward_fill(s, RELAY_CLIENT);
    size_t blank = vd_http_blank(v.data, v.len), len = v.len - blank, end_at = 0;
    const uint8_t *data = v.data + blank;
    enum prefix prefix = prefix_of(data, len);
    if (blank > 0)
        f->up.searched = 0;
    if (prefix == CONNECTS)
        return become_tunnel(s, data, len);
    if (prefix == OTHER)
        end_at = vd_http_head_end(data, len, &f->up.searched);
    if (end_at == 0 || end_at > VD_HEAD_MAX)
        return await_head(s, data, end_at ? end_at : len);
    return take_request(s, data, len, end_at);
}

/* --- bodies --- */

/* The origin takes no more: what it answers is still passed on, as the last response. */
static enum forward_turn give_up_request(struct session *s)
{
    struct forward *f = s->forward;
    forward_drop_unsent(&f->up);
    f->up_state = UP_DONE;
    f->last = f->origin_last = true;
    return FORWARD_ON;
}

static enum forward_turn carry_request(struct session *s)
{
    struct forward *f = s->forward;
    struct forward_view v = forward_fill(s, RELAY_CLIENT);
    struct vd_out out = forward_out(s);
    size_t taken;
    int whole = forward_rewrite(&f->up, &out, v.data, v.len, &taken);
    if (whole < 0 || (!whole && f->up.eof))
        return whole < 0 ? forward_refuse(s, VD_HTTP_BAD_FORM) : forward_end(s, "client-gone");
    if (forward_keep(&f->up, v.data + taken, v.len - taken) != 0)
        return forward_end(s, "failed");
    if (whole)
        f->up_state = UP_DONE;
    if (trace_is_on())
        trace_payload(s->trace, true, out.to, out.len);
    enum forward_sent sent = forward_send(s, RELAY_TARGET, out.to, out.len);
    if (sent == FORWARD_NO_MEMORY)
        return forward_end(s, "failed");
    if (sent == FORWARD_LOST)
        return give_up_request(s);
    return whole ? FORWARD_ON : forward_more(s, RELAY_CLIENT);
}

enum forward_turn forward_up_on(struct session *s)
{
    struct forward *f = s->forward;
    if (f->up_state == UP_HEAD)
        return take_head(s);
    if (f->up.held) {
        enum forward_sent sent = forward_send(s, RELAY_TARGET, NULL, 0);
        if (sent == FORWARD_LOST)
            return give_up_request(s);
        if (sent == FORWARD_FULL)
            return FORWARD_STOP;
    }
    if (f->up_state == UP_BODY)
        return carry_request(s);
    return FORWARD_STOP;
}
