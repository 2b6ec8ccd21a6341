#include "daemon/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/value.h"

#define DEFAULT_CONFIG "/etc/viaduct/viaductd.conf"

enum { WORKERS_MAX = 1024 };
enum {
    USERS = 256,
    DENY,
    LIMIT,
    CHECK_CONFIG,
    PRINT_CONFIG,
    LOG_FORMAT,
    TLS_CERT,
    TLS_KEY,
    SOURCE,
    FAMILY,
    ADMIN,
    TRACE,
    TRACE_FORMAT,
    TRACE_DATA,
    TRACE_SECRETS,
    TRACE_HOPS
};

/* One screen of a terminal; what is behind each word stands in viaductd(8). */
static const char usage[] =
    "usage: viaductd [OPTIONS]\n"
    "SOCKS4, 4a, 5 and HTTP on one port: 127.0.0.1:1080, open to this machine.\n"
    "  -l, --listen URL       [mixed://]HOST:PORT or unix:/PATH; repeat; socks://,\n"
    "                         http://, https://, redirect://, tproxy:// likewise\n"
    "      --tls-cert FILE  --tls-key FILE  their certificate and its key, in PEM\n"
    "  -x, --proxy URL        upstream hop; repeat for a chain\n"
    "  -m, --mode MODE        strict, dynamic; random, round_robin, failover: N\n"
    "  -n, --pick N           hops that these three take (1)\n"
    "  -u, --user NAME:PASSWORD  --users FILE  who may use it; lines NAME:HASH\n"
    "  -a, --allow RULE  --deny RULE  [from=]PATTERN to=... commands=... users=...\n"
    "                         upstream=NAME source=... family=...; the first counts\n"
    "      --source ADDRESS  --family WHICH  where connections leave, %INTERFACE;\n"
    "                         prefer_ipv6 (default), prefer_ipv4, ipv6, ipv4\n"
    "      --limit LIMIT      per=client|user|session|all sessions=N new=N/s rate=B\n"
    "                         from=PATTERN,... users=NAME,...\n"
    "  -f, --config FILE      - is the standard input\n"
    "      --check-config  --print-config  say what is wrong; print what holds\n"
    "  -w, --workers N        worker processes (one per core)\n"
    "      --admin ADDR       status page and metrics on HOST[:PORT] or unix:/PATH\n"
    "  -q, --quiet  -v, --verbose  --log-format FORMAT  less; more; text, json\n"
    "      --trace[=FILE]  --trace-format FORMAT  handshakes: text, pcapng, pcap\n"
    "      --trace-data BYTES  --trace-secrets  of payload (4096); with passwords\n"
    "      --trace-hops       go on with a trace that viaduct has begun\n"
    "  -V, --version  -h, --help  print it and end\n";

static const char short_options[] = ":l:x:m:n:u:a:f:w:qvVh";

static const struct option long_options[] = {
    {"listen", required_argument, NULL, 'l'},
    {"proxy", required_argument, NULL, 'x'},
    {"mode", required_argument, NULL, 'm'},
    {"pick", required_argument, NULL, 'n'},
    {"user", required_argument, NULL, 'u'},
    {"users", required_argument, NULL, USERS},
    {"allow", required_argument, NULL, 'a'},
    {"deny", required_argument, NULL, DENY},
    {"limit", required_argument, NULL, LIMIT},
    {"config", required_argument, NULL, 'f'},
    {"check-config", no_argument, NULL, CHECK_CONFIG},
    {"print-config", no_argument, NULL, PRINT_CONFIG},
    {"workers", required_argument, NULL, 'w'},
    {"quiet", no_argument, NULL, 'q'},
    {"verbose", no_argument, NULL, 'v'},
    {"log-format", required_argument, NULL, LOG_FORMAT},
    {"tls-cert", required_argument, NULL, TLS_CERT},
    {"tls-key", required_argument, NULL, TLS_KEY},
    {"source", required_argument, NULL, SOURCE},
    {"family", required_argument, NULL, FAMILY},
    {"admin", required_argument, NULL, ADMIN},
    {"trace", optional_argument, NULL, TRACE},
    {"trace-format", required_argument, NULL, TRACE_FORMAT},
    {"trace-data", required_argument, NULL, TRACE_DATA},
    {"trace-secrets", no_argument, NULL, TRACE_SECRETS},
    {"trace-hops", no_argument, NULL, TRACE_HOPS},
    {"version", no_argument, NULL, 'V'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0}};

