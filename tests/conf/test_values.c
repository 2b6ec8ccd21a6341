/*
 * What a text means, and that it comes back as it was printed.
 */
#include "conf/client.h"
#include "conf/daemon.h"
#include "proto/shake.h"
#include "tests/conf/conf_test.h"

static const char whole[] =
    "proxy office { url = \"socks5h://alice:se%20cret@gw.example:1081\" timeout = 2.5 }\n"
    "chain default { hops = {\"office\", \"http://[2001:db8::1]?pipeline=off\"} }\n"
    "chain \"a \\\"b\\\" \\\\ \\${c}\" { hops = \"socks4a://u@h?timeout=7&probe=no&pipeline=lead\" "
    "mode = \"random\" pick "
    "= 1 }\n"
    "rule one { match = {\"*.onion\", \"*:25\"} chain = default }\n"
    "rule two { match = \"10.0.0.0/8\" action = \"direct\" listen = \"direct\" }\n"
    "rule three { match = \"2001:db8::/32\" action = \"refuse\" }\n"
    "bypass = {\"::1\", \"localhost\"} dns = \"local\" udp = \"direct\" timeout = 0.25\n"
    "listen = \"chain\" isolate = true nameservers = {\"9.9.9.9\", \"[fd00::1]:54\"}\n";

static struct vd_conf_client read_client(const char *text)
{
    struct vd_conf_client c;
    char *error, *warning;

    conf_write(CONF_FILE, text, strlen(text));
    vd_conf_client_read(&c, CONF_FILE, &error, &warning);
    conf_same(error, NULL);
    free(warning);
    return c;
}

static void expect(bool holds, const char *what)
{
    if (!holds)
        tap_wrong("not so: %s", what);
}

#define EXPECT(condition) expect(condition, #condition)

static void test_client(void)
{
    tap_begin();
    struct vd_conf_client c = read_client(whole);
    const struct vd_hop *hops = c.chains ? c.chains[0].hops : NULL;

    EXPECT(c.chain_count == 2 && c.rule_count == 3 && c.bypass_count == 2 && c.has_bypass);
    if (hops && c.rule_count == 3) {
        EXPECT(!strcmp(hops[0].password, "se cret") && hops[0].password_len == 7);
        EXPECT(hops[0].timeout_ms == 2500 && hops[0].at.port == 1081 && hops[0].addr_count == 0);
        EXPECT(hops[1].scheme == VD_HTTP && hops[1].at.port == 8080 && hops[1].addr_count == 1);
        EXPECT(hops[1].pipeline == VD_PIPELINE_OFF && !hops[1].no_probe);
        EXPECT(!strcmp(c.chains[1].title, "a \"b\" \\ ${c}"));
        EXPECT(c.chains[1].mode == VD_MODE_RANDOM && c.chains[1].pick == 1);
        EXPECT(c.rules[0].action == VD_RULE_CHAIN && !strcmp(c.rules[0].chain, "default"));
        EXPECT(c.rules[0].match_count == 2 && c.rules[0].match[1].port == 25);
        EXPECT(c.rules[1].action == VD_RULE_DIRECT && c.rules[2].action == VD_RULE_REFUSE);
        EXPECT(c.rules[1].listen == VD_LISTEN_DIRECT && c.rules[2].listen == VD_LISTEN_UNSAID);
    }
    EXPECT(c.dns == VD_DNS_LOCAL && c.udp == VD_UDP_DIRECT && c.timeout_ms == 250);
    EXPECT(c.listen == VD_LISTEN_CHAIN && c.isolate);
    EXPECT(c.nameserver_count == 2 && c.nameservers[0].port == 53 && c.nameservers[1].port == 54);
    EXPECT(vd_conf_client_chain(&c, "default") == c.chains && !vd_conf_client_chain(&c, "x"));
    vd_conf_client_free(&c);
    tap_end("what a configuration means");
}

static void test_defaults(void)
{
    tap_begin();
    struct vd_conf_client c = read_client("");
    EXPECT(!c.has_bypass && c.bypass_count == 0 && c.timeout_ms == 0);
    EXPECT(c.dns == VD_DNS_AUTO && c.udp == VD_UDP_AUTO && c.chain_count == 0);
    EXPECT(c.listen == VD_LISTEN_AUTO && !c.isolate);
    vd_conf_client_free(&c);
    c = read_client("bypass = {}");
    EXPECT(c.has_bypass && c.bypass_count == 0);
    vd_conf_client_free(&c);
    tap_end("an empty bypass is not the default one");
}

static char *printed(const struct vd_conf_client *c)
{
    char *text = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&text, &len);

    if (!to)
        abort();
    vd_conf_client_print(to, c);
    fclose(to);
    return text;
}

static void test_print(void)
{
    tap_begin();
    struct vd_conf_client c = read_client(whole);
    char *first = printed(&c);
    vd_conf_client_free(&c);
    c = read_client(first);
    conf_same(printed(&c), first);
    EXPECT(!strstr(first, "cret") && strstr(first, "alice:***@gw.example:1081"));
    EXPECT(c.chain_count == 2 && c.chains[0].hops[0].timeout_ms == 2500);
    EXPECT(c.chain_count == 2 && c.chains[0].hops[0].pipeline == VD_PIPELINE_AUTO);
    EXPECT(c.chain_count == 2 && c.chains[0].hops[1].pipeline == VD_PIPELINE_OFF);
    EXPECT(c.chain_count == 2 && c.chains[1].hops[0].pipeline == VD_PIPELINE_LEAD);
    EXPECT(c.chain_count == 2 && c.chains[1].hops[0].no_probe);
    EXPECT(c.chain_count == 2 && !strcmp(c.chains[1].title, "a \"b\" \\ ${c}"));
    EXPECT(c.timeout_ms == 250 && c.udp == VD_UDP_DIRECT && c.rule_count == 3);
    EXPECT(c.listen == VD_LISTEN_CHAIN && c.isolate && c.nameserver_count == 2);
    EXPECT(c.rule_count == 3 && c.rules[1].listen == VD_LISTEN_DIRECT);
    vd_conf_client_free(&c);
    free(first);
    tap_end("what is printed reads back as the same, without passwords");
}

