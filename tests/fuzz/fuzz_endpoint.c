/* An endpoint that reads is printed as one that reads the same. */
#include <string.h>

#include "proto/endpoint.h"
#include "proto/err.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/guard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[VD_ENDPOINT_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);
    struct vd_endpoint e, again;
    int r;

    if (size > 4096)
        return 0;
    r = vd_endpoint_read(&e, (const char *)guard_put(data, size), size, 80);
    if (r < 0) {
        PROPERTY(r == -VD_ERR_NAME_FORM || r == -VD_ERR_PROTOCOL);
        return 0;
    }
    PROPERTY(e.port > 0 && e.name[e.name_len] == 0);
    vd_endpoint_print(&out, &e);
    PROPERTY(out.ok && out.len < sizeof text);
    PROPERTY(vd_endpoint_read(&again, text, out.len, 0) == VD_OK);
    PROPERTY(!memcmp(&e, &again, sizeof e));
    return 0;
}
