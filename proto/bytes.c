#include "proto/bytes.h"

#include <string.h>

#include "proto/err.h"

struct vd_in vd_in_over(const uint8_t *data, size_t len)
{
    return (struct vd_in){.at = data, .left = len, .ok = true};
}

const uint8_t *vd_in_bytes(struct vd_in *in, size_t n)
{
    const uint8_t *at = in->at;

    if (!in->ok || in->left < n) {
        in->ok = false;
        return NULL;
    }
    in->at += n;
    in->left -= n;
    return at;
}

uint8_t vd_in_u8(struct vd_in *in)
{
    const uint8_t *p = vd_in_bytes(in, 1);

    return p ? *p : 0;
}

uint16_t vd_in_u16(struct vd_in *in)
{
    const uint8_t *p = vd_in_bytes(in, 2);

    return p ? (uint16_t)(p[0] << 8 | p[1]) : 0;
}

struct vd_out vd_out_over(void *buf, size_t cap)
{
    return (struct vd_out){.to = buf, .cap = cap, .ok = true};
}

void vd_out_bytes(struct vd_out *out, const void *data, size_t len)
{
    if (!out->ok || out->cap - out->len < len) {
        out->ok = false;
        return;
    }
    if (len > 0)
        memcpy(out->to + out->len, data, len);
    out->len += len;
}

void vd_out_u8(struct vd_out *out, uint8_t value)
{
    vd_out_bytes(out, &value, 1);
}

void vd_out_u16(struct vd_out *out, uint16_t value)
{
    vd_out_bytes(out, (const uint8_t[]){(uint8_t)(value >> 8), (uint8_t)value}, 2);
}

void vd_out_text(struct vd_out *out, const char *text)
{
    vd_out_bytes(out, text, strlen(text));
}

void vd_out_uint(struct vd_out *out, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    vd_out_bytes(out, digits + at, sizeof digits - at);
}

static const char base64_set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void vd_out_base64(struct vd_out *out, const void *data, size_t len)
{
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i += 3) {
        size_t n = len - i < 3 ? len - i : 3;
        uint32_t group = (uint32_t)p[i] << 16;
        char text[4];

        if (n > 1)
            group |= (uint32_t)p[i + 1] << 8;
        if (n > 2)
            group |= p[i + 2];
        for (size_t k = 0; k < 4; k++)
            text[k] = k <= n ? base64_set[group >> (18 - 6 * k) & 63] : '=';
        vd_out_bytes(out, text, 4);
    }
}

void vd_out_shown(struct vd_out *out, const void *data, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i++) {
        if (p[i] >= 0x20 && p[i] < 0x7f && p[i] != '"' && p[i] != '\\')
            vd_out_u8(out, p[i]);
        else
            vd_out_bytes(out, (const char[]){'\\', 'x', hex[p[i] >> 4], hex[p[i] & 15]}, 4);
    }
}

const char *vd_out_string(struct vd_out *out)
{
    if (out->cap == 0)
        return "";
    out->to[out->len < out->cap ? out->len : out->cap - 1] = 0;
    return (const char *)out->to;
}

int vd_base64_read(const char *text, size_t len, uint8_t *buf, size_t cap)
{
    uint32_t group = 0;
    size_t bits = 0, n = 0;

    while (len > 0 && text[len - 1] == '=' && len % 4 != 1)
        len--;
    for (size_t i = 0; i < len; i++) {
        const char *digit = text[i] ? strchr(base64_set, text[i]) : NULL;

        if (!digit)
            return -VD_ERR_PROTOCOL;
        group = group << 6 | (uint32_t)(digit - base64_set);
        bits += 6;
        if (bits < 8)
            continue;
        if (n == cap)
            return -VD_ERR_SPACE;
        bits -= 8;
        buf[n++] = (uint8_t)(group >> bits);
    }
    return len % 4 == 1 ? -VD_ERR_PROTOCOL : (int)n;
}

int64_t vd_uint_read(const char *text, size_t len, uint64_t max)
{
    uint64_t value = 0;

    if (len == 0 || len > 18)
        return -1;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    return value <= max ? (int64_t)value : -1;
}

char vd_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool vd_same_text(const char *a, const char *b, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (vd_lower(a[i]) != vd_lower(b[i]))
            return false;
    return true;
}
