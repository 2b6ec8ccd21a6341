#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/daemon.h"
#include "conf/value.h"
#include "proto/bytes.h"
#include "proto/shake.h"

static int out_of_memory(char **error)
{
    return vd_conf_wrong(error, "out of memory");
}

/* --- listeners ------------------------------------------------------------------------------- */

static const struct {
    const char *prefix;
    enum vd_listen_kind kind;
    uint16_t port;
} kinds[] = {{"mixed://", VD_LISTEN_MIXED, 1080},    {"socks://", VD_LISTEN_SOCKS, 1080},
             {"http://", VD_LISTEN_HTTP, 8080},      {"https://", VD_LISTEN_MIXED, 443},
             {"redirect://", VD_LISTEN_REDIRECT, 0}, {"tproxy://", VD_LISTEN_TPROXY, 0},
             {"forward://", VD_LISTEN_FORWARD, 0}};

#define PLACES                                                                                     \
    "[mixed://]HOST:PORT, socks://HOST:PORT, http://HOST:PORT, https://HOST:PORT, "                \
    "redirect://HOST:PORT, tproxy://HOST:PORT, forward://HOST:PORT, unix:/PATH in place of "       \
    "HOST:PORT"

/* An absolute path that a socket's address can hold; false if `text` does not begin with unix:. */
static bool is_unix(const char *text)
{
    return !strncmp(text, "unix:", 5);
}

static int read_unix(char *path, const char *text)
{
    size_t len = strlen(text + 5);

    if (text[5] != '/' || len > VD_UNIX_PATH_MAX)
        return -1;
    memcpy(path, text + 5, len + 1);
    return 0;
}

/* As vd_endpoint_read, but a listener may leave its port to the kernel: 0. A bare IPv6 address may
 * end with ":0" too, and has no port. */
static int read_place(struct vd_endpoint *at, const char *text, uint16_t port)
{
    size_t len = strlen(text);
    bool is_zero = len > 2 && !strcmp(text + len - 2, ":0");

    if (!is_zero || (*text != '[' && strchr(text, ':') != text + len - 2))
        return vd_endpoint_read(at, text, len, port);
    int result = vd_endpoint_read_host(at, text, len - 2);
    at->port = 0;
    return result;
}

static int read_where(struct vd_conf_listener *listen, const char *place, uint16_t port)
{
    if (is_unix(place))
        return listen->kind == VD_LISTEN_REDIRECT || listen->kind == VD_LISTEN_TPROXY
                   ? -1
                   : read_unix(listen->unix_path, place);
    return strchr(place, '/') ? -1 : read_place(&listen->at, place, port);
}

static int read_listen(struct vd_conf_listener *listen, const char *url, char **error)
{
    const char *place = url;
    uint16_t port = kinds[0].port;

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strncmp(url, kinds[i].prefix, strlen(kinds[i].prefix))) {
            place = url + strlen(kinds[i].prefix);
            port = kinds[i].port;
            listen->kind = kinds[i].kind;
            listen->tls_only = !strncmp(url, "https:", 6);
        }
    if (read_where(listen, place, port) < 0)
        return vd_conf_wrong(error, "bad listener `%s`; allowed: " PLACES ", port 0 to 65535", url);
    return 0;
}

bool vd_conf_listener_may_tls(const struct vd_conf_listener *listen)
{
    return listen->kind <= VD_LISTEN_HTTP;
}

int vd_conf_listener_set_cert(struct vd_conf_listener *listen, const char *cert, const char *key)
{
    free(listen->cert);
    free(listen->key);
    listen->cert = strdup(cert);
    listen->key = key ? strdup(key) : NULL;
    return listen->cert && (!key || listen->key) ? 0 : -1;
}

