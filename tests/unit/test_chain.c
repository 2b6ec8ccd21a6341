/* proto/chain: several hops over one stream, and what is said when one fails. */
#include "proto/chain.h"

#include <string.h>

#include "proto/err.h"
#include "tests/unit/guard.h"
#include "tests/unit/talks.h"
#include "tests/unit/tap.h"

static const char tunnel[] = "\5\0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n\0\x5a tunnel";

static struct vd_hop hops[VD_HOPS_MAX + 1];
static bool with_tls; /* the driver can do that */

/* Reads hops that are apart by spaces. A "|" gives the address of a name:
 * "socks5://h|192.0.2.7" is a hop whose name was resolved. */
static void read_hops(struct vd_path *path, const char *urls)
{
    memset(path, 0, sizeof *path);
    path->hops = hops;
    path->tls = with_tls;
    while (*urls) {
        size_t len = strcspn(urls, " "), url_len = strcspn(urls, " |");
        struct vd_hop *hop = &hops[path->count];
        struct vd_url_error why;

        if (vd_url_read(hop, urls, url_len, &why) < 0)
            tap_wrong("cannot read %.*s: %s", (int)url_len, urls, why.part);
        if (url_len < len)
            hop->addr_count =
                vd_ip_read(&hop->addrs[0], urls + url_len + 1, len - url_len - 1) ? 1 : 0;
        path->order[path->count] = path->count;
        path->count++;
        urls += len + (urls[len] == ' ');
    }
}

static int start(struct vd_chain *chain, const char *urls, enum vd_command command,
                 const char *target)
{
    struct vd_path path;
    struct vd_endpoint to;

    read_hops(&path, urls);
    if (vd_endpoint_read(&to, target, strlen(target), 0) < 0)
        tap_wrong("cannot read %s", target);
    return vd_chain_start(chain, &path, command, &to);
}

/* --- whole conversations --- */

#define VIA_H2   "CONNECT h2:8080 HTTP/1.1\r\nHost: h2:8080\r\nConnection: close\r\n\r\n"
#define S5_TO_H2 "\5\1\0\3\2h2\x04\x38"
#define HTTP_OK  "HTTP/1.1 200 OK\r\n\r\n"

