/*
 * A line before a connection: as much is taken of it whole as with more behind it; no beginning of
 * it is an end; and what was read is read again from what is written for it, in both versions.
 */
#include <string.h>

#include "proto/err.h"
#include "proto/proxyline.h"
#include "proto/shake.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/guard.h"

static void check_written(const struct vd_proxyline *line, enum vd_proxyline_version version)
{
    uint8_t text[VD_PROXYLINE_OUT];
    struct vd_out out = vd_out_over(text, sizeof text);
    struct vd_ip from = vd_ip_unmapped(&line->from.ip), to = vd_ip_unmapped(&line->to.ip);
    struct vd_proxyline again;
    size_t used;

    vd_proxyline_write(&out, version, &line->from, &line->to);
    PROPERTY(out.ok);
    PROPERTY(vd_proxyline_read(&again, guard_put(text, out.len), out.len, &used) == VD_DONE);
    PROPERTY(used == out.len && again.known == (line->known && from.family == to.family));
    PROPERTY(!again.known || (vd_ip_same(&again.from.ip, &from) && vd_ip_same(&again.to.ip, &to)));
    PROPERTY(!again.known ||
             (again.from.port == line->from.port && again.to.port == line->to.port));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vd_proxyline line, other;
    size_t used, again;

    if (size > 2 * VD_PROXYLINE_MAX)
        return 0;
    int r = vd_proxyline_read(&line, guard_put(data, size), size, &used);
    PROPERTY(used <= size && used <= VD_PROXYLINE_MAX);
    PROPERTY(r == VD_DONE || r == VD_MORE || r == -VD_ERR_PROTOCOL || r == -VD_ERR_TOO_LONG);
    PROPERTY(r != VD_MORE || size < VD_PROXYLINE_MAX);
    for (size_t n = 0; r == VD_DONE && n < used; n++)
        PROPERTY(vd_proxyline_read(&other, guard_put(data, n), n, &again) == VD_MORE);
    if (r != VD_DONE)
        return 0;
    PROPERTY(vd_proxyline_read(&other, guard_put(data, used), used, &again) == VD_DONE);
    PROPERTY(again == used && !memcmp(&line, &other, sizeof line));
    check_written(&line, VD_PROXYLINE_V1);
    check_written(&line, VD_PROXYLINE_V2);
    return 0;
}
