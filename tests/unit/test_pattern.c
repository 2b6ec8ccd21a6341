/* proto/pattern: what a rule takes for a pattern, prints and matches. */
#include "proto/pattern.h"

#include <string.h>

#include "proto/err.h"
#include "tests/unit/guard.h"
#include "tests/unit/tap.h"

#define BYTES(s) s, sizeof(s) - 1

/* `yes` and `no`: endpoints, apart by spaces. */
static const struct {
    const char *text, *printed, *yes, *no;
} good[] = {
    {"*", "*", "a:1 10.0.0.1:2 [::1]:3", ""},
    {"*:1", "*:1", "a:1", "a:2"},
    {"*:65535", "*:65535", "a:65535", "a:1"},
    {"*:25", "*:25", "a:25 10.0.0.1:25 [::1]:25", "a:26 10.0.0.1:2525 [::1]:2"},
    {"127.0.0.0/8", "127.0.0.0/8", "127.0.0.1:1 127.255.0.1:65535 [::ffff:127.1.2.3]:1",
     "128.0.0.1:1 [::1]:1 127.example:1 localhost:1"},
    {"127.9.9.9/8", "127.0.0.0/8", "127.0.0.1:1", "126.9.9.9:1"},
    {"10.0.0.0/9:22", "10.0.0.0/9:22", "10.127.0.1:22", "10.128.0.1:22 10.127.0.1:23"},
    {"0.0.0.0/0", "0.0.0.0/0", "1.2.3.4:1 255.255.255.255:1", "[::1]:1 a:1"},
    {"1.2.3.4", "1.2.3.4", "1.2.3.4:80 [::ffff:1.2.3.4]:80", "1.2.3.5:80 4.3.2.1:80"},
    {"1.2.3.4/32", "1.2.3.4", "1.2.3.4:80", "1.2.3.5:80"},
    {"10.0.0.1:22", "10.0.0.1:22", "10.0.0.1:22", "10.0.0.1:23 10.0.0.2:22"},
    {"::1", "::1", "[::1]:1", "[::2]:1 127.0.0.1:1"},
    {"[::1]", "::1", "[::1]:1", "[::2]:1"},
    {"[2001:db8::1]:443", "[2001:db8::1]:443", "[2001:db8::1]:443",
     "[2001:db8::1]:444 [2001:db8::2]:443"},
    {"2001:db8::/32", "2001:db8::/32", "[2001:db8:ffff::1]:1", "[2001:db9::1]:1 1.2.3.4:1"},
    {"[2001:db8::/32]:80", "[2001:db8::/32]:80", "[2001:db8::5]:80", "[2001:db8::5]:81"},
    {"::/0", "::/0", "[::1]:1 [2001:db8::1]:1", "1.2.3.4:1 [::ffff:1.2.3.4]:1"},
    {"::ffff:10.0.0.0/104", "10.0.0.0/8", "10.1.2.3:1 [::ffff:10.1.2.3]:1", "11.0.0.1:1"},
    {"::ffff:0:0/96", "0.0.0.0/0", "10.1.2.3:1", "[::1]:1 a:1"},
    {"a.b", "a.b", "a.b:1", "b:1 a:1"},
    {"::ffff:1.2.3.4", "1.2.3.4", "1.2.3.4:1", "1.2.3.5:1"},
    {"gw.example", "gw.example", "gw.example:1 GW.Example:2 gw.example.:3",
     "a.gw.example:1 gw.example.com:1 w.example:1 10.0.0.1:1"},
    {"gw.example.:80", "gw.example:80", "gw.example:80", "gw.example:81"},
    {"*.lan", "*.lan", "a.lan:1 b.a.lan:1 A.LAN.:1", "lan:1 .lan:1 a.lan.com:1 alan:1 10.0.0.1:1"},
    {"*.onion:80", "*.onion:80", "x.onion:80", "x.onion:81 onion:80"},
    {"*.lan.", "*.lan", "a.lan:1", "lan:1"},
    {"1.2.3.4.example", "1.2.3.4.example", "1.2.3.4.example:1", "1.2.3.4:1"},
    {"x1", "x1", "x1:1", "x:1"},
};

