/* proto/shake, socks4, socks5, http_connect: the client's side with one hop. */
#include "proto/shake.h"

#include <string.h>

#include "tests/unit/guard.h"
#include "tests/unit/talks.h"
#include "tests/unit/tap.h"

_Static_assert(sizeof(struct vd_shake) <= 1024, "thousands of handshakes may be under way");

/* Bytes of the tunnel, which nobody may take: among them what looks like more handshake. */
static const char tunnel[] = "\5\0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n\0\x5a tunnel";

enum { HEARD_MAX = VD_HEAD_MAX + 4096 };

/* A chain of one hop, which is as good as the handshake itself. */
static int start(struct vd_chain *chain, struct vd_hop *hop, const struct talk *t)
{
    struct vd_path path = {.hops = hop, .count = 1};
    struct vd_url_error why;
    struct vd_endpoint target;

    if (vd_url_read(hop, t->url, strlen(t->url), &why) < 0 ||
        vd_endpoint_read(&target, t->target, strlen(t->target), 0) < 0) {
        tap_wrong("the row itself cannot be read");
        return -VD_ERR_COUNT;
    }
    return vd_chain_start(chain, &path, t->command, &target);
}

static void check_bound(const struct vd_shake *s, const char *wanted)
{
    struct vd_endpoint bound;
    char text[VD_ENDPOINT_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);

    vd_endpoint_set_ip(&bound, &s->bound_ip, s->bound_port);
    vd_endpoint_print(&out, &bound);
    if (!wanted && s->bound_ip.family != VD_NO_IP)
        tap_wrong("bound to %s, which was not said", vd_out_string(&out));
    if (wanted && strcmp(vd_out_string(&out), wanted))
        tap_wrong("bound to %s", text);
}

static void check_end(const struct talk *t, const struct play_end *end, const struct vd_shake *s)
{
    if (end->broken)
        tap_wrong("%s", end->broken);
    if (end->result != t->end)
        tap_wrong("ended with %d instead of %d", end->result, t->end);
    if (end->said_len != t->said_len || memcmp(end->said, t->said, t->said_len))
        tap_wrong("%zu bytes were said instead of %zu, or others", end->said_len, t->said_len);
    if (t->end == VD_DONE && end->used != t->heard_len)
        tap_wrong("%zu bytes were taken of %zu", end->used, t->heard_len);
    if (end->used > t->heard_len)
        tap_wrong("bytes of the tunnel were taken");
    if (s->code != t->code)
        tap_wrong("code %u instead of %u", s->code, t->code);
    check_bound(s, t->bound);
}

static void play(const struct talk *t, size_t chunk, enum play_manner manner)
{
    static struct play_end end;
    static uint8_t heard[HEARD_MAX];
    struct play_client how = {.chunk = chunk, .manner = manner, .loss = t->loss};
    struct vd_chain chain;
    struct vd_hop hop;
    unsigned before = tap_wrongs;
    size_t len = t->heard_len;

    memcpy(heard, t->heard, len);
    if (t->loss == PLAY_GOES_ON) {
        memcpy(heard + len, tunnel, sizeof tunnel);
        len += sizeof tunnel;
    }
    if (start(&chain, &hop, t) != VD_OK) {
        tap_wrong("it does not start");
        return;
    }
    play_client(&end, &chain, heard, len, &how);
    check_end(t, &end, &chain.shake);
    if (tap_wrongs > before)
        tap_wrong("... in chunks of %zu, manner %d", chunk, manner);
}

static void play_all_ways(const struct talk *t)
{
    tap_begin();
    for (enum play_manner manner = PLAY_EXACT; manner <= PLAY_GREEDY; manner++)
        for (size_t chunk = 1; chunk <= 33; chunk++)
            play(t, chunk == 33 ? PLAY_WHOLE : chunk, manner);
    tap_end(t->name);
}

/* --- heads of 64 KiB --- */

static size_t long_head(char *head, const char *first, const char *field, size_t len)
{
    struct vd_out out = vd_out_over(head, HEARD_MAX);

    vd_out_text(&out, first);
    while (out.len + strlen(field) + 6 <= len)
        vd_out_text(&out, field);
    vd_out_text(&out, "A:");
    while (out.len + 4 < len)
        vd_out_text(&out, "x");
    vd_out_text(&out, "\r\n\r\n");
    return out.len;
}

