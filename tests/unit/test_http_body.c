/* proto/http_body: bodies at every split, and what is written for them. */
#include "proto/http_body.h"

#include <string.h>

#include "proto/err.h"
#include "tests/unit/guard.h"
#include "tests/unit/tap.h"

#define BYTES(s) s, sizeof(s) - 1

enum { ROOM = 1 << 17 };

static const struct row {
    const char *name;
    enum vd_http_framing framing;
    uint64_t length;
    const char *in;
    size_t in_len;
    int end;          /* VD_HTTP_BODY_MORE, VD_HTTP_BODY_END or a reason */
    const char *body; /* what it holds, and the trailers as they are written behind it */
    size_t left;      /* bytes of the input that are not the body's */
} rows[] = {
    {"none", VD_HTTP_NO_BODY, 0, BYTES("GET"), VD_HTTP_BODY_END, "", 3},
    {"a length", VD_HTTP_LENGTH, 5, BYTES("helloGET"), VD_HTTP_BODY_END, "hello", 3},
    {"a length of 0", VD_HTTP_LENGTH, 0, BYTES("GET"), VD_HTTP_BODY_END, "", 3},
    {"a length, not whole", VD_HTTP_LENGTH, 9, BYTES("hello"), VD_HTTP_BODY_MORE, "hello", 0},
    {"until the end", VD_HTTP_UNTIL_CLOSE, 0, BYTES("hello\r\n0\r\n"), VD_HTTP_BODY_MORE,
     "hello\r\n0\r\n", 0},
    {"chunks", VD_HTTP_CHUNKED, 0, BYTES("5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\nGET"),
     VD_HTTP_BODY_END, "hello world", 3},
    {"no chunk", VD_HTTP_CHUNKED, 0, BYTES("0\r\n\r\n"), VD_HTTP_BODY_END, "", 0},
    {"zeros, and letters of both cases", VD_HTTP_CHUNKED, 0,
     BYTES("00a\r\n0123456789\r\n0000A\r\nabcdefghij\r\n000\r\n\r\n"), VD_HTTP_BODY_END,
     "0123456789abcdefghij", 0},
    {"extensions", VD_HTTP_CHUNKED, 0, BYTES("2;a=b;c\r\nhi\r\n1 ; q=\"x\"\r\n!\r\n0;end\r\n\r\n"),
     VD_HTTP_BODY_END, "hi!", 0},
    {"sizes filled up with blanks", VD_HTTP_CHUNKED, 0, BYTES("2   \r\nhi\r\n0 \t\r\n\r\n"),
     VD_HTTP_BODY_END, "hi", 0},
    {"trailers", VD_HTTP_CHUNKED, 0, BYTES("2\r\nhi\r\n0\r\nX-Sum: 1\r\nB:c\r\n\r\nGET"),
     VD_HTTP_BODY_END, "hiX-Sum: 1\r\nB: c\r\n", 3},
    {"trailers that may not be there stay behind", VD_HTTP_CHUNKED, 0,
     BYTES("0\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\nhost: y\r\nA: b\r\nConnection: "
           "A\r\n\r\n"),
     VD_HTTP_BODY_END, "A: b\r\n", 0},
    {"lines within a chunk", VD_HTTP_CHUNKED, 0, BYTES("7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"),
     VD_HTTP_BODY_END, "\r\n0\r\n\r\n", 0},
    {"not whole, in a size", VD_HTTP_CHUNKED, 0, BYTES("5\r\nhello\r\n1"), VD_HTTP_BODY_MORE,
     "hello", 1},
    {"not whole, behind a chunk", VD_HTTP_CHUNKED, 0, BYTES("5\r\nhello\r"), VD_HTTP_BODY_MORE,
     "hello", 1},
    {"not whole, in the trailers", VD_HTTP_CHUNKED, 0, BYTES("0\r\nA: b\r\n"), VD_HTTP_BODY_MORE,
     "", 6},
    {"the longest chunk", VD_HTTP_CHUNKED, 0, BYTES("fffffffffffffff\r\nhello"), VD_HTTP_BODY_MORE,
     "hello", 0},

    {"a size that wraps", VD_HTTP_CHUNKED, 0, BYTES("10000000000000005\r\nhello"), -VD_ERR_PROTOCOL,
     "", 0},
    {"a size with a prefix", VD_HTTP_CHUNKED, 0, BYTES("0x5\r\nhello"), -VD_ERR_PROTOCOL, "", 0},
    {"a size with a sign", VD_HTTP_CHUNKED, 0, BYTES("+5\r\nhello"), -VD_ERR_PROTOCOL, "", 0},
    {"a negative size", VD_HTTP_CHUNKED, 0, BYTES("-5\r\nhello"), -VD_ERR_PROTOCOL, "", 0},
    {"a size behind a blank", VD_HTTP_CHUNKED, 0, BYTES(" 5\r\nhello"), -VD_ERR_PROTOCOL, "", 0},
    {"no size", VD_HTTP_CHUNKED, 0, BYTES("\r\nhello"), -VD_ERR_PROTOCOL, "", 0},
    {"an extension without a size", VD_HTTP_CHUNKED, 0, BYTES(";a=b\r\n"), -VD_ERR_PROTOCOL, "", 0},
    {"words behind a size", VD_HTTP_CHUNKED, 0, BYTES("5 x\r\nhello"), -VD_ERR_PROTOCOL, "", 0},
    {"a size with a bare LF", VD_HTTP_CHUNKED, 0, BYTES("5\nhello\r\n"), -VD_ERR_PROTOCOL, "", 0},
    {"a bare CR in an extension", VD_HTTP_CHUNKED, 0, BYTES("5;a\rb\r\nhello"), -VD_ERR_PROTOCOL,
     "", 0},
    {"a NUL in an extension", VD_HTTP_CHUNKED, 0, BYTES("5;\0\r\nhello"), -VD_ERR_PROTOCOL, "", 0},
    {"a chunk longer than it says", VD_HTTP_CHUNKED, 0, BYTES("5\r\nhello!\r\n"), -VD_ERR_PROTOCOL,
     "hello", 0},
    {"a chunk ended by a bare LF", VD_HTTP_CHUNKED, 0, BYTES("5\r\nhello\n0\r\n\r\n"),
     -VD_ERR_PROTOCOL, "hello", 0},
    {"a chunk ended by a CR alone", VD_HTTP_CHUNKED, 0, BYTES("5\r\nhello\r0\r\n\r\n"),
     -VD_ERR_PROTOCOL, "hello", 0},
    {"a chunk ended by another byte behind the CR", VD_HTTP_CHUNKED, 0,
     BYTES("5\r\nhello\rX0\r\n\r\n"), -VD_ERR_PROTOCOL, "hello", 0},
    {"a chunk ended by another byte before the LF", VD_HTTP_CHUNKED, 0,
     BYTES("5\r\nhelloX\n0\r\n\r\n"), -VD_ERR_PROTOCOL, "hello", 0},
    {"a longer size with a bare LF", VD_HTTP_CHUNKED, 0, BYTES("55\nhello\r\n0\r\n\r\n"),
     -VD_ERR_PROTOCOL, "", 0},
    {"trailers with a bare LF", VD_HTTP_CHUNKED, 0, BYTES("0\r\nA: b\nC: d\r\n\r\n"),
     -VD_ERR_PROTOCOL, "", 0},
    {"a folded trailer", VD_HTTP_CHUNKED, 0, BYTES("0\r\nA: b\r\n c\r\n\r\n"), -VD_ERR_PROTOCOL, "",
     0},
    {"a trailer without colon", VD_HTTP_CHUNKED, 0, BYTES("0\r\nGET / HTTP/1.1\r\n\r\n"),
     -VD_ERR_PROTOCOL, "", 0},
    {"a CR alone at the end", VD_HTTP_CHUNKED, 0, BYTES("0\r\n\rGET"), -VD_ERR_PROTOCOL, "", 0},
};

