#!/usr/bin/env python3
"""--import: the configurations of proxychains, torsocks and tsocks as viaduct.conf. What comes out is
taken by viaduct itself, and nothing of the input is lost in silence."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import desk as desk_of
from lib.desk import OWN
from lib.tap import holds, same

# input, and what the effective configuration then says (patterns), and the comments
ROWS = [
    ("proxychains: strict, remote names",
     "strict_chain\nproxy_dns\n[ProxyList]\nsocks4 127.0.0.1 9050\nsocks5 10.0.0.2 1080 alice secret\n"
     "http 10.0.0.3 3128\n",
     [r'hops = \{"socks4a://127\.0\.0\.1:9050", "socks5h://alice:\*\*\*@10\.0\.0\.2:1080", '
      r'"http://10\.0\.0\.3:3128"\}', 'mode = "strict"', 'dns = "remote"', r"bypass = \{\}"], []),
    ("proxychains: local names",
     "dynamic_chain\n[ProxyList]\nsocks4 10.0.0.1 1\nsocks5 10.0.0.2 2\n",
     [r'"socks4://10\.0\.0\.1:1", "socks5://10\.0\.0\.2:2"', 'mode = "dynamic"', 'dns = "local"'], []),
    ("proxychains: random, and how many",
     "random_chain\nchain_len = 2\n[ProxyList]\nhttp 10.0.0.1 1\nhttp 10.0.0.2 2\nhttp 10.0.0.3 3\n",
     ['mode = "random"', "pick = 2"], []),
    ("proxychains: how many of all",
     "strict_chain\nchain_len = 2\n[ProxyList]\nhttp 10.0.0.1 1\nhttp 10.0.0.2 2\n",
     [r'mode = "strict"\n\}'], []),
    ("proxychains: more than there are",
     "random_chain\nchain_len = 5\n[ProxyList]\nhttp 10.0.0.1 1\nhttp 10.0.0.2 2\n",
     ['mode = "random"', "pick = 2"], []),
    ("proxychains: chain_len without a sign", "round_robin_chain\nchain_len 2\n[ProxyList]\n"
     "http 10.0.0.1 1\nhttp 10.0.0.2 2\n", ['mode = "round_robin"', "pick = 2"], []),
    ("proxychains: what is not proxied",
     "strict_chain\nlocalnet 127.0.0.0/255.0.0.0\nlocalnet 10.0.0.0:80/255.255.0.0\nlocalnet ::1/128\n"
     "localnet 192.168.1.7\nlocalnet 10.0.0.0/255.0.255.0\n[ProxyList]\nhttp 10.0.0.1 1\n",
     [r'bypass = \{"127\.0\.0\.0/8", "10\.0\.0\.0/16:80", "::1(/128)?", "192\.168\.1\.7(/32)?"\}'],
     ["6: localnet 10.0.0.0/255.0.255.0: not understood as ADDRESS[:PORT]/MASK"]),
    ("proxychains: times", "strict_chain\ntcp_read_time_out 15000\ntcp_connect_time_out 8000\n[ProxyList]\n"
     "http 10.0.0.1 1\n", ["timeout = 23"], []),
    ("proxychains: no counterpart",
     "strict_chain\nquiet_mode\nremote_dns_subnet 224\nproxy_dns_daemon 127.0.0.1:1053\n"
     "dnat 1.2.3.4 1.2.3.5\nfrobnicate\n[ProxyList]\nhttp 10.0.0.1 1\nraw 10.0.0.2 2\nhttp nowhere\n",
     ['dns = "remote"'],
     ["2: quiet_mode: run viaduct with -q", "3: remote_dns_subnet 224: viaduct finds",
      "4: proxy_dns_daemon 127.0.0.1:1053: no daemon", "5: dnat 1.2.3.4 1.2.3.5: connections are not",
      "6: frobnicate: not understood", "9: raw: a hop without", "10: http: not understood"]),
    ("proxychains: odd logins, IPv6",
     "strict_chain\n[ProxyList]\nsocks5 fd00::1 1080 a@b p=s:w%/d\n",
     [r'"socks5://a%40b:\*\*\*@\[fd00::1\]:1080"'], []),
    ("torsocks", "TorAddress 127.0.0.1\nTorPort 9150\nOnionAddrRange 127.42.42.0/24\nSOCKS5Username u\n"
     "SOCKS5Password p\nAllowInbound 1\nAllowOutboundLocalhost 1\nIsolatePID 1\n",
     [r"isolate = true", r'"socks5h://u:\*\*\*@127\.0\.0\.1:9150"', 'dns = "remote"', '"127.0.0.0/8"'],
     ["3: OnionAddrRange 127.42.42.0/24: viaduct", "6: AllowInbound 1: listeners"]),
    ("torsocks: a login for each run", "TorPort 9050\nIsolatePID 1\n", ["isolate = true"], []),
    ("torsocks: defaults", "TorPort 9050\n", [r'"socks5h://127\.0\.0\.1:9050"', r"bypass = \{\}"], []),
    ("tsocks", "local = 192.168.0.0/255.255.0.0\npath {\n  reaches = 150.0.0.0/255.255.0.0\n"
     "  reaches = 150.1.0.0:80-1024/255.255.0.0\n  server = 10.1.7.25\n  server_type = 5\n"
     "  default_user = delius\n  default_pass = hello\n}\nserver = 192.168.0.1\nserver_type = 4\n"
     "server_port = 1081\nfallback = yes\n",
     [r'chain "default" \{\n.*hops = \{"socks4://192\.168\.0\.1:1081"\}',
      r'chain "path1" \{\n.*hops = \{"socks5://delius:\*\*\*@10\.1\.7\.25:1080"\}',
      r'rule "path1" \{\n.*match = \{"150\.0\.0\.0/16"\}', r'bypass = \{"192\.168\.0\.0/16"\}', 'dns = "local"'],
     ["4: reaches = 150.1.0.0:80-1024/255.255.0.0: not understood", "13: fallback = yes: nothing goes"]),
    ("tsocks: no default server",
     "local = 10.0.0.0/8\npath {\n  reaches = 150.0.0.0/255.255.0.0\n  server = 10.1.7.25\n}\ntordns_enable = true\n",
     [r'chain "path1" \{\n.*hops = \{"socks4://10\.1\.7\.25:1080"\}', r'match = \{"150\.0\.0\.0/16"\}',
      r'rule "direct" \{\n.*match = \{"10\.0\.0\.0/8"\}\n.*"direct"\n\}\nrule "rest" \{\n.*match = \{"\*"\}\n.*"refuse"',
      r"bypass = \{\}"],
     ["6: tordns_enable = true: with socks5h"]),
    ("proxychains: a proxy in the wrong place",
     "strict_chain\nsocks5 10.0.0.9 1080 lamer secret\n[ProxyList]\nhttp 10.0.0.1 1\n", [r'"http://10\.0\.0\.1:1"'],
     ["2: socks5: a proxy before [ProxyList]: left out"]),
    ("proxychains: each way to resolve names",
     "strict_chain\nproxy_dns_old\n[ProxyList]\nsocks5 10.0.0.1 1\n", [r'"socks5h://10', 'dns = "remote"'], []),
    ("proxychains: every address of a port", "strict_chain\nlocalnet 0.0.0.0:80/0.0.0.0\nlocalnet [::]:80/0\n[ProxyList]\n"
     "http 10.0.0.1 1\n", [r'bypass = \{"0\.0\.0\.0/0:80", "\[::(/0)?\](/0)?:80"\}'], []),
    ("proxychains: lines of another system, comments",
     "strict_chain\r\n  # dynamic_chain\r\n[ProxyList]\r\n\tsocks5\t10.0.0.1\t1080\tu\tp # mine\r\n",
     [r'"socks5://u:\*\*\*@10\.0\.0\.1:1080"'], []),
    ("torsocks: IPv6", "TorPort 9050\nEnableIPv6 1\nAllowOutboundLocalhost 2\n", ['"127.0.0.0/8"'],
     ["2: EnableIPv6 1: IPv6 is always"]),
]

REFUSED = [
    ("", "neither a proxychains.conf nor a torsocks.conf nor a tsocks.conf"),
    ("hello world\n", "neither a proxychains.conf nor a torsocks.conf nor a tsocks.conf"),
    ("strict_chain\n[ProxyList]\n", "no proxy stands in it"),
    ("strict_chain\n[ProxyList]\nsocks5 h\n", "no proxy stands in it"),
    ("strict_chain\n[ProxyList]\n" + "http 10.0.0.1 1\n" * 17, "a chain of 17 proxies; allowed: up to 16"),
]


def imported(desk, text):
    desk.write("old.conf", text)
    got = desk.run("--import", "old.conf")
    same((got.returncode, got.stderr), (0, b""), "status and standard error")
    desk.write("new.conf", got.stdout)
    return got.stdout.decode(), re.sub(r",\n +", ", ", desk.printed("-f", "new.conf"))


def row_case(desk, text, patterns, notes):
    def case():
        written, effective = imported(desk, text)
        for pattern in patterns:
            holds(re.search(pattern, effective), f"{pattern} in\n{effective}")
        told = [line[2:] for line in written.splitlines() if line.startswith("# old.conf:")]
        same(len(told), len(notes), f"comments: {told}")
        for note, line in zip(notes, told):
            holds(line.startswith("old.conf:" + note), f"{note!r} begins {line!r}")
        holds("secret" not in "".join(told) and "hello" not in "".join(told), "no password in a comment")

    return case


def test_the_login_arrives(desk):
    written, _ = imported(desk, "strict_chain\n[ProxyList]\nsocks5 10.0.0.1 1 a@b p=s:w%/d\n")
    holds("a%40b:p%3Ds%3Aw%25%2Fd@" in written, written)


def test_refusals(desk):
    for text, why in REFUSED:
        desk.write("old.conf", text)
        desk.refused(["--import", "old.conf"], OWN, f"--import: old.conf: {why}")
    desk.refused(["--import", "nowhere"], OWN, "--import: nowhere: No such file or directory")


# The samples that Debian ships, and what they say.
SHIPPED = {
    "/etc/proxychains4.conf": ['hops = {"socks4a://127.0.0.1:9050"}', 'mode = "strict"', 'dns = "remote"', "timeout = 23"],
    "/etc/tor/torsocks.conf": ['hops = {"socks5h://127.0.0.1:9050"}', 'dns = "remote"'],
    "/etc/tsocks.conf": ['hops = {"socks5://192.168.0.1:1080"}', 'hops = {"socks5://delius:***@10.1.7.25:1080"}',
                         'match = {"150.0.0.0/16", "150.1.0.0/16:80"}', 'bypass = {"192.168.0.0/24", "10.0.0.0/8"}'],
}


def test_what_debian_ships(desk):
    for path, wanted in SHIPPED.items():
        with open(path, encoding="utf-8") as file:
            written, effective = imported(desk, file.read())
        for text in wanted:
            holds(text in effective, f"{path}: {text} in\n{effective}")
        holds("not understood" not in written, written)


def test_all_that_a_sample_mentions(desk):
    """Every option that the comments of proxychains4.conf show, as if it were one."""
    options = re.compile(r"#\s*((?:localnet|dnat|quiet_mode|proxy_dns|proxy_dns_old|proxy_dns_daemon|chain_len|"
                         r"random_chain|remote_dns_subnet)(?: *$| *=? *[\d\[:].*))")
    with open("/etc/proxychains4.conf", encoding="utf-8") as file:
        lines = [options.sub(r"\1", line) for line in file]
    count = sum(not line.startswith("#") and line.strip() != "" for line in lines)
    holds(count > 20, f"{count} options")
    written, effective = imported(desk, "".join(lines))
    holds("not understood" not in written, written)
    for text in ('mode = "random"', '"192.168.1.0/24:80"', '"172.16.0.0/12"', '"[::/0]:80"'):
        holds(text in effective, f"{text} in\n{effective}")
    same(written.count("dnat "), 4, "dnat, as comments")


def cases(desk):
    for name, text, patterns, notes in ROWS:
        yield name, row_case(desk, text, patterns, notes)
    yield from desk_of.tests_of(globals(), desk)


if __name__ == "__main__":
    sys.exit(desk_of.main(cases))
