/*
 * err: why something failed.
 *
 * One table translates a reason into an errno, a SOCKS5 reply (RFC 1928 section 6), a SOCKS4
 * reply, an HTTP status (RFC 9110 section 15), a Proxy-Status error (RFC 9209 section 2.3) and
 * words. Functions everywhere return -VD_ERR_*; only the edges translate.
 */
#ifndef VD_PROTO_ERR_H
#define VD_PROTO_ERR_H

#include <stdint.h>

enum vd_err {
    VD_OK = 0,
    /* the far end: what happened between the last hop and the target */
    VD_ERR_REFUSED,      /* the target refused the connection */
    VD_ERR_NET,          /* the target's network cannot be reached */
    VD_ERR_HOST,         /* the target cannot be reached */
    VD_ERR_NAME,         /* the target's name is unknown */
    VD_ERR_TTL,          /* the time to live, or the proxy's own patience, ran out */
    VD_ERR_TARGET_RESET, /* the target broke the connection off while it was set up */
    /* the hop's own decision */
    VD_ERR_DENIED,       /* not allowed by the proxy's rules */
    VD_ERR_LOGIN,        /* login refused */
    VD_ERR_METHOD,       /* none of the offered login methods will do */
    VD_ERR_IDENT,        /* SOCKS4 92: the proxy could not ask identd */
    VD_ERR_IDENT_USER,   /* SOCKS4 93: identd says another user */
    VD_ERR_COMMAND,      /* command not supported */
    VD_ERR_ADDRESS_TYPE, /* address type not supported */
    VD_ERR_FAILED,       /* general failure, no reason given */
    VD_ERR_BUSY,         /* the proxy is at one of its limits */
    VD_ERR_LIMIT,        /* this client or user is at one of its limits */
    /* the hop itself */
    VD_ERR_UNREACHABLE, /* the hop cannot be reached */
    VD_ERR_CLOSED,      /* closed in the middle of the handshake */
    VD_ERR_RESET,       /* reset in the middle of the handshake */
    VD_ERR_PROTOCOL,    /* it does not speak the protocol it should */
    VD_ERR_TOO_LONG,    /* a message longer than any limit */
    VD_ERR_SILENT,      /* no answer in time: our own deadline */
    VD_ERR_TLS,         /* the TLS handshake with it failed */
    VD_ERR_CERTIFICATE, /* its certificate is not one to be trusted, or not its own */
    /* our own side */
    VD_ERR_NAME_FORM,   /* empty, over-long, or with NUL or control bytes */
    VD_ERR_UNSUPPORTED, /* this kind of hop or target is not served (words come from the caller) */
    VD_ERR_RULE,        /* refused by a rule of the configuration */
    VD_ERR_SPACE,       /* the caller's buffer is too small */
    VD_ERR_COUNT
};

/* The errno that an intercepted call shows for a reason; `err` positive or negative. */
int vd_err_errno(int err);

/* The reply a server gives for a reason. SOCKS5: 0 to 8; SOCKS4: 90 to 93; HTTP: 200 to 599. */
uint8_t vd_err_socks5(int err);
uint8_t vd_err_socks4(int err);
uint16_t vd_err_http(int err);

/* RFC 9209 error type for a reason, for the Proxy-Status field of a refusal; never NULL. */
const char *vd_err_proxy_status(int err);

/* The reason behind a reply, as a client reads it; success gives VD_OK. Unknown codes give
 * VD_ERR_FAILED (RFC 1928 leaves 9 to 255 unassigned; servers use them). */
enum vd_err vd_err_of_socks5(uint8_t reply);
enum vd_err vd_err_of_socks4(uint8_t reply);
enum vd_err vd_err_of_http(uint16_t status);

/* The reason behind an RFC 9209 error token of `len` bytes; VD_OK if it is not a known one. */
enum vd_err vd_err_of_proxy_status(const char *token, uint8_t len);

/* A predicate in words, to stand behind a hop's name: "refused the login". Never NULL. */
const char *vd_err_words(int err);

#endif
