/* A URL that reads is printed, without its password and with its options, as one that reads as the
 * same hop. */
#include <string.h>

#include "proto/err.h"
#include "proto/url.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/guard.h"

enum { TEXT = VD_URL_TEXT + VD_URL_OPTIONS_TEXT };

static size_t print(char text[TEXT], const struct vd_hop *hop)
{
    struct vd_out out = vd_out_over(text, VD_URL_TEXT);

    vd_url_print(&out, hop);
    PROPERTY(out.ok);
    out.cap = out.len + VD_URL_OPTIONS_TEXT;
    vd_url_print_options(&out, hop);
    PROPERTY(out.ok);
    vd_out_string(&out);
    return out.len;
}

static void same(const struct vd_hop *a, const struct vd_hop *b)
{
    PROPERTY(a->scheme == b->scheme);
    PROPERTY(a->user_len == b->user_len && !memcmp(a->user, b->user, a->user_len));
    PROPERTY(a->unix_len == b->unix_len && !memcmp(a->unix_path, b->unix_path, a->unix_len));
    PROPERTY(a->unix_len || vd_endpoint_same(&a->at, &b->at));
    PROPERTY(b->password_len == 0 && b->timeout_ms == a->timeout_ms);
    PROPERTY(a->pipeline == b->pipeline && a->no_probe == b->no_probe);
    PROPERTY(a->no_verify == b->no_verify && !strcmp(a->ca, b->ca));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[TEXT];
    struct vd_hop hop, again;
    struct vd_url_error why = {NULL, NULL};

    if (size > 4096)
        return 0;
    if (vd_url_read(&hop, (const char *)guard_put(data, size), size, &why) < 0) {
        PROPERTY(why.part && *why.part && why.allowed && *why.allowed);
        return 0;
    }
    PROPERTY(hop.unix_len > 0 || hop.at.port > 0);
    PROPERTY(hop.scheme == VD_HTTPS || (!hop.no_verify && !hop.ca[0]));
    PROPERTY(hop.user[hop.user_len] == 0 && hop.password[hop.password_len] == 0);
    PROPERTY(vd_url_read(&again, text, print(text, &hop), &why) == VD_OK);
    same(&hop, &again);
    return 0;
}
