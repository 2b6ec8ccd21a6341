#!/usr/bin/env python3
"""viaductd's `source` and `family`: from which address, by which interface and in which family
connections and datagrams leave, as the origin sees them; and that nothing leaves in another way."""

import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, netns, tap, world
from lib.daemon import HOME, Daemon, reload
from lib.datagrams import ECHO, Echo, associate, echoes, is_silent
from lib.visit import HTTP, SOCKS4, SOCKS4A, SOCKS5, WAYS, dial
from lib.world import FAR, FAR6, NEAR, ORIGIN, ORIGIN6

HERE, HERE6 = "127.0.0.1", "::1"
ONE, TWO, ONE6, TWO6 = "10.2.0.11", "10.2.0.12", "fd02::11", "fd02::12"  # more of viaductd's addresses
NOBODY, NOBODY6 = "10.2.0.99", "fd02::99"  # addresses that no machine has
BIND = 2
REFUSED = {SOCKS5: 8, SOCKS4: 91, SOCKS4A: 91, HTTP: 501}  # no address of a family that is used
FAILED = {SOCKS5: 1, SOCKS4: 91, SOCKS4A: 91, HTTP: 502}
UNAVAILABLE = "Cannot assign requested address"


def tells(peer):
    """An origin that says who has come, and waits for the end."""
    peer.say(peer.sock.getpeername()[0].encode() + b"\n")
    peer.wait_for_end()


def line_of(visit):
    text = b""
    while not text.endswith(b"\n"):
        text += visit.read(1)
    return text[:-1].decode()


def seen(d, target, way=SOCKS5, **how):
    """The address that the origin sees."""
    with d.visit(way, target, **how) as visit:
        tap.holds(visit.ok, f"{way.name} {target}: {visit.code} {d.log()[-400:]}")
        address = line_of(visit)
        visit.sock.shutdown(socket.SHUT_WR)
        tap.same(d.session(visit)["out"].rsplit(":", 1)[0].strip("[]"), address, "`out` in the log")
    return address


def refused(d, target, codes, said, ways=WAYS):
    """On each protocol that can name the target; what the log says."""
    for way in ways:
        with d.visit(way, target) as visit:
            tap.same(visit.code, codes[way], f"{way.name} {target}: {d.log()[-300:]}")
            line = d.session(visit)
        tap.holds(said in line.get("said", ""), f"{said} in {line}")


def conf(**options):
    """Lines of options; a tuple is a list."""
    def value(v):
        return "{" + ", ".join(f'"{x}"' for x in v) + "}" if isinstance(v, tuple) else f'"{v}"'
    return "".join(f"{key} = {value(v)}\n" for key, v in options.items())


# --- straight ------------------------------------------------------------------------------------