struct end {
    int result;
    size_t left;
    struct vd_out body, chunks;
};

/* As a driver does it: what is not taken is shown again, with more behind it. */
static struct end play(const struct row *row, size_t chunk)
{
    static uint8_t body[ROOM], chunks[ROOM];
    struct end e = {.body = vd_out_over(body, sizeof body),
                    .chunks = vd_out_over(chunks, sizeof chunks)};
    size_t at = 0, have = 0;
    struct vd_http_body b;

    vd_http_body_start(&b, row->framing, row->length);
    do {
        size_t used;
        struct vd_text piece;

        have = row->in_len - at - have < chunk ? row->in_len - at : have + chunk;
        e.result = vd_http_body_next(&b, guard_put(row->in + at, have), have, &used, &piece);
        if (used > have)
            tap_wrong("more was taken than there was");
        at += used;
        have -= used;
        if (e.result == VD_HTTP_BODY_PIECE) {
            vd_out_bytes(&e.body, piece.at, piece.len);
            vd_http_write_piece(&e.chunks, VD_HTTP_CHUNKED, piece);
        } else if (e.result == VD_HTTP_BODY_END) {
            vd_http_write_trailers(&e.body, piece);
            vd_http_write_end(&e.chunks, VD_HTTP_CHUNKED, piece);
        }
    } while (e.result == VD_HTTP_BODY_PIECE ||
             (e.result == VD_HTTP_BODY_MORE && at + have < row->in_len));
    e.left = row->in_len - at;
    return e;
}

