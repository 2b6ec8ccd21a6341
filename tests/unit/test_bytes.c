/* proto/bytes: cursors, base64, numbers. */
#include "proto/bytes.h"

#include <string.h>

#include "proto/err.h"
#include "tests/unit/guard.h"
#include "tests/unit/tap.h"

#define BYTES(s) s, sizeof(s) - 1

static void cursors_in(void)
{
    struct vd_in in = vd_in_over(guard_put(BYTES("\x01\x02\x03\x04\x05")), 5);

    tap_begin();
    if (vd_in_u8(&in) != 1 || vd_in_u16(&in) != 0x0203)
        tap_wrong("wrong numbers");
    if (memcmp(vd_in_bytes(&in, 2), "\4\5", 2) || !in.ok || in.left != 0)
        tap_wrong("wrong bytes");
    if (!vd_in_bytes(&in, 0) || !in.ok)
        tap_wrong("no bytes are always there");
    tap_end("in: fields up to the very end");

    in = vd_in_over(guard_put(BYTES("\xff")), 1);
    tap_begin();
    if (vd_in_u16(&in) != 0 || in.ok || in.left != 1)
        tap_wrong("half a number was read");
    if (vd_in_u8(&in) != 0 || in.ok || vd_in_bytes(&in, 0))
        tap_wrong("it went on after its bound");
    tap_end("in: past the end it stays there");
}

static void cursors_out(void)
{
    uint8_t *buf = guard_put("", 0) - 4;
    struct vd_out out = vd_out_over(buf, 4);

    tap_begin();
    vd_out_u8(&out, 0xab);
    vd_out_u16(&out, 0x0102);
    if (!out.ok || out.len != 3)
        tap_wrong("3 bytes do not fit into 4");
    vd_out_u16(&out, 0x0304);
    if (out.ok || out.len != 3)
        tap_wrong("5 bytes fit into 4");
    vd_out_u8(&out, 1);
    if (out.ok || out.len != 3 || memcmp(buf, "\xab\1\2", 3))
        tap_wrong("it went on after its bound");
    tap_end("out: past the end it stays there");

    tap_begin();
    out = vd_out_over(buf, 4);
    vd_out_bytes(&out, "abcd", 4);
    vd_out_bytes(&out, "", 0);
    if (!out.ok || out.len != 4 || memcmp(buf, "abcd", 4))
        tap_wrong("4 bytes do not fit into 4");
    tap_end("out: a buffer may be filled");

    tap_begin();
    out = vd_out_over(buf, 4);
    vd_out_text(&out, "abc");
    if (strcmp(vd_out_string(&out), "abc") || out.len != 3)
        tap_wrong("a text that fits");
    vd_out_text(&out, "d");
    if (strcmp(vd_out_string(&out), "abc"))
        tap_wrong("a full buffer");
    out = vd_out_over(buf, 0);
    if (strcmp(vd_out_string(&out), ""))
        tap_wrong("no buffer");
    tap_end("out: a string ends inside the buffer");
}

static void numbers(void)
{
    static const struct {
        uint64_t value;
        const char *text;
    } rows[] = {
        {0, "0"}, {9, "9"}, {10, "10"}, {65535, "65535"}, {UINT64_MAX, "18446744073709551615"}};

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char buf[32];
        struct vd_out out = vd_out_over(buf, sizeof buf);

        vd_out_uint(&out, rows[i].value);
        tap_ok(!strcmp(vd_out_string(&out), rows[i].text), "uint out %s", rows[i].text);
    }
}

static void numbers_in(void)
{
    static const struct {
        const char *text;
        size_t len;
        uint64_t max;
        int64_t value;
    } rows[] = {
        {BYTES("0"), 9, 0},
        {BYTES("65535"), 65535, 65535},
        {BYTES("65536"), 65535, -1},
        {BYTES("007"), 9, 7},
        {BYTES("999999999999999999"), UINT64_MAX, 999999999999999999},
        {BYTES("18446744073709551617"), UINT64_MAX, -1}, /* 1 to whom it wraps */
        {BYTES("4294967297"), 65535, -1},
        {BYTES(""), 9, -1},
        {BYTES("+1"), 9, -1},
        {BYTES("-1"), 9, -1},
        {BYTES(" 1"), 9, -1},
        {BYTES("1 "), 9, -1},
        {BYTES("1\0"), 9, -1},
        {BYTES("0x1"), 9, -1},
        {BYTES("/"), 9, -1},
        {BYTES(":"), 9, -1},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *text = (const char *)guard_put(rows[i].text, rows[i].len);
        int64_t value = vd_uint_read(text, rows[i].len, rows[i].max);

        tap_ok(value == rows[i].value, "uint in '%s'", rows[i].text);
    }
}

