/*
 * A message as a forwarding proxy takes it: the end of its head is found alike in one piece and in
 * pieces; a head that is written anew reads as the same message, with one framing; and a body gives
 * the same in pieces as in one, and the same once more when it is written as chunks.
 */
#include <string.h>

#include "proto/err.h"
#include "proto/http_body.h"
#include "proto/shake.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/guard.h"

enum { HTTP_RESPONSE, HTTP_CHUNK, HTTP_HEAD };
enum { ROOM = 1 << 18, SIZE_MAX_IN = 1 << 16 };

struct end {
    int result;
    size_t left;
    struct vd_out body, chunks;
};

static size_t find_end(const uint8_t *data, size_t size, size_t chunk)
{
    size_t searched = 0, end = 0;

    for (size_t len = chunk < size ? chunk : size; end == 0;) {
        end = vd_http_head_end(guard_put(data, len), len, &searched);
        if (len == size)
            break;
        len = size - len < chunk ? size : len + chunk;
    }
    return end;
}

static enum vd_http_fault read_head(struct vd_http_head *h, const uint8_t *data, size_t len,
                                    bool response)
{
    return response ? vd_http_read_response(h, data, len, false)
                    : vd_http_read_request(h, data, len);
}

/* What is written has two fields more at most, Via and Connection. */
static bool may_be_too_many(const struct vd_http_head *h)
{
    return h->field_count + 2 > VD_HTTP_FIELDS_MAX;
}

/* A request is written for a server: made a URL again, it must read alike. */
static void check_request(const struct vd_http_head *h, const uint8_t *text, size_t len)
{
    static uint8_t again[ROOM];
    struct vd_out url = vd_out_over(again, sizeof again);
    const uint8_t *path = text + h->method.len + 1;
    bool star = *path == '*';
    struct vd_http_head second;

    vd_out_bytes(&url, h->method.at, h->method.len);
    vd_out_text(&url, " http://");
    vd_out_bytes(&url, h->authority.at, h->authority.len);
    vd_out_bytes(&url, path + star, len - h->method.len - 1 - star);
    enum vd_http_fault fault = vd_http_read_request(&second, again, url.len);
    if (fault == VD_HTTP_LONG_HEAD && may_be_too_many(h))
        return;
    PROPERTY(fault == (h->hops == 1 && second.hops == 0 ? fault : VD_HTTP_GOOD));
    PROPERTY(second.framing == h->framing && second.length == h->length);
    PROPERTY(vd_endpoint_same(&second.at, &h->at));
    PROPERTY(second.has_host && second.minor == 1 && !second.login.at);
}

static void check_written(const struct vd_http_head *h, size_t head_len)
{
    static uint8_t text[ROOM];
    struct vd_out out = vd_out_over(text, sizeof text);
    struct vd_http_head second;
    size_t searched = 0;

    if (h->response)
        vd_http_write_response(&out, h, (enum vd_http_framing)h->framing, h->last);
    else
        vd_http_write_request(&out, h, h->last);
    PROPERTY(out.ok && out.len <= head_len + VD_HTTP_GROWS);
    PROPERTY(vd_http_head_end(text, out.len, &searched) == out.len);
    PROPERTY(!memchr(text, 0, out.len));
    if (!h->response) {
        check_request(h, text, out.len);
        return;
    }
    enum vd_http_fault fault = vd_http_read_response(&second, text, out.len, false);
    if (fault == VD_HTTP_LONG_RESPONSE && may_be_too_many(h))
        return;
    PROPERTY(fault == VD_HTTP_GOOD);
    PROPERTY(second.status == h->status && second.framing == h->framing);
    PROPERTY(h->framing != VD_HTTP_LENGTH || second.length == h->length);
}

static void play_body(struct end *e, const struct vd_http_body *start, const uint8_t *data,
                      size_t size, size_t chunk)
{
    struct vd_http_body b = *start;
    size_t at = 0, have = 0;

    do {
        struct vd_text piece;
        size_t used;

        have = size - at - have < chunk ? size - at : have + chunk;
        e->result = vd_http_body_next(&b, guard_put(data + at, have), have, &used, &piece);
        PROPERTY(used <= have);
        at += used;
        have -= used;
        if (e->result == VD_HTTP_BODY_PIECE) {
            vd_out_bytes(&e->body, piece.at, piece.len);
            vd_http_write_piece(&e->chunks, VD_HTTP_CHUNKED, piece);
        } else if (e->result == VD_HTTP_BODY_END) {
            vd_http_write_trailers(&e->body, piece);
            vd_http_write_end(&e->chunks, VD_HTTP_CHUNKED, piece);
        }
    } while (e->result == VD_HTTP_BODY_PIECE ||
             (e->result == VD_HTTP_BODY_MORE && at + have < size));
    e->left = size - at;
}

static bool same(const struct vd_out *a, const struct vd_out *b)
{
    return a->ok && b->ok && a->len == b->len && !memcmp(a->to, b->to, a->len);
}

static void check_body(const struct vd_http_head *h, const uint8_t *data, size_t size, size_t chunk)
{
    static uint8_t text[6][ROOM];
    struct end whole = {.body = vd_out_over(text[0], ROOM), .chunks = vd_out_over(text[1], ROOM)};
    struct end split = {.body = vd_out_over(text[2], ROOM), .chunks = vd_out_over(text[3], ROOM)};
    struct end again = {.body = vd_out_over(text[4], ROOM), .chunks = vd_out_over(text[5], ROOM)};
    struct vd_http_body b;

    vd_http_body_start(&b, (enum vd_http_framing)h->framing, h->length);
    play_body(&whole, &b, data, size, size + 1);
    play_body(&split, &b, data, size, chunk);
    PROPERTY(whole.result == split.result && same(&whole.body, &split.body));
    PROPERTY(whole.result < 0 || whole.left == split.left);
    if (whole.result != VD_HTTP_BODY_END)
        return;
    vd_http_body_start(&b, VD_HTTP_CHUNKED, 0);
    play_body(&again, &b, whole.chunks.to, whole.chunks.len, chunk);
    PROPERTY(again.result == VD_HTTP_BODY_END && again.left == 0);
    PROPERTY(same(&whole.body, &again.body));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vd_http_head h;
    bool response;
    size_t chunk, end;

    if (size < HTTP_HEAD || size > SIZE_MAX_IN)
        return 0;
    response = data[HTTP_RESPONSE] & 1;
    chunk = 1 + data[HTTP_CHUNK] % 40;
    data += HTTP_HEAD;
    size -= HTTP_HEAD;
    end = find_end(data, size, SIZE_MAX_IN);
    PROPERTY(end <= size && end == find_end(data, size, chunk));
    if (end == 0 || read_head(&h, data, end, response) != VD_HTTP_GOOD)
        return 0;
    check_written(&h, end);
    check_body(&h, data + end, size - end, chunk);
    return 0;
}
