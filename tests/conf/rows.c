#include "tests/conf/conf_test.h"

#define HOP "chain default { hops = {\"http://h\"} }\n"
#define FORMS                                                                                      \
    "an address, ADDRESS/BITS, a name, *.SUFFIX or *, each with an optional :PORT (IPv6 with a "   \
    "port in brackets)"
#define URLS " or a URL such as socks5h://HOST:PORT"

const struct conf_row conf_client_rows[] = {
    /* the text itself */
    {"", NULL},
    {"\n\n", NULL},
    {"# nothing but a comment", NULL},
    {"/* a comment\n over lines */ // and another\n" HOP, NULL},
    {"chain a { hops = { /* here */ \"http://h\" # there\n } }", NULL},
    {"chain a { hops = {'http://h', \"http://i\"} }\r\n", NULL},
    {"chain a { hops = http://h }", NULL},
    {"chain a { hops = {\"http://h\"} hops += {\"http://i\"} }", NULL},
    {"/* x\n\n", "x.conf:1: this comment has no end; allowed: /* text */"},
    {"\ndns = \"remote\n\n", "x.conf:2: this text has no closing quote `\"`"},
    {"dns = 'remote", "x.conf:1: this text has no closing quote `'`"},
    {"chain a {\n hops = \"http://h\"\n", "x.conf:1: this `{` is never closed; `}` is missing"},
    {HOP "}\n", "x.conf:2: unexpected `}`; no section or list is open here"},
    {"bypass = {*:25}", "x.conf:1: unexpected `*`; values with such a byte stand in quotes"},
    {"dns = a/*b*/", "x.conf:1: unexpected `*`; values with such a byte stand in quotes"},
    {"\n\ninclude(\"x\")", "x.conf:3: unexpected `(`; values with such a byte stand in quotes"},
    {"dns = a\001b", "x.conf:1: unexpected `\\x01`; values with such a byte stand in quotes"},
    {"bypass + {\"a\"}", "x.conf:1: unexpected `+`; allowed: `+=`, or the value in quotes"},
    {"dns = \"${DNS}\"", "x.conf:1: variables such as `${NAME}` are not put in here; allowed: "
                         "`\\${` in quotes for these bytes themselves"},
    {"dns = ${DNS}", "x.conf:1: variables such as `${NAME}` are not put in here; allowed: "
                     "`\\${` in quotes for these bytes themselves"},
    {"bypass = {'${a}'}", NULL},
    {"dns = \"\\777\"", "x.conf:1: bad escape `\\777`; allowed: \\000 to \\377"},
    {"dns", "x.conf:2: the file ends in the middle of an option"},
    {"dns \"remote\"", "x.conf:1: missing `=` after `dns`"},
    {"dns = = \"remote\"",
     "x.conf:1: unexpected `=`; a value, `,`, `{` or `}` is missing before it"},
    {"dns = {\"remote\"}",
     "x.conf:1: unexpected `{`; a value, `,`, `{` or `}` is missing before it"},
    {"dns += \"remote\"", "x.conf:1: `+=` after `dns`, which takes one value; allowed: `=`"},
    {"bypass = {\"a\" \"b\"}",
     "x.conf:1: unexpected `b`; a value, `,`, `{` or `}` is missing before it"},
    {"chain { hops = \"http://h\" }",
     "x.conf:1: missing title after `chain`; allowed: a name, then `{`"},
    {"chain a hops", "x.conf:1: missing `{` after `chain` and its title, if it has one"},

    /* names of options and sections */
    {"# one\nprxy a { }\n",
     "x.conf:2: unknown option `prxy`; allowed: proxy, chain, rule, bypass, dns, udp, timeout"},
    {"proxy a {\n  url = \"http://h\"\n  user = \"x\"\n}",
     "x.conf:3: unknown option `user`; allowed: url, timeout"},
    {"chain a { hop = \"http://h\" }", "x.conf:1: unknown option `hop`; allowed: hops, mode, pick"},
    {"rule a { matches = \"x\" }",
     "x.conf:1: unknown option `matches`; allowed: match, chain, action"},
    {"chain|hops = \"http://h\"",
     "x.conf:1: unknown option `chain`; allowed: proxy, chain, rule, bypass, dns, udp, timeout"},
    {"dns = \"remote\"\n''", "x.conf:2: unexpected empty text; allowed: the name of an option"},
    {"dns = \"remote\"\ndns = \"local\"", "x.conf:2: `dns` is given twice"},
    {"bypass = {\"a\"}\n\nbypass = {\"b\", \"c\"}", "x.conf:3: `bypass` is given twice"},
    {"proxy a { url = \"http://h\" url = \"http://i\" }", "x.conf:1: `url` is given twice"},
    {"proxy a { url = \"http://h\" }\nproxy a { url = \"http://i\" }",
     "x.conf:2: duplicate title `a`; every section of a kind has its own"},
    {"proxy a { url = \"http://h\" } chain a { hops = \"a\" }", NULL},
    {"proxy \"\" { url = \"http://h\" }",
     "x.conf:1: bad title ``; allowed: 1 to 63 bytes, none of them a control byte, no URL"},
    {"proxy \"a\\nb\" { url = \"http://h\" }",
     "x.conf:1: bad title `a\\x0ab`; allowed: 1 to 63 bytes, none of them a control byte, no URL"},
    {"proxy \"http://h\" { url = \"http://h\" }",
     "x.conf:1: bad title `http://h`; allowed: 1 to 63 bytes, none of them a control byte, no URL"},
    {"proxy aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg "
     "{ url = \"http://h\" }",
     NULL},
    {"proxy aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg "
     "{ url = \"http://h\" }",
     "x.conf:1: bad title `aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg`; "
     "allowed: 1 to 63 bytes, none of them a control byte, no URL"},

    /* proxies */
    {"proxy a {\n}\n", "x.conf:2: proxy `a` has no url; allowed: url = \"socks5h://HOST:PORT\""},
    {"proxy a { url = \"sock5://h\" }",
     "x.conf:1: bad scheme in the proxy URL `sock5://h`; allowed: socks4, socks4a, socks5, socks5h "
     "or http, as in socks5h://HOST:PORT"},
    {"proxy a { url = \"http://h:0\" }",
     "x.conf:1: bad port in the proxy URL `http://h:0`; allowed: 1 to 65535"},
    {"proxy a { url = \"http://h:65536\" }",
     "x.conf:1: bad port in the proxy URL `http://h:65536`; allowed: 1 to 65535"},
    {"proxy a { url = \"http://\" }",
     "x.conf:1: bad host in the proxy URL `http://`; allowed: a name of 1 to 255 bytes, an IPv4 "
     "address or [IPv6]"},
    {"proxy a { url = \"socks5h://alice:se%cret@h\" }",
     "x.conf:1: bad password in the proxy URL `socks5h://alice:***@h`; allowed: up to 255 bytes, "
     "%XX for special ones"},
    {"proxy a { url = \"socks5h://alice:p@ss@h:x\" }",
     "x.conf:1: bad port in the proxy URL `socks5h://alice:***@h:x`; allowed: 1 to 65535"},
    {"proxy a { url = \"socks5h:/alice:secret@h\" }",
     "x.conf:1: bad scheme in the proxy URL `socks5h:***@h`; allowed: socks4, socks4a, socks5, "
     "socks5h or http, as in socks5h://HOST:PORT"},
    {"proxy a { url = \"http://h?speed=9\" }",
     "x.conf:1: bad option in the proxy URL `http://h?speed=9`; allowed: timeout=SECONDS"},
    {"proxy a { url = \"https://h\" }",
     "x.conf:1: a TLS hop `https://h:443` is not served by this version; allowed: socks4, socks4a, "
     "socks5, socks5h or http, as in socks5h://HOST:PORT"},
    {"proxy a { url = \"socks5h://unix:/run/x\" }",
     "x.conf:1: a hop on a unix socket `socks5h://unix:/run/x` is not served by this version; "
     "allowed: socks4, socks4a, socks5, socks5h or http, as in socks5h://HOST:PORT"},
    {"proxy a {\n url = \"http://h\"\n timeout = soon }",
     "x.conf:3: bad timeout `soon`; allowed: seconds from 0.001 to 86400"},

    /* chains */
    {"chain a {\n}", "x.conf:2: chain `a` has 0 hops; allowed: 1 to 16"},
    {"chain a { hops = {} }", "x.conf:1: chain `a` has 0 hops; allowed: 1 to 16"},
    {"proxy p { url = \"http://h\" }\n"
     "chain a { hops = {p,p,p,p,p,p,p,p,p,p,p,p,p,p,p,p} }",
     NULL},
    {"proxy p { url = \"http://h\" }\n"
     "chain a { hops = {p,p,p,p,p,p,p,p,p,p,p,p,p,p,p,p,p} }",
     "x.conf:2: chain `a` has 17 hops; allowed: 1 to 16"},
    {"chain a { hops = \"p\" }\nproxy p { url = \"http://h\" }", NULL},
    {"chain a { hops = {\n\"p\",\n\"q\"} }\nproxy p { url = \"http://h\" }",
     "x.conf:3: unknown proxy `q`; allowed: p, or a URL such as socks5h://HOST:PORT"},
    {"chain a { hops = \"alice:secret@h\" }",
     "x.conf:1: unknown proxy `alice:***@h`; allowed:" URLS},
    {"chain a { hops = {\"http://h\",\n\"http://h:x\"} }",
     "x.conf:2: bad port in the proxy URL `http://h:x`; allowed: 1 to 65535"},
    {"chain a { hops = \"http://h\" mode = \"dynamic\" }", NULL},
    {"chain a { hops = \"http://h\" mode = \"loose\" }",
     "x.conf:1: unknown mode `loose`; allowed: strict, dynamic, random, round_robin, failover"},
    {"chain a { hops = {\"http://h\", \"http://i\"} mode = \"random\" pick = 2 }", NULL},
    {"chain a { hops = \"http://h\"\n mode = \"random\"\n pick = 2 }",
     "x.conf:3: bad pick `2`; allowed: a number from 1 to 1"},
    {"chain a { hops = \"http://h\"\n pick = 1 }",
     "x.conf:2: `pick` has no meaning in mode strict; allowed: random, round_robin, failover"},

    /* rules */
    {HOP "rule r { match = \"*.x\" chain = \"default\" }", NULL},
    {HOP "rule r { chain = \"default\" }",
     "x.conf:2: rule `r` matches nothing; allowed: match = {\"*.lan\", \"*:25\"}"},
    {HOP "rule r { match = {} chain = \"default\" }",
     "x.conf:2: rule `r` matches nothing; allowed: match = {\"*.lan\", \"*:25\"}"},
    {"rule r { match = \"*.x\" }",
     "x.conf:1: rule `r` needs one of `chain` and `action`; allowed: chain = \"NAME\", "
     "action = \"direct\", action = \"refuse\""},
    {HOP "rule r { match = \"*.x\" action = \"direct\" chain = \"default\" }",
     "x.conf:2: rule `r` needs one of `chain` and `action`; allowed: chain = \"NAME\", "
     "action = \"direct\", action = \"refuse\""},
    {"rule r { match = \"*.x\" action = \"drop\" }",
     "x.conf:1: unknown action `drop`; allowed: direct, refuse"},
    {HOP "rule r { match = \"*.x\"\n chain = \"other\" }",
     "x.conf:3: unknown chain `other`; allowed: default"},
    {"rule r { match = \"*.x\" chain = \"other\" }",
     "x.conf:1: unknown chain `other`; allowed: a chain of this file, but it has none"},
    {"rule r { action = \"refuse\" match = {\"a\",\n \"1.2.3.4/33\"} }",
     "x.conf:2: bad pattern `1.2.3.4/33`; allowed: " FORMS},
    {"bypass = {\"a:0\"}", "x.conf:1: bad pattern `a:0`; allowed: " FORMS},

    /* the rest */
    {"bypass = {}", NULL},
    {"dns = \"auto\" udp = \"auto\"", NULL},
    {"dns = \"chain\" udp = \"proxy\"", NULL},
    {"dns = \"never\"", "x.conf:1: unknown dns `never`; allowed: auto, remote, local, chain"},
    {"dns = \"Remote\"", "x.conf:1: unknown dns `Remote`; allowed: auto, remote, local, chain"},
    {"udp = \"yes\"", "x.conf:1: unknown udp `yes`; allowed: auto, proxy, deny, direct"},
    {"timeout = 0.5", NULL},
    {"timeout = 86400", NULL},
    {"timeout = 86400.001",
     "x.conf:1: bad timeout `86400.001`; allowed: seconds from 0.001 to 86400"},
    {"timeout = 0", "x.conf:1: bad timeout `0`; allowed: seconds from 0.001 to 86400"},
    {"timeout = -1", "x.conf:1: bad timeout `-1`; allowed: seconds from 0.001 to 86400"},
    {"timeout = 1.", "x.conf:1: bad timeout `1.`; allowed: seconds from 0.001 to 86400"},
    {"timeout = 1.0001", "x.conf:1: bad timeout `1.0001`; allowed: seconds from 0.001 to 86400"},
    {"timeout = \" 1\"", "x.conf:1: bad timeout ` 1`; allowed: seconds from 0.001 to 86400"},
    {"timeout = 99999999999999999999",
     "x.conf:1: bad timeout `99999999999999999999`; allowed: seconds from 0.001 to 86400"},
    {0},
};