int vd_conf_listener_add_target(struct vd_conf_listener *listen, const char *text, char **error)
{
    struct vd_conf_target target = {.unix_path = ""};
    int result = is_unix(text) ? read_unix(target.unix_path, text)
                               : vd_endpoint_read(&target.at, text, strlen(text), 0);

    if (result < 0)
        return vd_conf_wrong(error, "bad target `%s`; allowed: HOST:PORT, unix:/PATH", text);
    if (listen->target_count == VD_TARGETS_MAX)
        return vd_conf_wrong(error, "too many targets; allowed: up to %d", VD_TARGETS_MAX);
    struct vd_conf_target *more =
        reallocarray(listen->targets, listen->target_count + 1, sizeof *more);
    if (!more)
        return out_of_memory(error);
    listen->targets = more;
    more[listen->target_count++] = target;
    return 0;
}

int vd_conf_daemon_add_listen(struct vd_conf_daemon *c, const char *url, char **error)
{
    struct vd_conf_listener listen = {
        .kind = VD_LISTEN_MIXED, .unix_mode = 0600, .rise = 2, .fall = 3};

    if (read_listen(&listen, url, error) < 0)
        return -1;
    struct vd_conf_listener *more = reallocarray(c->listens, c->listen_count + 1, sizeof *more);
    if (!more)
        return out_of_memory(error);
    c->listens = more;
    listen.title = strdup(url);
    if (!listen.title)
        return out_of_memory(error);
    more[c->listen_count++] = listen;
    return 0;
}

int vd_conf_daemon_set_admin(struct vd_conf_daemon *c, const char *place, char **error)
{
    enum { ADMIN_PORT = 9180 };
    struct vd_conf_listener *admin = calloc(1, sizeof *admin);

    if (!admin)
        return out_of_memory(error);
    *admin = (struct vd_conf_listener){
        .title = strdup("admin"), .kind = VD_LISTEN_ADMIN, .unix_mode = 0600};
    if (!admin->title || read_where(admin, place, ADMIN_PORT) < 0) {
        vd_conf_listener_free(admin);
        free(admin);
        return vd_conf_wrong(error, "bad admin `%s`; allowed: HOST[:PORT], unix:/PATH", place);
    }
    if (c->admin)
        vd_conf_listener_free(c->admin);
    free(c->admin);
    c->admin = admin;
    return 0;
}

/* --- users ----------------------------------------------------------------------------------- */

/* `secret` NULL: no memory. Takes nothing; copies. */
static int add_user(struct vd_conf_daemon *c, const char *name, size_t name_len, const char *secret,
                    bool hashed, char **error)
{
    for (size_t i = 0; i < c->user_count; i++)
        if (strlen(c->users[i].name) == name_len && !memcmp(c->users[i].name, name, name_len))
            return vd_conf_wrong(error, "user `%.*s` is given twice", (int)name_len, name);

    struct vd_conf_user *more = reallocarray(c->users, c->user_count + 1, sizeof *more);
    if (!more)
        return out_of_memory(error);
    c->users = more;
    struct vd_conf_user user = {.name = strndup(name, name_len)};
    char *copy = strdup(secret);
    if (!user.name || !copy) {
        free(user.name);
        free(copy);
        return out_of_memory(error);
    }
    *(hashed ? &user.hash : &user.password) = copy;
    more[c->user_count++] = user;
    return 0;
}

int vd_conf_daemon_add_user(struct vd_conf_daemon *c, const char *name_password, char **error)
{
    const char *colon = strchr(name_password, ':');
    size_t len = colon ? (size_t)(colon - name_password) : 0;

    if (!colon || len == 0 || len > VD_LOGIN_MAX || !colon[1] || strlen(colon + 1) > VD_LOGIN_MAX)
        return vd_conf_wrong(error, "bad user `%.*s%s`; allowed: NAME:PASSWORD, 1 to %d bytes each",
                             colon ? (int)len : 0, name_password, colon ? ":***" : "***",
                             VD_LOGIN_MAX);
    return add_user(c, name_password, len, colon + 1, false, error);
}

