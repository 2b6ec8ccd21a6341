/*
 * gethostbyname() and its relatives.
 *
 * A known answer is laid out in the caller's buffer as libc does: too small a buffer is ERANGE with
 * NETDB_INTERNAL, and the caller tries again. The calls without a buffer have one of their own, as
 * libc's (and are no more thread-safe than those).
 */
#include <netdb.h>
#include <netinet/in.h>
#include <stdalign.h>
#include <string.h>
#include <unistd.h>

#include "client/hosts.h"
#include "client/lookup.h"
#include "preload/hook.h"

/* The pieces of the caller's buffer, cut off from its front. */
struct room {
    char *at;
    size_t left;
};

static void *cut(struct room *room, size_t len, size_t align)
{
    size_t slack = (align - (uintptr_t)room->at % align) % align;
    char *piece = room->at + slack;

    if (room->left < slack + len)
        return NULL;
    room->at = piece + len;
    room->left -= slack + len;
    return piece;
}

static size_t address_len(int family)
{
    return family == AF_INET6 ? 16 : 4;
}

static bool fits(const struct vd_ip *ip, int family)
{
    return ip->family == (family == AF_INET6 ? VD_IPV6 : VD_IPV4);
}

/* false: the buffer is too small. */
static bool lay_out(struct hostent *entry, struct room room, const char *name, int family,
                    const struct lookup *l)
{
    char **lists = cut(&room, (l->count + 2) * sizeof *lists, alignof(char *));
    size_t n = 0, len = address_len(family);
    char *own_name;

    if (!lists)
        return false;
    for (size_t i = 0; i < l->count; i++) {
        if (!fits(&l->ips[i], family))
            continue;
        lists[n] = cut(&room, len, alignof(uint32_t));
        if (!lists[n])
            return false;
        memcpy(lists[n++], l->ips[i].bytes, len);
    }
    lists[n] = lists[n + 1] = NULL;
    own_name = cut(&room, strlen(name) + 1, 1);
    if (!own_name)
        return false;
    strcpy(own_name, name);
    *entry = (struct hostent){.h_name = own_name,
                              .h_aliases = lists + n,
                              .h_addrtype = family,
                              .h_length = (int)len,
                              .h_addr_list = lists};
    return true;
}

static bool any_fits(const struct lookup *l, int family)
{
    for (size_t i = 0; i < l->count; i++)
        if (fits(&l->ips[i], family))
            return true;
    return false;
}

/* The result of a call with a buffer: an errno, *error and *result. */
struct verdict {
    int number;
    int error;
};

static struct verdict give(const struct lookup *l, const char *name, int family,
                           struct hostent *entry, struct room room)
{
    if (!any_fits(l, family))
        return (struct verdict){0, NO_DATA};
    if (!lay_out(entry, room, name, family, l))
        return (struct verdict){ERANGE, NETDB_INTERNAL};
    return (struct verdict){0, NETDB_SUCCESS};
}

static struct verdict failed(enum lookup_answer answer)
{
    return answer == LOOKUP_FULL ? (struct verdict){EAGAIN, TRY_AGAIN}
                                 : (struct verdict){0, HOST_NOT_FOUND};
}

/* Asks the engine for a name; false: the system may answer. */
static bool by_name(const char *name, int family, struct hostent *entry, struct room room,
                    struct lookup *l, struct verdict *v)
{
    enum lookup_answer answer;

    if (!name || (family != AF_INET && family != AF_INET6))
        return false;
    if (!hook_ready()) {
        *v = (struct verdict){0, NO_RECOVERY};
        return true;
    }
    answer = lookup_name(l, name, 0, family == AF_INET6);
    if (answer == LOOKUP_SYSTEM)
        return false;
    *v = answer == LOOKUP_KNOWN ? give(l, name, family, entry, room) : failed(answer);
    for (size_t i = 0; v->error == NETDB_SUCCESS && l->remember && i < l->count; i++)
        lookup_remember(name, &l->ips[i]);
    return true;
}

static void remember(const struct lookup *l, const char *name, const struct hostent *entry)
{
    for (char **p = entry && l->remember ? entry->h_addr_list : NULL; p && *p; p++) {
        struct vd_ip ip =
            entry->h_addrtype == AF_INET6 ? vd_ip6((uint8_t *)*p, 0) : vd_ip4((uint8_t *)*p);

        lookup_remember(name, &ip);
    }
}

static int conclude(const struct verdict *v, struct hostent *entry, struct hostent **result,
                    int *error)
{
    *result = v->error == NETDB_SUCCESS ? entry : NULL;
    *error = v->error;
    if (v->number)
        errno = v->number;
    return v->number;
}

HOOK int gethostbyname2_r(const char *name, int family, struct hostent *entry, char *buf,
                          size_t len, struct hostent **result, int *error)
{
    struct lookup l = {.remember = false};
    struct verdict v;
    int r;

    if (by_name(name, family, entry, (struct room){buf, len}, &l, &v))
        return conclude(&v, entry, result, error);
    r = sys.gethostbyname2_r(name, family, entry, buf, len, result, error);
    if (r == 0)
        remember(&l, name, *result);
    return r;
}