static const struct {
    const char *name, *urls, *target;
    enum vd_command command;
    const char *said;
    size_t said_len;
    const char *heard;
    size_t heard_len;
    enum play_loss loss;
    int end;
    size_t at; /* position of the hop that it ended with */
} rows[] = {
    {"socks5h, then http", "socks5h://h1 http://h2:1080", NAME, VD_CONNECT,
     BYTES(S5_OPEN S5_TO_H2 CONNECT(NAME)), BYTES("\5\0" S5_OK HTTP_OK), 0, VD_DONE, 1},
    {"http, then socks5h", "http://h1 socks5h://h2:8080", NAME, VD_CONNECT,
     BYTES(VIA_H2 S5_OPEN S5_NAME), BYTES(HTTP_OK "\5\0" S5_OK), 0, VD_DONE, 1},
    {"the same proxy, both kinds", "socks5h://127.0.0.1:1 http://127.0.0.1:2", V4, VD_CONNECT,
     BYTES(S5_OPEN "\5\1\0\1\x7f\0\0\1\0\2" CONNECT(V4)), BYTES("\5\0" S5_OK HTTP_OK), 0, VD_DONE,
     1},
    {"socks4a, then socks4 by name", "socks4a://h1 socks4://h2", V4, VD_CONNECT,
     BYTES("\4\1\x04\x38\0\0\0\1\0h2\0" S4_V4), BYTES("\0\x5a\0\0\0\0\0\0\0\x5a\0\0\0\0\0\0"), 0,
     VD_DONE, 1},
    {"socks4, which takes addresses only", "socks4://h1 socks5h://h2|192.0.2.7", NAME, VD_CONNECT,
     BYTES("\4\1\x04\x38\xc0\0\2\7\0" S5_OPEN S5_NAME), BYTES("\0\x5a\0\0\0\0\0\0\5\0" S5_OK), 0,
     VD_DONE, 1},
    {"socks5, which takes addresses only", "socks5://h1 socks5h://h2|2001:db8::7", NAME, VD_CONNECT,
     BYTES(S5_OPEN "\5\1\0\4\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\7\x04\x38" S5_OPEN S5_NAME),
     BYTES("\5\0" S5_OK "\5\0" S5_OK), 0, VD_DONE, 1},
    {"names go by name even if addresses are known", "socks5h://h1 socks5h://h2|192.0.2.7", NAME,
     VD_CONNECT, BYTES(S5_OPEN S5_TO_H2 S5_OPEN S5_NAME), BYTES("\5\0" S5_OK "\5\0" S5_OK), 0,
     VD_DONE, 1},
    {"logins of each hop", "socks5h://alice:secret@h1 http://alice:secret@h2:1080", NAME,
     VD_CONNECT, BYTES(S5_WITH_LOGIN S5_LOGIN S5_TO_H2 CONNECT_LOGIN(NAME)),
     BYTES("\5\2\1\0" S5_OK HTTP_OK), 0, VD_DONE, 1},
    {"bind is for the last hop", "socks5h://h1 socks5://h2", V4, VD_BIND,
     BYTES(S5_OPEN S5_TO_H2 S5_OPEN "\5\2\0\1\xc0\0\2\1\0\x50"), BYTES("\5\0" S5_OK "\5\0" S5_OK),
     0, VD_DONE, 1},
    {"http may stand before a bind", "http://h1 socks5://h2:8080", V4, VD_BIND,
     BYTES(VIA_H2 S5_OPEN "\5\2\0\1\xc0\0\2\1\0\x50"), BYTES(HTTP_OK "\5\0" S5_OK), 0, VD_DONE, 1},
    {"associate is for the last hop", "http://h1 socks5://h2:8080", "0.0.0.0:1", VD_ASSOCIATE,
     BYTES(VIA_H2 S5_OPEN "\5\3\0\1\0\0\0\0\0\1"), BYTES(HTTP_OK "\5\0" S5_OK), 0, VD_DONE, 1},
    {"the last hop does not associate", "socks5h://h1 socks5://h2", "0.0.0.0:1", VD_ASSOCIATE,
     BYTES(S5_OPEN S5_TO_H2 S5_OPEN "\5\3\0\1\0\0\0\0\0\1"),
     BYTES("\5\0" S5_OK "\5\0\5\7\0\1\0\0\0\0\0\0"), 0, -VD_ERR_COMMAND, 1},
    {"the last hop does not bind", "socks5h://h1 socks4://h2", V4, VD_BIND,
     BYTES(S5_OPEN S5_TO_H2 "\4\2\0\x50\xc0\0\2\1\0"), BYTES("\5\0" S5_OK "\0\x5b\0\0\0\0\0\0"), 0,
     -VD_ERR_FAILED, 1},
    {"three hops", "socks5h://h1 http://h2:1080 socks4a://h3", NAME, VD_CONNECT,
     BYTES(S5_OPEN S5_TO_H2 CONNECT("h3:1080") S4_NAME),
     BYTES("\5\0" S5_OK HTTP_OK "\0\x5a\0\0\0\0\0\0"), 0, VD_DONE, 2},
    {"the first hop cannot reach the second", "socks5h://h1 http://h2:1080", NAME, VD_CONNECT,
     BYTES(S5_OPEN S5_TO_H2), BYTES("\5\0\5\5\0\1\0\0\0\0\0\0"), 0, -VD_ERR_UNREACHABLE, 1},
    {"the first hop does not allow the second", "socks5h://h1 http://h2:1080", NAME, VD_CONNECT,
     BYTES(S5_OPEN S5_TO_H2), BYTES("\5\0\5\2\0\1\0\0\0\0\0\0"), 0, -VD_ERR_DENIED, 0},
    {"the first hop tells of a reset", "http://h1 socks5h://h2:8080", NAME, VD_CONNECT,
     BYTES(VIA_H2),
     BYTES("HTTP/1.1 502 Bad\r\nProxy-Status: x; error=connection_terminated\r\n\r\n"), 0,
     -VD_ERR_UNREACHABLE, 1},
    {"the first hop does not allow the second", "socks5h://h1 http://h2:1080", NAME, VD_CONNECT,
     BYTES(S5_OPEN S5_TO_H2), BYTES("\5\0\5\2\0\1\0\0\0\0\0\0"), 0, -VD_ERR_DENIED, 0},
    {"the first hop closes", "socks5h://h1 http://h2:1080", NAME, VD_CONNECT,
     BYTES(S5_OPEN S5_TO_H2), BYTES("\5\0"), PLAY_EOF, -VD_ERR_CLOSED, 0},
    {"the second hop refuses", "socks5h://h1 http://h2:1080", NAME, VD_CONNECT,
     BYTES(S5_OPEN S5_TO_H2 CONNECT(NAME)), BYTES("\5\0" S5_OK "HTTP/1.1 403 No\r\n\r\n"), 0,
     -VD_ERR_DENIED, 1},
    {"the first hop says yes and closes", "socks5h://h1 http://h2:1080", NAME, VD_CONNECT,
     BYTES(S5_OPEN S5_TO_H2 CONNECT(NAME)), BYTES("\5\0" S5_OK), PLAY_EOF, -VD_ERR_CLOSED, 1},
    {"the second hop is silent", "http://h1 socks5h://h2:8080", NAME, VD_CONNECT,
     BYTES(VIA_H2 S5_OPEN), BYTES(HTTP_OK), PLAY_SILENT, -VD_ERR_SILENT, 1},
    {"TLS first", "https://h1", NAME, VD_CONNECT, BYTES(PLAY_TLS CONNECT(NAME)), BYTES(HTTP_OK), 0,
     VD_DONE, 0},
    {"TLS inside SOCKS5", "socks5h://h1 https://h2:1080", NAME, VD_CONNECT,
     BYTES(S5_OPEN S5_TO_H2 PLAY_TLS CONNECT(NAME)), BYTES("\5\0" S5_OK HTTP_OK), 0, VD_DONE, 1},
    {"TLS inside TLS", "https://h1 https://h2:8080", NAME, VD_CONNECT,
     BYTES(PLAY_TLS VIA_H2 PLAY_TLS CONNECT(NAME)), BYTES(HTTP_OK HTTP_OK), 0, VD_DONE, 1},
    {"TLS in the middle", "http://h1 https://h2:8080 socks4a://h3", NAME, VD_CONNECT,
     BYTES(VIA_H2 PLAY_TLS CONNECT("h3:1080") S4_NAME), BYTES(HTTP_OK HTTP_OK "\0\x5a\0\0\0\0\0\0"),
     0, VD_DONE, 2},
    {"a hop with TLS refuses", "https://h1", NAME, VD_CONNECT, BYTES(PLAY_TLS CONNECT(NAME)),
     BYTES("HTTP/1.1 403 No\r\n\r\n"), 0, -VD_ERR_DENIED, 0},
    {"a hop with TLS is not reached", "socks5h://h1 https://h2:1080", NAME, VD_CONNECT,
     BYTES(S5_OPEN S5_TO_H2), BYTES("\5\0\5\5\0\1\0\0\0\0\0\0"), 0, -VD_ERR_UNREACHABLE, 1},
    {"a hop with TLS is silent", "https://h1", NAME, VD_CONNECT, BYTES(PLAY_TLS CONNECT(NAME)),
     BYTES(""), PLAY_SILENT, -VD_ERR_SILENT, 0},
    {"the first hop is silent", "http://h1 socks5h://h2:8080", NAME, VD_CONNECT, BYTES(VIA_H2),
     BYTES(""), PLAY_SILENT, -VD_ERR_SILENT, 0},
};

