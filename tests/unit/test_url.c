/* proto/url: what is taken, how it is printed, and what is said of the rest. */
#include "proto/url.h"

#include <string.h>

#include "proto/err.h"
#include "tests/unit/guard.h"
#include "tests/unit/tap.h"

#define BYTES(s) s, sizeof(s) - 1

static const struct {
    const char *text;
    enum vd_scheme scheme;
    const char *printed;
    const char *user; /* NULL: no login */
    const char *password;
    uint64_t timeout_ms;
} good[] = {
    {"socks4://h", VD_SOCKS4, "socks4://h:1080", NULL, NULL, 0},
    {"socks4a://h", VD_SOCKS4A, "socks4a://h:1080", NULL, NULL, 0},
    {"socks5://h", VD_SOCKS5, "socks5://h:1080", NULL, NULL, 0},
    {"socks5h://h", VD_SOCKS5H, "socks5h://h:1080", NULL, NULL, 0},
    {"http://h", VD_HTTP, "http://h:8080", NULL, NULL, 0},
    {"https://h", VD_HTTPS, "https://h:443", NULL, NULL, 0},
    {"SOCKS5h://H", VD_SOCKS5H, "socks5h://H:1080", NULL, NULL, 0},
    {"http://h:3128/", VD_HTTP, "http://h:3128", NULL, NULL, 0},
    {"http://h:3128/?timeout=1", VD_HTTP, "http://h:3128", NULL, NULL, 1000},
    {"http://h?timeout=8", VD_HTTP, "http://h:8080", NULL, NULL, 8000},
    {"http://h?timeout=1&", VD_HTTP, "http://h:8080", NULL, NULL, 1000},
    {"http://h?", VD_HTTP, "http://h:8080", NULL, NULL, 0},
    {"http://h?timeout=0.25", VD_HTTP, "http://h:8080", NULL, NULL, 250},
    {"http://h?timeout=2.0", VD_HTTP, "http://h:8080", NULL, NULL, 2000},
    {"http://h?timeout=1.5", VD_HTTP, "http://h:8080", NULL, NULL, 1500},
    {"http://h?timeout=1.0009", VD_HTTP, "http://h:8080", NULL, NULL, 1000},
    {"http://h?timeout=0.001", VD_HTTP, "http://h:8080", NULL, NULL, 1},
    {"http://h?timeout=86400", VD_HTTP, "http://h:8080", NULL, NULL, 86400000},
    {"http://h?timeout=1&timeout=2", VD_HTTP, "http://h:8080", NULL, NULL, 2000},
    {"socks5://10.0.0.2:1", VD_SOCKS5, "socks5://10.0.0.2:1", NULL, NULL, 0},
    {"socks5://[::1]:65535", VD_SOCKS5, "socks5://[::1]:65535", NULL, NULL, 0},
    {"socks5://[2001:db8::1]", VD_SOCKS5, "socks5://[2001:db8::1]:1080", NULL, NULL, 0},
    {"socks5h://alice:secret@gw.example:1080", VD_SOCKS5H, "socks5h://alice@gw.example:1080",
     "alice", "secret", 0},
    {"socks5h://alice@gw.example", VD_SOCKS5H, "socks5h://alice@gw.example:1080", "alice", "", 0},
    {"socks5h://alice:@gw.example", VD_SOCKS5H, "socks5h://alice@gw.example:1080", "alice", "", 0},
    {"socks5h://@gw.example", VD_SOCKS5H, "socks5h://gw.example:1080", NULL, NULL, 0},
    {"socks5h://a%40b:p%3a%2F%25@h", VD_SOCKS5H, "socks5h://a%40b@h:1080", "a@b", "p:/%", 0},
    {"socks5h://a%3Ab:c:d@h", VD_SOCKS5H, "socks5h://a%3Ab@h:1080", "a:b", "c:d", 0},
    {"socks5h://a:p@ss@h", VD_SOCKS5H, "socks5h://a@h:1080", "a", "p@ss", 0},
    {"socks5h://a%01:b%0a@h", VD_SOCKS5H, "socks5h://a%01@h:1080", "a\1", "b\n", 0},
    {"socks5h://%c3%a9@h", VD_SOCKS5H, "socks5h://%C3%A9@h:1080", "\xc3\xa9", "", 0},
    {"http://:pw@h", VD_HTTP, "http://h:8080", "", "pw", 0},
    {"http://a%20b:p%20%21q@h", VD_HTTP, "http://a%20b@h:8080", "a b", "p !q", 0},
    {"socks5h://%61z09AZ-._~!@h", VD_SOCKS5H, "socks5h://az09AZ-._~!@h:1080", "az09AZ-._~!", "", 0},
    {"http://u:p:q@h", VD_HTTP, "http://u@h:8080", "u", "p:q", 0},
    {"socks4://user@h", VD_SOCKS4, "socks4://user@h:1080", "user", "", 0},
    {"socks5h://unix:/run/tor/socks", VD_SOCKS5H, "socks5h://unix:/run/tor/socks", NULL, NULL, 0},
    {"socks5h://u:p@unix:/a%20b?timeout=2", VD_SOCKS5H, "socks5h://u@unix:/a%20b", "u", "p", 2000},
    {"socks5h://unix:1080", VD_SOCKS5H, "socks5h://unix:1080", NULL, NULL, 0},
    {"socks5h://unix", VD_SOCKS5H, "socks5h://unix:1080", NULL, NULL, 0},
};

