#!/usr/bin/env python3
"""--check: chains of real hops tried one by one, what they can do, what is said of those that fail,
and how it looks. Writes check.png into the build directory."""

import base64
import json
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, netns, proxies, servers, tap, world
from lib.daemon import Daemon
from lib.delay import Delayed
from lib.hostile import Scripted
from lib.screen import Screen, draw
from lib.servers import PASSWORD, USER, chain
from lib.tls import Authority
from lib.world import FAR, NEAR, ORIGIN

NAME = "v4.origin.test"
TARGET = f"{NAME}:80"
PAIR = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
YES, NO = "yes", "no"

# hop, scheme: what it can do, as far as it is certain; "-" is what it is not asked.
# fmt: off
ABILITIES = [
    ("ours", "socks5h", {"names": YES, "names_ipv4": YES, "names_ipv6": YES, "ipv4": YES, "ipv6": YES, "udp": YES, "bind": YES, "one_flight": YES}),
    ("ours", "http", {"names": YES, "names_ipv4": "-", "ipv4": YES, "ipv6": YES, "udp": "-", "bind": "-", "one_flight": "-"}),
    ("ours", "socks4a", {"names": YES, "ipv4": YES, "ipv6": "-", "udp": "-", "bind": YES}),
    ("ours", "socks4", {"names": YES, "ipv4": YES, "bind": YES}),
    ("ours with login", "socks5h", {"names": YES, "udp": YES, "one_flight": YES}),
    ("ours with login", "http", {"names": YES}),
    ("microsocks", "socks5h", {"names": YES, "names_ipv4": YES, "names_ipv6": YES, "ipv4": YES, "udp": NO, "bind": NO, "one_flight": NO}),
    ("microsocks with login", "socks5h", {"names": YES, "udp": NO, "bind": NO, "one_flight": NO}),
    ("dante", "socks5h", {"names": YES, "names_ipv4": YES, "names_ipv6": YES, "ipv6": YES, "udp": YES, "one_flight": YES}),
    ("dante with login", "socks5", {"names": YES, "udp": YES, "one_flight": YES}),
    ("dante", "socks4", {"ipv4": YES}),
    ("tinyproxy", "http", {"names": YES, "udp": "-", "bind": "-", "one_flight": "-"}),
    ("tinyproxy with login", "http", {"names": YES}),
    ("squid with login", "http", {"names": YES, "ipv4": YES}),
    ("ssh -D", "socks5h", {"names": "unclear", "names_ipv6": "unclear", "bind": NO, "udp": NO, "one_flight": YES}),
    ("ssh -D", "socks4a", {"names": "unclear", "bind": NO}),
]
# fmt: on