static void long_heads(void)
{
    static char head[HEARD_MAX], line[HEARD_MAX];
    static const struct {
        const char *name, *first, *field;
        size_t len;
        int end;
    } rows[] = {
        {"a head of 64 KiB", "HTTP/1.1 200 OK\r\n", "x-field: value\r\n", VD_HEAD_MAX, VD_DONE},
        {"a head of one long line", "HTTP/1.1 200 OK\r\n", line, VD_HEAD_MAX, VD_DONE},
        {"a long reason phrase", "HTTP/1.1 200 ", line, VD_HEAD_MAX, VD_DONE},
        {"a refusal of 64 KiB", "HTTP/1.1 403 No\r\n", "x: y\r\n", VD_HEAD_MAX, -VD_ERR_DENIED},
        {"a head of a byte more", "HTTP/1.1 200 OK\r\n", "x-field: value\r\n", VD_HEAD_MAX + 1,
         -VD_ERR_TOO_LONG},
    };

    memset(line, 'x', 60000);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t len = long_head(head, rows[i].first, rows[i].field, rows[i].len);
        struct talk t = {rows[i].name,         "http://h", NAME, VD_CONNECT,
                         BYTES(CONNECT(NAME)), head,       len,  0,
                         rows[i].end,          200,        NULL};

        t.code = rows[i].end == -VD_ERR_DENIED ? 403 : 200;
        tap_begin();
        if (len != rows[i].len)
            tap_wrong("the row is %zu long", len);
        for (size_t chunk = 1; chunk <= 65536; chunk *= 4)
            play(&t, chunk, (enum play_manner)(chunk % 3));
        tap_end(t.name);
    }
}

static void endless_lines(void)
{
    static char head[HEARD_MAX];
    struct talk t = {"blank lines for ever",
                     "http://h",
                     NAME,
                     VD_CONNECT,
                     BYTES(CONNECT(NAME)),
                     head,
                     VD_HEAD_MAX + 1,
                     0,
                     -VD_ERR_TOO_LONG,
                     0,
                     NULL};

    memset(head, '\n', sizeof head);
    tap_begin();
    play(&t, 7, PLAY_EXACT);
    play(&t, PLAY_WHOLE, PLAY_GREEDY);
    tap_end(t.name);
}

/* --- what cannot start --- */

static const struct {
    const char *url, *target;
    enum vd_command command;
    int result;
} starts[] = {
    {"socks4://h", NAME, VD_CONNECT, -VD_ERR_ADDRESS_TYPE},
    {"socks4://h", V6, VD_CONNECT, -VD_ERR_ADDRESS_TYPE},
    {"socks4a://h", V6, VD_CONNECT, -VD_ERR_ADDRESS_TYPE},
    {"socks4://h", "0.0.0.1:80", VD_CONNECT, -VD_ERR_ADDRESS_TYPE}, /* would announce a name */
    {"socks4a://h", "0.0.0.255:80", VD_CONNECT, -VD_ERR_ADDRESS_TYPE},
    {"socks4://h", "0.0.0.0:80", VD_CONNECT, VD_OK},
    {"socks4://h", "0.0.1.1:80", VD_CONNECT, VD_OK},
    {"socks4://h", V4, VD_ASSOCIATE, -VD_ERR_COMMAND},
    {"socks4a://h", NAME, VD_ASSOCIATE, -VD_ERR_COMMAND},
    {"socks5://h", NAME, VD_CONNECT, -VD_ERR_ADDRESS_TYPE},
    {"socks5h://h", V6, VD_ASSOCIATE, VD_OK},
    {"http://h", V4, VD_BIND, -VD_ERR_COMMAND},
    {"http://h", V4, VD_ASSOCIATE, -VD_ERR_COMMAND},
    {"https://h", V4, VD_CONNECT, -VD_ERR_UNSUPPORTED},
};

