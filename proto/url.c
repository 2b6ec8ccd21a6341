#include "proto/url.h"

#include <string.h>

#include "proto/err.h"

enum { TIMEOUT_MAX_S = 86400 };

struct scheme {
    const char *name;
    enum vd_scheme scheme;
    uint16_t port;
};

static const struct scheme schemes[] = {
    {"socks4", VD_SOCKS4, 1080},   {"socks4a", VD_SOCKS4A, 1080}, {"socks5", VD_SOCKS5, 1080},
    {"socks5h", VD_SOCKS5H, 1080}, {"http", VD_HTTP, 8080},       {"https", VD_HTTPS, 443},
};

/* A piece of the URL, borrowed. */
struct text {
    const char *at;
    size_t len;
};

static int refuse(struct vd_url_error *why, const char *part, const char *allowed)
{
    *why = (struct vd_url_error){part, allowed};
    return -VD_ERR_PROTOCOL;
}

/* Takes the first n bytes off the front. */
static struct text take(struct text *rest, size_t n)
{
    struct text front = {rest->at, n};

    rest->at += n;
    rest->len -= n;
    return front;
}

/* How many bytes stand before the first of `stops`. */
static size_t span(struct text text, const char *stops)
{
    size_t n = 0;

    while (n < text.len && !strchr(stops, text.at[n]))
        n++;
    return n;
}

/* --- percent-encoding, RFC 3986 section 2.1 --- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = vd_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes into at most cap bytes and a NUL behind them; the length, or -1. */
static int decode(struct text text, char *buf, size_t cap)
{
    size_t n = 0;

    for (size_t i = 0; i < text.len; i++, n++) {
        int high, low;

        if (n == cap)
            return -1;
        if (text.at[i] != '%') {
            buf[n] = text.at[i];
            continue;
        }
        high = i + 2 < text.len ? hex_digit(text.at[i + 1]) : -1;
        low = i + 2 < text.len ? hex_digit(text.at[i + 2]) : -1;
        if (high < 0 || low < 0)
            return -1;
        buf[n] = (char)(high << 4 | low);
        i += 2;
    }
    buf[n] = 0;
    return (int)n;
}

static bool stands_plain(char c, const char *also)
{
    char lower = vd_lower(c);

    if ((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9'))
        return true;
    return c && (strchr("-._~!$&'()*+,;=", c) || strchr(also, c));
}

static void encode(struct vd_out *out, const char *data, size_t len, const char *also)
{
    static const char hex[] = "0123456789ABCDEF";

    for (size_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)data[i];

        if (stands_plain(data[i], also))
            vd_out_u8(out, c);
        else
            vd_out_bytes(out, (const char[]){'%', hex[c >> 4], hex[c & 15]}, 3);
    }
}

/* --- reading, part by part --- */

static const struct scheme *read_scheme(struct vd_hop *hop, struct text *rest)
{
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t len = strlen(schemes[i].name);

        if (rest->len < len + 3 || !vd_same_text(rest->at, schemes[i].name, len) ||
            memcmp(rest->at + len, "://", 3))
            continue;
        take(rest, len + 3);
        hop->scheme = (uint8_t)schemes[i].scheme;
        return &schemes[i];
    }
    return NULL;
}

static bool has_control(const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((uint8_t)data[i] < 0x20 || data[i] == 0x7f)
            return true;
    return false;
}

/* What the protocol cannot carry is better said here than by the proxy: SOCKS4 ends the user with
 * a NUL and knows no password, Basic ends it with a colon (RFC 7617), SOCKS5 counts the user's
 * bytes from 1 (RFC 1929). */
static int check_login(const struct vd_hop *hop, bool has_password, struct vd_url_error *why)
{
    bool http = hop->scheme >= VD_HTTP, socks4 = hop->scheme <= VD_SOCKS4A;

    if (socks4 && memchr(hop->user, 0, hop->user_len))
        return refuse(why, "user", "up to 255 bytes without NUL");
    if (socks4 && has_password)
        return refuse(why, "password", "none: SOCKS4 has only a user");
    if (!socks4 && !http && hop->user_len == 0)
        return refuse(why, "user", "1 to 255 bytes");
    if (http && memchr(hop->user, ':', hop->user_len))
        return refuse(why, "user", "no colon: HTTP ends the user with it");
    if (http && has_control(hop->user, hop->user_len))
        return refuse(why, "user", "no control characters");
    if (http && has_control(hop->password, hop->password_len))
        return refuse(why, "password", "no control characters");
    return VD_OK;
}