static void play(size_t i, size_t chunk, enum play_manner manner)
{
    static struct play_end end;
    struct play_client how = {.chunk = chunk, .manner = manner, .loss = rows[i].loss};
    struct vd_chain chain;
    uint8_t heard[1024];
    size_t len = rows[i].heard_len;
    unsigned before = tap_wrongs;

    memcpy(heard, rows[i].heard, len);
    if (!rows[i].loss) {
        memcpy(heard + len, tunnel, sizeof tunnel);
        len += sizeof tunnel;
    }
    if (start(&chain, rows[i].urls, rows[i].command, rows[i].target) != VD_OK)
        tap_wrong("it does not start");
    play_client(&end, &chain, heard, len, &how);
    if (end.broken)
        tap_wrong("%s", end.broken);
    if (end.result != rows[i].end)
        tap_wrong("ended with %d instead of %d", end.result, rows[i].end);
    if (end.said_len != rows[i].said_len || memcmp(end.said, rows[i].said, end.said_len))
        tap_wrong("%zu bytes were said instead of %zu, or others", end.said_len, rows[i].said_len);
    if (rows[i].end == VD_DONE && end.used != rows[i].heard_len)
        tap_wrong("%zu bytes were taken of %zu", end.used, rows[i].heard_len);
    if (vd_chain_at(&chain) != &hops[rows[i].at])
        tap_wrong("it ended with hop %u", chain.at + 1u);
    if (tap_wrongs > before)
        tap_wrong("... in chunks of %zu, manner %d", chunk, manner);
}

