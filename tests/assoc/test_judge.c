/*
 * What comes from relays, judged: at every cut, with every kind of header, from relays known by
 * address and by name, and from nobody who is one. No association is set up for it: the record is
 * written here.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "client/assoc_entry.h"
#include "client/session.h"
#include "tests/unit/tap.h"

enum { COOKIE = 77 };

static const uint8_t at_hop2[4] = {10, 0, 0, 2}, at_hop3[4] = {10, 0, 0, 3},
                     at_target[4] = {192, 0, 2, 1};

static struct sockaddr_in address(const char *text, uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};

    inet_pton(AF_INET, text, &a.sin_addr);
    return a;
}

static struct vd_endpoint endpoint(const uint8_t ip[4], uint16_t port)
{
    struct vd_ip address = vd_ip4(ip);
    struct vd_endpoint e;

    vd_endpoint_set_ip(&e, &address, port);
    return e;
}

static struct vd_endpoint named(const char *name, uint16_t port)
{
    struct vd_endpoint e = {.port = 0};

    vd_endpoint_set_name(&e, name, strlen(name), port);
    return e;
}

static bool attach(void)
{
    static const struct plan_chain chains[2] = {{.count = 1}, {.count = 1}};
    struct plan head = {.hop_count = 1, .chain_count = 2};
    struct vd_hop hop = {.scheme = VD_SOCKS5H};
    const char *why;
    struct plan *plan;

    head.placeholder4.family = VD_IPV4;
    head.placeholder6.family = VD_IPV6;
    plan = plan_make(&head, &hop, chains, NULL, NULL);
    return plan && session_adopt(plan, &why) == SESSION_READY;
}

/* An association that is up: its relay and the ones behind it. */
static void put(unsigned chain, const char *relay, const struct vd_endpoint *behind, size_t count)
{
    struct assoc_told told;
    struct sockaddr_in first = address(relay, 1000);
    struct vd_out out = vd_out_over(told.prefix, sizeof told.prefix);
    int at = assoc_find(COOKIE, chain);

    if (at < 0)
        at = assoc_take_place(COOKIE, chain);
    if (!assoc_read(at, COOKIE, &told))
        abort();
    for (size_t i = 0; i < count; i++)
        vd_udp_write(&out, &behind[i]);
    told.state = ASSOC_UP;
    told.prefix_len = (uint16_t)out.len;
    told.relay_len = sizeof first;
    memcpy(told.relay, &first, sizeof first);
    if (!assoc_write(at, COOKIE, told.generation, &told))
        abort();
}

static enum assoc_verdict judge(const char *from, const uint8_t *data, size_t len,
                                struct assoc_origin *origin)
{
    struct sockaddr_in source = address(from, 1000);
    /* exactly as long as it is: a sanitizer sees a byte too many */
    uint8_t *exact = malloc(len > 0 ? len : 1);
    enum assoc_verdict v;

    if (len > 0)
        memcpy(exact, data, len);
    v = assoc_judge(COOKIE, (struct sockaddr *)&source, sizeof source, exact, len, origin);
    free(exact);
    return v;
}

static size_t wrap(uint8_t *buf, size_t cap, const struct vd_endpoint *e, size_t count,
                   const char *payload)
{
    struct vd_out out = vd_out_over(buf, cap);

    for (size_t i = 0; i < count; i++)
        vd_udp_write(&out, &e[i]);
    vd_out_text(&out, payload);
    return out.len;
}

static void every_cut(const char *name, const struct vd_endpoint *headers, size_t count)
{
    uint8_t buf[1024];
    size_t len = wrap(buf, sizeof buf, headers, count, ""), whole = len;
    struct assoc_origin origin;

    tap_begin();
    for (size_t cut = 0; cut < whole; cut++)
        if (judge("10.0.0.1", buf, cut, &origin) != ASSOC_DROP)
            tap_wrong("cut at %zu: not dropped", cut);
    memcpy(buf + len, "payload", 7);
    for (len = whole; len <= whole + 7; len++)
        if (judge("10.0.0.1", buf, len, &origin) != ASSOC_TAKEN || origin.headers != whole ||
            !vd_endpoint_same(&origin.from, &headers[count - 1]))
            tap_wrong("%zu bytes: not taken", len);
    if (judge("10.0.0.9", buf, len, &origin) != ASSOC_NOT_OURS)
        tap_wrong("from elsewhere: not left alone");
    tap_end(name);
}

/* Each byte changed: what is taken then still comes from the relays, all of them. */
static void every_byte(const char *name, const struct vd_endpoint *headers, size_t count)
{
    uint8_t buf[1024];
    size_t len = wrap(buf, sizeof buf, headers, count, "payload");
    size_t last = len - 7 - vd_udp_header_len(&headers[count - 1]), at = 0, step = 0;

    tap_begin();
    for (size_t i = 0; i < last; i++) {
        bool reserved;
        struct assoc_origin origin;
        enum assoc_verdict v;

        if (i == at + vd_udp_header_len(&headers[step]))
            at += vd_udp_header_len(&headers[step++]);
        reserved = i - at < 2;
        buf[i] ^= 1;
        v = judge("10.0.0.1", buf, len, &origin);
        buf[i] ^= 1;
        if (reserved ? v != ASSOC_TAKEN || origin.headers != len - 7 : v != ASSOC_DROP)
            tap_wrong("byte %zu of %zu: %d", i, last, v);
    }
    tap_end(name);
}

