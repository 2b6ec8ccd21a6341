/*
 * conf/import_parts: what the readers of single dialects share. Private to conf/import*.c.
 */
#ifndef VD_CONF_IMPORT_PARTS_H
#define VD_CONF_IMPORT_PARTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { IMPORT_WORDS = 6 };

struct import {
    const char *path;
    unsigned line;
    /* What is found, each the text of its part of the result. */
    FILE *notes, *chains, *hops, *bypass, *rules;
    unsigned hop_count, bypass_count, rule_count;
    const char *mode;
    unsigned pick;
    bool remote_dns;   /* names go to the last hop */
    bool isolates;     /* a login of its own for each run */
    bool keeps_bypass; /* the default stays: loopback is connected directly */
    uint32_t connect_ms, read_ms;
    bool in_list; /* proxychains: behind [ProxyList] */
    /* tsocks and torsocks: the default server, and that of a `path` block with what it reaches */
    struct import_server {
        char host[256], user[256], password[256];
        unsigned port, type;
    } servers[2];
    char reaches[1024];
    bool in_path;
    char *first_path; /* the hop of the first path, in quotes; freed at the end */
};

/* "# FILE:LINE: text", and why. */
void import_note(struct import *im, const char *text, const char *why);

/* A hop's URL, in quotes, behind the others of the list. false: nothing was written, and noted why.
 */
bool import_hop(struct import *im, FILE *to, const char *scheme, const char *host, unsigned port,
                const char *user, const char *password);

/* ADDRESS[:PORT]/MASK, the mask as bits or as an address, as a pattern for viaduct.conf. false: it
 * cannot be read, or has no counterpart. */
bool import_net(const char *text, char *pattern, size_t size);
void import_bypass(struct import *im, const char *pattern);

/* A decimal number of at most `most`; -1: it is none. */
int64_t import_number(const char *text, uint32_t most);

/* One line's words; for the dialects. */
void import_proxychains(struct import *im, char **words, unsigned count, const char *text);
void import_torsocks(struct import *im, char **words, unsigned count, const char *text);
void import_tsocks(struct import *im, char **words, unsigned count, const char *text);
/* What can only be told at the end. */
void import_torsocks_end(struct import *im);
void import_tsocks_end(struct import *im);

#endif
