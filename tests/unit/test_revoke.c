/* Which users a reload takes for removed, and what a worker that has missed a lot makes of it. */
#include <string.h>

#include "daemon/revoke.h"
#include "tests/unit/tap.h"

enum { USERS = 3 };

static struct shared sh;

struct user {
    const char *name, *password, *hash;
};

struct row {
    const char *name;
    struct user before[USERS], after[USERS];
    const char *removed; /* names, apart by blanks */
};

static const struct row rows[] = {
    {"nothing changed",
     {{"a", NULL, "$6$1"}, {"b", "x", NULL}},
     {{"a", NULL, "$6$1"}, {"b", "x", NULL}},
     ""},
    {"another order",
     {{"a", NULL, "1"}, {"b", NULL, "2"}},
     {{"b", NULL, "2"}, {"a", NULL, "1"}},
     ""},
    {"one is gone", {{"a", NULL, "1"}, {"b", NULL, "2"}}, {{"b", NULL, "2"}}, "a"},
    {"all are gone", {{"a", NULL, "1"}, {"b", "2", NULL}}, {{NULL, NULL, NULL}}, "a b"},
    {"there were none", {{NULL, NULL, NULL}}, {{"a", NULL, "1"}}, ""},
    {"another hash", {{"a", NULL, "1"}}, {{"a", NULL, "2"}}, "a"},
    {"another password", {{"a", "1", NULL}}, {{"a", "2", NULL}}, "a"},
    {"a hash in place of a password", {{"a", "1", NULL}}, {{"a", NULL, "1"}}, "a"},
    {"a name that begins alike", {{"ab", NULL, "1"}}, {{"a", NULL, "1"}, {"abc", NULL, "1"}}, "ab"},
    {"twice, and the second changed",
     {{"a", NULL, "1"}, {"a", NULL, "2"}},
     {{"a", NULL, "1"}, {"a", NULL, "3"}},
     ""},
    {"twice, and the first is gone", {{"a", NULL, "1"}, {"a", NULL, "2"}}, {{"a", NULL, "2"}}, "a"},
};

static struct vd_conf_daemon conf_of(struct vd_conf_user *to, const struct user *users)
{
    struct vd_conf_daemon conf = {.users = to};
    for (; conf.user_count < USERS && users->name; users++)
        to[conf.user_count++] = (struct vd_conf_user){(char *)users->name, (char *)users->password,
                                                      (char *)users->hash};
    return conf;
}

static bool is_among(const char *names, const char *name)
{
    const char *at = strstr(names, name);
    size_t len = strlen(name);
    return at && (at == names || at[-1] == ' ') && (at[len] == 0 || at[len] == ' ');
}

static void play(const struct row *row)
{
    struct vd_conf_user old[USERS], new[USERS];
    struct vd_conf_daemon before = conf_of(old, row->before), after = conf_of(new, row->after);
    uint64_t since = revoke_count(&sh);
    tap_begin();
    revoke_users(&sh, &before, &after);
    for (size_t i = 0; i < before.user_count; i++) {
        const char *name = before.users[i].name;
        if (revoke_is(&sh, since, name, strlen(name)) != is_among(row->removed, name))
            tap_wrong("%s", name);
        if (revoke_is(&sh, revoke_count(&sh), name, strlen(name)))
            tap_wrong("%s, for who came later", name);
    }
    tap_end(row->name);
}

static void missed(void)
{
    static const struct user x[USERS] = {{"x", NULL, "1"}};
    struct vd_conf_user user[USERS];
    struct vd_conf_daemon one = conf_of(user, x), none = {.users = NULL};
    uint64_t since = revoke_count(&sh);
    for (int i = 0; i < SHARED_REVOKED; i++)
        revoke_users(&sh, &one, &none);
    tap_ok(revoke_is(&sh, since, "x", 1) && !revoke_is(&sh, since, "y", 1), "a full ring");
    revoke_users(&sh, &one, &none);
    tap_ok(revoke_is(&sh, since, "y", 1) && !revoke_is(&sh, since + 1, "y", 1),
           "who missed more takes all for removed");
}

int main(void)
{
    if (shared_init(&sh, 1) != 0)
        return 1;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        play(&rows[i]);
    missed();
    shared_free(&sh);
    return tap_done();
}
