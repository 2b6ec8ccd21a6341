/*
 * Whatever is said, the fields tile it and their words are printable; and a stream is cut into the
 * same messages whether it comes whole or in pieces. The first byte of an input chooses the kind,
 * the second the pieces.
 */
#include <string.h>

#include "proto/mask.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/guard.h"

enum { CUTS_MAX = 4096 };

static void check_fields(enum vd_says says, const uint8_t *data, size_t len)
{
    struct vd_describe d;
    struct vd_field field;
    size_t at = 0;

    vd_describe_start(&d, says, data, len);
    while (vd_describe_next(&d, &field)) {
        PROPERTY(field.at == at && field.len > 0 && field.len <= len - at);
        PROPERTY(field.name && *field.name);
        PROPERTY(memchr(field.meaning, 0, sizeof field.meaning));
        for (const char *c = field.meaning; *c; c++)
            PROPERTY(*c >= 0x20 && *c < 0x7f);
        at += field.len;
    }
    PROPERTY(at == len);
}

/* A masked message has room, and hides what may stand where a password does. */
static void check_mask(enum vd_says says, const uint8_t *data, size_t len, bool inside)
{
    uint8_t masked[VD_MASK_ROOM];
    size_t n;

    if (len > VD_FOLLOW_MAX)
        len = VD_FOLLOW_MAX;
    n = vd_mask_said(says, guard_put(data, len), len, inside, masked, sizeof masked);
    PROPERTY(n < sizeof masked);
    if (says == VD_SAYS_LOGIN && vd_says_length(says, data, len) == len && len > 0)
        PROPERTY(data[2 + data[1]] == 0 || (n >= 8 && !memcmp(masked + n - 8, VD_MASK, 8)));
}

/* The ends of the messages, as bits; what is left comes to an end with the stream. */
static size_t cut(uint8_t ends[CUTS_MAX], enum vd_scheme scheme, const uint8_t *data, size_t len,
                  size_t chunk)
{
    size_t at = 0, told = 0;
    struct vd_follow f;
    bool whole;

    memset(ends, 0, CUTS_MAX);
    vd_follow_start(&f, vd_says_first(scheme));
    while (at < len) {
        size_t n = len - at < chunk ? len - at : chunk;
        size_t took = vd_follow_take(&f, guard_put(data + at, n), n, &whole);

        PROPERTY(took <= n && (took == n || whole) && f.told <= f.have);
        PROPERTY(!whole || (f.told > 0 && (took > 0 || f.have == sizeof f.data)));
        at += took;
        if (!whole)
            continue;
        check_fields((enum vd_says)f.says, f.data, f.told);
        told += f.told;
        if (f.ends)
            ends[told - 1] = 1;
        vd_follow_next(&f, vd_says_behind((enum vd_says)f.says, f.data, f.told));
    }
    check_fields((enum vd_says)f.says, f.data, f.have);
    PROPERTY(told + f.have == len);
    return told;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t whole[CUTS_MAX], pieces[CUTS_MAX];

    if (size < 2 || size - 2 > CUTS_MAX)
        return 0;
    check_fields((enum vd_says)(data[0] % VD_SAYS_COUNT), data + 2, size - 2);
    check_mask((enum vd_says)(data[0] % VD_SAYS_COUNT), data + 2, size - 2, data[1] & 1);
    enum vd_scheme scheme = (enum vd_scheme)(VD_SOCKS4 + data[0] % 6);
    cut(whole, scheme, data + 2, size - 2, CUTS_MAX);
    cut(pieces, scheme, data + 2, size - 2, 1 + data[1] % 64u);
    PROPERTY(!memcmp(whole, pieces, sizeof whole));
    return 0;
}
