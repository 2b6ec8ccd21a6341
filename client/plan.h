/*
 * plan: what a session shall do, as the launcher wrote it: hops, chains, rules, options.
 *
 * A flat block of fixed layout and offsets instead of pointers: it is mapped read-only by every
 * process of the session, 32-bit ones too. Offsets count from the plan's first byte.
 */
#ifndef VD_CLIENT_PLAN_H
#define VD_CLIENT_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/mode.h"
#include "proto/pattern.h"
#include "proto/url.h"

enum plan_dns { PLAN_DNS_AUTO, PLAN_DNS_REMOTE, PLAN_DNS_LOCAL, PLAN_DNS_CHAIN };
enum plan_udp { PLAN_UDP_AUTO, PLAN_UDP_PROXY, PLAN_UDP_DENY, PLAN_UDP_DIRECT };
enum plan_action { PLAN_CHAIN, PLAN_DIRECT, PLAN_REFUSE };
/* Which connections through a chain may need a peer that connects back (SOCKS BIND): those to port
 * 21, all, none. Unsaid: a rule leaves it to the plan, the plan says auto. */
enum plan_listen { PLAN_LISTEN_UNSAID, PLAN_LISTEN_AUTO, PLAN_LISTEN_CHAIN, PLAN_LISTEN_DIRECT };

/* Whether handshakes are written down (client/trace.h), and how. */
enum plan_trace { PLAN_TRACE_OFF, PLAN_TRACE_TEXT, PLAN_TRACE_PCAPNG, PLAN_TRACE_PCAP };

/* How calls are intercepted: by what the program needs, by the library alone, by a supervisor. */
enum plan_engine { PLAN_ENGINE_AUTO, PLAN_ENGINE_PRELOAD, PLAN_ENGINE_SUPERVISE };

/* -q, nothing, -v, -vv */
enum plan_verbosity { PLAN_QUIET, PLAN_FAILURES, PLAN_CONNECTIONS, PLAN_HOPS };

enum {
    PLAN_TITLE_MAX = 63,
    PLAN_LOG_MAX = 1023,
    PLAN_CACHE_MAX = 255,
    PLAN_TRACE_MAX = 255,
    PLAN_SERVERS_MAX = 8,
    PLAN_COUNT_MAX = 4096
};

struct plan_chain {
    char title[PLAN_TITLE_MAX + 1];
    uint8_t mode;  /* enum vd_mode */
    uint8_t pick;  /* how many hops of `count`, for random, round_robin and failover; 0: one */
    uint8_t count; /* 1 to VD_HOPS_MAX */
    uint8_t zero;
    uint16_t hops[VD_HOPS_MAX]; /* indices */
};

/* Rules stand in order of preference: first match counts; bypass comes last, as rules of its own.
 */
struct plan_rule {
    char title[PLAN_TITLE_MAX + 1];
    uint8_t action; /* enum plan_action */
    uint8_t listen; /* enum plan_listen */
    uint16_t chain; /* PLAN_CHAIN */
    uint16_t pattern_first, pattern_count;
};

/* A name server, as the chain's far end reaches it. */
struct plan_server {
    struct vd_ip ip;
    uint32_t port;
};

struct plan {
    uint32_t size; /* of the whole block */
    uint32_t hops_at, chains_at, rules_at, patterns_at;
    uint16_t hop_count, chain_count, rule_count, pattern_count;
    uint16_t chain; /* for what no rule matches */
    uint8_t dns, udp, verbosity, log_json;
    uint8_t has_stderr, has_log;
    uint32_t timeout_ms; /* for the whole handshake */
    /* The standard error at start, as two halves each (no 64-bit alignment in the layout). */
    uint32_t stderr_dev[2], stderr_ino[2];
    struct vd_ip placeholder4; /* base of a range of 2^(32 - placeholder4_bits) addresses */
    struct vd_ip placeholder6; /* base of a /112 */
    uint8_t placeholder4_bits;
    uint8_t listen;             /* enum plan_listen */
    uint8_t audit;              /* whether what happens is written down (client/audit.h) */
    uint8_t trace;              /* enum plan_trace */
    char log[PLAN_LOG_MAX + 1]; /* absolute path */
    /* The launcher's file of what hops bear (launcher/cache.h), an absolute path; "": none. */
    char cache[PLAN_CACHE_MAX + 1];
    /* Where the trace goes, an absolute path; "": the standard error. */
    char trace_file[PLAN_TRACE_MAX + 1];
    uint8_t trace_secrets;  /* passwords are shown there */
    uint8_t engine;         /* enum plan_engine */
    uint8_t strict;         /* what is made past the library is refused */
    uint8_t names_by_chain; /* of `chain`: name servers are asked through it */
    uint32_t server_count;  /* 0: resolv.conf's, else these are asked in their place */
    struct plan_server servers[PLAN_SERVERS_MAX];
};

/* The arrays; indices must be below the counts of the plan. */
const struct vd_hop *plan_hops(const struct plan *p);
const struct plan_chain *plan_chain(const struct plan *p, unsigned index);
const struct plan_rule *plan_rule(const struct plan *p, unsigned index);
const struct vd_pattern *plan_pattern(const struct plan *p, unsigned index);

/* As vd_path_name, of all hops of a chain in its order. */
void plan_hop_name(struct vd_out *out, const struct plan *p, const struct plan_chain *chain,
                   unsigned position);

/* Whether offsets, counts and indices stay inside `len` bytes: a plan that fails is not used. */
bool plan_is_sound(const struct plan *p, size_t len);

/* Builds a plan in one block; the counts are those of `head`, whose offsets and size are filled
 * in. The block is the caller's to free; NULL: out of memory, or more than PLAN_COUNT_MAX of a
 * kind. */
struct plan *plan_make(const struct plan *head, const struct vd_hop *hops,
                       const struct plan_chain *chains, const struct plan_rule *rules,
                       const struct vd_pattern *patterns);

#endif
