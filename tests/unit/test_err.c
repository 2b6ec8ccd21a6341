/* proto/err: every reason has an errno, codes and words, and the codes lead back. */
#include "proto/err.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/tap.h"

/* The errno of each reason as the manual says, and what a server answers. */
static const struct {
    enum vd_err err;
    int number;
    uint8_t socks5, socks4;
    uint16_t http;
} rows[] = {
    {VD_OK, 0, 0, 90, 200},
    {VD_ERR_REFUSED, ECONNREFUSED, 5, 91, 502},
    {VD_ERR_NET, ENETUNREACH, 3, 91, 502},
    {VD_ERR_HOST, EHOSTUNREACH, 4, 91, 502},
    {VD_ERR_NAME, EHOSTUNREACH, 4, 91, 502},
    {VD_ERR_TTL, ETIMEDOUT, 6, 91, 504},
    {VD_ERR_TARGET_RESET, ECONNREFUSED, 5, 91, 502},
    {VD_ERR_DENIED, EACCES, 2, 91, 403},
    {VD_ERR_LOGIN, EACCES, 2, 91, 407},
    {VD_ERR_METHOD, EACCES, 2, 91, 407},
    {VD_ERR_IDENT, EACCES, 2, 92, 403},
    {VD_ERR_IDENT_USER, EACCES, 2, 93, 403},
    {VD_ERR_COMMAND, EOPNOTSUPP, 7, 91, 501},
    {VD_ERR_ADDRESS_TYPE, EAFNOSUPPORT, 8, 91, 501},
    {VD_ERR_FAILED, ECONNREFUSED, 1, 91, 502},
    {VD_ERR_BUSY, ECONNREFUSED, 1, 91, 503},
    {VD_ERR_LIMIT, EACCES, 2, 91, 429},
    {VD_ERR_UNREACHABLE, ENETUNREACH, 1, 91, 502},
    {VD_ERR_CLOSED, ENETUNREACH, 1, 91, 502},
    {VD_ERR_RESET, ENETUNREACH, 1, 91, 502},
    {VD_ERR_PROTOCOL, ENETUNREACH, 1, 91, 400},
    {VD_ERR_TOO_LONG, ENETUNREACH, 1, 91, 431},
    {VD_ERR_SILENT, ETIMEDOUT, 6, 91, 504},
    {VD_ERR_TLS, ENETUNREACH, 1, 91, 502},
    {VD_ERR_CERTIFICATE, ENETUNREACH, 1, 91, 502},
    {VD_ERR_NAME_FORM, EHOSTUNREACH, 1, 91, 400},
    {VD_ERR_UNSUPPORTED, EOPNOTSUPP, 7, 91, 501},
    {VD_ERR_RULE, EACCES, 2, 91, 403},
    {VD_ERR_SPACE, ENOBUFS, 1, 91, 500},
};

_Static_assert(sizeof rows / sizeof *rows == VD_ERR_COUNT, "a row for every reason");

static void one(size_t i)
{
    int err = rows[i].err;
    char name[32];

    tap_begin();
    if ((size_t)err != i)
        tap_wrong("rows out of order");
    if (vd_err_errno(err) != rows[i].number || vd_err_errno(-err) != rows[i].number)
        tap_wrong("errno %d", vd_err_errno(err));
    if (vd_err_socks5(err) != rows[i].socks5 || vd_err_socks5(-err) != rows[i].socks5)
        tap_wrong("SOCKS5 %d", vd_err_socks5(err));
    if (vd_err_socks4(err) != rows[i].socks4 || vd_err_socks4(-err) != rows[i].socks4)
        tap_wrong("SOCKS4 %d", vd_err_socks4(err));
    if (vd_err_http(err) != rows[i].http || vd_err_http(-err) != rows[i].http)
        tap_wrong("HTTP %d", vd_err_http(err));
    if (strlen(vd_err_words(err)) < 4 || vd_err_words(err) != vd_err_words(-err))
        tap_wrong("words");
    if ((err != VD_OK) != (strlen(vd_err_proxy_status(err)) > 0))
        tap_wrong("Proxy-Status");
    snprintf(name, sizeof name, "reason %d", err);
    tap_end(name);
}

