/*
 * tls: TLS on a connection, for whoever knows nothing of it.
 *
 *        the owner's descriptor ──(socket pair)── struct tls ──(TLS)── the connection
 *
 * The owner's end is a stream like any other: what is written there is encrypted, what is read was
 * decrypted, end and back-pressure pass in both directions. Two things a socket pair cannot say,
 * and the owner asks or tells: that the connection broke off (tls_is_cut), and that it is to break
 * off (tls_end). RFC 8446, RFC 5246; an end without close_notify is none in order (RFC 8446 section
 * 6.1) but for a peer that was told of our end before.
 *
 * Memory: what the receiver did not accept, up to TLS_CHUNK bytes each way, beside OpenSSL's own;
 * what passes goes through one buffer of the worker's.
 */
#ifndef DAEMON_TLS_H
#define DAEMON_TLS_H

#include <openssl/types.h>

#include "daemon/loop.h"

enum {
    TLS_CHUNK = 64 * 1024,
    TLS_PATIENCE_MS = 5000, /* an ended connection that does not move is given up then, */
    TLS_LEAVING_MAX = 512   /* or when so many others wait */
};

struct tls;

/* One per worker. */
struct tls_pool {
    struct loop *loop;
    uint8_t *buffer; /* TLS_CHUNK bytes, from the first connection on */
    struct loop_timer sweep;
    size_t count;         /* that live */
    size_t leaving_count; /* of these: without an owner, in the order of their patience */
    struct tls *leaving, **leaving_end;
};

void tls_pool_init(struct tls_pool *pool, struct loop *loop);
/* Gives up those that have no owner any more. */
void tls_pool_free(struct tls_pool *pool);

/* Takes the connection `io`, which is watched, edge-triggered, for everything, and puts TLS on it;
 * io->fd becomes the owner's end, watched in the same way. The handshake begins at once, what the
 * owner writes waits for its end. `below` is the TLS whose owner's end the connection is, or NULL;
 * it is taken too. `ssl` is taken, and freed also without success: NULL with errno, and then
 * nothing else has changed. */
struct tls *tls_start(struct tls_pool *pool, struct loop_io *io, SSL *ssl, struct tls *below);

enum tls_end { TLS_IN_ORDER, TLS_BY_RESET };
/* The owner has closed its end and lets go of `tls` (NULL: nothing is done). In
 * order: what was written before is still sent, for TLS_PATIENCE_MS without progress at most; a
 * handshake that is not over ends at once. By reset: at once. */
void tls_end(struct tls *tls, enum tls_end how);

/* The owner's end is at its end since the connection broke off or the handshake failed; false for
 * NULL. */
bool tls_is_cut(const struct tls *tls);
/* Bytes are on their way to the peer that it has not acknowledged; false for NULL. */
bool tls_is_sending(const struct tls *tls);

/* Why the handshake failed, as a reason of proto/err.h (positive); VD_OK if it did not, or not yet.
 */
int tls_failure(const struct tls *tls);
/* What was wrong, in words, "" if nothing was. Lives as long as `tls`. */
const char *tls_said(const struct tls *tls);
/* "TLSv1.3", "" before the handshake is over, and for NULL. Static. */
const char *tls_version(const struct tls *tls);

#endif
