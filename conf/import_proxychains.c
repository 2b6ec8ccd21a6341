/*
 * proxychains.conf: options, one a line, then [ProxyList] with a proxy a line:
 *
 *     TYPE HOST PORT [USER PASSWORD]
 */
#include <string.h>

#include "conf/import_parts.h"
#include "proto/url.h"

enum { MS_MAX = 86400000, PORT_MAX = 65535 };

static void set_mode(struct import *im, const char *word)
{
    static const struct {
        const char *word, *mode;
    } modes[] = {{"strict_chain", "strict"},
                 {"dynamic_chain", "dynamic"},
                 {"random_chain", "random"},
                 {"round_robin_chain", "round_robin"}};

    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (!strcmp(word, modes[i].word))
            im->mode = modes[i].mode;
}

static bool is_mode(const char *word)
{
    size_t len = strlen(word);

    return len > 6 && !strcmp(word + len - 6, "_chain");
}

static void localnet(struct import *im, const char *net, const char *text)
{
    char pattern[160];

    if (import_net(net, pattern, sizeof pattern))
        import_bypass(im, pattern);
    else
        import_note(im, text, "not understood as ADDRESS[:PORT]/MASK");
}

/* Options without a counterpart, and why. */
static const char *reason_for(const char *word)
{
    static const struct {
        const char *word, *why;
    } reasons[] = {
        {"quiet_mode", "run viaduct with -q"},
        {"remote_dns_subnet", "viaduct finds a range of placeholder addresses by itself"},
        {"dnat", "connections are not sent elsewhere than the program asked for"},
        {"proxy_dns_daemon", "no daemon is needed: the processes of a command share their names"},
    };

    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (!strcmp(word, reasons[i].word))
            return reasons[i].why;
    return NULL;
}

static bool set_number(struct import *im, const char *word, const char *value)
{
    int64_t number = import_number(value, MS_MAX);

    if (number < 0)
        return false;
    if (!strcmp(word, "tcp_connect_time_out"))
        im->connect_ms = (uint32_t)number;
    else if (!strcmp(word, "tcp_read_time_out"))
        im->read_ms = (uint32_t)number;
    else if (!strcmp(word, "chain_len") && number >= 1)
        im->pick = (unsigned)number;
    else
        return false;
    return true;
}

static bool is_type(const char *word)
{
    return !strcmp(word, "socks4") || !strcmp(word, "socks5") || !strcmp(word, "http") ||
           !strcmp(word, "raw");
}

/* WORD VALUE, WORD = VALUE or WORD=VALUE; "" if there is none. */
static const char *value_of(char **words, unsigned count)
{
    char *sign = strchr(words[0], '=');

    if (sign) {
        *sign = 0;
        return sign + 1;
    }
    if (count > 2 && !strcmp(words[1], "="))
        return words[2];
    return count > 1 ? words[1] : "";
}

static void option(struct import *im, char **words, unsigned count, const char *text)
{
    const char *value = value_of(words, count), *why = reason_for(words[0]);

    if (!strncmp(words[0], "proxy_dns", strlen("proxy_dns")))
        im->remote_dns = true;
    else if (is_mode(words[0]))
        set_mode(im, words[0]);
    else if (!strcmp(words[0], "localnet"))
        localnet(im, value, text);
    else if (!why && is_type(words[0]))
        import_note(im, words[0], "a proxy before [ProxyList]: left out"); /* with its password */
    else if (!why && !set_number(im, words[0], value))
        why = "not understood";
    if (why)
        import_note(im, text, why);
}

/* With proxy_dns names go to the proxies, else addresses. */
static const char *scheme_of(const struct import *im, const char *type)
{
    if (!strcmp(type, "socks4"))
        return im->remote_dns ? "socks4a" : "socks4";
    if (!strcmp(type, "socks5"))
        return im->remote_dns ? "socks5h" : "socks5";
    return strcmp(type, "http") == 0 ? "http" : NULL;
}

static void proxy(struct import *im, char **words, unsigned count, const char *text)
{
    const char *scheme = scheme_of(im, words[0]);
    int64_t port = count > 2 ? import_number(words[2], PORT_MAX) : -1;

    if (!strcmp(words[0], "raw")) {
        import_note(im, words[0],
                    "a hop without a protocol: viaductd's forward:// listener does that; the chain "
                    "goes without it");
        return;
    }
    if (!scheme || port < 1) {
        import_note(im, words[0],
                    "not understood as TYPE HOST PORT [USER PASSWORD]; the chain goes without it");
        return;
    }
    (void)text; /* it may hold a password */
    import_hop(im, im->hops, scheme, words[1], (unsigned)port, count > 3 ? words[3] : "",
               count > 4 ? words[4] : "");
}

void import_proxychains(struct import *im, char **words, unsigned count, const char *text)
{
    if (!strcmp(words[0], "[ProxyList]"))
        im->in_list = true;
    else if (im->in_list)
        proxy(im, words, count, text);
    else
        option(im, words, count, text);
}
