/*
 * options: the command line of viaduct.
 */
#ifndef VIADUCT_LAUNCHER_OPTIONS_H
#define VIADUCT_LAUNCHER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/plan.h"
#include "conf/client.h"

struct options {
    struct vd_hop hops[VD_HOPS_MAX]; /* -x */
    size_t hop_count;
    const char *config, *chain, *log; /* NULL: not given */
    struct vd_pattern *bypass;
    size_t bypass_count;
    bool clear_bypass; /* -b none: only what -b gave after it holds */
    bool has_mode;     /* -m */
    enum vd_mode mode;
    uint32_t pick; /* -n; 0: not given */
    bool has_dns, has_udp;
    enum vd_conf_dns dns;
    enum vd_conf_udp udp;
    uint32_t timeout_ms; /* 0: not given */
    enum plan_engine engine;
    int verbosity;  /* enum plan_verbosity */
    bool keep_argv; /* set by the caller: URLs are left in argv */
    bool log_json, print_config, keep_proxy_env, audit, strict, isolate;
    bool check, json;
    const char *check_target; /* NULL: the chain alone */
    bool trace, trace_secrets;
    uint32_t trace_data;    /* bytes of payload each way; 0: none is told */
    const char *trace_file; /* NULL: the standard error */
    int trace_format;       /* enum plan_trace; PLAN_TRACE_OFF: not given */
    char **command;         /* ends with NULL; empty: none was given */
};

/* Reads the command line into *o, which must be all zeros but for keep_argv; URLs are blanked in
 * argv, as they may hold passwords. Ends the program on -V, on -h, and with status 125 on an error.
 */
void options_read(struct options *o, char **argv);

#endif
