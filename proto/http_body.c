/*
 * A chunked body goes through these states, each of which awaits what it is named after:
 *
 *     SIZE ──> CHUNK ──> CHUNK_END ──> SIZE
 *       └─ 0 ──> TRAILERS ──> ENDED
 */
#include "proto/http_body.h"

#include <string.h>

#include "proto/err.h"

enum state { SIZE, CHUNK, CHUNK_END, TRAILERS, ENDED };

void vd_http_body_start(struct vd_http_body *b, enum vd_http_framing framing, uint64_t length)
{
    *b = (struct vd_http_body){.framing = (uint8_t)framing, .state = SIZE};
    b->left = framing == VD_HTTP_LENGTH ? length : framing == VD_HTTP_UNTIL_CLOSE ? UINT64_MAX : 0;
}

static int hex(char c)
{
    char lower = vd_lower(c);

    if (c >= '0' && c <= '9')
        return c - '0';
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* SIZE[BLANKS][;EXTENSIONS], up to 60 bits; blanks alone are what old servers fill up with. */
static int read_size(struct vd_http_body *b, struct vd_text line)
{
    size_t digits = 0;

    b->left = 0;
    while (digits < line.len && hex(line.at[digits]) >= 0) {
        if (b->left >> 56)
            return -VD_ERR_PROTOCOL;
        b->left = b->left << 4 | (uint64_t)hex(line.at[digits++]);
    }
    struct vd_text rest = vd_text_trimmed((struct vd_text){line.at + digits, line.len - digits});
    if (digits == 0 || (rest.len > 0 && *rest.at != ';') || vd_text_has_control(line))
        return -VD_ERR_PROTOCOL;
    b->state = b->left > 0 ? CHUNK : TRAILERS;
    return VD_HTTP_BODY_MORE;
}

static int take_size(struct vd_http_body *b, const uint8_t *data, size_t len, size_t *used)
{
    size_t most = len < VD_HTTP_CHUNK_LINE_MAX ? len : VD_HTTP_CHUNK_LINE_MAX;
    const uint8_t *end = memchr(data, '\n', most);

    if (!end)
        return len < VD_HTTP_CHUNK_LINE_MAX ? VD_HTTP_BODY_MORE : -VD_ERR_TOO_LONG;
    if (end == data || end[-1] != '\r')
        return -VD_ERR_PROTOCOL;
    *used += (size_t)(end - data) + 1;
    return read_size(b, (struct vd_text){(const char *)data, (size_t)(end - data) - 1});
}

static int take_chunk_end(struct vd_http_body *b, const uint8_t *data, size_t len, size_t *used)
{
    if (data[0] != '\r' || (len > 1 && data[1] != '\n'))
        return -VD_ERR_PROTOCOL;
    if (len > 1) {
        *used += 2;
        b->state = SIZE;
    }
    return VD_HTTP_BODY_MORE;
}

/* The blank line behind the trailers begins where a line ends, or at once. */
static int take_trailers(struct vd_http_body *b, const uint8_t *data, size_t len, size_t *used,
                         struct vd_text *trailers)
{
    size_t most = len < VD_HTTP_TRAILERS_MAX ? len : VD_HTTP_TRAILERS_MAX, n = 0;

    if (data[0] != '\r') {
        const uint8_t *end = memmem(data, most, "\r\n\r\n", 4);
        if (!end)
            return len < VD_HTTP_TRAILERS_MAX ? VD_HTTP_BODY_MORE : -VD_ERR_TOO_LONG;
        n = (size_t)(end - data) + 2;
    } else if (len > 1 && data[1] != '\n') {
        return -VD_ERR_PROTOCOL;
    } else if (len == 1) {
        return VD_HTTP_BODY_MORE;
    }
    *trailers = (struct vd_text){(const char *)data, n};
    if (!vd_http_are_trailers(*trailers))
        return -VD_ERR_PROTOCOL;
    *used += n + 2;
    b->state = ENDED;
    return VD_HTTP_BODY_END;
}

static int take_piece(struct vd_http_body *b, const uint8_t *data, size_t len, size_t *used,
                      struct vd_text *piece)
{
    size_t n = len < b->left ? len : (size_t)b->left;

    *piece = (struct vd_text){(const char *)data, n};
    *used += n;
    if (b->framing != VD_HTTP_UNTIL_CLOSE)
        b->left -= n;
    if (b->framing == VD_HTTP_CHUNKED && b->left == 0)
        b->state = CHUNK_END;
    return VD_HTTP_BODY_PIECE;
}

static int step(struct vd_http_body *b, const uint8_t *data, size_t len, size_t *used,
                struct vd_text *piece)
{
    if (b->framing != VD_HTTP_CHUNKED || b->state == CHUNK)
        return take_piece(b, data, len, used, piece);
    if (b->state == SIZE)
        return take_size(b, data, len, used);
    if (b->state == CHUNK_END)
        return take_chunk_end(b, data, len, used);
    return take_trailers(b, data, len, used, piece);
}

int vd_http_body_next(struct vd_http_body *b, const uint8_t *data, size_t len, size_t *used,
                      struct vd_text *piece)
{
    int result = VD_HTTP_BODY_MORE;
    bool taken = true;

    *used = 0;
    *piece = (struct vd_text){(const char *)data, 0};
    if (b->state == ENDED || (b->framing != VD_HTTP_CHUNKED && b->left == 0))
        return VD_HTTP_BODY_END;
    while (result == VD_HTTP_BODY_MORE && *used < len && taken) {
        size_t n = 0;

        result = step(b, data + *used, len - *used, &n, piece);
        *used += n;
        taken = n > 0;
    }
    return result;
}

/* --- writing --- */

void vd_http_write_piece(struct vd_out *out, enum vd_http_framing framing, struct vd_text piece)
{
    static const char digits[] = "0123456789abcdef";
    unsigned shift = 60;

    if (piece.len == 0)
        return;
    if (framing == VD_HTTP_CHUNKED) {
        while (piece.len >> shift == 0)
            shift -= 4;
        for (;; shift -= 4) {
            vd_out_u8(out, (uint8_t)digits[piece.len >> shift & 15]);
            if (shift == 0)
                break;
        }
        vd_out_text(out, "\r\n");
    }
    vd_out_bytes(out, piece.at, piece.len);
    if (framing == VD_HTTP_CHUNKED)
        vd_out_text(out, "\r\n");
}

void vd_http_write_end(struct vd_out *out, enum vd_http_framing framing, struct vd_text trailers)
{
    if (framing != VD_HTTP_CHUNKED)
        return;
    vd_out_text(out, "0\r\n");
    vd_http_write_trailers(out, trailers);
    vd_out_text(out, "\r\n");
}