const struct conf_row conf_daemon_rows[] = {
    {"", NULL},
    {"listen a { url = \"127.0.0.1:1080\" } listen b { url = \"socks://[::1]:0\" }", NULL},
    {"listen a {\n}", "x.conf:2: listen `a` has no url; allowed: url = \"mixed://127.0.0.1:1080\""},
    {"listen a { url = \"redirect://1.2.3.4:5\" }",
     "x.conf:1: the listener `redirect://1.2.3.4:5` is not served by this version; allowed: "
     "[mixed://]HOST:PORT, socks://HOST:PORT, http://HOST:PORT"},
    {"listen a { url = \"tproxy://1.2.3.4:5\" }",
     "x.conf:1: the listener `tproxy://1.2.3.4:5` is not served by this version; allowed: "
     "[mixed://]HOST:PORT, socks://HOST:PORT, http://HOST:PORT"},
    {"listen a { url = \"forward://1.2.3.4:5/h:6\" }",
     "x.conf:1: the listener `forward://1.2.3.4:5/h:6` is not served by this version; allowed: "
     "[mixed://]HOST:PORT, socks://HOST:PORT, http://HOST:PORT"},
    {"listen a { url = \"https://1.2.3.4:5\" }",
     "x.conf:1: the listener `https://1.2.3.4:5` is not served by this version; allowed: "
     "[mixed://]HOST:PORT, socks://HOST:PORT, http://HOST:PORT"},
    {"listen a { url = \"unix:/run/x\" }",
     "x.conf:1: the listener `unix:/run/x` is not served by this version; allowed: "
     "[mixed://]HOST:PORT, socks://HOST:PORT, http://HOST:PORT"},
    {"listen a { url = \"ftp://h:1\" }",
     "x.conf:1: bad listener `ftp://h:1`; allowed: [mixed://]HOST:PORT, socks://HOST:PORT, "
     "http://HOST:PORT, port 0 to 65535"},
    {"listen a { url = \"h:65536\" }",
     "x.conf:1: bad listener `h:65536`; allowed: [mixed://]HOST:PORT, socks://HOST:PORT, "
     "http://HOST:PORT, port 0 to 65535"},
    {"listen a { url = \":1080\" }",
     "x.conf:1: bad listener `:1080`; allowed: [mixed://]HOST:PORT, socks://HOST:PORT, "
     "http://HOST:PORT, port 0 to 65535"},
    {"listen a { url = \"h:1\"\n proxy_protocol = true }",
     "x.conf:2: `proxy_protocol` is not served by this version; allowed: url"},
    {"admin = \"127.0.0.1:9180\"",
     "x.conf:1: `admin` is not served by this version; allowed: listen, proxy, allow, deny, "
     "upstream, timeouts, users, workers, sessions, log_format, udp_filter"},
    {"resolver = \"system\"",
     "x.conf:1: `resolver` is not served by this version; allowed: listen, proxy, allow, deny, "
     "upstream, timeouts, users, workers, sessions, log_format, udp_filter"},
    {"lisen a { }", "x.conf:1: unknown option `lisen`; allowed: listen, proxy, allow, deny, "
                    "upstream, timeouts, users, workers, sessions, log_format, udp_filter"},

    {"allow a { from = {\"10.0.0.0/8\"} to = \"*:443\" commands = {\"connect\", \"bind\"} "
     "users = {\"alice\"} }\ndeny all { }",
     NULL},
    {"allow a { } deny a { }", NULL},
    {"allow a { }\nallow a { }",
     "x.conf:2: duplicate title `a`; every section of a kind has its own"},
    {"allow a { from = {} }",
     "x.conf:1: empty list `from` in allow `a`; allowed: one value or more, or no `from` at all"},
    {"deny a { users = {} }",
     "x.conf:1: empty list `users` in deny `a`; allowed: one value or more, or no `users` at all"},
    {"allow a { from = \"10.0.0.0/99\" }", "x.conf:1: bad pattern `10.0.0.0/99`; allowed: " FORMS},
    {"allow a { commands = {\"connect\",\n\"listen\"} }",
     "x.conf:2: unknown command `listen`; allowed: connect, bind, associate"},
    {"allow a { users = {\"\"} }", "x.conf:1: bad user ``; allowed: a name of 1 to 255 bytes"},

    {"proxy p { url = \"http://h\" } upstream { hops = {\"p\", \"socks5h://i\"} }", NULL},
    {"upstream { }", "x.conf:1: upstream `` has 0 hops; allowed: 1 to 16"},
    {"upstream { hops = \"q\" }", "x.conf:1: unknown proxy `q`; allowed:" URLS},
    {"upstream { hops = \"http://h\" }\nupstream { hops = \"http://i\" }",
     "x.conf:2: a second section `upstream`; allowed: one"},

    {"timeouts { handshake = 1 connect = 2 bind = 3 idle = 3 half_closed = 4 drain = 5.5 }", NULL},
    {"timeouts {\n idle = \"never\" }",
     "x.conf:2: bad idle `never`; allowed: seconds from 0.001 to 86400"},
    {"workers = 0", "x.conf:1: bad workers `0`; allowed: a number from 1 to 1024"},
    {"workers = 1x", "x.conf:1: bad workers `1x`; allowed: a number from 1 to 1024"},
    {"sessions = 99999999", "x.conf:1: bad sessions `99999999`; allowed: a number from 1 to "
                            "10000000"},
    {"udp_filter = \"port\"", NULL},
    {"udp_filter = \"none\"", "x.conf:1: unknown udp_filter `none`; allowed: host, port, any"},
    {"log_format = \"xml\"", "x.conf:1: unknown log_format `xml`; allowed: text, json"},

    {"users = \"good.users\"", NULL},
    {"\nusers = \"nowhere\"", "x.conf:2: users file `nowhere`: No such file or directory"},
    {"users = \"plain.users\"",
     "x.conf:1: plain.users:3: the password of `alice` is not a crypt(3) hash; allowed: what "
     "`openssl passwd -6` prints"},
    {"users = \"twice.users\"", "x.conf:1: twice.users:2: user `alice` is given twice"},
    {"users = \"nameless.users\"",
     "x.conf:1: nameless.users:1: bad line ``; allowed: NAME:HASH, NAME of 1 to 255 bytes"},
    {"users = \"nul.users\"", "x.conf:1: nul.users:1: NUL byte; allowed: NAME:HASH"},
    {0},
};
