/*
 * Datagrams for names. The first one for a name starts a lookup; those that come before the answer
 * are held, one behind the other in one piece of memory of ASSOCIATE_HELD bytes, and sent in order
 * when it is there. What does not fit is dropped.
 *
 * A name keeps its addresses while it is in use: a peer that is one of several behind a name must
 * not change in the middle of a conversation. The name that was not used for the longest time gives
 * way to a new one, never one that is still asked for; an unknown one goes at once, and with it
 * what was held for it.
 *
 * There is no way to learn that a datagram did not arrive, so addresses cannot be raced: the
 * preferred family comes first where there is a route, as in RFC 6724; through a chain, whose
 * routes nobody knows, IPv4.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/associate.h"

enum { NAME_KEPT_MS = 300 * 1000 /* unused */ };

/* What stands before a held datagram; copied in and out, as it is not aligned. */
struct held {
    uint32_t len;
    uint16_t port;
    uint16_t name; /* index */
};

/* --- the table --- */

static bool is_free(const struct associate *a, const struct associate_name *n)
{
    return n->len == 0 || (!n->asked && a->loop->now_ms - n->used_ms > NAME_KEPT_MS);
}

static struct associate_name *find(struct associate *a, const struct vd_endpoint *target)
{
    for (unsigned i = 0; i < ASSOCIATE_NAMES; i++) {
        struct associate_name *n = &a->names[i];
        if (!is_free(a, n) && n->len == target->name_len &&
            vd_same_text(n->text, target->name, n->len))
            return n;
    }
    return NULL;
}

static struct associate_name *make_room(struct associate *a)
{
    struct associate_name *best = NULL;
    for (unsigned i = 0; i < ASSOCIATE_NAMES; i++) {
        struct associate_name *n = &a->names[i];
        if (is_free(a, n))
            return n;
        if (!n->asked && (!best || n->used_ms < best->used_ms))
            best = n;
    }
    return best;
}

/* --- sending --- */

/* To the first address of the name that is allowed. */
static void send_on(struct associate *a, const struct associate_name *n, uint16_t port,
                    const uint8_t *data, size_t len)
{
    struct vd_endpoint target, to;
    vd_endpoint_set_name(&target, n->text, n->len, port);
    for (unsigned i = 0; i < n->count; i++) {
        if (!a->may_send(a, &target, &n->ips[i]))
            continue;
        vd_endpoint_set_ip(&to, &n->ips[i], port);
        associate_send(a, &to, data, len);
        return;
    }
    a->dropped++;
}

static void hold(struct associate *a, const struct associate_name *n, uint16_t port,
                 const uint8_t *data, size_t len)
{
    struct held head = {.len = (uint32_t)len, .port = port, .name = (uint16_t)(n - a->names)};
    if (!associate_hold(&a->held, &head, sizeof head, data, len))
        a->dropped++;
}

/* Sends what was held for `n`, and closes the gaps once it has gone. */
static void send_held(struct associate *a, const struct associate_name *n)
{
    struct held head;
    size_t kept = 0;
    for (size_t at = 0; at < a->held.len; at += sizeof head + head.len) {
        memcpy(&head, a->held.bytes + at, sizeof head);
        if (head.name == n - a->names)
            send_on(a, n, head.port, a->held.bytes + at + sizeof head, head.len);
    }
    batch_flush(a->batch);
    for (size_t at = 0, next; at < a->held.len; at = next) {
        memcpy(&head, a->held.bytes + at, sizeof head);
        next = at + sizeof head + head.len;
        if (head.name == n - a->names)
            continue;
        memmove(a->held.bytes + kept, a->held.bytes + at, next - at);
        kept += next - at;
    }
    a->held.len = kept;
    if (kept == 0)
        associate_drop_held(&a->held);
}

/* --- answers --- */

static bool is_reached(const struct associate *a, const struct vd_ip *ip)
{
    struct vd_ip local, plain = vd_ip_unmapped(ip);
    return egress_uses(&a->egress, plain.family) &&
           egress_local(&a->egress, &local, &plain) == EGRESS_FINE && local.family;
}

static void keep_ips(struct associate_name *n, const struct resolve_answer *answer)
{
    unsigned most = n->count + ASSOCIATE_NAME_IPS / 2;
    for (size_t i = 0; i < answer->count && n->count < most; i++)
        if (n->owner->chain || is_reached(n->owner, &answer->ips[i]))
            n->ips[n->count++] = vd_ip_unmapped(&answer->ips[i]);
}

/* Whether the answer is complete. */
static bool take_answer(struct associate_name *n)
{
    struct resolve_answer v6 = resolve_answer(&n->wait, RESOLVE_V6);
    struct resolve_answer v4 = resolve_answer(&n->wait, RESOLVE_V4);
    if (!v6.here || !v4.here)
        return false;
    bool v4_first = n->owner->chain || egress_first(&n->owner->egress) == VD_IPV4;
    n->count = 0;
    keep_ips(n, v4_first ? &v4 : &v6);
    keep_ips(n, v4_first ? &v6 : &v4);
    resolve_stop(&n->wait);
    n->asked = false;
    return true;
}

static void on_answer(struct resolve_wait *wait)
{
    struct associate_name *n = loop_owner(wait, struct associate_name, wait);
    if (!take_answer(n))
        return;
    send_held(n->owner, n);
    if (n->count == 0)
        n->len = 0;
}

static struct associate_name *ask(struct associate *a, const struct vd_endpoint *target)
{
    struct associate_name *n = make_room(a);
    if (!n)
        return NULL;
    *n = (struct associate_name){.owner = a, .wait.answered = on_answer, .len = target->name_len};
    memcpy(n->text, target->name, target->name_len);
    if (resolve_start(a->resolver, &n->wait, n->text, n->len) != 0) {
        n->len = 0;
        return NULL;
    }
    n->asked = true;
    if (take_answer(n) && n->count == 0)
        n->len = 0;
    return n->len > 0 ? n : NULL;
}

void associate_send_to_name(struct associate *a, const struct vd_endpoint *target,
                            const uint8_t *data, size_t len)
{
    struct associate_name *n = NULL;
    if (a->may_send(a, target, NULL)) {
        n = find(a, target);
        n = n ? n : ask(a, target);
    }
    if (!n) {
        a->dropped++;
        return;
    }
    n->used_ms = a->loop->now_ms;
    if (n->asked)
        hold(a, n, target->port, data, len);
    else
        send_on(a, n, target->port, data, len);
}

void associate_forget_names(struct associate *a)
{
    for (unsigned i = 0; i < ASSOCIATE_NAMES; i++)
        resolve_stop(&a->names[i].wait);
    associate_drop_held(&a->held);
}
