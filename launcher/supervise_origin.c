#include "launcher/supervise_origin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/addr.h"
#include "client/assoc.h"
#include "client/lookup.h"
#include "client/names.h"
#include "client/nameservers.h"
#include "client/program.h"
#include "client/say.h"
#include "client/session.h"
#include "client/sockets.h"

#define LIBRARY "/libviaduct.so"

/* --- the program ----------------------------------------------------------------------------- */

static int open_proc(pid_t thread, const char *name)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/%s", (int)thread, name);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* Whether a text is somewhere in a file, read in pieces that overlap. */
static bool holds(int fd, const char *text)
{
    char piece[8192];
    size_t keep = strlen(text) - 1, have = 0;
    ssize_t n;

    while ((n = read(fd, piece + have, sizeof piece - have)) > 0) {
        have += (size_t)n;
        if (memmem(piece, have, text, strlen(text)))
            return true;
        if (have > keep) {
            memmove(piece, piece + have - keep, keep);
            have = keep;
        }
    }
    return false;
}

static bool maps_library(pid_t thread)
{
    int fd = open_proc(thread, "maps");
    bool found = fd >= 0 && holds(fd, LIBRARY);

    if (fd >= 0)
        close(fd);
    return found;
}

/* What was found of files; the same file stays what it is until it is written. */
static struct finding {
    dev_t dev;
    ino_t ino;
    struct timespec changed;
    bool takes_library;
} findings[64];

/* Whether a thread's program is of the kind that the library sees all calls of. */
static bool takes_library(pid_t thread)
{
    static struct program p;
    struct finding *f;
    struct stat st;
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/exe", (int)thread);
    if (stat(path, &st) < 0)
        return true; /* then it is looked at what is mapped */
    f = &findings[st.st_ino % (sizeof findings / sizeof *findings)];
    if (f->dev != st.st_dev || f->ino != st.st_ino || f->changed.tv_sec != st.st_ctim.tv_sec ||
        f->changed.tv_nsec != st.st_ctim.tv_nsec)
        *f = (struct finding){st.st_dev, st.st_ino, st.st_ctim,
                              !program_needs_supervisor(program_judge(&p, path))};
    return f->takes_library;
}

bool origin_has_library(pid_t thread)
{
    return takes_library(thread) && maps_library(thread);
}

/* --- where it leads -------------------------------------------------------------------------- */

static bool is_hop(const struct vd_hop *hop, const struct vd_ip *ip, uint16_t port)
{
    for (unsigned i = 0; i < hop->addr_count; i++)
        if (hop->at.port == port && vd_ip_same(&hop->addrs[i], ip))
            return true;
    return false;
}

/* In all modes but one any hop may be the first. */
static bool begins_there(const struct plan_chain *chain, const struct vd_ip *ip, uint16_t port)
{
    unsigned firsts = chain->mode == VD_MODE_STRICT ? 1 : chain->count;

    for (unsigned i = 0; i < firsts; i++)
        if (is_hop(plan_hops(session_plan()) + chain->hops[i], ip, port))
            return true;
    return false;
}

bool origin_is_first_hop(const struct vd_endpoint *given)
{
    const struct plan *plan = session_plan();
    const struct vd_ip ip = vd_ip_unmapped(&given->ip);

    for (unsigned i = 0; i < plan->chain_count; i++)
        if (begins_there(plan_chain(plan, i), &ip, given->port))
            return true;
    return false;
}

bool origin_is_system_query(const struct vd_endpoint *given)
{
    return given->port == NAMESERVERS_PORT && lookup_may_query(NULL) && nameservers_has(given);
}

/* One of this machine's own addresses: a socket can have it. */
static bool is_here(const struct vd_endpoint *given)
{
    struct sockaddr_storage at;
    const struct vd_ip ip = vd_ip_unmapped(&given->ip);
    int family = ip.family == VD_IPV4 ? AF_INET : AF_INET6;
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool here = fd >= 0 && bind(fd, (struct sockaddr *)&at, addr_write(&at, family, &ip, 0)) == 0;

    if (fd >= 0)
        close(fd);
    return here;
}

static bool passes_by_rule(const struct vd_endpoint *given, struct target *t)
{
    t->route = (struct route){.action = PLAN_REFUSE};
    return route_target(t, given) == 0 &&
           (t->route.action == PLAN_DIRECT && !vd_endpoint_is_name(&t->at));
}

/* --udp direct */
static bool passes_as_datagram(const struct target *t, const struct vd_endpoint *given)
{
    return session_plan()->udp == PLAN_UDP_DIRECT && t->route.action == PLAN_CHAIN &&
           !names_is_placeholder(&given->ip);
}

/* --- what was made past the library ---------------------------------------------------------- */

static enum origin judge_foreign(const struct target *t, enum audit_kind kind)
{
    if (session_plan()->strict) {
        say(PLAN_FAILURES, &t->at, "refused: it was made past the library (--strict)");
        if (audit_is_on())
            audit_add(kind, AUDIT_REFUSED, &t->at, &t->route, EACCES, 0);
        return ORIGIN_REFUSED;
    }
    if (!audit_is_on())
        return ORIGIN_FOREIGN;
    audit_add(kind, AUDIT_PAST, &t->at, &t->route, 0, 0);
    audit_count(AUDIT_PAST_LIBRARY);
    return ORIGIN_SEEN;
}

enum origin origin_of_stream(const struct vd_endpoint *given)
{
    struct target t = {.route = {.action = PLAN_REFUSE}};

    if (passes_by_rule(given, &t) || is_here(given))
        return ORIGIN_PASSES;
    return judge_foreign(&t, AUDIT_STREAM);
}

/* Where a rule has a name resolved by the name server itself, the library asks it. */
static bool is_librarys_query(const struct supervise_socket *s, const struct vd_endpoint *given)
{
    struct sockets_datagram d = {.cookie = s->cookie};

    if (given->port != NAMESERVERS_PORT || !nameservers_has(given))
        return false;
    sockets_get_datagram(&d);
    return d.asked;
}

bool origin_may_lead(const struct supervise_socket *s, const struct vd_endpoint *given)
{
    struct sockaddr_storage at;
    socklen_t len = addr_write(&at, s->domain, &given->ip, given->port);
    struct target t;

    return (len && assoc_leads_to(s->cookie, (struct sockaddr *)&at, len)) ||
           passes_by_rule(given, &t) || passes_as_datagram(&t, given) || is_here(given) ||
           is_librarys_query(s, given);
}

enum origin origin_of_datagram(const struct supervise_socket *s, const struct vd_endpoint *given)
{
    struct target t = {.route = {.action = PLAN_REFUSE}};

    if (origin_may_lead(s, given))
        return ORIGIN_PASSES;
    route_target(&t, given);
    return judge_foreign(&t, AUDIT_DATAGRAMS);
}