static int read_login(struct vd_hop *hop, struct text login, struct vd_url_error *why)
{
    struct text user = take(&login, span(login, ":"));
    bool has_password = login.len > 0;
    int len = decode(user, hop->user, VD_LOGIN_MAX);

    if (len < 0)
        return refuse(why, "user", "up to 255 bytes, %XX for special ones");
    hop->user_len = (uint8_t)len;
    if (has_password)
        take(&login, 1);
    len = decode(login, hop->password, VD_LOGIN_MAX);
    if (len < 0)
        return refuse(why, "password", "up to 255 bytes, %XX for special ones");
    hop->password_len = (uint8_t)len;
    hop->has_login = 1;
    return check_login(hop, has_password, why);
}

/* The last "@" ends the login: one in a password that should have been %40 does no harm. */
static int read_user_info(struct vd_hop *hop, struct text *authority, struct vd_url_error *why)
{
    struct text login = {authority->at, 0};

    for (size_t i = 0; i < authority->len; i++)
        if (authority->at[i] == '@')
            login.len = i + 1;
    take(authority, login.len);
    return login.len > 1 ? read_login(hop, (struct text){login.at, login.len - 1}, why) : VD_OK;
}

static int read_place(struct vd_hop *hop, struct text place, uint16_t port,
                      struct vd_url_error *why)
{
    const char *colon = memchr(place.at, ':', place.len);
    bool bracketed = place.len > 0 && *place.at == '[';
    int r;

    if (colon && !bracketed && memchr(colon + 1, ':', place.len - (size_t)(colon + 1 - place.at)))
        return refuse(why, "host",
                      "an IPv6 address in brackets, as in socks5h://[2001:db8::1]:1080");
    if (memchr(place.at, '%', place.len))
        return refuse(why, "host", "a name or an address, without percent-encoding or scope");
    r = vd_endpoint_read(&hop->at, place.at, place.len, port);
    if (r == -VD_ERR_NAME_FORM)
        return refuse(why, "host", "a name of 1 to 255 bytes, an IPv4 address or [IPv6]");
    return r < 0 ? refuse(why, "port", "1 to 65535") : VD_OK;
}

static int read_unix_path(struct vd_hop *hop, struct text *rest, struct vd_url_error *why)
{
    int len = decode(take(rest, span(*rest, "?#")), hop->unix_path, VD_UNIX_PATH_MAX);

    if (len < 2 || memchr(hop->unix_path, 0, (size_t)len))
        return refuse(why, "host", "unix:/PATH of up to 107 bytes, %XX for special ones");
    hop->unix_len = (uint8_t)len;
    return VD_OK;
}

/* host[:port] and a "/" that means nothing, or unix:/PATH. */
static int read_where(struct vd_hop *hop, struct text place, struct text *rest, uint16_t port,
                      struct vd_url_error *why)
{
    bool is_unix = place.len == 5 && !memcmp(place.at, "unix:", 5);
    int r;

    if (is_unix && rest->len > 0 && *rest->at == '/')
        return read_unix_path(hop, rest, why);
    r = read_place(hop, place, port, why);
    if (r == VD_OK && rest->len > 0 && *rest->at == '/')
        take(rest, 1);
    return r;
}

/* SECONDS with up to three decimals that count; 0 if it is none. */
static uint32_t read_ms(struct text text)
{
    struct text whole = take(&text, span(text, "."));
    int64_t ms = vd_uint_read(whole.at, whole.len, TIMEOUT_MAX_S) * 1000;

    if (text.len > 0) {
        take(&text, 1);
        if (vd_uint_read(text.at, text.len, UINT64_MAX) < 0)
            return 0;
        for (size_t i = 0, weight = 100; i < text.len && weight > 0; i++, weight /= 10)
            ms += (int64_t)weight * (text.at[i] - '0');
    }
    return ms > 0 && ms <= TIMEOUT_MAX_S * 1000 ? (uint32_t)ms : 0;
}

