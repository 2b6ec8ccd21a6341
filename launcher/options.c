#include "launcher/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/import.h"
#include "conf/value.h"
#include "launcher/say.h"

enum { TRACE_DATA = 4096, TRACE_DATA_MAX = 1 << 30 };

/* Ends the program with what a reader of conf/value.h found wrong. */
static void die_of(const char *name, char *error)
{
    say_die(EXIT_OWN, "%s: %s", name, error ? error : "out of memory");
}

static void set_proxy(struct options *o, char *value)
{
    char *error = NULL;

    if (o->hop_count == VD_HOPS_MAX)
        say_die(EXIT_OWN, "-x: too many hops; allowed: up to %d", VD_HOPS_MAX);
    int result = vd_conf_hop(&o->hops[o->hop_count++], value, &error);
    if (!o->keep_argv)
        memset(value, 'x', strlen(value));
    if (result < 0)
        die_of("-x", error);
}

static void set_config(struct options *o, char *value)
{
    o->config = value;
}

static void set_chain(struct options *o, char *value)
{
    o->chain = value;
}

static void set_mode(struct options *o, char *value)
{
    char *error = NULL;
    int mode = vd_conf_choice("mode", vd_conf_modes, value, &error);

    if (mode < 0)
        die_of("-m", error);
    o->has_mode = true;
    o->mode = (enum vd_mode)mode;
}

static void set_pick(struct options *o, char *value)
{
    int64_t pick = vd_uint_read(value, strlen(value), VD_HOPS_MAX);

    if (pick < 1)
        say_die(EXIT_OWN, "-n: `%s` is no number of hops; allowed: 1 to %d", value, VD_HOPS_MAX);
    o->pick = (uint32_t)pick;
}

static void set_dns(struct options *o, char *value)
{
    char *error = NULL;
    int dns = vd_conf_choice("DNS mode", vd_conf_dns_modes, value, &error);

    if (dns < 0)
        die_of("-d", error);
    o->has_dns = true;
    o->dns = (enum vd_conf_dns)dns;
}

static void set_bypass(struct options *o, char *value)
{
    char *error = NULL;

    if (!strcmp(value, "none")) {
        o->clear_bypass = true;
        o->bypass_count = 0;
        return;
    }
    struct vd_pattern *more = reallocarray(o->bypass, o->bypass_count + 1, sizeof *more);
    if (!more)
        die_of("-b", NULL);
    o->bypass = more;
    if (vd_conf_pattern(&more[o->bypass_count++], value, &error) < 0)
        die_of("-b", error);
}

static void set_udp(struct options *o, char *value)
{
    char *error = NULL;
    int udp = vd_conf_choice("UDP mode", vd_conf_udp_modes, value, &error);

    if (udp < 0)
        die_of("--udp", error);
    o->has_udp = true;
    o->udp = (enum vd_conf_udp)udp;
}

static void set_engine(struct options *o, char *value)
{
    static const char *const engines[] = {"auto", "preload", "supervise", NULL};
    char *error = NULL;
    int engine = vd_conf_choice("engine", engines, value, &error);

    if (engine < 0)
        die_of("--engine", error);
    o->engine = (enum plan_engine)engine;
}

static void set_timeout(struct options *o, char *value)
{
    char *error = NULL;

    if (vd_conf_seconds(&o->timeout_ms, "timeout", value, &error) < 0)
        die_of("-t", error);
}

static void set_quiet(struct options *o, char *value)
{
    (void)value;
    o->verbosity = PLAN_QUIET;
}

static void set_verbose(struct options *o, char *value)
{
    (void)value;
    o->verbosity = o->verbosity >= PLAN_CONNECTIONS ? PLAN_HOPS : PLAN_CONNECTIONS;
}

static void set_log(struct options *o, char *value)
{
    if (!*value)
        say_die(EXIT_OWN, "--log: no file is named");
    o->log = value;
}

static void set_log_format(struct options *o, char *value)
{
    char *error = NULL;
    int format = vd_conf_choice("log format", vd_conf_log_formats, value, &error);

    if (format < 0)
        die_of("--log-format", error);
    o->log_json = format;
}

static void set_print_config(struct options *o, char *value)
{
    (void)value;
    o->print_config = true;
}

static void set_keep_proxy_env(struct options *o, char *value)
{
    (void)value;
    o->keep_proxy_env = true;
}

static void set_audit(struct options *o, char *value)
{
    (void)value;
    o->audit = true;
}