/* What the command line said and the file must not change. */
struct given {
    const char *config, *cert, *key;
    size_t listens;
    int mode;      /* of the default upstream; -1: not said */
    unsigned pick; /* 0: not said */
    unsigned workers;
    int log_json; /* -1: not said */
    struct vd_conf_egress egress;
    const char *admin;
};

static bool reloading; /* there is a log */

static int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int complain(const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (reloading)
        log_say(LOG_QUIET, "%s", text);
    else
        fprintf(stderr, "viaductd: %s\n", text);
    return -1;
}

static int complain_of(const char *option, char *error)
{
    complain("%s: %s", option, error ? error : "out of memory");
    free(error);
    return -1;
}

/* --- passwords on the command line --- */

static void wipe(char *from, const char *to)
{
    memset(from, 'x', (size_t)(to - from));
}

static void wipe_user(char *value)
{
    char *colon = strchr(value, ':');
    if (colon)
        wipe(colon + 1, value + strlen(value));
}

static void wipe_url(char *url)
{
    char *authority = strstr(url, "://");
    if (!authority)
        return;
    authority += 3;
    char *end = authority + strcspn(authority, "/?");
    char *at = memrchr(authority, '@', (size_t)(end - authority));
    char *colon = at ? memchr(authority, ':', (size_t)(at - authority)) : NULL;
    if (colon)
        wipe(colon + 1, at);
}

/* --- values --- */

static int read_workers(struct given *g, const char *text)
{
    int64_t n = vd_uint_read(text, strlen(text), WORKERS_MAX);
    if (n < 1)
        return complain("--workers: bad number `%s`; allowed: 1 to %d", text, WORKERS_MAX);
    g->workers = (unsigned)n;
    return 0;
}

static int read_mode(struct given *g, const char *text)
{
    char *error = NULL;
    g->mode = vd_conf_choice("mode", vd_conf_modes, text, &error);
    return g->mode >= 0 ? 0 : complain_of("--mode", error);
}

static int read_pick(struct given *g, const char *text)
{
    int64_t n = vd_uint_read(text, strlen(text), VD_HOPS_MAX);
    if (n < 1)
        return complain("--pick: bad number `%s`; allowed: 1 to %d", text, VD_HOPS_MAX);
    g->pick = (unsigned)n;
    return 0;
}

static int read_log_format(struct given *g, const char *text)
{
    g->log_json = strcmp(text, "json") == 0;
    if (!g->log_json && strcmp(text, "text") != 0)
        return complain("--log-format: bad format `%s`; allowed: text, json", text);
    return 0;
}

static int read_trace_file(struct trace_wish *t)
{
    if (optarg && !*optarg)
        return complain("--trace: no file is named");
    t->wanted = true;
    t->file = optarg;
    return 0;
}

static int read_trace_format(struct trace_wish *t)
{
    static const char *const formats[] = {"text", "pcapng", "pcap", NULL};
    char *error = NULL;
    int format = vd_conf_choice("trace format", formats, optarg, &error);
    if (format < 0)
        return complain_of("--trace-format", error);
    t->format = (enum trace_format)(TRACE_TEXT + format);
    return 0;
}

static int read_trace_data(struct trace_wish *t)
{
    int64_t n = vd_uint_read(optarg, strlen(optarg), TRACE_PAYLOAD_MAX);
    if (n < 0)
        return complain("--trace-data: bad number `%s`; allowed: 0 to %d bytes", optarg,
                        TRACE_PAYLOAD_MAX);
    t->payload = (uint32_t)n;
    return 0;
}

