#include "daemon/learned.h"

static bool bears(const struct learned *l, const struct vd_hop *hop)
{
    switch ((enum vd_pipeline)hop->pipeline) {
    case VD_PIPELINE_OFF:
        return false;
    case VD_PIPELINE_LEAD:
    case VD_PIPELINE_KNOWN:
        return true;
    case VD_PIPELINE_AUTO:
        break;
    }
    switch ((enum vd_scheme)hop->scheme) {
    case VD_SOCKS4:
    case VD_SOCKS4A:
        return true;
    case VD_HTTP:
    case VD_HTTPS:
        return l->came_up;
    case VD_SOCKS5:
    case VD_SOCKS5H:
        break;
    }
    return false;
}

static bool is_safe(const struct learned *l, const struct vd_hop *hop)
{
    return l->came_up || !hop->has_login;
}

void learned_path(const struct learned *l, struct vd_path *path)
{
    path->flights = 0;
    path->proven = l->proven;
    for (unsigned i = 0; i < path->count; i++) {
        bool is_last = i + 1u == path->count;

        if (!(l->unfit >> i & 1) && bears(l, vd_path_hop(path, i)) &&
            is_safe(l, vd_path_hop(path, i)) && (is_last || is_safe(l, vd_path_hop(path, i + 1))))
            path->flights |= (uint16_t)(1u << i);
    }
}

void learned_up(struct learned *l, const struct vd_chain *chain)
{
    l->came_up = true;
    if (chain->flown)
        l->proven |= vd_path_proves(&chain->path);
}

void learned_unfit(struct learned *l, const struct vd_chain *chain)
{
    l->unfit |= vd_path_suspects(&chain->path, chain->at);
}
