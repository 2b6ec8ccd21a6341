/*
 * conf/client: viaduct.conf as a struct.
 *
 * Read by libconfuse; the strings and arrays belong to the struct and are freed with it. Every
 * error is one line "FILE:LINE: what is wrong with `text`; what is allowed", without a newline.
 */
#ifndef VD_CONF_CLIENT_H
#define VD_CONF_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "proto/mode.h"
#include "proto/pattern.h"
#include "proto/url.h"

enum vd_conf_dns { VD_DNS_AUTO, VD_DNS_REMOTE, VD_DNS_LOCAL, VD_DNS_CHAIN };
enum vd_conf_udp { VD_UDP_AUTO, VD_UDP_PROXY, VD_UDP_DENY, VD_UDP_DIRECT };
enum vd_conf_listening { VD_LISTEN_UNSAID, VD_LISTEN_AUTO, VD_LISTEN_CHAIN, VD_LISTEN_DIRECT };
enum vd_conf_action { VD_RULE_CHAIN, VD_RULE_DIRECT, VD_RULE_REFUSE };

struct vd_conf_chain {
    char *title;
    struct vd_hop hops[VD_HOPS_MAX]; /* proxies by name are already put in */
    size_t hop_count;
    enum vd_mode mode;
    unsigned pick; /* for the last three modes; 0: 1 */
};

struct vd_conf_rule {
    char *title;
    struct vd_pattern *match;
    size_t match_count;
    enum vd_conf_action action;
    char *chain;                   /* VD_RULE_CHAIN: its title, which exists */
    enum vd_conf_listening listen; /* unsaid: as the file says */
};

enum { VD_NAMESERVERS_MAX = 8 };

struct vd_conf_client {
    struct vd_conf_chain *chains;
    size_t chain_count;
    struct vd_conf_rule *rules;
    size_t rule_count;
    struct vd_pattern *bypass;
    size_t bypass_count;
    bool has_bypass; /* false: the default (loopback) holds */
    enum vd_conf_dns dns;
    enum vd_conf_udp udp;
    enum vd_conf_listening listen; /* never unsaid */
    uint32_t timeout_ms;           /* 0: not said */
    /* With VD_DNS_CHAIN: addresses, in place of resolv.conf's. */
    struct vd_endpoint nameservers[VD_NAMESERVERS_MAX];
    size_t nameserver_count;
    bool isolate; /* SOCKS5 hops without a login get a random one */
};

/* Reads `path`. 0, or -1 with *error (the caller frees it). *warning (freed by the caller, may be
 * NULL) tells of a file with passwords that others may read. */
int vd_conf_client_read(struct vd_conf_client *c, const char *path, char **error, char **warning);
void vd_conf_client_free(struct vd_conf_client *c);

/* The chain with this title, NULL if there is none. */
struct vd_conf_chain *vd_conf_client_chain(const struct vd_conf_client *c, const char *title);
/* A new chain without hops behind the others, which may move; NULL: no memory. */
struct vd_conf_chain *vd_conf_client_add_chain(struct vd_conf_client *c, const char *title);

/* Whether addresses were given for the name of a hop, as long as nobody has looked it up; and
 * these, as ` addresses = {"...", ...}`. */
bool vd_conf_has_addresses(const struct vd_hop *hop);
void vd_conf_print_addresses(FILE *to, const struct vd_hop *hop);

/* Writes *c as a file that reads back as the same, but for passwords: they are replaced by "***".
 */
void vd_conf_client_print(FILE *to, const struct vd_conf_client *c);

#endif
