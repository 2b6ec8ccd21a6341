#!/usr/bin/env python3
"""viaductd towards its targets: names and name servers, happy eyeballs (RFC 8305), upstream chains."""

import os
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import dns, hostile, servers, tap, world
from lib.daemon import HOME, Daemon
from lib.visit import HTTP, SOCKS4, SOCKS5, WAYS, dial, reset
from lib.world import NEAR, ORIGIN, ORIGIN6, wait_until

HERE = "127.0.0.1"
PICKY, OTHER = "127.0.0.54", "127.0.0.55"
VANISH, VANISH6, VANISH6B = "10.2.0.88", "fd02::88", "fd02::89"  # packets to them are lost
CLOSED, CLOSED6 = "10.2.0.1", "fd02::1"  # the port is closed there
SERVFAIL = 2


class Names(dns.Dns):
    """A name server with moods: rule(name, type, what), what being "silent", seconds to wait, "truncated"
    or ("code", N)."""

    def __init__(self, ns, address):
        self.rules, self.ttl = {}, 60
        super().__init__(ns, address)

    def rule(self, name, kind, what):
        self.rules[name, kind] = what

    def _reply(self, query, proto):
        reply = super()._reply(query, proto)
        what = self.rules.get(dns._question(query)[:2])
        if self.ttl != 60:
            reply = reply.replace(b"\xc0\x0c" + query[-4:] + struct.pack("!I", 60),
                                  b"\xc0\x0c" + query[-4:] + struct.pack("!I", self.ttl))
        if isinstance(what, tuple):
            return reply[:3] + bytes([0x80 | what[1]]) + b"\0\1" + bytes(6) + query[12:]
        if what == "truncated" and proto == "udp":
            return reply[:2] + b"\x87\x80\0\1" + bytes(6) + query[12:]
        return reply

    def _serve_udp(self):
        with self.lock:
            try:
                query, whence = self.udp.recvfrom(4096, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            reply = self._reply(query, "udp")
            what = self.rules.get(dns._question(query)[:2])
        if isinstance(what, float):
            threading.Timer(what, self.udp.sendto, (reply, whence)).start()
        elif what != "silent":
            self.udp.sendto(reply, whence)


def echo(peer):
    peer.sock.settimeout(None)
    while data := peer.sock.recv(65536):
        peer.say(data)


def echoes(visit, data=b"hello"):
    visit.sock.sendall(data)
    tap.same(visit.read(len(data)), data, "echo")


def elapsed(action):
    began = time.monotonic()
    result = action()
    return result, time.monotonic() - began


def asks(w, server, *options, conf="timeouts { connect = 2 }\n", address=PICKY):
    """A viaductd whose name server is `server`; its resolv.conf can be written to."""
    path = w.file(f"resolv.{w.port()}", f"nameserver {address}\noptions timeout:1 attempts:1\n")
    words = ["sh", "-c", f'mount --bind {path} /etc/resolv.conf && exec "$0" "$@"']
    d = Daemon(w, *options, conf=conf, words=words)
    d.resolv, d.names = path, server
    return d


# name: (addresses, moods of the name server, what is reached, least and most seconds)
RACES = {
    "both families are well": ((ORIGIN6, ORIGIN), {}, ORIGIN6, 0, 0.2),
    "IPv4 only": ((ORIGIN,), {}, ORIGIN, 0, 0.2),
    "IPv6 only": ((ORIGIN6,), {}, ORIGIN6, 0, 0.2),
    "AAAA is never answered": ((ORIGIN,), {"AAAA": "silent"}, ORIGIN, 0.04, 0.2),
    "AAAA is a little late": ((ORIGIN6, ORIGIN), {"AAAA": 0.02}, ORIGIN6, 0.015, 0.2),
    "AAAA is too late": ((ORIGIN6, ORIGIN), {"AAAA": 0.3}, ORIGIN, 0.04, 0.2),
    "A is never answered": ((ORIGIN6,), {"A": "silent"}, ORIGIN6, 0, 0.2),
    "A is late, IPv6 dead": ((VANISH6, ORIGIN), {"A": 0.1}, ORIGIN, 0.09, 0.5),
    "IPv6 is dead": ((VANISH6, ORIGIN), {}, ORIGIN, 0.24, 0.45),
    "IPv6 is refused": ((CLOSED6, ORIGIN), {}, ORIGIN, 0, 0.2),
    "IPv4 is dead, IPv6 late": ((ORIGIN6, VANISH), {"AAAA": 0.1}, ORIGIN6, 0.09, 0.5),
    "two dead IPv6": ((VANISH6, VANISH6B, ORIGIN), {}, ORIGIN, 0.24, 0.45),
    "two dead IPv6, one closed IPv4": ((VANISH6, VANISH6B, CLOSED, ORIGIN), {}, ORIGIN, 0.45, 0.8),
    "the third of three": ((CLOSED, "10.2.0.3", ORIGIN), {}, ORIGIN, 0, 0.45),
    "an unreachable family": (("2001:db8::1", ORIGIN), {}, ORIGIN, 0, 0.2),
    "truncated answers": ((ORIGIN6, ORIGIN), {"A": "truncated", "AAAA": "truncated"}, ORIGIN6, 0, 0.3),
    "AAAA fails": ((ORIGIN,), {"AAAA": ("code", SERVFAIL)}, ORIGIN, 0, 0.2)}

# name: (addresses, moods, code of the refusal, most seconds)
DEAD = {
    "all refuse": ((CLOSED6, CLOSED), {}, 5, 0.3),
    "one refuses, one is dead": ((VANISH6, CLOSED), {}, 5, 2.6),
    "all are dead": ((VANISH6, VANISH), {}, 6, 2.6),
    "no network": (("2001:db8::1", "203.0.113.1"), {}, 3, 0.3),
    "no addresses": ((), {}, 4, 0.3),
    "no such name": (None, {}, 4, 0.3),
    "the server fails": ((ORIGIN,), {"A": ("code", SERVFAIL), "AAAA": ("code", SERVFAIL)}, 4, 0.5),
    "the server is silent": ((ORIGIN,), {"A": "silent", "AAAA": "silent"}, 6, 2.6)}


def names(w, port):
    server, other = Names(HOME, PICKY), Names(HOME, OTHER)
    d = asks(w, server)

    def name_for(what):
        return what.replace(" ", "-").replace(",", "").lower() + ".names.test"

    def know(what, addresses, moods):
        name = name_for(what)
        if addresses is not None:
            server.know(name, *addresses)
        for kind, mood in moods.items():
            server.rule(name, kind, mood)
        return name

    def race(what, addresses, moods, reached, least, most):
        name = know(what, addresses, moods)
        visit, took = elapsed(lambda: d.visit(SOCKS5, (name, port)))
        tap.same(visit.code, 0, "reply")
        echoes(visit)
        visit.close()
        peer = d.session(visit)["peer"]
        tap.same(peer, f"[{reached}]:{port}" if ":" in reached else f"{reached}:{port}", "what was reached")
        tap.holds(least <= took <= most, f"{took:.3f} s, want {least} to {most}")

    def dead(what, addresses, moods, code, most):
        name = know(what, addresses, moods)
        visit, took = elapsed(lambda: d.visit(SOCKS5, (name, port)))
        tap.same(visit.code, code, "reply")
        tap.holds(took < most, f"{took:.3f} s")

    def both_asked_at_once():
        server.know("once.names.test", ORIGIN)
        for kind in ("A", "AAAA"):
            server.rule("once.names.test", kind, 0.2)
        _, took = elapsed(lambda: d.visit(SOCKS5, ("once.names.test", port)))
        tap.holds(took < 0.35, f"{took:.3f} s with answers after 0.2 s each")

    def cache():
        server.know("kept.names.test", ORIGIN, ORIGIN6)
        server.take()
        for way in (SOCKS5, HTTP, SOCKS5):
            tap.holds(d.visit(way, ("Kept.Names.Test", port)).ok, "reply")
        tap.same(sorted(server.take()), [("kept.names.test", "A", "udp"), ("kept.names.test", "AAAA", "udp")])

    def shared():
        """Many ask at once: one lookup."""
        server.know("crowd.names.test", ORIGIN)
        server.rule("crowd.names.test", "A", 0.2)
        server.take()
        socks = [dial(d.at, HOME) for _ in range(50)]
        for sock in socks:
            sock.sendall(b"".join(SOCKS5.messages(("crowd.names.test", port))))
        for sock in socks[::2]:
            reset(sock)
        for sock in socks[1::2]:
            tap.same(sock.recv(4, socket.MSG_WAITALL), b"\5\0\5\0")
        tap.same(len(server.take()), 2, "queries")

    def ttl():
        server.know("short.names.test", ORIGIN)
        server.ttl = 1
        server.take()
        for _ in range(2):
            tap.holds(d.visit(SOCKS5, ("short.names.test", port)).ok, "reply")
        tap.same(len(server.take()), 2, "queries within the TTL")
        time.sleep(1.1)
        server.forget("short.names.test")
        tap.same(d.visit(SOCKS5, ("short.names.test", port)).code, 4, "behind the TTL")
        server.know("short.names.test", ORIGIN)
        tap.holds(d.visit(SOCKS5, ("short.names.test", port)).ok, "an unknown name is not kept")
        server.ttl = 60

    def nobody_waits():
        server.know("stuck.names.test", ORIGIN)
        for kind in ("A", "AAAA"):
            server.rule("stuck.names.test", kind, "silent")
        stuck = [dial(d.at, HOME) for _ in range(100)]
        for sock in stuck:
            sock.sendall(b"".join(SOCKS5.messages(("stuck.names.test", port))))
        time.sleep(0.05)
        took = max(elapsed(lambda: d.visit(SOCKS5, (ORIGIN, port)).close())[1] for _ in range(20))
        for sock in stuck:
            sock.close()
        tap.holds(took < 0.1, f"{took:.3f} s beside 100 who wait for a name server")

    def changed():
        """A new resolv.conf is read without a restart."""
        other.know("moved.names.test", ORIGIN)
        tap.same(d.visit(SOCKS5, ("moved.names.test", port)).code, 4, "the old server does not know it")
        with open(d.resolv, "w", encoding="ascii") as file:
            file.write(f"nameserver {OTHER}\noptions timeout:1 attempts:1\n")
        wait_until(lambda: d.visit(SOCKS5, ("moved.names.test", port)).ok, "the new server is asked", 5)

    for what, row in RACES.items():
        yield f"happy eyeballs: {what}", lambda x=what, r=row: race(x, *r)
    for what, row in DEAD.items():
        yield f"refused: {what}", lambda x=what, r=row: dead(x, *r)
    yield "A and AAAA are asked at once", both_asked_at_once
    yield "answers are kept", cache
    yield "one lookup for many", shared
    yield "as long as the TTL says", ttl
    yield "a silent name server stops nobody", nobody_waits
    yield "resolv.conf changes", changed


def garbage(peer):
    peer.read(3)
    peer.say(b"SSH-2.0-OpenSSH_9.2\r\n")


def dripping(scheme):
    def script(peer):
        if scheme == "http":
            peer.http_request()
            peer.drip(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 50 + b"\r\n\r\nbanner", 0.001)
        else:
            peer.socks5_greeting(None)
            peer.drip(b"\5\0", 0.01)
            peer.socks5_request()
            peer.drip(hostile.socks5_reply(0) + b"banner", 0.005)
        echo(peer)
    return script


def upstream(w, port):
    locked = [servers.viaductd(w, login=True), servers.microsocks(w, login=True), servers.danted(w, login=True),
              servers.tinyproxy(w, login=True)]
    free = [servers.viaductd(w), servers.microsocks(w), servers.danted(w), servers.tinyproxy(w)]

    def hops(*urls, conf=""):
        return Daemon(w, *servers.chain(*urls), conf=conf)

    def chain_of(these, schemes):
        d = hops(*(hop.url(scheme) for hop, scheme in zip(these, schemes)))
        for way in WAYS:
            target = ORIGIN if way is SOCKS4 else "v4.origin.test"
            visit = d.visit(way, (target, port), how="flight", early=b"early")
            tap.same(visit.code, way.good, f"{way.name}: {d.log()[-300:]}")
            tap.same(visit.read(5), b"early")
            echoes(visit, os.urandom(100000))
            visit.sock.shutdown(socket.SHUT_WR)
            tap.same(visit.rest(), b"")
            line = d.session(visit)
            tap.same(line["via"].count("://"), len(these), "hops in the log")
            tap.holds("s3cret" not in d.log(), "no password in the log")

    def scripted(script, *, scheme="socks5h", options="", way=SOCKS5, target=("name.test", 80)):
        """Through a chain of one hop that plays a script; (visit, viaductd, seconds)."""
        server = hostile.Scripted(HOME, HERE, w.port(), script)
        d = hops(server.url(scheme) + options, conf="timeouts { connect = 1 }\n")
        visit, took = elapsed(lambda: d.visit(way, target))
        return visit, d, took

    def failing(script, code, error, said, **how):
        for way in (SOCKS5, HTTP):
            visit, d, took = scripted(script, way=way, **how)
            tap.same(visit.code, code[way is HTTP], f"{way.name}: {d.log()[-300:]}")
            line = d.session(visit)
            tap.same(line["error"], error)
            tap.holds(said in line["said"], f"{said} in {line}")
            tap.holds(took < 1.5, f"{took} s")

    def wrong_login():
        hop = servers.microsocks(w, login=True)
        visit, line = None, None
        d = hops(hop.url(login="alice:wrong"))
        visit = d.visit(HTTP, (ORIGIN, port))
        tap.same(visit.code, 502, "the hop's login is not the client's")
        line = d.session(visit)
        tap.holds("refused the login" in line["said"], str(line))

    def truth():
        """What the last hop says of the target is passed on."""
        d = hops(free[0].url(), free[0].url("http"), free[0].url())
        for name, at, code, status in (("refused", 1, 5, 502), ("nosuch.test", 80, 4, 502)):
            host = ORIGIN if name == "refused" else name
            tap.same(d.visit(SOCKS5, (host, at)).code, code, name)
            visit = d.visit(HTTP, (host, at))
            tap.same(visit.code, status, name)

    def dead_hop():
        d = hops("socks5h://127.0.0.1:1")
        visit = d.visit(SOCKS5, (ORIGIN, port))
        tap.same(visit.code, 1)
        tap.holds("hop 1 of 1" in d.session(visit)["said"] and "cannot be reached" in d.session(visit)["said"], d.log())

    def glued(scheme):
        visit, _, _ = scripted(dripping(scheme), scheme="http" if scheme == "http" else "socks5h")
        tap.holds(visit.ok, "reply")
        tap.same(visit.read(6), b"banner", "bytes behind the hop's reply")

    def resolved_here():
        w.far_names.take()
        d = hops(free[2].url("socks4"))
        tap.holds(d.visit(SOCKS5, ("v4.origin.test", port)).ok, "a name for a hop without names")
        tap.holds(("v4.origin.test", "A", "udp") in w.far_names.take(), "it is looked up here")
        tap.same(d.visit(SOCKS5, ("v6.origin.test", port)).code, 8, "IPv6 for a hop without IPv6")
        tap.same(d.visit(SOCKS5, ("nosuch.test", port)).code, 4)

    def by_name():
        w.far_names.know("hop.test", VANISH6, NEAR)
        d = hops(f"socks5h://hop.test:{free[1].port}")
        visit, took = elapsed(lambda: d.visit(SOCKS5, (ORIGIN, port)))
        tap.holds(visit.ok and 0.2 < took < 0.6, f"code {visit.code} after {took:.2f} s")

    def guard():
        d = Daemon(w, "-a", "from=10.1.0.0/24", *servers.chain(free[1].url()), listens=(f"{NEAR}:0",))
        for host, code in (("localhost", 2), ("a.LocalHost.", 2), (HERE, 2), ("::1", 2), (ORIGIN, 0)):
            tap.same(d.visit(SOCKS5, (host, port), at=(NEAR, d.port), ns="app").code, code, host)

    def resets():
        seen = []

        def script(peer):
            try:
                peer.wait_for_end()
            except ConnectionResetError:
                seen.append("reset")
        target = hostile.Scripted("origin", ORIGIN, w.port(), script)
        d = hops(free[0].url(), free[0].url("http"))
        visit = d.visit(SOCKS5, (ORIGIN, target.port))
        visit.sock.sendall(b"x")
        time.sleep(0.1)
        reset(visit.sock)
        wait_until(lambda: seen, "the reset goes through all hops")

    names_ok = ("socks5h", "socks5h", "socks5h", "http")
    yield "a chain of viaductd, microsocks, danted and tinyproxy", lambda: chain_of(free, names_ok)
    yield "the same with logins", lambda: chain_of(locked, names_ok)
    yield "two viaductd, HTTP and SOCKS4a", lambda: chain_of([free[0], free[0]], ("http", "socks4a"))
    for hop, scheme in zip(locked, names_ok):
        yield f"one hop with a login: {hop}", lambda h=hop, s=scheme: chain_of([h], (s,))
    yield "a hop's wrong login", wrong_login
    yield "truth about the target", truth
    yield "a dead hop", dead_hop
    for what, script, code, error, said in (
            ("garbage", garbage, (1, 502), "proxy_internal_error", "does not speak the protocol"),
            ("a close", hostile.closes_after(3), (1, 502), "connection_terminated", "closed the connection"),
            ("a reset", hostile.resets_after(3), (1, 502), "connection_terminated", "reset the connection"),
            ("silence", hostile.silent, (6, 504), "connection_timeout", "did not answer in time")):
        yield f"a hop that answers with {what}", lambda c=script, k=code, e=error, s=said: failing(c, k, e, s)
    yield "a hop's own limit", lambda: failing(hostile.silent, (6, 504), "connection_timeout", "in time", options="?timeout=0.3")
    for scheme in ("http", "socks5"):
        yield f"an answer that drips, with bytes behind it, {scheme}", lambda s=scheme: glued(s)
    yield "names for a hop that takes none", resolved_here
    yield "a hop by name, its first address dead", by_name
    yield "private targets through a chain", guard
    yield "a reset through three viaductd", resets


def cases(w):
    port = w.port()
    hostile.Scripted("origin", ORIGIN, port, echo)
    hostile.Scripted("origin", ORIGIN6, port, echo)
    for address, family in ((VANISH, "-4"), (VANISH6, "-6"), (VANISH6B, "-6")):
        world._must(["ip", "-n", HOME, family, "neigh", "add", address, "lladdr", "02:00:00:00:00:99", "dev", "org1",
                     "nud", "permanent"])
    yield from names(w, port)
    yield from upstream(w, port)


if __name__ == "__main__":
    world.main(cases, ("ip", "mount", "microsocks", "danted", "tinyproxy", "openssl"))