static void play_all_ways(size_t i)
{
    tap_begin();
    with_tls = true;
    for (enum play_manner manner = PLAY_EXACT; manner <= PLAY_GREEDY; manner++)
        for (size_t chunk = 1; chunk <= 33; chunk++)
            play(i, chunk == 33 ? PLAY_WHOLE : chunk, manner);
    with_tls = false;
    tap_end(rows[i].name);
}

/* --- what cannot start --- */

static const struct {
    const char *urls, *target;
    enum vd_command command;
    int result;
    unsigned at;
} starts[] = {
    {"https://h1", NAME, VD_CONNECT, -VD_ERR_UNSUPPORTED, 0},
    {"socks5h://h1 https://h2", NAME, VD_CONNECT, -VD_ERR_UNSUPPORTED, 1},
    {"https://h1 socks5h://h2", NAME, VD_CONNECT, -VD_ERR_UNSUPPORTED, 0},
    {"socks5h://unix:/s", NAME, VD_CONNECT, VD_OK, 0},
    {"socks5h://unix:/s http://h2", NAME, VD_CONNECT, VD_OK, 0},
    {"http://h1 socks5h://unix:/s", NAME, VD_CONNECT, -VD_ERR_UNSUPPORTED, 1},
    {"socks5h://h1 socks5://h2", NAME, VD_CONNECT, -VD_ERR_ADDRESS_TYPE, 1},
    {"socks5h://h1 socks4://h2", V6, VD_CONNECT, -VD_ERR_ADDRESS_TYPE, 1},
    {"socks5://h1 socks5h://h2", NAME, VD_CONNECT, -VD_ERR_ADDRESS_TYPE, 0},
    {"socks4://h1 socks5h://h2", NAME, VD_CONNECT, -VD_ERR_ADDRESS_TYPE, 0},
    {"socks4://h1 socks5h://h2|2001:db8::1", NAME, VD_CONNECT, -VD_ERR_ADDRESS_TYPE, 0},
    {"socks4a://h1 socks5h://[2001:db8::1]", NAME, VD_CONNECT, -VD_ERR_ADDRESS_TYPE, 0},
    {"socks5h://h1 http://h2", V4, VD_BIND, -VD_ERR_COMMAND, 1},
    {"socks5h://h1 http://h2", V4, VD_ASSOCIATE, -VD_ERR_COMMAND, 1},
    {"http://h1 socks5://h2", V4, VD_ASSOCIATE, VD_OK, 0},
    {"socks5h://h1 socks4://h2", V4, VD_ASSOCIATE, -VD_ERR_COMMAND, 1},
};

static void starting(void)
{
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        struct vd_chain chain;
        int r;

        tap_begin();
        r = start(&chain, starts[i].urls, starts[i].command, starts[i].target);
        if (r != starts[i].result)
            tap_wrong("result %d", r);
        if (vd_chain_at(&chain) != &hops[starts[i].at])
            tap_wrong("it names hop %u", chain.at + 1u);
        tap_end(starts[i].urls);
    }
}

/* --- what is said of a failure --- */

#define GARBAGE "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3 \"and\\more\" \x1b[0m until it is cut off"