/* What crypt(5) can check against: $id$..., or the 13 bytes of traditional DES. */
static bool is_hash(const char *text)
{
    const char *letters = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    size_t len = strlen(text);

    if (text[0] == '$')
        return len > 8 && strchr(text + 1, '$') && strspn(text, "$,=-") <= 1 &&
               !strpbrk(text, ":;*!\\ \t");
    return len == 13 && strspn(text, letters) == len;
}

int vd_conf_daemon_set_admin_login(struct vd_conf_daemon *c, const char *text, char **error)
{
    const char *colon = strchr(text, ':');

    if (!colon || colon == text || colon - text > VD_LOGIN_MAX || !is_hash(colon + 1))
        return vd_conf_wrong(error,
                             "bad admin_login `%.*s:***`; allowed: NAME:HASH, of crypt(3), "
                             "what `openssl passwd -6` prints",
                             colon ? (int)(colon - text) : 0, text);
    free(c->admin_login);
    c->admin_login = strdup(text);
    return c->admin_login ? 0 : out_of_memory(error);
}

static int add_line(struct vd_conf_daemon *c, const char *path, int number, char *line,
                    char **error)
{
    char *wrong = NULL;
    line[strcspn(line, "\r\n")] = 0;
    const char *colon = strchr(line, ':');
    size_t len = colon ? (size_t)(colon - line) : 0;

    if (!line[0] || line[0] == '#')
        return 0;
    if (len == 0 || len > VD_LOGIN_MAX)
        return vd_conf_wrong(error,
                             "%s:%d: bad line `%.*s`; allowed: NAME:HASH, NAME of 1 to %d "
                             "bytes",
                             path, number, (int)len, line, VD_LOGIN_MAX);
    if (!is_hash(colon + 1))
        return vd_conf_wrong(error,
                             "%s:%d: the password of `%.*s` is not a crypt(3) hash; allowed: "
                             "what `openssl passwd -6` prints",
                             path, number, (int)len, line);
    if (add_user(c, line, len, colon + 1, true, &wrong) < 0) {
        vd_conf_wrong(error, "%s:%d: %s", path, number, wrong ? wrong : "out of memory");
        free(wrong);
        return -1;
    }
    return 0;
}

int vd_conf_daemon_add_users(struct vd_conf_daemon *c, const char *path, char **error)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t cap = 0;
    int result = 0;

    if (!file)
        return vd_conf_wrong(error, "users file `%s`: %s", path, strerror(errno));
    for (int number = 1; result == 0; number++) {
        ssize_t len = getline(&line, &cap, file);
        if (len < 0)
            break;
        if (strlen(line) != (size_t)len)
            result = vd_conf_wrong(error, "%s:%d: NUL byte; allowed: NAME:HASH", path, number);
        else
            result = add_line(c, path, number, line, error);
    }
    if (result == 0 && ferror(file))
        result = vd_conf_wrong(error, "users file `%s`: cannot be read", path);
    free(line);
    fclose(file);
    return result;
}

/* --- allow and deny -------------------------------------------------------------------------- */

struct vd_conf_access *vd_conf_daemon_new_access(struct vd_conf_daemon *c, enum vd_access verdict,
                                                 const char *title)
{
    struct vd_conf_access *more = reallocarray(c->access, c->access_count + 1, sizeof *more);
    if (!more)
        return NULL;
    c->access = more;
    more += c->access_count;
    *more =
        (struct vd_conf_access){.title = strdup(title), .verdict = verdict, .via = VD_VIA_UNSAID};
    if (!more->title)
        return NULL;
    c->access_count++;
    return more;
}

int vd_conf_access_add_command(struct vd_conf_access *access, const char *text, char **error)
{
    static const char *const words[] = {"connect", "bind", "associate", NULL};
    static const enum vd_command commands[] = {VD_CONNECT, VD_BIND, VD_ASSOCIATE};
    int index = vd_conf_choice("command", words, text, error);

    if (index < 0)
        return -1;
    access->commands |= 1U << commands[index];
    return 0;
}

