/* proto/accept and its codecs: the server's side. */
#include "proto/accept.h"

#include <string.h>

#include "tests/unit/guard.h"
#include "tests/unit/tap.h"
#include "tests/unit/visits.h"

#define BYTES(s) s, sizeof(s) - 1

/* Early data of the client for its target, which nobody may take. */
static const char tunnel[] = "\5\1\0\r\n\r\nHost: y\r\n\r\n\0\0 tunnel";

enum { HEARD_MAX = 3 * VD_HEAD_MAX };

static const char *shown(const struct play_end *end)
{
    static char text[4 * VD_ACCEPT_REPLY_MAX + 1];
    struct vd_out out = vd_out_over(text, sizeof text);

    vd_out_shown(&out, end->said, end->said_len);
    return vd_out_string(&out);
}

static void check_end(const struct visit *v, const struct play_end *end, size_t whole_used)
{
    if (end->broken)
        tap_wrong("%s", end->broken);
    if (end->result != v->end)
        tap_wrong("ended with %d instead of %d", end->result, v->end);
    if (strcmp(end->asked, v->asked))
        tap_wrong("asked '%s' instead of '%s'", end->asked, v->asked);
    if (end->said_len != v->said_len || memcmp(end->said, v->said, v->said_len))
        tap_wrong("said %s", shown(end));
    if (end->result > 0 && end->used != v->heard_len)
        tap_wrong("%zu bytes were taken of %zu", end->used, v->heard_len);
    if (end->used > v->heard_len)
        tap_wrong("early data was taken");
    if (whole_used != SIZE_MAX && end->used != whole_used)
        tap_wrong("%zu bytes were taken, %zu of it in one piece", end->used, whole_used);
}

static size_t play(const struct visit *v, size_t chunk, bool late, size_t whole_used)
{
    static struct play_end end;
    static uint8_t heard[HEARD_MAX + sizeof tunnel];
    struct play_server how = {
        .chunk = chunk, .late = late, .login = v->login, .err = v->err, .bound = v->bound};
    struct vd_accept a;
    unsigned before = tap_wrongs;
    size_t len = v->heard_len;

    memcpy(heard, v->heard, len);
    if (v->end != VD_MORE) {
        memcpy(heard + len, tunnel, sizeof tunnel);
        len += sizeof tunnel;
    }
    vd_accept_start(&a, v->offers);
    play_server(&end, &a, heard, len, &how);
    check_end(v, &end, whole_used);
    if (tap_wrongs > before)
        tap_wrong("... in chunks of %zu%s", chunk, late ? ", answered late" : "");
    return end.used;
}

static void play_all_ways(const struct visit *v)
{
    size_t used;

    tap_begin();
    used = play(v, PLAY_WHOLE, false, SIZE_MAX);
    play(v, PLAY_WHOLE, true, used);
    for (size_t chunk = 1; chunk <= 32; chunk++) {
        play(v, chunk, false, used);
        play(v, chunk, true, used);
    }
    tap_end(v->name);
}

/* --- lengths --- */

static char longest[HEARD_MAX];

/* before, n times the filler, after */
static size_t stretch(const char *before, size_t before_len, char filler, size_t n,
                      const char *after, size_t after_len)
{
    struct vd_out out = vd_out_over(longest, sizeof longest);

    vd_out_bytes(&out, before, before_len);
    for (size_t i = 0; i < n; i++)
        vd_out_u8(&out, (uint8_t)filler);
    vd_out_bytes(&out, after, after_len);
    return out.len;
}

/* How it ends, at some chunk sizes, which must agree. */
static int ends(const char *before, size_t before_len, size_t n, const char *after,
                size_t after_len)
{
    size_t len = stretch(before, before_len, 'x', n, after, after_len);
    static struct play_end end;
    int result = 0;

    for (size_t chunk = 1; chunk <= PLAY_WHOLE; chunk *= 16) {
        struct play_server how = {.chunk = chunk, .login = true};
        struct vd_accept a;

        vd_accept_start(&a, VD_OFFER_MIXED);
        play_server(&end, &a, (const uint8_t *)longest, len, &how);
        if (end.broken || (chunk > 1 && end.result != result))
            tap_wrong("chunks of %zu: %d, %s", chunk, end.result, end.broken);
        result = end.result;
    }
    if (result == VD_ACCEPT_REQUEST && end.used != len)
        tap_wrong("%zu bytes were taken of %zu", end.used, len);
    return result;
}

