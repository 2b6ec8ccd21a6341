#include "client/modes.h"

#include <sys/random.h>

#include "client/learned.h"
#include "client/session.h"
#include "proto/mode.h"

static struct vd_mode_question question(const struct plan_chain *chain)
{
    struct vd_mode_question q = {
        .mode = (enum vd_mode)chain->mode, .pick = chain->pick, .count = chain->count};

    for (unsigned i = 0; i < chain->count; i++)
        if (learned_is_dead(chain->hops[i]))
            q.dead |= (uint16_t)(1u << i);
    return q;
}

static unsigned chain_number(const struct plan_chain *chain)
{
    return (unsigned)(chain - plan_chain(session_plan(), 0));
}

static void draw(const struct plan_chain *chain, uint32_t numbers[VD_HOPS_MAX])
{
    size_t size = VD_HOPS_MAX * sizeof *numbers;

    if (chain->mode == VD_MODE_ROUND_ROBIN)
        numbers[0] = learned_turn(chain_number(chain));
    else if (getrandom(numbers, size, GRND_NONBLOCK) != (ssize_t)size)
        numbers[0] = learned_turn(0);
}

struct vd_path modes_path(const struct plan_chain *chain)
{
    struct vd_path path = {.hops = plan_hops(session_plan()), .count = chain->count};
    uint32_t numbers[VD_HOPS_MAX] = {0};
    struct vd_mode_question q;
    struct vd_mode_choice choice;

    for (unsigned i = 0; i < chain->count; i++)
        path.order[i] = chain->hops[i];
    if (chain->mode == VD_MODE_STRICT)
        return path;
    q = question(chain);
    if (vd_mode_wants_numbers(q.mode))
        draw(chain, numbers);
    choice = vd_mode_choose(&q, numbers);
    path.count = choice.count;
    for (unsigned i = 0; i < path.count; i++)
        path.order[i] = chain->hops[choice.place[i]];
    return path;
}

bool modes_failed(const struct plan_chain *chain, const struct vd_chain *c, int err)
{
    struct vd_mode_question q;

    if (chain->mode == VD_MODE_STRICT || !vd_mode_blames_hop(c, err))
        return false;
    learned_dead(c->path.order[c->at]);
    q = question(chain);
    return vd_mode_has_others(&q);
}
