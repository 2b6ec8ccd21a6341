/* proto/mask: what a trace shows of logins. */
#include "proto/mask.h"

#include <string.h>

#include "proto/err.h"
#include "tests/unit/guard.h"
#include "tests/unit/tap.h"

#define BYTES(text) text, sizeof(text) - 1

static const struct {
    const char *name;
    enum vd_says says;
    bool inside;
    const char *data;
    size_t len;
    const char *masked;
    size_t masked_len;
} rows[] = {
    {"a login", VD_SAYS_LOGIN, false, BYTES("\1\2me\3xyz"), BYTES("\1\2me\10********")},
    {"without a password", VD_SAYS_LOGIN, false, BYTES("\1\2me\0"), BYTES("\1\2me\10")},
    {"half a password", VD_SAYS_LOGIN, false, BYTES("\1\2me\7xyz"), BYTES("\1\2me\10********")},
    {"half a user", VD_SAYS_LOGIN, false, BYTES("\1\7me"), BYTES("\1\7me")},
    {"no more than a version", VD_SAYS_LOGIN, false, BYTES("\1"), BYTES("\1")},
    {"Basic", VD_SAYS_HTTP_REQUEST, false,
     BYTES("CONNECT a:1 HTTP/1.1\r\nProxy-Authorization: Basic bWU6eHl6\r\nA: b\r\n\r\n"),
     BYTES("CONNECT a:1 HTTP/1.1\r\nProxy-Authorization: Basic bWU6KioqKioqKio=\r\nA: b\r\n\r\n")},
    {"for the origin, in bare lines", VD_SAYS_HTTP_REQUEST, false,
     BYTES("GET / HTTP/1.1\nAUTHORIZATION :basic  bWU6eHl6 \n\n"),
     BYTES("GET / HTTP/1.1\nAUTHORIZATION : Basic bWU6KioqKioqKio=\n\n")},
    {"another scheme", VD_SAYS_HTTP_MORE, false, BYTES("Authorization: Bearer xyz\r\n"),
     BYTES("Authorization: ********\r\n")},
    {"Basic that is none", VD_SAYS_HTTP_MORE, false, BYTES("Authorization: Basic xyz!\r\n"),
     BYTES("Authorization: Basic ********\r\n")},
    {"a word alone", VD_SAYS_HTTP_MORE, false, BYTES("Authorization:xyz\r\n"),
     BYTES("Authorization: ********\r\n")},
    {"a line cut short", VD_SAYS_HTTP_MORE, false, BYTES("Authorization: Basic bWU6e"),
     BYTES("Authorization: Basic ********")},
    {"the rest of a line", VD_SAYS_HTTP_MORE, true, BYTES("xyz\r\nA: b\r\n"),
     BYTES("********\r\nA: b\r\n")},
    {"a line within a line", VD_SAYS_HTTP_MORE, true, BYTES("xyz"), BYTES("********")},
    {"a line that goes on", VD_SAYS_HTTP_MORE, false, BYTES("Authorization:\r\n Basic xyz\r\n"),
     BYTES("Authorization: ********\r\n********\r\n")},
    {"a URL", VD_SAYS_HTTP_REQUEST, false, BYTES("GET http://me:x@y@h/ HTTP/1.1\r\n\r\n"),
     BYTES("GET http://********@h/ HTTP/1.1\r\n\r\n")},
    {"a URL without a login", VD_SAYS_HTTP_REQUEST, false, BYTES("GET http://h/ HTTP/1.1\r\n\r\n"),
     BYTES("GET http://h/ HTTP/1.1\r\n\r\n")},
    {"a request of SOCKS5", VD_SAYS_REQUEST, false, BYTES("\5\1\0\1\1\2\3\4\0\1"),
     BYTES("\5\1\0\1\1\2\3\4\0\1")},
    {"an answer", VD_SAYS_HTTP_RESPONSE, false,
     BYTES("HTTP/1.1 200 OK\r\nAuthorization: x\r\n\r\n"),
     BYTES("HTTP/1.1 200 OK\r\nAuthorization: x\r\n\r\n")},
};

static void said(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const uint8_t *data = guard_put(rows[i].data, rows[i].len);
        uint8_t masked[VD_MASK_ROOM];
        size_t len;

        tap_begin();
        len = vd_mask_said(rows[i].says, data, rows[i].len, rows[i].inside, masked, sizeof masked);
        if (len != rows[i].masked_len || memcmp(masked, rows[i].masked, len))
            tap_wrong("masked: %.*s", (int)len, (const char *)masked);
        tap_end(rows[i].name);
    }
}

static struct vd_path path_of(struct vd_hop hops[2], const char *first, const char *second)
{
    struct vd_path path = {.hops = hops, .count = 2, .order = {0, 1}};
    struct vd_url_error why;

    if (vd_url_read(&hops[0], first, strlen(first), &why) < 0 ||
        vd_url_read(&hops[1], second, strlen(second), &why) < 0)
        tap_wrong("%s", why.part);
    return path;
}

static void heard(void)
{
    struct vd_hop hops[2];
    struct vd_path path = path_of(hops, "http://me:xyz@h", "socks5h://me:ab@h");
    char data[] = "xyz xy bWU6eHl6 ab xyzxyz";

    tap_begin();
    vd_mask_heard(&path, (uint8_t *)data, strlen(data));
    if (strcmp(data, "*** xy ******** ab ******"))
        tap_wrong("masked: %s", data);
    tap_end("what comes back, but for two letters");
}

/* All messages of a chain whose hops have passwords, said one after the other. */
static void ours(void)
{
    static struct vd_masked room;
    struct vd_endpoint target;
    struct vd_hop hops[2];
    struct vd_path path = path_of(hops, "socks5h://me:xyzzy@h", "http://me:xyzzy@h");
    struct vd_chain chain;
    uint8_t all[4 * VD_SHAKE_MESSAGE_MAX];
    size_t len = 0;

    tap_begin();
    vd_endpoint_set_name(&target, "a.test", 6, 80);
    if (vd_chain_start(&chain, &path, VD_CONNECT, &target) != VD_OK)
        tap_wrong("no start");
    for (struct vd_said said = vd_chain_said(&chain); said.stage != VD_STAGE_DONE;) {
        enum vd_says says;

        len += vd_mask_message(&room, &chain, &said, false, &says, all + len, sizeof all - len);
        if (says == VD_SAYS_NOTHING)
            tap_wrong("a message of no kind");
    }
    if (memmem(all, len, "xyzzy", 5) || memmem(all, len, "bWU6eHl6enk=", 12))
        tap_wrong("a password is in it");
    if (!memmem(all, len, VD_MASK, 8) || !memmem(all, len, "bWU6KioqKioqKio=", 16))
        tap_wrong("the mask is not in it");
    tap_end("what is said to hops");
}

int main(void)
{
    said();
    heard();
    ours();
    return tap_done();
}