def cases(w):
    nginx = servers.Nginx(w)
    authority = Authority(w)
    sshd = servers.Sshd(w)
    hops = {
        "ours": servers.viaductd(w),
        "ours with login": servers.viaductd(w, login=True),
        "microsocks": servers.microsocks(w),
        "microsocks with login": servers.microsocks(w, login=True),
        "dante": servers.danted(w),
        "dante with login": servers.danted(w, login=True),
        "tinyproxy": servers.tinyproxy(w),
        "tinyproxy with login": servers.tinyproxy(w, login=True),
        "squid with login": proxies.squid(w, login=True),
        "ssh -D": servers.ssh_d(w, sshd),
    }

    def no_secret(*texts):
        for text in texts:
            tap.holds(PASSWORD.encode() not in text and PAIR.encode() not in text, f"a secret: {text}")

    def run(options, *target, more=(), **how):
        got = w.run("app", [w.viaduct, *options, *more, "--check", *target], **how)
        no_secret(got.out, got.err)
        return got

    def check(options, *target, code=0, **how):
        """What it tells as JSON."""
        got = run(options, *target, more=["--json", *how.pop("more", ())], **how)
        tap.same((got.code, got.err), (code, b""), "exit code, standard error")
        told = json.loads(got.out)
        tap.same(told["ok"], code == 0)
        return told

    def steps(told, hop=1, way=0):
        return [step["step"] for step in told["ways"][way]["hops"][hop - 1]["steps"]]

    def fails(options, target, hop, error, advice, **how):
        """Hop number, words; the text says the same as the JSON."""
        told = check(options, *target, code=1, **how)["ways"][0]
        tap.same(told["failed_hop"], hop, "the hop that fails")
        tap.holds(re.search(error, told["error"]), told["error"])
        tap.holds(re.search(advice, told["advice"]), f"advice: {told['advice']}")
        got = run(options, *target, **how)
        plain = re.sub(r"\s+", " ", got.out.decode("ascii"))
        tap.same(got.code, 1)
        tap.holds(re.search(error, plain) and re.search(advice, plain), plain)
        return told

    # --- what works -----------------------------------------------------------------------

    def able(hop, scheme, wanted):
        def case():
            told = check(chain(hop.url(scheme, first=True)))["ways"][0]["hops"][0]
            got = {key: told.get(key, "-") for key in wanted}
            tap.same(got, wanted)
            target = [TARGET] if scheme not in ("socks4", "socks5") else [f"{ORIGIN}:80"]
            told = check(chain(hop.url(scheme, first=True)), *target)["ways"][0]["hops"][0]
            tap.same(told["ipv4" if ORIGIN in target[0] else "names"], YES, "what reaching the target shows")
        return case

    def mixed():
        urls = (hops["ours with login"].url(first=True), hops["squid with login"].url(),
                hops["microsocks with login"].url())
        told = check(chain(*urls), TARGET)
        tap.same([steps(told, i) for i in (1, 2, 3)],
                 [["connect", "method", "login", "request"], ["request"], ["method", "login", "request"]])
        tap.same([hop.get("udp", "-") for hop in told["ways"][0]["hops"]], ["yes", "-", "no"])
        tap.same(len(told["ways"][0]["warnings"]), 3, "logins in clear")
        tap.same(told["target"], TARGET)

    def families():
        """By which family a name was reached shows in the answer; a hop without IPv6 does not get a yes."""
        for name, key in (("v4.origin.test:80", "names_ipv4"), ("v6.origin.test:80", "names_ipv6")):
            told = check(chain(hops["dante"].url(first=True)), name)["ways"][0]["hops"][0]
            tap.same(told[key], YES)

        def script(peer):
            peer.socks5_greeting(0)
            _, host, _ = peer.socks5_request()
            peer.say(hostile.socks5_reply({"0.0.0.0": 5, "::": 8, "::1": 8}.get(host, 4)))
            peer.wait_for_end()

        with Scripted("proxy", NEAR, w.port(), script) as hop:
            told = check(chain(hop.url("socks5h")))["ways"][0]["hops"][0]
            got = run(chain(hop.url("socks5h"))).out.decode()
        tap.same({key: told[key] for key in ("names", "names_ipv4", "names_ipv6", "ipv4", "ipv6")},
                 {"names": YES, "names_ipv4": YES, "names_ipv6": NO, "ipv4": YES, "ipv6": NO})
        tap.holds(re.search(r"hop 1  v4     yes   no ", got), got)

    def no_effect():
        """Without a target nothing but what cannot exist is asked for, and nobody else is spoken to."""
        asked = []

        def script(peer):
            method = 2 if b"\2" in peer.socks5_greeting(None) else 0
            peer.say(bytes([5, method]))
            if method:
                peer.socks5_login()
            asked.append(peer.socks5_request())
            peer.say(hostile.socks5_reply(7))
            peer.wait_for_end()

        with Scripted("proxy", NEAR, w.port(), script) as hop:
            w.forget()
            told = check(chain(hop.url("socks5h", f"{USER}:{PASSWORD}")))
            w.quiet((NEAR, hop.port))
            tap.same(told["ways"][0]["hops"][0]["udp"], "no")
        commands = {}
        for command, host, _ in asked:
            commands.setdefault(command, set()).add(host)
        tap.same(commands[9], {"0.0.0.0"}, "command 9")
        tap.same(commands[1], {"viaduct-check.invalid", "0.0.0.0", "::"}, "CONNECT")
        tap.same((commands[2], commands[3], len(commands)), ({"0.0.0.0"}, {"0.0.0.0"}, 4), "BIND, UDP ASSOCIATE")

    def waterfall():
        """Each step takes the link's delays it has to, and begins where the one before ends."""
        delay = 0.06
        near = Delayed("proxy", NEAR, w.port(), (FAR, hops["ours"].port), delay)
        with near:
            told = check(chain(near.url(), hops["ours with login"].url()), TARGET)
        all_steps = [step for hop in told["ways"][0]["hops"] for step in hop["steps"]]
        tap.same([s["step"] for s in all_steps],
                 ["connect", "method", "request", "method", "login", "request"])
        for before, step in zip(all_steps, all_steps[1:]):
            tap.holds(abs(before["from_ms"] + before["ms"] - step["from_ms"]) < 1, f"{before} {step}")
        for step in all_steps[1:]:
            tap.holds(step["ms"] >= 2000 * delay * 0.9, f"a round trip: {step}")
        tap.holds(all_steps[0]["ms"] < 2000 * delay, f"the relay itself is near: {all_steps[0]}")

    def name_of_target():
        w.names.know(NAME, ORIGIN)
        told = check(chain(hops["ours"].url("socks5", first=True)), TARGET)
        w.names.forget(NAME)
        tap.holds("socks5h" in told["ways"][0]["warnings"][0], told["ways"][0]["warnings"])
        w.forget()
        told = check(chain(hops["ours"].url("socks5", first=True)), TARGET, more=["-d", "remote"])
        w.quiet((NEAR, hops["ours"].port))
        tap.same(told["ways"][0]["warnings"], [])

    def name_of_hop():
        w.names.know("hop.test", NEAR)
        told = check(chain(f"socks5h://hop.test:{hops['ours'].port}"), TARGET)
        w.names.forget("hop.test")
        tap.same((steps(told)[:2], told["ways"][0]["hops"][0]["address"]), (["name", "connect"], NEAR))

    def unix_socket():
        path = f"{w.dir}/hop.socket"
        d = Daemon(w, listens=(f"unix:{path}",), ns="app", wait=False)
        world.wait_until(lambda: os.path.exists(path), "the socket")
        told = check(chain(f"socks5h://unix:{path}"))
        tap.same(steps(told), ["connect", "method", "request"])
        d.stop()
        fails(chain(f"socks5h://unix:{w.dir}/nobody"), [], 1, "No such file", "check the path of the socket")

    def secure(*names, kind="sign", **more):
        """A viaductd with a certificate for these names, behind TLS and in the clear: (https port, daemon)."""
        cert, key = getattr(authority, kind)(*names, **more)
        return Daemon(w, "-u", f"{USER}:{PASSWORD}", "--allow", "to=*,0.0.0.0/0,::/0", ns="proxy", listens=2,
                      conf=f'listen s {{ url = "https://0.0.0.0:0" cert = "{cert}" key = "{key}" }}\n'
                           'listen p { url = "mixed://0.0.0.0:0" }\n')

    def https(d, host=NEAR, more=None, login=f"{USER}:{PASSWORD}@"):
        return f"https://{login}{host}:{d.ports[0]}{more or '?ca=' + authority.path}"

    def tls():
        d = secure(NEAR, FAR)
        told = check(chain(https(d)), TARGET)
        tap.same(steps(told), ["connect", "tls", "request"])
        way = told["ways"][0]
        tap.same((way["hops"][0]["steps"][1]["version"], way["warnings"]), ("TLSv1.3", []), "no login in clear")
        tap.same((way["hops"][0]["names"], way["hops"][0]["ipv4"], way["hops"][0]["ipv6"]), (YES, YES, YES))
        told = check(chain(https(d)))
        tap.same(steps(told), ["connect", "tls", "request"])
        told = check(chain(hops["ours"].url(first=True), https(d, FAR), https(d, FAR), hops["dante"].url()), TARGET)
        tap.same([steps(told, i) for i in (1, 2, 3, 4)],
                 [["connect", "method", "request"], ["tls", "request"], ["tls", "request"], ["method", "request"]])
        tap.same((told["ways"][0]["hops"][3]["udp"], told["ways"][0]["warnings"]), ("yes", []), "the last hop is asked")
        path = f"{w.dir}/tls.pcapng"
        run(chain(https(d)), TARGET, more=[f"--trace={path}"])
        with open(path, "rb") as file:
            data = file.read()
        no_secret(data)
        tap.holds(b"CONNECT " + TARGET.encode() in data, "what is inside TLS is in the trace")
        d.stop()
        world.wait_until(lambda: b"viaduct-tls" not in w.run("app", ["ps", "-eo", "comm"]).out, "no helper is left")

    def tls_warns():
        d = secure(NEAR, FAR)
        told = check(chain(https(d), hops["ours with login"].url()), TARGET)
        tap.same(len(told["ways"][0]["warnings"]), 1)
        tap.holds(re.search("login of hop 2 crosses the links behind hop 1 in clear", told["ways"][0]["warnings"][0]), told)
        d.stop()

    def tls_fails():
        good, expired, other = secure(NEAR, FAR), secure(NEAR, kind="expired"), secure("else.test")
        fails(chain(https(good, more="?")[:-1]), [TARGET], 1, "certificate.*(self-signed|issuer|unable to get)",
              r"may be another.*ca=FILE")
        fails(chain(https(expired)), [TARGET], 1, "expired", "may be another")
        fails(chain(https(other)), [TARGET], 1, "mismatch", "check the host's name")
        check(chain(https(other, more="?verify=no")), TARGET)
        fails(chain(hops["ours"].url(first=True), https(other, FAR)), [TARGET], 2, "hop 2 of 2 .*mismatch", "may be another")
        fails(chain(https(good, login=f"{USER}:wrong@")), [TARGET], 1, "refused the login", "check user and password")
        plain = hops["tinyproxy"]
        fails(["-t", "6", *chain(f"https://{NEAR}:{plain.port}")], [TARGET], 1, "",
              f"an HTTP proxy answers there: write http://{NEAR}:{plain.port}")
        fails(["-t", "6", *chain(f"https://{NEAR}:{hops['microsocks'].port}")], [TARGET], 1, "", "a SOCKS5 proxy answers")
        fails(chain(f"https://{NEAR}:9"), [], 1, "Connection refused", "nothing listens")
        fails(chain(https(good, more="?ca=/no/such.pem")), [], 1, "/no/such.pem.*No such file", "ca=FILE")
        with Scripted("proxy", NEAR, w.port(), hostile.silent) as hop:
            fails(["-t", "3", *chain(f"https://{NEAR}:{hop.port}")], [], 1, "did not answer in time", "says nothing")
        for d in (good, expired, other):
            d.stop()

    def unix_behind():
        fails(chain(hops["ours"].url(first=True), f"socks5h://unix:{w.dir}/x"), [TARGET], 2, "hop 2 of 2",
              "a unix socket is on this machine, where no hop leads to")

    def fast_open():
        with netns.inside("proxy"):
            netns.write("proxy", "/proc/sys/net/ipv4/tcp_fastopen", "3")
        netns.write("app", "/proc/sys/net/ipv4/tcp_fastopen", "1")
        ours = servers.viaductd(w)
        told = check(chain(ours.url(first=True)))
        tap.same(told["ways"][0]["hops"][0]["fast_open"], YES)
        told = check(chain(hops["microsocks"].url(first=True)))
        tap.same(told["ways"][0]["hops"][0]["fast_open"], NO)

    def stand_ins():
        conf = w.file("ways.conf", f"""
chain default {{ hops = {{"{hops['ours'].url(first=True)}", "http://{NEAR}:9", "{hops['tinyproxy'].url(first=True)}"}}
                mode = "failover" }}
""", 0o600)
        told = check(["-f", conf], TARGET, code=1)
        tap.same([way["ok"] for way in told["ways"]], [True, False, True])
        tap.same(told["ways"][1]["failed_hop"], 2)
        told = check(["-f", conf, "-m", "dynamic"], TARGET, code=1)
        tap.same(len(told["ways"]), 1)

    def traced():
        path = f"{w.dir}/check.trace"
        got = run(chain(hops["ours with login"].url(first=True)), TARGET, more=[f"--trace={path}"])
        tap.same(got.code, 0)
        with open(path, encoding="ascii") as file:
            text = file.read()
        no_secret(text.encode())
        tap.holds("UDP ASSOCIATE" in text and "no such command" in text and NAME in text, text[:2000])

    # --- what fails -----------------------------------------------------------------------

    def refused():
        fails(chain(f"socks5h://{NEAR}:9"), [], 1, "hop 1 of 1 .* cannot be reached: Connection refused",
              "nothing listens on that port")
        fails(chain(hops["ours"].url(first=True), f"http://{FAR}:9"), [TARGET], 2,
              "hop 2 of 2 .* cannot be reached: hop 1 says", "as seen from the hop before")

    def silent_address():
        began = time.monotonic()
        fails(["-t", "1.5", *chain("socks5h://10.1.0.99:1080")], [TARGET], 1, "cannot be reached",
              "no answer from that address|no way leads")
        tap.holds(time.monotonic() - began < 10, "within the limit, twice")

    def wrong_login():
        for name in ("ours with login", "microsocks with login", "dante with login", "tinyproxy with login",
                     "squid with login"):
            hop = hops[name]
            fails(chain(hop.url(first=True, login=f"{USER}:wrong")), [TARGET], 1, "refused the login",
                  "check user and password")
            fails(chain(hop.url(first=True, login="")), [TARGET], 1, "wants a login", "give a login")

    def other_kinds():
        for name, scheme, advice in (
            ("tinyproxy", "socks5h", f"an HTTP proxy answers there: write http://{NEAR}:{hops['tinyproxy'].port}"),
            ("squid with login", "socks4a", "an HTTP proxy answers there: write http://"),
            ("microsocks", "http", f"a SOCKS5 proxy answers there: write socks5h://{NEAR}:{hops['microsocks'].port}"),
            ("dante", "http", "a SOCKS5 proxy answers there"),
            ("microsocks with login", "socks4a", "a SOCKS5 proxy answers there"),
        ):
            hop = hops[name]
            login = f"{USER}:{PASSWORD}@" if "login" in name and scheme != "socks4a" else ""
            fails(["-t", "6", *chain(f"{scheme}://{login}{NEAR}:{hop.port}")], [TARGET], 1, "hop 1 of 1", advice)

    def other_kind_behind():
        fails(["-t", "6", *chain(hops["ours"].url(first=True), f"http://{FAR}:{hops['microsocks'].port}")], [TARGET],
              2, "hop 2 of 2", "a SOCKS5 proxy answers there")

    def no_login_for_others():
        """What may be another kind of proxy is asked without the login."""
        heard = []

        def script(peer):
            data = peer.sock.recv(4096)
            heard.append(data)
            if data.startswith(b"\5"):
                peer.reset()
            else:
                peer.say(b"HTTP/1.1 502 no\r\n\r\n")

        with Scripted("proxy", NEAR, w.port(), script) as hop:
            fails(chain(hop.url("socks5h", f"{USER}:{PASSWORD}")), [TARGET], 1, "", "an HTTP proxy answers there")
        tap.holds(len(heard) >= 2 and not any(PASSWORD.encode() in d or PAIR.encode() in d for d in heard), heard)

    def strangers():
        page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9\r\n\r\n<html>hi\n"
        for says, error, advice in (
            (page, "", "captive portal"),
            (b"HTTP/1.1 302 Found\r\nLocation: http://portal.test/\r\nContent-Length: 0\r\n\r\n", "HTTP 302",
             "captive portal"),
            (b"HTTP/1.1 511 Network Authentication Required\r\n\r\n", "HTTP 511", "captive portal"),
        ):
            for target in ([], [TARGET]):
                with Scripted("proxy", NEAR, w.port(), hostile.http_answer(says)) as hop:
                    fails(chain(hop.url("http")), target, 1, error, advice)
        with Scripted("proxy", NEAR, w.port(), hostile.says(b"SSH-2.0-OpenSSH_9\r\n")) as hop:
            fails(["-t", "4", *chain(hop.url("socks5h"))], [], 1, "does not speak", "an SSH server answers there")
        with Scripted("proxy", NEAR, w.port(), hostile.says(b"220 mail ESMTP\r\n")) as hop:
            fails(["-t", "4", *chain(hop.url("http"))], [], 1, "", "mail or FTP server")

    def web_server():
        fails(chain(hops["ours"].url(first=True), f"http://{ORIGIN}:80"), [TARGET], 2, r"HTTP 40\d",
              "a web server answers there")
        fails(chain(hops["ours"].url(first=True), f"http://{ORIGIN}:80"), [], 2, r"HTTP 40\d",
              "a web server answers there")

    def says_nothing():
        with Scripted("proxy", NEAR, w.port(), hostile.silent) as hop:
            began = time.monotonic()
            fails(["-t", "3", *chain(hop.url("socks5h"))], [], 1, "did not answer in time", "says nothing")
            tap.holds(time.monotonic() - began < 15, "two checks of 3 s")

    def no_target():
        ours = chain(hops["ours"].url(first=True))
        fails(ours, [f"{ORIGIN}:9"], 1, "the target refused", "the chain works; the target's port is closed")
        fails(ours, ["no.such.test:80"], 1, "", "from the last hop no way|knows no such name")
        fails(ours, ["10.9.9.9:80"], 1, "", "from the last hop no way leads")

    def by_reply():
        """What to do by the hop's own words: each reply of SOCKS5, for the target and for the next hop."""
        def script(code):
            def play(peer):
                if peer.read(2) != b"\5\1":  # asked whether it is another kind of proxy
                    return peer.reset()
                peer.read(1)
                peer.say(b"\5\0")
                peer.socks5_request()
                peer.say(hostile.socks5_reply(code))
                return peer.wait_for_end()
            return play

        for code, for_target, for_hop in (
            (1, "the proxy gives no reason; its log may", "as they are seen from the hop before"),
            (2, "the proxy's rules forbid it: ask who runs it", "the proxy's rules forbid to go on to the next hop"),
            (3, "from the last hop no way leads to the target", "as they are seen from the hop before"),
            (4, "from the last hop no way leads to the target", "as they are seen from the hop before"),
            (5, "the target's port is closed", "does that proxy run"),
            (6, "from the last hop no way leads to the target", "as they are seen from the hop before"),
            (8, "this hop takes no such address: try the other family", ""),
            (66, "the proxy gives no reason; its log may", ""),
        ):
            with Scripted("proxy", NEAR, w.port(), script(code)) as hop:
                fails(chain(hop.url("socks5h")), [f"{ORIGIN}:80"], 1, "hop 1 of 1", for_target)
                if for_hop:
                    fails(chain(hop.url("socks5h"), f"socks5h://{FAR}:9"), [f"{ORIGIN}:80"], 1 if code == 2 else 2, "", for_hop)

    def by_name():
        """Only hops that say so let a name that nobody knows be told from an address that nobody has."""
        ours = hops["ours"]
        fails(chain(ours.url("http", first=True)), ["no.such.test:80"], 1, "", "the last hop knows no such name: check how it is spelled")
        fails(chain(ours.url("http", first=True), "socks5h://no.such.test:1"), [TARGET], 2, "",
              "the hop before knows no such name: names of later hops are resolved by the hop before")

    def no_method():
        """None of the logins that are offered."""
        with Scripted("proxy", NEAR, w.port(), lambda peer: (peer.socks5_greeting(255), peer.wait_for_end())) as hop:
            fails(chain(hop.url("socks5h", f"{USER}:{PASSWORD}")), [TARGET], 1, "", "it takes none of the logins offered")
            fails(chain(hop.url("socks5h")), [TARGET], 1, "", "give a login: scheme://USER:PASSWORD@HOST:PORT")

    def says_yes():
        """One that says yes to what cannot exist."""
        with Scripted("proxy", NEAR, w.port(), hostile.http_answer(b"HTTP/1.1 200 Connection established\r\n\r\n")) as hop:
            told = check(chain(hop.url("http")))["ways"][0]
        tap.holds(any("hop 1 says yes to a target that cannot exist: it answers before it connects" in words
                      for words in told["warnings"]), told["warnings"])

    def swallowed():
        """An address that takes every packet and answers none."""
        subprocess.run(["ip", "-n", "app", "neigh", "replace", "10.1.0.88", "lladdr", "02:00:00:00:00:99", "dev", "app0",
                        "nud", "permanent"], check=True)
        fails(["-t", "1.5", *chain("socks5h://10.1.0.88:1080")], [TARGET], 1, "cannot be reached: Connection timed out",
              "no answer from that address: is it right, and does a firewall let you through")

    def forbidden():
        tiny = servers.tinyproxy(w, only_port=443)
        fails(chain(tiny.url(first=True)), [TARGET], 1, "HTTP 403", "port 443 only")
        check(chain(tiny.url(first=True)))

    def unknown_hop():
        fails(chain("socks5h://no.such.test:1080"), [TARGET], 1, "its name cannot be resolved", "getent hosts")

    def wrong_words():
        ours = chain(hops["ours"].url(first=True))
        for words, told in (
            (["--check", "a:1", "b"], "`b` is one too many"),
            (["--check=a:1", "b"], "`b` is one too many"),
            (["--check", "a"], "`a` is no target: it has no port"),
            (["--check", "a:99999"], "it has no port, or none from 1 to 65535; allowed: HOST:PORT"),
            (["--check", "::1:x:80:"], "is no target"),
            (["--check="], "no target is named"),
            (["--json", "true"], "--check is missing"),
        ):
            got = w.run("app", [w.viaduct, *ours, *words])
            tap.same((got.code, got.out), (125, b""))
            tap.holds(told in got.err.decode() and got.err.count(b"\n") == 1, f"{got.err}")

    # --- how it looks ---------------------------------------------------------------------

    def plain():
        got = run(chain(hops["ours"].url(first=True)), TARGET, env={"LANG": "C.UTF-8", "TERM": "xterm"})
        text = got.out.decode("ascii")
        tap.holds("\x1b" not in text and "\r" not in text, "plain text in a pipe")
        tap.holds(max(map(len, text.splitlines())) <= 80, "80 columns")
        tap.holds(not re.search(r" +$", text, re.M), "no spaces at the ends of lines")
        tap.holds("#" in text and "ok: " in text, text)

    def on_a_terminal():
        argv = [w.viaduct, *chain(hops["ours with login"].url(first=True)), "--check", TARGET]
        code, data = draw(w, argv, columns=100)
        shown = Screen(data)
        tap.same(code, 0)
        tap.holds("█" in shown.text and {"32", "34"} <= shown.colours, shown.text)
        tap.holds(b"\r\x1b[K  ... " in data and "..." not in shown.text, "a line of progress, gone in the end")
        rows = [line for line in shown.lines if "▕" in line]
        tap.same(len({line.index("▏", line.rindex("▕") + 1) if "▏" in line else 0 for line in
                      (re.sub(r"[▏▎▍▌▋▊▉](?=.*▏)", "█", row) for row in rows)}), 1, "bars of one width")
        for columns in (60, 80, 200):
            code, data = draw(w, argv, columns=columns)
            widest = max(map(len, Screen(data).lines))
            tap.holds(widest <= max(min(columns, 120), 56), f"{widest} columns of {columns}")
        code, data = draw(w, argv, {"NO_COLOR": "1"})
        tap.holds(Screen(data).colours == set() and "█" in Screen(data).text, "NO_COLOR")
        code, data = draw(w, argv, {"LANG": "C"})
        Screen(data).text.encode("ascii")

    def picture():
        delay = 0.03
        near = Delayed("proxy", NEAR, w.port(), (FAR, hops["ours with login"].port), delay)
        far = Delayed("proxy", FAR, w.port(), (FAR, hops["tinyproxy"].port), delay / 2)
        with near, far:
            argv = [w.viaduct, *chain(near.url("socks5h", f"{USER}:{PASSWORD}"), far.url("http"),
                                      hops["dante"].url("socks5h")), "--check", TARGET]
            code, data = draw(w, argv, columns=100)
        shown = Screen(data)
        tap.same(code, 0)
        tap.holds(shown.picture(f"{w.build}/check", 100), "no picture was made")

    for name, scheme, wanted in ABILITIES:
        yield f"{name}, {scheme}", able(hops[name], scheme, wanted)
    yield "three hops, mixed, each with a login", mixed
    yield "names by family", families
    yield "without a target nothing has an effect", no_effect
    yield "times add up", waterfall
    yield "the target's name is looked up here", name_of_target
    yield "a hop by name", name_of_hop
    yield "a unix socket", unix_socket
    yield "TLS", tls
    yield "logins behind TLS", tls_warns
    yield "TLS that fails", tls_fails
    yield "a unix socket behind a hop", unix_behind
    yield "TCP fast open", fast_open
    yield "hops that stand in for each other", stand_ins
    yield "with --trace", traced
    yield "nothing listens", refused
    yield "an address that nobody has", silent_address
    yield "wrong login, no login", wrong_login
    yield "another kind of proxy", other_kinds
    yield "another kind of proxy behind a hop", other_kind_behind
    yield "another kind is asked without the login", no_login_for_others
    yield "portals and strangers", strangers
    yield "a web server", web_server
    yield "a hop that says nothing", says_nothing
    yield "a target that cannot be reached", no_target
    yield "advice by SOCKS5's replies", by_reply
    yield "advice by unknown names", by_name
    yield "no login that is offered", no_method
    yield "a hop that says yes to everything", says_yes
    yield "an address that swallows everything", swallowed
    yield "a target that is forbidden", forbidden
    yield "a hop without an address", unknown_hop
    yield "wrong words", wrong_words
    yield "in a pipe", plain
    yield "on a terminal", on_a_terminal
    yield "its picture", picture


if __name__ == "__main__":
    world.main(cases, ["microsocks", "danted", "tinyproxy", "squid", "ssh", "nginx", "chromium"])