static const struct {
    const char *urls;
    const char *heard;
    size_t heard_len;
    enum play_loss loss;
    int err; /* of the driver, or 0: what the chain gave */
    const char *text;
} explained[] = {
    {"http://alice:secret@10.0.0.2:3128", BYTES("HTTP/1.1 407 No\r\n\r\n"), 0, 0,
     "hop 1 of 1 (http://alice@10.0.0.2:3128) refused the login (HTTP 407)"},
    {"http://10.0.0.2:3128", BYTES("HTTP/1.1 407 No\r\n\r\n"), 0, 0,
     "hop 1 of 1 (http://10.0.0.2:3128) wants a login (HTTP 407)"},
    {"http://h", BYTES("HTTP/1.1 403 No\r\n\r\n"), 0, 0,
     "hop 1 of 1 (http://h:8080) does not allow this connection (HTTP 403)"},
    {"http://h", BYTES("HTTP/1.1 502 Bad\r\nProxy-Status: x; error=connection_refused\r\n\r\n"), 0,
     0, "hop 1 of 1 (http://h:8080) says that the target refused the connection (HTTP 502)"},
    {"socks5h://alice:secret@h", BYTES("\5\xff"), 0, 0,
     "hop 1 of 1 (socks5h://alice@h:1080) accepts none of the offered login methods (SOCKS5 method "
     "255)"},
    {"socks5h://h", BYTES("\5\xff"), 0, 0,
     "hop 1 of 1 (socks5h://h:1080) wants a login (SOCKS5 method 255)"},
    {"socks5h://alice:secret@h", BYTES("\5\2\1\1"), 0, 0,
     "hop 1 of 1 (socks5h://alice@h:1080) refused the login (SOCKS5 login status 1)"},
    {"socks5h://alice:secret@h", BYTES("\5\2"), PLAY_EOF, 0,
     "hop 1 of 1 (socks5h://alice@h:1080) refused the login"},
    {"http://h", BYTES("HTTP/1.1 200 OK\r\n"), 0, VD_ERR_SILENT,
     "hop 1 of 1 (http://h:8080) did not answer in time"},
    {"http://h", BYTES("HTTP/1.1 200 OK\r\n"), PLAY_EOF, 0,
     "hop 1 of 1 (http://h:8080) closed the connection during the handshake (HTTP 200)"},
    {"socks5h://h", BYTES("\5\0\5\4"), 0, 0,
     "hop 1 of 1 (socks5h://h:1080) says that the target is unreachable (SOCKS5 reply 4)"},
    {"socks5h://h1 socks4a://h2 socks5h://h3", BYTES("\5\0" S5_OK "\0\x5b"), 0, 0,
     "hop 3 of 3 (socks5h://h3:1080) cannot be reached: hop 2 failed without giving a reason "
     "(SOCKS4 reply 91)"},
    {"http://h1 socks5h://h2", BYTES("HTTP/1.1 502 Bad\r\n\r\n"), PLAY_EOF, 0,
     "hop 2 of 2 (socks5h://h2:1080) cannot be reached: hop 1 failed without giving a reason "
     "(HTTP 502)"},
    {"http://h", BYTES(GARBAGE), 0, 0,
     "hop 1 of 1 (http://h:8080) does not speak the protocol (it said "
     "\"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3 \\x22and\\x5cmore\\x22 \\x1b[0m until it \")"},
    {"socks5h://h", BYTES("\5\7"), 0, 0,
     "hop 1 of 1 (socks5h://h:1080) does not speak the protocol (it said \"\\x05\\x07\")"},
    {"socks5h://h", BYTES("\5\0SSH-2.0"), 0, 0,
     "hop 1 of 1 (socks5h://h:1080) does not speak the protocol (it said \"SSH-2.0\")"},
    {"socks5h://h1 http://h2", BYTES("\5\0" S5_OK), PLAY_EOF, 0,
     "hop 2 of 2 (http://h2:8080) closed the connection during the handshake"},
    {"socks5h://h1 http://h2", BYTES(""), PLAY_SILENT, 0,
     "hop 1 of 2 (socks5h://h1:1080) did not answer in time"},
    {"socks5h://h", BYTES("\5\0"), PLAY_SILENT, 0,
     "hop 1 of 1 (socks5h://h:1080) did not answer in time"},
    {"socks5h://h", BYTES(""), PLAY_RESET, 0,
     "hop 1 of 1 (socks5h://h:1080) reset the connection during the handshake"},
    {"socks5h://u@unix:/run/s", BYTES(""), 0, -VD_ERR_UNREACHABLE,
     "hop 1 of 1 (socks5h://u@unix:/run/s) cannot be reached"},
    {"socks5h://h1 socks5h://h2", BYTES(""), 0, VD_ERR_UNREACHABLE,
     "hop 1 of 2 (socks5h://h1:1080) cannot be reached"},
    {"socks5h://h", BYTES("\5\0"), 0, -VD_ERR_SILENT,
     "hop 1 of 1 (socks5h://h:1080) did not answer in time"},
};

