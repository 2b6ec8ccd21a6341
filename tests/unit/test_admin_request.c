/* Requests for the status page: what is asked for, or the status of the refusal; in pieces, too. */
#include "daemon/admin_request.h"

#include <string.h>

#include "tests/unit/guard.h"
#include "tests/unit/tap.h"

#define HOST      "Host: 127.0.0.1:9180\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\n" HOST "\r\n"
#define FOR(host) "GET / HTTP/1.1\r\nHost: " host "\r\n\r\n"
#define BY(login) "GET / HTTP/1.1\r\n" HOST "Authorization: " login "\r\n\r\n"
#define X64       "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define X512      X64 X64 X64 X64 X64 X64 X64 X64

static const struct row {
    const char *in;
    int status;
    enum admin_what what;
    const char *login;
} rows[] = {
    {GET("/"), 0, ADMIN_PAGE, ""},
    {GET("/?refresh=1"), 0, ADMIN_PAGE, ""},
    {GET("/status.json"), 0, ADMIN_JSON, ""},
    {GET("/metrics"), 0, ADMIN_METRICS, ""},
    {"GET /metrics HTTP/1.0\r\n\r\n", 0, ADMIN_METRICS, ""},
    {GET("/metric"), 404, 0, ""},
    {GET("/metrics2"), 404, 0, ""},
    {GET("/Metrics"), 404, 0, ""},
    {GET("//metrics"), 404, 0, ""},
    {GET("/./metrics"), 404, 0, ""},
    {GET("/@evil/"), 404, 0, ""},
    {GET("/#x"), 400, 0, ""},
    {GET("metrics"), 400, 0, ""},
    {GET("http://127.0.0.1/"), 400, 0, ""},
    {GET("*"), 400, 0, ""},
    {GET(""), 400, 0, ""},
    {"POST / HTTP/1.1\r\n" HOST "\r\n", 405, 0, ""},
    {"gET / HTTP/1.1\r\n" HOST "\r\n", 405, 0, ""},
    {"GETS / HTTP/1.1\r\n" HOST "\r\n", 405, 0, ""},
    {"TRACE / HTTP/1.1\r\n" HOST "\r\n", 400, 0, ""},
    {"G@T / HTTP/1.1\r\n" HOST "\r\n", 400, 0, ""},
    {" / HTTP/1.1\r\n" HOST "\r\n", 400, 0, ""},
    {"GET / HTTP/1.1\r\n\r\n", 400, 0, ""},
    {"GET / HTTP/1.1\r\n" HOST HOST "\r\n", 400, 0, ""},
    {"GET / HTTP/1.1\n" HOST "\n", 400, 0, ""},
    {"GET / HTTP/1.1 \r\n" HOST "\r\n", 400, 0, ""},
    {"GET /\r\n\r\n", 400, 0, ""},
    {"GET / HTTP/3.0\r\n" HOST "\r\n", 505, 0, ""},
    {"GET / HTTP/1.1\r\n" HOST "A : b\r\n\r\n", 400, 0, ""},
    {"GET / HTTP/1.1\r\n" HOST "Transfer-Encoding: \x0b"
     "chunked\r\n\r\n",
     400, 0, ""},
    {FOR("localhost"), 0, ADMIN_PAGE, ""},
    {FOR("LOCALHOST:80"), 0, ADMIN_PAGE, ""},
    {FOR("[::1]:9180"), 0, ADMIN_PAGE, ""},
    {FOR("192.0.2.1"), 0, ADMIN_PAGE, ""},
    {FOR("evil.example"), 421, 0, ""},
    {FOR("localhost.evil.example"), 421, 0, ""},
    {FOR("xlocalhost"), 421, 0, ""},
    {FOR("127.0.0.1.evil"), 421, 0, ""},
    {FOR("0x7f000001"), 421, 0, ""},
    {FOR(""), 421, 0, ""},
    {"GET /nothing HTTP/1.1\r\nHost: evil\r\n\r\n", 421, 0, ""},
    {BY("Basic cm9vdDpzZTpjcmV0"), 0, ADMIN_PAGE, "root:se:cret"},
    {BY("basic  cm9vdDpzZTpjcmV0"), 0, ADMIN_PAGE, "root:se:cret"},
    {BY("Bearer cm9vdDpzZTpjcmV0"), 0, ADMIN_PAGE, ""},
    {BY("Basic cm9vdDpzZTpjcmV0!"), 0, ADMIN_PAGE, ""},
    {BY("Basic YQBi"), 0, ADMIN_PAGE, ""},
    {BY("Basic"), 0, ADMIN_PAGE, ""},
    {BY("Basic " X512 X512), 0, ADMIN_PAGE, ""},
};

static void play(const struct row *row)
{
    size_t len = strlen(row->in);
    struct admin_request r;
    tap_begin();
    for (size_t chunk = 1; chunk <= len; chunk++) {
        size_t searched = 0, end = 0, have = 0;
        while (have < len && end == 0) {
            have = len - have < chunk ? len : have + chunk;
            end = admin_request_end(guard_put(row->in, have), have, &searched);
        }
        if (end != len)
            tap_wrong("chunks of %zu: the end is found at %zu", chunk, end);
    }
    int status = admin_request_read(&r, guard_put(row->in, len), len, false);
    if (status != row->status)
        tap_wrong("status %d instead of %d", status, row->status);
    if (status == 0 && (r.what != row->what || strcmp(r.login, row->login) != 0))
        tap_wrong("%d is asked for, by `%s`", r.what, r.login);
    if (status == 421 && admin_request_read(&r, guard_put(row->in, len), len, true) == 421)
        tap_wrong("the name counts where it should not");
    tap_end(row->in);
}

static void too_long(void)
{
    static uint8_t text[2 * ADMIN_HEAD_MAX];
    size_t searched = 0;
    memset(text, 'x', sizeof text);
    tap_ok(admin_request_end(text, ADMIN_HEAD_MAX - 1, &searched) == 0,
           "a head that may still end");
    tap_ok(admin_request_end(text, ADMIN_HEAD_MAX, &searched) > ADMIN_HEAD_MAX,
           "one that is too long");
    memcpy(text + ADMIN_HEAD_MAX - 4, "\r\n\r\n", 4);
    searched = 0;
    tap_ok(admin_request_end(text, sizeof text, &searched) == ADMIN_HEAD_MAX, "the longest");
    memcpy(text + ADMIN_HEAD_MAX - 3, "\r\n\r\n", 4);
    searched = 0;
    tap_ok(admin_request_end(text, sizeof text, &searched) > sizeof text, "one byte more");
}

int main(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        play(&rows[i]);
    too_long();
    return tap_done();
}
