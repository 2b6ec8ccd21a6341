/*
 * tls_session: sessions of TLS with a hop, kept to be resumed (RFC 8446 section 2.2, RFC 5077): the
 * next connection needs no certificate, and so less work.
 *
 * Who resumes a session does not look at a certificate again. So it is kept for one hop of one
 * upstream, with whatever that says of names and of verifying, and for no other; only after the
 * certificate was verified, if it is at all; for an hour, and not beyond the certificate's own
 * time; by one worker, until a reload. One of TLS 1.3 is used once (RFC 8446 appendix C.4), so that
 * nobody sees by it that two connections belong together.
 */
#ifndef DAEMON_TLS_SESSION_H
#define DAEMON_TLS_SESSION_H

#include <openssl/ssl.h>
#include <stdbool.h>

enum { TLS_SESSIONS_KEPT = 8, TLS_SESSION_S = 3600 };

struct vd_hop;

/* Of one hop; zeroed in the beginning. */
struct tls_sessions {
    const struct vd_hop *hop;
    SSL_SESSION *kept[TLS_SESSIONS_KEPT]; /* the newest comes last */
    unsigned count;
    bool off;
};

/* For a context of clients, once. */
void tls_sessions_begin(SSL_CTX *context);
/* A connection that is about to begin: it resumes a session, if one is there, and what it gets is
 * kept in `all`, which outlives it. */
void tls_sessions_use(struct tls_sessions *all, SSL *ssl);
/* The handshake is over, whoever's it was. */
void tls_sessions_note(SSL *ssl);
/* It failed: those of the same hop are kept no longer (RFC 5246 section 7.2.2); if that was when it
 * was to be resumed, nor are later ones: the hop does not bear it. */
void tls_sessions_forget(SSL *ssl, bool by_resuming);
void tls_sessions_free(struct tls_sessions *all);

#endif