static void explaining(void)
{
    for (size_t i = 0; i < sizeof explained / sizeof *explained; i++) {
        static struct play_end end;
        struct play_client how = {
            .chunk = PLAY_WHOLE, .manner = PLAY_PEEKS, .loss = explained[i].loss};
        char text[2048];
        struct vd_out out = vd_out_over(text, sizeof text);
        struct vd_chain chain;

        tap_begin();
        if (start(&chain, explained[i].urls, VD_CONNECT, NAME) != VD_OK)
            tap_wrong("it does not start");
        play_client(&end, &chain, (const uint8_t *)explained[i].heard, explained[i].heard_len,
                    &how);
        vd_chain_explain(&out, &chain, explained[i].err ? explained[i].err : end.result);
        if (strcmp(vd_out_string(&out), explained[i].text))
            tap_wrong("%s", text);
        if (strstr(text, "secret"))
            tap_wrong("it tells the password");
        tap_end(explained[i].text);
    }
}

static void explaining_starts(void)
{
    char text[256];
    struct vd_out out = vd_out_over(text, sizeof text);
    struct vd_chain chain;
    int r = start(&chain, "socks5h://h1 https://h2", VD_CONNECT, NAME);

    vd_chain_explain(&out, &chain, r);
    tap_ok(
        !strcmp(vd_out_string(&out), "hop 2 of 2 (https://h2:443) is of a kind that is not served"),
        "%s", text);

    out = vd_out_over(text, 20);
    vd_chain_explain(&out, &chain, r);
    tap_ok(!out.ok && strlen(vd_out_string(&out)) < 20, "a line that does not fit is cut");
}

/* --- BIND: the last hop's second reply --- */

static const struct {
    const char *urls;
    const char *first;
    size_t first_len;
    const char *second;
    size_t second_len;
    enum play_loss loss;
    int end;
    const char *text; /* the peer, or what is said of the failure */
} seconds[] = {
    {"socks5h://h1 socks5://h2", BYTES("\5\0" S5_OK "\5\0" S5_OK),
     BYTES("\5\0\0\1\xc0\0\2\1\0\x14"), 0, VD_DONE, "192.0.2.1:20"},
    {"socks5h://h1 socks5://h2", BYTES("\5\0" S5_OK "\5\0" S5_OK),
     BYTES("\5\0\0\4\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\0\x14"), 0, VD_DONE, "[2001:db8::1]:20"},
    {"http://h1 socks4://h2", BYTES(HTTP_OK "\0\x5a\0\1\1\2\3\4"), BYTES("\0\x5a\0\x14\xc0\0\2\1"),
     0, VD_DONE, "192.0.2.1:20"},
    {"http://h1 socks4://h2", BYTES(HTTP_OK "\0\x5a\0\1\1\2\3\4"), BYTES("\0\x5b\0\0\0\0\0\0"), 0,
     -VD_ERR_FAILED,
     "hop 2 of 2 (socks4://h2:1080) failed without giving a reason (SOCKS4 reply 91)"},
    {"socks5h://h1 socks5://h2", BYTES("\5\0" S5_OK "\5\0" S5_OK), BYTES("\5\6\0\1\0\0\0\0\0\0"), 0,
     -VD_ERR_TTL,
     "hop 2 of 2 (socks5://h2:1080) says that the target does not answer (SOCKS5 reply 6)"},
    {"socks5h://h1 socks5://h2", BYTES("\5\0" S5_OK "\5\0" S5_OK), BYTES(""), PLAY_EOF,
     -VD_ERR_CLOSED, "hop 2 of 2 (socks5://h2:1080) closed the connection during the handshake"},
    {"socks5h://h1 socks5://h2", BYTES("\5\0" S5_OK "\5\0" S5_OK), BYTES("\5"), PLAY_SILENT,
     -VD_ERR_SILENT, "hop 2 of 2 (socks5://h2:1080) did not answer in time"},
};

