#include "daemon/revoke.h"

#include <stdlib.h>
#include <string.h>

/* --- the ring --- */

static void add(struct shared *sh, const char *name)
{
    struct shared_revoked *r = sh->revoked;
    uint64_t count = r->count;
    __atomic_store_n(&r->keys[count % SHARED_REVOKED], shared_user_key(sh, name, strlen(name)),
                     __ATOMIC_RELAXED);
    __atomic_store_n(&r->count, count + 1, __ATOMIC_RELEASE);
}

uint64_t revoke_count(const struct shared *sh)
{
    return __atomic_load_n(&sh->revoked->count, __ATOMIC_ACQUIRE);
}

bool revoke_is(const struct shared *sh, uint64_t since, const char *name, size_t len)
{
    uint64_t count = revoke_count(sh), key = shared_user_key(sh, name, len);
    if (count - since > SHARED_REVOKED)
        return true;
    for (uint64_t i = since; i < count; i++)
        if (__atomic_load_n(&sh->revoked->keys[i % SHARED_REVOKED], __ATOMIC_RELAXED) == key)
            return true;
    return false;
}

/* --- comparing --- */

/* Of two users with one name the first counts (login.h): it stands first. */
static int by_name(const void *a, const void *b)
{
    const struct vd_conf_user *one = *(const struct vd_conf_user *const *)a;
    const struct vd_conf_user *other = *(const struct vd_conf_user *const *)b;
    int order = strcmp(one->name, other->name);
    return order ? order : (one > other) - (one < other);
}

static int by_name_only(const void *name, const void *user)
{
    return strcmp(name, (*(const struct vd_conf_user *const *)user)->name);
}

/* Sorted, each name once; NULL without memory. */
static const struct vd_conf_user **sorted(const struct vd_conf_daemon *conf, size_t *count)
{
    const struct vd_conf_user **users = calloc(conf->user_count + 1, sizeof *users);
    *count = 0;
    if (!users)
        return NULL;
    for (size_t i = 0; i < conf->user_count; i++)
        users[i] = &conf->users[i];
    qsort(users, conf->user_count, sizeof *users, by_name);
    for (size_t i = 0; i < conf->user_count; i++)
        if (*count == 0 || strcmp(users[*count - 1]->name, users[i]->name) != 0)
            users[(*count)++] = users[i];
    return users;
}

static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool goes_on(const struct vd_conf_user *user, const struct vd_conf_user **among,
                    size_t count)
{
    const struct vd_conf_user **found =
        bsearch(user->name, among, count, sizeof *among, by_name_only);
    return found && same(user->password, (*found)->password) && same(user->hash, (*found)->hash);
}

/* Without memory for comparing all users are taken for removed. */
void revoke_users(struct shared *sh, const struct vd_conf_daemon *before,
                  const struct vd_conf_daemon *after)
{
    size_t old_count, count;
    const struct vd_conf_user **old = sorted(before, &old_count), **now = sorted(after, &count);
    if (!old || !now)
        sh->revoked->count += SHARED_REVOKED + 1;
    for (size_t i = 0; old && now && i < old_count; i++)
        if (!goes_on(old[i], now, count))
            add(sh, old[i]->name);
    free(old);
    free(now);
}
