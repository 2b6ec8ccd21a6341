/*
 * revoke: users that a reload found gone, or with another password: their sessions end.
 *
 * The parent compares the users of both configurations and writes those into the shared mapping,
 * before it signals the workers from before, which cannot read a users file any more. A ring: a
 * worker that has missed more than it holds takes every user for removed.
 */
#ifndef DAEMON_REVOKE_H
#define DAEMON_REVOKE_H

#include "conf/daemon.h"
#include "daemon/shared.h"

/* The parent: who of `before` may not go on with `after`. */
void revoke_users(struct shared *sh, const struct vd_conf_daemon *before,
                  const struct vd_conf_daemon *after);
/* How many were removed so far; a worker asks at its start. */
uint64_t revoke_count(const struct shared *sh);
/* Whether this user was removed after there had been `since`. */
bool revoke_is(const struct shared *sh, uint64_t since, const char *name, size_t len);

#endif
