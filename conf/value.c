#include "conf/value.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/bytes.h"
#include "proto/err.h"

#define SERVED "socks4, socks4a, socks5, socks5h, http or https, as in socks5h://HOST:PORT"
#define CLEAN  __attribute__((cleanup(clean_text)))

const char *const vd_conf_modes[] = {"strict",      "dynamic",  "random",
                                     "round_robin", "failover", NULL};
const char *const vd_conf_dns_modes[] = {"auto", "remote", "local", "chain", NULL};
const char *const vd_conf_udp_modes[] = {"auto", "proxy", "deny", "direct", NULL};
const char *const vd_conf_listen_modes[] = {"auto", "chain", "direct", NULL};
const char *const vd_conf_log_formats[] = {"text", "json", NULL};
const char *const vd_conf_switches[] = {"false", "true", NULL};
const char *const vd_conf_udp_filters[] = {"host", "port", "any", NULL};

static void clean_text(char **text)
{
    free(*text);
}

/* Room for every byte as \xNN. */
static char *shown(const char *text)
{
    size_t cap = strlen(text) * 4 + 1;
    char *copy = malloc(cap);
    if (!copy)
        return NULL;

    struct vd_out out = vd_out_over(copy, cap);
    for (const char *at = text; *at; at++) {
        if (*at == '"' || *at == '\\')
            vd_out_u8(&out, (uint8_t)*at);
        else
            vd_out_shown(&out, at, 1);
    }
    vd_out_string(&out);
    return copy;
}

int vd_conf_wrong(char **error, const char *format, ...)
{
    va_list args;
    char *text = NULL;

    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    if (len < 0)
        text = NULL;
    *error = text ? shown(text) : NULL;
    free(text);
    return -1;
}

char *vd_conf_masked(const char *url)
{
    const char *host = strrchr(url, '@');
    const char *user = strstr(url, "//");
    user = user && user < host ? user + 2 : url;
    const char *colon = strchr(user, ':');
    if (!host || !colon || colon > host)
        return strdup(url);

    char *masked = NULL;
    if (asprintf(&masked, "%.*s:***%s", (int)(colon - url), url, host) < 0)
        return NULL;
    return masked;
}

static int choice_wrong(const char *what, const char *const *words, const char *text, char **error)
{
    char list[256];
    struct vd_out out = vd_out_over(list, sizeof list);

    for (size_t i = 0; words[i]; i++) {
        vd_out_text(&out, i ? ", " : "");
        vd_out_text(&out, words[i]);
    }
    return vd_conf_wrong(error, "unknown %s `%s`; allowed: %s", what, text, vd_out_string(&out));
}

int vd_conf_choice(const char *what, const char *const *words, const char *text, char **error)
{
    for (int i = 0; words[i]; i++)
        if (!strcmp(words[i], text))
            return i;
    return choice_wrong(what, words, text, error);
}

static int hop_wrong(const char *url, const struct vd_url_error *why, char **error)
{
    CLEAN char *masked = vd_conf_masked(url);
    const char *text = masked ? masked : "";
    if (!strcmp(why->part, "url"))
        return vd_conf_wrong(error, "bad proxy URL `%s`; allowed: %s", text, why->allowed);
    if (!strcmp(why->part, "scheme"))
        return vd_conf_wrong(error, "%s scheme in the proxy URL `%s`; allowed: " SERVED,
                             strstr(text, "://") ? "bad" : "no", text);
    return vd_conf_wrong(error, "bad %s in the proxy URL `%s`; allowed: %s", why->part, text,
                         why->allowed);
}

int vd_conf_hop(struct vd_hop *hop, const char *url, char **error)
{
    struct vd_url_error why = {"url", "scheme://[user[:password]@]host[:port]"};

    if (vd_url_read(hop, url, strlen(url), &why) < 0)
        return hop_wrong(url, &why, error);
    if (!vd_endpoint_is_name(&hop->at) && hop->addr_count == 0) {
        hop->addrs[0] = hop->at.ip;
        hop->addr_count = 1;
    }
    return 0;
}

int vd_conf_pattern(struct vd_pattern *pattern, const char *text, char **error)
{
    const char *allowed = "an address, a CIDR, a name, *.suffix or *, each with optional :port";

    if (vd_pattern_read(pattern, text, strlen(text), &allowed) < 0)
        return vd_conf_wrong(error, "bad pattern `%s`; allowed: %s", text, allowed);
    return 0;
}

/* The decimals as thousandths: "5" is 500, "" is 0. */
static int64_t thousandths(const char *digits)
{
    char padded[] = "000";
    size_t len = strlen(digits);

    if (len > 3)
        return -1;
    memcpy(padded, digits, len);
    return vd_uint_read(padded, 3, 999);
}

int vd_conf_seconds(uint32_t *ms, const char *what, const char *text, char **error)
{
    enum { DAY = 24 * 3600 };
    const char *point = strchr(text, '.');
    size_t len = point ? (size_t)(point - text) : strlen(text);
    int64_t whole = vd_uint_read(text, len, DAY);
    int64_t part = point ? thousandths(point + 1) : 0;
    int64_t sum = whole * 1000 + part;

    if (whole < 0 || part < 0 || sum == 0 || sum > DAY * INT64_C(1000) || (point && !point[1]))
        return vd_conf_wrong(error, "bad %s `%s`; allowed: seconds from 0.001 to %d", what, text,
                             DAY);
    *ms = (uint32_t)sum;
    return 0;
}

int vd_conf_number(uint32_t *value, const char *what, const char *text, uint32_t least,
                   uint32_t most, char **error)
{
    int64_t number = vd_uint_read(text, strlen(text), most);

    if (number < least)
        return vd_conf_wrong(error, "bad %s `%s`; allowed: a number from %u to %u", what, text,
                             least, most);
    *value = (uint32_t)number;
    return 0;
}
