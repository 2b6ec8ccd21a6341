/*
 * The resolver's own calls (res_query() and its relatives): they send queries from inside libc,
 * past every other hook. Where names are left to the last hop no query may leave, and there is
 * nobody here who could answer them: they fail, with a line.
 */
#include <netdb.h>
#include <resolv.h>
#include <string.h>

#include "client/audit.h"
#include "client/lookup.h"
#include "client/say.h"
#include "preload/hook.h"

/* Whether a query may be sent from here. `name` may be NULL: any. */
static bool may_query(const char *name)
{
    if (!hook_ready())
        return false;
    if (lookup_may_query(name)) {
        if (audit_is_on())
            audit_count(AUDIT_ASKED);
        return true;
    }
    say(PLAN_FAILURES, NULL, "a DNS query is refused: names are resolved by the proxy");
    return false;
}

static int refuse(struct __res_state *state)
{
    if (state)
        state->res_h_errno = NO_RECOVERY;
    h_errno = NO_RECOVERY;
    return hook_fail(EACCES);
}

/* Each call comes in two names: programs built before glibc 2.34 use the one with underscores. */
#define RESOLVER(name, state, asked, parameters, arguments)                                        \
    int __##name parameters;                                                                       \
    HOOK int name parameters                                                                       \
    {                                                                                              \
        return may_query(asked) ? sys.name arguments : refuse(state);                              \
    }                                                                                              \
    HOOK int __##name parameters                                                                   \
    {                                                                                              \
        return name arguments;                                                                     \
    }

RESOLVER(res_query, NULL, name,
         (const char *name, int class, int type, unsigned char *answer, int len),
         (name, class, type, answer, len))
RESOLVER(res_search, NULL, name,
         (const char *name, int class, int type, unsigned char *answer, int len),
         (name, class, type, answer, len))
RESOLVER(res_querydomain, NULL, NULL,
         (const char *name, const char *domain, int class, int type, unsigned char *answer,
          int len),
         (name, domain, class, type, answer, len))
RESOLVER(res_send, NULL, NULL,
         (const unsigned char *query, int query_len, unsigned char *answer, int len),
         (query, query_len, answer, len))
RESOLVER(res_nquery, state, name,
         (res_state state, const char *name, int class, int type, unsigned char *answer, int len),
         (state, name, class, type, answer, len))
RESOLVER(res_nsearch, state, name,
         (res_state state, const char *name, int class, int type, unsigned char *answer, int len),
         (state, name, class, type, answer, len))
RESOLVER(res_nquerydomain, state, NULL,
         (res_state state, const char *name, const char *domain, int class, int type,
          unsigned char *answer, int len),
         (state, name, domain, class, type, answer, len))
RESOLVER(res_nsend, state, NULL,
         (res_state state, const unsigned char *query, int query_len, unsigned char *answer,
          int len),
         (state, query, query_len, answer, len))