static const struct {
    const char *name;
    const char *before;
    size_t before_len;
    size_t n;
    const char *after;
    size_t after_len;
    int end;
} lengths[] = {
    {"socks4: a user of 255 bytes", BYTES("\4\1\0\x50\1\2\3\4"), 255, BYTES("\0"),
     VD_ACCEPT_REQUEST},
    {"socks4: a user of 500 bytes", BYTES("\4\1\0\x50\1\2\3\4"), 500, BYTES("\0"),
     VD_ACCEPT_REQUEST},
    {"socks4: the longest user", BYTES("\4\1\0\x50\1\2\3\4"), 767, BYTES("\0"), VD_ACCEPT_REQUEST},
    {"socks4: a longer user", BYTES("\4\1\0\x50\1\2\3\4"), 768, BYTES("\0"), -VD_ERR_TOO_LONG},
    {"socks4: a user without end", BYTES("\4\1\0\x50\1\2\3\4"), 2000, BYTES("\0"),
     -VD_ERR_TOO_LONG},
    {"socks4a: a name of 255 bytes", BYTES("\4\1\0\x50\0\0\0\1\0"), 255, BYTES("\0"),
     VD_ACCEPT_REQUEST},
    {"socks4a: a name of 256 bytes", BYTES("\4\1\0\x50\0\0\0\1\0"), 256, BYTES("\0"),
     -VD_ERR_NAME_FORM},
    {"socks4a: a name without end", BYTES("\4\1\0\x50\0\0\0\1\0"), 2000, BYTES("\0"),
     -VD_ERR_TOO_LONG},
    {"socks5: 255 methods", BYTES("\5\xff"), 254, BYTES("\0\5\1\0\1\1\2\3\4\0\x50"),
     VD_ACCEPT_REQUEST},
    {"socks5: a name of 255 bytes", BYTES("\5\1\0\5\1\0\3\xff"), 255, BYTES("\0\x50"),
     VD_ACCEPT_REQUEST},
    {"socks5: a user of 255 bytes", BYTES("\5\1\2\1\xff"), 255, BYTES("\1y\5\1\0\1\1\2\3\4\0\x50"),
     VD_ACCEPT_REQUEST},
    {"socks5: a password of 255 bytes", BYTES("\5\1\2\1\1y\xff"), 255,
     BYTES("\5\1\0\1\1\2\3\4\0\x50"), VD_ACCEPT_REQUEST},
    {"http: a name of 255 bytes", BYTES("CONNECT "), 255, BYTES(":1 HTTP/1.0\n\n"),
     VD_ACCEPT_REQUEST},
    {"http: a name of 256 bytes", BYTES("CONNECT "), 256, BYTES(":1 HTTP/1.0\n\n"),
     -VD_ERR_NAME_FORM},
    {"http: a name of 2000 bytes", BYTES("CONNECT "), 2000, BYTES(":1 HTTP/1.0\n\n"),
     -VD_ERR_NAME_FORM},
    {"http: another field of 2000 bytes", BYTES("CONNECT a:1 HTTP/1.0\nCookie: "), 2000,
     BYTES("\nA: b\n\n"), VD_ACCEPT_REQUEST},
    {"http: another field, CR LF", BYTES("CONNECT a:1 HTTP/1.0\r\nCookie: "), 2000,
     BYTES("\r\nA: b\r\n\r\n"), VD_ACCEPT_REQUEST},
    {"http: a field that just fits", BYTES("CONNECT a:1 HTTP/1.0\nA:"), VD_ACCEPT_LINE_MAX - 2,
     BYTES("\n\n"), VD_ACCEPT_REQUEST},
    {"http: a field a byte longer", BYTES("CONNECT a:1 HTTP/1.0\nA:"), VD_ACCEPT_LINE_MAX - 1,
     BYTES("\n\n"), VD_ACCEPT_REQUEST},
    {"http: a control byte far behind in a field", BYTES("CONNECT a:1 HTTP/1.0\nA:"), 2000,
     BYTES("\1\n\n"), -VD_ERR_PROTOCOL},
    {"http: a bare CR far behind in a field", BYTES("CONNECT a:1 HTTP/1.0\nA:"), 2000,
     BYTES("\r.\n\n"), -VD_ERR_PROTOCOL},
    {"http: a line of 2000 bytes without colon", BYTES("CONNECT a:1 HTTP/1.0\n"), 2000,
     BYTES("\n\n"), -VD_ERR_PROTOCOL},
    {"http: a Host that just fits", BYTES("CONNECT a:1 HTTP/1.1\nHost:"), VD_ACCEPT_LINE_MAX - 5,
     BYTES("\n\n"), VD_ACCEPT_REQUEST},
    {"http: a Host a byte longer", BYTES("CONNECT a:1 HTTP/1.1\nHost:"), VD_ACCEPT_LINE_MAX - 4,
     BYTES("\n\n"), -VD_ERR_TOO_LONG},
    {"http: a login of 2000 bytes", BYTES("CONNECT a:1 HTTP/1.0\nProxy-Authorization: Basic "),
     2000, BYTES("\n\n"), -VD_ERR_TOO_LONG},
    {"http: two long lengths and chunks",
     BYTES("CONNECT a:1 HTTP/1.0\nTransfer-Encoding: x\nContent-Length:"), 2000, BYTES("\n\n"),
     -VD_ERR_PROTOCOL},
    {"http: a head of 64 KiB", BYTES("CONNECT a:1 HTTP/1.0\nA:"), VD_HEAD_MAX - 25, BYTES("\n\n"),
     VD_ACCEPT_REQUEST},
    {"http: a head of a byte more", BYTES("CONNECT a:1 HTTP/1.0\nA:"), VD_HEAD_MAX - 24,
     BYTES("\n\n"), -VD_ERR_TOO_LONG},
    {"http: a field without end", BYTES("CONNECT a:1 HTTP/1.0\nA:"), 2 * VD_HEAD_MAX, BYTES(""),
     -VD_ERR_TOO_LONG},
};