static int read_trace(struct trace_wish *t, int option)
{
    if (option == TRACE)
        return read_trace_file(t);
    t->says_how = true;
    if (option == TRACE_FORMAT)
        return read_trace_format(t);
    if (option == TRACE_DATA)
        return read_trace_data(t);
    *(option == TRACE_SECRETS ? &t->secrets : &t->goes_on) = true;
    return 0;
}

static int read_egress(struct given *g, const char *key)
{
    char *error = NULL;
    if (vd_conf_egress_set(&g->egress, key, optarg, &error) == 0)
        return 0;
    return complain_of(strcmp(key, "source") == 0 ? "--source" : "--family", error);
}

/* Lists go into the configuration at once. */
static int add_to_list(struct vd_conf_daemon *c, int option)
{
    char *error = NULL;
    switch (option) {
    case 'l':
        return vd_conf_daemon_add_listen(c, optarg, &error) == 0 ? 0
                                                                 : complain_of("--listen", error);
    case 'x':
        return vd_conf_daemon_add_hop(c, optarg, &error) == 0 ? 0 : complain_of("--proxy", error);
    case 'u':
        return vd_conf_daemon_add_user(c, optarg, &error) == 0 ? 0 : complain_of("--user", error);
    case USERS:
        return vd_conf_daemon_add_users(c, optarg, &error) == 0 ? 0 : complain_of("--users", error);
    case 'a':
        return vd_conf_daemon_add_access(c, VD_ALLOW, optarg, &error) == 0
                   ? 0
                   : complain_of("--allow", error);
    case LIMIT:
        return vd_conf_daemon_add_limit(c, optarg, &error) == 0 ? 0 : complain_of("--limit", error);
    default:
        return vd_conf_daemon_add_access(c, VD_DENY, optarg, &error) == 0
                   ? 0
                   : complain_of("--deny", error);
    }
}

static int add_secret(struct vd_conf_daemon *c, int option)
{
    int result = add_to_list(c, option);
    if (option == 'u')
        wipe_user(optarg);
    else
        wipe_url(optarg);
    return result;
}

static int serve(struct options *o, const char *text)
{
    fputs(text, stdout);
    o->action = OPTIONS_DONE;
    return 0;
}

static int complain_of_use(int option, char **argv)
{
    const char *word = argv[optind - 1];
    if (option == ':')
        return complain("option `%s` needs a value; see viaductd --help", word);
    if (strncmp(word, "--", 2) != 0)
        return complain("unknown option `-%c`; see viaductd --help", optopt);
    return complain("unknown option `%.*s`; see viaductd --help", (int)strcspn(word, "="), word);
}

static int read_option(struct options *o, struct given *g, int option, char **argv)
{
    switch (option) {
    case 'x':
    case 'u':
        return add_secret(&o->conf, option);
    case 'l':
    case 'a':
    case USERS:
    case DENY:
    case LIMIT:
        return add_to_list(&o->conf, option);
    case 'f':
        g->config = optarg;
        return 0;
    case 'w':
        return read_workers(g, optarg);
    case 'm':
        return read_mode(g, optarg);
    case 'n':
        return read_pick(g, optarg);
    case LOG_FORMAT:
        return read_log_format(g, optarg);
    case SOURCE:
    case FAMILY:
        return read_egress(g, option == SOURCE ? "source" : "family");
    case TLS_CERT:
        g->cert = optarg;
        return 0;
    case TLS_KEY:
        g->key = optarg;
        return 0;
    case CHECK_CONFIG:
    case PRINT_CONFIG:
        o->action = option == CHECK_CONFIG ? OPTIONS_CHECK : OPTIONS_PRINT;
        return 0;
    case 'q':
    case 'v':
        o->level = option == 'q' ? LOG_QUIET : LOG_VERBOSE;
        return 0;
    case TRACE:
    case TRACE_FORMAT:
    case TRACE_DATA:
    case TRACE_SECRETS:
    case TRACE_HOPS:
        return read_trace(&o->trace, option);
    case 'V':
        return serve(o, "viaductd " VIADUCT_VERSION "\n");
    case 'h':
        return serve(o, usage);
    case ADMIN:
        g->admin = optarg;
        return 0;
    default:
        return complain_of_use(option, argv);
    }
}