def direct(w, port):
    def both_families():
        d = Daemon(w, conf=conf(source=(ONE, ONE6)))
        for way in WAYS:
            tap.same(seen(d, (ORIGIN, port), way), ONE)
        for way in (SOCKS5, HTTP):
            tap.same(seen(d, (ORIGIN6, port), way), ONE6)
        tap.same(seen(d, ("origin.test", port)), ONE6, "a name")
        tap.same(seen(d, ("v4.origin.test", port), SOCKS4A), ONE, "a name with IPv4 only")

    def one_family():
        """The other one is not used, whatever is asked for."""
        d = Daemon(w, conf=conf(source=TWO))
        tap.same(seen(d, ("origin.test", port)), TWO, "both families have an address")
        said = f"the target has no IPv4 address, which alone is used here (source = {TWO})"
        refused(d, (ORIGIN6, port), REFUSED, said, (SOCKS5, HTTP))
        refused(d, ("v6.origin.test", port), REFUSED, said, (SOCKS5, SOCKS4A, HTTP))
        six = Daemon(w, conf=conf(source=TWO6))
        tap.same(seen(six, ("origin.test", port)), TWO6)
        refused(six, ("v4.origin.test", port), REFUSED, "has no IPv6 address, which alone", (SOCKS5, SOCKS4A, HTTP))
        refused(six, (ORIGIN, port), REFUSED, "has no IPv6 address, which alone")

    def any_of_family():
        d = Daemon(w, conf=conf(source=(ONE, "::")))
        tap.same((seen(d, (ORIGIN, port)), seen(d, (ORIGIN6, port))), (ONE, FAR6))

    def families():
        for family, reached in (("prefer_ipv6", ORIGIN6), ("prefer_ipv4", ORIGIN), ("ipv6", ORIGIN6), ("ipv4", ORIGIN)):
            d = Daemon(w, conf=conf(family=family))
            with d.visit(SOCKS5, ("origin.test", port)) as visit:
                tap.same(visit.code, 0, family)
                tap.holds(d and visit.read(1), "it speaks")
            tap.same(d.session(visit)["peer"].rsplit(":", 1)[0].strip("[]"), reached, family)
            if not family.startswith("prefer"):
                other, name = (ORIGIN6, "v6.origin.test") if family == "ipv4" else (ORIGIN, "v4.origin.test")
                said = f"which alone is used here (family = {family})"
                refused(d, (other, port), REFUSED, said, (SOCKS5, HTTP))
                refused(d, (name, port), REFUSED, said, (SOCKS5, SOCKS4A, HTTP))
            else:
                for name, address in (("v4.origin.test", FAR), ("v6.origin.test", FAR6)):
                    tap.same(seen(d, (name, port)), address, f"{family}: {name} has the other family only")

    def preferred_is_dead():
        """The other one stands in, as happy eyeballs has it."""
        closed = w.port()
        hostile.Scripted("origin", ORIGIN6, closed, tells)
        d = Daemon(w, conf=conf(family="prefer_ipv4"))
        tap.same(seen(d, ("origin.test", closed)), FAR6)

    def unreachable_is_told_apart():
        """What is wrong with the target is said of the target."""
        d = Daemon(w, conf=conf(source=ONE))
        for way, code in ((SOCKS5, 5), (SOCKS4, 91), (HTTP, 502)):
            with d.visit(way, (ORIGIN, 1)) as visit:
                tap.same(visit.code, code, way.name)
                line = d.session(visit)
            tap.same((line["error"], "said" in line), ("connection_refused", False))

    def gone():
        d = Daemon(w, conf=conf(source=(NOBODY, ONE6)))
        tap.holds(f"source {NOBODY}: {UNAVAILABLE}: nothing can leave" in d.log(), f"a warning at start: {d.log()}")
        refused(d, (ORIGIN, port), FAILED, f"source {NOBODY}: {UNAVAILABLE}")
        tap.same(seen(d, ("origin.test", port)), ONE6, "the other family is there")
        tap.same(seen(d, (ORIGIN6, port)), ONE6)
        refused(d, ("v4.origin.test", port), FAILED, f"source {NOBODY}: {UNAVAILABLE}", (SOCKS5, SOCKS4A, HTTP))

    def comes_and_goes():
        """An address of the machine may come later, and go, without a reload."""
        d = Daemon(w, conf=conf(source="10.2.0.77"))
        refused(d, (ORIGIN, port), FAILED, UNAVAILABLE, (SOCKS5,))
        world._must(["ip", "-n", HOME, "addr", "add", "10.2.0.77/24", "dev", "org1"])
        tap.same(seen(d, (ORIGIN, port)), "10.2.0.77")
        world._must(["ip", "-n", HOME, "addr", "del", "10.2.0.77/24", "dev", "org1"])
        refused(d, (ORIGIN, port), FAILED, UNAVAILABLE, (SOCKS5,))

    def no_port_spent():
        """More connections than there are ports: one port serves several targets."""
        d = Daemon(w, "-a", "from=10.1.0.0/24", conf=conf(source=ONE), listens=(f"{NEAR}:0",))
        other, ports = w.port(), "/proc/sys/net/ipv4/ip_local_port_range"
        hostile.Scripted("origin", ORIGIN, other, tells)
        before = netns.read(HOME, ports)
        netns.write(HOME, ports, "45000 45003")
        try:
            visits = [d.visit(SOCKS5, (ORIGIN, at), at=(NEAR, d.port), ns="app") for at in (port, other) * 3]
            tap.same([visit.code for visit in visits], [0] * 6, d.log()[-500:])
            tap.same([line_of(visit) for visit in visits], [ONE] * 6)
        finally:
            netns.write(HOME, ports, before)

    def requests():
        """Plain HTTP, too, and a kept connection is for its own source only."""
        def page(peer):
            while head := peer.http_request():
                del head
                body = peer.sock.getpeername()[0].encode()
                peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        at = w.port()
        hostile.Scripted("origin", ORIGIN, at, page)
        d = Daemon(w, "-u", "alice:a", "-u", "bob:b",
                   conf=f'allow a {{ users = {{"alice"}} source = "{TWO}" }}\nallow b {{ }}\nsource = "{ONE}"\n')
        sock = dial(d.at, HOME)
        for login, want in (("YWxpY2U6YQ==", TWO), ("Ym9iOmI=", ONE), ("YWxpY2U6YQ==", TWO)):
            sock.sendall(f"GET http://{ORIGIN}:{at}/ HTTP/1.1\r\nHost: {ORIGIN}:{at}\r\n"
                         f"Proxy-Authorization: Basic {login}\r\n\r\n".encode())
            got = b""
            while not got.endswith(want.encode()):
                more = sock.recv(4096)
                tap.holds(more, f"{want} in {got}")
                got += more
            tap.holds(got.startswith(b"HTTP/1.1 200"), str(got))

    yield "both families", both_families
    yield "one family: the other is not used", one_family
    yield "0.0.0.0 and :: leave the choice to the kernel", any_of_family
    yield "families", families
    yield "the preferred family is dead", preferred_is_dead
    yield "a target's own fault is told as such", unreachable_is_told_apart
    yield "an address that the machine does not have", gone
    yield "an address that comes and goes", comes_and_goes
    yield "binding costs no port", no_port_spent
    yield "requests for URLs", requests


