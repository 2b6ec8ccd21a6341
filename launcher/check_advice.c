/*
 * What failed is proto/chain.h's to say; here is what people can do about it. Advice goes by the
 * reason, by who failed (a hop, the target), and by what answers in the place of the proxy.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "launcher/check_state.h"
#include "proto/err.h"

/* --- who answers ----------------------------------------------------------------------------- */

static bool heard(const struct talk *t, const char *text)
{
    return memmem(t->heard, t->heard_len, text, strlen(text)) != NULL;
}

static bool heard_first(const struct talk *t, const char *text)
{
    size_t len = strlen(text);

    return t->heard_len >= len && !memcmp(t->heard, text, len);
}

static bool is_http(const struct talk *t)
{
    return vd_path_hop(&t->path, t->chain.at)->scheme >= VD_HTTP;
}

/* A status that sends people to a login page of the network (RFC 6585 section 6), or a page for a
 * tunnel. */
bool check_is_portal(const struct talk *t)
{
    unsigned code = t->chain.shake.code;

    if (!t->up || !is_http(t) || code < 200)
        return false;
    return code == 511 || (code >= 300 && code < 400) ||
           (code < 300 && (heard(t, "text/html") || heard(t, "<html") || heard(t, "<HTML")));
}

bool check_is_web_server(const struct talk *t)
{
    unsigned code = t->chain.shake.code;

    return t->up && is_http(t) && (code == 400 || code == 405 || code == 501);
}

static const char *looks(const struct talk *t)
{
    static const struct {
        const char *begins, *words;
    } others[] = {
        {"SSH-", "an SSH server answers there; `ssh -D PORT HOST` makes a SOCKS proxy of it"},
        {"220", "a mail or FTP server answers there, no proxy"},
        {"\x15\x03", "it speaks TLS: a proxy of scheme https, or no proxy"},
        {"\x16\x03", "it speaks TLS: a proxy of scheme https, or no proxy"},
        {"RFB ", "a VNC server answers there, no proxy"},
    };

    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (heard_first(t, others[i].begins))
            return others[i].words;
    return NULL;
}

static void advise_scheme(struct check *c, unsigned at, enum vd_scheme scheme)
{
    struct vd_hop hop = c->hops[at];
    char url[VD_URL_TEXT];
    struct vd_out out = vd_out_over(url, sizeof url);

    hop.scheme = (uint8_t)scheme;
    vd_url_print(&out, &hop);
    snprintf(c->advice, sizeof c->advice, "%s proxy answers there: write %s",
             scheme == VD_HTTP      ? "an HTTP"
             : scheme == VD_SOCKS5H ? "a SOCKS5"
                                    : "a SOCKS4",
             vd_out_string(&out));
}

/* --- by reason ------------------------------------------------------------------------------- */

static const char *dial_advice(const struct check *c)
{
    switch (c->talk.number) {
    case ECONNREFUSED:
        return "nothing listens on that port: does the proxy run, and is the port right?";
    case ETIMEDOUT:
        return "no answer from that address: is it right, and does a firewall let you through?";
    case ENOENT:
    case EACCES:
        return "check the path of the socket, whether the proxy runs, and who may write to it";
    case EHOSTUNREACH:
    case ENETUNREACH:
        return "no way leads to that address: check it, and this machine's network";
    default:
        return "check host and port of the proxy";
    }
}

static const char *next_hop_advice(const struct check *c)
{
    switch (c->talk.chain.cause) {
    case VD_ERR_REFUSED:
        return "nothing listens there, as seen from the hop before: does that proxy run, and is "
               "its "
               "port right?";
    case VD_ERR_NAME:
        return "the hop before knows no such name: names of later hops are resolved by the hop "
               "before";
    default:
        return "check its host and port as they are seen from the hop before, not from here";
    }
}

static const char *login_advice(const struct vd_hop *hop)
{
    return hop->has_login
               ? "check user and password; in a URL, write @ : / % in them as %40 %3A %2F "
                 "%25"
               : "give a login: scheme://USER:PASSWORD@HOST:PORT";
}

static const char *far_advice(const struct check *c, int err)
{
    switch (err) {
    case VD_ERR_REFUSED:
        return "the chain works; the target's port is closed: is the port right?";
    case VD_ERR_NAME:
        return "the chain works; the last hop knows no such name: check how it is spelled";
    case VD_ERR_NET:
    case VD_ERR_HOST:
    case VD_ERR_TTL:
    case VD_ERR_TARGET_RESET:
        return "the chain works; from the last hop no way leads to the target";
    case VD_ERR_DENIED:
        return is_http(&c->talk) ? "the proxy forbids it; many HTTP proxies tunnel to port 443 "
                                   "only: ask who runs it"
                                 : "the proxy's rules forbid it: ask who runs it";
    case VD_ERR_ADDRESS_TYPE:
        return "this hop takes no such address: try the other family, a name, or socks5h and "
               "socks4a "
               "instead of socks5 and socks4";
    case VD_ERR_FAILED:
        return "the proxy gives no reason; its log may, or another target";
    default:
        return NULL;
    }
}