static void starting(void)
{
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        struct talk t = {
            .url = starts[i].url, .target = starts[i].target, .command = starts[i].command};
        struct vd_chain chain;
        struct vd_hop hop;
        int r;

        tap_begin();
        r = start(&chain, &hop, &t);
        if (r != starts[i].result)
            tap_wrong("command %d to %s: %d", t.command, t.target, r);
        tap_end(t.url);
    }
}

/* Logins that a URL would not have let through: a hop may come from elsewhere. */
static void bad_logins(void)
{
    struct vd_endpoint target;
    struct vd_shake s;
    struct vd_hop hop = {.scheme = VD_SOCKS5H, .has_login = 1};

    vd_endpoint_read(&target, V4, strlen(V4), 0);
    tap_ok(vd_shake_start(&s, &hop, VD_CONNECT, &target) == -VD_ERR_NAME_FORM,
           "socks5 without user");
    memcpy(hop.user, "a\0b", 3);
    hop.user_len = 3;
    tap_ok(vd_shake_start(&s, &hop, VD_CONNECT, &target) == VD_OK, "socks5, a NUL in the user");
    hop.scheme = VD_SOCKS4;
    tap_ok(vd_shake_start(&s, &hop, VD_CONNECT, &target) == -VD_ERR_NAME_FORM, "socks4, the same");
    hop.scheme = VD_HTTP;
    memcpy(hop.user, "a:b", 3);
    tap_ok(vd_shake_start(&s, &hop, VD_CONNECT, &target) == -VD_ERR_NAME_FORM, "http, a colon");
    hop.scheme = 0;
    tap_ok(vd_shake_start(&s, &hop, VD_CONNECT, &target) == -VD_ERR_UNSUPPORTED, "no scheme");
}

/* --- the longest messages --- */

static void fill(char *text, uint8_t *len)
{
    memset(text, 'x', 255);
    text[255] = 0;
    *len = 255;
}

static void longest(void)
{
    static const uint8_t schemes[] = {VD_SOCKS4A, VD_SOCKS5H, VD_HTTP};

    for (size_t i = 0; i < sizeof schemes; i++) {
        struct vd_hop hop = {.scheme = schemes[i], .has_login = 1};
        struct vd_endpoint target = {.port = 65535};
        uint8_t buf[VD_SHAKE_MESSAGE_MAX];
        struct vd_shake s;

        fill(hop.user, &hop.user_len);
        fill(hop.password, &hop.password_len);
        fill(target.name, &target.name_len);
        tap_begin();
        if (vd_shake_start(&s, &hop, VD_CONNECT, &target) != VD_OK)
            tap_wrong("it does not start");
        else if (vd_shake_pending(&s, buf, sizeof buf) == 0)
            tap_wrong("nothing is said");
        tap_end("the longest names and logins");
    }
}

/* --- BIND: two replies --- */

static void bind_twice(const char *name, const char *url, const char *first, size_t first_len,
                       const char *second, size_t second_len, int wanted, const char *bound)
{
    struct talk t = {.url = url, .target = V4, .command = VD_BIND};

    tap_begin();
    for (size_t chunk = 1; chunk <= 32; chunk++) {
        static struct play_end end;
        struct play_client how = {.chunk = chunk};
        struct vd_chain chain;
        struct vd_hop hop;

        start(&chain, &hop, &t);
        play_client(&end, &chain, (const uint8_t *)first, first_len, &how);
        if (end.result != VD_DONE || end.used != first_len) {
            tap_wrong("the first reply: %d", end.result);
            continue;
        }
        vd_chain_next(&chain);
        play_client(&end, &chain, (const uint8_t *)second, second_len, &how);
        if (end.result != wanted || end.said_len > 0)
            tap_wrong("the second reply: %d", end.result);
        if (wanted == VD_DONE)
            check_bound(&chain.shake, bound);
    }
    tap_end(name);
}

