#include "preload/multicast.h"

#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

#include "client/addr.h"
#include "preload/hook.h"

static bool copies(void *to, size_t size, const void *value, socklen_t len)
{
    if (len < size || !hook_is_readable(value, (socklen_t)size))
        return false;
    memcpy(to, value, size);
    return true;
}

/* The group of a request of RFC 3678, which both families share. */
static bool read_shared(struct vd_endpoint *e, const void *value, socklen_t len)
{
    struct group_req request;

    /* Its first bytes are those of struct group_source_req, too. */
    return len >= sizeof request && hook_is_readable(value, sizeof(struct sockaddr_storage)) &&
           addr_read(e,
                     (const struct sockaddr *)((const char *)value +
                                               offsetof(struct group_req, gr_group)),
                     sizeof(struct sockaddr_in6));
}

static bool read_group(struct vd_endpoint *e, int level, int name, const void *value, socklen_t len)
{
    uint8_t bytes[16];

    if (name == MCAST_JOIN_GROUP || name == MCAST_JOIN_SOURCE_GROUP)
        return read_shared(e, value, len);
    if (level == IPPROTO_IP && (name == IP_ADD_MEMBERSHIP || name == IP_ADD_SOURCE_MEMBERSHIP)) {
        struct vd_ip ip;

        if (!copies(bytes, 4, value, len))
            return false;
        ip = vd_ip4(bytes);
        vd_endpoint_set_ip(e, &ip, 0);
        return true;
    }
    if (level == IPPROTO_IPV6 && (name == IPV6_JOIN_GROUP || name == IPV6_JOIN_ANYCAST)) {
        struct vd_ip ip;

        if (!copies(bytes, 16, value, len))
            return false;
        ip = vd_ip6(bytes, 0);
        vd_endpoint_set_ip(e, &ip, 0);
        return true;
    }
    return false;
}

bool multicast_refuses(int level, int name, const void *value, socklen_t len)
{
    struct vd_endpoint group;
    struct target t;
    int r;

    if ((level != IPPROTO_IP && level != IPPROTO_IPV6) ||
        !read_group(&group, level, name, value, len))
        return false;
    r = hook_ready() ? judge_target(&t, &group) : -ENETUNREACH;
    if (r != 0)
        errno = r < 0 ? -r : EACCES;
    return r != 0;
}
