#include "launcher/private.h"
#include "launcher/private_state.h"

bool private_is_special(const struct vd_hop *hop)
{
    return hop->scheme == VD_HTTPS || hop->unix_len > 0;
}

static bool has_ipv4(const struct vd_hop *hop)
{
    for (unsigned i = 0; i < hop->addr_count; i++)
        if (hop->addrs[i].family == VD_IPV4)
            return true;
    return hop->unix_len > 0;
}

size_t private_span(const struct vd_conf_chain *chain, const struct vd_hop *hops,
                    enum vd_conf_dns dns)
{
    bool in_order = chain->mode == VD_MODE_STRICT;
    size_t span = dns == VD_DNS_CHAIN ? chain->hop_count : 0;

    for (size_t i = 0; i < chain->hop_count; i++)
        if (private_is_special(&hops[i]) || ((i == 0 || !in_order) && !has_ipv4(&hops[i])))
            span = span > i + 1 ? span : i + 1;
    return span > 0 && !in_order ? chain->hop_count : span;
}
