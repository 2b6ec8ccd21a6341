/* proto/describe: fields of each kind of message, streams cut into messages at every chunk size. */
#include "proto/describe.h"

#include <string.h>

#include "tests/unit/guard.h"
#include "tests/unit/tap.h"

#define BYTES(text) text, sizeof(text) - 1

/* One line for each field: "NAME LEN meaning". */
static const struct {
    const char *name;
    enum vd_says says;
    const char *data;
    size_t len;
    size_t whole; /* what vd_says_length says */
    const char *told;
} messages[] = {
    {"SOCKS4 request", VD_SAYS_SOCKS4_REQUEST, BYTES("\4\1\0\120\300\0\2\1me\0"), 11,
     "VN 1 SOCKS version 4\nCD 1 CONNECT\nDSTPORT 2 80\nDSTIP 4 192.0.2.1\nUSERID 3 \"me\"\n"},
    {"SOCKS4a request", VD_SAYS_SOCKS4_REQUEST, BYTES("\4\2\0\120\0\0\0\1\0a.test\0"), 16,
     "VN 1 SOCKS version 4\nCD 1 BIND\nDSTPORT 2 80\n"
     "DSTIP 4 0.0.0.1: a name follows (SOCKS4a)\nUSERID 1 \"\"\nDOMAIN 7 \"a.test\"\n"},
    {"SOCKS4a request without its name", VD_SAYS_SOCKS4_REQUEST, BYTES("\4\1\0\120\0\0\0\1\0a."), 0,
     "VN 1 SOCKS version 4\nCD 1 CONNECT\nDSTPORT 2 80\n"
     "DSTIP 4 0.0.0.1: a name follows (SOCKS4a)\nUSERID 1 \"\"\nDOMAIN 2 cut short\n"},
    {"SOCKS4 reply", VD_SAYS_SOCKS4_REPLY, BYTES("\0\132\0\120\3\0\2\1"), 8,
     "VN 1 SOCKS version 0\nCD 1 request granted\nDSTPORT 2 80\nDSTIP 4 3.0.2.1\n"},
    {"SOCKS4 reply, another version", VD_SAYS_SOCKS4_REPLY, BYTES("\4\133\0\0\0\0\0\0"), 8,
     "VN 1 SOCKS version 4\nCD 1 request rejected or failed\nDSTPORT 2 0\nDSTIP 4 0.0.0.0\n"},
    {"SOCKS4 reply of no SOCKS4 server", VD_SAYS_SOCKS4_REPLY, BYTES("\5\377"), 0,
     "(bytes) 2 no such message\n"},
    {"methods", VD_SAYS_METHODS, BYTES("\5\3\0\2\200"), 5,
     "VER 1 SOCKS version 5\nNMETHODS 1 3\n"
     "METHODS 3 NO AUTHENTICATION REQUIRED, USERNAME/PASSWORD, 128: unassigned\n"},
    {"no methods", VD_SAYS_METHODS, BYTES("\5\0"), 2, "VER 1 SOCKS version 5\nNMETHODS 1 0\n"},
    {"method", VD_SAYS_METHOD, BYTES("\5\2"), 2,
     "VER 1 SOCKS version 5\nMETHOD 1 USERNAME/PASSWORD\n"},
    {"no method", VD_SAYS_METHOD, BYTES("\5\377"), 2,
     "VER 1 SOCKS version 5\nMETHOD 1 NO ACCEPTABLE METHODS\n"},
    {"half a method", VD_SAYS_METHOD, BYTES("\5"), 0, "VER 1 SOCKS version 5\n"},
    {"HTTP for a method", VD_SAYS_METHOD, BYTES("HTTP/1.1 400 no\r\n"), 0,
     "(bytes) 17 no such message\n"},
    {"login", VD_SAYS_LOGIN, BYTES("\1\5alice\6secret"), 14,
     "VER 1 version 1 of the subnegotiation\nULEN 1 5\nUNAME 5 \"alice\"\nPLEN 1 6\n"
     "PASSWD 6 \"secret\"\n"},
    {"login without a password", VD_SAYS_LOGIN, BYTES("\1\1a\0"), 4,
     "VER 1 version 1 of the subnegotiation\nULEN 1 1\nUNAME 1 \"a\"\nPLEN 1 0\n"},
    {"status", VD_SAYS_STATUS, BYTES("\1\0"), 2,
     "VER 1 version 1 of the subnegotiation\nSTATUS 1 success\n"},
    {"status of a server that mixes versions up", VD_SAYS_STATUS, BYTES("\5\1"), 2,
     "VER 1 the version of SOCKS, where 1 belongs\nSTATUS 1 failure: the login is refused\n"},
    {"request by name", VD_SAYS_REQUEST, BYTES("\5\1\0\3\6a.test\1\273"), 13,
     "VER 1 SOCKS version 5\nCMD 1 CONNECT\nRSV 1 reserved\nATYP 1 DOMAINNAME\n"
     "DST.ADDR 7 a name of 6 octets, \"a.test\"\nDST.PORT 2 443\n"},
    {"request by an address that looks like a counted name", VD_SAYS_REQUEST,
     BYTES("\5\1\0\1\3a.t\0\120"), 10,
     "VER 1 SOCKS version 5\nCMD 1 CONNECT\nRSV 1 reserved\nATYP 1 IP V4 address\n"
     "DST.ADDR 4 3.97.46.116\nDST.PORT 2 80\n"},
    {"the question of a probe", VD_SAYS_REQUEST, BYTES("\5\11\0\1\0\0\0\0\0\0"), 10,
     "VER 1 SOCKS version 5\nCMD 1 no such command: it asks how the server answers\n"
     "RSV 1 reserved\nATYP 1 IP V4 address\nDST.ADDR 4 0.0.0.0\nDST.PORT 2 0\n"},
    {"reply, IPv6", VD_SAYS_REPLY, BYTES("\5\0\0\4\40\1\15\270\0\0\0\0\0\0\0\0\0\0\0\1\37\220"), 22,
     "VER 1 SOCKS version 5\nREP 1 succeeded\nRSV 1 reserved\nATYP 1 IP V6 address\n"
     "BND.ADDR 16 2001:db8::1\nBND.PORT 2 8080\n"},
    {"reply by name, and more", VD_SAYS_REPLY, BYTES("\5\5\1\3\1a\0\0more"), 8,
     "VER 1 SOCKS version 5\nREP 1 Connection refused\nRSV 1 reserved: 0 belongs here\n"
     "ATYP 1 DOMAINNAME\nBND.ADDR 2 a name of 1 octets, \"a\"\nBND.PORT 2 0\n"
     "(bytes) 4 behind the message\n"},
    {"reply with an empty name", VD_SAYS_REPLY, BYTES("\5\1\0\3\0\0\0"), 7,
     "VER 1 SOCKS version 5\nREP 1 general SOCKS server failure\nRSV 1 reserved\n"
     "ATYP 1 DOMAINNAME\nBND.ADDR 1 a name of 0 octets, \"\"\nBND.PORT 2 0\n"},
    {"reply cut short", VD_SAYS_REPLY, BYTES("\5\2\0\1\300\0"), 0,
     "VER 1 SOCKS version 5\nREP 1 connection not allowed by ruleset\nRSV 1 reserved\n"
     "ATYP 1 IP V4 address\nBND.ADDR 2 cut short\n"},
    {"reply with an unknown type", VD_SAYS_REPLY, BYTES("\5\0\0\7abc"), 0,
     "VER 1 SOCKS version 5\nREP 1 succeeded\nRSV 1 reserved\nATYP 1 7: unassigned\n"
     "BND.ADDR 3 cut short\n"},
    {"CONNECT", VD_SAYS_HTTP_REQUEST,
     BYTES("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n"
           "proxy-authorization: Basic YWxpY2U6c2U6Y3JldA==\r\nX: \1\r\n\r\n"),
     104,
     "request-line 29 a tunnel to a.test:443 (RFC 9110 section 9.3.6)\n"
     "field-line 18 the target again\n"
     "field-line 49 user \"alice\", password \"se:cret\" (RFC 7617)\nfield-line 6 \n"
     "CRLF 2 the head ends\n"},
    {"logins that are none", VD_SAYS_HTTP_REQUEST,
     BYTES("GET\nProxy-Authorization: Basic !\nProxy-Authorization: Digest x\n"
           "Proxy-Authorization:\nno colon\n\n"),
     94,
     "request-line 4 no request-line\nfield-line 29 \nfield-line 30 \nfield-line 21 \n"
     "field-line 9 \nCRLF 1 the head ends\n"},
    {"200", VD_SAYS_HTTP_RESPONSE, BYTES("HTTP/1.0 200 OK\r\nProxy-agent: x\r\n\r\nSSH-2.0"), 35,
     "status-line 17 the tunnel stands\nfield-line 16 what the proxy says it is\n"
     "CRLF 2 the head ends\n(bytes) 7 behind the head\n"},
    {"interim, behind blank lines", VD_SAYS_HTTP_RESPONSE, BYTES("\r\n\nHTTP/1.1 102 x\n\n"), 19,
     "CRLF 2 \nCRLF 1 \nstatus-line 15 interim: another response follows\n"
     "CRLF 1 the head ends\n"},
    {"a portal", VD_SAYS_HTTP_RESPONSE, BYTES("HTTP/1.1 302 Found\r\nLocation: /login\r\n"), 0,
     "status-line 20 sent elsewhere: no tunnel, maybe a captive portal\n"
     "field-line 18 where it is sent to\n"},
    {"no HTTP", VD_SAYS_HTTP_RESPONSE, BYTES("\5\377"), 0, "status-line 2 no HTTP\n"},
    {"a line without an end", VD_SAYS_HTTP_RESPONSE, BYTES("HTTP/1.1 2"), 0,
     "status-line 10 cut short\n"},
    {"more of a head", VD_SAYS_HTTP_MORE, BYTES("Server: x\r\n\r\n"), 13,
     "field-line 11 what the server says it is\nCRLF 2 the head ends\n"},
    {"what is no handshake", VD_SAYS_NOTHING, BYTES("abc"), 0, "(bytes) 3 \n"},
};