static void play_lengths(void)
{
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        int r;

        tap_begin();
        r = ends(lengths[i].before, lengths[i].before_len, lengths[i].n, lengths[i].after,
                 lengths[i].after_len);
        if (r != lengths[i].end)
            tap_wrong("ended with %d instead of %d", r, lengths[i].end);
        tap_end(lengths[i].name);
    }
}

/* The longest Basic login that RFC 1929 could carry as well, and one that it could not. */
static void long_login(size_t user_len, size_t password_len, bool fits)
{
    uint8_t pair[1024], head[2048];
    struct vd_out out = vd_out_over(head, sizeof head);
    struct vd_accept a;
    size_t used;
    int r;

    memset(pair, 'u', user_len);
    pair[user_len] = ':';
    memset(pair + user_len + 1, 'p', password_len);
    vd_out_text(&out, "CONNECT a.b:80 HTTP/1.0\r\nProxy-Authorization: Basic ");
    vd_out_base64(&out, pair, user_len + 1 + password_len);
    vd_out_text(&out, "\r\n\r\n");
    vd_accept_start(&a, LOCKED);
    r = vd_accept_feed(&a, guard_put(head, out.len), out.len, &used);
    tap_ok(fits ? r == VD_ACCEPT_LOGIN && a.user_len == user_len && a.password_len == password_len
                : r == -VD_ERR_LOGIN,
           "http: a login of %zu and %zu bytes", user_len, password_len);
}

/* --- what remains in the state --- */

