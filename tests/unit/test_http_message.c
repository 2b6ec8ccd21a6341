/* proto/http_message: a head that comes in, and the head that goes out, or the fault. */
#include "proto/http_message.h"

#include <string.h>

#include "tests/unit/guard.h"
#include "tests/unit/tap.h"

#define BYTES(s) s, sizeof(s) - 1

enum { ROOM = 1 << 17 };

struct row {
    const char *name;
    const char *in;
    size_t in_len;
    const char *out; /* NULL: a fault */
    enum vd_http_fault fault;
};

#define GET(fields)   "GET http://a.b/x HTTP/1.1\r\n" fields "\r\n"
#define SENT(fields)  "GET /x HTTP/1.1\r\nHost: a.b\r\n" fields
#define VIA           "Via: 1.1 viaductd\r\n"
#define FAULT(reason) NULL, VD_HTTP_##reason
#define BAD           FAULT(BAD_FORM)
#define POST(fields)  "POST http://a.b/x HTTP/1.1\r\nHost: a.b\r\n" fields "\r\n"
#define POSTED(rest)  "POST /x HTTP/1.1\r\nHost: a.b\r\n" rest "\r\n"

static const struct row requests[] = {
    {"GET", BYTES(GET("Host: a.b\r\nAccept: */*\r\n")), SENT("Accept: */*\r\n" VIA "\r\n"), 0},
    {"HTTP/1.0", BYTES("GET http://a.b/x HTTP/1.0\r\n\r\n"),
     SENT("Via: 1.0 viaductd\r\nConnection: close\r\n\r\n"), 0},
    {"HTTP/1.0 that would keep the connection",
     BYTES("GET http://a.b/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
     SENT("Via: 1.0 viaductd\r\nConnection: close\r\n\r\n"), 0},
    {"HTTP/1.2 is read as 1.1", BYTES("GET http://a.b/x HTTP/1.2\r\nHost: a.b\r\n\r\n"),
     SENT(VIA "\r\n"), 0},
    {"the URL decides, Host never", BYTES(GET("Host: evil.example\r\n")), SENT(VIA "\r\n"), 0},
    {"a scheme in upper case, a port, a query",
     BYTES("GET HTTP://A.b:8080?q=http://x/ HTTP/1.1\r\nHost: y\r\n\r\n"),
     "GET /?q=http://x/ HTTP/1.1\r\nHost: A.b:8080\r\n" VIA "\r\n", 0},
    {"no path", BYTES("GET http://a.b HTTP/1.1\r\nHost: a.b\r\n\r\n"),
     "GET / HTTP/1.1\r\nHost: a.b\r\n" VIA "\r\n", 0},
    {"an empty port", BYTES("GET http://a.b:/ HTTP/1.1\r\nHost: a.b\r\n\r\n"),
     "GET / HTTP/1.1\r\nHost: a.b\r\n" VIA "\r\n", 0},
    {"IPv6", BYTES("GET http://[2001:db8::1]:81/ HTTP/1.1\r\nHost: a.b\r\n\r\n"),
     "GET / HTTP/1.1\r\nHost: [2001:db8::1]:81\r\n" VIA "\r\n", 0},
    {"OPTIONS of a server", BYTES("OPTIONS http://a.b HTTP/1.1\r\nHost: a.b\r\n\r\n"),
     "OPTIONS * HTTP/1.1\r\nHost: a.b\r\n" VIA "\r\n", 0},
    {"OPTIONS of the root", BYTES("OPTIONS http://a.b/ HTTP/1.1\r\nHost: a.b\r\n\r\n"),
     "OPTIONS / HTTP/1.1\r\nHost: a.b\r\n" VIA "\r\n", 0},
    {"a method that is not known", BYTES("BREW http://a.b/pot HTTP/1.1\r\nHost: a.b\r\n\r\n"),
     "BREW /pot HTTP/1.1\r\nHost: a.b\r\n" VIA "\r\n", 0},
    {"fields for this hop stay behind",
     BYTES(GET("Host: a.b\r\nProxy-Connection: Keep-Alive\r\nKeep-Alive: 5\r\nUpgrade: h2c\r\n"
               "Proxy-Authorization: Basic eDp5\r\nA: b\r\nproxy-authenticate: x\r\n")),
     SENT("A: b\r\n" VIA "\r\n"), 0},
    {"so do those that Connection names",
     BYTES(GET("X-One: 1\r\nConnection: x-ONE , ,Upgrade\r\nHost: a.b\r\nX-Two: 2\r\nX-On: 3\r\n"
               "Connection: X-Two\r\n")),
     SENT("X-On: 3\r\n" VIA "\r\n"), 0},
    {"Connection: close", BYTES(GET("Host: a.b\r\nConnection: CLOSE\r\n")),
     SENT(VIA "Connection: close\r\n\r\n"), 0},
    {"Connection cannot name the framing away",
     BYTES(POST("Connection: Content-Length, Host\r\nContent-Length: 3\r\n")),
     POSTED(VIA "Content-Length: 3\r\n"), 0},
    {"a Via before ours", BYTES(GET("Host: a.b\r\nVia: 1.0 other\r\n")),
     SENT("Via: 1.0 other\r\n" VIA "\r\n"), 0},
    {"blanks around values", BYTES(GET("Host:\t a.b \r\nA:b\r\nC: \t\r\n")),
     SENT("A: b\r\nC: \r\n" VIA "\r\n"), 0},
    {"bytes above 127", BYTES(GET("Host: a.b\r\nA: \xc3\xa9\xff\r\n")),
     SENT("A: \xc3\xa9\xff\r\n" VIA "\r\n"), 0},
    {"a length", BYTES(POST("Content-Length: 10\r\n")), POSTED(VIA "Content-Length: 10\r\n"), 0},
    {"the length 0", BYTES(POST("Content-Length: 0\r\n")), POSTED(VIA "Content-Length: 0\r\n"), 0},
    {"a length with zeros", BYTES(POST("Content-Length: 0010\r\n")),
     POSTED(VIA "Content-Length: 10\r\n"), 0},
    {"the longest length", BYTES(POST("Content-Length: 999999999999999999\r\n")),
     POSTED(VIA "Content-Length: 999999999999999999\r\n"), 0},
    {"chunks", BYTES(POST("transfer-encoding:\tChunked\r\n")),
     POSTED(VIA "Transfer-Encoding: chunked\r\n"), 0},
    {"100-continue is passed on", BYTES(POST("Expect: 100-continue\r\nContent-Length: 1\r\n")),
     POSTED("Expect: 100-continue\r\n" VIA "Content-Length: 1\r\n"), 0},
    {"TE: trailers", BYTES(GET("Host: a.b\r\nTE: gzip, trailers\r\nConnection: TE\r\n")),
     SENT(VIA "TE: trailers\r\nConnection: TE\r\n\r\n"), 0},
    {"TE: trailers, on the last request",
     BYTES(GET("Host: a.b\r\nTE: trailers\r\nConnection: TE, close\r\n")),
     SENT(VIA "TE: trailers\r\nConnection: TE, close\r\n\r\n"), 0},
    {"Max-Forwards goes down",
     BYTES("OPTIONS http://a.b/ HTTP/1.1\r\nHost: a.b\r\n"
           "Max-Forwards: 2\r\n\r\n"),
     "OPTIONS / HTTP/1.1\r\nHost: a.b\r\n" VIA "Max-Forwards: 1\r\n\r\n", 0},

    {"Max-Forwards: 0",
     BYTES("OPTIONS http://a.b/ HTTP/1.1\r\nHost: a.b\r\n"
           "Max-Forwards: 0\r\n\r\n"),
     FAULT(FOR_PROXY)},
    {"OPTIONS of the proxy", BYTES("OPTIONS * HTTP/1.1\r\nHost: a.b\r\n\r\n"), FAULT(FOR_PROXY)},
    {"GET of the proxy", BYTES("GET * HTTP/1.1\r\nHost: a.b\r\n\r\n"), FAULT(NOT_A_SERVER)},
    {"OPTIONS of a path", BYTES("OPTIONS /x HTTP/1.1\r\nHost: a.b\r\n\r\n"), FAULT(NOT_A_SERVER)},
    {"TRACE", BYTES("TRACE http://a.b/ HTTP/1.1\r\nHost: a.b\r\n\r\n"), FAULT(NO_METHOD)},
    {"a path", BYTES("GET / HTTP/1.1\r\nHost: a.b\r\n\r\n"), FAULT(NOT_A_SERVER)},
    {"a host alone", BYTES("GET a.b:80 HTTP/1.1\r\nHost: a.b\r\n\r\n"), FAULT(NOT_A_SERVER)},
    {"http: without slashes", BYTES("GET http:a.b HTTP/1.1\r\nHost: a.b\r\n\r\n"),
     FAULT(NOT_A_SERVER)},
    {"https", BYTES("GET https://a.b/ HTTP/1.1\r\nHost: a.b\r\n\r\n"), FAULT(NEEDS_CONNECT)},
    {"ftp", BYTES("GET FTP://a.b/ HTTP/1.0\r\n\r\n"), FAULT(NEEDS_CONNECT)},
    {"HTTP/2", BYTES("PRI * HTTP/2.0\r\n\r\n"), FAULT(NO_VERSION)},
    {"HTTP/0.9", BYTES("GET http://a.b/ HTTP/0.9\r\n\r\n"), FAULT(NO_VERSION)},
    {"no host in the URL", BYTES("GET http:///x HTTP/1.1\r\nHost: a.b\r\n\r\n"), FAULT(BAD_URL)},
    {"a user in the URL", BYTES("GET http://u:p@a.b/ HTTP/1.1\r\nHost: a.b\r\n\r\n"),
     FAULT(BAD_URL)},
    {"a backslash in the URL", BYTES("GET http://a.b\\@c.d/ HTTP/1.1\r\nHost: a.b\r\n\r\n"),
     FAULT(BAD_URL)},
    {"a fragment", BYTES("GET http://a.b/#x HTTP/1.1\r\nHost: a.b\r\n\r\n"), FAULT(BAD_URL)},
    {"port 0", BYTES("GET http://a.b:0/ HTTP/1.1\r\nHost: a.b\r\n\r\n"), FAULT(BAD_URL)},
    {"a port that wraps", BYTES("GET http://a.b:65616/ HTTP/1.1\r\nHost: a.b\r\n\r\n"),
     FAULT(BAD_URL)},
    {"IPv6 without brackets", BYTES("GET http://2001:db8::1/ HTTP/1.1\r\nHost: a.b\r\n\r\n"),
     FAULT(BAD_URL)},
    {"a NUL in the host", BYTES("GET http://a\0.b/ HTTP/1.1\r\nHost: a.b\r\n\r\n"), BAD},
    {"no Host", BYTES(GET("A: b\r\n")), FAULT(NO_HOST)},
    {"two Hosts", BYTES(GET("Host: a.b\r\nHost: a.b\r\n")), BAD},
    {"a space in Host", BYTES(GET("Host: a b\r\n")), BAD},
    {"a length and chunks", BYTES(POST("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n")),
     BAD},
    {"chunks and a length", BYTES(POST("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n")),
     BAD},
    {"two lengths", BYTES(POST("Content-Length: 3\r\nContent-Length: 4\r\n")), BAD},
    {"the same length twice", BYTES(POST("Content-Length: 3\r\nContent-Length: 3\r\n")), BAD},
    {"a list of lengths", BYTES(POST("Content-Length: 3, 3\r\n")), BAD},
    {"a length with a sign", BYTES(POST("Content-Length: +3\r\n")), BAD},
    {"a negative length", BYTES(POST("Content-Length: -3\r\n")), BAD},
    {"a length in hexadecimal", BYTES(POST("Content-Length: 0x3\r\n")), BAD},
    {"an empty length", BYTES(POST("Content-Length:\r\n")), BAD},
    {"a length that wraps", BYTES(POST("Content-Length: 18446744073709551619\r\n")), BAD},
    {"a length of 19 digits", BYTES(POST("Content-Length: 1000000000000000000\r\n")), BAD},
    {"chunks with a control byte",
     BYTES(POST("Transfer-Encoding: \x0b"
                "chunked\r\n")),
     BAD},
    {"chunks, twice", BYTES(POST("Transfer-Encoding: chunked, chunked\r\n")), BAD},
    {"chunks in two fields",
     BYTES(POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")), BAD},
    {"chunks that are not the last coding", BYTES(POST("Transfer-Encoding: chunked, gzip\r\n")),
     BAD},
    {"a coding without chunks", BYTES(POST("Transfer-Encoding: gzip\r\n")), BAD},
    {"the coding identity", BYTES(POST("Transfer-Encoding: identity\r\n")), BAD},
    {"an empty coding", BYTES(POST("Transfer-Encoding: ,\r\n")), BAD},
    {"chunks with a parameter", BYTES(POST("Transfer-Encoding: chunked;x\r\n")), BAD},
    {"chunks in quotes", BYTES(POST("Transfer-Encoding: \"chunked\"\r\n")), BAD},
    {"another coding in chunks", BYTES(POST("Transfer-Encoding: gzip, chunked\r\n")),
     FAULT(NO_CODING)},
    {"chunks from HTTP/1.0",
     BYTES("POST http://a.b/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), BAD},
    {"a folded line", BYTES(GET("Host: a.b\r\nA: b\r\n c\r\n")), BAD},
    {"a folded line with a tab", BYTES(GET("Host: a.b\r\nA: b\r\n\tContent-Length: 3\r\n")), BAD},
    {"a fold behind the request line", BYTES(GET(" A: b\r\nHost: a.b\r\n")), BAD},
    {"a space before the colon", BYTES(POST("Content-Length : 3\r\n")), BAD},
    {"a field without name", BYTES(GET("Host: a.b\r\n: x\r\n")), BAD},
    {"a field without colon", BYTES(GET("Host: a.b\r\nnonsense\r\n")), BAD},
    {"a bare LF behind a field", BYTES(GET("Host: a.b\nA: b\r\n")), BAD},
    {"a bare LF behind the request line", BYTES("GET http://a.b/x HTTP/1.1\nHost: a.b\r\n\r\n"),
     BAD},
    {"a bare LF at the end", BYTES("GET http://a.b/x HTTP/1.1\r\nHost: a.b\r\n\n"), BAD},
    {"bare LFs", BYTES("GET http://a.b/x HTTP/1.1\nHost: a.b\n\n"), BAD},
    {"a bare CR", BYTES(GET("Host: a.b\r\nA: b\rContent-Length: 3\r\n")), BAD},
    {"two CRs", BYTES(GET("Host: a.b\r\r\n")), BAD},
    {"a NUL in a field", BYTES(GET("Host: a.b\r\nA: b\0c\r\n")), BAD},
    {"a control byte in a field", BYTES(GET("Host: a.b\r\nA: \x1b[m\r\n")), BAD},
    {"a DEL in a field", BYTES(GET("Host: a.b\r\nA: \x7f\r\n")), BAD},
    {"two logins",
     BYTES(GET("Host: a.b\r\nProxy-Authorization: Basic eDp5\r\n"
               "Proxy-Authorization: Basic eDp5\r\n")),
     BAD},
    {"Connection with what is no token", BYTES(GET("Host: a.b\r\nConnection: a b\r\n")), BAD},
    {"Max-Forwards of letters", BYTES(GET("Host: a.b\r\nMax-Forwards: x\r\n")), BAD},
    {"Max-Forwards, twice", BYTES(GET("Host: a.b\r\nMax-Forwards: 1\r\nMax-Forwards: 1\r\n")), BAD},
    {"a tab between", BYTES("GET\thttp://a.b/ HTTP/1.1\r\nHost: a.b\r\n\r\n"), BAD},
    {"two spaces", BYTES("GET  http://a.b/ HTTP/1.1\r\nHost: a.b\r\n\r\n"), BAD},
    {"a space in the URL", BYTES("GET http://a.b/x y HTTP/1.1\r\nHost: a.b\r\n\r\n"), BAD},
    {"a tab in the URL", BYTES("GET http://a.b/x\ty HTTP/1.1\r\nHost: a.b\r\n\r\n"), BAD},
    {"a space at the end of the line", BYTES("GET http://a.b/ HTTP/1.1 \r\nHost: a.b\r\n\r\n"),
     BAD},
    {"no version", BYTES("GET http://a.b/\r\nHost: a.b\r\n\r\n"), BAD},
    {"a lower case version", BYTES("GET http://a.b/ http/1.1\r\nHost: a.b\r\n\r\n"), BAD},
    {"a method that is no token", BYTES("G(T http://a.b/ HTTP/1.1\r\nHost: a.b\r\n\r\n"), BAD},
    {"no method", BYTES(" http://a.b/ HTTP/1.1\r\nHost: a.b\r\n\r\n"), BAD},
};

#define OK(fields) "HTTP/1.1 200 OK\r\n" fields "\r\n"

static const struct row responses[] = {
    {"a length", BYTES(OK("Content-Length: 5\r\nA: b\r\n")),
     OK("A: b\r\n" VIA "Content-Length: 5\r\n"), 0},
    {"chunks", BYTES(OK("Transfer-Encoding: chunked\r\n")),
     OK(VIA "Transfer-Encoding: chunked\r\n"), 0},
    {"until the end", BYTES(OK("A: b\r\n")), OK("A: b\r\n" VIA), 0},
    {"HTTP/1.0", BYTES("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n"),
     OK("Via: 1.0 viaductd\r\nContent-Length: 5\r\n"), 0},
    {"no phrase", BYTES("HTTP/1.1 204 \r\n\r\n"), "HTTP/1.1 204 \r\n" VIA "\r\n", 0},
    {"not even its space", BYTES("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
     "HTTP/1.1 200 \r\n" VIA "Content-Length: 0\r\n\r\n", 0},
    {"a phrase of several words", BYTES("HTTP/1.1 404 Not Found \xe9\r\nContent-Length: 0\r\n\r\n"),
     "HTTP/1.1 404 Not Found \xe9\r\n" VIA "Content-Length: 0\r\n\r\n", 0},
    {"an unknown status", BYTES("HTTP/1.1 799 X\r\nContent-Length: 0\r\n\r\n"),
     "HTTP/1.1 799 X\r\n" VIA "Content-Length: 0\r\n\r\n", 0},
    {"bare LFs", BYTES("HTTP/1.1 200 OK\nContent-Length: 5\nA: b\n\n"),
     OK("A: b\r\n" VIA "Content-Length: 5\r\n"), 0},
    {"the same length twice", BYTES(OK("Content-Length: 5\r\nContent-Length: 5\r\n")),
     OK(VIA "Content-Length: 5\r\n"), 0},
    {"fields for this hop stay behind",
     BYTES(OK("Connection: X-One, close\r\nX-One: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2\r\n"
              "Proxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n")),
     OK(VIA "Content-Length: 0\r\n"), 0},
    {"204 has no length", BYTES("HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n"),
     "HTTP/1.1 204 No\r\n" VIA "\r\n", 0},
    {"304 may tell a length", BYTES("HTTP/1.1 304 No\r\nContent-Length: 5\r\nETag: x\r\n\r\n"),
     "HTTP/1.1 304 No\r\nETag: x\r\n" VIA "Content-Length: 5\r\n\r\n", 0},
    {"100", BYTES("HTTP/1.1 100 Continue\r\n\r\n"), "HTTP/1.1 100 Continue\r\n" VIA "\r\n", 0},
    {"103", BYTES("HTTP/1.1 103 Early\r\nLink: x\r\n\r\n"),
     "HTTP/1.1 103 Early\r\nLink: x\r\n" VIA "\r\n", 0},

    {"101", BYTES("HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n"), FAULT(UPGRADED)},
    {"no HTTP", BYTES("SSH-2.0-OpenSSH_9.2\r\n\r\n"), FAULT(BAD_RESPONSE)},
    {"ICY", BYTES("ICY 200 OK\r\n\r\n"), FAULT(BAD_RESPONSE)},
    {"HTTP/2", BYTES("HTTP/2 200 OK\r\n\r\n"), FAULT(BAD_RESPONSE)},
    {"HTTP/3.0", BYTES("HTTP/3.0 200 OK\r\n\r\n"), FAULT(BAD_RESPONSE)},
    {"a status of two digits", BYTES("HTTP/1.1 20 OK\r\n\r\n"), FAULT(BAD_RESPONSE)},
    {"a status of four digits", BYTES("HTTP/1.1 2000 OK\r\n\r\n"), FAULT(BAD_RESPONSE)},
    {"a status below 100", BYTES("HTTP/1.1 099 OK\r\n\r\n"), FAULT(BAD_RESPONSE)},
    {"a status of letters", BYTES("HTTP/1.1 2xx OK\r\n\r\n"), FAULT(BAD_RESPONSE)},
    {"two spaces before the status", BYTES("HTTP/1.1  200 OK\r\n\r\n"), FAULT(BAD_RESPONSE)},
    {"a NUL in the phrase", BYTES("HTTP/1.1 200 O\0K\r\n\r\n"), FAULT(BAD_RESPONSE)},
    {"a length and chunks", BYTES(OK("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n")),
     FAULT(BAD_RESPONSE)},
    {"two lengths", BYTES(OK("Content-Length: 3\r\nContent-Length: 4\r\n")), FAULT(BAD_RESPONSE)},
    {"a bad length", BYTES(OK("Content-Length: x\r\n")), FAULT(BAD_RESPONSE)},
    {"another coding", BYTES(OK("Transfer-Encoding: gzip, chunked\r\n")), FAULT(BAD_RESPONSE)},
    {"no chunks", BYTES(OK("Transfer-Encoding: gzip\r\n")), FAULT(BAD_RESPONSE)},
    {"chunks from HTTP/1.0", BYTES("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
     FAULT(BAD_RESPONSE)},
    {"a folded line", BYTES(OK("A: b\r\n c\r\n")), FAULT(BAD_RESPONSE)},
    {"a space before the colon", BYTES(OK("Content-Length : 3\r\n")), FAULT(BAD_RESPONSE)},
    {"a bare CR", BYTES(OK("A: b\rC: d\r\n")), FAULT(BAD_RESPONSE)},
    {"a NUL in a field", BYTES(OK("A: b\0c\r\n")), FAULT(BAD_RESPONSE)},
};

static enum vd_http_fault read_head(const struct row *row, bool response, struct vd_http_head *head)
{
    const uint8_t *in = guard_put(row->in, row->in_len);

    return response ? vd_http_read_response(head, in, row->in_len, false)
                    : vd_http_read_request(head, in, row->in_len);
}

static void check_written(const struct row *row, bool response, const struct vd_http_head *head)
{
    static uint8_t text[ROOM];
    struct vd_out out = vd_out_over(text, sizeof text);

    if (response)
        vd_http_write_response(&out, head, (enum vd_http_framing)head->framing, false);
    else
        vd_http_write_request(&out, head, head->last);
    if (out.len != strlen(row->out) || memcmp(text, row->out, out.len))
        tap_wrong("wrote %.*s", (int)out.len, text);
    if (out.len > row->in_len + VD_HTTP_GROWS)
        tap_wrong("it grew by too much");
}

/* Whole, and told so at no split before. */
static void check_end(const struct row *row)
{
    size_t searched = 0, end = 0;

    for (size_t len = 0; len <= row->in_len && end == 0; len++) {
        end = vd_http_head_end(guard_put(row->in, len), len, &searched);
        if (end > 0 && end != row->in_len)
            tap_wrong("it ends at %zu of %zu", end, row->in_len);
    }
    searched = 0;
    if (end == 0 || vd_http_head_end(guard_put(row->in, end), end, &searched) != end)
        tap_wrong("in one piece and byte by byte it ends elsewhere");
}

static void play(const struct row *row, bool response)
{
    struct vd_http_head head;
    enum vd_http_fault fault;

    tap_begin();
    check_end(row);
    fault = read_head(row, response, &head);
    if (fault != row->fault)
        tap_wrong("fault %d instead of %d", fault, row->fault);
    else if (row->out)
        check_written(row, response, &head);
    tap_end(row->name);
}

/* --- what the rows do not tell --- */

static void framings(void)
{
    static const struct {
        const char *in;
        bool to_head, last;
        enum vd_http_framing framing;
        uint64_t length;
    } rows[] = {
        {OK("Content-Length: 5\r\n"), false, false, VD_HTTP_LENGTH, 5},
        {OK("Content-Length: 5\r\n"), true, false, VD_HTTP_NO_BODY, 5},
        {OK("Transfer-Encoding: chunked\r\n"), false, false, VD_HTTP_CHUNKED, 0},
        {OK("Transfer-Encoding: chunked\r\n"), true, false, VD_HTTP_NO_BODY, 0},
        {OK(""), false, false, VD_HTTP_UNTIL_CLOSE, 0},
        {OK("Connection: close\r\n"), true, true, VD_HTTP_NO_BODY, 0},
        {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", false, true, VD_HTTP_UNTIL_CLOSE, 0},
        {"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", false, false, VD_HTTP_NO_BODY, 5},
        {"HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n", false, false, VD_HTTP_NO_BODY, 0},
        {"HTTP/1.1 100 Go\r\nContent-Length: 5\r\n\r\n", false, false, VD_HTTP_NO_BODY, 5},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct vd_http_head h;
        size_t len = strlen(rows[i].in);

        vd_http_read_response(&h, guard_put(rows[i].in, len), len, rows[i].to_head);
        tap_ok(h.framing == rows[i].framing && h.length == rows[i].length && h.last == rows[i].last,
               "framing %d of a response%s", rows[i].framing, rows[i].to_head ? " to HEAD" : "");
    }
}

/* What HEAD is told of a length; and that nothing is told of chunks that do not come. */
static void answers_to_head(void)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        {OK("Content-Length: 5\r\n"), OK(VIA "Content-Length: 5\r\n")},
        {OK("Transfer-Encoding: chunked\r\n"), OK(VIA)},
        {OK("A: b\r\n"), OK("A: b\r\n" VIA)},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t text[256];
        struct vd_out out = vd_out_over(text, sizeof text);
        struct vd_http_head h;
        size_t len = strlen(rows[i].in);

        vd_http_read_response(&h, guard_put(rows[i].in, len), len, true);
        vd_http_write_response(&out, &h, VD_HTTP_NO_BODY, false);
        tap_ok(out.len == strlen(rows[i].out) && !memcmp(text, rows[i].out, out.len),
               "to HEAD: %.40s", rows[i].in + strlen("HTTP/1.1 200 OK\r\n"));
    }
}

static void repeatable(void)
{
    static const struct {
        const char *in;
        bool is;
    } rows[] = {
        {"GET http://a/ HTTP/1.0\r\n\r\n", true},
        {"HEAD http://a/ HTTP/1.0\r\n\r\n", true},
        {"DELETE http://a/ HTTP/1.0\r\n\r\n", true},
        {"PUT http://a/ HTTP/1.0\r\nContent-Length: 0\r\n\r\n", true},
        {"PUT http://a/ HTTP/1.0\r\nContent-Length: 1\r\n\r\n", false},
        {"POST http://a/ HTTP/1.0\r\nContent-Length: 0\r\n\r\n", false},
        {"get http://a/ HTTP/1.0\r\n\r\n", false},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct vd_http_head h;
        size_t len = strlen(rows[i].in);
        enum vd_http_fault fault = vd_http_read_request(&h, guard_put(rows[i].in, len), len);

        tap_ok(fault == VD_HTTP_GOOD && vd_http_is_repeatable(&h) == rows[i].is, "repeatable: %.9s",
               rows[i].in);
    }
}

/* `count` fields, or as many members of Connection. */
static void many(unsigned count, bool members, enum vd_http_fault want)
{
    static uint8_t text[ROOM], written[ROOM];
    struct vd_out out = vd_out_over(text, sizeof text), to = vd_out_over(written, sizeof written);
    struct vd_http_head h;

    vd_out_text(&out, "GET http://a/ HTTP/1.0\r\n");
    vd_out_text(&out, members ? "Connection: x" : "A:b\r\n");
    for (unsigned i = 1; i < count; i++)
        vd_out_text(&out, members ? ",x" : "A:b\r\n");
    vd_out_text(&out, members ? "\r\n\r\n" : "\r\n");
    tap_begin();
    enum vd_http_fault fault = vd_http_read_request(&h, guard_put(text, out.len), out.len);
    if (fault != want)
        tap_wrong("fault %d", fault);
    if (fault == VD_HTTP_GOOD)
        vd_http_write_request(&to, &h, true);
    if (to.len > out.len + VD_HTTP_GROWS)
        tap_wrong("it grew by %zu", to.len - out.len);
    tap_end(members ? "members of Connection" : "fields");
}

/* As soon as the first line is there, and not before. */
static void first_lines(void)
{
    static const struct {
        const char *in;
        enum vd_http_fault fault;
    } lines[] = {
        {"GET http://a/ HTTP/1.1\r\nHo", VD_HTTP_GOOD},
        {"OPTIONS * HTTP/1.1\r\n", VD_HTTP_GOOD},
        {"GET / HTTP/1.1\r\n", VD_HTTP_NOT_A_SERVER},
        {"PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\n", VD_HTTP_BAD_FORM},
        {"GET http://a/ HTTP/1.1\n", VD_HTTP_BAD_FORM},
        {"EHLO mail\r\n", VD_HTTP_BAD_FORM},
    };

    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        size_t len = strlen(lines[i].in), line = strcspn(lines[i].in, "\n");

        tap_ok(vd_http_judge_line(guard_put(lines[i].in, len), len) == lines[i].fault &&
                   vd_http_judge_line(guard_put(lines[i].in, line), line) == VD_HTTP_GOOD,
               "the first line %.16s", lines[i].in);
    }
}

static void blank_lines(void)
{
    tap_ok(vd_http_blank(guard_put("\r\n\r\nGET", 7), 7) == 4, "blank lines before a request");
    tap_ok(vd_http_blank(guard_put("\r", 1), 1) == 0 &&
               vd_http_blank(guard_put("\n\r\n", 3), 3) == 0,
           "what is no blank line");
}

int main(void)
{
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
        play(&requests[i], false);
    for (size_t i = 0; i < sizeof responses / sizeof *responses; i++)
        play(&responses[i], true);
    framings();
    answers_to_head();
    repeatable();
    many(VD_HTTP_FIELDS_MAX, false, VD_HTTP_GOOD);
    many(VD_HTTP_FIELDS_MAX + 1, false, VD_HTTP_LONG_HEAD);
    many(VD_HTTP_OPTIONS_MAX, true, VD_HTTP_GOOD);
    many(VD_HTTP_OPTIONS_MAX + 1, true, VD_HTTP_LONG_HEAD);
    first_lines();
    blank_lines();
    return tap_done();
}