static int read_command_line(struct options *o, struct given *g, int argc, char **argv)
{
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, short_options, long_options, NULL)) != -1) {
        if (read_option(o, g, option, argv) != 0)
            return -1;
        if (o->action == OPTIONS_DONE)
            return 0;
    }
    if (optind < argc)
        return complain("unexpected argument `%s`; see viaductd --help", argv[optind]);
    if (o->trace.says_how && !o->trace.wanted)
        return complain("--trace-format, --trace-data, --trace-secrets and --trace-hops say how to "
                        "trace; --trace is missing");
    return 0;
}

/* --- the file --- */

static const char *find_config(const struct given *g)
{
    const char *path = g->config ? g->config : getenv("VIADUCTD_CONF");
    if (path && *path)
        return path;
    return access(DEFAULT_CONFIG, F_OK) == 0 ? DEFAULT_CONFIG : NULL;
}

/* "-": the standard input, once. */
static int read_config(struct vd_conf_daemon *c, const char *path)
{
    if (strcmp(path, "-") == 0 && reloading)
        return complain("the configuration came from the standard input: it is there no more");
    if (strcmp(path, "-") == 0)
        path = "/dev/stdin";
    char *error = NULL, *warning = NULL;
    int result = vd_conf_daemon_read(c, path, &error, &warning);
    if (result != 0)
        complain("%s", error ? error : "out of memory");
    else if (warning)
        complain("%s", warning);
    free(error);
    free(warning);
    return result;
}

static void put_back(struct vd_conf_daemon *c, const struct given *g)
{
    while (g->listens > 0 && c->listen_count > g->listens)
        vd_conf_listener_free(&c->listens[--c->listen_count]);
    if (g->workers > 0)
        c->workers = g->workers;
    if (g->log_json >= 0)
        c->log_json = g->log_json;
    if (g->egress.family != VD_FAMILY_UNSAID)
        c->egress.family = g->egress.family;
    if (!vd_conf_egress_has_source(&g->egress))
        return;
    struct vd_conf_egress file = c->egress;
    c->egress = g->egress;
    c->egress.family = file.family;
}

static int set_mode(struct vd_conf_daemon *c, const struct given *g)
{
    struct vd_conf_upstream *up = vd_conf_daemon_upstream(c, VD_UPSTREAM_DEFAULT);
    if (g->mode < 0 && g->pick == 0)
        return 0;
    if (!up)
        return complain("--mode and --pick are for an upstream; give one with --proxy");
    struct vd_conf_chain *chain = &up->chain;
    if (g->mode >= 0)
        chain->mode = (enum vd_mode)g->mode;
    if (g->pick > 0)
        chain->pick = g->pick;
    else if (chain->mode < VD_MODE_RANDOM)
        chain->pick = 0;
    if (g->pick > 0 && chain->mode < VD_MODE_RANDOM)
        return complain("--pick has no meaning in mode %s; allowed: random, round_robin, failover",
                        vd_conf_modes[chain->mode]);
    if (chain->pick > chain->hop_count)
        return complain("--pick: bad number `%u`; allowed: 1 to %zu, the hops of the upstream",
                        chain->pick, chain->hop_count);
    return 0;
}

