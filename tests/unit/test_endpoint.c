/* proto/endpoint: addresses and names, read, printed, compared and classed. */
#include "proto/endpoint.h"

#include <string.h>

#include "proto/err.h"
#include "tests/unit/guard.h"
#include "tests/unit/tap.h"

#define BYTES(s) s, sizeof(s) - 1

enum { NAME = -VD_ERR_NAME_FORM, PORT = -VD_ERR_PROTOCOL };

static const char label[] = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghij.";

static const struct {
    const char *text;
    size_t len;
    uint16_t port; /* that stands in */
    int result;
    const char *printed;
} readable[] = {
    {BYTES("example.com:80"), 0, VD_OK, "example.com:80"},
    {BYTES("example.com"), 443, VD_OK, "example.com:443"},
    {BYTES("example.com:1"), 443, VD_OK, "example.com:1"},
    {BYTES("example.com.:80"), 0, VD_OK, "example.com.:80"},
    {BYTES("a:65535"), 0, VD_OK, "a:65535"},
    {BYTES("a:080"), 0, VD_OK, "a:80"},
    {BYTES("_srv.x-y.z:1"), 0, VD_OK, "_srv.x-y.z:1"},
    {BYTES("b\xc3\xbc\x63her.example:80"), 0, VD_OK, "b\xc3\xbc\x63her.example:80"},
    {BYTES("10.0.0.1:22"), 0, VD_OK, "10.0.0.1:22"},
    {BYTES("10.0.0.1"), 22, VD_OK, "10.0.0.1:22"},
    {BYTES("[2001:DB8::1]:443"), 0, VD_OK, "[2001:db8::1]:443"},
    {BYTES("[::]:1"), 0, VD_OK, "[::]:1"},
    {BYTES("[::1]"), 9, VD_OK, "[::1]:9"},
    {BYTES("::1"), 9, VD_OK, "[::1]:9"},
    {BYTES("2001:db8:0:0:1:0:0:1"), 9, VD_OK, "[2001:db8::1:0:0:1]:9"},
    {BYTES("[::ffff:1.2.3.4]:5"), 0, VD_OK, "[::ffff:1.2.3.4]:5"},
    {BYTES("1.2.3:80"), 0, VD_OK, "1.2.3:80"}, /* a name: only dotted quads are addresses */
    {BYTES("01.2.3.4:80"), 0, VD_OK, "01.2.3.4:80"},
    {BYTES("example.com"), 0, PORT, NULL},
    {BYTES("example.com:"), 80, PORT, NULL},
    {BYTES("example.com:0"), 80, PORT, NULL},
    {BYTES("example.com:65536"), 80, PORT, NULL},
    {BYTES("example.com:65616"), 80, PORT, NULL}, /* 80 to whom it wraps */
    {BYTES("example.com:4294967376"), 80, PORT, NULL},
    {BYTES("example.com:+80"), 80, PORT, NULL},
    {BYTES("example.com: 80"), 80, PORT, NULL},
    {BYTES("example.com:80 "), 80, PORT, NULL},
    {BYTES("example.com:80a"), 80, PORT, NULL},
    {BYTES("example.com:80\0"), 80, PORT, NULL},
    {BYTES("[::1]443"), 0, PORT, NULL},
    {BYTES("[::1]:"), 80, PORT, NULL},
    {BYTES("::1"), 0, PORT, NULL},
    {BYTES(""), 80, NAME, NULL},
    {BYTES(":80"), 80, NAME, NULL},
    {BYTES("a b:80"), 80, NAME, NULL},
    {BYTES("a\0b:80"), 80, NAME, NULL},
    {BYTES("a\nb:80"), 80, NAME, NULL},
    {BYTES("a\x7f:80"), 80, NAME, NULL},
    {BYTES("a@b:80"), 80, NAME, NULL},
    {BYTES("a/b:80"), 80, NAME, NULL},
    {BYTES("[]:80"), 80, NAME, NULL},
    {BYTES("[::1:80"), 80, NAME, NULL},
    {BYTES("[1.2.3.4]:80"), 80, NAME, NULL},
    {BYTES("[a.example]:80"), 80, NAME, NULL},
    {BYTES("[::1%1]:80"), 80, NAME, NULL},
    {BYTES("::g"), 80, NAME, NULL},
    {BYTES("1:2:3"), 80, NAME, NULL},
};