static bool is_word(struct text text, const char *word)
{
    return text.len == strlen(word) && !memcmp(text.at, word, text.len);
}

static int read_timeout(struct vd_hop *hop, struct text value, struct vd_url_error *why)
{
    hop->timeout_ms = read_ms(value);
    if (hop->timeout_ms == 0)
        return refuse(why, "option", "timeout=SECONDS, from 0.001 to 86400");
    return VD_OK;
}

const char *vd_pipeline_name(enum vd_pipeline pipeline)
{
    static const char *const names[] = {"auto", "off", "lead", "auto"};

    return names[pipeline];
}

static int read_pipeline(struct vd_hop *hop, struct text value, struct vd_url_error *why)
{
    for (enum vd_pipeline p = VD_PIPELINE_AUTO; p <= VD_PIPELINE_LEAD; p++) {
        if (!is_word(value, vd_pipeline_name(p)))
            continue;
        hop->pipeline = (uint8_t)p;
        return VD_OK;
    }
    return refuse(why, "option", "pipeline=auto, pipeline=off or pipeline=lead");
}

static int read_probe(struct vd_hop *hop, struct text value, struct vd_url_error *why)
{
    if (!is_word(value, "yes") && !is_word(value, "no"))
        return refuse(why, "option", "probe=yes or probe=no");
    hop->no_probe = is_word(value, "no");
    return VD_OK;
}

static int read_verify(struct vd_hop *hop, struct text value, struct vd_url_error *why)
{
    if (!is_word(value, "yes") && !is_word(value, "no"))
        return refuse(why, "option", "verify=yes or verify=no");
    hop->no_verify = is_word(value, "no");
    return VD_OK;
}

static int read_ca(struct vd_hop *hop, struct text value, struct vd_url_error *why)
{
    int len = decode(value, hop->ca, VD_CA_MAX);

    if (len <= 0 || has_control(hop->ca, (size_t)len))
        return refuse(why, "option", "ca=FILE, 1 to 255 bytes, %XX for special ones");
    return VD_OK;
}

/* What would be believed to protect and does not is no option. */
static int check_tls(const struct vd_hop *hop, struct vd_url_error *why)
{
    bool said = hop->no_verify || hop->ca[0];

    if (said && hop->scheme != VD_HTTPS)
        return refuse(why, "option", "ca=FILE and verify=no with https:// only");
    if (hop->no_verify && hop->ca[0])
        return refuse(why, "option", "ca=FILE or verify=no, not both");
    if (hop->scheme == VD_HTTPS && hop->unix_len > 0 && !hop->no_verify)
        return refuse(why, "option", "verify=no with https://unix:/PATH, which has no name");
    return VD_OK;
}

static int read_option(struct vd_hop *hop, struct text option, struct vd_url_error *why)
{
    struct text name = take(&option, span(option, "="));

    if (option.len > 0) {
        take(&option, 1);
        if (is_word(name, "timeout"))
            return read_timeout(hop, option, why);
        if (is_word(name, "pipeline"))
            return read_pipeline(hop, option, why);
        if (is_word(name, "probe"))
            return read_probe(hop, option, why);
        if (is_word(name, "verify"))
            return read_verify(hop, option, why);
        if (is_word(name, "ca"))
            return read_ca(hop, option, why);
    }
    return refuse(why, "option",
                  "timeout=SECONDS, pipeline=auto, off or lead, probe=yes or no, ca=FILE, "
                  "verify=yes or no");
}

static int read_options(struct vd_hop *hop, struct text rest, struct vd_url_error *why)
{
    int r = VD_OK;

    if (rest.len > 0 && *rest.at != '?')
        return refuse(why, "url", "scheme://[user[:password]@]host[:port][?option=value&...]");
    while (r == VD_OK && rest.len > 1) {
        take(&rest, 1);
        r = read_option(hop, take(&rest, span(rest, "&")), why);
    }
    return r == VD_OK ? check_tls(hop, why) : r;
}

