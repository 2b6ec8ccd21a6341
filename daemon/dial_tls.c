/*
 * TLS on the stream of a chain, for the hop that it has come to. Nothing waits for the handshake:
 * what is said to the hop stands in the socket pair until the hop's certificate was judged, and if
 * that goes wrong the stream is at its end.
 */
#include <openssl/ssl.h>

#include "daemon/dial_state.h"
#include "daemon/tls_context.h"
#include "proto/err.h"

int dial_tls_start(struct dial *d)
{
    SSL *ssl = tls_contexts_connect(d->by->contexts, vd_chain_at(&d->chain));
    if (!d->tls)
        net_addr_local(&d->out, d->io.fd);
    struct tls *tls = ssl ? tls_start(d->by->tls, &d->io, ssl, d->tls) : NULL;
    if (!tls)
        return -VD_ERR_BUSY;
    d->tls = tls;
    d->seen = 0;
    vd_chain_has_tls(&d->chain);
    return VD_OK;
}

static bool is_of_tls(int err)
{
    return err == VD_ERR_TLS || err == VD_ERR_CERTIFICATE;
}

int dial_tls_lost(struct dial *d, enum vd_loss loss)
{
    int err = tls_failure(d->tls);
    if (is_of_tls(err))
        return -err;
    if (err == VD_ERR_CLOSED)
        loss = VD_LOSS_EOF;
    else if (tls_is_cut(d->tls))
        loss = VD_LOSS_RESET;
    return vd_chain_lost(&d->chain, loss);
}

void dial_tls_explain(const struct dial *d, struct vd_out *out, int err)
{
    const char *said = tls_said(d->tls);
    if (!is_of_tls(-err) || !*said)
        return;
    vd_out_text(out, ": ");
    vd_out_text(out, said);
}

void dial_close(struct dial *d)
{
    loop_close(dial_loop(d), &d->io);
    tls_end(d->tls, TLS_IN_ORDER);
    d->tls = NULL;
}
