#include "daemon/contacts.h"

#include <stdlib.h>

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
    const struct contact_bucket *bucket = c->at[bucket_of(ip)];
    for (unsigned i = 0; bucket && i < CONTACTS_PER_BUCKET; i++) {
        const struct contact *one = &bucket->at[i];
        if (one->port && vd_ip_same(&one->ip, ip) && (port == 0 || one->port == port))
            return true;
    }
    return false;
}

void contacts_add(struct contacts *c, const struct vd_ip *ip, uint16_t port)
{
    struct contact_bucket **bucket = &c->at[bucket_of(ip)];
    if (contacts_has(c, ip, port))
        return;
    if (!*bucket)
        *bucket = calloc(1, sizeof **bucket);
    if (!*bucket)
        return;
    uint8_t *oldest = &(*bucket)->oldest;
    (*bucket)->at[*oldest] = (struct contact){.ip = *ip, .port = port};
    *oldest = (uint8_t)((*oldest + 1) % CONTACTS_PER_BUCKET);
}

void contacts_free(struct contacts *c)
{
    for (unsigned i = 0; i < CONTACTS_BUCKETS; i++) {
        free(c->at[i]);
        c->at[i] = NULL;
    }
}
