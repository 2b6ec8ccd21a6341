#include "proto/describe_print.h"

#include <string.h>

enum { ROW = 8 /* bytes shown on a line */, PAYLOAD_ROW = 16, NAME_WIDTH = 13 };

static void put_padded(struct vd_out *out, const char *text, size_t width)
{
    vd_out_text(out, text);
    for (size_t len = strlen(text); len < width; len++)
        vd_out_u8(out, ' ');
}

static void put_hex(struct vd_out *out, unsigned value, unsigned digits)
{
    while (digits-- > 0)
        vd_out_u8(out, (uint8_t) "0123456789abcdef"[value >> 4 * digits & 15]);
}

static void put_shown(struct vd_out *out, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        vd_out_u8(out, data[i] >= ' ' && data[i] <= '~' ? data[i] : '.');
}

/* Up to ROW bytes: where, in hex, as text. */
static void put_bytes(struct vd_out *out, const uint8_t *data, size_t at, size_t len)
{
    vd_out_text(out, "    ");
    put_hex(out, (unsigned)at, 4);
    vd_out_text(out, "  ");
    for (size_t i = 0; i < ROW; i++) {
        if (i < len)
            put_hex(out, data[at + i], 2);
        else
            vd_out_text(out, "  ");
        vd_out_text(out, " ");
    }
    vd_out_text(out, " ");
    put_shown(out, data + at, len);
}

static void put_field(struct vd_out *out, const struct vd_field *field, const uint8_t *data)
{
    size_t first = field->len < ROW ? field->len : ROW;

    put_bytes(out, data, field->at, first);
    for (size_t i = first; i < ROW + 2; i++)
        vd_out_text(out, " ");
    put_padded(out, field->name, *field->meaning ? NAME_WIDTH : 0);
    vd_out_text(out, field->meaning);
    vd_out_text(out, "\n");
    for (size_t at = first; at < field->len; at += ROW) {
        put_bytes(out, data, field->at + at, field->len - at < ROW ? field->len - at : ROW);
        vd_out_text(out, "\n");
    }
}

void vd_describe_print(struct vd_out *out, enum vd_says says, const uint8_t *data, size_t len,
                       struct vd_field *field)
{
    struct vd_describe d;

    vd_describe_start(&d, says, data, len);
    while (vd_describe_next(&d, field))
        put_field(out, field, data);
}

static void put_payload_row(struct vd_out *out, const uint8_t *data, size_t len, uint64_t at)
{
    vd_out_text(out, "    ");
    put_hex(out, (unsigned)at, at > 0xffff ? 8 : 4);
    vd_out_text(out, " ");
    for (size_t i = 0; i < PAYLOAD_ROW; i++) {
        vd_out_text(out, i == PAYLOAD_ROW / 2 ? "  " : " ");
        if (i < len)
            put_hex(out, data[i], 2);
        else
            vd_out_text(out, "  ");
    }
    vd_out_text(out, "  ");
    put_shown(out, data, len);
    vd_out_text(out, "\n");
}

void vd_describe_print_payload(struct vd_out *out, const uint8_t *data, size_t len, uint64_t at)
{
    for (size_t done = 0; done < len; done += PAYLOAD_ROW)
        put_payload_row(out, data + done, len - done < PAYLOAD_ROW ? len - done : PAYLOAD_ROW,
                        at + done);
}