static bool has_gap(struct text text)
{
    return has_control(text.at, text.len) || (text.len > 0 && memchr(text.at, ' ', text.len));
}

int vd_url_read(struct vd_hop *hop, const char *text, size_t len, struct vd_url_error *why)
{
    struct text rest = {text, len}, authority;
    const struct scheme *scheme;
    int r;

    memset(hop, 0, sizeof *hop);
    if (has_gap(rest))
        return refuse(why, "url", "no spaces or control characters");
    scheme = read_scheme(hop, &rest);
    if (!scheme)
        return refuse(why, "scheme",
                      "socks4://, socks4a://, socks5://, socks5h://, http:// or https://");
    authority = take(&rest, span(rest, "/?#"));
    r = read_user_info(hop, &authority, why);
    if (r == VD_OK)
        r = read_where(hop, authority, &rest, scheme->port, why);
    return r == VD_OK ? read_options(hop, rest, why) : r;
}

/* --- printing --- */

const char *vd_scheme_name(enum vd_scheme scheme)
{
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (schemes[i].scheme == scheme)
            return schemes[i].name;
    return "unknown";
}

static void print_one(struct vd_out *out, const struct vd_hop *hop)
{
    vd_out_text(out, vd_scheme_name((enum vd_scheme)hop->scheme));
    vd_out_text(out, "://");
    if (hop->user_len > 0) {
        encode(out, hop->user, hop->user_len, "");
        vd_out_text(out, "@");
    }
    if (hop->unix_len > 0) {
        vd_out_text(out, "unix:");
        encode(out, hop->unix_path, hop->unix_len, "/");
    } else {
        vd_endpoint_print(out, &hop->at);
    }
}

void vd_url_print(struct vd_out *out, const struct vd_hop *hop)
{
    if (hop->stands_for == 0)
        print_one(out, hop);
    for (unsigned i = 0; i < hop->stands_for; i++) {
        vd_out_text(out, i ? ", " : "");
        print_one(out, hop + 1 + i);
    }
}

static void name_option(struct vd_out *out, const char **mark, const char *name)
{
    vd_out_text(out, *mark);
    vd_out_text(out, name);
    vd_out_text(out, "=");
    *mark = "&";
}

static void print_seconds(struct vd_out *out, uint32_t ms)
{
    uint32_t rest = ms % 1000;

    vd_out_uint(out, ms / 1000);
    if (rest == 0)
        return;
    vd_out_text(out, rest < 10 ? ".00" : rest < 100 ? ".0" : ".");
    vd_out_uint(out, rest);
}

/* As encode, but for the ampersand, which would end it. */
static void print_path(struct vd_out *out, const char *path)
{
    for (; *path; path++) {
        if (*path == '&')
            vd_out_text(out, "%26");
        else
            encode(out, path, 1, "/:@");
    }
}

void vd_url_print_options(struct vd_out *out, const struct vd_hop *hop)
{
    const char *mark = "?";

    if (hop->timeout_ms > 0) {
        name_option(out, &mark, "timeout");
        print_seconds(out, hop->timeout_ms);
    }
    if (hop->pipeline == VD_PIPELINE_OFF || hop->pipeline == VD_PIPELINE_LEAD) {
        name_option(out, &mark, "pipeline");
        vd_out_text(out, vd_pipeline_name((enum vd_pipeline)hop->pipeline));
    }
    if (hop->no_probe) {
        name_option(out, &mark, "probe");
        vd_out_text(out, "no");
    }
    if (hop->ca[0]) {
        name_option(out, &mark, "ca");
        print_path(out, hop->ca);
    }
    if (hop->no_verify) {
        name_option(out, &mark, "verify");
        vd_out_text(out, "no");
    }
}

bool vd_hop_takes_names(const struct vd_hop *hop)
{
    return hop->scheme != VD_SOCKS4 && hop->scheme != VD_SOCKS5;
}