/* RFC 4648 section 10, and what is none. */
static void base64(void)
{
    static const struct {
        const char *plain;
        size_t plain_len;
        const char *text;
    } rows[] = {
        {BYTES(""), ""},
        {BYTES("f"), "Zg=="},
        {BYTES("fo"), "Zm8="},
        {BYTES("foo"), "Zm9v"},
        {BYTES("foob"), "Zm9vYg=="},
        {BYTES("fooba"), "Zm9vYmE="},
        {BYTES("foobar"), "Zm9vYmFy"},
        {BYTES("Aladdin:open sesame"), "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
        {BYTES("\x00\xff\xfe\xfb\xff"), "AP/++/8="},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t len = strlen(rows[i].text), bare = strcspn(rows[i].text, "=");
        char buf[64];
        uint8_t back[64];
        struct vd_out out = vd_out_over(buf, sizeof buf);
        const uint8_t *plain = guard_put(rows[i].plain, rows[i].plain_len);

        tap_begin();
        vd_out_base64(&out, plain, rows[i].plain_len);
        if (strcmp(vd_out_string(&out), rows[i].text))
            tap_wrong("written as %s", buf);
        if (vd_base64_read(rows[i].text, len, back, sizeof back) != (int)rows[i].plain_len ||
            memcmp(back, rows[i].plain, rows[i].plain_len))
            tap_wrong("read wrongly");
        if (vd_base64_read(rows[i].text, bare, back, rows[i].plain_len) != (int)rows[i].plain_len)
            tap_wrong("without padding, into a buffer that just fits");
        if (rows[i].plain_len > 0 &&
            vd_base64_read(rows[i].text, len, back, rows[i].plain_len - 1) != -VD_ERR_SPACE)
            tap_wrong("into a buffer one too small");
        tap_end(*rows[i].text ? rows[i].text : "base64 of nothing");
    }
}

static void base64_bad(void)
{
    static const struct {
        const char *text;
        size_t len;
    } rows[] = {{BYTES("Z")},        {BYTES("Zm9vY")},    {BYTES("Zg =")},  {BYTES("Z-8=")},
                {BYTES("=")},        {BYTES("Zg==Zg==")}, {BYTES("Zm\0v")}, {BYTES("Zm9v\n")},
                {BYTES("\xff\xff")}, {BYTES("Zg===")}};

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t back[64];
        const char *text = (const char *)guard_put(rows[i].text, rows[i].len);
        int r = vd_base64_read(text, rows[i].len, back, sizeof back);

        tap_ok(r == -VD_ERR_PROTOCOL, "base64 refuses row %zu (%d)", i, r);
    }
}

static void shown(void)
{
    char buf[64];
    struct vd_out out = vd_out_over(buf, sizeof buf);

    vd_out_shown(&out, BYTES("a \"\\\x1b[0m\x00\x7f\xff~"));
    tap_ok(!strcmp(vd_out_string(&out), "a \\x22\\x5c\\x1b[0m\\x00\\x7f\\xff~"), "shown: %s", buf);
}

static void texts(void)
{
    tap_ok(vd_same_text("HoSt", "hOsT", 4) && !vd_same_text("host", "hose", 4), "same text");
    tap_ok(!vd_same_text("@", "`", 1) && !vd_same_text("[", "{", 1),
           "same text is for letters only");
    tap_ok(!vd_same_text("\xc4", "\xe4", 1), "same text is ASCII only");
    tap_ok(vd_lower('A') == 'a' && vd_lower('Z') == 'z' && vd_lower('[') == '[', "lower");
}

int main(void)
{
    cursors_in();
    cursors_out();
    numbers();
    numbers_in();
    base64();
    base64_bad();
    shown();
    texts();
    return tap_done();
}