/* What the command line gives has no place for targets. */
static int check_listens(const struct vd_conf_daemon *c, char **error)
{
    for (size_t i = 0; i < c->listen_count; i++)
        if (c->listens[i].kind == VD_LISTEN_FORWARD && c->listens[i].target_count == 0) {
            *error =
                strdup("--listen: forward:// needs targets; give them in a configuration file");
            return -1;
        }
    return 0;
}

int options_complete(struct options *o, char **error)
{
    struct vd_conf_daemon *c = &o->conf;
    if (c->workers == 0) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        c->workers = cores < 1 ? 1 : cores > WORKERS_MAX ? WORKERS_MAX : (unsigned)cores;
    }
    if (c->listen_count > 0)
        return check_listens(c, error);
    return vd_conf_daemon_add_listen(c, "mixed://127.0.0.1:1080", error);
}

static void free_words(char **argv, int argc)
{
    for (int i = 0; argv && i < argc; i++) {
        explicit_bzero(argv[i], strlen(argv[i]));
        free(argv[i]);
    }
    free(argv);
}

static char **copy_words(char **argv, int argc)
{
    char **copy = calloc((size_t)argc + 1, sizeof *copy);
    if (!copy)
        return NULL;
    for (int i = 0; i < argc; i++) {
        copy[i] = strdup(argv[i]);
        if (!copy[i]) {
            free_words(copy, i);
            return NULL;
        }
    }
    return copy;
}

/* Of the listeners that -l gave, which alone are there so far. */
static int set_certificate(struct vd_conf_daemon *c, const struct given *g)
{
    if (g->key && !g->cert)
        return complain("--tls-key: the key of what certificate? give --tls-cert FILE too");
    if (g->cert && c->listen_count == 0)
        return complain("--tls-cert: for listeners that -l gives; those of a file have `cert`");
    for (size_t i = 0; g->cert && i < c->listen_count; i++)
        if (vd_conf_listener_may_tls(&c->listens[i]) &&
            vd_conf_listener_set_cert(&c->listens[i], g->cert, g->key) != 0)
            return complain("out of memory");
    return 0;
}

static int read_all(struct options *o, int argc, char **argv)
{
    struct given g = {.log_json = -1, .mode = -1};
    char *error = NULL;
    vd_conf_daemon_init(&o->conf);
    optind = 0; /* from the beginning, also the second time */
    if (read_command_line(o, &g, argc, argv) != 0)
        return -1;
    if (o->action == OPTIONS_DONE)
        return 0;
    if (set_certificate(&o->conf, &g) != 0)
        return -1;
    g.listens = o->conf.listen_count;
    const char *path = find_config(&g);
    if (path && read_config(&o->conf, path) != 0)
        return -1;
    put_back(&o->conf, &g);
    if (g.admin && vd_conf_daemon_set_admin(&o->conf, g.admin, &error) != 0)
        return complain_of("--admin", error);
    return set_mode(&o->conf, &g);
}

int options_read(struct options *o, int argc, char **argv)
{
    *o = (struct options){
        .level = LOG_NORMAL, .action = OPTIONS_RUN, .trace.payload = TRACE_PAYLOAD, .argc = argc};
    o->argv = copy_words(argv, argc);
    return o->argv ? read_all(o, argc, argv) : complain("out of memory");
}

/* Reading a command line wipes its passwords: it is a copy that is read. */
int options_reload(struct options *o, const struct options *before)
{
    reloading = true;
    *o = (struct options){.level = LOG_NORMAL,
                          .action = OPTIONS_RUN,
                          .trace.payload = TRACE_PAYLOAD,
                          .argc = before->argc};
    char **words = copy_words(before->argv, before->argc);
    o->argv = copy_words(before->argv, before->argc);
    int result = words && o->argv ? read_all(o, o->argc, words) : complain("out of memory");
    free_words(words, before->argc);
    return result;
}

void options_free(struct options *o)
{
    free_words(o->argv, o->argc);
    vd_conf_daemon_free(&o->conf);
    tls_contexts_free(o->contexts);
    o->contexts = NULL;
}