static void binds(void)
{
    bind_twice("bind: socks4, the peer came", "socks4://h", BYTES("\0\x5a\0\1\1\2\3\4"),
               BYTES("\0\x5a\0\x14\xc0\0\2\1"), VD_DONE, "192.0.2.1:20");
    bind_twice("bind: socks4, another peer came", "socks4://h", BYTES("\0\x5a\0\1\1\2\3\4"),
               BYTES("\0\x5b\0\0\0\0\0\0"), -VD_ERR_FAILED, NULL);
    bind_twice("bind: socks5, the peer came", "socks5://h", BYTES("\5\0\5\0\0\1\1\2\3\4\0\1"),
               BYTES("\5\0\0\1\xc0\0\2\1\0\x14"), VD_DONE, "192.0.2.1:20");
    bind_twice("bind: socks5, the peer has a name", "socks5://h", BYTES("\5\0\5\0\0\1\1\2\3\4\0\1"),
               BYTES("\5\0\0\3\1x\0\x14"), VD_DONE, NULL);
    bind_twice("bind: socks5, nobody came", "socks5://h", BYTES("\5\0\5\0\0\1\1\2\3\4\0\1"),
               BYTES("\5\6\0\1\0\0\0\0\0\0"), -VD_ERR_TTL, NULL);
    bind_twice("bind: socks5, the peer came by IPv6", "socks5://h", BYTES("\5\0\5\0\0\3\1x\0\1"),
               BYTES("\5\0\0\4\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\0\x14"), VD_DONE,
               "[2001:db8::1]:20");
    bind_twice("bind: socks5, the second reply is of another version", "socks5://h",
               BYTES("\5\0\5\0\0\1\1\2\3\4\0\1"), BYTES("\4\0\0\1\0\0\0\0\0\0"), -VD_ERR_PROTOCOL,
               NULL);
    bind_twice("bind: socks5, half a second reply", "socks5://h", BYTES("\5\0\5\0\0\1\1\2\3\4\0\1"),
               BYTES("\5\0\0\1\xc0"), VD_MORE, NULL);
    bind_twice("bind: socks4, half a second reply", "socks4://h", BYTES("\0\x5a\0\1\1\2\3\4"),
               BYTES("\0\x5a\0"), VD_MORE, NULL);
}

/* What becomes of the stream while the peer is awaited. */
static void bind_lost(void)
{
    static const struct {
        const char *url, *first;
        size_t first_len;
        const char *second;
        size_t second_len;
        enum play_loss loss;
        int end;
    } rows[] = {
        {"socks4://h", BYTES("\0\x5a\0\1\1\2\3\4"), BYTES(""), PLAY_EOF, -VD_ERR_CLOSED},
        {"socks4://h", BYTES("\0\x5a\0\1\1\2\3\4"), BYTES("\0\x5b"), PLAY_EOF, -VD_ERR_FAILED},
        {"socks4://h", BYTES("\0\x5a\0\1\1\2\3\4"), BYTES(""), PLAY_SILENT, -VD_ERR_SILENT},
        {"socks5://h", BYTES("\5\0" S5_OK), BYTES(""), PLAY_EOF, -VD_ERR_CLOSED},
        {"socks5://h", BYTES("\5\0" S5_OK), BYTES("\5\0\0"), PLAY_RESET, -VD_ERR_RESET},
        {"socks5://h", BYTES("\5\0" S5_OK), BYTES("\5\6"), PLAY_EOF, -VD_ERR_TTL},
        {"socks5://h", BYTES("\5\0" S5_OK), BYTES(""), PLAY_SILENT, -VD_ERR_SILENT},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        static struct play_end end;
        struct play_client how = {.chunk = 3};
        struct talk t = {.url = rows[i].url, .target = V4, .command = VD_BIND};
        struct vd_chain chain;
        struct vd_hop hop;

        start(&chain, &hop, &t);
        play_client(&end, &chain, (const uint8_t *)rows[i].first, rows[i].first_len, &how);
        vd_chain_next(&chain);
        how.loss = rows[i].loss;
        play_client(&end, &chain, (const uint8_t *)rows[i].second, rows[i].second_len, &how);
        tap_ok(!end.broken && end.result == rows[i].end && end.said_len == 0,
               "bind: %s, lost (%d) behind %zu bytes", rows[i].url, rows[i].loss,
               rows[i].second_len);
    }
}