int vd_conf_access_add_user(struct vd_conf_access *access, const char *name, char **error)
{
    if (!name[0] || strlen(name) > VD_LOGIN_MAX)
        return vd_conf_wrong(error, "bad user `%s`; allowed: a name of 1 to %d bytes", name,
                             VD_LOGIN_MAX);

    char **more = reallocarray(access->users, access->user_count + 1, sizeof *more);
    if (!more)
        return out_of_memory(error);
    access->users = more;
    more[access->user_count] = strdup(name);
    if (!more[access->user_count])
        return out_of_memory(error);
    access->user_count++;
    return 0;
}

static int add_pattern(struct vd_pattern **patterns, size_t *count, const char *text, char **error)
{
    struct vd_pattern *more = reallocarray(*patterns, *count + 1, sizeof *more);
    if (!more)
        return out_of_memory(error);
    *patterns = more;
    if (vd_conf_pattern(&more[*count], text, error) < 0)
        return -1;
    ++*count;
    return 0;
}

static int set_upstream(struct vd_conf_access *access, const char *title, char **error)
{
    if (access->upstream)
        return vd_conf_wrong(error, "a second upstream `%s` in a rule; allowed: one", title);
    access->upstream = strdup(title);
    return access->upstream ? 0 : out_of_memory(error);
}

static int set_egress(struct vd_conf_access *access, const char *key, const char *value,
                      char **error)
{
    if (access->verdict == VD_DENY)
        return vd_conf_wrong(error, "`%s` in a deny rule; allowed: in allow rules only", key);
    return vd_conf_egress_set(&access->egress, key, value, error);
}

int vd_conf_access_add(struct vd_conf_access *access, const char *key, const char *value,
                       char **error)
{
    if (!strcmp(key, "from"))
        return add_pattern(&access->from, &access->from_count, value, error);
    if (!strcmp(key, "to"))
        return add_pattern(&access->to, &access->to_count, value, error);
    if (!strcmp(key, "commands"))
        return vd_conf_access_add_command(access, value, error);
    if (!strcmp(key, "users"))
        return vd_conf_access_add_user(access, value, error);
    if (!strcmp(key, "upstream"))
        return set_upstream(access, value, error);
    if (!strcmp(key, "source") || !strcmp(key, "family"))
        return set_egress(access, key, value, error);
    return vd_conf_wrong(error,
                         "unknown part `%s` of a rule; allowed: from, to, commands, users, "
                         "upstream, source, family",
                         key);
}

/* One word of a rule, in place: KEY=VALUE[,VALUE...], or a pattern for `from`. */
static int add_word(struct vd_conf_access *access, char *word, char **error)
{
    const char *key = "from";
    char *equal = strchr(word, '=');
    char *rest = word;
    char *value;

    if (equal) {
        *equal = 0;
        key = word;
        rest = equal + 1;
    }
    if (!*rest)
        return vd_conf_wrong(error, "nothing behind `%s=`; allowed: VALUE[,VALUE...]", key);
    while ((value = strsep(&rest, ",")))
        if (vd_conf_access_add(access, key, value, error) < 0)
            return -1;
    return 0;
}

int vd_conf_daemon_add_access(struct vd_conf_daemon *c, enum vd_access verdict, const char *rule,
                              char **error)
{
    struct vd_conf_access *access = vd_conf_daemon_new_access(c, verdict, rule);
    char *copy = strdup(rule), *rest = copy, *word;
    int result = 0;
    size_t words = 0;

    if (!access || !copy) {
        free(copy);
        return out_of_memory(error);
    }
    while (result == 0 && (word = strsep(&rest, " \t"))) {
        if (!*word)
            continue;
        words++;
        result = add_word(access, word, error);
    }
    if (result == 0 && words == 0)
        result = vd_conf_wrong(error, "empty rule; allowed: [from=]PATTERN, to=PATTERN, "
                                      "commands=connect, users=NAME");
    free(copy);
    return result;
}