static void fragments(const struct vd_endpoint *headers, size_t count)
{
    uint8_t buf[1024];
    size_t len = wrap(buf, sizeof buf, headers, count, "payload"), at = 0;
    struct assoc_origin origin;

    tap_begin();
    for (size_t i = 0; i < count; i++) {
        for (unsigned frag = 1; frag < 256; frag++) {
            buf[at + 2] = (uint8_t)frag;
            if (judge("10.0.0.1", buf, len, &origin) != ASSOC_DROP)
                tap_wrong("FRAG %u in header %zu", frag, i);
        }
        buf[at + 2] = 0;
        at += vd_udp_header_len(&headers[i]);
    }
    tap_end("fragments are dropped");
}

/* Of a relay that is known by name the port must be right. */
static void by_name(void)
{
    struct vd_endpoint behind = named("hop2.example", 2000);
    struct vd_endpoint good[] = {endpoint(at_hop2, 2000), endpoint(at_target, 53)};
    struct vd_endpoint same[] = {behind, endpoint(at_target, 53)};
    struct vd_endpoint bad[] = {endpoint(at_hop2, 2001), endpoint(at_target, 53)};
    struct assoc_origin origin;
    uint8_t buf[1024];
    size_t len;

    put(0, "10.0.0.1", &behind, 1);
    every_cut("a relay known by name, cut everywhere", good, 2);
    every_cut("the name itself, cut everywhere", same, 2);
    len = wrap(buf, sizeof buf, bad, 2, "payload");
    tap_ok(judge("10.0.0.1", buf, len, &origin) == ASSOC_DROP, "another port is a stranger");
}

static void two_chains(void)
{
    struct vd_endpoint behind = endpoint(at_hop2, 2000),
                       nested[] = {behind, endpoint(at_target, 53)};
    struct assoc_origin origin;
    uint8_t buf[1024];
    size_t len = wrap(buf, sizeof buf, nested, 2, "payload");

    put(0, "10.0.0.1", NULL, 0);
    put(1, "10.0.0.7", &behind, 1);
    tap_ok(judge("10.0.0.1", buf, len, &origin) == ASSOC_TAKEN && origin.headers == 10,
           "two chains: the first relay's");
    tap_ok(judge("10.0.0.7", buf, len, &origin) == ASSOC_TAKEN && origin.headers == 20,
           "two chains: the other's");
    tap_ok(judge("10.0.0.8", buf, len, &origin) == ASSOC_NOT_OURS, "two chains: nobody's");
}

static void former(void)
{
    struct sockaddr_in before = address("10.0.0.5", 1000);
    struct assoc_told told;
    struct assoc_origin origin;
    int at = assoc_find(COOKIE, 0);

    assoc_read(at, COOKIE, &told);
    memcpy(told.former, &before, sizeof before);
    assoc_write(at, COOKIE, told.generation, &told);
    tap_ok(judge("10.0.0.5", (const uint8_t *)"late", 4, &origin) == ASSOC_DROP,
           "what comes late from a relay of before is dropped");
}

/* --- the table ------------------------------------------------------------------------------- */

static void places(void)
{
    unsigned found = 0, step = 0;
    struct assoc_told told;

    for (uint64_t i = 0; i < SESSION_ASSOCS_MAX; i++)
        assoc_take_place(1000 + i, 0);
    for (uint64_t i = 0; i < SESSION_ASSOCS_MAX; i++)
        found += assoc_find(1000 + i, 0) >= 0;
    tap_ok(found > SESSION_ASSOCS_MAX - 20, "a full table holds nearly all: %u", found);
    for (uint64_t i = 0; i < 100000; i++)
        assoc_take_place(10000 + i, 0);
    tap_ok(assoc_find(10000 + 99999, 0) >= 0, "a newcomer gets a place");
    tap_ok(assoc_find_next(1234, &step) < 0, "the oldest made room");
    assoc_free_place(assoc_find(10000 + 99999, 0), 10000 + 99999);
    tap_ok(assoc_find(10000 + 99999, 0) < 0, "and is gone when it is freed");
    tap_ok(!assoc_read(assoc_find(10000 + 99998, 0), 42, &told), "a record is its cookie's only");
}

/* A session that somebody damaged. */
static void damaged(void)
{
    int at = assoc_take_place(5, 0);
    struct assoc_told told;

    assoc_read(at, 5, &told);
    told.prefix_len = ASSOC_PREFIX_MAX + 1;
    assoc_write(at, 5, told.generation, &told);
    tap_ok(!assoc_read(at, 5, &told), "headers longer than their room are not read");
    tap_ok(!assoc_write(at, 5, told.generation + 1, &told), "only its own generation is written");
}

int main(void)
{
    struct vd_endpoint three[] = {endpoint(at_hop2, 2000), endpoint(at_hop3, 3000),
                                  endpoint(at_target, 53)};

    if (!attach())
        return 1;
    put(0, "10.0.0.1", NULL, 0);
    every_cut("one hop, cut everywhere", &three[2], 1);
    fragments(&three[2], 1);
    put(0, "10.0.0.1", three, 2);
    every_cut("three hops, cut everywhere", three, 3);
    every_byte("three hops, each byte of the relays' headers changed", three, 3);
    fragments(three, 3);
    by_name();
    two_chains();
    former();
    places();
    damaged();
    return tap_done();
}
