/* Which hops a session takes: for the log, and for who counts sessions by hop. */
#include "daemon/session_state.h"

static void count(struct session *s, void (*by)(struct shared *, const struct shared_hop *))
{
    for (unsigned i = 0; i < s->way.count; i++)
        by(s->worker->shared, s->way.upstream->hops[s->way.order[i]]);
}

void session_drop_way(struct session *s)
{
    if (s->way.counted)
        count(s, shared_hop_leave);
    s->way = (struct session_way){.count = 0};
}

void session_take_way(struct session *s, struct upstream *via, const struct vd_path *path,
                      bool stands)
{
    session_drop_way(s);
    if (!via)
        return;
    s->way = (struct session_way){.upstream = via, .counted = stands, .count = path->count};
    for (unsigned i = 0; i < s->way.count; i++)
        s->way.order[i] = (uint8_t)path->order[i];
    if (stands)
        count(s, shared_hop_enter);
}

void session_take_way_of(struct session *s, const struct dial *dial, bool stands)
{
    session_take_way(s, dial->via, &dial->chosen, stands);
}
