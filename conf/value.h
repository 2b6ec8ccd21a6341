/*
 * conf/value: single values, as they stand in configuration files and on command lines.
 *
 * Every reader gives 0 (or what it says), or -1 with *error: "what is wrong with `text`; what is
 * allowed", one line without a newline, the caller's to free. Passwords never stand in it, nor
 * bytes that could disturb a terminal.
 */
#ifndef VD_CONF_VALUE_H
#define VD_CONF_VALUE_H

#include <stddef.h>
#include <stdint.h>

#include "proto/pattern.h"
#include "proto/url.h"

enum { VD_TITLE_MAX = 63 }; /* bytes of a section's title */

/* The words of an option, ended by NULL; the index is the value of the enum in conf/client.h. */
extern const char *const vd_conf_modes[];
extern const char *const vd_conf_dns_modes[];
extern const char *const vd_conf_udp_modes[];
extern const char *const vd_conf_listen_modes[]; /* from VD_LISTEN_AUTO on */
extern const char *const vd_conf_log_formats[];  /* text, json */
extern const char *const vd_conf_switches[];     /* false, true */
extern const char *const vd_conf_udp_filters[];  /* host, port, any: enum vd_udp_filter */
extern const char *const vd_conf_families[];     /* from VD_PREFER_IPV6 on */

/* The index of `text` among `words`. `what` names the option in the error. */
int vd_conf_choice(const char *what, const char *const *words, const char *text, char **error);

/* A proxy's URL; *hop gets its own address into addrs when the host is one. */
int vd_conf_hop(struct vd_hop *hop, const char *url, char **error);

int vd_conf_pattern(struct vd_pattern *pattern, const char *text, char **error);

/* Seconds with at most three decimals, more than 0, at most a day. */
int vd_conf_seconds(uint32_t *ms, const char *what, const char *text, char **error);

/* A decimal number from `least` to `most`. */
int vd_conf_number(uint32_t *value, const char *what, const char *text, uint32_t least,
                   uint32_t most, char **error);

/* Sets *error to the formatted text, printable bytes only, and gives -1. */
int vd_conf_wrong(char **error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A copy of `url` whose password is replaced by stars; the caller's to free; NULL: no memory. */
char *vd_conf_masked(const char *url);

#endif
