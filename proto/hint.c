#include "proto/hint.h"

#include <string.h>

#include "proto/err.h"

#define LOOK "; try --check, which looks at what answers there"

static bool is_http(const struct vd_hop *hop)
{
    return hop->scheme >= VD_HTTP;
}

static bool said(const struct vd_shake *s, const char *text)
{
    size_t len = strlen(text);

    return s->excerpt_len >= len && !memcmp(s->excerpt, text, len);
}

/* A SOCKS handshake takes two bytes of what an HTTP server says before it gives up. */
static const char *stranger(const struct vd_shake *s)
{
    if (!is_http(s->hop) && said(s, "HT"))
        return "; try http:// for it: that is how HTTP begins";
    if (is_http(s->hop) && said(s, "\5"))
        return "; try socks5h:// for it: that is how SOCKS5 begins";
    if (said(s, "SS"))
        return "; try another port: that is how SSH begins";
    return LOOK;
}

static const char *login(const struct vd_hop *hop, int err)
{
    if (!hop->has_login)
        return "; try USER:PASSWORD@ before its host";
    if (err == VD_ERR_METHOD)
        return "; try it without a login";
    return "; try the login once more, with @ : / % in it as %40 %3A %2F %25";
}

static const char *http_status(const struct vd_shake *s)
{
    switch (s->code) {
    case 400:
    case 405:
    case 501:
        return "; try another port: a web server answers like that";
    case 511:
        return "; try a browser: the network wants a login";
    default:
        return s->code >= 300 && s->code < 400 ? "; try a browser: the network may want a login"
                                               : "";
    }
}

static const char *denied(const struct vd_chain *c)
{
    return is_http(vd_chain_at(c)) && c->shake.target.port != 443
               ? "; try port 443: many proxies allow no other"
               : "";
}

const char *vd_hint(const struct vd_chain *c, int err)
{
    const struct vd_hop *hop = vd_chain_at(c);

    if (err < 0)
        err = -err;
    switch (err) {
    case VD_ERR_UNREACHABLE:
        return c->cause ? "; try its host and port as the hop before sees them"
                        : "; try whether the proxy runs, and its port";
    case VD_ERR_LOGIN:
    case VD_ERR_METHOD:
        return login(hop, err);
    case VD_ERR_PROTOCOL:
        return stranger(&c->shake);
    case VD_ERR_CLOSED:
    case VD_ERR_RESET:
    case VD_ERR_SILENT:
        return LOOK;
    case VD_ERR_FAILED:
        return is_http(hop) ? http_status(&c->shake) : "";
    case VD_ERR_DENIED:
        return denied(c);
    case VD_ERR_HOST:
    case VD_ERR_NAME:
        return vd_endpoint_is_name(&c->target) ? "; try how its name is spelled" : "";
    case VD_ERR_ADDRESS_TYPE:
        return hop->scheme <= VD_SOCKS4A ? "; try socks5h, which carries all addresses" : "";
    default:
        return "";
    }
}