# --- interfaces ----------------------------------------------------------------------------------


def devices(w, port):
    def tied():
        d = Daemon(w, conf=conf(source="%org1"))
        tap.same((seen(d, (ORIGIN, port)), seen(d, (ORIGIN6, port))), (FAR, FAR6))
        named = Daemon(w, conf=conf(source=("%org1", TWO)))
        tap.same(seen(named, ("origin.test", port)), TWO)

    def elsewhere():
        """The target is on another interface: nothing goes there."""
        d = Daemon(w, conf=conf(source="%app1") + "timeouts { connect = 1 }\n")
        for target in (ORIGIN, ORIGIN6):
            with d.visit(SOCKS5, (target, port)) as visit:
                tap.holds(visit.code in (3, 4, 6), f"{target}: {visit.code}")

    def missing():
        d = Daemon(w, conf=conf(source="%none0"))
        tap.holds("source %none0: No such device: nothing can leave" in d.log(), d.log())
        refused(d, (ORIGIN, port), FAILED, "source %none0: No such device")
        with associate(d, udp=False) as a:
            tap.same(a.code, 1, "UDP ASSOCIATE")
            tap.holds("source %none0: No such device" in d.session(a)["said"], d.log())
        with d.visit(SOCKS5, (ORIGIN, 21), command=BIND) as visit:
            tap.same(visit.code, 1, "BIND")
            tap.holds("source %none0: No such device" in d.session(visit)["said"], d.log())

    yield "an interface", tied
    yield "an interface that does not lead there", elsewhere
    yield "an interface that is not there", missing


# --- rules and upstreams -------------------------------------------------------------------------