static void set_strict(struct options *o, char *value)
{
    (void)value;
    o->strict = true;
}

static void set_isolate(struct options *o, char *value)
{
    (void)value;
    o->isolate = true;
}

static void set_check(struct options *o, char *value)
{
    if (value && !*value)
        say_die(EXIT_OWN, "--check: no target is named");
    o->check = true;
    o->check_target = value;
}

static void set_json(struct options *o, char *value)
{
    (void)value;
    o->json = true;
}

static void set_trace(struct options *o, char *value)
{
    if (value && !*value)
        say_die(EXIT_OWN, "--trace: no file is named");
    o->trace = true;
    o->trace_file = value;
}

static void set_trace_format(struct options *o, char *value)
{
    static const char *const formats[] = {"text", "pcapng", "pcap", NULL};
    char *error = NULL;
    int format = vd_conf_choice("trace format", formats, value, &error);

    if (format < 0)
        die_of("--trace-format", error);
    o->trace_format = PLAN_TRACE_TEXT + format;
}

static void set_trace_secrets(struct options *o, char *value)
{
    (void)value;
    o->trace_secrets = true;
}

/* It is as good as --trace, which says where to. */
static void set_trace_data(struct options *o, char *value)
{
    int64_t bytes = value ? vd_uint_read(value, strlen(value), TRACE_DATA_MAX) : TRACE_DATA;

    if (bytes < 1)
        say_die(EXIT_OWN, "--trace-data: `%s` is no number of bytes; allowed: 1 to %d", value,
                TRACE_DATA_MAX);
    o->trace = true;
    o->trace_data = (uint32_t)bytes;
}

static void show_version(struct options *o, char *value)
{
    (void)o, (void)value;
    puts("viaduct " VIADUCT_VERSION);
    exit(fflush(stdout) || ferror(stdout) ? EXIT_OWN : 0);
}

static void show_import(struct options *o, char *value)
{
    char *error = NULL;

    (void)o;
    if (vd_conf_import(stdout, value, &error) < 0)
        die_of("--import", error);
    exit(fflush(stdout) || ferror(stdout) ? EXIT_OWN : 0);
}

static void show_help(struct options *o, char *value);

/* --- the table ------------------------------------------------------------------------------- */

static const struct option {
    char letter; /* 0: none */
    const char *name, *argument;
    void (*set)(struct options *o, char *value);
} table[] = {
    {'x', "proxy", "URL", set_proxy},
    {'f', "config", "FILE", set_config},
    {'c', "chain", "NAME", set_chain},
    {'m', "mode", "MODE", set_mode},
    {'n', "pick", "N", set_pick},
    {'d', "dns", "MODE", set_dns},
    {'b', "bypass", "RULE", set_bypass},
    {0, "udp", "MODE", set_udp},
    {0, "engine", "ENGINE", set_engine},
    {'t', "timeout", "SECONDS", set_timeout},
    {0, "isolate", NULL, set_isolate},
    {'q', "quiet", NULL, set_quiet},
    {'v', "verbose", NULL, set_verbose},
    {0, "log", "FILE", set_log},
    {0, "log-format", "FORMAT", set_log_format},
    {0, "check", "[=HOST:PORT]", set_check},
    {0, "json", NULL, set_json},
    {0, "trace", "[=FILE]", set_trace},
    {0, "trace-format", "FORMAT", set_trace_format},
    {0, "trace-data", "[=BYTES]", set_trace_data},
    {0, "trace-secrets", NULL, set_trace_secrets},
    {0, "audit", NULL, set_audit},
    {0, "strict", NULL, set_strict},
    {0, "print-config", NULL, set_print_config},
    {0, "import", "FILE", show_import},
    {0, "keep-proxy-env", NULL, set_keep_proxy_env},
    {'V', "version", NULL, show_version},
    {'h', "help", NULL, show_help},
};

enum { TABLE_LEN = sizeof table / sizeof *table };

/* The argument stands behind "=" only. */
static bool may_lack(const struct option *option)
{
    return option->argument && option->argument[0] == '[';
}

