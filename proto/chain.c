/*
 * A chain is the shake with the first hop, then on the same stream the shake with the next one, up
 * to the last, whose target is the chain's own. One shake is kept: that of the hop whose answer is
 * awaited.
 */
#include "proto/chain.h"

#include <assert.h>
#include <string.h>

#include "proto/err.h"

const struct vd_hop *vd_path_hop(const struct vd_path *path, unsigned position)
{
    assert(position < path->count);
    return path->hops + path->order[position];
}

static bool is_last(const struct vd_chain *c, unsigned position)
{
    return position + 1u == c->path.count;
}

/* What the hop at a position is asked for: the next hop, by name where it can, or the target. */
static int target_of(const struct vd_chain *c, unsigned position, struct vd_endpoint *target)
{
    const struct vd_hop *hop = vd_path_hop(&c->path, position), *next;

    if (is_last(c, position)) {
        *target = c->target;
        return VD_OK;
    }
    next = vd_path_hop(&c->path, position + 1u);
    *target = next->at;
    if (!vd_endpoint_is_name(target) || vd_hop_takes_names(hop))
        return VD_OK;
    if (next->addr_count == 0)
        return -VD_ERR_ADDRESS_TYPE;
    vd_endpoint_set_ip(target, &next->addrs[0], next->at.port);
    return VD_OK;
}

static int enter_hop(struct vd_chain *c, unsigned position)
{
    const struct vd_hop *hop = vd_path_hop(&c->path, position);
    enum vd_command command = is_last(c, position) ? (enum vd_command)c->command : VD_CONNECT;
    struct vd_endpoint target;
    int r;

    c->at = (uint8_t)position;
    if (hop->scheme == VD_HTTPS || (hop->unix_len > 0 && position > 0))
        return -VD_ERR_UNSUPPORTED;
    r = target_of(c, position, &target);
    return r < 0 ? r : vd_shake_start(&c->shake, hop, command, &target);
}

int vd_chain_start(struct vd_chain *c, const struct vd_path *path, enum vd_command command,
                   const struct vd_endpoint *target)
{
    memset(c, 0, sizeof *c);
    c->path = *path;
    c->target = *target;
    c->command = (uint8_t)command;
    for (unsigned position = path->count; position-- > 0;) {
        int r = enter_hop(c, position);

        if (r < 0)
            return r;
    }
    return VD_OK;
}

size_t vd_chain_pending(const struct vd_chain *c, uint8_t *buf, size_t cap)
{
    return vd_shake_pending(&c->shake, buf, cap);
}

bool vd_chain_speaks(const struct vd_chain *c)
{
    return vd_shake_speaks(&c->shake);
}

void vd_chain_sent(struct vd_chain *c, size_t n)
{
    vd_shake_sent(&c->shake, n);
}

size_t vd_chain_want(const struct vd_chain *c)
{
    return vd_shake_want(&c->shake);
}

bool vd_chain_peeks(const struct vd_chain *c)
{
    return vd_shake_peeks(&c->shake);
}

/* The far end's reasons stand first in enum vd_err; servers that give none often mean one of them.
 */
static bool is_about_the_target(int err)
{
    return (-err >= VD_ERR_REFUSED && -err <= VD_ERR_TARGET_RESET) || -err == VD_ERR_FAILED;
}

static int blame(struct vd_chain *c, int err)
{
    if (is_last(c, c->at) || !is_about_the_target(err))
        return err;
    c->cause = (uint8_t)-err;
    c->at++;
    return -VD_ERR_UNREACHABLE;
}

int vd_chain_feed(struct vd_chain *c, const uint8_t *data, size_t len, size_t *used)
{
    int r = vd_shake_feed(&c->shake, data, len, used);

    if (r < 0)
        return blame(c, r);
    if (r != VD_DONE || is_last(c, c->at))
        return r;
    r = enter_hop(c, c->at + 1u);
    assert(r == VD_OK); /* vd_chain_start tried every hop */
    return r;
}

int vd_chain_lost(struct vd_chain *c, enum vd_loss loss)
{
    return blame(c, vd_shake_lost(&c->shake, loss));
}

void vd_chain_next(struct vd_chain *c)
{
    vd_shake_next(&c->shake);
}

const struct vd_hop *vd_chain_at(const struct vd_chain *c)
{
    return vd_path_hop(&c->path, c->at);
}

uint32_t vd_chain_timeout_ms(const struct vd_chain *c)
{
    return vd_chain_at(c)->timeout_ms;
}

static const char *code_label(const struct vd_shake *s)
{
    if (s->hop->scheme >= VD_HTTP)
        return " (HTTP ";
    if (s->hop->scheme <= VD_SOCKS4A)
        return " (SOCKS4 reply ";
    switch ((enum vd_stage)s->stage) {
    case VD_STAGE_METHOD:
        return " (SOCKS5 method ";
    case VD_STAGE_LOGIN:
        return " (SOCKS5 login status ";
    case VD_STAGE_REPLY:
    case VD_STAGE_SECOND:
    case VD_STAGE_DONE:
        break;
    }
    return " (SOCKS5 reply ";
}

/* The protocol and the code it gave, or what was said instead. */
static void print_answer(struct vd_out *out, const struct vd_shake *s, int err)
{
    if (err == -VD_ERR_PROTOCOL && s->excerpt_len > 0) {
        vd_out_text(out, " (it said \"");
        vd_out_shown(out, s->excerpt, s->excerpt_len);
        vd_out_text(out, "\")");
    } else if (s->code > 0 && err != -VD_ERR_UNREACHABLE && err != -VD_ERR_SILENT) {
        vd_out_text(out, code_label(s));
        vd_out_uint(out, s->code);
        vd_out_text(out, ")");
    }
}

static const char *words_for(const struct vd_shake *s, int err)
{
    bool unasked = err == -VD_ERR_METHOD || err == -VD_ERR_LOGIN;

    return unasked && s->hop && !s->hop->has_login ? "wants a login" : vd_err_words(err);
}

void vd_chain_explain(struct vd_out *out, const struct vd_chain *c, int err)
{
    if (err > 0)
        err = -err;
    vd_out_text(out, "hop ");
    vd_out_uint(out, c->at + 1u);
    vd_out_text(out, " of ");
    vd_out_uint(out, c->path.count);
    vd_out_text(out, " (");
    vd_url_print(out, vd_chain_at(c));
    vd_out_text(out, ") ");
    vd_out_text(out, words_for(&c->shake, err));
    if (c->cause) {
        vd_out_text(out, ": hop ");
        vd_out_uint(out, c->at);
        vd_out_text(out, " ");
        vd_out_text(out, vd_err_words(c->cause));
        print_answer(out, &c->shake, -c->cause);
    } else if (c->shake.hop == vd_chain_at(c)) {
        print_answer(out, &c->shake, err);
    }
}
