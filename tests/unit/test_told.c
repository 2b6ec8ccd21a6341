/* What a hop of our own tells of those it stands for: over the wire at every split, in the message,
 * and what is made of an answer that is none. */
#include <string.h>

#include "proto/accept.h"
#include "proto/chain.h"
#include "proto/err.h"
#include "tests/unit/tap.h"

#define GREETING "\5\1\0"
#define REQUEST                                                                                    \
    "\5\1\0\3\x0b"                                                                                 \
    "example.com\0\x50"

/* The answer of a server that explains; its length. */
static size_t answer(uint8_t *to, size_t cap, int err, const char *text, size_t len)
{
    static const char said[] = GREETING REQUEST;
    struct vd_accept a;
    size_t used, at = 0, n;

    vd_accept_start(&a, VD_OFFER_MIXED);
    while (vd_accept_feed(&a, (const uint8_t *)said + at, sizeof said - 1 - at, &used) == VD_MORE)
        at += used;
    vd_accept_reply(&a, err, NULL);
    vd_accept_explain(&a, err, text, len);
    n = vd_accept_pending(&a, to, cap);
    return n;
}

/* The first hop stands for `others`, which are `urls`; the rest follow. */
static void start(struct vd_chain *c, struct vd_hop hops[4], uint8_t others, const char *last)
{
    static const char *const urls[] = {"socks5h://127.0.0.1:5", "socks5h://u:secret@a.test",
                                       "http://b.test"};
    struct vd_path path = {.hops = hops, .count = last ? 2 : 1, .order = {0, 3}};
    struct vd_url_error why;
    struct vd_endpoint target;

    for (int i = 0; i < 3; i++)
        vd_url_read(&hops[i], urls[i], strlen(urls[i]), &why);
    if (last)
        vd_url_read(&hops[3], last, strlen(last), &why);
    hops[0].stands_for = others;
    vd_endpoint_read(&target, "example.com:80", 14, 0);
    if (vd_chain_start(c, &path, VD_CONNECT, &target) < 0)
        tap_wrong("it does not start");
}

/* Feeds `len` bytes, `chunk` at a time, saying what there is to say; the result. */
static int feed(struct vd_chain *c, const uint8_t *data, size_t len, size_t chunk)
{
    uint8_t said[VD_FLIGHT_MAX];
    int r = VD_MORE;

    for (size_t at = 0, used; r == VD_MORE && at < len; at += used) {
        size_t n = len - at < chunk ? len - at : chunk, want;

        vd_chain_sent(c, vd_chain_pending(c, said, sizeof said));
        want = vd_chain_want(c);
        r = vd_chain_feed(c, data + at, n < want ? n : want, &used);
    }
    return r;
}

static void check_message(const struct vd_chain *c, int err, const char *want)
{
    char text[2048];
    struct vd_out out = vd_out_over(text, sizeof text);

    vd_chain_explain(&out, c, err);
    if (strcmp(vd_out_string(&out), want) != 0)
        tap_wrong("it says: %s\n#  not: %s", text, want);
}

static const struct {
    const char *name;
    int err;
    uint8_t others;
    const char *last, *told;
    int result;
    const char *message;
} rows[] = {
    {"a hop's own failure", VD_ERR_LOGIN, 2, NULL,
     "hop 2 of 2 (http://b.test:8080) refused the login (HTTP 407)", -VD_ERR_LOGIN,
     "hop 2 of 2 (http://b.test:8080) refused the login (HTTP 407)"},
    {"with a hop behind", VD_ERR_UNREACHABLE, 2, "http://c.test",
     "hop 1 of 2 (socks5h://u@a.test:1080) cannot be reached: Connection refused",
     -VD_ERR_UNREACHABLE,
     "hop 1 of 3 (socks5h://u@a.test:1080) cannot be reached: Connection refused"},
    {"of the target", VD_ERR_REFUSED, 1, NULL,
     "hop 1 of 1 (socks5h://u@a.test:1080) says that the target refused the connection",
     -VD_ERR_REFUSED,
     "hop 1 of 1 (socks5h://u@a.test:1080) says that the target refused the connection"},
    {"of the next hop", VD_ERR_REFUSED, 2, "http://c.test", "hop 2 of 2 (http://b.test:8080) x",
     -VD_ERR_UNREACHABLE,
     "hop 3 of 3 (http://c.test:8080) cannot be reached: hop 2 says that the target refused the "
     "connection (SOCKS5 reply 5)"},
    {"without words", VD_ERR_NAME, 2, NULL, "", -VD_ERR_NAME,
     "hops 1 to 2 of 2 (socks5h://u@a.test:1080, http://b.test:8080) says that the target's name "
     "is "
     "unknown (SOCKS5 reply 4)"},
    {"words of another kind", VD_ERR_BUSY, 1, NULL, "hello", -VD_ERR_BUSY,
     "hop 1 of 1 (socks5h://u@a.test:1080) is at one of its limits (SOCKS5 reply 1)"},
    {"control bytes", VD_ERR_PROTOCOL, 1, NULL, "hop 1 of 1 \033[31m\n", -VD_ERR_PROTOCOL,
     "hop 1 of 1 \\x1b[31m\\x0a"},
    {"from another hop", VD_ERR_LOGIN, 0, NULL, "hop 1 of 1 (x) refused the login", -VD_ERR_DENIED,
     "hop 1 of 1 (socks5h://127.0.0.1:5) does not allow this connection (SOCKS5 reply 2)"},
};

