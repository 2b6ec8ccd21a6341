/*
 * torsocks.conf: `Word value` lines about one Tor daemon. tsocks.conf: `word = value` lines about
 * one server, and blocks for others:
 *
 *     path {
 *         reaches = NET/MASK
 *         server = HOST ...
 *     }
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "conf/import_parts.h"

enum { PORT_MAX = 65535, TOR_PORT = 9050, SOCKS_PORT = 1080 };

static void copy(char to[256], const char *from)
{
    snprintf(to, 256, "%s", from);
}

static struct import_server *server_of(struct import *im)
{
    return &im->servers[im->in_path];
}

static void set_port(struct import *im, const char *value, const char *text)
{
    int64_t port = import_number(value, PORT_MAX);

    if (port < 1)
        import_note(im, text, "no port");
    else
        server_of(im)->port = (unsigned)port;
}

/* --- torsocks ----------------------------------------------------------------------------------
 */

static const char *torsocks_reason(const char *word)
{
    if (!strcasecmp(word, "OnionAddrRange"))
        return "viaduct finds a range of placeholder addresses by itself";
    if (!strcasecmp(word, "AllowInbound"))
        return "listeners are left alone; see `listen` in viaduct.conf(5)";
    if (!strcasecmp(word, "EnableIPv6"))
        return "IPv6 is always carried";
    return "not understood";
}

void import_torsocks(struct import *im, char **words, unsigned count, const char *text)
{
    const char *value = count > 1 ? words[1] : "", *why;

    im->remote_dns = true;
    if (!strcasecmp(words[0], "TorAddress"))
        copy(server_of(im)->host, value);
    else if (!strcasecmp(words[0], "TorPort"))
        set_port(im, value, text);
    else if (!strcasecmp(words[0], "SOCKS5Username"))
        copy(server_of(im)->user, value);
    else if (!strcasecmp(words[0], "SOCKS5Password"))
        copy(server_of(im)->password, value);
    else if (!strcasecmp(words[0], "AllowOutboundLocalhost"))
        im->keeps_bypass = *value != '0';
    else if (!strcasecmp(words[0], "IsolatePID"))
        im->isolates = *value != '0';
    else if ((why = torsocks_reason(words[0])))
        import_note(im, text, why);
}

void import_torsocks_end(struct import *im)
{
    const struct import_server *tor = server_of(im);

    import_hop(im, im->hops, "socks5h", *tor->host ? tor->host : "127.0.0.1",
               tor->port ? tor->port : TOR_PORT, tor->user, tor->password);
}

/* --- tsocks ------------------------------------------------------------------------------------
 */

static bool put_server(struct import *im, FILE *to)
{
    const struct import_server *s = server_of(im);

    return import_hop(im, to, s->type == 5 ? "socks5" : "socks4", s->host,
                      s->port ? s->port : SOCKS_PORT, s->user, s->password);
}

static void put_path(struct import *im)
{
    char *hop = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&hop, &len);
    bool ok = to && put_server(im, to);

    if (to && fclose(to) == 0 && ok) {
        im->rule_count++;
        fprintf(im->chains, "chain path%u { hops = {%s} }\n", im->rule_count, hop);
        fprintf(im->rules, "rule path%u { match = {%s} chain = \"path%u\" }\n", im->rule_count,
                im->reaches, im->rule_count);
        if (!im->first_path) {
            im->first_path = hop;
            return;
        }
    }
    free(hop);
}

static void end_path(struct import *im)
{
    if (*server_of(im)->host && *im->reaches)
        put_path(im);
    else
        import_note(im, "path", "no server, or nothing that it reaches: left out");
    im->servers[true] = (struct import_server){.port = 0};
    im->reaches[0] = 0;
    im->in_path = false;
}

static void net(struct import *im, bool local, const char *value, const char *text)
{
    char pattern[160];
    size_t len = strlen(im->reaches);

    if (!import_net(value, pattern, sizeof pattern))
        import_note(im, text,
                    "not understood as ADDRESS[:PORT]/MASK; ranges of ports have no "
                    "counterpart");
    else if (local)
        import_bypass(im, pattern);
    else if (len + strlen(pattern) + sizeof ", \"\"" > sizeof im->reaches)
        import_note(im, text, "more than one rule is made of: left out");
    else
        snprintf(im->reaches + len, sizeof im->reaches - len, "%s\"%s\"", len ? ", " : "", pattern);
}

static bool describes_server(struct import *im, const char *word, const char *value,
                             const char *text)
{
    if (!strcmp(word, "server"))
        copy(server_of(im)->host, value);
    else if (!strcmp(word, "server_port"))
        set_port(im, value, text);
    else if (!strcmp(word, "server_type"))
        server_of(im)->type = value[0] == '5' ? 5 : 4;
    else if (!strcmp(word, "default_user"))
        copy(server_of(im)->user, value);
    else if (!strcmp(word, "default_pass"))
        copy(server_of(im)->password, value);
    else
        return false;
    return true;
}

void import_tsocks(struct import *im, char **words, unsigned count, const char *text)
{
    const char *value = count > 1 ? words[1] : "";

    if (!strcmp(words[0], "path")) {
        im->in_path = true;
    } else if (!strcmp(words[0], "}") && im->in_path) {
        end_path(im);
    } else if (!strcmp(words[0], "local") || !strcmp(words[0], "reaches")) {
        net(im, words[0][0] == 'l', value, text);
    } else if (!strcmp(words[0], "fallback")) {
        import_note(im, text, "nothing goes directly because a proxy fails");
    } else if (!strncmp(words[0], "tordns_", strlen("tordns_"))) {
        import_note(im, text,
                    "with socks5h names are the proxy's; viaduct finds a range of "
                    "placeholder addresses by itself");
    } else if (!describes_server(im, words[0], value, text)) {
        import_note(im, text, "not understood");
    }
}

void import_tsocks_end(struct import *im)
{
    if (im->in_path)
        end_path(im);
    if (*server_of(im)->host)
        put_server(im, im->hops);
}
