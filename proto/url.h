/*
 * url: scheme://[user[:password]@]host[:port][?option=value&...] <-> a hop.
 *
 * The same meaning as curl's proxy URLs (RFC 3986 for the syntax). A hop is a plain value of fixed
 * layout; it stands in the session file, which 32-bit and 64-bit processes map.
 */
#ifndef VD_PROTO_URL_H
#define VD_PROTO_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/endpoint.h"

enum vd_scheme {
    VD_SOCKS4 = 1, /* this machine resolves */
    VD_SOCKS4A,    /* the proxy resolves */
    VD_SOCKS5,     /* this machine resolves */
    VD_SOCKS5H,    /* the proxy resolves */
    VD_HTTP,       /* CONNECT, the proxy resolves */
    VD_HTTPS       /* CONNECT inside TLS to the proxy */
};

/* Whether the hop may be told more than it has answered yet: if it is known to bear that, never, or
 * as the user says so. See proto/chain.h. */
enum vd_pipeline {
    VD_PIPELINE_AUTO,
    VD_PIPELINE_OFF,
    VD_PIPELINE_LEAD,
    VD_PIPELINE_KNOWN /* in no URL: auto, and a probe found that it bears it, and was let in */
};

enum {
    VD_HOPS_MAX = 16,
    VD_LOGIN_MAX = 255,       /* RFC 1929 section 2: one length byte each */
    VD_HOP_ADDRS_MAX = 8,     /* addresses kept of a hop's name */
    VD_UNIX_PATH_MAX = 107,   /* sun_path without its NUL */
    VD_CA_MAX = 255,          /* bytes of ca=FILE */
    VD_URL_TEXT = 1200,       /* room for any hop printed without secrets; the list of
                                 one that stands for others may be cut, */
    VD_URL_OPTIONS_TEXT = 900 /* and for its options */
};

struct vd_hop {
    uint8_t scheme;    /* enum vd_scheme */
    uint8_t has_login; /* a user was given, maybe without password */
    uint8_t user_len, password_len;
    uint8_t addr_count; /* how many of addrs are filled in */
    uint8_t unix_len;   /* > 0: reached by the unix socket unix_path */
    uint8_t pipeline;   /* enum vd_pipeline */
    uint8_t no_probe;   /* whether it bears a flight is not to be tried out */
    uint8_t no_verify;  /* https: whoever answers is taken for it */
    uint8_t stands_for; /* > 0: this hop is our own and carries so many others, which follow it in
                           memory: they are printed in its place */
    uint8_t zero[2];
    uint32_t timeout_ms;                  /* for this hop's stage; 0: only the total counts */
    struct vd_ip addrs[VD_HOP_ADDRS_MAX]; /* resolved by whoever had to; not part of the URL */
    struct vd_endpoint at;                /* as given, for printing and for the hop before */
    char user[VD_LOGIN_MAX + 1];
    char password[VD_LOGIN_MAX + 1];
    char unix_path[VD_UNIX_PATH_MAX + 1];
    char ca[VD_CA_MAX + 1]; /* https: who signs its certificate, a file in PEM; "": the system's */
};

/* Why a URL was not taken: `part` is "scheme", "host", "port", "user", "password", "option" or
 * "url"; `allowed` says what may stand there. Both are static. */
struct vd_url_error {
    const char *part, *allowed;
};

/* Reads `len` bytes of URL into *hop. VD_OK, or -VD_ERR_PROTOCOL with *why filled in. Options:
 * timeout=SECONDS (decimals allowed), pipeline=auto, off or lead, probe=yes or no; with https
 * only: ca=FILE, verify=yes or no, which exclude each other (no one's name is known behind a unix
 * socket: there verify=no is a must). */
int vd_url_read(struct vd_hop *hop, const char *text, size_t len, struct vd_url_error *why);
/* scheme://[user@]host:port; never a password. Of one that stands for others: theirs, in order,
 * with commas. */
void vd_url_print(struct vd_out *out, const struct vd_hop *hop);
/* "?timeout=8&pipeline=lead", to stand behind it: what differs from the default; or nothing. */
void vd_url_print_options(struct vd_out *out, const struct vd_hop *hop);

const char *vd_scheme_name(enum vd_scheme scheme);
const char *vd_pipeline_name(enum vd_pipeline pipeline);
/* Whether the hop itself resolves names; false for socks4 and socks5. */
bool vd_hop_takes_names(const struct vd_hop *hop);

#endif