static void check_second(size_t i, struct vd_chain *chain, const struct play_end *end)
{
    char text[256];
    struct vd_out out = vd_out_over(text, sizeof text);
    struct vd_endpoint peer;

    vd_endpoint_set_ip(&peer, &chain->shake.bound_ip, chain->shake.bound_port);
    if (end->result != seconds[i].end || end->broken || end->said_len > 0)
        tap_wrong("ended with %d, %s", end->result, end->broken);
    if (end->result < 0)
        vd_chain_explain(&out, chain, end->result);
    else
        vd_endpoint_print(&out, &peer);
    if (strcmp(vd_out_string(&out), seconds[i].text))
        tap_wrong("%s", text);
    if (end->result == VD_DONE && end->used != seconds[i].second_len)
        tap_wrong("%zu bytes were taken of %zu", end->used, seconds[i].second_len);
}

static void play_second(size_t i, size_t chunk)
{
    static struct play_end end;
    struct play_client how = {.chunk = chunk};
    struct vd_chain chain;
    uint8_t heard[128];
    size_t len = seconds[i].second_len;

    start(&chain, seconds[i].urls, VD_BIND, V4);
    play_client(&end, &chain, (const uint8_t *)seconds[i].first, seconds[i].first_len, &how);
    if (end.result != VD_DONE || end.used != seconds[i].first_len) {
        tap_wrong("the first reply: %d", end.result);
        return;
    }
    vd_chain_next(&chain);
    memcpy(heard, seconds[i].second, len);
    if (!seconds[i].loss) {
        memcpy(heard + len, tunnel, sizeof tunnel);
        len += sizeof tunnel;
    }
    how.loss = seconds[i].loss;
    play_client(&end, &chain, heard, len, &how);
    check_second(i, &chain, &end);
}

static void second_replies(void)
{
    for (size_t i = 0; i < sizeof seconds / sizeof *seconds; i++) {
        tap_begin();
        for (size_t chunk = 1; chunk <= 33; chunk++)
            play_second(i, chunk == 33 ? PLAY_WHOLE : chunk);
        tap_end(seconds[i].text);
    }
}

/* --- the rest of the face --- */

static void timeouts(void)
{
    static struct play_end end;
    struct play_client how = {.chunk = PLAY_WHOLE};
    struct vd_chain chain;

    start(&chain, "socks5h://h1?timeout=3 http://h2?timeout=0.5", VD_CONNECT, NAME);
    tap_ok(vd_chain_timeout_ms(&chain) == 3000, "the first hop's timeout");
    play_client(&end, &chain, (const uint8_t *)"\5\0" S5_OK, 12, &how);
    tap_ok(vd_chain_timeout_ms(&chain) == 500, "the second hop's timeout");
    start(&chain, "socks5h://h1", VD_CONNECT, NAME);
    tap_ok(vd_chain_timeout_ms(&chain) == 0, "no timeout of its own");
}

static void look_aheads(void)
{
    struct vd_chain chain;

    start(&chain, "socks5h://h1 http://h2", VD_CONNECT, NAME);
    tap_ok(!vd_chain_peeks(&chain), "a look-ahead does not pay in SOCKS");
    start(&chain, "http://h2 socks5h://h1", VD_CONNECT, NAME);
    tap_ok(vd_chain_peeks(&chain), "a look-ahead pays in HTTP");
}

static void order(void)
{
    struct vd_path path;

    read_hops(&path, "socks5h://h1 socks5h://h2 socks5h://h3");
    path.count = 2;
    path.order[0] = 2;
    path.order[1] = 0;
    tap_ok(vd_path_hop(&path, 0) == &hops[2] && vd_path_hop(&path, 1) == &hops[0],
           "a path may pick and reorder hops");
}

/* What this machine adds to an address means nothing to a hop. */
static void scopes(void)
{
    struct vd_path path;
    struct vd_endpoint target;
    struct vd_chain chain;
    uint8_t buf[64];

    read_hops(&path, "socks5h://h1");
    vd_endpoint_read(&target, "fe80::1", 7, 80);
    target.ip.scope = 3;
    tap_ok(vd_chain_start(&chain, &path, VD_CONNECT, &target) == VD_OK &&
               vd_chain_pending(&chain, buf, sizeof buf) == 3 && chain.shake.target.ip.scope == 0,
           "an interface is not told to a hop");
}

int main(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        play_all_ways(i);
    starting();
    explaining();
    explaining_starts();
    second_replies();
    timeouts();
    look_aheads();
    order();
    scopes();
    return tap_done();
}