static void print(char buf[VD_URL_TEXT], const struct vd_hop *hop)
{
    struct vd_out out = vd_out_over(buf, VD_URL_TEXT);

    vd_url_print(&out, hop);
    if (!out.ok)
        tap_wrong("does not fit into VD_URL_TEXT");
    vd_out_string(&out);
}

static void check_login(const struct vd_hop *hop, const char *user, const char *password)
{
    if (hop->has_login != (user != NULL))
        tap_wrong("login %d", hop->has_login);
    if (!user)
        return;
    if (hop->user_len != strlen(user) || strcmp(hop->user, user))
        tap_wrong("user '%s'", hop->user);
    if (hop->password_len != strlen(password) || strcmp(hop->password, password))
        tap_wrong("password '%s'", hop->password);
}

static void reads(size_t i)
{
    char buf[VD_URL_TEXT], again[VD_URL_TEXT];
    struct vd_hop hop, second;
    struct vd_url_error why;
    size_t len = strlen(good[i].text);

    tap_begin();
    if (vd_url_read(&hop, (char *)guard_put(good[i].text, len), len, &why) != VD_OK)
        tap_wrong("refused: %s, %s", why.part, why.allowed);
    if (hop.scheme != good[i].scheme || hop.timeout_ms != good[i].timeout_ms || hop.addr_count)
        tap_wrong("scheme %d, timeout %u", hop.scheme, hop.timeout_ms);
    check_login(&hop, good[i].user, good[i].password);
    print(buf, &hop);
    if (strcmp(buf, good[i].printed))
        tap_wrong("printed as %s", buf);
    if (vd_url_read(&second, buf, strlen(buf), &why) != VD_OK)
        tap_wrong("what is printed is refused: %s, %s", why.part, why.allowed);
    print(again, &second);
    if (strcmp(buf, again))
        tap_wrong("printed again as %s", again);
    tap_end(good[i].text);
}

static const struct {
    const char *text;
    enum vd_pipeline pipeline;
    bool no_probe;
} flights[] = {
    {"socks5h://h", VD_PIPELINE_AUTO, false},
    {"socks5h://h?pipeline=off", VD_PIPELINE_OFF, false},
    {"socks5h://h?timeout=2&pipeline=lead", VD_PIPELINE_LEAD, false},
    {"socks5h://h?pipeline=lead&pipeline=auto", VD_PIPELINE_AUTO, false},
    {"socks5h://h?probe=no", VD_PIPELINE_AUTO, true},
    {"socks5h://h?probe=no&pipeline=lead", VD_PIPELINE_LEAD, true},
    {"socks5h://h?probe=no&probe=yes", VD_PIPELINE_AUTO, false},
};

static void reads_flights(void)
{
    struct vd_url_error why;
    struct vd_hop hop;

    tap_begin();
    for (size_t i = 0; i < sizeof flights / sizeof *flights; i++)
        if (vd_url_read(&hop, flights[i].text, strlen(flights[i].text), &why) != VD_OK ||
            hop.pipeline != flights[i].pipeline || hop.no_probe != flights[i].no_probe)
            tap_wrong("%s", flights[i].text);
    tap_end("whether it may be told several things at once");
}