static void test_rows(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t said[VD_ACCEPT_REPLY_MAX];
        struct vd_hop hops[4];
        struct vd_chain c;
        size_t len = answer(said, sizeof said, rows[i].err, rows[i].told, strlen(rows[i].told));

        tap_begin();
        for (size_t chunk = 1; chunk <= len; chunk++) {
            start(&c, hops, rows[i].others, rows[i].last);
            int r = feed(&c, said, len, chunk);
            if (r != rows[i].result)
                tap_wrong("chunks of %zu: %d, not %d", chunk, r, rows[i].result);
            check_message(&c, r, rows[i].message);
        }
        tap_end(rows[i].name);
    }
}

/* Every reason, and every length of words. */
static void test_reasons(void)
{
    static char text[300];
    uint8_t said[VD_ACCEPT_REPLY_MAX];
    struct vd_hop hops[4];
    struct vd_chain c;
    size_t told_len;

    tap_begin();
    memset(text, 'x', sizeof text);
    for (int err = VD_OK + 1; err < VD_ERR_COUNT; err++) {
        start(&c, hops, 1, NULL);
        int r = feed(&c, said, answer(said, sizeof said, err, "x", 1), 512);
        if (r != -err)
            tap_wrong("reason %d became %d", err, r);
    }
    for (size_t len = 0; len <= sizeof text; len++) {
        size_t n = answer(said, sizeof said, VD_ERR_NET, text, len), want = len > 255 ? 255 : len;
        start(&c, hops, 1, NULL);
        feed(&c, said, n, 512);
        const char *told = vd_shake_told(&c.shake, &told_len);
        if (!told || told_len != (want ? want : 1) ||
            memcmp(told, want ? text : "-", told_len) != 0)
            tap_wrong("%zu bytes became %zu", len, told ? told_len : 0);
    }
    tap_end("every reason, and words of every length");
}

/* An answer of our own that is cut, or that is not in this manner. */
static void test_others(void)
{
    static const uint8_t plain[] = "\5\0\5\5\0\1\0\0\0\0\0\0", wild[] = "\5\0\5\1\0\3\1x\xff\xff",
                         zero[] = "\5\0\5\1\0\3\1x\0\0", six[] = "\5\0\5\3\0\4abcdefghijklmnop\0\1";
    static const struct {
        const uint8_t *data;
        size_t len;
        int result;
    } all[] = {{plain, sizeof plain - 1, -VD_ERR_REFUSED},
               {wild, sizeof wild - 1, -VD_ERR_FAILED},
               {zero, sizeof zero - 1, -VD_ERR_FAILED},
               {six, sizeof six - 1, -VD_ERR_NET}};
    struct vd_hop hops[4];
    struct vd_chain c;

    tap_begin();
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (size_t len = 4; len <= all[i].len; len++) {
            start(&c, hops, 1, NULL);
            int r = feed(&c, all[i].data, len, 512);
            bool whole = len == all[i].len;
            if (!whole && r == VD_MORE)
                r = vd_chain_lost(&c, VD_LOSS_EOF);
            if (whole ? r != all[i].result : r >= 0)
                tap_wrong("answer %zu cut at %zu: %d", i, len, r);
        }
    tap_end("answers that are cut, or plain");
}

static void test_success(void)
{
    static const uint8_t yes[] = "\5\0\5\0\0\3\x0ahop 1 of 1\0\1";
    struct vd_hop hops[4];
    struct vd_chain c;
    size_t len;

    tap_begin();
    start(&c, hops, 1, NULL);
    if (feed(&c, yes, sizeof yes - 1, 512) != VD_DONE || vd_shake_told(&c.shake, &len))
        tap_wrong("a name in a success tells something");
    tap_end("a success tells nothing");
}

int main(void)
{
    test_rows();
    test_reasons();
    test_others();
    test_success();
    return tap_done();
}
