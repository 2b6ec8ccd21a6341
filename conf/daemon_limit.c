/* limit { }: how much clients and users may have; one value at a time, for file and command line.
 */
#include <stdlib.h>
#include <string.h>

#include "conf/daemon.h"
#include "conf/value.h"

enum { SESSIONS_MAX = 10000000, SECOND = 1000 };

static const char *const pers[] = {"client", "user", "session", "all", NULL};

struct vd_conf_limit *vd_conf_daemon_new_limit(struct vd_conf_daemon *c, const char *title)
{
    struct vd_conf_limit *more = reallocarray(c->limits, c->limit_count + 1, sizeof *more);
    if (!more)
        return NULL;
    c->limits = more;
    more += c->limit_count;
    *more = (struct vd_conf_limit){.who.title = strdup(title)};
    if (!more->who.title)
        return NULL;
    c->limit_count++;
    return more;
}

/* N, N/s, N/min or N/h. */
static int read_fresh(struct vd_conf_limit *limit, const char *text, char **error)
{
    static const struct {
        const char *unit;
        uint32_t ms;
    } units[] = {{"", SECOND}, {"/s", SECOND}, {"/min", 60 * SECOND}, {"/h", 3600 * SECOND}};
    size_t digits = strspn(text, "0123456789"), i = 0;
    int64_t number = vd_uint_read(text, digits, SESSIONS_MAX);

    while (i < sizeof units / sizeof *units && strcmp(units[i].unit, text + digits) != 0)
        i++;
    if (number < 1 || i == sizeof units / sizeof *units)
        return vd_conf_wrong(error, "bad new `%s`; allowed: N, N/s, N/min or N/h, N from 1 to %d",
                             text, SESSIONS_MAX);
    limit->fresh = (uint32_t)number;
    limit->fresh_ms = units[i].ms;
    return 0;
}

/* N, with K, M or G of 1000. */
static int read_rate(struct vd_conf_limit *limit, const char *text, char **error)
{
    static const char units[] = "KMG";
    size_t digits = strspn(text, "0123456789");
    const char *unit = text[digits] ? strchr(units, text[digits]) : NULL;
    int64_t number = vd_uint_read(text, digits, 1000000000);
    bool good = number > 0 && (!text[digits] || (unit && !text[digits + 1]));

    for (const char *u = units; good && unit && u <= unit; u++)
        number *= 1000;
    if (!good || number < 1000 || number > 1000000000000)
        return vd_conf_wrong(error,
                             "bad rate `%s`; allowed: bytes for each second, with K, M or G, "
                             "from 1K to 1000G",
                             text);
    limit->rate = (uint64_t)number;
    return 0;
}

int vd_conf_limit_set(struct vd_conf_limit *limit, const char *key, const char *value, char **error)
{
    if (!strcmp(key, "sessions"))
        return vd_conf_number(&limit->sessions, key, value, 1, SESSIONS_MAX, error);
    if (!strcmp(key, "new"))
        return read_fresh(limit, value, error);
    if (!strcmp(key, "rate"))
        return read_rate(limit, value, error);
    if (!strcmp(key, "per")) {
        int index = vd_conf_choice("per", pers, value, error);
        limit->per = (enum vd_limit_per)(index < 0 ? 0 : index);
        return index < 0 ? -1 : 0;
    }
    if (!strcmp(key, "from") || !strcmp(key, "users"))
        return vd_conf_access_add(&limit->who, key, value, error);
    return vd_conf_wrong(error,
                         "unknown part `%s` of a limit; allowed: per, sessions, new, rate, from, "
                         "users",
                         key);
}

int vd_conf_limit_check(const struct vd_conf_limit *limit, char **error)
{
    if (!limit->sessions && !limit->fresh && !limit->rate)
        return vd_conf_wrong(error, "limit `%s` limits nothing; allowed: sessions, new, rate",
                             limit->who.title);
    if (limit->per == VD_PER_SESSION && !limit->rate)
        return vd_conf_wrong(error, "limit `%s` has no rate; allowed: rate, with per = \"session\"",
                             limit->who.title);
    if (limit->per == VD_PER_SESSION && (limit->sessions || limit->fresh))
        return vd_conf_wrong(error,
                             "limit `%s` counts sessions per session; allowed: per client, user "
                             "or all",
                             limit->who.title);
    return 0;
}

static int set_word(struct vd_conf_limit *limit, char *word, char **error)
{
    char *rest = strchr(word, '='), *value;

    if (!rest)
        return vd_conf_wrong(error, "bad part `%s` of a limit; allowed: KEY=VALUE", word);
    *rest++ = 0;
    if (!*rest)
        return vd_conf_wrong(error, "nothing behind `%s=`; allowed: VALUE[,VALUE...]", word);
    while ((value = strsep(&rest, ",")))
        if (vd_conf_limit_set(limit, word, value, error) < 0)
            return -1;
    return 0;
}

int vd_conf_daemon_add_limit(struct vd_conf_daemon *c, const char *text, char **error)
{
    struct vd_conf_limit *limit = vd_conf_daemon_new_limit(c, text);
    char *copy = strdup(text), *rest = copy, *word;
    int result = 0;

    if (!limit || !copy) {
        free(copy);
        return vd_conf_wrong(error, "out of memory");
    }
    while (result == 0 && (word = strsep(&rest, " \t")))
        if (*word)
            result = set_word(limit, word, error);
    if (result == 0)
        result = vd_conf_limit_check(limit, error);
    free(copy);
    return result;
}