static void names_and_users(void)
{
    static const struct {
        const char *heard;
        size_t len;
        const char *name, *user;
    } rows[] = {
        {BYTES(""), "unknown", ""},
        {BYTES("\4\1\0\x50\xc0\0\2\1"
               "fred\0"),
         "SOCKS4", "fred"},
        {BYTES("\4\1\0\x50\0\0\0\1"
               "fred\0a.b\0"),
         "SOCKS4a", "fred"},
        {BYTES("\5\1\2\1\5alice\6secret"), "SOCKS5", "alice"},
        {BYTES("CONNECT a.b:80 HTTP/1.0\r\nProxy-Authorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n"),
         "HTTP", "alice"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct vd_accept a;
        size_t used;

        vd_accept_start(&a, VD_OFFER_MIXED);
        vd_accept_feed(&a, (const uint8_t *)rows[i].heard, rows[i].len, &used);
        tap_ok(!strcmp(vd_accept_name(&a), rows[i].name) && !strcmp(a.user, rows[i].user),
               "%s and its user", rows[i].name);
    }
}

static void user_is_cut(void)
{
    size_t len = stretch(BYTES("\4\1\0\x50\1\2\3\4"), 'x', 300, BYTES("\0"));
    struct vd_accept a;
    size_t used;

    vd_accept_start(&a, VD_OFFER_MIXED);
    tap_ok(vd_accept_feed(&a, (const uint8_t *)longest, len, &used) == VD_ACCEPT_REQUEST &&
               a.user_len == 255 && strlen(a.user) == 255,
           "socks4: a longer user is cut at 255");
}

/* A state that is kept for long must not hold a password that was judged. */
static void no_secret_stays(const char *name, const char *heard, size_t len, bool ok)
{
    struct vd_accept a;
    size_t used;
    int r;

    vd_accept_start(&a, LOCKED);
    r = vd_accept_feed(&a, (const uint8_t *)heard, len, &used);
    tap_begin();
    if (r != VD_ACCEPT_LOGIN || !memmem(&a, sizeof a, "secret", 6))
        tap_wrong("no login was seen");
    vd_accept_login(&a, ok);
    if (memmem(&a, sizeof a, "secret", 6) || memmem(&a, sizeof a, "c2VjcmV0", 8))
        tap_wrong("the password is still there");
    tap_end(name);
}

static void secrets(void)
{
    static const char socks5[] = "\5\1\2\1\5alice\6secret";
    static const char http[] = "CONNECT a.b:80 HTTP/1.0\r\n"
                               "Proxy-Authorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n";

    no_secret_stays("socks5: a password that was right is wiped", BYTES(socks5), true);
    no_secret_stays("socks5: a password that was wrong is wiped", BYTES(socks5), false);
    no_secret_stays("http: a password that was right is wiped", BYTES(http), true);
    no_secret_stays("http: a password that was wrong is wiped", BYTES(http), false);
}

/* --- BIND: the second reply --- */

#define BIND4 "\4\2\0\x15\xc0\0\2\1\0"
#define BIND5 "\5\1\0\5\2\0\1\xc0\0\2\1\0\x15"

static const struct {
    const char *name;
    const char *heard;
    size_t heard_len;
    int err;
    const char *peer;
    const char *said; /* the second reply alone */
    size_t said_len;
} seconds[] = {
    {"socks4: the peer came", BYTES(BIND4), VD_OK, "192.0.2.1:20", BYTES("\0\x5a\0\x14\xc0\0\2\1")},
    {"socks4: the peer came, told as by an IPv6 socket", BYTES(BIND4), VD_OK,
     "[::ffff:192.0.2.1]:20", BYTES("\0\x5a\0\x14\xc0\0\2\1")},
    {"socks4: nobody came", BYTES(BIND4), -VD_ERR_TTL, NULL, BYTES("\0\x5b\0\0\0\0\0\0")},
    {"socks4: somebody else came", BYTES(BIND4), VD_ERR_DENIED, NULL, BYTES("\0\x5b\0\0\0\0\0\0")},
    {"socks4a: the peer came", BYTES("\4\2\0\x15\0\0\0\1\0a.b\0"), VD_OK, "192.0.2.1:20",
     BYTES("\0\x5a\0\x14\xc0\0\2\1")},
    {"socks5: the peer came", BYTES(BIND5), VD_OK, "192.0.2.1:20",
     BYTES("\5\0\0\1\xc0\0\2\1\0\x14")},
    {"socks5: the peer came by IPv6", BYTES(BIND5), VD_OK, "[2001:db8::1]:20",
     BYTES("\5\0\0\4\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\0\x14")},
    {"socks5: the peer came, by name", BYTES(BIND5), VD_OK, "x.example:20",
     BYTES("\5\0\0\3\x09x.example\0\x14")},
    {"socks5: nobody came", BYTES(BIND5), -VD_ERR_TTL, NULL, BYTES("\5\6\0\1\0\0\0\0\0\0")},
    {"socks5: somebody else came", BYTES(BIND5), VD_ERR_DENIED, NULL,
     BYTES("\5\2\0\1\0\0\0\0\0\0")},
    {"socks5: behind a login", BYTES("\5\1\2\1\5alice\6secret\5\2\0\1\xc0\0\2\1\0\x15"), VD_OK,
     "192.0.2.1:20", BYTES("\5\0\0\1\xc0\0\2\1\0\x14")},
};

static void play_second(size_t i, size_t chunk)
{
    static struct play_end end;
    struct play_server how = {.chunk = chunk, .login = true, .bound = "198.51.100.7:1080"};
    struct vd_endpoint peer;
    uint8_t said[VD_ACCEPT_REPLY_MAX], byte;
    struct vd_accept a;
    size_t len = 0, n, used;
    int r;

    vd_accept_start(&a, VD_OFFER_MIXED);
    play_server(&end, &a, (const uint8_t *)seconds[i].heard, seconds[i].heard_len, &how);
    if (end.result != VD_ACCEPT_REQUEST || a.command != VD_BIND || end.broken ||
        vd_accept_pending(&a, &byte, 1) > 0)
        tap_wrong("the first reply: %d, %s", end.result, end.broken);
    if (seconds[i].peer)
        vd_endpoint_read(&peer, seconds[i].peer, strlen(seconds[i].peer), 0);
    vd_accept_second(&a, seconds[i].err, seconds[i].peer ? &peer : NULL);
    while (len < sizeof said &&
           (n = vd_accept_pending(&a, said + len,
                                  chunk < sizeof said - len ? chunk : sizeof said - len))) {
        vd_accept_sent(&a, n);
        len += n;
    }
    if (len != seconds[i].said_len || memcmp(said, seconds[i].said, len))
        tap_wrong("%zu bytes were said instead of %zu, or others", len, seconds[i].said_len);
    r = vd_accept_feed(&a, (const uint8_t *)"x", 1, &used);
    if (used > 0 || (seconds[i].err ? r >= 0 : r != VD_MORE))
        tap_wrong("afterwards it takes %zu bytes: %d", used, r);
}

static void second_replies(void)
{
    for (size_t i = 0; i < sizeof seconds / sizeof *seconds; i++) {
        tap_begin();
        for (size_t chunk = 1; chunk <= 33; chunk++)
            play_second(i, chunk == 33 ? PLAY_WHOLE : chunk);
        tap_end(seconds[i].name);
    }
}

/* --- every answer --- */

/* VD_ACCEPT_REPLY_MAX holds every answer, and no refusal may look like a yes. */
static void every_reason(const char *name, const char *heard, size_t len)
{
    tap_begin();
    for (int err = VD_ERR_REFUSED; err < VD_ERR_COUNT; err++) {
        uint8_t buf[VD_ACCEPT_REPLY_MAX];
        struct vd_accept a;
        size_t used, said;

        vd_accept_start(&a, VD_OFFER_MIXED);
        if (vd_accept_feed(&a, (const uint8_t *)heard, len, &used) != VD_ACCEPT_REQUEST)
            tap_wrong("no request");
        vd_accept_reply(&a, err % 2 ? err : -err, NULL);
        said = vd_accept_pending(&a, buf, sizeof buf);
        if (said < 8)
            tap_wrong("reason %d gives no answer", err);
        if (memmem(buf, said, "200 C", 5) || !memcmp(buf, "\5\0\5\0", 4) ||
            !memcmp(buf, "\0\x5a", 2))
            tap_wrong("reason %d looks like a yes", err);
        if (vd_accept_feed(&a, (const uint8_t *)"x", 1, &used) != -err || used != 0)
            tap_wrong("reason %d is forgotten", err);
    }
    tap_end(name);
}

static void longest_answer(void)
{
    struct vd_endpoint bound = {.port = 1, .name_len = VD_NAME_MAX};
    uint8_t buf[VD_ACCEPT_REPLY_MAX];
    struct vd_accept a;
    size_t used;

    memset(bound.name, 'x', VD_NAME_MAX);
    vd_accept_start(&a, LOCKED);
    vd_accept_feed(&a, (const uint8_t *)"\5\1\2\1\1u\1p", 8, &used);
    vd_accept_login(&a, true);
    vd_accept_feed(&a, (const uint8_t *)"\5\1\0\1\1\2\3\4\0\1", 10, &used);
    vd_accept_reply(&a, VD_OK, &bound);
    tap_ok(vd_accept_pending(&a, buf, sizeof buf) == 2 + 2 + 4 + 1 + 255 + 2,
           "socks5: the longest answer fits");
}

/* --- forwarded requests --- */

/* The bytes that were taken are there for whoever reads the head. */
static void handed_over(const char *heard)
{
    struct vd_accept a;
    size_t used, len = strlen(heard);

    vd_accept_start(&a, VD_OFFER_MIXED);
    tap_ok(vd_accept_feed(&a, (const uint8_t *)heard, len, &used) == VD_ACCEPT_FORWARD &&
               a.have == used && !memcmp(a.in, heard, used),
           "http: what was taken of %s", heard);
}

/* What a request of somebody else's reading is asked and told, as one of the codec's own. */
static void forwarded(void)
{
    static const struct {
        const char *head;
        unsigned offers;
        int result;
        const char *said; /* once it was refused with VD_ERR_DENIED, or at once */
    } rows[] = {
        {"GET http://a.b/ HTTP/1.0\r\n\r\n", VD_OFFER_HTTP, VD_ACCEPT_REQUEST,
         "This proxy does not allow this connection.\n"},
        {"GET http://a.b/ HTTP/1.0\r\n\r\n", LOCKED, -VD_ERR_LOGIN,
         "This proxy needs a login (Basic).\n"},
        {"GET http://a.b/ HTTP/1.0\r\nProxy-Authorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n", LOCKED,
         VD_ACCEPT_LOGIN, "This proxy does not allow this connection.\n"},
        {"HEAD http://a.b/ HTTP/1.0\r\n\r\n", VD_OFFER_HTTP, VD_ACCEPT_REQUEST, "\r\n\r\n"},
        {"HEAD http://a.b/ HTTP/1.0\r\n\r\n", LOCKED, -VD_ERR_LOGIN, "\r\n\r\n"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t said[VD_ACCEPT_REPLY_MAX];
        struct vd_http_head head;
        struct vd_accept a;

        vd_accept_start(&a, rows[i].offers);
        vd_http_read_request(&head, (const uint8_t *)rows[i].head, strlen(rows[i].head));
        int r = vd_accept_forwarded(&a, &head);
        if (r == VD_ACCEPT_LOGIN && !strcmp(a.user, "alice") && !strcmp(a.password, "secret"))
            vd_accept_login(&a, true);
        if (r > 0)
            vd_accept_reply(&a, VD_ERR_DENIED, NULL);
        size_t len = vd_accept_pending(&a, said, sizeof said), end = strlen(rows[i].said);
        tap_ok(r == rows[i].result && len > end && !memcmp(said + len - end, rows[i].said, end) &&
                   a.target.port == 80 && !strcmp(a.target.name, "a.b"),
               "http: forwarded: %.4s, row %zu", rows[i].head, i);
    }
}

static void faults(void)
{
    for (int fault = VD_HTTP_GOOD + 1; fault < VD_HTTP_FAULTS; fault++) {
        const struct vd_http_fault_row *row = vd_http_fault_row((enum vd_http_fault)fault);
        uint8_t said[VD_ACCEPT_REPLY_MAX];
        char status[32];
        struct vd_accept a;

        vd_accept_start(&a, VD_OFFER_HTTP);
        int r = vd_accept_fault(&a, (enum vd_http_fault)fault, false);
        size_t len = vd_accept_pending(&a, said, sizeof said - 1);
        said[len] = 0;
        snprintf(status, sizeof status, "HTTP/1.1 %u ", row->status);
        tap_ok(r == -(int)row->reason && !strncmp((char *)said, status, strlen(status)) &&
                   strstr((char *)said, row->text) && strstr((char *)said, row->token) &&
                   !strstr((char *)said, "500 ") && !strcmp(vd_accept_error(&a), row->token),
               "http: fault %d: %s", fault, row->text);
    }
}

int main(void)
{
    handed_over("GET");
    handed_over("CONNECTX");
    forwarded();
    faults();
    for (size_t i = 0; i < visit_count; i++)
        play_all_ways(&visits[i]);
    play_lengths();
    long_login(255, 255, true);
    long_login(0, 255, true);
    long_login(256, 1, false);
    long_login(1, 256, false);
    long_login(300, 300, false);
    names_and_users();
    user_is_cut();
    secrets();
    second_replies();
    every_reason("socks4: every reason", BYTES("\4\1\0\x50\1\2\3\4\0"));
    every_reason("socks5: every reason", BYTES("\5\1\0\5\1\0\1\1\2\3\4\0\1"));
    every_reason("http: every reason", BYTES("CONNECT a.b:80 HTTP/1.0\r\n\r\n"));
    longest_answer();
    return tap_done();
}
