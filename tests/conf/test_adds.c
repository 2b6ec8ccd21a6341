/*
 * What the daemon's command line gives piece by piece.
 */
#include "conf/daemon.h"
#include "proto/shake.h"
#include "tests/conf/conf_test.h"

#define LISTENS                                                                                    \
    "[mixed://]HOST:PORT, socks://HOST:PORT, http://HOST:PORT, https://HOST:PORT, "                \
    "redirect://HOST:PORT, tproxy://HOST:PORT, forward://HOST:PORT, unix:/PATH in place of "       \
    "HOST:PORT"

static const struct row {
    char kind; /* l: listen, u: user, a: allow, m: limit, x: hop */
    const char *text, *error;
} rows[] = {
    {'l', "127.0.0.1:1080", NULL},
    {'l', "mixed://gw.example", NULL},
    {'l', "http://[::]:0", NULL},
    {'l', "unix:/run/x", NULL},
    {'l', "http://unix:/run/x", NULL},
    {'l', "tproxy://a:1", NULL},
    {'l', "https://a:1", NULL},
    {'l', "https://a:x", "bad listener `https://a:x`; allowed: " LISTENS ", port 0 to 65535"},
    {'l', "forward://a:1/b:2",
     "bad listener `forward://a:1/b:2`; allowed: " LISTENS ", port 0 to 65535"},
    {'l', "redirect://a", "bad listener `redirect://a`; allowed: " LISTENS ", port 0 to 65535"},
    {'l', "", "bad listener ``; allowed: " LISTENS ", port 0 to 65535"},
    {'l', "h:1/x", "bad listener `h:1/x`; allowed: " LISTENS ", port 0 to 65535"},
    {'l', "h\n:1", "bad listener `h\\x0a:1`; allowed: " LISTENS ", port 0 to 65535"},
    {'u', "alice:se:cret", NULL},
    {'u', "alice", "bad user `***`; allowed: NAME:PASSWORD, 1 to 255 bytes each"},
    {'u', "alice:", "bad user `alice:***`; allowed: NAME:PASSWORD, 1 to 255 bytes each"},
    {'u', ":secret", "bad user `:***`; allowed: NAME:PASSWORD, 1 to 255 bytes each"},
    {'a', "10.0.0.0/8", NULL},
    {'a', "from=10.0.0.0/8,::1 to=*.lan:443 commands=connect,bind users=a,b", NULL},
    {'a', "", "empty rule; allowed: [from=]PATTERN, to=PATTERN, commands=connect, users=NAME"},
    {'a', "to=", "nothing behind `to=`; allowed: VALUE[,VALUE...]"},
    {'a', "port=25",
     "unknown part `port` of a rule; allowed: from, to, commands, users, "
     "upstream, source, family"},
    {'a', "to=* source=192.0.2.7,fd00::7,%eth1 family=ipv4", NULL},
    {'a', "source=fe80::1",
     "bad source `fe80::1`; allowed: an IPv4 and an IPv6 address of this "
     "machine, and %INTERFACE"},
    {'a', "source=%", "bad source `%`; allowed: %INTERFACE, 1 to 15 bytes"},
    {'a', "family=any", "unknown family `any`; allowed: prefer_ipv6, prefer_ipv4, ipv6, ipv4"},
    {'a', "to=* upstream=u", NULL},
    {'a', "to=* upstream=u,v", "a second upstream `v` in a rule; allowed: one"},
    {'a', "commands=fly", "unknown command `fly`; allowed: connect, bind, associate"},
    {'a', "to=1.2.3.4:99999",
     "bad pattern `1.2.3.4:99999`; allowed: an address, ADDRESS/BITS, a name, *.SUFFIX or *, each "
     "with an optional :PORT (IPv6 with a port in brackets)"},
    {'m', "per=client sessions=5 new=10/s rate=1G from=10.0.0.0/8,::1 users=a,b", NULL},
    {'m', "", "limit `` limits nothing; allowed: sessions, new, rate"},
    {'m', "sessions", "bad part `sessions` of a limit; allowed: KEY=VALUE"},
    {'m', "rate=", "nothing behind `rate=`; allowed: VALUE[,VALUE...]"},
    {'m', "to=x", "unknown part `to` of a limit; allowed: per, sessions, new, rate, from, users"},
    {'x', "socks5h://a:b@h:1", NULL},
    {'x', "socks5h://a:b@h:x",
     "bad port in the proxy URL `socks5h://a:***@h:x`; allowed: 1 to "
     "65535"},
};

