/* A pattern that reads is printed as one that reads the same; an address or a name that was read
 * matches itself. */
#include <string.h>

#include "proto/err.h"
#include "proto/pattern.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/guard.h"

static void matches_itself(const struct vd_pattern *p)
{
    struct vd_endpoint e;

    if (p->kind == VD_PATTERN_NET)
        vd_endpoint_set_ip(&e, &p->net, p->port);
    else if (p->kind != VD_PATTERN_NAME || vd_endpoint_set_name(&e, p->name, p->name_len, p->port))
        return;
    PROPERTY(vd_pattern_matches(p, &e));
    e.port ^= 1;
    PROPERTY(vd_pattern_matches(p, &e) == (p->port == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[VD_NAME_MAX + 16];
    struct vd_out out = vd_out_over(text, sizeof text);
    struct vd_pattern p, again;
    const char *allowed = NULL;

    if (size > 4096)
        return 0;
    if (vd_pattern_read(&p, (const char *)guard_put(data, size), size, &allowed) < 0) {
        PROPERTY(allowed && *allowed);
        return 0;
    }
    vd_pattern_print(&out, &p);
    PROPERTY(out.ok);
    PROPERTY(vd_pattern_read(&again, text, out.len, &allowed) == VD_OK);
    PROPERTY(!memcmp(&p, &again, sizeof p));
    matches_itself(&p);
    return 0;
}