static void words_differ(void)
{
    tap_begin();
    for (int a = 0; a < VD_ERR_COUNT; a++)
        for (int b = a + 1; b < VD_ERR_COUNT; b++)
            if (!strcmp(vd_err_words(a), vd_err_words(b)))
                tap_wrong("%d and %d have the same words", a, b);
    tap_end("no two reasons have the same words");
}

/* What a server says for a reason of the far end, a client must read as the same errno. */
static void roundtrips(void)
{
    for (int err = VD_ERR_REFUSED; err <= VD_ERR_DENIED; err++) {
        const char *token = vd_err_proxy_status(err);
        int by_socks5 = vd_err_of_socks5(vd_err_socks5(err));
        int by_token = vd_err_of_proxy_status(token, (uint8_t)strlen(token));

        tap_ok(vd_err_errno(by_socks5) == vd_err_errno(err), "reason %d by SOCKS5", err);
        if (err != VD_ERR_DENIED)
            tap_ok(vd_err_errno(by_token) == vd_err_errno(err), "reason %d by Proxy-Status", err);
    }
    tap_ok(vd_err_of_http(vd_err_http(VD_ERR_DENIED)) == VD_ERR_DENIED, "denied by HTTP");
    tap_ok(vd_err_of_http(vd_err_http(VD_ERR_LOGIN)) == VD_ERR_LOGIN, "login by HTTP");
    tap_ok(vd_err_of_http(vd_err_http(VD_ERR_TTL)) == VD_ERR_TTL, "timeout by HTTP");
}

static void readings(void)
{
    static const enum vd_err socks5[] = {VD_OK,      VD_ERR_FAILED,  VD_ERR_DENIED,
                                         VD_ERR_NET, VD_ERR_HOST,    VD_ERR_REFUSED,
                                         VD_ERR_TTL, VD_ERR_COMMAND, VD_ERR_ADDRESS_TYPE};

    tap_begin();
    for (unsigned reply = 0; reply < 256; reply++) {
        enum vd_err wanted = reply < 9 ? socks5[reply] : VD_ERR_FAILED;
        if (vd_err_of_socks5((uint8_t)reply) != wanted)
            tap_wrong("reply %u is %d", reply, vd_err_of_socks5((uint8_t)reply));
    }
    tap_end("every SOCKS5 reply");

    tap_begin();
    for (unsigned reply = 0; reply < 256; reply++) {
        enum vd_err wanted = reply == 90   ? VD_OK
                             : reply == 92 ? VD_ERR_IDENT
                             : reply == 93 ? VD_ERR_IDENT_USER
                                           : VD_ERR_FAILED;
        if (vd_err_of_socks4((uint8_t)reply) != wanted)
            tap_wrong("reply %u is %d", reply, vd_err_of_socks4((uint8_t)reply));
    }
    tap_end("every SOCKS4 reply");

    tap_begin();
    for (unsigned status = 0; status < 1000; status++) {
        enum vd_err err = vd_err_of_http((uint16_t)status);
        enum vd_err wanted = status / 100 == 2                ? VD_OK
                             : status == 401 || status == 407 ? VD_ERR_LOGIN
                             : status == 403                  ? VD_ERR_DENIED
                             : status == 504                  ? VD_ERR_TTL
                                                              : VD_ERR_FAILED;
        if (err != wanted)
            tap_wrong("status %u is %d", status, err);
    }
    tap_end("every HTTP status");
}

static void unknown_tokens(void)
{
    static const char *const tokens[] = {
        "", "dns_erro", "dns_errors", "connection_refuse", "CONNECTION", "proxy_internal_error"};

    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
        tap_ok(vd_err_of_proxy_status(tokens[i], (uint8_t)strlen(tokens[i])) == VD_OK,
               "token '%s' is not known", tokens[i]);
    tap_ok(vd_err_of_proxy_status("dns_error; x", 9) == VD_ERR_NAME, "a token is counted bytes");
}

int main(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        one(i);
    words_differ();
    roundtrips();
    readings();
    unknown_tokens();
    tap_ok(vd_err_errno(VD_ERR_COUNT) == vd_err_errno(VD_ERR_FAILED) &&
               vd_err_errno(-1000) == vd_err_errno(VD_ERR_FAILED),
           "a number that is no reason counts as a general failure");
    return tap_done();
}
