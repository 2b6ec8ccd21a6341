#include "proto/mode.h"

#include <assert.h>
#include <string.h>

#include "proto/err.h"

/* Those that are thought to be alive come first, else in the chain's order. */
struct ranks {
    unsigned count, alive;
    uint8_t place[VD_HOPS_MAX];
};

static void add(struct ranks *r, const struct vd_mode_question *q, unsigned dead)
{
    for (unsigned i = 0; i < q->count; i++)
        if ((q->dead >> i & 1u) == dead)
            r->place[r->count++] = (uint8_t)i;
}

static struct ranks rank(const struct vd_mode_question *q)
{
    struct ranks r = {0};

    add(&r, q, 0);
    r.alive = r.count;
    add(&r, q, 1);
    return r;
}

static unsigned wanted(const struct vd_mode_question *q)
{
    return q->pick ? q->pick : 1;
}

static unsigned among(const struct ranks *r, unsigned count)
{
    return r->alive >= count ? r->alive : r->count;
}

/* The first `count` places become any of the others, each as likely as the next. */
static void shuffle(struct ranks *r, unsigned count, const uint32_t *dice)
{
    unsigned all = among(r, count);

    for (unsigned i = 0; i < count; i++) {
        unsigned other = i + dice[i] % (all - i);
        uint8_t swap = r->place[i];

        r->place[i] = r->place[other];
        r->place[other] = swap;
    }
}

/* The choice begins where the last one ended, on the ring of all that are alive. */
static void rotate(struct ranks *r, unsigned count, uint32_t turn)
{
    unsigned all = among(r, count);
    uint8_t place[VD_HOPS_MAX];

    for (unsigned i = 0; i < all; i++)
        place[i] = r->place[((uint64_t)turn * count + i) % all];
    memcpy(r->place, place, all);
}

static struct vd_mode_choice first(const struct ranks *r, unsigned count)
{
    struct vd_mode_choice c = {.count = (uint8_t)count};

    memcpy(c.place, r->place, count);
    return c;
}

bool vd_mode_wants_numbers(enum vd_mode mode)
{
    return mode == VD_MODE_RANDOM || mode == VD_MODE_ROUND_ROBIN;
}

struct vd_mode_choice vd_mode_choose(const struct vd_mode_question *q, const uint32_t *numbers)
{
    struct vd_mode_question all_alive = *q;
    struct ranks r = rank(q);

    assert(q->count > 0 && q->count <= VD_HOPS_MAX && wanted(q) <= q->count);
    switch (q->mode) {
    case VD_MODE_STRICT:
        break;
    case VD_MODE_DYNAMIC:
        return first(&r, r.alive ? r.alive : r.count);
    case VD_MODE_RANDOM:
        shuffle(&r, wanted(q), numbers);
        return first(&r, wanted(q));
    case VD_MODE_ROUND_ROBIN:
        rotate(&r, wanted(q), numbers[0]);
        return first(&r, wanted(q));
    case VD_MODE_FAILOVER:
        return first(&r, wanted(q));
    }
    all_alive.dead = 0;
    r = rank(&all_alive);
    return first(&r, r.count);
}

bool vd_mode_has_others(const struct vd_mode_question *q)
{
    unsigned alive = rank(q).alive;

    if (q->mode == VD_MODE_STRICT)
        return alive == q->count;
    return alive >= (q->mode == VD_MODE_DYNAMIC ? 1 : wanted(q));
}

static bool is_mute(int err)
{
    return err == -VD_ERR_CLOSED || err == -VD_ERR_RESET || err == -VD_ERR_SILENT;
}

bool vd_mode_may_be_either(const struct vd_chain *c, int err)
{
    return is_mute(err) && c->at + 1u == c->path.count && c->shake.stage >= VD_STAGE_REPLY;
}

bool vd_mode_is_doubtful(const struct vd_chain *c, int err)
{
    return is_mute(err) && (c->at > 0 || c->shake.stage >= VD_STAGE_REPLY);
}

bool vd_mode_blames_hop(const struct vd_chain *c, int err)
{
    switch (-err) {
    case VD_ERR_UNREACHABLE:
    case VD_ERR_CLOSED:
    case VD_ERR_RESET:
    case VD_ERR_SILENT:
    case VD_ERR_TLS:
    case VD_ERR_CERTIFICATE:
    case VD_ERR_PROTOCOL:
    case VD_ERR_TOO_LONG:
    case VD_ERR_METHOD:
    case VD_ERR_LOGIN:
    case VD_ERR_BUSY:
        return !vd_mode_may_be_either(c, err);
    default:
        return false;
    }
}