static void tell_fields(char *told, size_t cap, enum vd_says says, const uint8_t *data, size_t len)
{
    struct vd_describe d;
    struct vd_field field;
    size_t at = 0, used = 0;

    told[0] = 0;
    vd_describe_start(&d, says, data, len);
    while (vd_describe_next(&d, &field)) {
        if (field.at != at || field.len == 0 || field.len > len - at)
            tap_wrong("%s: %zu bytes at %zu, not at %zu", field.name, field.len, field.at, at);
        at += field.len;
        used += (size_t)snprintf(told + used, used < cap ? cap - used : 0, "%s %zu %s\n",
                                 field.name, field.len, field.meaning);
    }
    if (at != len)
        tap_wrong("%zu of %zu bytes are told", at, len);
}

static void fields(void)
{
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
        const uint8_t *data = guard_put(messages[i].data, messages[i].len);
        size_t length;
        char told[4096];

        tap_begin();
        tell_fields(told, sizeof told, messages[i].says, data, messages[i].len);
        if (strcmp(told, messages[i].told))
            tap_wrong("told:\n%s", told);
        length = vd_says_length(messages[i].says, data, messages[i].len);
        if (length != messages[i].whole)
            tap_wrong("it is %zu bytes long", length);
        for (size_t n = 0; n < messages[i].whole; n++) {
            data = guard_put(messages[i].data, n);
            if (vd_says_length(messages[i].says, data, n))
                tap_wrong("whole with %zu bytes", n);
            tell_fields(told, sizeof told, messages[i].says, data, n);
        }
        tap_end(messages[i].name);
    }
}

