#include "daemon/tls_context.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/tls_session.h"

enum { READ_AHEAD = 64 * 1024 };

static const unsigned char alpn[] = "\x08http/1.1";

static int complain(char **error, const char *what, const char *path, const char *why)
{
    if (asprintf(error, "%s `%s`: %s", what, path, why) < 0)
        *error = NULL;
    return -1;
}

static const char *last_reason(void)
{
    const char *words = ERR_reason_error_string(ERR_peek_last_error());
    return words ? words : "cannot be used";
}

/* OpenSSL's words for what the system says of a file are not the system's. */
static int check_readable(const char *what, const char *path, char **error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return complain(error, what, path, strerror(errno));
    close(fd);
    return 0;
}

/* --- what all have --- */

static SSL_CTX *new_context(const SSL_METHOD *method)
{
    SSL_CTX *context = SSL_CTX_new(method);
    if (!context)
        return NULL;
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, READ_AHEAD);
    return context;
}

/* --- listeners --- */

/* Nobody is there to be asked for a passphrase. */
static int no_passphrase(char *buf, int size, int writing, void *data)
{
    (void)buf, (void)size, (void)writing;
    *(bool *)data = true;
    return -1;
}

static int use_key(SSL_CTX *context, const char *path, char **error)
{
    bool asked = false;
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    SSL_CTX_set_default_passwd_cb_userdata(context, &asked);
    ERR_clear_error();
    int result = SSL_CTX_use_PrivateKey_file(context, path, SSL_FILETYPE_PEM);
    unsigned long code = ERR_peek_last_error();
    SSL_CTX_set_default_passwd_cb_userdata(context, NULL);
    if (result == 1)
        return 0;
    if (asked)
        return complain(error, "key", path, "is encrypted; allowed: a key without passphrase");
    if (ERR_GET_LIB(code) == ERR_LIB_X509 && ERR_GET_REASON(code) == X509_R_KEY_VALUES_MISMATCH)
        return complain(error, "key", path, "does not belong to the certificate");
    if (ERR_GET_LIB(code) == ERR_LIB_PEM || ERR_GET_REASON(code) == ERR_R_PEM_LIB)
        return complain(error, "key", path, "holds no private key in PEM");
    return complain(error, "key", path, last_reason());
}

static int use_certificate(SSL_CTX *context, const char *path, char **error)
{
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(context, path) == 1)
        return 0;
    if (ERR_GET_LIB(ERR_peek_error()) == ERR_LIB_PEM)
        return complain(error, "certificate", path, "holds no certificate in PEM");
    return complain(error, "certificate", path, last_reason());
}

static int use_client_ca(SSL_CTX *context, const char *path, char **error)
{
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(path);
    if (!names || SSL_CTX_load_verify_file(context, path) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return complain(error, "client_ca", path, "holds no certificate in PEM");
    }
    SSL_CTX_set_client_CA_list(context, names);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return 0;
}

/* RFC 7301 section 3.2: who offers others only is told so. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *data)
{
    (void)ssl, (void)data;
    int found =
        SSL_select_next_proto((unsigned char **)out, out_len, alpn, sizeof alpn - 1, in, in_len);
    return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static void warn(char **warning, const char *what, const char *path, const char *why)
{
    char *text = NULL;
    if (!*warning && complain(&text, what, path, why) < 0)
        *warning = text;
}

static void look_at(const SSL_CTX *context, const struct vd_conf_listener *listen, char **warning)
{
    const X509 *certificate = SSL_CTX_get0_certificate(context);
    const char *key = listen->key ? listen->key : listen->cert;
    struct stat st;
    if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0)
        warn(warning, "certificate", listen->cert, "has expired");
    else if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0)
        warn(warning, "certificate", listen->cert, "is not valid yet");
    if (stat(key, &st) == 0 && (st.st_mode & S_IROTH))
        warn(warning, "key", key, "can be read by others: chmod o= it");
}

static int fill_in(SSL_CTX *context, const struct vd_conf_listener *listen, char **error)
{
    static const unsigned char id[] = "viaductd";
    const char *key = listen->key ? listen->key : listen->cert;
    if (check_readable("certificate", listen->cert, error) != 0 ||
        check_readable("key", key, error) != 0 ||
        (listen->client_ca && check_readable("client_ca", listen->client_ca, error) != 0) ||
        use_certificate(context, listen->cert, error) != 0 || use_key(context, key, error) != 0)
        return -1;
    SSL_CTX_set_session_id_context(context, id, sizeof id - 1);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    return listen->client_ca ? use_client_ca(context, listen->client_ca, error) : 0;
}

SSL_CTX *tls_context_of_listener(const struct vd_conf_listener *listen, char **error,
                                 char **warning)
{
    SSL_CTX *context = new_context(TLS_server_method());
    *warning = NULL;
    if (!context || fill_in(context, listen, error) != 0) {
        SSL_CTX_free(context);
        return NULL;
    }
    look_at(context, listen, warning);
    return context;
}

SSL *tls_context_accept(SSL_CTX *context)
{
    SSL *ssl = SSL_new(context);
    if (ssl)
        SSL_set_accept_state(ssl);
    return ssl;
}

/* --- hops --- */