/* One screen of a terminal; what is behind each word stands in viaduct(1). */
static const char help[] =
    "usage: viaduct [OPTIONS] [--] COMMAND [ARG...]\n"
    "Runs COMMAND with its connections sent through a chain of proxies.\n"
    "  -x, --proxy URL        a hop: SCHEME://[USER[:PASSWORD]@]HOST[:PORT]; repeat\n"
    "  -f, --config FILE  -c, --chain NAME  configuration; another chain of it\n"
    "  -m, --mode MODE        strict, dynamic; random, round_robin, failover: N\n"
    "  -n, --pick N           hops that these three take (1)\n"
    "  -d, --dns MODE         who resolves names: remote, local, chain\n"
    "  -b, --bypass RULE      direct: ADDRESS, CIDR, HOST, *.SUFFIX, [:PORT]; none\n"
    "      --udp MODE         datagrams: auto, proxy, deny, direct\n"
    "      --engine ENGINE    auto, preload, supervise (static, Go and musl programs)\n"
    "  -t, --timeout SECONDS  for the whole handshake of a connection (30)\n"
    "      --isolate          a random login for this run, on SOCKS5 hops without one\n"
    "  -q, --quiet  -v, --verbose  say nothing; a line per connection, -vv: per hop\n"
    "      --log FILE  --log-format FORMAT  where to say it, and how: text, json\n"
    "      --check[=HOST:PORT]  --json  no command: try the chain hop by hop\n"
    "      --trace[=FILE]  --trace-format FORMAT  handshakes: text, pcapng, pcap\n"
    "      --trace-data[=BYTES]  --trace-secrets  what follows, too; with passwords\n"
    "      --audit  --strict  tell what went where; refuse what goes past the library\n"
    "      --print-config  --import FILE  what holds; from proxychains, t(or)socks\n"
    "      --keep-proxy-env   leave http_proxy and the like to the command\n"
    "  -V, --version  -h, --help  print it and end\n"
    "Schemes: socks4, socks5 (names are resolved here), socks4a, socks5h, http, https\n"
    "Status: the command's own; 125 viaduct failed, 126 COMMAND cannot be run, 127\n"
    "it was not found. See man viaduct.";

static void show_help(struct options *o, char *value)
{
    (void)o, (void)value;
    puts(help);
    exit(fflush(stdout) || ferror(stdout) ? EXIT_OWN : 0);
}

/* --- the command line ------------------------------------------------------------------------ */

static void unknown(const char *option, size_t len)
{
    say_die(EXIT_OWN, "unknown option `%.*s`; `viaduct -h` lists what is allowed", (int)len,
            option);
}

static const struct option *find_name(const char *name, size_t len)
{
    for (int i = 0; i < TABLE_LEN; i++)
        if (strlen(table[i].name) == len && !memcmp(table[i].name, name, len))
            return &table[i];
    return NULL;
}

static const struct option *find_letter(char letter)
{
    for (int i = 0; i < TABLE_LEN; i++)
        if (table[i].letter == letter)
            return &table[i];
    return NULL;
}

/* --name, --name=VALUE, --name VALUE. The argument that comes next. */
static char **read_long(struct options *o, char **argv)
{
    char *name = *argv + 2;
    size_t len = strcspn(name, "=");
    char *value = name[len] ? name + len + 1 : NULL;
    const struct option *option = find_name(name, len);

    if (!option)
        unknown(*argv, len + 2);
    if (!option->argument && value)
        say_die(EXIT_OWN, "--%s takes no value", option->name);
    if (option->argument && !value && !may_lack(option))
        value = *++argv;
    if (option->argument && !value && !may_lack(option))
        say_die(EXIT_OWN, "--%s: %s is missing; `viaduct -h` shows how it is given", option->name,
                option->argument);
    option->set(o, value);
    return argv + 1;
}

/* -v, -vv, -xVALUE, -x VALUE. The argument that comes next. */
static char **read_short(struct options *o, char **argv)
{
    for (char *at = *argv + 1; *at; at++) {
        const struct option *option = find_letter(*at);
        if (!option) {
            char text[] = {'-', *at, 0};
            unknown(text, 2);
        }
        if (option->argument) {
            char *value = at[1] ? at + 1 : *++argv;
            if (!value)
                say_die(EXIT_OWN, "-%c: %s is missing; `viaduct -h` shows how it is given",
                        option->letter, option->argument);
            option->set(o, value);
            break;
        }
        option->set(o, NULL);
    }
    return argv + 1;
}

void options_read(struct options *o, char **argv)
{
    o->verbosity = PLAN_FAILURES;
    if (*argv)
        argv++;
    while (*argv && argv[0][0] == '-' && argv[0][1]) {
        if (!strcmp(*argv, "--")) {
            argv++;
            break;
        }
        argv = argv[0][1] == '-' ? read_long(o, argv) : read_short(o, argv);
    }
    o->command = argv;
}
