/*
 * getnetbyname() and its relatives, which ask name servers, too, where nsswitch.conf does not say
 * otherwise. While names are the proxy's, only what can be listed is looked through: files.
 */
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

#include "client/lookup.h"
#include "preload/hook.h"

struct wanted {
    const char *name; /* NULL: by number */
    uint32_t net;
    int family;
};

static bool may_ask(void)
{
    return hook_ready() && lookup_may_query(NULL);
}

static bool has_name(const struct netent *entry, const char *name)
{
    if (!strcasecmp(entry->n_name, name))
        return true;
    for (char **alias = entry->n_aliases; *alias; alias++)
        if (!strcasecmp(*alias, name))
            return true;
    return false;
}

static bool fits(const struct netent *entry, const struct wanted *w)
{
    if (w->name)
        return has_name(entry, w->name);
    return entry->n_net == w->net && (w->family == AF_UNSPEC || entry->n_addrtype == w->family);
}

static struct netent *find(const struct wanted *w)
{
    struct netent *entry;

    setnetent(0);
    do
        entry = getnetent();
    while (entry && !fits(entry, w));
    endnetent();
    if (!entry)
        h_errno = HOST_NOT_FOUND;
    return entry;
}

static int find_r(const struct wanted *w, struct netent *entry, char *buf, size_t len,
                  struct netent **result, int *error)
{
    int r;

    setnetent(0);
    do
        r = getnetent_r(entry, buf, len, result, error);
    while (r == 0 && *result && !fits(*result, w));
    endnetent();
    if (r == ERANGE)
        return ERANGE;
    if (r != 0 || !*result) {
        *result = NULL;
        *error = HOST_NOT_FOUND;
    }
    return 0;
}

HOOK struct netent *getnetbyname(const char *name)
{
    return may_ask() ? sys.getnetbyname(name) : find(&(struct wanted){.name = name});
}

HOOK struct netent *getnetbyaddr(uint32_t net, int family)
{
    return may_ask() ? sys.getnetbyaddr(net, family)
                     : find(&(struct wanted){.net = net, .family = family});
}

HOOK int getnetbyname_r(const char *name, struct netent *entry, char *buf, size_t len,
                        struct netent **result, int *error)
{
    if (may_ask())
        return sys.getnetbyname_r(name, entry, buf, len, result, error);
    return find_r(&(struct wanted){.name = name}, entry, buf, len, result, error);
}

HOOK int getnetbyaddr_r(uint32_t net, int family, struct netent *entry, char *buf, size_t len,
                        struct netent **result, int *error)
{
    if (may_ask())
        return sys.getnetbyaddr_r(net, family, entry, buf, len, result, error);
    return find_r(&(struct wanted){.net = net, .family = family}, entry, buf, len, result, error);
}