static int add(struct vd_conf_daemon *c, const struct row *row, char **error)
{
    switch (row->kind) {
    case 'l':
        return vd_conf_daemon_add_listen(c, row->text, error);
    case 'u':
        return vd_conf_daemon_add_user(c, row->text, error);
    case 'a':
        return vd_conf_daemon_add_access(c, VD_ALLOW, row->text, error);
    case 'm':
        return vd_conf_daemon_add_limit(c, row->text, error);
    default:
        return vd_conf_daemon_add_hop(c, row->text, error);
    }
}

static void play(const struct row *row)
{
    struct vd_conf_daemon c;
    char *error = NULL;

    tap_begin();
    vd_conf_daemon_init(&c);
    if (add(&c, row, &error) != (row->error ? -1 : 0))
        tap_wrong("the result is wrong");
    conf_same(error, row->error);
    vd_conf_daemon_free(&c);
    tap_end(row->text);
}

static void test_meaning(void)
{
    struct vd_conf_daemon c;
    char *error = NULL;

    vd_conf_daemon_init(&c);
    vd_conf_daemon_add_user(&c, "alice:se:cret", &error);
    vd_conf_daemon_add_access(&c, VD_DENY, "from=10.0.0.0/8,::1 users=a,b commands=bind", &error);
    vd_conf_daemon_add_listen(&c, "fe80::1:0", &error);
    vd_conf_daemon_add_listen(&c, "socks://[fe80::1]:0", &error);
    tap_ok(c.listen_count == 2 && c.listens[0].at.port == 1080 && c.listens[1].at.port == 0 &&
               c.listens[0].at.ip.bytes[13] == 1 && c.listens[1].at.ip.bytes[15] == 1,
           "a bare IPv6 address that ends with :0, and port 0");
    tap_ok(c.user_count == 1 && !strcmp(c.users[0].password, "se:cret") && !c.users[0].hash,
           "a password may contain colons");
    tap_ok(c.access_count == 1 && c.access[0].verdict == VD_DENY && c.access[0].from_count == 2 &&
               c.access[0].to_count == 0 && c.access[0].user_count == 2 &&
               c.access[0].commands == 1U << VD_BIND,
           "a rule of several parts");
    tap_begin();
    if (vd_conf_daemon_add_user(&c, "alice:other", &error) != -1)
        tap_wrong("the result is wrong");
    conf_same(error, "user `alice` is given twice");
    tap_end("a user given twice");
    vd_conf_daemon_free(&c);
}

/* Titles become indices; what no file has said is told all the same. */
static void test_links(void)
{
    struct vd_conf_daemon c;
    char *error = NULL;

    vd_conf_daemon_init(&c);
    vd_conf_daemon_add_hop(&c, "http://h", &error);
    vd_conf_daemon_new_upstream(&c, "two");
    vd_conf_daemon_add_access(&c, VD_ALLOW, "to=a upstream=two", &error);
    vd_conf_daemon_add_access(&c, VD_ALLOW, "to=b upstream=direct", &error);
    vd_conf_daemon_add_access(&c, VD_ALLOW, "to=c", &error);
    c.upstreams[1].fallback = strdup("default");
    tap_ok(vd_conf_daemon_link(&c, &error) == 0 && !error && c.access[0].via == 1 &&
               c.access[1].via == VD_VIA_DIRECT && c.access[2].via == VD_VIA_UNSAID &&
               c.upstreams[1].fallback_index == 0,
           "titles of upstreams become indices");
    c.upstreams[0].fallback = strdup("two");
    tap_begin();
    if (vd_conf_daemon_link(&c, &error) != -1)
        tap_wrong("the result is wrong");
    conf_same(error, "the fallbacks of upstream `default` go in a circle");
    tap_end("fallbacks in a circle");
    vd_conf_daemon_add_access(&c, VD_ALLOW, "to=c upstream=three", &error);
    tap_begin();
    error = NULL;
    if (vd_conf_daemon_link(&c, &error) != -1)
        tap_wrong("the result is wrong");
    conf_same(error, "unknown upstream `three`; allowed: direct, default, two");
    tap_end("an upstream that is unknown");
    vd_conf_daemon_free(&c);
}

static void test_too_many_hops(void)
{
    struct vd_conf_daemon c;
    char *error = NULL;
    int result = 0;

    tap_begin();
    vd_conf_daemon_init(&c);
    for (int i = 0; i < VD_HOPS_MAX; i++)
        result |= vd_conf_daemon_add_hop(&c, "http://h", &error);
    if (result != 0 || vd_conf_daemon_add_hop(&c, "http://h", &error) != -1)
        tap_wrong("the result is wrong");
    conf_same(error, "too many hops; allowed: up to 16");
    vd_conf_daemon_free(&c);
    tap_end("17 hops");
}

int main(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        play(&rows[i]);
    test_meaning();
    test_links();
    test_too_many_hops();
    return tap_done();
}