def levels(w, port):
    def rules():
        d = Daemon(w, "-u", "alice:a", "-u", "bob:b", "-u", "carol:c",
                   conf=conf(source=(ONE, ONE6)) +
                   f'allow a {{ users = {{"alice"}} source = {{"{TWO}", "{TWO6}"}} }}\n'
                   'allow b { users = {"bob"} family = "prefer_ipv4" }\nallow c { }\n')
        name = ("origin.test", port)
        tap.same(seen(d, name, login=("alice", "a")), TWO6)
        tap.same(seen(d, (ORIGIN, port), HTTP, login=("alice", "a")), TWO)
        tap.same(seen(d, name, login=("bob", "b")), ONE)
        tap.same(seen(d, name, login=("carol", "c")), ONE6)

    def command_line():
        d = Daemon(w, "--source", TWO, "--family", "prefer_ipv4", conf=conf(source=(ONE, ONE6), family="ipv6"))
        tap.same(seen(d, ("origin.test", port)), TWO)
        refused(d, (ORIGIN6, port), REFUSED, f"source = {TWO}", (SOCKS5,))
        ruled = Daemon(w, "-a", f"to=*:{port} source={ONE},{ONE6} family=ipv4", "-a", "from=*")
        tap.same(seen(ruled, ("origin.test", port)), ONE)

    def upstreams():
        """The first hop sees it; the rule's is before the upstream's, and that before the file's."""
        hop = Daemon(w, listens=("0.0.0.0:0", "[::]:0"), conf="allow all { to = {\"*\"} }\n")
        came = lambda: [line["client"].rsplit(":", 1)[0].strip("[]") for line in hop.lines("session")][-1]
        ups = (f'upstream up {{ hops = {{"socks5h://{FAR}:{hop.ports[0]}"}} source = "{ONE}" }}\n'
               f'upstream other {{ hops = {{"socks5h://[{FAR6}]:{hop.ports[1]}"}} }}\n')
        d = Daemon(w, "-u", "alice:a", "-u", "bob:b", "-u", "carol:c",
                   conf=ups + f'source = {{"{FAR}", "{TWO6}"}}\n'
                   f'allow a {{ users = {{"alice"}} upstream = "up" source = "{TWO}" }}\n'
                   'allow b { users = {"bob"} upstream = "up" }\nallow c { upstream = "other" }\n')
        for user, want in (("alice", TWO), ("bob", ONE), ("carol", TWO6)):
            with d.visit(SOCKS5, (ORIGIN, port), login=(user, user[0])) as visit:
                tap.same(visit.code, 0, f"{user} {d.log()[-300:]}")
                line_of(visit)
            d.session(visit)
            world.wait_until(lambda w=want: hop.lines("session") and came() == w, f"{user} comes from {want}: {hop.log()}")

    def hop_without_family():
        d = Daemon(w, "-x", f"socks5h://[{FAR6}]:{port}", conf=conf(family="ipv4"))
        refused(d, (ORIGIN, port), FAILED, "it has no IPv4 address, which alone is used here (family = ipv4)")

    def source_of_hop_gone():
        """The hop is not to blame, and nobody else is kept from it."""
        hop = Daemon(w, listens=("0.0.0.0:0",), conf="allow all { to = {\"*\"} }\n")
        d = Daemon(w, "-u", "alice:a", "-u", "bob:b",
                   conf=f'upstream {{ hops = {{"socks5h://{FAR}:{hop.port}"}} mode = "failover" }}\n'
                   f'allow a {{ users = {{"alice"}} source = "{NOBODY}" }}\nallow b {{ }}\n')
        for _ in range(2):
            with d.visit(SOCKS5, (ORIGIN, port), login=("alice", "a")) as visit:
                tap.same(visit.code, 1)
                tap.holds(f"source {NOBODY}: {UNAVAILABLE}" in d.session(visit)["said"], d.log())
        tap.holds("it is down" not in d.log(), d.log())
        with d.visit(SOCKS5, (ORIGIN, port), login=("bob", "b")) as visit:
            tap.same(visit.code, 0, d.log()[-300:])

    def fallback():
        """Another upstream, with another source, stands in."""
        hop = Daemon(w, listens=("0.0.0.0:0",), conf="allow all { to = {\"*\"} }\n")
        url = f"socks5h://{FAR}:{hop.port}"
        d = Daemon(w, conf=f'upstream {{ hops = {{"{url}"}} source = "{NOBODY}" fallback = "spare" }}\n'
                   f'upstream spare {{ hops = {{"{url}"}} source = "{TWO}" }}\n')
        for _ in range(2):
            with d.visit(SOCKS5, (ORIGIN, port)) as visit:
                tap.same(visit.code, 0, d.log()[-300:])
            tap.same(d.session(visit)["out"].rsplit(":", 1)[0], TWO)

    def reloaded():
        d = Daemon(w, conf=conf(source=ONE))
        old = d.visit(SOCKS5, (ORIGIN, port))
        tap.same(line_of(old), ONE)
        reload(d, conf(source=TWO))
        tap.same(seen(d, (ORIGIN, port)), TWO)
        said = reload(d, conf(source="10.2.0.300"), good=False)
        tap.holds("bad source `10.2.0.300`" in said, said)
        tap.same(seen(d, (ORIGIN, port)), TWO, "as before")
        said = reload(d, conf(source=NOBODY))
        tap.holds(f"source {NOBODY}: {UNAVAILABLE}" in said, said)
        old.sock.shutdown(socket.SHUT_WR)
        tap.same(old.rest(), b"", "the session from before has gone on")

    yield "a rule's source and family", rules
    yield "the command line's", command_line
    yield "an upstream's", upstreams
    yield "a hop without an address that may be used", hop_without_family
    yield "a hop is not down because a source is", source_of_hop_gone
    yield "a fallback with another source", fallback
    yield "a reload", reloaded