static void reading(void)
{
    for (size_t i = 0; i < sizeof readable / sizeof *readable; i++) {
        const char *text = (const char *)guard_put(readable[i].text, readable[i].len);
        char buf[VD_ENDPOINT_TEXT];
        struct vd_out out = vd_out_over(buf, sizeof buf);
        struct vd_endpoint e, again;
        int r = vd_endpoint_read(&e, text, readable[i].len, readable[i].port);

        tap_begin();
        if (r != readable[i].result)
            tap_wrong("result %d", r);
        if (r == VD_OK) {
            vd_endpoint_print(&out, &e);
            if (strcmp(vd_out_string(&out), readable[i].printed))
                tap_wrong("printed as %s", buf);
            if (vd_endpoint_read(&again, buf, out.len, 0) != VD_OK || !vd_endpoint_same(&e, &again))
                tap_wrong("what is printed reads differently");
        }
        tap_end(readable[i].len ? readable[i].text : "nothing at all");
    }
}

static void names(void)
{
    char name[VD_NAME_MAX + 2], buf[VD_ENDPOINT_TEXT];
    struct vd_out out = vd_out_over(buf, sizeof buf);
    struct vd_endpoint e;

    for (size_t i = 0; i < sizeof name; i++)
        name[i] = label[i % (sizeof label - 1)];
    tap_ok(vd_endpoint_set_name(&e, (char *)guard_put(name, 255), 255, 65535) == VD_OK &&
               e.name_len == 255 && e.name[255] == 0 && vd_endpoint_is_name(&e),
           "a name of 255 bytes");
    vd_endpoint_print(&out, &e);
    vd_out_u8(&out, 0);
    tap_ok(out.ok, "VD_ENDPOINT_TEXT takes the longest name and port");
    tap_ok(vd_endpoint_set_name(&e, name, 256, 80) == NAME, "a name of 256 bytes");
    tap_ok(vd_endpoint_set_name(&e, name, 0, 80) == NAME, "a name of no bytes");
    tap_ok(vd_endpoint_set_name(&e, BYTES("10.0.0.1"), 80) == VD_OK && vd_endpoint_is_name(&e),
           "set_name keeps what looks like an address");

    memset(&e, 0xff, sizeof e);
    tap_ok(vd_endpoint_set_name(&e, BYTES("a"), 80) == VD_OK && e.ip.family == VD_NO_IP &&
               !e.name[1] && !e.name[255],
           "nothing stays of an endpoint's former value");

    tap_begin();
    for (unsigned c = 0; c < 256; c++) {
        char text[3] = {'a', (char)c, 'b'};
        bool bad = c <= 0x20 || c == 0x7f || strchr(":/\\?#@[]\"<>", (int)c);
        if ((vd_endpoint_set_name(&e, text, 3, 80) == NAME) != bad)
            tap_wrong("byte %u", c);
    }
    tap_end("which bytes a name may hold");
}

static struct vd_endpoint at(const char *text)
{
    struct vd_endpoint e;

    if (vd_endpoint_read(&e, text, strlen(text), 80) < 0)
        tap_wrong("cannot read %s", text);
    return e;
}

static const struct {
    const char *a, *b;
    bool same;
} pairs[] = {
    {"example.com", "EXAMPLE.com", true},
    {"example.com", "example.com.", true},
    {"example.com", "example.co", false},
    {"example.com", "xample.com", false},
    {"example.com:1", "example.com", false},
    {"10.0.0.1", "10.0.0.1:80", true},
    {"10.0.0.1", "10.0.0.2", false},
    {"10.0.0.1", "10.0.0.1.", false},
    {"::1", "[0:0::1]", true},
    {"::1", "::2", false},
    {"::ffff:10.0.0.1", "10.0.0.1", false},
};

