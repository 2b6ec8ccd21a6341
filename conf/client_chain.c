/* Apart from what reads files, for a launcher that reads none. */
#include "conf/client.h"

#include <stdlib.h>
#include <string.h>

struct vd_conf_chain *vd_conf_client_chain(const struct vd_conf_client *c, const char *title)
{
    for (size_t i = 0; i < c->chain_count; i++)
        if (!strcmp(c->chains[i].title, title))
            return &c->chains[i];
    return NULL;
}

struct vd_conf_chain *vd_conf_client_add_chain(struct vd_conf_client *c, const char *title)
{
    struct vd_conf_chain *more = reallocarray(c->chains, c->chain_count + 1, sizeof *more);
    if (!more)
        return NULL;
    c->chains = more;
    more += c->chain_count;
    more->title = strdup(title); /* not the hops: they are many pages, and there are none yet */
    more->hop_count = 0;
    more->mode = VD_MODE_STRICT;
    more->pick = 0;
    if (!more->title)
        return NULL;
    c->chain_count++;
    return more;
}