HOOK int gethostbyname_r(const char *name, struct hostent *entry, char *buf, size_t len,
                         struct hostent **result, int *error)
{
    struct lookup l = {.remember = false};
    struct verdict v;
    int r;

    if (by_name(name, AF_INET, entry, (struct room){buf, len}, &l, &v))
        return conclude(&v, entry, result, error);
    r = sys.gethostbyname_r(name, entry, buf, len, result, error);
    if (r == 0)
        remember(&l, name, *result);
    return r;
}

/* For the calls without a buffer. */
static struct hostent own_entry;
static char own_buf[2048];

static struct hostent *conclude_own(const struct verdict *v)
{
    h_errno = v->error;
    return v->error == NETDB_SUCCESS ? &own_entry : NULL;
}

HOOK struct hostent *gethostbyname2(const char *name, int family)
{
    struct lookup l = {.remember = false};
    struct hostent *found;
    struct verdict v;

    if (by_name(name, family, &own_entry, (struct room){own_buf, sizeof own_buf}, &l, &v))
        return conclude_own(&v);
    found = sys.gethostbyname2(name, family);
    remember(&l, name, found);
    return found;
}

HOOK struct hostent *gethostbyname(const char *name)
{
    struct lookup l = {.remember = false};
    struct hostent *found;
    struct verdict v;

    if (by_name(name, AF_INET, &own_entry, (struct room){own_buf, sizeof own_buf}, &l, &v))
        return conclude_own(&v);
    found = sys.gethostbyname(name);
    remember(&l, name, found);
    return found;
}

/* As by_name, for an address. */
static bool by_address(const void *addr, socklen_t len, int family, struct hostent *entry,
                       struct room room, struct verdict *v)
{
    struct lookup l = {.count = 1};
    char name[VD_NAME_MAX + 1];
    enum lookup_answer answer;

    if (!addr || (family != AF_INET && family != AF_INET6) || len != address_len(family))
        return false;
    if (!hook_ready()) {
        *v = (struct verdict){0, NO_RECOVERY};
        return true;
    }
    l.ips[0] = family == AF_INET6 ? vd_ip6(addr, 0) : vd_ip4(addr);
    answer = lookup_address(&l.ips[0], name);
    if (answer == LOOKUP_SYSTEM)
        return false;
    *v = answer == LOOKUP_KNOWN ? give(&l, name, family, entry, room) : failed(answer);
    return true;
}

HOOK int gethostbyaddr_r(const void *addr, socklen_t addr_len, int family, struct hostent *entry,
                         char *buf, size_t len, struct hostent **result, int *error)
{
    struct verdict v;

    if (by_address(addr, addr_len, family, entry, (struct room){buf, len}, &v))
        return conclude(&v, entry, result, error);
    return sys.gethostbyaddr_r(addr, addr_len, family, entry, buf, len, result, error);
}

HOOK struct hostent *gethostbyaddr(const void *addr, socklen_t len, int family)
{
    struct verdict v;

    if (by_address(addr, len, family, &own_entry, (struct room){own_buf, sizeof own_buf}, &v))
        return conclude_own(&v);
    return sys.gethostbyaddr(addr, len, family);
}

/* --- other ways to the same ------------------------------------------------------------------ */

struct hostent *res_gethostbyname(const char *name);
struct hostent *res_gethostbyname2(const char *name, int family);
struct hostent *res_gethostbyaddr(const void *addr, socklen_t len, int family);

/* libresolv keeps these for old programs; they send queries by themselves. */
HOOK struct hostent *res_gethostbyname(const char *name)
{
    return gethostbyname(name);
}

HOOK struct hostent *res_gethostbyname2(const char *name, int family)
{
    return gethostbyname2(name, family);
}

HOOK struct hostent *res_gethostbyaddr(const void *addr, socklen_t len, int family)
{
    return gethostbyaddr(addr, len, family);
}

/* libc makes it from the address of the own host name, for which it asks, if there is no file. */
HOOK long gethostid(void)
{
    char own[VD_NAME_MAX + 1] = "";
    struct vd_ip ips[HOSTS_IPS_MAX];
    size_t count;
    uint32_t address;

    if (access("/etc/hostid", R_OK) == 0 || (hook_ready() && lookup_may_query(NULL)))
        return sys.gethostid();
    count = gethostname(own, sizeof own - 1) == 0 ? hosts_find(own, ips, HOSTS_IPS_MAX) : 0;
    for (size_t i = 0; i < count; i++)
        if (ips[i].family == VD_IPV4) {
            memcpy(&address, ips[i].bytes, sizeof address);
            return (int32_t)(address << 16 | address >> 16);
        }
    return 0;
}
