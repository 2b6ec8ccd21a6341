/*
 * login: whether a user's password is right, without the loop ever waiting for crypt(3).
 *
 * A password given on the command line is compared at once, in constant time. A crypt(3) hash of a
 * users file takes milliseconds on purpose: a helper process beside the worker computes it, and the
 * outcome is kept under a keyed hash of user and password, so that a login, right or wrong, costs
 * one computation once. Unknown users cost as much as known ones.
 */
#ifndef DAEMON_LOGIN_H
#define DAEMON_LOGIN_H

#include "conf/daemon.h"
#include "daemon/loop.h"

enum login_verdict { LOGIN_NO, LOGIN_YES, LOGIN_LATER };

struct login;

/* Somebody who waits for the helper; lives in what it belongs to. Zeroed before the first use. */
struct login_wait {
    struct login_wait *next, **link; /* link NULL: does not wait */
    const char *user, *password;     /* borrowed until decided or login_stop */
    size_t user_len, password_len;
    /* After LOGIN_LATER, once, never from inside login_check. */
    void (*decided)(struct login_wait *wait, bool ok);
};

/* `users` outlives it. The helper starts here, if any user has a hash: before the worker has a
 * descriptor that a client could depend on. NULL with errno if that fails. */
struct login *login_new(struct loop *loop, const struct vd_conf_user *users, size_t count);
void login_free(struct login *login);

enum login_verdict login_check(struct login *login, struct login_wait *wait);
void login_stop(struct login *login, struct login_wait *wait);

#endif
