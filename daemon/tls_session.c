#include "daemon/tls_session.h"

#include <openssl/ssl.h>
#include <string.h>
#include <time.h>

static bool is_fresh(const SSL_SESSION *session)
{
    const X509 *peer = SSL_SESSION_get0_peer((SSL_SESSION *)session);
    long age_s = (long)time(NULL) - SSL_SESSION_get_time(session);
    return SSL_SESSION_is_resumable(session) && age_s >= 0 && age_s < TLS_SESSION_S && peer &&
           X509_cmp_current_time(X509_get0_notAfter(peer)) > 0;
}

/* The newest one that can be used, which is the caller's then; those that cannot be are gone. */
static SSL_SESSION *take(struct tls_sessions *all)
{
    while (all->count > 0) {
        SSL_SESSION *session = all->kept[--all->count];
        if (is_fresh(session))
            return session;
        SSL_SESSION_free(session);
    }
    return NULL;
}

/* Keeps a copy, since OpenSSL spoils the connection's own when that ends by a reset; the oldest one
 * gives way. */
static void put(struct tls_sessions *all, const SSL_SESSION *its)
{
    SSL_SESSION *session = SSL_SESSION_dup(its);
    if (!session)
        return;
    if (all->count == TLS_SESSIONS_KEPT) {
        SSL_SESSION_free(all->kept[0]);
        memmove(all->kept, all->kept + 1, --all->count * sizeof *all->kept);
    }
    all->kept[all->count++] = session;
}

static bool may_keep(const SSL *ssl)
{
    const struct tls_sessions *all = SSL_get_app_data(ssl);
    return all && !all->off &&
           (SSL_get_verify_mode(ssl) == SSL_VERIFY_NONE || SSL_get_verify_result(ssl) == X509_V_OK);
}

static int on_new(SSL *ssl, SSL_SESSION *session)
{
    if (may_keep(ssl))
        put(SSL_get_app_data(ssl), session);
    return 0; /* it stays OpenSSL's */
}

void tls_sessions_begin(SSL_CTX *context)
{
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, on_new);
}

void tls_sessions_use(struct tls_sessions *all, SSL *ssl)
{
    SSL_SESSION *session = take(all);
    SSL_set_app_data(ssl, all);
    if (session)
        SSL_set_session(ssl, session);
    SSL_SESSION_free(session);
}

/* In TLS 1.2 one session may serve for many connections, and no new one is told. */
void tls_sessions_note(SSL *ssl)
{
    if (SSL_version(ssl) == TLS1_2_VERSION && SSL_session_reused(ssl) && may_keep(ssl))
        put(SSL_get_app_data(ssl), SSL_get_session(ssl));
}

void tls_sessions_forget(SSL *ssl, bool by_resuming)
{
    struct tls_sessions *all = SSL_get_app_data(ssl);
    if (!all)
        return;
    tls_sessions_free(all);
    all->off |= by_resuming;
}

void tls_sessions_free(struct tls_sessions *all)
{
    while (all->count > 0)
        SSL_SESSION_free(all->kept[--all->count]);
}
