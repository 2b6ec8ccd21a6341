/* proto/proxyline: both versions, read at every split, and written. */
#include "proto/proxyline.h"

#include <string.h>

#include "proto/err.h"
#include "proto/shake.h"
#include "tests/unit/guard.h"
#include "tests/unit/tap.h"

#define BYTES(s) s, sizeof(s) - 1
#define SIGN     "\r\n\r\n\0\r\nQUIT\n"
#define V4       "\x0a\1\0\2\x0a\2\0\2\xc0\x01\0\x50"
#define V6                                                                                         \
    "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\2\xff\xff\0\1"

static const struct row {
    const char *name;
    const char *in;
    size_t in_len;
    int end;
    const char *from, *to; /* NULL: not known */
} rows[] = {
    {"v1: TCP4", BYTES("PROXY TCP4 10.1.0.2 10.2.0.2 49153 80\r\n"), VD_DONE, "10.1.0.2:49153",
     "10.2.0.2:80"},
    {"v1: TCP6", BYTES("PROXY TCP6 2001:db8::1 2001:db8::2 65535 1\r\n"), VD_DONE,
     "[2001:db8::1]:65535", "[2001:db8::2]:1"},
    {"v1: the longest TCP6",
     BYTES("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
     VD_DONE, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
     "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
    {"v1: ports 0", BYTES("PROXY TCP4 10.1.0.2 10.2.0.2 0 0\r\n"), VD_DONE, "10.1.0.2:0",
     "10.2.0.2:0"},
    {"v1: UNKNOWN", BYTES("PROXY UNKNOWN\r\n"), VD_DONE, NULL, NULL},
    {"v1: UNKNOWN with words", BYTES("PROXY UNKNOWN ffff::1 x 1 2\r\n"), VD_DONE, NULL, NULL},
    {"v2: TCP4", BYTES(SIGN "\x21\x11\0\x0c" V4), VD_DONE, "10.1.0.2:49153", "10.2.0.2:80"},
    {"v2: TCP6", BYTES(SIGN "\x21\x21\0\x24" V6), VD_DONE, "[2001:db8::1]:65535",
     "[2001:db8::2]:1"},
    {"v2: with more behind the addresses", BYTES(SIGN "\x21\x11\0\x10" V4 "\4\0\1x"), VD_DONE,
     "10.1.0.2:49153", "10.2.0.2:80"},
    {"v2: LOCAL", BYTES(SIGN "\x20\0\0\0"), VD_DONE, NULL, NULL},
    {"v2: LOCAL with addresses", BYTES(SIGN "\x20\x11\0\x0c" V4), VD_DONE, NULL, NULL},
    {"v2: of no family", BYTES(SIGN "\x21\0\0\3abc"), VD_DONE, NULL, NULL},
    {"v2: a unix socket", BYTES(SIGN "\x21\x31\0\4abcd"), VD_DONE, NULL, NULL},

    {"nothing", BYTES(""), VD_MORE, NULL, NULL},
    {"v1: not whole", BYTES("PROXY TCP4 10.1.0.2 10.2.0.2 49153 80\r"), VD_MORE, NULL, NULL},
    {"v2: the signature alone", BYTES(SIGN), VD_MORE, NULL, NULL},
    {"v2: not whole", BYTES(SIGN "\x21\x11\0\x0c\x0a"), VD_MORE, NULL, NULL},

    {"SOCKS5", BYTES("\5\1\0"), -VD_ERR_PROTOCOL, NULL, NULL},
    {"HTTP", BYTES("GET http://a/ HTTP/1.1\r\n"), -VD_ERR_PROTOCOL, NULL, NULL},
    {"POST", BYTES("POST http://a/ HTTP/1.1\r\n"), -VD_ERR_PROTOCOL, NULL, NULL},
    {"v1: lower case", BYTES("PROXY tcp4 10.1.0.2 10.2.0.2 1 80\r\n"), -VD_ERR_PROTOCOL, NULL,
     NULL},
    {"v1: seven other letters", BYTES("PROXY NOTHING\r\n"), -VD_ERR_PROTOCOL, NULL, NULL},
    {"v1: four other letters", BYTES("PROXY UDP6 2001:db8::1 2001:db8::2 1 80\r\n"),
     -VD_ERR_PROTOCOL, NULL, NULL},
    {"v1: no words", BYTES("PROXY \r\n"), -VD_ERR_PROTOCOL, NULL, NULL},
    {"v1: PROXY alone", BYTES("PROXY\r\n"), -VD_ERR_PROTOCOL, NULL, NULL},
    {"v1: a bare LF", BYTES("PROXY TCP4 10.1.0.2 10.2.0.2 1 80\n"), -VD_ERR_PROTOCOL, NULL, NULL},
    {"v1: a word too few", BYTES("PROXY TCP4 10.1.0.2 10.2.0.2 80\r\n"), -VD_ERR_PROTOCOL, NULL,
     NULL},
    {"v1: a word too many", BYTES("PROXY TCP4 10.1.0.2 10.2.0.2 1 80 x\r\n"), -VD_ERR_PROTOCOL,
     NULL, NULL},
    {"v1: a space too many", BYTES("PROXY TCP4 10.1.0.2 10.2.0.2 1 80 \r\n"), -VD_ERR_PROTOCOL,
     NULL, NULL},
    {"v1: two spaces", BYTES("PROXY TCP4 10.1.0.2  10.2.0.2 1 80\r\n"), -VD_ERR_PROTOCOL, NULL,
     NULL},
    {"v1: a tab", BYTES("PROXY TCP4 10.1.0.2\t10.2.0.2 1 80\r\n"), -VD_ERR_PROTOCOL, NULL, NULL},
    {"v1: another family", BYTES("PROXY TCP4 2001:db8::1 2001:db8::2 1 80\r\n"), -VD_ERR_PROTOCOL,
     NULL, NULL},
    {"v1: a name", BYTES("PROXY TCP4 localhost 10.2.0.2 1 80\r\n"), -VD_ERR_PROTOCOL, NULL, NULL},
    {"v1: a port that wraps", BYTES("PROXY TCP4 10.1.0.2 10.2.0.2 65537 80\r\n"), -VD_ERR_PROTOCOL,
     NULL, NULL},
    {"v1: a port with zeros", BYTES("PROXY TCP4 10.1.0.2 10.2.0.2 01 80\r\n"), -VD_ERR_PROTOCOL,
     NULL, NULL},
    {"v1: a control byte behind UNKNOWN", BYTES("PROXY UNKNOWN \x1b[m\r\n"), -VD_ERR_PROTOCOL, NULL,
     NULL},
    {"v2: another version", BYTES(SIGN "\x31\x11\0\x0c" V4), -VD_ERR_PROTOCOL, NULL, NULL},
    {"v2: another command", BYTES(SIGN "\x22\x11\0\x0c" V4), -VD_ERR_PROTOCOL, NULL, NULL},
    {"v2: UDP", BYTES(SIGN "\x21\x12\0\x0c" V4), -VD_ERR_PROTOCOL, NULL, NULL},
    {"v2: an unknown family", BYTES(SIGN "\x21\x41\0\x0c" V4), -VD_ERR_PROTOCOL, NULL, NULL},
    {"v2: addresses cut short", BYTES(SIGN "\x21\x11\0\x0b" V4), -VD_ERR_PROTOCOL, NULL, NULL},
    {"v2: a bad signature", BYTES("\r\n\r\n\0\r\nQUIX\n\x21\x11\0\x0c" V4), -VD_ERR_PROTOCOL, NULL,
     NULL},
    {"v2: longer than anything", BYTES(SIGN "\x21\x11\xff\xff" V4), -VD_ERR_TOO_LONG, NULL, NULL},
    {"v2: a byte more than fits", BYTES(SIGN "\x21\x11\3\xf1" V4), -VD_ERR_TOO_LONG, NULL, NULL},
    {"v2: what just fits, not whole", BYTES(SIGN "\x21\x11\3\xf0" V4), VD_MORE, NULL, NULL},
};

static void expect(const struct vd_endpoint *got, const char *want)
{
    char text[VD_ENDPOINT_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);

    vd_endpoint_print(&out, got);
    if (strcmp(vd_out_string(&out), want))
        tap_wrong("%s instead of %s", text, want);
}

/* All that is not the end is VD_MORE before, or the error already. */
static void play(const struct row *row)
{
    static const char behind[] = "\5\1\0\r\n\r\n";
    char all[VD_PROXYLINE_MAX * 2];
    struct vd_proxyline line;
    size_t used, len = row->in_len;

    tap_begin();
    memcpy(all, row->in, len);
    memcpy(all + len, behind, sizeof behind - 1);
    for (size_t n = 0; n < len; n++) {
        int r = vd_proxyline_read(&line, guard_put(all, n), n, &used);
        if (r != VD_MORE && (row->end >= 0 || r != row->end))
            tap_wrong("%d after %zu bytes", r, n);
    }
    if (row->end != VD_MORE)
        len += sizeof behind - 1;
    int r = vd_proxyline_read(&line, guard_put(all, len), len, &used);
    if (r != row->end || (r == VD_DONE && used != row->in_len))
        tap_wrong("ended with %d after %zu of %zu bytes", r, used, row->in_len);
    else if (r == VD_DONE && line.known != (row->from != NULL))
        tap_wrong("known: %d", line.known);
    else if (row->from) {
        expect(&line.from, row->from);
        expect(&line.to, row->to);
    }
    tap_end(row->name);
}

static void lengths(void)
{
    char text[VD_PROXYLINE_V1_MAX + 2];
    struct vd_proxyline line;
    size_t used;

    memset(text, 'x', sizeof text);
    memcpy(text, "PROXY UNKNOWN ", 14);
    tap_ok(vd_proxyline_read(&line, guard_put(text, 106), 106, &used) == VD_MORE,
           "v1: 106 bytes without end");
    tap_ok(vd_proxyline_read(&line, guard_put(text, 107), 107, &used) == -VD_ERR_TOO_LONG,
           "v1: 107 bytes without end");
    memcpy(text + 105, "\r\n", 2);
    tap_ok(vd_proxyline_read(&line, guard_put(text, 107), 107, &used) == VD_DONE && used == 107,
           "v1: the longest line");
}

static const struct {
    enum vd_proxyline_version version;
    const char *from, *to;
    const char *said;
    size_t said_len;
} written[] = {
    {VD_PROXYLINE_V1, "10.1.0.2:49153", "10.2.0.2:80",
     BYTES("PROXY TCP4 10.1.0.2 10.2.0.2 49153 80\r\n")},
    {VD_PROXYLINE_V1, "[2001:db8::1]:65535", "[2001:db8::2]:1",
     BYTES("PROXY TCP6 2001:db8::1 2001:db8::2 65535 1\r\n")},
    {VD_PROXYLINE_V1, "[::ffff:10.1.0.2]:49153", "10.2.0.2:80",
     BYTES("PROXY TCP4 10.1.0.2 10.2.0.2 49153 80\r\n")},
    {VD_PROXYLINE_V1, "10.1.0.2:49153", "[2001:db8::2]:1", BYTES("PROXY UNKNOWN\r\n")},
    {VD_PROXYLINE_V1, NULL, NULL, BYTES("PROXY UNKNOWN\r\n")},
    {VD_PROXYLINE_V2, "10.1.0.2:49153", "10.2.0.2:80", BYTES(SIGN "\x21\x11\0\x0c" V4)},
    {VD_PROXYLINE_V2, "[2001:db8::1]:65535", "[2001:db8::2]:1", BYTES(SIGN "\x21\x21\0\x24" V6)},
    {VD_PROXYLINE_V2, NULL, NULL, BYTES(SIGN "\x21\0\0\0")},
};

static void play_written(size_t i)
{
    uint8_t text[VD_PROXYLINE_OUT];
    struct vd_out out = vd_out_over(text, sizeof text);
    struct vd_endpoint from = {.port = 0}, to = {.port = 0};
    struct vd_proxyline line;
    size_t used;

    if (written[i].from)
        vd_endpoint_read(&from, written[i].from, strlen(written[i].from), 0);
    if (written[i].to)
        vd_endpoint_read(&to, written[i].to, strlen(written[i].to), 0);
    vd_proxyline_write(&out, written[i].version, &from, &to);
    tap_ok(out.ok && out.len == written[i].said_len && !memcmp(text, written[i].said, out.len) &&
               vd_proxyline_read(&line, guard_put(text, out.len), out.len, &used) == VD_DONE,
           "version %d from %s", written[i].version, written[i].from ? written[i].from : "nobody");
}

int main(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        play(&rows[i]);
    lengths();
    for (size_t i = 0; i < sizeof written / sizeof *written; i++)
        play_written(i);
    return tap_done();
}
