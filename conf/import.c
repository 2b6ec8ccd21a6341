/*
 * A file is read line by line, twice: first to tell its dialect, then by that dialect's reader,
 * which writes what it finds into the parts of the result; these are put together at the end.
 */
#include "conf/import.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conf/import_parts.h"
#include "conf/value.h"
#include "proto/bytes.h"
#include "proto/pattern.h"
#include "proto/url.h"

enum { PORT_MAX = 65535, LINE_SHOWN = 120 };

/* --- parts of the result -----------------------------------------------------------------------
 */

void import_note(struct import *im, const char *text, const char *why)
{
    fprintf(im->notes, "# %s:%u: %.*s: %s\n", im->path, im->line, LINE_SHOWN, text, why);
}

static bool is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("-._~", c));
}

static void put_encoded(FILE *to, const char *text)
{
    for (; *text; text++)
        fprintf(to, is_unreserved(*text) ? "%c" : "%%%02X", (unsigned char)*text);
}

/* The URL of a hop, the caller's to free; NULL: it would be none that viaduct reads. */
static char *hop_url(const char *scheme, const char *host, unsigned port, const char *user,
                     const char *password)
{
    char *url = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&url, &len);
    struct vd_hop hop;
    struct vd_url_error ignored;

    if (!to)
        return NULL;
    fprintf(to, "%s://", scheme);
    if (*user) {
        put_encoded(to, user);
        if (*password)
            fputc(':', to);
        put_encoded(to, password);
        fputc('@', to);
    }
    fprintf(to, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
    if (fclose(to) != 0 || strpbrk(url, "\"\\$") || vd_url_read(&hop, url, len, &ignored) < 0) {
        free(url);
        return NULL;
    }
    return url;
}

bool import_hop(struct import *im, FILE *to, const char *scheme, const char *host, unsigned port,
                const char *user, const char *password)
{
    char *url = hop_url(scheme, host, port, user, password);

    if (!url) {
        import_note(im, host, "no proxy that viaduct could use: left out");
        return false;
    }
    fprintf(to, "%s\"%s\"", to == im->hops && im->hop_count++ ? ", " : "", url);
    free(url);
    return true;
}

void import_bypass(struct import *im, const char *pattern)
{
    fprintf(im->bypass, "%s\"%s\"", im->bypass_count++ ? ", " : "", pattern);
}

int64_t import_number(const char *text, uint32_t most)
{
    return vd_uint_read(text, strlen(text), most);
}

/* The bits of a mask; -1: it is none, or has gaps. */
static int mask_bits(const char *mask, int most)
{
    struct in_addr dotted;
    int64_t bits = import_number(mask, (uint32_t)most);

    if (bits >= 0 || inet_pton(AF_INET, mask, &dotted) != 1)
        return (int)bits;
    uint32_t left = ~ntohl(dotted.s_addr);
    return left & (left + 1) ? -1 : 32 - __builtin_popcount(left);
}

/* Takes ":PORT" off an address, with brackets around IPv6. 0: there is none; -1: it is bad. */
static int64_t take_port(char **address)
{
    char *colon = strrchr(*address, ':'), *end = strchr(*address, ']');

    if (**address == '[' && end) {
        (*address)++;
        *end = 0;
        colon = end[1] == ':' ? end + 1 : NULL;
    } else if (!colon || strchr(*address, ':') != colon) {
        return 0;
    }
    if (!colon)
        return 0;
    *colon = 0;
    return import_number(colon + 1, PORT_MAX);
}

bool import_net(const char *text, char *pattern, size_t size)
{
    char copy[128], *address = copy, *mask;
    char *error = NULL;
    struct vd_pattern ignored;

    if (strlen(text) >= sizeof copy)
        return false;
    strcpy(copy, text);
    mask = strchr(copy, '/');
    if (mask)
        *mask++ = 0;
    int64_t port = take_port(&address);
    bool is_ipv6 = strchr(address, ':') != NULL;
    int bits = mask ? mask_bits(mask, is_ipv6 ? 128 : 32) : is_ipv6 ? 128 : 32;
    if (port < 0 || bits < 0)
        return false;
    int n = snprintf(pattern, size, port && is_ipv6 ? "[%s/%d]" : "%s/%d", address, bits);
    if (port && n > 0 && (size_t)n < size)
        snprintf(pattern + n, size - (size_t)n, ":%u", (unsigned)port);
    bool ok = vd_conf_pattern(&ignored, pattern, &error) == 0;
    free(error);
    return ok;
}

/* --- the whole ---------------------------------------------------------------------------------
 */

enum dialect { UNKNOWN, PROXYCHAINS, TORSOCKS, TSOCKS };

typedef void read_line(struct import *im, char **words, unsigned count, const char *text);

/* The words of a line; the number of them. */
static unsigned split(char *text, char **words, const char *between)
{
    unsigned count = 0;

    for (char *word; count < IMPORT_WORDS && (word = strsep(&text, between));)
        if (*word)
            words[count++] = word;
    return count;
}

static void strip(char *line)
{
    size_t len = strlen(line);

    while (len > 0 && strchr(" \t\r\n", line[len - 1]))
        line[--len] = 0;
}

