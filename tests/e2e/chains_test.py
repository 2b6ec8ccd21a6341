#!/usr/bin/env python3
"""Chains of 1, 2, 3 and 5 hops of mixed kinds, with and without logins, through viaductd and through
the servers of other makers; hops inside the application's own machine; where hop 1 is found."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, servers, tap, world
from lib.servers import chain
from lib.world import NAMES, NEAR, NEAR6, ORIGIN, ORIGIN6, wait_until

TAKES_NAMES = ("socks5h", "socks4a", "http")
DEAD = "10.1.0.99"  # an address of the link that nobody has

# Hops by their names in cases(), each with the scheme that it is spoken to by.
CHAINS = [
    "micro:socks5h tiny:http",
    "tiny-login:http micro-login:socks5h",
    "dante:socks5 dante-login:socks5h",
    "ssh:socks4 ours:socks4a",
    "ours:http ours-login:http",
    "ours-login:socks5h ssh:socks5h",
    "dante:socks4 tiny-login:http",
    "micro-login:socks5h dante-login:socks5h tiny-login:http",
    "ours:socks4 ours:socks5 ours:http",
    "tiny:http ssh:socks4a ours-login:socks5h",
    "ours-login:http ours:socks4a ours-login:socks5h",
    "dante:socks4 ours:http micro:socks5h",
    "micro:socks5 dante:socks5h tiny:http ssh:socks5h ours:http",
    "ours:socks5h ours-login:http ours:socks4a ours-login:socks5h ours:http",
    "tiny-login:http ours-login:socks5h dante-login:socks5 micro-login:socks5h ours-login:http",
    "dante:socks5h ours:socks4 tiny:http ours-login:http ssh:socks4a",
]


def cases(w):
    web = servers.Nginx(w)
    big = web.big(size=8 << 20)
    sshd = servers.Sshd(w)
    hops = {
        "micro": servers.microsocks(w),
        "micro-login": servers.microsocks(w, login=True),
        "dante": servers.danted(w),
        "dante-login": servers.danted(w, login=True),
        "tiny": servers.tinyproxy(w),
        "tiny-login": servers.tinyproxy(w, login=True),
        "ssh": servers.ssh_d(w, sshd),
        "ours": servers.viaductd(w),
        "ours-login": servers.viaductd(w, login=True),
    }

    def urls(text):
        pairs = [word.split(":") for word in text.split()]
        return [hops[name].url(scheme, first=not i) for i, (name, scheme) in enumerate(pairs)]

    def fetch(options, target, want=web.page):
        got = w.via(["-q", *options], ["curl", "-sS", "-g", f"http://{target}"])
        tap.same((got.code, got.err), (0, b""), "exit code and standard error")
        tap.holds(got.out == want, f"{len(got.out)} of {len(want)} bytes, or others")

    def by_all_targets(text):
        words = text.split()
        first = hops[words[0].split(":")[0]].at(first=True)
        scheme = words[-1].split(":")[1]
        options = chain(*urls(text))
        w.forget()
        fetch(options, ORIGIN)
        w.quiet(first)
        if scheme in TAKES_NAMES:
            fetch(options, "v4.origin.test")
            w.quiet(first)
        if not scheme.startswith("socks4"):
            fetch(options, f"[{ORIGIN6}]")
            w.quiet(first)

    def much_through_five():
        options = chain(*urls("tiny:http ours-login:http ours:socks4a micro:socks5h ours:http"))
        fetch(options, "origin.test/big", big)
        # the end of one direction is passed on by ours alone
        options = chain(*urls("ours:socks5h ours-login:http ours:socks4a ours-login:socks5h ours:http"))
        sent = os.urandom(1 << 20) * 8
        with hostile.Scripted("origin", ORIGIN, 7, hostile.silent) as sink:
            got = w.via(["-q", *options], ["nc", "-N", "v4.origin.test", "7"], stdin=sent)
            tap.same(got.code, 0, "exit code")
            wait_until(lambda: sink.playing == 0, "the origin saw the end")
        tap.holds(sink.peers[0].heard == sent, f"{len(sink.peers[0].heard)} of {len(sent)} bytes, or others")

    def many_at_once():
        options = chain(*urls("ours-login:socks5h micro:socks5h ours:http"))
        argv = ["curl", "-sS", "-Z", "--no-progress-meter", "--parallel-max", "20"]
        for number in range(20):
            argv += ["-o", f"got{number}", "http://origin.test/"]
        got = w.via(["-q", *options], argv)
        tap.same((got.code, got.err), (0, b""))
        for number in range(20):
            with open(f"{w.dir}/got{number}", "rb") as file:
                tap.holds(file.read() == web.page, f"page {number}")

    # --- the usual pair of a local mixed proxy ----------------------------------------------

    def local_pair_of_ours():
        out = hops["ours-login"]
        first = servers.viaductd(w, host="app")
        second = servers.viaductd(w, host="app", upstream=[out.url("socks5h", first=True)])
        for one, two in (("socks5h", "http"), ("http", "socks5h"), ("socks4a", "socks4a")):
            w.forget()
            fetch(chain(first.url(one), second.url(two)), "origin.test")
            w.quiet(out.at(first=True))

    def local_pair_of_others():
        out = hops["tiny"]
        one = servers.microsocks(w, host="app")
        two = servers.tinyproxy(w, host="app", upstream="http {}:{}".format(*out.at(first=True)))
        w.forget()
        fetch(chain(one.url("socks5h"), two.url("http")), "origin.test")
        w.quiet(out.at(first=True))

    # --- upstream chains of viaductd --------------------------------------------------------

    def upstream():
        """What the client's chain could do, the daemon's does: five hops, two of them its own."""
        far = servers.viaductd(
            w, login=True, upstream=[hops["micro-login"].url(), hops["tiny-login"].url("http")]
        )
        options = chain(hops["dante"].url("socks5h", first=True), far.url("http"))
        for target in ("origin.test", ORIGIN, f"[{ORIGIN6}]"):
            w.forget()
            fetch(options, target)
            w.quiet(hops["dante"].at(first=True))

    # --- where hop 1 is ---------------------------------------------------------------------

    def six():
        """Hop 1 by IPv6 literal, for programs that reach out by IPv6."""
        for text in ("micro:socks5h", "tiny:http", "ours:http", "ours-login:socks5h"):
            name, scheme = text.split(":")
            options = chain(hops[name].url(scheme, first=True, six=True), hops["ours"].url("http", six=True))
            w.forget()
            fetch(options, f"[{ORIGIN6}]")
            w.quiet((NEAR6, hops[name].port))

    def six_for_four():
        """An IPv4 socket cannot be dialled to IPv6: a process of our own goes there."""
        options = chain(hops["ours"].url("socks5h", first=True, six=True))
        w.forget()
        fetch(options, ORIGIN)
        w.quiet((NEAR6, hops["ours"].port))

    def four_for_six():
        """An IPv6 socket reaches an IPv4 hop 1 by a mapped address."""
        w.forget()
        fetch(chain(hops["micro"].url(first=True)), f"[{ORIGIN6}]")
        w.quiet(hops["micro"].at(first=True))

    def by_name_of_hosts_file():
        w.hosts("app", f"{NEAR} hop1.test\n")
        w.forget()
        fetch(chain(f"socks5h://hop1.test:{hops['micro'].port}"), "origin.test")
        w.quiet(hops["micro"].at(first=True))

    def by_name_of_dns():
        """Only the launcher asks, only for the hop."""
        w.names.know("asked.test", NEAR)
        w.forget()
        fetch(chain(f"http://asked.test:{hops['ours'].port}", hops["tiny"].url("http")), "origin.test")
        asked = {name for name, _, _ in w.names.take()}
        tap.same(asked, {"asked.test"}, "names asked")
        tap.same(set(w.link.take()), {("udp", NAMES, 53), ("tcp", NEAR, hops["ours"].port)}, "on the link")

    def first_address_refuses():
        """Of several addresses the next is tried, whichever the resolver puts first."""
        port = w.port()
        with hostile.Scripted(
            "proxy", NEAR, port, lambda peer: hostile.hand_on(peer, "proxy", NEAR, hops["micro"].port)
        ):
            for name, addresses in (("both.test", (NAMES, NEAR)), ("turned.test", (NEAR, NAMES))):
                w.hosts("app", "".join(f"{a} {name}\n" for a in addresses))
                w.forget()
                fetch(chain(f"socks5h://{name}:{port}"), "origin.test")
                seen = set(w.link.take())
                tap.holds(seen - {("tcp", NAMES, port)} == {("tcp", NEAR, port)}, f"on the link: {seen}")
                tap.same(w.names.take(), [], "names asked")

    def first_address_is_dead():
        w.hosts("app", f"{DEAD} half.test\n{NEAR} half.test\n10.1.0.98 half.test\n")
        w.forget()
        fetch(chain(f"socks5h://half.test:{hops['micro'].port}"), "origin.test")
        w.quiet(hops["micro"].at(first=True))

    def six_and_four():
        """A name with both: the family that the program's socket can use."""
        w.hosts("app", f"{NEAR6} mixed.test\n{NEAR} mixed.test\n")
        port = hops["ours"].port
        for target in ("origin.test", ORIGIN, f"[{ORIGIN6}]"):
            w.forget()
            fetch(chain(f"socks5h://mixed.test:{port}"), target)
            seen = set(w.link.take())
            tap.holds(seen and seen <= {("tcp", NEAR, port), ("tcp", NEAR6, port)}, f"on the link: {seen}")

    def later_hop_by_name():
        """The hop before it asks; this machine does not."""
        w.far_names.know("hop2.test", world.FAR)
        w.forget()
        fetch(chain(hops["micro"].url(first=True), f"http://hop2.test:{hops['tiny'].port}"), "origin.test")
        w.quiet(hops["micro"].at(first=True))
        tap.holds("hop2.test" in {name for name, _, _ in w.far_names.take()}, "the hop asked for it")

    # --- configuration ----------------------------------------------------------------------

    def from_a_file():
        config = w.file(
            "viaduct.conf",
            f"""
proxy one {{ url = "{hops["micro-login"].url(first=True)}" }}
proxy two {{ url = "{hops["tiny-login"].url("http")}"  timeout = 8 }}
chain default {{ hops = {{"one", "two"}}  mode = "strict" }}
chain other {{ hops = {{"{hops["ours"].url("http", first=True)}"}} }}
""",
            0o600,
        )
        w.forget()
        fetch(["-f", config], "origin.test")
        w.quiet(hops["micro-login"].at(first=True))
        fetch(["-f", config, "-c", "other"], "origin.test")
        w.quiet(hops["ours"].at(first=True))

    def from_the_environment():
        w.forget()
        got = w.run(
            "app",
            [w.viaduct, "-q", "--", "curl", "-sS", "http://origin.test/"],
            env={"ALL_PROXY": hops["micro"].url(first=True), "http_proxy": f"http://{NEAR}:1"},
        )
        tap.same((got.code, got.out), (0, web.page))
        w.quiet(hops["micro"].at(first=True))

    for name, hop in hops.items():
        for scheme in hop.schemes:
            yield f"1 hop: {name}:{scheme}", lambda t=f"{name}:{scheme}": by_all_targets(t)
    for text in CHAINS:
        yield f"{len(text.split())} hops: {text}", lambda t=text: by_all_targets(t)
    yield "8 MB each way through five hops", much_through_five
    yield "20 connections at once through three hops", many_at_once
    yield "two local mixed proxies, ours", local_pair_of_ours
    yield "two local proxies of other makers", local_pair_of_others
    yield "an upstream chain of viaductd", upstream
    yield "hop 1 by IPv6", six
    yield "hop 1 by IPv6 for an IPv4 socket", six_for_four
    yield "hop 1 by IPv4 for an IPv6 socket", four_for_six
    yield "hop 1 by a name of /etc/hosts", by_name_of_hosts_file
    yield "hop 1 by a name of DNS", by_name_of_dns
    yield "hop 1 with several addresses, one refuses", first_address_refuses
    yield "hop 1 with several addresses, two unreachable", first_address_is_dead
    yield "hop 1 with addresses of both families", six_and_four
    yield "hop 2 by name", later_hop_by_name
    yield "hops and chains of a configuration file", from_a_file
    yield "ALL_PROXY", from_the_environment


if __name__ == "__main__":
    world.main(cases, ("curl", "nc", "microsocks", "danted", "tinyproxy", "sshd", "ssh", "nginx", "openssl"))