/* --- streams --------------------------------------------------------------------------------- */

/* What a server says, and the lengths of the messages that it is cut into. */
static const struct {
    const char *name;
    enum vd_scheme scheme;
    const char *data;
    size_t len;
    const char *cut;
} streams[] = {
    {"SOCKS5 with a login", VD_SOCKS5H, BYTES("\5\2\1\0\5\0\0\1\1\2\3\4\0\1tunnel"), "2 2 10 +6"},
    {"SOCKS5 without", VD_SOCKS5, BYTES("\5\0\5\0\0\3\1a\0\1tunnel"), "2 8 +6"},
    {"SOCKS5 without a method", VD_SOCKS5, BYTES("\5\377more"), "2 +4"},
    {"SOCKS5, login refused", VD_SOCKS5, BYTES("\5\2\1\1more"), "2 2 +4"},
    {"SOCKS5, cut short", VD_SOCKS5, BYTES("\5\0\5\4"), "2 +2"},
    {"SOCKS4", VD_SOCKS4A, BYTES("\0\132\0\1\1\2\3\4tunnel"), "8 +6"},
    {"HTTP", VD_HTTP, BYTES("HTTP/1.1 100 x\r\n\r\nHTTP/1.1 200 y\nA: b\n\ntunnel"), "18 21 +6"},
    {"HTTP on a SOCKS port", VD_SOCKS5H, BYTES("HTTP/1.1 400 x\r\n\r\n"), "+18"},
    {"SOCKS on an HTTP port", VD_HTTP, BYTES("\5\0"), "+2"},
};

