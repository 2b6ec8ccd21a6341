#include "client/modes.h"

#include <string.h>
#include <sys/random.h>

#include "client/learned.h"
#include "client/session.h"
#include "proto/err.h"

/* Places in chain->hops, those that are thought to be alive first, else in the chain's order. */
struct choice {
    uint8_t count, alive;
    uint8_t place[VD_HOPS_MAX];
};

static void add(const struct plan_chain *chain, struct choice *c, bool dead)
{
    for (uint8_t i = 0; i < chain->count; i++)
        if (learned_is_dead(chain->hops[i]) == dead)
            c->place[c->count++] = i;
}

static struct choice choose(const struct plan_chain *chain)
{
    struct choice c = {0};

    add(chain, &c, false);
    c.alive = c.count;
    add(chain, &c, true);
    return c;
}

static unsigned wanted(const struct plan_chain *chain)
{
    return chain->pick ? chain->pick : 1;
}

/* The first `count` places become any of the others, each as likely as the next. */
static void shuffle(struct choice *c, unsigned count)
{
    uint32_t dice[VD_HOPS_MAX] = {0};
    unsigned among = c->alive >= count ? c->alive : c->count;

    if (getrandom(dice, sizeof dice, GRND_NONBLOCK) != (ssize_t)sizeof dice)
        dice[0] = learned_turn(0);
    for (unsigned i = 0; i < count; i++) {
        unsigned other = i + dice[i] % (among - i);
        uint8_t swap = c->place[i];

        c->place[i] = c->place[other];
        c->place[other] = swap;
    }
}

/* The choice begins where the last one ended, on the ring of all that are alive. */
static void rotate(struct choice *c, unsigned count, uint32_t turn)
{
    unsigned among = c->alive >= count ? c->alive : c->count;
    uint8_t place[VD_HOPS_MAX];

    for (unsigned i = 0; i < among; i++)
        place[i] = c->place[((uint64_t)turn * count + i) % among];
    memcpy(c->place, place, among);
}

static unsigned chain_number(const struct plan_chain *chain)
{
    return (unsigned)(chain - plan_chain(session_plan(), 0));
}

static unsigned arrange(const struct plan_chain *chain, struct choice *c)
{
    unsigned count = wanted(chain);

    switch ((enum plan_mode)chain->mode) {
    case PLAN_STRICT:
        break;
    case PLAN_DYNAMIC:
        return c->alive ? c->alive : c->count;
    case PLAN_RANDOM:
        shuffle(c, count);
        return count;
    case PLAN_ROUND_ROBIN:
        rotate(c, count, learned_turn(chain_number(chain)));
        return count;
    case PLAN_FAILOVER:
        return count;
    }
    return c->count;
}

struct vd_path modes_path(const struct plan_chain *chain)
{
    struct vd_path path = {.hops = plan_hops(session_plan()), .count = chain->count};
    struct choice c;

    for (unsigned i = 0; i < chain->count; i++)
        path.order[i] = chain->hops[i];
    if (chain->mode == PLAN_STRICT)
        return path;
    c = choose(chain);
    path.count = (uint8_t)arrange(chain, &c);
    for (unsigned i = 0; i < path.count; i++)
        path.order[i] = chain->hops[c.place[i]];
    return path;
}

/* Some hops close, or say nothing, when the target cannot be reached. */
static bool may_be_the_target(const struct vd_chain *c, int err)
{
    bool asked = c->at + 1u == c->path.count && c->shake.stage >= VD_STAGE_REPLY;

    return asked && (err == -VD_ERR_CLOSED || err == -VD_ERR_RESET || err == -VD_ERR_SILENT);
}

static bool is_the_hops(const struct vd_chain *c, int err)
{
    switch (-err) {
    case VD_ERR_UNREACHABLE:
    case VD_ERR_CLOSED:
    case VD_ERR_RESET:
    case VD_ERR_SILENT:
    case VD_ERR_PROTOCOL:
    case VD_ERR_TOO_LONG:
    case VD_ERR_METHOD:
    case VD_ERR_LOGIN:
    case VD_ERR_BUSY:
        return !may_be_the_target(c, err);
    default:
        return false;
    }
}

static bool others_are_alive(const struct plan_chain *chain)
{
    unsigned alive = choose(chain).alive;

    return alive >= (chain->mode == PLAN_DYNAMIC ? 1 : wanted(chain));
}

bool modes_failed(const struct plan_chain *chain, const struct vd_chain *c, int err)
{
    if (chain->mode == PLAN_STRICT || !is_the_hops(c, err))
        return false;
    learned_dead(c->path.order[c->at]);
    return others_are_alive(chain);
}
