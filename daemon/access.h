/*
 * access: who may go where: the allow and deny rules, and the guard of private targets.
 *
 * The first rule that matches counts. Where none matches, the request is allowed, unless there is
 * an allow rule: who says what is allowed has said that the rest is not.
 *
 * The guard: for clients that are not on loopback, targets on loopback, link-local, unspecified,
 * multicast and broadcast addresses and this machine's own addresses are refused, unless an allow
 * rule names the target in its `to` by more than "*".
 *
 * A name is judged twice: before the lookup by what names can decide, then each address by all.
 */
#ifndef DAEMON_ACCESS_H
#define DAEMON_ACCESS_H

#include "conf/daemon.h"
#include "daemon/net.h"
#include "proto/shake.h"

enum access_verdict { ACCESS_NO, ACCESS_YES, ACCESS_BY_ADDRESS };

struct access_query {
    const struct net_addr *client;
    const char *user; /* NULL: not logged in */
    size_t user_len;
    enum vd_command command;
    const struct vd_endpoint *target; /* what was asked for: a name or an address */
    bool is_here; /* access_address: the address has turned out to be this machine's */
};

struct access;

/* `conf` outlives it. NULL without memory. */
struct access *access_new(const struct vd_conf_daemon *conf);
void access_free(struct access *access);

/* Whether the rule's `from` and `users` fit. */
bool access_is_about(const struct vd_conf_access *rule, const struct access_query *q);
/* What said no when something was last refused: the title of a rule, or "guard", or "default" where
 * no rule allows it. */
const char *access_why(void);
/* Whether the client may use q->command at all, for some target; q->target is not looked at. */
bool access_command(const struct access *access, const struct access_query *q);
/* What can be said before a lookup. ACCESS_BY_ADDRESS (names only): the final address decides. */
enum access_verdict access_target(struct access *access, const struct access_query *q);
/* The same for a chain, which sends names on: never ACCESS_BY_ADDRESS. */
bool access_target_of_chain(struct access *access, const struct access_query *q);
/* Whether this is an address of this machine, or may be one: as long as they could not be read,
 * any. */
bool access_is_own(struct access *access, const struct vd_ip *ip);
/* The rule that decides about `q` without a lookup, as access_target_of_chain asks; NULL: none
 * does.
 */
const struct vd_conf_access *access_rule(const struct access *access, const struct access_query *q);
/* What the rules alone say of a target that the configuration itself names. */
bool access_rules(const struct access *access, const struct access_query *q);
/* Whether `q` may end at this address of the target. */
bool access_address(struct access *access, const struct access_query *q, const struct vd_ip *ip);

#endif
