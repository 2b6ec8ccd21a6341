#include "proto/http_fault.h"

#include <assert.h>

#define REQUEST  "http_request_error"
#define RESPONSE "http_protocol_error"

static const struct vd_http_fault_row rows[VD_HTTP_FAULTS] = {
    [VD_HTTP_BAD_FORM] = {400, VD_ERR_PROTOCOL, REQUEST,
                          "This is not a well-formed HTTP/1.1 request."},
    [VD_HTTP_BAD_TARGET] = {400, VD_ERR_NAME_FORM, REQUEST,
                            "CONNECT needs HOST:PORT, with a port from 1 to 65535."},
    [VD_HTTP_BAD_URL] = {400, VD_ERR_NAME_FORM, REQUEST,
                         "The URL of the request names no host, or no port from 1 to 65535."},
    [VD_HTTP_NO_HOST] = {400, VD_ERR_PROTOCOL, REQUEST, "An HTTP/1.1 request needs a Host field."},
    [VD_HTTP_NOT_A_SERVER] = {400, VD_ERR_PROTOCOL, REQUEST, "This is a proxy, not a web server."},
    [VD_HTTP_NEEDS_LOGIN] = {407, VD_ERR_LOGIN, "http_request_denied",
                             "This proxy needs a login (Basic)."},
    [VD_HTTP_LONG_LINE] = {431, VD_ERR_TOO_LONG, REQUEST, "A field of the request is too long."},
    [VD_HTTP_LONG_HEAD] = {431, VD_ERR_TOO_LONG, REQUEST,
                           "The head of the request is longer than 64 KiB, or has too many "
                           "fields."},
    [VD_HTTP_NEEDS_CONNECT] = {501, VD_ERR_COMMAND, REQUEST,
                               "This proxy forwards http: URLs; for others use CONNECT HOST:PORT."},
    [VD_HTTP_NO_METHOD] = {501, VD_ERR_COMMAND, REQUEST, "This proxy does not serve TRACE."},
    [VD_HTTP_NO_CODING] = {501, VD_ERR_COMMAND, REQUEST,
                           "This proxy knows no transfer coding but chunked."},
    [VD_HTTP_NO_VERSION] = {505, VD_ERR_PROTOCOL, REQUEST,
                            "This proxy speaks HTTP/1.0 and HTTP/1.1."},
    [VD_HTTP_FOR_PROXY] = {200, VD_ERR_COMMAND, "",
                           "This proxy serves CONNECT and forwards http: URLs."},
    [VD_HTTP_BAD_RESPONSE] = {502, VD_ERR_PROTOCOL, RESPONSE,
                              "The server's response is not well-formed HTTP/1.1."},
    [VD_HTTP_LONG_RESPONSE] = {502, VD_ERR_TOO_LONG, "http_response_header_section_size",
                               "The head of the server's response is longer than 64 KiB, or has "
                               "too many fields."},
    [VD_HTTP_CUT_RESPONSE] = {502, VD_ERR_CLOSED, "http_response_incomplete",
                              "The server closed the connection before its response was whole."},
    [VD_HTTP_UPGRADED] = {502, VD_ERR_PROTOCOL, "http_upgrade_failed",
                          "The server changed to another protocol, which nobody asked for."},
};

const struct vd_http_fault_row *vd_http_fault_row(enum vd_http_fault fault)
{
    assert(fault > VD_HTTP_GOOD && fault < VD_HTTP_FAULTS);
    return &rows[fault];
}

const char *vd_http_phrase(uint16_t status)
{
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case 407:
        return "Proxy Authentication Required";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 501:
        return "Not Implemented";
    case 502:
        return "Bad Gateway";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Internal Server Error";
    }
}