static void comparing(void)
{
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char name[128];

        tap_begin();
        struct vd_endpoint a = at(pairs[i].a), b = at(pairs[i].b);
        if (vd_endpoint_same(&a, &b) != pairs[i].same || vd_endpoint_same(&b, &a) != pairs[i].same)
            tap_wrong("%s", pairs[i].same ? "not the same" : "the same");
        snprintf(name, sizeof name, "%s and %s", pairs[i].a, pairs[i].b);
        tap_end(name);
    }
}

static struct vd_ip ip(const char *text)
{
    struct vd_ip result;

    if (!vd_ip_read(&result, text, strlen(text)))
        tap_wrong("cannot read %s", text);
    return result;
}

static const struct {
    const char *text;
    enum vd_class class;
} classed[] = {
    {"0.0.0.0", VD_CLASS_UNSPECIFIED},
    {"0.255.255.255", VD_CLASS_UNSPECIFIED},
    {"1.0.0.0", VD_CLASS_GLOBAL},
    {"9.255.255.255", VD_CLASS_GLOBAL},
    {"10.0.0.0", VD_CLASS_PRIVATE},
    {"10.255.255.255", VD_CLASS_PRIVATE},
    {"11.0.0.0", VD_CLASS_GLOBAL},
    {"100.63.255.255", VD_CLASS_GLOBAL},
    {"100.64.0.0", VD_CLASS_PRIVATE},
    {"100.127.255.255", VD_CLASS_PRIVATE},
    {"100.128.0.0", VD_CLASS_GLOBAL},
    {"126.255.255.255", VD_CLASS_GLOBAL},
    {"127.0.0.1", VD_CLASS_LOOPBACK},
    {"127.255.255.255", VD_CLASS_LOOPBACK},
    {"128.0.0.0", VD_CLASS_GLOBAL},
    {"169.254.169.254", VD_CLASS_LINK_LOCAL},
    {"169.253.255.255", VD_CLASS_GLOBAL},
    {"172.15.255.255", VD_CLASS_GLOBAL},
    {"172.16.0.0", VD_CLASS_PRIVATE},
    {"172.31.255.255", VD_CLASS_PRIVATE},
    {"172.32.0.0", VD_CLASS_GLOBAL},
    {"192.167.255.255", VD_CLASS_GLOBAL},
    {"192.168.0.1", VD_CLASS_PRIVATE},
    {"192.169.0.0", VD_CLASS_GLOBAL},
    {"198.18.0.1", VD_CLASS_GLOBAL},
    {"223.255.255.255", VD_CLASS_GLOBAL},
    {"224.0.0.1", VD_CLASS_MULTICAST},
    {"239.255.255.250", VD_CLASS_MULTICAST},
    {"240.0.0.1", VD_CLASS_GLOBAL},
    {"255.255.255.254", VD_CLASS_GLOBAL},
    {"255.255.255.255", VD_CLASS_BROADCAST},
    {"::", VD_CLASS_UNSPECIFIED},
    {"::1", VD_CLASS_LOOPBACK},
    {"::2", VD_CLASS_GLOBAL},
    {"2001:db8::1", VD_CLASS_GLOBAL},
    {"fbff::1", VD_CLASS_GLOBAL},
    {"fc00::1", VD_CLASS_PRIVATE},
    {"fdff::1", VD_CLASS_PRIVATE},
    {"fe00::1", VD_CLASS_GLOBAL},
    {"fe80::1", VD_CLASS_LINK_LOCAL},
    {"febf::1", VD_CLASS_LINK_LOCAL},
    {"fec0::1", VD_CLASS_GLOBAL},
    {"ff02::1", VD_CLASS_MULTICAST},
    {"::ffff:127.0.0.1", VD_CLASS_LOOPBACK},
    {"::ffff:169.254.169.254", VD_CLASS_LINK_LOCAL},
    {"::ffff:10.1.2.3", VD_CLASS_PRIVATE},
    {"::ffff:8.8.8.8", VD_CLASS_GLOBAL},
};

static void classes(void)
{
    for (size_t i = 0; i < sizeof classed / sizeof *classed; i++) {
        tap_begin();
        struct vd_ip address = ip(classed[i].text);
        if (vd_ip_class(&address) != classed[i].class)
            tap_wrong("class %d instead of %d", vd_ip_class(&address), classed[i].class);
        tap_end(classed[i].text);
    }
}

