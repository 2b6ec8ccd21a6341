/* proto/udp: the header of a datagram, and headers for relays one behind the other. */
#include "proto/udp.h"

#include <string.h>

#include "proto/err.h"
#include "proto/url.h"
#include "tests/unit/datagrams.h"
#include "tests/unit/guard.h"
#include "tests/unit/tap.h"

static struct vd_endpoint at(const char *text)
{
    struct vd_endpoint e;

    if (vd_endpoint_read(&e, text, strlen(text), 0) < 0)
        tap_wrong("cannot read %s", text);
    return e;
}

static const char *printed(const struct vd_endpoint *e)
{
    static char text[VD_ENDPOINT_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);

    vd_endpoint_print(&out, e);
    return vd_out_string(&out);
}

/* --- where relays may be --- */

static const struct {
    const char *relay;
    enum vd_class own;
    bool may;
} relays_at[] = {
    {"192.0.2.1", VD_CLASS_GLOBAL, true},
    {"10.0.0.1", VD_CLASS_GLOBAL, true},
    {"0.0.0.0", VD_CLASS_GLOBAL, true},
    {"::", VD_CLASS_LOOPBACK, true},
    {"2001:db8::1", VD_CLASS_PRIVATE, true},
    {"127.0.0.1", VD_CLASS_LOOPBACK, true},
    {"127.0.0.1", VD_CLASS_GLOBAL, false},
    {"127.0.0.1", VD_CLASS_LINK_LOCAL, false},
    {"::1", VD_CLASS_PRIVATE, false},
    {"::ffff:127.0.0.1", VD_CLASS_GLOBAL, false},
    {"169.254.1.1", VD_CLASS_GLOBAL, false},
    {"fe80::1", VD_CLASS_LINK_LOCAL, true},
    {"169.254.1.1", VD_CLASS_LOOPBACK, false},
    {"224.0.0.1", VD_CLASS_GLOBAL, false},
    {"ff02::1", VD_CLASS_LINK_LOCAL, false},
    {"224.0.0.1", VD_CLASS_MULTICAST, false},
    {"255.255.255.255", VD_CLASS_GLOBAL, false},
};

static void relays_are_judged(void)
{
    tap_begin();
    for (size_t i = 0; i < sizeof relays_at / sizeof *relays_at; i++) {
        struct vd_ip ip;
        bool read = vd_ip_read(&ip, relays_at[i].relay, strlen(relays_at[i].relay));

        if (!read || vd_udp_may_relay(&ip, relays_at[i].own) != relays_at[i].may)
            tap_wrong("a relay at %s, of a hop of class %d", relays_at[i].relay, relays_at[i].own);
    }
    tap_end("where a relay may be");
}

/* --- one header --- */

static const struct {
    const char *text;
    const char *header;
    size_t len;
    const char *read; /* as it is read again, if not as `text` */
} headers[] = {
    {"192.0.2.1:53", BYTES(IP4), NULL},
    {"255.255.255.255:65535", BYTES("\0\0\0\1\xff\xff\xff\xff\xff\xff"), NULL},
    {"0.0.0.0:1", BYTES("\0\0\0\1\0\0\0\0\0\1"), NULL},
    {"[2001:db8::1]:443", BYTES(IP6), NULL},
    {"[::]:1", BYTES("\0\0\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"), NULL},
    {"[::ffff:192.0.2.1]:53", BYTES(IP4), "192.0.2.1:53"},
    {"example.com:80", BYTES(NAMED), NULL},
    {"a:1", BYTES("\0\0\0\3\1a\0\1"), NULL},
};

static void check_header(const uint8_t *data, size_t len, size_t header_len, const char *text)
{
    struct vd_udp_header header;
    int r = vd_udp_read(&header, guard_put(data, len), len);

    if (r != VD_OK || header.len != header_len || header.frag != 0)
        tap_wrong("read: %d, %zu bytes, fragment %u", r, header.len, header.frag);
    else if (strcmp(printed(&header.at), text))
        tap_wrong("it was read as %s", printed(&header.at));
}

static void check_cuts(const char *data, size_t len)
{
    for (size_t cut = 0; cut < len; cut++) {
        struct vd_udp_header header;
        int r = vd_udp_read(&header, guard_put(data, cut), cut);

        if (r != -VD_ERR_PROTOCOL)
            tap_wrong("cut to %zu bytes: %d", cut, r);
    }
}

static void check_room(const struct vd_endpoint *e, size_t len)
{
    for (size_t cap = 0; cap <= len; cap++) {
        uint8_t *buf = guard_put(NULL, 0) - cap;
        struct vd_out out = vd_out_over(buf, cap);

        vd_udp_write(&out, e);
        if (out.ok != (cap == len))
            tap_wrong("in %zu bytes: %s", cap, out.ok ? "fits" : "does not fit");
    }
}

