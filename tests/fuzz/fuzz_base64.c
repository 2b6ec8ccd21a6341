/* Bytes survive base64; text that reads as base64 is what its bytes are written as, but for padding
 * and unused bits. */
#include <string.h>

#include "proto/bytes.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/guard.h"

enum { MOST = 4096 };

static void survives(const uint8_t *data, size_t size)
{
    static char text[2 * MOST];
    static uint8_t back[MOST];
    struct vd_out out = vd_out_over(text, sizeof text);

    vd_out_base64(&out, data, size);
    PROPERTY(out.ok && out.len == (size + 2) / 3 * 4);
    PROPERTY(vd_base64_read(text, out.len, back, size) == (int)size);
    PROPERTY(!memcmp(back, data, size));
}

static void reads(const char *data, size_t size)
{
    static char text[2 * MOST];
    static uint8_t bytes[MOST];
    struct vd_out out = vd_out_over(text, sizeof text);
    int len = vd_base64_read((const char *)guard_put(data, size), size, bytes, sizeof bytes);
    size_t whole = size / 4 * 4;

    if (len < 0)
        return;
    vd_out_base64(&out, bytes, (size_t)len);
    if (whole == size && whole > 0)
        whole -= 4; /* where padding and unused bits are */
    PROPERTY(out.len >= whole && !memcmp(text, data, whole));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > MOST)
        return 0;
    survives(data, size);
    reads((const char *)data, size);
    return 0;
}