/* What was written as chunks holds the same. */
static void check_chunks(const struct row *row, const struct end *e, const char *want)
{
    struct row again = {row->name, VD_HTTP_CHUNKED, 0, NULL, e->chunks.len, 0, NULL, 0};
    char *copy = malloc(e->chunks.len);

    if (!copy)
        abort();
    memcpy(copy, e->chunks.to, e->chunks.len);
    again.in = copy;
    struct end second = play(&again, 7);
    if (second.result != VD_HTTP_BODY_END || second.left > 0 || second.body.len != strlen(want) ||
        memcmp(second.body.to, want, second.body.len))
        tap_wrong("written anew it reads otherwise: %.*s", (int)again.in_len, copy);
    free(copy);
}

static void play_all_ways(const struct row *row)
{
    tap_begin();
    for (size_t chunk = 1; chunk <= row->in_len + 1; chunk++) {
        struct end e = play(row, chunk);

        if (e.result != row->end)
            tap_wrong("ended with %d in chunks of %zu", e.result, chunk);
        if (e.body.len != strlen(row->body) || memcmp(e.body.to, row->body, e.body.len))
            tap_wrong("the body is %.*s", (int)e.body.len, e.body.to);
        if (row->end >= 0 && e.left != row->left)
            tap_wrong("%zu bytes are left in chunks of %zu", e.left, chunk);
        if (row->end == VD_HTTP_BODY_END)
            check_chunks(row, &e, row->body);
    }
    tap_end(row->name);
}

/* --- lengths --- */

static int ends(const char *before, size_t n, const char *after)
{
    static uint8_t text[ROOM];
    struct vd_out out = vd_out_over(text, sizeof text);
    struct row row = {"", VD_HTTP_CHUNKED, 0, (const char *)text, 0, 0, "", 0};

    vd_out_text(&out, before);
    for (size_t i = 0; i < n; i++)
        vd_out_u8(&out, 'x');
    vd_out_text(&out, after);
    row.in_len = out.len;
    int whole = play(&row, ROOM).result, split = play(&row, 100).result;
    return whole == split ? whole : -VD_ERR_COUNT;
}

static void lengths(void)
{
    tap_ok(ends("0;", VD_HTTP_CHUNK_LINE_MAX - 4, "\r\n\r\n") == VD_HTTP_BODY_END,
           "an extension that just fits");
    tap_ok(ends("0;", VD_HTTP_CHUNK_LINE_MAX - 3, "\r\n\r\n") == -VD_ERR_TOO_LONG, "a byte more");
    tap_ok(ends("0\r\nA:", VD_HTTP_TRAILERS_MAX - 6, "\r\n\r\n") == VD_HTTP_BODY_END,
           "trailers that just fit");
    tap_ok(ends("0\r\nA:", VD_HTTP_TRAILERS_MAX - 5, "\r\n\r\n") == -VD_ERR_TOO_LONG,
           "a byte more");
}

static void pieces(void)
{
    static char big[70000];
    static uint8_t text[ROOM];

    for (size_t len = 1; len < sizeof big; len = len * 4 + 1) {
        struct vd_out out = vd_out_over(text, sizeof text);

        vd_http_write_piece(&out, VD_HTTP_CHUNKED, (struct vd_text){big, len});
        tap_ok(out.len <= len + VD_HTTP_CHUNK_GROWS && strtoul((char *)text, NULL, 16) == len &&
                   text[0] != '0',
               "a chunk of %zu", len);
    }
    struct vd_out none = vd_out_over(text, sizeof text);
    vd_http_write_piece(&none, VD_HTTP_CHUNKED, (struct vd_text){big, 0});
    tap_ok(none.len == 0, "an empty piece would be the end");
}

int main(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        play_all_ways(&rows[i]);
    lengths();
    pieces();
    return tap_done();
}