static void write_and_read(void)
{
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        uint8_t buf[VD_UDP_HEADER_MAX + 4];
        struct vd_out out = vd_out_over(buf, sizeof buf);
        struct vd_endpoint e;
        const char *read = headers[i].read ? headers[i].read : headers[i].text;
        size_t len = headers[i].len;

        tap_begin();
        e = at(headers[i].text);
        vd_udp_write(&out, &e);
        if (!out.ok || out.len != len || memcmp(buf, headers[i].header, len))
            tap_wrong("another header was written");
        if (vd_udp_header_len(&e) != len)
            tap_wrong("it was said to be %zu long", vd_udp_header_len(&e));
        check_room(&e, len);
        check_header(buf, len, len, read);
        vd_out_text(&out, "\0\0\0");
        vd_out_text(&out, "data");
        check_header(buf, out.len, len, read);
        check_cuts(headers[i].header, len);
        tap_end(headers[i].text);
    }
}

/* --- headers of others --- */

static const struct {
    const char *name;
    const char *data;
    size_t len;
    int result;
    uint8_t frag;
    const char *text; /* with VD_OK */
} readable[] = {
    {"RSV is not looked at", BYTES("\xff\xff\0\1\1\2\3\4\0\x35"), VD_OK, 0, "1.2.3.4:53"},
    {"a fragment",
     BYTES("\0\0\1\1\1\2\3\4\0\x35"
           "x"),
     VD_OK, 1, "1.2.3.4:53"},
    {"the last fragment",
     BYTES("\0\0\x82\1\1\2\3\4\0\x35"
           "x"),
     VD_OK, 0x82, "1.2.3.4:53"},
    {"port 0", BYTES("\0\0\0\1\1\2\3\4\0\0"), VD_OK, 0, "1.2.3.4:0"},
    {"mapped IPv4", BYTES("\0\0\0\4\0\0\0\0\0\0\0\0\0\0\xff\xff\1\2\3\4\0\x35"), VD_OK, 0,
     "1.2.3.4:53"},
    {"a dotted quad as name",
     BYTES("\0\0\0\3\7"
           "1.2.3.4\0\x35"),
     VD_OK, 0, "1.2.3.4:53"},
    {"IPv6 as name", BYTES("\0\0\0\3\3::1\0\x35"), VD_OK, 0, "[::1]:53"},
    {"mapped IPv4 as name", BYTES("\0\0\0\3\x0e::ffff:1.2.3.4\0\x35"), VD_OK, 0, "1.2.3.4:53"},
    {"a name of no bytes", BYTES("\0\0\0\3\0\0\x35"), -VD_ERR_NAME_FORM, 0, NULL},
    {"a name with a NUL", BYTES("\0\0\0\3\3a\0b\0\x35"), -VD_ERR_NAME_FORM, 0, NULL},
    {"a name with a space", BYTES("\0\0\0\3\3a b\0\x35"), -VD_ERR_NAME_FORM, 0, NULL},
    {"a name with a line's end", BYTES("\0\0\0\3\3a\nb\0\x35"), -VD_ERR_NAME_FORM, 0, NULL},
    {"a name longer than the datagram",
     BYTES("\0\0\0\3\xff"
           "abc\0\x35"),
     -VD_ERR_PROTOCOL, 0, NULL},
    {"address type 0", BYTES("\0\0\0\0\1\2\3\4\0\x35"), -VD_ERR_ADDRESS_TYPE, 0, NULL},
    {"address type 2", BYTES("\0\0\0\2\1\2\3\4\0\x35"), -VD_ERR_ADDRESS_TYPE, 0, NULL},
    {"address type 5", BYTES("\0\0\0\5\1\2\3\4\0\x35"), -VD_ERR_ADDRESS_TYPE, 0, NULL},
    {"address type 255", BYTES("\0\0\0\xff\1\2\3\4\0\x35"), -VD_ERR_ADDRESS_TYPE, 0, NULL},
    {"nothing but an unknown type", BYTES("\0\0\0\2"), -VD_ERR_ADDRESS_TYPE, 0, NULL},
    {"a DNS answer without a header", BYTES("\x12\x34\x81\x80\0\1\0\1\0\0\0\0"),
     -VD_ERR_ADDRESS_TYPE, 0, NULL},
};

static void reading(void)
{
    for (size_t i = 0; i < sizeof readable / sizeof *readable; i++) {
        struct vd_udp_header header;
        int r;

        tap_begin();
        r = vd_udp_read(&header, guard_put(readable[i].data, readable[i].len), readable[i].len);
        if (r != readable[i].result)
            tap_wrong("result %d", r);
        if (r == VD_OK && header.frag != readable[i].frag)
            tap_wrong("fragment %u", header.frag);
        if (r == VD_OK && strcmp(printed(&header.at), readable[i].text))
            tap_wrong("%s", printed(&header.at));
        tap_end(readable[i].name);
    }
}

static void longest(void)
{
    struct vd_endpoint name = {.port = 65535, .name_len = VD_NAME_MAX};
    uint8_t *buf = guard_put(NULL, 0) - VD_UDP_HEADER_MAX;
    struct vd_out out = vd_out_over(buf, VD_UDP_HEADER_MAX);
    struct vd_udp_header header;

    memset(name.name, 'x', VD_NAME_MAX);
    tap_begin();
    vd_udp_write(&out, &name);
    if (!out.ok || out.len != VD_UDP_HEADER_MAX || vd_udp_header_len(&name) != out.len)
        tap_wrong("the longest header is %zu long", out.len);
    if (vd_udp_read(&header, buf, out.len) != VD_OK || memcmp(&header.at, &name, sizeof name))
        tap_wrong("it is read as another");
    tap_end("the longest header");
}