/* Of hops by name; they are proxies when they are printed. */
static void test_addresses(void)
{
    static const char text[] =
        "proxy a { url = \"http://u:secret@gw.example?probe=no\" addresses = {10.0.0.1, "
        "\"fd00::1\"} }\n"
        "chain default { hops = {\"http://h\", a} }\nchain b { hops = {a, a} }\n";
    tap_begin();
    struct vd_conf_client c = read_client(text);
    char *first = printed(&c);
    vd_conf_client_free(&c);
    c = read_client(first);
    conf_same(printed(&c), first);
    EXPECT(!strstr(first, "secret") && c.chain_count == 2);
    for (size_t i = 0; c.chain_count == 2 && i < 2; i++) {
        const struct vd_hop *hop = &c.chains[i].hops[1];
        EXPECT(c.chains[i].hop_count == 2 && hop->addr_count == 2 && hop->no_probe);
        EXPECT(hop->addrs[0].family == VD_IPV4 && hop->addrs[1].family == VD_IPV6);
        EXPECT(!strcmp(hop->at.name, "gw.example"));
    }
    EXPECT(c.chain_count == 2 && c.chains[0].hops[0].addr_count == 0);
    vd_conf_client_free(&c);
    free(first);
    tap_end("addresses of hops are printed with them");
}

static void test_daemon(void)
{
    static const char text[] =
        "deny c { to = \"*:25\" } allow a { from = \"10.0.0.0/8\" commands = {\"connect\", "
        "\"associate\"} users = {\"x\", \"y\"} } deny b { }\n"
        "listen one { url = \"http://10.0.0.1\" } listen two { url = \"[::1]:0\" }\n"
        "upstream { hops = \"socks5://1.2.3.4\" } timeouts { bind = 9 idle = 7 drain = 0.5 }\n"
        "workers = 3 sessions = 9 log_format = \"json\" users = \"good.users\"\n"
        "udp_filter = \"any\"\n";
    struct vd_conf_daemon c;
    char *error, *warning;

    tap_begin();
    vd_conf_daemon_init(&c);
    EXPECT(c.handshake_ms == 10000 && c.connect_ms == 30000 && c.idle_ms == 3600000);
    EXPECT(c.bind_ms == 120000 && c.udp_filter == VD_UDP_HOST);
    EXPECT(c.half_closed_ms == 300000 && c.drain_ms == 30000 && c.workers == 0);
    conf_write(CONF_FILE, text, sizeof text - 1);
    vd_conf_daemon_read(&c, CONF_FILE, &error, &warning);
    conf_same(error, NULL);
    if (c.access_count == 3 && c.listen_count == 2 && c.user_count == 2) {
        EXPECT(!strcmp(c.access[0].title, "c") && c.access[0].verdict == VD_DENY);
        EXPECT(!strcmp(c.access[1].title, "a") && c.access[1].verdict == VD_ALLOW);
        EXPECT(!strcmp(c.access[2].title, "b") && c.access[2].from_count == 0);
        EXPECT(c.access[1].commands == (1U << VD_CONNECT | 1U << VD_ASSOCIATE));
        EXPECT(c.access[1].user_count == 2 && !strcmp(c.access[1].users[1], "y"));
        EXPECT(c.listens[0].kind == VD_LISTEN_HTTP && c.listens[0].at.port == 8080);
        EXPECT(c.listens[1].kind == VD_LISTEN_MIXED && c.listens[1].at.port == 0);
        EXPECT(!strcmp(c.listens[1].title, "two") && c.listens[1].at.ip.family == VD_IPV6);
        EXPECT(!strcmp(c.users[0].hash, "$6$salt$hash.of/it") && !c.users[0].password);
        EXPECT(!strcmp(c.users[1].name, "bob"));
    } else {
        tap_wrong("counts: %zu %zu %zu", c.access_count, c.listen_count, c.user_count);
    }
    EXPECT(c.upstream_count == 1 && c.upstreams[0].chain.hop_count == 1 && c.workers == 3 &&
           c.sessions_max == 9 && c.log_json);
    EXPECT(c.bind_ms == 9000 && c.udp_filter == VD_UDP_ANY);
    EXPECT(c.idle_ms == 7000 && c.drain_ms == 500 && c.handshake_ms == 10000);
    vd_conf_daemon_free(&c);
    tap_end("what a configuration of the daemon means, rules in the order of the file");
}

int main(void)
{
    static const char users[] = "alice:$6$salt$hash.of/it\nbob:abJnggxhB/yWI\n";
    char dir[32];

    conf_enter(dir);
    conf_write("good.users", users, sizeof users - 1);
    test_client();
    test_defaults();
    test_print();
    test_addresses();
    test_daemon();
    unlink("good.users");
    unlink(CONF_FILE);
    rmdir(dir);
    return tap_done();
}