struct way_to_verify {
    bool not_at_all;
    char *ca; /* NULL: the system's */
    SSL_CTX *context;
};

struct tls_contexts {
    struct way_to_verify *ways;
    size_t count;
    struct tls_sessions *hops;
    size_t hop_count;
};

struct tls_contexts *tls_contexts_new(void)
{
    return calloc(1, sizeof(struct tls_contexts));
}

void tls_contexts_free(struct tls_contexts *all)
{
    for (size_t i = 0; all && i < all->count; i++) {
        SSL_CTX_free(all->ways[i].context);
        free(all->ways[i].ca);
    }
    for (size_t i = 0; all && i < all->hop_count; i++)
        tls_sessions_free(&all->hops[i]);
    if (all) {
        free(all->ways);
        free(all->hops);
    }
    free(all);
}

static bool is_way_of(const struct way_to_verify *way, const struct vd_hop *hop)
{
    return way->not_at_all == (hop->no_verify != 0) && strcmp(way->ca ? way->ca : "", hop->ca) == 0;
}

static const struct way_to_verify *find(const struct tls_contexts *all, const struct vd_hop *hop)
{
    for (size_t i = 0; i < all->count; i++)
        if (is_way_of(&all->ways[i], hop))
            return &all->ways[i];
    return NULL;
}

static int trust(SSL_CTX *context, const struct vd_hop *hop, char **error)
{
    SSL_CTX_set_verify(context, hop->no_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_alpn_protos(context, alpn, sizeof alpn - 1);
    if (hop->no_verify)
        return 0;
    if (!hop->ca[0])
        return SSL_CTX_set_default_verify_paths(context) == 1
                   ? 0
                   : complain(error, "the system's certificates", "", last_reason());
    if (check_readable("ca", hop->ca, error) != 0)
        return -1;
    return SSL_CTX_load_verify_file(context, hop->ca) == 1
               ? 0
               : complain(error, "ca", hop->ca, "holds no certificate in PEM");
}

static int add_way(struct tls_contexts *all, const struct vd_hop *hop, char **error)
{
    struct way_to_verify way = {.not_at_all = hop->no_verify != 0};
    if (find(all, hop))
        return 0;
    struct way_to_verify *more = reallocarray(all->ways, all->count + 1, sizeof *more);
    if (more)
        all->ways = more;
    way.ca = hop->ca[0] ? strdup(hop->ca) : NULL;
    way.context = new_context(TLS_client_method());
    bool complete = more && way.context && (way.ca || !hop->ca[0]);
    if (!complete || trust(way.context, hop, error) != 0) {
        SSL_CTX_free(way.context);
        free(way.ca);
        return -1;
    }
    tls_sessions_begin(way.context);
    more[all->count++] = way;
    return 0;
}

int tls_contexts_add(struct tls_contexts *all, const struct vd_hop *hop, char **error)
{
    if (hop->scheme != VD_HTTPS)
        return 0;
    struct tls_sessions *more = reallocarray(all->hops, all->hop_count + 1, sizeof *more);
    if (!more || add_way(all, hop, error) != 0) {
        all->hops = more ? more : all->hops;
        return -1;
    }
    more[all->hop_count++] = (struct tls_sessions){.hop = hop};
    all->hops = more;
    return 0;
}

static struct tls_sessions *sessions_of(const struct tls_contexts *all, const struct vd_hop *hop)
{
    size_t i = 0;
    while (i < all->hop_count && all->hops[i].hop != hop)
        i++;
    return i < all->hop_count ? &all->hops[i] : NULL;
}

/* A name is told and verified without the dot that may end it. */
static bool expect(SSL *ssl, const struct vd_hop *hop)
{
    char name[VD_NAME_MAX + 1];
    size_t len = hop->at.name_len;
    if (hop->unix_len > 0)
        return true;
    if (!vd_endpoint_is_name(&hop->at))
        return X509_VERIFY_PARAM_set1_ip(SSL_get0_param(ssl), hop->at.ip.bytes,
                                         hop->at.ip.family == VD_IPV6 ? 16 : 4) == 1;
    memcpy(name, hop->at.name, len);
    if (len > 1 && name[len - 1] == '.')
        len--;
    name[len] = 0;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set_tlsext_host_name(ssl, name) == 1 && SSL_set1_host(ssl, name) == 1;
}

SSL *tls_contexts_connect(const struct tls_contexts *all, const struct vd_hop *hop)
{
    const struct way_to_verify *way = find(all, hop);
    SSL *ssl = way ? SSL_new(way->context) : NULL;
    if (!ssl)
        return NULL;
    SSL_set_connect_state(ssl);
    struct tls_sessions *sessions = sessions_of(all, hop);
    if (expect(ssl, hop)) {
        if (sessions)
            tls_sessions_use(sessions, ssl);
        return ssl;
    }
    SSL_free(ssl);
    return NULL;
}
