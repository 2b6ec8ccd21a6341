/*
 * tls_context: certificates, keys and authorities: read by the parent, before privileges are given
 * up, inherited by the workers, and read anew at each reload.
 *
 * TLS 1.2 and later, without compression, renegotiation and early data; of RFC 7301 http/1.1 alone.
 * Sessions of clients are resumed by tickets (RFC 5077, RFC 8446), whose keys all workers have from
 * the parent and nobody has after a reload; those with hops as tls_session.h says.
 */
#ifndef DAEMON_TLS_CONTEXT_H
#define DAEMON_TLS_CONTEXT_H

#include <openssl/types.h>

#include "conf/daemon.h"

/* For a listener with a certificate. NULL with *error; *warning, or NULL: what works and should be
 * looked at. Both are freed by the caller. */
SSL_CTX *tls_context_of_listener(const struct vd_conf_listener *listen, char **error,
                                 char **warning);
/* A connection that was accepted; NULL: no memory. */
SSL *tls_context_accept(SSL_CTX *context);

/* Those for hops that speak https, one for each different way to verify them. */
struct tls_contexts;

/* Nothing is read before the first hop is added; NULL: no memory. */
struct tls_contexts *tls_contexts_new(void);
void tls_contexts_free(struct tls_contexts *all);
/* Reads what verifying this hop needs; nothing to do for other schemes. `hop` outlives `all`. 0, or
 * -1 with *error. */
int tls_contexts_add(struct tls_contexts *all, const struct vd_hop *hop, char **error);
/* A connection to a hop that was added, with its name to be verified and told (SNI). NULL: no
 * memory. */
SSL *tls_contexts_connect(const struct tls_contexts *all, const struct vd_hop *hop);

#endif