/* What an IPv6 socket adds to an address means nothing to a relay, and is not told by one. */
static void scopes(void)
{
    struct vd_endpoint e = at("[fe80::1]:9"), from;
    uint8_t buf[VD_UDP_HEADER_IPV6 * 2];
    struct vd_out out = vd_out_over(buf, sizeof buf);
    struct vd_udp_header header;
    size_t payload;

    e.ip.scope = 3;
    vd_udp_wrap(&out, &e, 1, &e);
    tap_ok(out.ok && vd_udp_read(&header, buf, sizeof buf) == VD_OK && header.at.ip.scope == 0,
           "an interface is not told to a relay");
    tap_ok(vd_udp_unwrap(buf, sizeof buf, &e, 1, &from, &payload) == VD_OK && from.ip.scope == 0,
           "a relay behind an interface is known without it");
}

/* --- headers for several relays --- */

static size_t read_relays(struct vd_endpoint *relays, const char *texts)
{
    size_t count = 0;

    while (*texts) {
        size_t len = strcspn(texts, " ");

        if (vd_endpoint_read(&relays[count++], texts, len, 0) < 0)
            tap_wrong("cannot read %.*s", (int)len, texts);
        texts += len + (texts[len] == ' ');
    }
    return count;
}

static const struct {
    const char *name, *relays, *target;
    const char *headers;
    size_t len;
} wraps[] = {
    {"one hop", "", "192.0.2.1:53", BYTES(IP4)},
    {"one hop, by name", "", "example.com:80", BYTES(NAMED)},
    {"two hops", "198.51.100.2:9999", "192.0.2.1:53", BYTES(RELAY2 IP4)},
    {"two hops, by name", "198.51.100.2:9999", "example.com:80", BYTES(RELAY2 NAMED)},
    {"three hops", "198.51.100.2:9999 [2001:db8::3]:10000", "[2001:db8::1]:443",
     BYTES(RELAY2 RELAY3 IP6)},
    {"a relay by name", "example.com:80", "192.0.2.1:53", BYTES(NAMED IP4)},
    {"a relay twice", "198.51.100.2:9999 198.51.100.2:9999", "192.0.2.1:53",
     BYTES(RELAY2 RELAY2 IP4)},
};

static void wrapping(void)
{
    for (size_t i = 0; i < sizeof wraps / sizeof *wraps; i++) {
        struct vd_endpoint relays[VD_HOPS_MAX], target;
        uint8_t *buf = guard_put(NULL, 0) - wraps[i].len;
        struct vd_out out = vd_out_over(buf, wraps[i].len);
        size_t count;

        tap_begin();
        count = read_relays(relays, wraps[i].relays);
        target = at(wraps[i].target);
        vd_udp_wrap(&out, relays, count, &target);
        if (!out.ok || out.len != wraps[i].len || memcmp(buf, wraps[i].headers, out.len))
            tap_wrong("other headers were written, %zu bytes", out.len);
        if (vd_udp_wrap_len(relays, count, &target) != wraps[i].len)
            tap_wrong("another length was told");
        out = vd_out_over(buf, wraps[i].len - 1);
        vd_udp_wrap(&out, relays, count, &target);
        if (out.ok)
            tap_wrong("they fit into a byte less");
        tap_end(wraps[i].name);
    }
}

static void check_wrap_cuts(const struct vd_endpoint *relays, size_t count, const char *data,
                            size_t payload)
{
    for (size_t cut = 0; cut < payload; cut++) {
        struct vd_endpoint from;
        size_t begin;
        int r = vd_udp_unwrap(guard_put(data, cut), cut, relays, count, &from, &begin);

        if (r != -VD_ERR_PROTOCOL)
            tap_wrong("cut to %zu bytes: %d", cut, r);
    }
}

static void unwrapping(void)
{
    for (size_t i = 0; i < datagram_count; i++) {
        struct vd_endpoint relays[VD_HOPS_MAX], from;
        size_t payload, count;
        int r;

        tap_begin();
        count = read_relays(relays, datagrams[i].relays);
        r = vd_udp_unwrap(guard_put(datagrams[i].data, datagrams[i].len), datagrams[i].len, relays,
                          count, &from, &payload);
        if (r != datagrams[i].result)
            tap_wrong("result %d", r);
        else if (r == VD_OK &&
                 (payload != datagrams[i].payload || strcmp(printed(&from), datagrams[i].from)))
            tap_wrong("from %s, the data begins at %zu", printed(&from), payload);
        if (datagrams[i].result == VD_OK)
            check_wrap_cuts(relays, count, datagrams[i].data, datagrams[i].payload);
        tap_end(datagrams[i].name);
    }
}

int main(void)
{
    write_and_read();
    reading();
    longest();
    scopes();
    wrapping();
    unwrapping();
    relays_are_judged();
    return tap_done();
}
