#include "proto/err.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct row {
    int number;
    uint8_t socks5, socks4;
    uint16_t http;
    const char *proxy_status;
    const char *words;
};

static const struct row rows[VD_ERR_COUNT] = {
    [VD_OK] = {0, 0, 90, 200, "", "is up"},
    [VD_ERR_REFUSED] = {ECONNREFUSED, 5, 91, 502, "connection_refused",
                        "says that the target refused the connection"},
    [VD_ERR_NET] = {ENETUNREACH, 3, 91, 502, "destination_ip_unroutable",
                    "says that the target's network is unreachable"},
    [VD_ERR_HOST] = {EHOSTUNREACH, 4, 91, 502, "destination_unavailable",
                     "says that the target is unreachable"},
    [VD_ERR_NAME] = {EHOSTUNREACH, 4, 91, 502, "dns_error",
                     "says that the target's name is unknown"},
    [VD_ERR_TTL] = {ETIMEDOUT, 6, 91, 504, "connection_timeout",
                    "says that the target does not answer"},
    [VD_ERR_TARGET_RESET] = {ECONNREFUSED, 5, 91, 502, "connection_terminated",
                             "says that the target broke the connection off"},
    [VD_ERR_DENIED] = {EACCES, 2, 91, 403, "http_request_denied", "does not allow this connection"},
    [VD_ERR_LOGIN] = {EACCES, 2, 91, 407, "http_request_denied", "refused the login"},
    [VD_ERR_METHOD] = {EACCES, 2, 91, 407, "http_request_denied",
                       "accepts none of the offered login methods"},
    [VD_ERR_IDENT] = {EACCES, 2, 92, 403, "http_request_denied",
                      "could not reach the ident service of this machine"},
    [VD_ERR_IDENT_USER] = {EACCES, 2, 93, 403, "http_request_denied",
                           "was told of another user by the ident service"},
    [VD_ERR_COMMAND] = {EOPNOTSUPP, 7, 91, 501, "http_request_error",
                        "does not support this command"},
    [VD_ERR_ADDRESS_TYPE] = {EAFNOSUPPORT, 8, 91, 501, "http_request_error",
                             "cannot carry this kind of address"},
    [VD_ERR_FAILED] = {ECONNREFUSED, 1, 91, 502, "proxy_internal_error",
                       "failed without giving a reason"},
    [VD_ERR_BUSY] = {ECONNREFUSED, 1, 91, 503, "connection_limit_reached",
                     "is at one of its limits"},
    [VD_ERR_LIMIT] = {EACCES, 2, 91, 429, "http_request_denied",
                      "does not allow more connections for now"},
    [VD_ERR_UNREACHABLE] = {ENETUNREACH, 1, 91, 502, "destination_unavailable",
                            "cannot be reached"},
    [VD_ERR_CLOSED] = {ENETUNREACH, 1, 91, 502, "connection_terminated",
                       "closed the connection during the handshake"},
    [VD_ERR_RESET] = {ENETUNREACH, 1, 91, 502, "connection_terminated",
                      "reset the connection during the handshake"},
    [VD_ERR_PROTOCOL] = {ENETUNREACH, 1, 91, 400, "http_protocol_error",
                         "does not speak the protocol"},
    [VD_ERR_TOO_LONG] = {ENETUNREACH, 1, 91, 431, "http_request_error",
                         "sent more than any answer may hold"},
    [VD_ERR_SILENT] = {ETIMEDOUT, 6, 91, 504, "connection_timeout", "did not answer in time"},
    [VD_ERR_TLS] = {ENETUNREACH, 1, 91, 502, "tls_protocol_error", "failed the TLS handshake"},
    [VD_ERR_CERTIFICATE] = {ENETUNREACH, 1, 91, 502, "tls_certificate_error",
                            "has a certificate that cannot be trusted"},
    [VD_ERR_NAME_FORM] = {EHOSTUNREACH, 1, 91, 400, "http_request_error",
                          "cannot be asked for this name or login"},
    [VD_ERR_UNSUPPORTED] = {EOPNOTSUPP, 7, 91, 501, "http_request_error",
                            "is of a kind that is not served"},
    [VD_ERR_RULE] = {EACCES, 2, 91, 403, "http_request_denied", "is refused by a rule"},
    [VD_ERR_SPACE] = {ENOBUFS, 1, 91, 500, "proxy_internal_error", "needs more room"},
};

static const struct row *row_of(int err)
{
    int reason = err < 0 ? -err : err;

    return &rows[reason < VD_ERR_COUNT ? reason : VD_ERR_FAILED];
}

int vd_err_errno(int err)
{
    return row_of(err)->number;
}

uint8_t vd_err_socks5(int err)
{
    return row_of(err)->socks5;
}

uint8_t vd_err_socks4(int err)
{
    return row_of(err)->socks4;
}

uint16_t vd_err_http(int err)
{
    return row_of(err)->http;
}

const char *vd_err_proxy_status(int err)
{
    return row_of(err)->proxy_status;
}

const char *vd_err_words(int err)
{
    return row_of(err)->words;
}

enum vd_err vd_err_of_socks5(uint8_t reply)
{
    static const enum vd_err of[] = {VD_OK,      VD_ERR_FAILED,  VD_ERR_DENIED,
                                     VD_ERR_NET, VD_ERR_HOST,    VD_ERR_REFUSED,
                                     VD_ERR_TTL, VD_ERR_COMMAND, VD_ERR_ADDRESS_TYPE};

    return reply < sizeof of / sizeof *of ? of[reply] : VD_ERR_FAILED;
}

enum vd_err vd_err_of_socks4(uint8_t reply)
{
    switch (reply) {
    case 90:
        return VD_OK;
    case 92:
        return VD_ERR_IDENT;
    case 93:
        return VD_ERR_IDENT_USER;
    default:
        return VD_ERR_FAILED;
    }
}

enum vd_err vd_err_of_http(uint16_t status)
{
    if (status >= 200 && status <= 299)
        return VD_OK;
    switch (status) {
    case 401:
    case 407:
        return VD_ERR_LOGIN;
    case 403:
        return VD_ERR_DENIED;
    case 504:
        return VD_ERR_TTL;
    default:
        return VD_ERR_FAILED;
    }
}

/* Tokens of RFC 9209 that tell more than a status does; several reasons share a token in the table
 * above, so the way back is a list of its own. */
enum vd_err vd_err_of_proxy_status(const char *token, uint8_t len)
{
    static const struct {
        const char *token;
        enum vd_err err;
    } of[] = {
        {"dns_timeout", VD_ERR_NAME},
        {"dns_error", VD_ERR_NAME},
        {"destination_not_found", VD_ERR_HOST},
        {"destination_unavailable", VD_ERR_HOST},
        {"destination_ip_prohibited", VD_ERR_DENIED},
        {"destination_ip_unroutable", VD_ERR_NET},
        {"connection_refused", VD_ERR_REFUSED},
        {"connection_terminated", VD_ERR_TARGET_RESET},
        {"connection_timeout", VD_ERR_TTL},
        {"connection_limit_reached", VD_ERR_BUSY},
    };

    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        if (strlen(of[i].token) == len && !memcmp(of[i].token, token, len))
            return of[i].err;
    return VD_OK;
}