static const struct {
    const char *text;
    size_t len;
} bad[] = {
    {BYTES("")},
    {BYTES(":80")},
    {BYTES("**")},
    {BYTES("*.")},
    {BYTES("*..lan")},
    {BYTES("*.lan..")},
    {BYTES("lan..")},
    {BYTES("a..lan")},
    {BYTES(".lan")},
    {BYTES(".")},
    {BYTES("..")},
    {BYTES("*.lan.*")},
    {BYTES("*lan")},
    {BYTES("*.*.lan")},
    {BYTES("a.*.lan")},
    {BYTES("a.*")},
    {BYTES("*:0")},
    {BYTES("*:65536")},
    {BYTES("*:")},
    {BYTES("*:http")},
    {BYTES("a:")},
    {BYTES("a:b")},
    {BYTES("a b")},
    {BYTES("a\0b")},
    {BYTES("a/8")},
    {BYTES("10.0.0.0/33")},
    {BYTES("10.0.0.0/")},
    {BYTES("10.0.0.0/-1")},
    {BYTES("10.0.0.0/8/8")},
    {BYTES("10.0.0.0/255.0.0.0")},
    {BYTES("10.0.0/8")},
    {BYTES("10.0.0")},
    {BYTES("10.9")},
    {BYTES("a.b.9")},
    {BYTES("10.0.0.256")},
    {BYTES("10.0.0.1.")},
    {BYTES("10")},
    {BYTES("::1/129")},
    {BYTES("::1:g")},
    {BYTES("[::1")},
    {BYTES("[::1]:")},
    {BYTES("[::1]80")},
    {BYTES("[]")},
    {BYTES("[")},
    {BYTES("[1.2.3.4]")},
    {BYTES("[gw.example]:80")},
    {BYTES("[fe80::]/10")},
    {BYTES("http://x")},
    {BYTES("user@x")},
};

static void check_matches(const struct vd_pattern *p, const char *list, bool wanted)
{
    while (*list) {
        size_t len = strcspn(list, " ");
        struct vd_endpoint e;

        if (vd_endpoint_read(&e, list, len, 0) != VD_OK)
            tap_wrong("cannot read %.*s", (int)len, list);
        if (vd_pattern_matches(p, &e) != wanted)
            tap_wrong("%.*s %s", (int)len, list, wanted ? "does not match" : "matches");
        list += len + (list[len] == ' ');
    }
}

static void reads(size_t i)
{
    char buf[VD_NAME_MAX + 16];
    struct vd_out out = vd_out_over(buf, sizeof buf);
    struct vd_pattern p, again;
    const char *allowed = NULL;
    size_t len = strlen(good[i].text);

    tap_begin();
    if (vd_pattern_read(&p, (char *)guard_put(good[i].text, len), len, &allowed) != VD_OK)
        tap_wrong("refused");
    vd_pattern_print(&out, &p);
    if (strcmp(vd_out_string(&out), good[i].printed))
        tap_wrong("printed as %s", buf);
    if (vd_pattern_read(&again, buf, out.len, &allowed) != VD_OK || memcmp(&p, &again, sizeof p))
        tap_wrong("what is printed reads differently");
    check_matches(&p, good[i].yes, true);
    check_matches(&p, good[i].no, false);
    tap_end(good[i].text);
}

static void refuses(size_t i)
{
    struct vd_pattern p;
    const char *allowed = NULL;
    int r = vd_pattern_read(&p, (char *)guard_put(bad[i].text, bad[i].len), bad[i].len, &allowed);

    tap_begin();
    if (r != -VD_ERR_PROTOCOL)
        tap_wrong("result %d", r);
    if (!allowed || !*allowed)
        tap_wrong("it does not say what is allowed");
    tap_end(bad[i].len ? bad[i].text : "nothing at all");
}

static void lengths(void)
{
    char text[VD_NAME_MAX + 3];
    struct vd_pattern p;
    const char *allowed;

    memset(text, 'n', sizeof text);
    tap_ok(vd_pattern_read(&p, text, 255, &allowed) == VD_OK && p.name_len == 255, "255 bytes");
    tap_ok(vd_pattern_read(&p, text, 256, &allowed) < 0, "256 bytes");
    memcpy(text, "*.", 2);
    tap_ok(vd_pattern_read(&p, text, 256, &allowed) == VD_OK && p.name_len == 255,
           "a suffix of 255 bytes");
    tap_ok(vd_pattern_read(&p, text, 257, &allowed) < 0, "a suffix of 256 bytes");
}

int main(void)
{
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        reads(i);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuses(i);
    lengths();
    return tap_done();
}