static const struct {
    const char *ip, *net;
    unsigned bits;
    bool within;
} blocked[] = {
    {"10.1.2.3", "10.0.0.0", 8, true},
    {"11.1.2.3", "10.0.0.0", 8, false},
    {"10.1.2.3", "10.1.2.3", 32, true},
    {"10.1.2.2", "10.1.2.3", 32, false},
    {"10.1.2.2", "10.1.2.3", 31, true},
    {"10.1.2.4", "10.1.2.3", 30, false},
    {"1.2.3.4", "9.9.9.9", 0, true},
    {"1.2.3.4", "1.2.3.4", 33, false},
    {"2001:db8::1", "2001:db8::", 32, true},
    {"2001:db9::1", "2001:db8::", 32, false},
    {"2001:db9::1", "2001:db8::", 31, true},
    {"::1", "::1", 128, true},
    {"::2", "::1", 128, false},
    {"::1", "0.0.0.0", 0, false},
    {"1.2.3.4", "::", 0, false},
    {"::1", "::1", 129, false},
    {"::ffff:10.0.0.1", "10.0.0.0", 8, false},
};

static void blocks(void)
{
    for (size_t i = 0; i < sizeof blocked / sizeof *blocked; i++) {
        char name[128];

        tap_begin();
        struct vd_ip address = ip(blocked[i].ip), net = ip(blocked[i].net);
        if (vd_ip_within(&address, &net, blocked[i].bits) != blocked[i].within)
            tap_wrong("%s", blocked[i].within ? "not within" : "within");
        snprintf(name, sizeof name, "%s in %s/%u", blocked[i].ip, blocked[i].net, blocked[i].bits);
        tap_end(name);
    }
}

static const struct {
    const char *text;
    size_t len;
} unreadable[] = {{BYTES("")},
                  {BYTES("1.2.3")},
                  {BYTES("1.2.3.4.5")},
                  {BYTES("1.2.3.256")},
                  {BYTES("1.2.3.4 ")},
                  {BYTES(" 1.2.3.4")},
                  {BYTES("1.2.3.4\0")},
                  {BYTES("0x7f.0.0.1")},
                  {BYTES("[::1]")},
                  {BYTES("::1%lo")},
                  {BYTES("1::2::3")},
                  {BYTES("::12345")},
                  {BYTES("1:2:3:4:5:6:7:8:9")},
                  {BYTES("1111:2222:3333:4444:5555:6666:255.255.255.2550")},
                  {BYTES("1111:2222:3333:4444:5555:6666:7777:8888:9999:0000")}};

static void not_addresses(void)
{
    struct vd_ip address;

    for (size_t i = 0; i < sizeof unreadable / sizeof *unreadable; i++)
        tap_ok(!vd_ip_read(&address, (char *)guard_put(unreadable[i].text, unreadable[i].len),
                           unreadable[i].len),
               "'%s' is no address", unreadable[i].text);
}

static void scopes(void)
{
    char buf[64];
    struct vd_out out = vd_out_over(buf, sizeof buf);
    struct vd_ip a = ip("fe80::1"), b = a;

    b.scope = 3;
    vd_ip_print(&out, &b);
    tap_ok(!strcmp(vd_out_string(&out), "fe80::1%3"), "a scope is printed");
    tap_ok(!vd_ip_same(&a, &b), "a scope makes a difference");
}

static void unmapping(void)
{
    struct vd_ip mapped = ip("::ffff:1.2.3.4"), plain = ip("1.2.3.4"), near = ip("::fffe:1.2.3.4");
    struct vd_ip a = vd_ip_unmapped(&mapped), b = vd_ip_unmapped(&near), c = vd_ip_unmapped(&plain);

    tap_ok(vd_ip_same(&a, &plain) && vd_ip_same(&b, &near) && vd_ip_same(&c, &plain), "unmapped");
}

int main(void)
{
    reading();
    names();
    comparing();
    classes();
    blocks();
    not_addresses();
    scopes();
    unmapping();
    return tap_done();
}