# --- datagrams and BIND --------------------------------------------------------------------------


def datagrams(w, echo, echo6):
    def came():
        return echo.seen[-1][0][0]

    def leaves():
        d = Daemon(w, conf=conf(source=(ONE, TWO6)))
        with associate(d) as a:
            echoes(a, (ORIGIN, ECHO))
            echoes(a, (ORIGIN6, ECHO))
            tap.same((came(), echo6.seen[-1][0][0]), (ONE, TWO6))
            ports = {sender[1] for sender, _ in echo.seen[-1:]}
            a.sock.close()
            tap.same(d.session(a)["out"], f"{ONE}:{ports.pop()}")

    def one_family():
        """Datagrams for the other one are dropped, and those for a name go to the one that is used."""
        d = Daemon(w, conf=conf(source=ONE))
        with associate(d) as a:
            a.send((ORIGIN6, ECHO), b"lost")
            a.send(("v6.origin.test", ECHO), b"lost")
            is_silent(a)
            echoes(a, ("origin.test", ECHO), whence=(ORIGIN, ECHO))
            tap.same(came(), ONE)
            a.sock.close()
            tap.same(d.session(a)["dropped"], "2")
        tap.holds(all(data != b"lost" for _, data in echo6.seen), "nothing left by IPv6")

    def preference():
        for family, whence in (("prefer_ipv4", ORIGIN), ("prefer_ipv6", ORIGIN6), ("ipv4", ORIGIN)):
            with associate(Daemon(w, conf=conf(family=family))) as a:
                echoes(a, ("origin.test", ECHO), whence=(whence, ECHO))

    def gone():
        d = Daemon(w, conf=conf(source=NOBODY))
        with associate(d, udp=False) as a:
            tap.same(a.code, 1)
            tap.same(d.session(a)["said"], f'"source {NOBODY}: {UNAVAILABLE}"')
        half = Daemon(w, conf=conf(source=(NOBODY, ONE6)))
        with associate(half) as a:
            echoes(a, (ORIGIN6, ECHO))
            a.send((ORIGIN, ECHO), b"lost")
            is_silent(a)
            a.sock.close()
            tap.same(half.session(a)["dropped"], "1")

    def of_a_rule():
        """An association has one source: a datagram whose rule says another one is dropped."""
        d = Daemon(w, conf=f'allow o {{ to = {{"{ORIGIN6}"}} source = "{TWO6}" }}\nallow r {{ to = {{"*", "127.0.0.1"}} }}\n'
                   f'source = {{"{ONE}", "{ONE6}"}}\n')
        with associate(d) as a:
            echoes(a, (ORIGIN, ECHO))
            tap.same(came(), ONE)
            a.send((ORIGIN6, ECHO), b"elsewhere")
            is_silent(a)
        tap.holds(all(data != b"elsewhere" for _, data in echo6.seen), "not sent")

    def chained():
        """The first hop's relay hears the address that the connection has."""
        hop = Daemon(w, listens=("0.0.0.0:0",), conf="allow all { to = {\"*\"} }\n")
        d = Daemon(w, conf=f'upstream {{ hops = {{"socks5://{FAR}:{hop.port}"}} source = "{TWO}" }}\n')
        with associate(d) as a:
            echoes(a, (ORIGIN, ECHO))
            a.sock.close()
            tap.same(d.session(a)["out"].rsplit(":", 1)[0], TWO)
        world.wait_until(lambda: hop.lines("session"), "the hop's line")
        tap.same(hop.lines("session")[0]["client"].rsplit(":", 1)[0], TWO)

    def behind_nat():
        """The address that is told, of the client's family; the port is the real one."""
        nat = Daemon(w, conf='listen a { url = "127.0.0.1:0" public = {"192.0.2.9", "2001:db8::9"} }\n'
                             'listen b { url = "[::1]:0" public = "192.0.2.9" }\nlisten c { url = "[::1]:0" public = "2001:db8::9" }\n',
                     listens=3)
        for host, port, told in ((HERE, nat.ports[0], "192.0.2.9"), (HERE6, nat.ports[1], HERE6), (HERE6, nat.ports[2], "2001:db8::9")):
            with associate(nat, (host, port)) as a:
                tap.same((a.code, a.bound[0]), (0, told), "reply")
                a.bound = (host, a.bound[1])
                echoes(a, (ORIGIN, ECHO))
        with nat.visit(SOCKS5, (ORIGIN, 21), command=2) as visit:
            tap.same((visit.code, visit.bound[0]), (0, "192.0.2.9"), "BIND")
            with dial((FAR, visit.bound[1]), "origin"):
                tap.holds(visit.second(), "the peer came to the real address")
        text = w.run(HOME, [w.viaductd, "-f", nat.conf, "--print-config"]).out
        tap.holds(b'public = {"192.0.2.9", "2001:db8::9"}' in text and b' public = {"192.0.2.9"} }' in text, text)

    yield "datagrams", leaves
    yield "the address that is told behind a NAT", behind_nat
    yield "datagrams: one family", one_family
    yield "datagrams for names", preference
    yield "datagrams: the address is not there", gone
    yield "datagrams: one source for an association", of_a_rule
    yield "datagrams through a hop", chained