/* What is printed of the options, and what that is printed as once it was read again. */
static const struct {
    const char *text, *printed, *ca;
    bool no_verify;
} options[] = {
    {"https://h", "", "", false},
    {"https://h?verify=yes", "", "", false},
    {"https://h?verify=no", "?verify=no", "", true},
    {"https://u:p@h:8443/?verify=no&timeout=1.5", "?timeout=1.500&verify=no", "", true},
    {"https://h?verify=no&verify=yes&ca=x", "?ca=x", "x", false},
    {"https://h?ca=/etc/ssl/my%20ca.pem", "?ca=/etc/ssl/my%20ca.pem", "/etc/ssl/my ca.pem", false},
    {"https://h?ca=a%26verify=no&probe=no", "?probe=no&ca=a%26verify=no", "a&verify=no", false},
    {"https://h?ca=a%25b%23%3f=c", "?ca=a%25b%23%3F=c", "a%b#?=c", false},
    {"https://unix:/run/x?verify=no", "?verify=no", "", true},
    {"http://h?verify=yes", "", "", false},
    {"socks5h://h?timeout=0.007", "?timeout=0.007", "", false},
    {"socks5h://h?timeout=0.07&pipeline=off", "?timeout=0.070&pipeline=off", "", false},
    {"socks5h://h?timeout=86400&pipeline=lead&probe=no", "?timeout=86400&pipeline=lead&probe=no",
     "", false},
};

static void reads_options(size_t i)
{
    char text[VD_URL_OPTIONS_TEXT + 16], again[VD_URL_OPTIONS_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text), last = vd_out_over(again, sizeof again);
    struct vd_url_error why;
    struct vd_hop hop;
    size_t begin;

    tap_begin();
    if (vd_url_read(&hop, options[i].text, strlen(options[i].text), &why) != VD_OK)
        tap_wrong("refused: %s", why.allowed);
    if (strcmp(hop.ca, options[i].ca) || hop.no_verify != options[i].no_verify)
        tap_wrong("ca `%s`, no_verify %d", hop.ca, hop.no_verify);
    vd_url_print(&out, &hop);
    begin = out.len;
    vd_url_print_options(&out, &hop);
    if (strcmp(vd_out_string(&out) + begin, options[i].printed))
        tap_wrong("printed as %s", text + begin);
    if (vd_url_read(&hop, text, out.len, &why) != VD_OK)
        tap_wrong("what is printed is refused: %s", why.allowed);
    vd_url_print_options(&last, &hop);
    if (strcmp(vd_out_string(&last), options[i].printed))
        tap_wrong("printed again as %s", again);
    tap_end(options[i].text);
}

