/*
 * TLS from clients: the first byte of a connection decides. 0x16 is a handshake record (RFC 8446
 * section 5.1), and no protocol that is served in the clear begins with it. The byte stays in the
 * socket, for whoever reads on; so does what follows a PROXY line, which is never encrypted.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/session_state.h"
#include "daemon/tls_context.h"
#include "proto/err.h"

enum { HANDSHAKE_RECORD = 0x16 };

/* --- who speaks in the clear where only TLS is served --- */

#define TEXT "This port of the proxy speaks TLS: use https:// in the URL of the proxy.\n"

/* What the protocol that begins with this byte has for a refusal. */
static size_t refusal_for(uint8_t first, const char **text)
{
    static const char http[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n"
                               "Proxy-Status: viaductd; error=tls_protocol_error\r\n"
                               "Content-Type: text/plain\r\nContent-Length: ";
    static char whole[sizeof http + 16 + sizeof TEXT];
    struct vd_out out = vd_out_over(whole, sizeof whole);
    bool letter = vd_lower((char)first) >= 'a' && vd_lower((char)first) <= 'z';
    *text = first == 5 ? "\5\377" : "\0\133\0\0\0\0\0\0";
    if (first == 5 || first == 4)
        return first == 5 ? 2 : 8;
    if (!letter)
        return 0;
    vd_out_text(&out, http);
    vd_out_uint(&out, sizeof TEXT - 1);
    vd_out_text(&out, "\r\n\r\n" TEXT);
    *text = whole;
    return out.len;
}

static void say(struct session *s, const char *words)
{
    struct vd_out out = vd_out_over(s->setup->dial.said, sizeof s->setup->dial.said);
    vd_out_text(&out, words);
    s->setup->dial.said_len = out.len;
}

static void refuse_plain(struct session *s, uint8_t first)
{
    const char *text;
    size_t len = refusal_for(first, &text);
    say(s, "plain text on a listener for TLS");
    if (len > 0)
        send(session_leg(s, RELAY_CLIENT)->io.fd, text, len, MSG_NOSIGNAL);
    handshake_leave(s, "refused", vd_err_proxy_status(VD_ERR_TLS));
}

void secure_note_unserved(struct session *s)
{
    say(s, "TLS on a listener without a certificate");
    s->setup->tls_unserved = true;
}

/* --- the beginning of TLS --- */

static void start(struct session *s)
{
    struct relay_leg *leg = session_leg(s, RELAY_CLIENT);
    SSL *ssl = tls_context_accept(s->from->tls);
    leg->tls = ssl ? tls_start(&s->worker->tls, &leg->io, ssl, NULL) : NULL;
    if (!leg->tls) {
        session_end(s, "failed");
        return;
    }
    leg->readable = leg->writable = leg->ended = leg->urgent = leg->broken = false;
}

/* Looks at what has come. How many bytes; 0: nothing, or the session is over. */
static size_t look(struct session *s, size_t most)
{
    struct session_setup *setup = s->setup;
    struct relay_leg *leg = session_leg(s, RELAY_CLIENT);
    ssize_t n = recv(leg->io.fd, setup->in, most, MSG_PEEK);
    if (n > 0)
        return (size_t)n;
    if (n == 0 || errno != EAGAIN)
        session_end(s, "client-gone");
    else
        leg->readable = false;
    return 0;
}

/* Whether it was there; then it has been received, and nothing behind it. */
static bool take_line(struct session *s)
{
    struct session_setup *setup = s->setup;
    setup->len = (uint16_t)look(s, sizeof setup->in);
    if (setup->len == 0 || handshake_take_line(s) != VD_DONE)
        return false;
    ssize_t n = recv(session_leg(s, RELAY_CLIENT)->io.fd, setup->in, setup->at, 0);
    bool taken = n == setup->at;
    setup->at = setup->len = 0;
    if (!taken)
        session_end(s, "client-gone");
    return taken;
}

bool secure_decide(struct session *s)
{
    struct session_setup *setup = s->setup;
    if ((setup->line_due && !take_line(s)) || look(s, 1) == 0)
        return false;
    setup->tls_due = false;
    if (setup->in[0] == HANDSHAKE_RECORD) {
        start(s);
        return false;
    }
    if (s->from->conf->tls_only)
        refuse_plain(s, setup->in[0]);
    return !s->from->conf->tls_only;
}