def binds(w):
    def listens():
        d = Daemon(w, conf=conf(source=(ONE, TWO6)))
        for host, where in ((ORIGIN, ONE), (ORIGIN6, TWO6), ("0.0.0.0", ONE)):
            with d.visit(SOCKS5, (host, 21), command=BIND) as visit:
                tap.same((visit.code, visit.bound[0]), (0, where), host)
                sock = dial(visit.bound, "origin")
                tap.holds(visit.second(), "second reply")
                sock.close()

    def other_family():
        d = Daemon(w, conf=conf(source=ONE))
        with d.visit(SOCKS5, (ORIGIN6, 21), command=BIND) as visit:
            tap.same(visit.code, 8)
            tap.holds("has no IPv4 address, which alone" in d.session(visit)["said"], d.log())

    def gone():
        d = Daemon(w, conf=conf(source=NOBODY))
        for way, code in ((SOCKS5, 1), (SOCKS4, 91)):
            with d.visit(way, (ORIGIN, 21), command=BIND) as visit:
                tap.same(visit.code, code)
                tap.holds(f"source {NOBODY}: {UNAVAILABLE}" in d.session(visit)["said"], d.log())

    def as_a_connection():
        """At the address of a CONNECT to the same host."""
        port = w.port()
        hostile.Scripted("origin", ORIGIN, port, tells)
        d = Daemon(w, conf=conf(source=TWO))
        with d.visit(SOCKS5, (ORIGIN, port)) as control, d.visit(SOCKS5, (ORIGIN, 21), command=BIND) as visit:
            tap.same((line_of(control), visit.bound[0]), (TWO, TWO))

    yield "BIND", listens
    yield "BIND: a family that is not used", other_family
    yield "BIND: the address is not there", gone
    yield "BIND beside a connection", as_a_connection


# --- the configuration ---------------------------------------------------------------------------