static const struct {
    const char *text;
    size_t len;
    const char *part;
} bad[] = {
    {BYTES(""), "scheme"},
    {BYTES("h:1080"), "scheme"},
    {BYTES("socks://h"), "scheme"},
    {BYTES("socks6://h"), "scheme"},
    {BYTES("socks5:/h"), "scheme"},
    {BYTES("socks5"), "scheme"},
    {BYTES("socks5:"), "scheme"},
    {BYTES(" socks5://h"), "url"},
    {BYTES("socks5h://h\n"), "url"},
    {BYTES("socks5h://h\0x"), "url"},
    {BYTES("socks5h://a b@h"), "url"},
    {BYTES("socks5h://h#x"), "url"},
    {BYTES("socks5h://h/x"), "url"},
    {BYTES("socks5h://h//"), "url"},
    {BYTES("socks5://"), "host"},
    {BYTES("socks5://u:p@"), "host"},
    {BYTES("socks5://:1080"), "host"},
    {BYTES("socks5:///x"), "host"},
    {BYTES("socks5://[::1"), "host"},
    {BYTES("socks5://::1"), "host"},
    {BYTES("socks5://::1:1080"), "host"},
    {BYTES("socks5://[1.2.3.4]"), "host"},
    {BYTES("socks5://[fe80::1%25eth0]"), "host"},
    {BYTES("socks5://a%20b"), "host"},
    {BYTES("socks5://a%00b"), "host"},
    {BYTES("socks5://a\"b"), "host"},
    {BYTES("socks5://h:"), "port"},
    {BYTES("socks5://h:0"), "port"},
    {BYTES("socks5://h:65536"), "port"},
    {BYTES("socks5://h:66616"), "port"},
    {BYTES("socks5://h:-1"), "port"},
    {BYTES("socks5://h:http"), "port"},
    {BYTES("socks5://[::1]1080"), "port"},
    {BYTES("socks5://[::1]:x"), "port"},
    {BYTES("socks5h://unix:"), "port"},
    {BYTES("socks5h://unix:/"), "host"},
    {BYTES("socks5h://unix:/a%00b"), "host"},
    {BYTES("socks5h://unix:/a%4"), "host"},
    {BYTES("socks5://:p@h"), "user"},
    {BYTES("socks5://a%@h"), "user"},
    {BYTES("socks5://a%4@h"), "user"},
    {BYTES("socks5://a%4g@h"), "user"},
    {BYTES("socks5://a%g4@h"), "user"},
    {BYTES("socks4://a%00b@h"), "user"},
    {BYTES("http://a%3ab:p@h"), "user"},
    {BYTES("http://a%0d%0ab:p@h"), "user"},
    {BYTES("http://a%00:p@h"), "user"},
    {BYTES("http://a:p%0aX@h"), "password"},
    {BYTES("http://a:p%00@h"), "password"},
    {BYTES("http://a:p%zz@h"), "password"},
    {BYTES("socks4://a:b@h"), "password"},
    {BYTES("socks4a://a:@h"), "password"},
    {BYTES("http://h?x"), "option"},
    {BYTES("http://h?verify=no"), "option"},
    {BYTES("socks5h://h?ca=/x"), "option"},
    {BYTES("https://h?verify="), "option"},
    {BYTES("https://h?verify=maybe"), "option"},
    {BYTES("https://h?verify=no&ca=/x"), "option"},
    {BYTES("https://h?ca=/x&verify=no"), "option"},
    {BYTES("https://h?ca="), "option"},
    {BYTES("https://h?ca"), "option"},
    {BYTES("https://h?ca=%00"), "option"},
    {BYTES("https://h?ca=a%0ab"), "option"},
    {BYTES("https://h?ca=%4"), "option"},
    {BYTES("https://unix:/x"), "option"},
    {BYTES("https://unix:/x?ca=/y"), "option"},
    {BYTES("http://h?x=1"), "option"},
    {BYTES("http://h?timeout"), "option"},
    {BYTES("http://h?timeout="), "option"},
    {BYTES("http://h?timeout=0"), "option"},
    {BYTES("http://h?timeout=0.0"), "option"},
    {BYTES("http://h?timeout=0.0001"), "option"},
    {BYTES("http://h?timeout=-1"), "option"},
    {BYTES("http://h?timeout=1s"), "option"},
    {BYTES("http://h?timeout=1."), "option"},
    {BYTES("http://h?timeout=.5"), "option"},
    {BYTES("http://h?timeout=1.5.5"), "option"},
    {BYTES("http://h?timeout=1,5"), "option"},
    {BYTES("http://h?timeout=86400.001"), "option"},
    {BYTES("http://h?timeout=86401"), "option"},
    {BYTES("http://h?timeout=1&&timeout=2"), "option"},
    {BYTES("http://h?Timeout=1"), "option"},
    {BYTES("http://h?pipeline"), "option"},
    {BYTES("http://h?pipeline="), "option"},
    {BYTES("http://h?pipeline=on"), "option"},
    {BYTES("http://h?pipeline=LEAD"), "option"},
    {BYTES("http://h?pipeline=leads"), "option"},
    {BYTES("http://h?probe"), "option"},
    {BYTES("http://h?probe="), "option"},
    {BYTES("http://h?probe=1"), "option"},
    {BYTES("http://h?probe=none"), "option"},
    {BYTES("http://h?timeout=1#x"), "option"},
};

static void refuses(size_t i)
{
    struct vd_hop hop;
    struct vd_url_error why = {NULL, NULL};
    int r = vd_url_read(&hop, (char *)guard_put(bad[i].text, bad[i].len), bad[i].len, &why);

    tap_begin();
    if (r != -VD_ERR_PROTOCOL)
        tap_wrong("result %d", r);
    else if (!why.part || strcmp(why.part, bad[i].part) || !why.allowed || !*why.allowed)
        tap_wrong("the part is said to be %s", why.part);
    tap_end(bad[i].len ? bad[i].text : "nothing at all");
}

