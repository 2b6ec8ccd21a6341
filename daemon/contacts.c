#include "daemon/contacts.h"

/* By address alone: the contacts of one host stand together. */
static unsigned bucket_of(const struct vd_ip *ip)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (unsigned i = 0; i < (ip->family == VD_IPV6 ? 16 : 4); i++)
        h = (h ^ ip->bytes[i]) * 16777619u;
    return (h ^ h >> 16) % CONTACTS_BUCKETS;
}

bool contacts_has(const struct contacts *c, const struct vd_ip *ip, uint16_t port)
{
    const struct contact *bucket = c->at[bucket_of(ip)];
    for (unsigned i = 0; i < CONTACTS_PER_BUCKET; i++)
        if (vd_ip_same(&bucket[i].ip, ip) && (port == 0 || bucket[i].port == port))
            return true;
    return false;
}

void contacts_add(struct contacts *c, const struct vd_ip *ip, uint16_t port)
{
    unsigned bucket = bucket_of(ip);
    if (contacts_has(c, ip, port))
        return;
    uint8_t *oldest = &c->oldest[bucket];
    c->at[bucket][*oldest] = (struct contact){.ip = *ip, .port = port};
    *oldest = (uint8_t)((*oldest + 1) % CONTACTS_PER_BUCKET);
}