/* The address that a client does not know yet: all zeros, as most clients say. */
static void associate_unknown(void)
{
    static const uint8_t zeros[16];
    struct vd_hop hop = {.scheme = VD_SOCKS5};
    const struct vd_ip ips[] = {vd_ip4(zeros), vd_ip6(zeros, 0)};

    for (size_t i = 0; i < 2; i++) {
        size_t len = i == 0 ? 10 : 22, used;
        uint8_t wanted[22] = {5, VD_ASSOCIATE, 0, i == 0 ? 1 : 4}, buf[64];
        struct vd_endpoint target;
        struct vd_shake s;

        vd_endpoint_set_ip(&target, &ips[i], 0);
        tap_begin();
        if (vd_shake_start(&s, &hop, VD_ASSOCIATE, &target) != VD_OK)
            tap_wrong("it does not start");
        vd_shake_sent(&s, vd_shake_pending(&s, buf, sizeof buf));
        vd_shake_feed(&s, (const uint8_t *)"\5\0", 2, &used);
        if (vd_shake_pending(&s, buf, sizeof buf) != len || memcmp(buf, wanted, len))
            tap_wrong("another request");
        tap_end(i == 0 ? "associate: 0.0.0.0:0" : "associate: [::]:0");
    }
}

/* --- the serial rule --- */

static void talks_ahead(void)
{
    struct talk t = {.url = "socks5h://h", .target = NAME, .command = VD_CONNECT};
    struct vd_chain chain;
    struct vd_hop hop;
    size_t used;

    tap_begin();
    start(&chain, &hop, &t);
    if (vd_chain_feed(&chain, (const uint8_t *)"\5\0", 2, &used) != -VD_ERR_PROTOCOL)
        tap_wrong("an answer before the question was sent");
    start(&chain, &hop, &t);
    vd_chain_sent(&chain, 2);
    if (vd_chain_feed(&chain, (const uint8_t *)"\5\0", 2, &used) != -VD_ERR_PROTOCOL)
        tap_wrong("an answer before the whole question was sent");
    tap_end("a hop that talks ahead");

    tap_begin();
    start(&chain, &hop, &t);
    if (vd_chain_feed(&chain, NULL, 0, &used) != VD_MORE || used != 0)
        tap_wrong("no bytes are no answer");
    tap_end("no bytes");
}

/* --- how much is received at a time --- */

static void check_usual(const char *what, const char *url, enum vd_command command,
                        const char *heard, size_t len, size_t wanted)
{
    struct talk t = {.url = url, .target = NAME, .command = command};
    struct vd_chain chain;
    struct vd_hop hop;
    struct play_client how = {.chunk = PLAY_WHOLE, .manner = PLAY_EXACT, .loss = PLAY_GOES_ON};
    static struct play_end end;

    start(&chain, &hop, &t);
    play_client(&end, &chain, (const uint8_t *)heard, len, &how);
    tap_ok(!end.broken && vd_chain_usual(&chain) == wanted, "usual: %s: %zu", what,
           vd_chain_usual(&chain));
}

static void usual(void)
{
    check_usual("a choice", "socks5h://h", VD_CONNECT, "", 0, 2);
    check_usual("a word on a login", "socks5h://a:b@h", VD_CONNECT, "\5\2", 2, 2);
    check_usual("a reply", "socks5h://h", VD_CONNECT, "\5\0", 2, 10);
    check_usual("a reply behind a login", "socks5h://a:b@h", VD_CONNECT, "\5\2\1\0", 4, 10);
    check_usual("the rest of a reply's head", "socks5h://h", VD_CONNECT, "\5\0\5", 3, 6);
    check_usual("the rest of a reply", "socks5h://h", VD_CONNECT, "\5\0\5\0\0\1\0", 7, 5);
    check_usual("a reply that another may follow at once", "socks5h://h", VD_BIND, "\5\0", 2, 7);
    check_usual("SOCKS4", "socks4a://h", VD_CONNECT, "", 0, 8);
}

int main(void)
{
    for (size_t i = 0; i < talk_count; i++)
        play_all_ways(&talks[i]);
    long_heads();
    endless_lines();
    starting();
    bad_logins();
    longest();
    binds();
    bind_lost();
    associate_unknown();
    talks_ahead();
    usual();
    return tap_done();
}
