/*
 * HTTP CONNECT: one request, one response head (RFC 9110 section 9.3.6).
 *
 * The head is consumed as it comes and judged line by line; of a line only its first bytes are kept
 * (in `in`), which is all that any line of interest needs. `have` counts the bytes of the present
 * line, `head` those of the whole head, and `code` is 0 until the status line was read. Interim
 * responses (1xx) are skipped. A response to CONNECT with 2xx has no body whatever its headers say:
 * the byte behind the blank line is the tunnel's.
 */
#include <string.h>

#include "proto/shake_codec.h"

enum { HEAD_LEAST = 14 /* "HTTP/1.0 200", LF, LF */ };

static int start(struct vd_shake *s)
{
    if (s->command != VD_CONNECT)
        return -VD_ERR_COMMAND;
    if (s->hop->has_login && memchr(s->hop->user, ':', s->hop->user_len))
        return -VD_ERR_NAME_FORM; /* RFC 7617: the colon ends the user */
    vd_shake_enter(s, VD_STAGE_REPLY);
    return VD_OK;
}

static void write_login(const struct vd_hop *hop, struct vd_out *out)
{
    uint8_t login[2 * VD_LOGIN_MAX + 1];
    struct vd_out pair = vd_out_over(login, sizeof login);

    vd_out_bytes(&pair, hop->user, hop->user_len);
    vd_out_u8(&pair, ':');
    vd_out_bytes(&pair, hop->password, hop->password_len);
    vd_out_text(out, "Proxy-Authorization: Basic ");
    vd_out_base64(out, login, pair.len);
    vd_out_text(out, "\r\n");
}

/* "Connection: close" keeps a proxy that refuses from reading what follows as its next request. */
static void write(const struct vd_shake *s, struct vd_out *out)
{
    vd_out_text(out, "CONNECT ");
    vd_endpoint_print(out, &s->target);
    vd_out_text(out, " HTTP/1.1\r\nHost: ");
    vd_endpoint_print(out, &s->target);
    vd_out_text(out, "\r\n");
    if (s->hop->has_login)
        write_login(s->hop, out);
    vd_out_text(out, "Connection: close\r\n\r\n");
}

/* Without a look-ahead: in a line, its LF and one more; at a line's start the blank line's first
 * byte. Both hold for CR LF and for a bare LF. */
static size_t want(const struct vd_shake *s)
{
    if (s->head == 0)
        return HEAD_LEAST;
    return s->have == 0 || (s->have == 1 && s->in[0] == '\r') ? 1 : 2;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static const char form[] = "HTTP/1.d ddd";

/* Whether a status line may begin like this, judged as far as it has come. */
static bool status_line_fits(const uint8_t *line, size_t len)
{
    for (size_t i = 0; i < len && i < sizeof form - 1; i++) {
        bool fits = form[i] == 'd' ? is_digit(line[i]) : line[i] == (uint8_t)form[i];

        if (!fits)
            return false;
    }
    return true;
}

static int take_status(struct vd_shake *s, size_t len)
{
    size_t least = sizeof form - 1;

    if (len < least || !status_line_fits(s->in, len) || (len > least && s->in[least] != ' '))
        return -VD_ERR_PROTOCOL;
    s->code = (uint16_t)((s->in[9] - '0') * 100 + (s->in[10] - '0') * 10 + (s->in[11] - '0'));
    return s->code < 100 || s->code == 101 ? -VD_ERR_PROTOCOL : VD_MORE;
}

/* RFC 9209: a proxy that says more than its status does. */
static void take_field(struct vd_shake *s, size_t len)
{
    static const char name[] = "proxy-status:", key[] = "error=";
    const char *line = (const char *)s->in;
    size_t at = sizeof name - 1, end;

    if (len < at || !vd_same_text(line, name, at) || s->reason)
        return;
    while (at + sizeof key - 1 <= len && memcmp(line + at, key, sizeof key - 1))
        at++;
    at += sizeof key - 1;
    for (end = at; end < len && (line[end] == '_' || (line[end] >= 'a' && line[end] <= 'z')); end++)
        ;
    if (end > at && end - at <= UINT8_MAX)
        s->reason = (uint8_t)vd_err_of_proxy_status(line + at, (uint8_t)(end - at));
}

static int refusal(const struct vd_shake *s)
{
    enum vd_err err = vd_err_of_http(s->code);

    return err == VD_OK ? VD_OK : -(int)(err == VD_ERR_LOGIN || !s->reason ? err : s->reason);
}

static int end_head(struct vd_shake *s)
{
    int r;

    if (s->code == 0)
        return VD_MORE; /* a blank line before the status line: RFC 9112 section 2.2 */
    if (s->code < 200) {
        s->code = 0;
        return VD_MORE;
    }
    r = refusal(s);
    return r < 0 ? r : VD_DONE;
}

static int end_line(struct vd_shake *s)
{
    size_t kept = s->have < sizeof s->in ? s->have : sizeof s->in;

    s->have = 0;
    if (kept > 0 && s->in[kept - 1] == '\r')
        kept--;
    if (kept == 0)
        return end_head(s);
    if (s->code == 0)
        return take_status(s, kept);
    take_field(s, kept);
    return VD_MORE;
}

static int take_byte(struct vd_shake *s, uint8_t c)
{
    if (++s->head > VD_HEAD_MAX)
        return -VD_ERR_TOO_LONG;
    if (c == '\n')
        return end_line(s);
    if (s->have < sizeof s->in)
        s->in[s->have] = c;
    s->have = (uint16_t)(s->have < UINT16_MAX ? s->have + 1 : s->have);
    if (s->code == 0 && s->in[0] != '\r' && !status_line_fits(s->in, s->have))
        return -VD_ERR_PROTOCOL; /* at once: garbage need not have a line's end */
    return VD_MORE;
}

static int feed(struct vd_shake *s, const uint8_t *data, size_t len, size_t *used)
{
    int r = VD_MORE;

    while (r == VD_MORE && *used < len)
        r = take_byte(s, data[(*used)++]);
    return r;
}

static int cut(const struct vd_shake *s, enum vd_loss loss)
{
    (void)loss;
    return s->code >= 200 ? refusal(s) : VD_OK;
}

const struct vd_shake_codec vd_http_connect_codec = {start, write, want, feed, cut};