static const char *odd_advice(int err)
{
    switch (err) {
    case VD_ERR_SILENT:
        return "it accepts and then says nothing: no proxy, or an overloaded one (-t gives it more "
               "time)";
    case VD_ERR_CLOSED:
    case VD_ERR_RESET:
        return "it hangs up: another scheme may be meant, or it lets only certain addresses in";
    case VD_ERR_PROTOCOL:
    case VD_ERR_TOO_LONG:
        return "no proxy of this scheme answers there: check scheme and port";
    case VD_ERR_METHOD:
        return "it takes none of the logins offered: none, or user and password";
    case VD_ERR_BUSY:
        return "it is at one of its limits: try later";
    case VD_ERR_UNSUPPORTED:
        return "a unix socket is on this machine, where no hop leads to: it can be hop 1 alone";
    case VD_ERR_TLS:
        return "no proxy in TLS answers there, or it wants other versions or a certificate of "
               "yours: check scheme and port";
    case VD_ERR_CERTIFICATE:
        return "who answers may be another: check the host's name in the URL; for an authority of "
               "your own add ?ca=FILE";
    case VD_ERR_NAME_FORM:
        return "check the name, the user and the password: their protocol cannot carry them";
    default:
        return "see what it says with --check --trace";
    }
}

static bool may_be_another(int err)
{
    return err == VD_ERR_PROTOCOL || err == VD_ERR_CLOSED || err == VD_ERR_RESET ||
           err == VD_ERR_SILENT || err == VD_ERR_FAILED || err == VD_ERR_TLS;
}

static const char *portal_advice(const struct talk *t)
{
    if (check_is_portal(t))
        return "a web page answers in the proxy's place: a captive portal? Log in to the network "
               "with "
               "a browser first";
    if (check_is_web_server(t))
        return "a web server answers there that is no proxy: check host and port";
    return NULL;
}

static const char *advice_for(struct check *c, int err)
{
    const struct talk *t = &c->talk;
    const char *words = NULL;

    if (!t->up && err == VD_ERR_UNREACHABLE)
        return dial_advice(c);
    if (t->chain.cause)
        return next_hop_advice(c);
    if (err == VD_ERR_LOGIN || (err == VD_ERR_METHOD && !c->hops[t->chain.at].has_login))
        return login_advice(&c->hops[t->chain.at]);
    words = portal_advice(t);
    if (!words)
        words = looks(t);
    if (!words && t->chain.at + 1u == c->count)
        words = far_advice(c, err);
    if (!words && err == VD_ERR_DENIED)
        words = "the proxy's rules forbid to go on to the next hop: ask who runs it";
    return words ? words : odd_advice(err);
}

void check_advise(struct check *c, int r)
{
    const struct talk *t = &c->talk;
    struct vd_out out = vd_out_over(c->message, sizeof c->message);
    enum vd_scheme other = (enum vd_scheme)0;
    int err = r < 0 ? -r : VD_ERR_FAILED;
    const char *words;

    vd_chain_explain(&out, &t->chain, -err);
    if (!t->up && t->number) {
        vd_out_text(&out, ": ");
        vd_out_text(&out, strerror(t->number));
    }
    if (t->tls_is_due && *t->tls_said) {
        vd_out_text(&out, ": ");
        vd_out_shown(&out, t->tls_said, strlen(t->tls_said));
    }
    vd_out_string(&out);
    words = advice_for(c, err);
    if (t->up && may_be_another(err) && !t->chain.cause && !looks(t) && !portal_advice(t))
        other = check_other_scheme(c, t->chain.at);
    if (other)
        advise_scheme(c, t->chain.at, other);
    else
        snprintf(c->advice, sizeof c->advice, "%s", words);
}

/* --- worth knowing --------------------------------------------------------------------------- */

/* The number of the last hop before this one that is reached by TLS; 0: there is none. */
static unsigned tls_before(const struct check *c, unsigned at)
{
    while (at > 0 && c->hops[at - 1].scheme != VD_HTTPS)
        at--;
    return at > 0 ? c->first + at : 0;
}

static void warn_of_login(struct check *c, unsigned at)
{
    const struct vd_hop *hop = &c->hops[at];
    unsigned secured = tls_before(c, at);
    bool here = c->hops[0].unix_len > 0 || (c->hops[0].addr_count > 0 &&
                                            vd_ip_class(&c->hops[0].addrs[0]) == VD_CLASS_LOOPBACK);

    if (!hop->has_login || hop->password_len == 0 || hop->scheme == VD_HTTPS ||
        c->warning_count == CHECK_WARNINGS || (at == 0 && here))
        return;
    char *to = c->warnings[c->warning_count++];
    if (at == 0)
        snprintf(
            to, sizeof c->warnings[0],
            "the login of hop %u crosses the link to it in clear: who is on that link can read it",
            c->first + 1);
    else if (secured > 0)
        snprintf(
            to, sizeof c->warnings[0],
            "the login of hop %u crosses the links behind hop %u in clear: hop %u can read it, "
            "and who is between",
            c->first + at + 1, secured, c->first + at);
    else
        snprintf(to, sizeof c->warnings[0],
                 "the login of hop %u crosses %s in clear: hop %u can read it, and who is between",
                 c->first + at + 1, here && at == 1 ? "the link from hop 1" : "all links up to it",
                 c->first + at);
}

static void warn_of_portal(struct check *c)
{
    if (c->ok && !c->has_target && c->talk.chain.shake.stage == VD_STAGE_DONE &&
        c->talk.command == VD_CONNECT && c->warning_count < CHECK_WARNINGS)
        snprintf(
            c->warnings[c->warning_count++], sizeof c->warnings[0],
            "hop %u says yes to a target that cannot exist: it answers before it connects, and "
            "cannot tell why a connection fails",
            c->first + c->count);
}

void check_warn(struct check *c)
{
    for (unsigned at = 0; at < c->count; at++)
        warn_of_login(c, at);
    warn_of_portal(c);
}