static void cut_stream(char *cut, size_t cap, enum vd_scheme scheme, const char *data, size_t len,
                       size_t chunk)
{
    size_t at = 0, used = 0;
    struct vd_follow f;

    cut[0] = 0;
    vd_follow_start(&f, vd_says_first(scheme));
    while (at < len) {
        size_t n = len - at < chunk ? len - at : chunk, took;
        enum vd_says says;
        bool whole;

        took = vd_follow_take(&f, guard_put(data + at, n), n, &whole);
        if (took > n || (took < n && !whole) || (whole && f.told > f.have))
            tap_wrong("took %zu of %zu", took, n);
        at += took;
        if (!whole)
            continue;
        used += (size_t)snprintf(cut + used, cap - used, "%s%u", used ? " " : "", f.told);
        says = vd_says_behind((enum vd_says)f.says, f.data, f.told);
        vd_follow_next(&f, says);
    }
    if (f.have > 0)
        snprintf(cut + used, cap - used, "%s+%u", used ? " " : "", f.have);
}

static void streams_are_cut(void)
{
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        tap_begin();
        for (size_t chunk = 1; chunk <= 32; chunk++) {
            char cut[128];

            cut_stream(cut, sizeof cut, streams[i].scheme, streams[i].data, streams[i].len, chunk);
            if (strcmp(cut, streams[i].cut))
                tap_wrong("chunks of %zu: cut into %s", chunk, cut);
        }
        tap_end(streams[i].name);
    }
}

/* A head of `lines` lines of 99 bytes, then a tunnel's bytes. */
static void long_heads(void)
{
    static char head[16384], line[100];

    memset(line, 'x', 97);
    memcpy(line, "X: ", 3);
    memcpy(line + 97, "\r\n", 3);
    for (size_t lines = 0; lines < 150; lines += 7) {
        size_t len = (size_t)sprintf(head, "HTTP/1.1 200 OK\r\n"), told = 0;

        tap_begin();
        for (size_t i = 0; i < lines; i++)
            len += (size_t)sprintf(head + len, "%s", line);
        len += (size_t)sprintf(head + len, "\r\n");
        for (size_t chunk = 1; chunk < 2000; chunk = chunk * 2 + 1) {
            char cut[256], *at = cut;

            memcpy(head + len, "tunnel", 6);
            cut_stream(cut, sizeof cut, VD_HTTP, head, len + 6, chunk);
            for (told = 0; *at && *at != '+'; at += strspn(at, " "))
                told += strtoul(at, &at, 10);
            if (told != len || strcmp(at, "+6"))
                tap_wrong("chunks of %zu: a head of %zu bytes is cut into %s", chunk, len, cut);
        }
        tap_end("a head longer than can be held ends where it ends");
    }
}

static void a_line_without_end(void)
{
    static char head[5000];
    char cut[128];

    tap_begin();
    memset(head, 'x', sizeof head);
    memcpy(head, "HTTP/1.1 200 ", 13);
    memcpy(head + 1020, "\r\r\r\r\r\n\r\ntunnel", 14); /* around where the buffer is full */
    cut_stream(cut, sizeof cut, VD_HTTP, head, 1034, 500);
    if (strcmp(cut, "1022 6 +6"))
        tap_wrong("cut into %s", cut);
    tap_end("a line longer than can be held");
}

/* --- who says what --------------------------------------------------------------------------- */

static void clients(void)
{
    static const uint8_t five[] = {5, 1}, four[] = {4, 1}, one[] = {1, 1}, get[] = "GET";

    tap_ok(vd_says_of_client(five, 2, true, false) == VD_SAYS_METHODS, "methods come first");
    tap_ok(vd_says_of_client(five, 2, false, true) == VD_SAYS_REQUEST, "then the request");
    tap_ok(vd_says_of_client(one, 2, false, true) == VD_SAYS_LOGIN, "a login that is due");
    tap_ok(vd_says_of_client(one, 2, false, false) == VD_SAYS_NOTHING, "one that is not");
    tap_ok(vd_says_of_client(four, 2, true, false) == VD_SAYS_SOCKS4_REQUEST, "SOCKS4");
    tap_ok(vd_says_of_client(get, 3, true, false) == VD_SAYS_HTTP_REQUEST, "HTTP");
    tap_ok(vd_says_of_client(get, 3, false, false) == VD_SAYS_NOTHING, "bytes of a tunnel");
    tap_ok(vd_says_of_client(get, 0, true, false) == VD_SAYS_NOTHING, "nothing");
    for (int says = 0; says < VD_SAYS_COUNT; says++)
        tap_ok(vd_says_title((enum vd_says)says) && *vd_says_title((enum vd_says)says),
               "message %d has a title", says);
}

int main(void)
{
    fields();
    streams_are_cut();
    long_heads();
    a_line_without_end();
    clients();
    return tap_done();
}