/* A text of n times `unit` in the middle. */
static int read_long(const char *before, const char *unit, size_t n, const char *after,
                     struct vd_hop *hop)
{
    char text[4096];
    struct vd_out out = vd_out_over(text, sizeof text);
    struct vd_url_error why;

    vd_out_text(&out, before);
    for (size_t i = 0; i < n; i++)
        vd_out_text(&out, unit);
    vd_out_text(&out, after);
    return vd_url_read(hop, (char *)guard_put(text, out.len), out.len, &why);
}

static void lengths(void)
{
    char buf[VD_URL_TEXT];
    struct vd_hop hop;

    tap_ok(read_long("socks5://", "u", 255, ":p@h", &hop) == VD_OK && hop.user_len == 255,
           "a user of 255 bytes");
    tap_ok(read_long("socks5://", "u", 256, ":p@h", &hop) < 0, "a user of 256 bytes");
    tap_ok(read_long("socks5://u:", "%ff", 255, "@h", &hop) == VD_OK && hop.password_len == 255,
           "a password of 255 encoded bytes");
    tap_ok(read_long("socks5://u:", "%ff", 256, "@h", &hop) < 0, "a password of 256 encoded bytes");
    tap_ok(read_long("socks5://", "n", 255, "", &hop) == VD_OK && hop.at.name_len == 255,
           "a host of 255 bytes");
    tap_ok(read_long("socks5://", "n", 256, "", &hop) < 0, "a host of 256 bytes");
    tap_ok(read_long("http://unix:/", "x", VD_UNIX_PATH_MAX - 1, "", &hop) == VD_OK &&
               hop.unix_len == VD_UNIX_PATH_MAX,
           "the longest path of a unix socket");
    tap_ok(read_long("http://unix:/", "x", VD_UNIX_PATH_MAX, "", &hop) < 0, "a longer one");

    tap_ok(read_long("https://h?ca=", "%20", VD_CA_MAX, "", &hop) == VD_OK &&
               strlen(hop.ca) == VD_CA_MAX,
           "the longest ca");
    tap_ok(read_long("https://h?ca=", "x", VD_CA_MAX + 1, "", &hop) < 0, "a longer one");

    tap_begin();
    struct vd_out options_out = vd_out_over(buf, VD_URL_OPTIONS_TEXT);
    read_long("https://h?timeout=1.001&pipeline=lead&probe=no&ca=", "%20", VD_CA_MAX, "", &hop);
    vd_url_print_options(&options_out, &hop);
    if (!options_out.ok || options_out.len == 0)
        tap_wrong("no room");
    tap_end("VD_URL_OPTIONS_TEXT takes the longest options");

    tap_begin();
    read_long("socks5h://", "%ff", 255, "@unix:/", &hop);
    read_long("socks5h://", "%ff", 255, "@h", &hop);
    memset(hop.at.name, 'n', VD_NAME_MAX);
    hop.at.name_len = VD_NAME_MAX;
    print(buf, &hop);
    memset(hop.unix_path, ' ', VD_UNIX_PATH_MAX);
    hop.unix_len = VD_UNIX_PATH_MAX;
    print(buf, &hop);
    tap_end("VD_URL_TEXT takes the longest URL");
}

static void helpers(void)
{
    struct vd_hop hop = {.scheme = VD_SOCKS4};

    tap_begin();
    for (unsigned scheme = VD_SOCKS4; scheme <= VD_HTTPS; scheme++) {
        hop.scheme = (uint8_t)scheme;
        if (vd_hop_takes_names(&hop) != (scheme != VD_SOCKS4 && scheme != VD_SOCKS5))
            tap_wrong("scheme %u", scheme);
        if (!strcmp(vd_scheme_name((enum vd_scheme)scheme), "unknown"))
            tap_wrong("scheme %u has no name", scheme);
    }
    tap_end("who resolves");
    tap_ok(!strcmp(vd_scheme_name((enum vd_scheme)0), "unknown"), "no scheme");
}

int main(void)
{
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        reads(i);
    reads_flights();
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        reads_options(i);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuses(i);
    lengths();
    helpers();
    return tap_done();
}