static void each_line(struct import *im, FILE *from, const char *between, read_line *read)
{
    char *line = NULL, *copy, *words[IMPORT_WORDS];
    size_t room = 0;

    im->line = 0;
    for (rewind(from); getline(&line, &room, from) >= 0;) {
        im->line++;
        strip(line);
        char *text = line + strspn(line, " \t");
        if (!*text || *text == '#' || !(copy = strdup(text)))
            continue;
        unsigned count = split(copy, words, between);
        if (count > 0)
            read(im, words, count, text);
        free(copy);
    }
    free(line);
}

/* pick is borrowed for what was found. */
static void tell_dialect(struct import *im, char **words, unsigned count, const char *text)
{
    static const struct {
        const char *word;
        enum dialect dialect;
    } signs[] = {{"[ProxyList]", PROXYCHAINS}, {"TorAddress", TORSOCKS},   {"TorPort", TORSOCKS},
                 {"OnionAddrRange", TORSOCKS}, {"AllowInbound", TORSOCKS}, {"server", TSOCKS},
                 {"server_type", TSOCKS}};

    (void)count, (void)text;
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (im->pick == UNKNOWN && !strcasecmp(words[0], signs[i].word))
            im->pick = signs[i].dialect;
}

static void read_as(struct import *im, FILE *from, enum dialect dialect)
{
    switch (dialect) {
    case UNKNOWN:
        break;
    case PROXYCHAINS:
        each_line(im, from, " \t", import_proxychains);
        break;
    case TORSOCKS:
        each_line(im, from, " \t", import_torsocks);
        import_torsocks_end(im);
        break;
    case TSOCKS:
        each_line(im, from, " \t=", import_tsocks);
        import_tsocks_end(im);
        break;
    }
}

static void print_options(FILE *to, const struct import *im)
{
    uint32_t ms = im->connect_ms + im->read_ms;

    fprintf(to, "dns = \"%s\"\n", im->remote_dns ? "remote" : "local");
    if (im->isolates)
        fputs("isolate = true\n", to);
    if (ms)
        fprintf(to, "timeout = %u.%03u\n", ms / 1000, ms % 1000);
}

/* Without a default server what no path reaches fails; a chain must be there all the same. */
static void put_rest(FILE *to, const struct import *im, const char *bypass)
{
    if (im->bypass_count > 0)
        fprintf(to, "rule direct { match = {%s} action = \"direct\" }\n", bypass);
    fputs("rule rest { match = {\"*\"} action = \"refuse\" }\nbypass = {}\n", to);
}

static int put_together(FILE *to, const struct import *im, char *const parts[5], char **error)
{
    if (im->hop_count == 0 && !im->first_path)
        return vd_conf_wrong(error, "%s: no proxy stands in it", im->path);
    if (im->hop_count > VD_HOPS_MAX)
        return vd_conf_wrong(error, "%s: a chain of %u proxies; allowed: up to %d", im->path,
                             im->hop_count, VD_HOPS_MAX);
    fprintf(to, "# Made from %s by viaduct --import.\n%s", im->path, parts[0]);
    fprintf(to, "chain default {\n    hops = {%s}\n    mode = \"%s\"\n",
            im->hop_count ? parts[2] : im->first_path, im->mode);
    if (im->pick && strcmp(im->mode, "strict") != 0 && strcmp(im->mode, "dynamic") != 0)
        /* proxychains takes as many as there are */
        fprintf(to, "    pick = %u\n", im->pick < im->hop_count ? im->pick : im->hop_count);
    fprintf(to, "}\n%s%s", parts[1], parts[4]);
    if (im->hop_count == 0)
        put_rest(to, im, parts[3]);
    else if (!im->keeps_bypass || im->bypass_count > 0)
        fprintf(to, "bypass = {%s}\n", parts[3]);
    print_options(to, im);
    return 0;
}

static int read_parts(FILE *to, struct import *im, FILE *from, enum dialect dialect, char **error)
{
    char *parts[5] = {NULL};
    size_t sizes[5];
    FILE **streams[5] = {&im->notes, &im->chains, &im->hops, &im->bypass, &im->rules};
    bool ok = true;
    int r;

    for (int i = 0; i < 5; i++)
        ok &= (*streams[i] = open_memstream(&parts[i], &sizes[i])) != NULL;
    if (ok)
        read_as(im, from, dialect);
    for (int i = 0; i < 5; i++)
        ok &= *streams[i] && fclose(*streams[i]) == 0;
    r = ok ? put_together(to, im, parts, error) : vd_conf_wrong(error, "out of memory");
    for (int i = 0; i < 5; i++)
        free(parts[i]);
    return r;
}

int vd_conf_import(FILE *to, const char *path, char **error)
{
    struct import im = {.path = path, .mode = "strict"};
    FILE *from = fopen(path, "re");
    int r;

    if (!from)
        return vd_conf_wrong(error, "%s: %s", path, strerror(errno));
    each_line(&im, from, " \t=", tell_dialect);
    enum dialect dialect = (enum dialect)im.pick;
    im.pick = 0;
    if (dialect == UNKNOWN)
        r = vd_conf_wrong(error,
                          "%s: neither a proxychains.conf nor a torsocks.conf nor a "
                          "tsocks.conf",
                          path);
    else
        r = read_parts(to, &im, from, dialect, error);
    fclose(from);
    free(im.first_path);
    explicit_bzero(&im, sizeof im);
    return r;
}