MISTAKES = {
    'source = "10.2.0.300"': "bad source `10.2.0.300`; allowed: an IPv4 and an IPv6 address",
    'source = "gw.example"': "bad source `gw.example`",
    'source = "10.2.0.11:80"': "bad source `10.2.0.11:80`",
    'source = "224.0.0.1"': "bad source `224.0.0.1`",
    'source = "fe80::1"': "bad source `fe80::1`",
    'source = "%"': "bad source `%`; allowed: %INTERFACE",
    'source = "%a-name-that-is-too-long"': "allowed: %INTERFACE, 1 to 15 bytes",
    'source = {"10.2.0.11", "10.2.0.12"}': "a second IPv4 address `10.2.0.12`",
    'source = {"%org1", "%app1"}': "a second interface `%app1`",
    "source = {}": "empty list `source`",
    'family = "any"': "allowed: prefer_ipv6, prefer_ipv4, ipv6, ipv4",
    'family = "ipv6"\nsource = "10.2.0.11"': '`source` has no such address',
    'allow a { family = "ipv6" }\nsource = "10.2.0.11"': "rule `a`: family = ",
    'upstream u { hops = {"socks5h://h:1"} source = "fd02::11" family = "ipv4" }': "upstream `u`: family = ",
    'deny a { source = "10.2.0.11" }': "`source` in deny `a`; allowed: in allow rules only"}


def configuration(w):
    def check(text, *options):
        path = w.file(f"egress.{w.port()}.conf", text + "\n", 0o600)
        return w.run(HOME, [w.viaductd, "-f", path, *(options or ("--check-config",))])

    def mistake(text, words):
        result = check(text)
        tap.same(result.code, 1)
        tap.holds(words in result.err.decode(), f"{words} in {result}")

    def warned():
        result = check(f'source = "{NOBODY}"\nupstream u {{ hops = {{"socks5h://h.test:1"}} source = "{NOBODY6}" }}\n'
                       'allow a { source = "%none0" }')
        err = result.err.decode()
        tap.same((result.code, result.out.count(b"is good")), (0, 1), err)
        for words in (f"source {NOBODY}: {UNAVAILABLE}", f"source {NOBODY6}: {UNAVAILABLE}", "source %none0: No such device"):
            tap.same(err.count(words), 1, f"{words} in {err}")
        tap.same(check(f'source = {{"{ONE}", "{ONE6}", "%org1"}}').err, b"", "nothing to warn of")

    def on_the_command_line():
        for words, said in ((("--source", "x"), "--source: bad source `x`"), (("--family", "4"), "--family: unknown family `4`"),
                            (("--deny", f"source={ONE}"), "`source` in a deny rule")):
            err = w.run(HOME, [w.viaductd, *words, "--check-config"]).err.decode()
            tap.holds(said in err, f"{said} in {err}")

    def printed():
        text = (f'source = {{"{ONE}", "{ONE6}", "%org1"}}\nfamily = "prefer_ipv4"\n'
                f'upstream u {{ hops = {{"socks5h://h.test:1"}} source = "{TWO}" }}\nallow a {{ family = "ipv4" }}\n')
        out = check(text, "--print-config").out.decode()
        for words in (f'\nsource = {{"{ONE}", "{ONE6}", "%org1"}}\n', '\nfamily = "prefer_ipv4"\n', f'source = {{"{TWO}"}} }}',
                      'family = "ipv4" }'):
            tap.holds(words in out, f"{words} in {out}")
        tap.same(check(out, "--print-config").out.decode(), out, "it is read as it was printed")

    for text, words in MISTAKES.items():
        yield f"a mistake: {text}".replace("\n", ", "), lambda t=text, x=words: mistake(t, x)
    yield "warnings", warned
    yield "mistakes on the command line", on_the_command_line
    yield "--print-config", printed


def cases(w):
    port = w.port()
    for address in (ONE + "/24", TWO + "/24", ONE6 + "/64", TWO6 + "/64"):
        more = ("nodad", "preferred_lft", "0") if ":" in address else ()  # the kernel chooses them for nobody
        world._must(["ip", "-n", HOME, "addr", "add", address, "dev", "org1", *more])
    for address in (ORIGIN, ORIGIN6):
        hostile.Scripted("origin", address, port, tells)
    yield from direct(w, port)
    yield from devices(w, port)
    yield from levels(w, port)
    yield from datagrams(w, Echo("origin", ORIGIN), Echo("origin", ORIGIN6))
    yield from binds(w)
    yield from configuration(w)


if __name__ == "__main__":
    world.main(cases, ("ip",))
