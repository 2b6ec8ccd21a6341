#!/usr/bin/env python3
"""viaductd's BIND through an upstream chain: the last hop listens, both replies are passed on, to
SOCKS4 and SOCKS5 clients; which hops cannot, what hops may answer, and how it ends."""

import os
import signal
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, servers, tap, world
from lib.daemon import HOME, Daemon, cpu_seconds, descriptors, through
from lib.hostile import socks5_reply
from lib.visit import SOCKS4, SOCKS4A, SOCKS5, dial, quiet, reset
from lib.world import FAR, FAR6, NAMES, NEAR, ORIGIN, ORIGIN6, wait_until

BIND = 2
LATE = {SOCKS5: 6, SOCKS4: 91, SOCKS4A: 91}


def bind(d, way=SOCKS5, host=ORIGIN, port=21, **how):
    return d.visit(way, (host, port), command=BIND, **how)


def peer_of(visit, ns="origin"):
    """Comes as the server does; what the client is told of it is compared."""
    sock = dial(visit.bound, ns)
    tap.holds(visit.second(), f"second reply {visit.code}")
    tap.same(visit.bound, sock.getsockname()[:2], "the peer in the second reply")
    return sock


def exchange(visit, sock, size=5000):
    data = os.urandom(size)
    visit.sock.sendall(data)
    got = b""
    while len(got) < len(data):
        got += sock.recv(65536)
    tap.same(got, data, "to the peer")
    sock.sendall(data[::-1])
    tap.same(visit.read(len(data)), data[::-1], "from the peer")


def is_refused(at, ns="origin"):
    try:
        dial(at, ns).close()
    except ConnectionRefusedError:
        return True
    return False


def carried(w, ours, others):
    def passes(d, first, way, host, where=FAR):
        w.forget()
        with bind(d, way, host) as visit:
            tap.same(visit.code, way.good, f"first reply\n{d.log()}")
            tap.holds(visit.bound[0] == where and visit.bound[1], f"where the last hop listens: {visit.bound}")
            tap.holds(quiet(visit.sock, 0.02), "no second reply yet")
            listens = visit.bound
            sock = peer_of(visit)
            exchange(visit, sock)
            visit.sock.shutdown(socket.SHUT_WR)
            tap.same(sock.recv(10), b"", "the client's end, at the peer")
            sock.close()
            tap.same(visit.rest(), b"", "the peer's end")
            line = d.session(visit)
        want = {"command": "bind", "end": "closed", "up": "5000", "down": "5000", "peer": f"{NEAR}:{first.port}"}
        tap.same({key: line[key] for key in want}, want, "log")
        tap.holds(is_refused(listens), "the port is closed afterwards")
        w.quiet((NEAR, first.port))

    rows = {"one hop": ours[:1], "two hops": ours[:2], "three hops": ours, "dante": [others],
            "dante behind viaductd": [ours[0], others], "viaductd behind dante": [others, ours[0]]}
    for name, hops in rows.items():
        d = through(w, *hops)
        for way in (SOCKS5, SOCKS4):
            yield f"BIND by {name}: {way.name}", lambda d=d, f=hops[0], y=way: passes(d, f, y, ORIGIN)
        if hops[-1] is others:
            continue
        yield f"BIND by {name}: a name", lambda d=d, f=hops[0]: passes(d, f, SOCKS5, "v4.origin.test")
        yield f"BIND by {name}: socks4a", lambda d=d, f=hops[0]: passes(d, f, SOCKS4A, "v4.origin.test")
        yield f"BIND by {name}: IPv6", lambda d=d, f=hops[0]: passes(d, f, SOCKS5, ORIGIN6, FAR6)
    web = servers.tinyproxy(w)
    for name, last in (("socks5h", ours[0].url()), ("socks4a", ours[0].url("socks4a")), ("socks4", ours[0].url("socks4"))):
        d = through(w, web, last)
        yield f"BIND by {name} behind an HTTP hop", lambda d=d: passes(d, web, SOCKS5, ORIGIN)
    flown = through(w, ours[0].url(first=True) + "?pipeline=lead", ours[1].url() + "?pipeline=lead")
    yield "BIND in one flight", lambda: passes(flown, ours[0], SOCKS5, ORIGIN)


def streams(w, ours):
    d = through(w, ours[0], ours[1])

    def segments(way):
        length = len(b"".join(way.messages((ORIGIN, 21), None, BIND)))
        for how in ["flight", "drip", *range(1, length)]:
            with bind(d, way, how=how) as visit:
                tap.same(visit.code, way.good, f"first reply, said as {how}")
                peer_of(visit).close()

    def early(way):
        with bind(d, way, how="flight", early=b"too early") as visit:
            tap.holds(quiet(visit.sock, 0.05), "no second reply before the peer is there")
            visit.sock.sendall(b", both")
            sock = peer_of(visit)
            got = b""
            while len(got) < 15:
                got += sock.recv(100)
            tap.same(got, b"too early, both")
            sock.close()

    def speaks_first():
        with bind(d) as visit:
            sock = dial(visit.bound, "origin")
            sock.sendall(b"hello" * 10000)
            sock.shutdown(socket.SHUT_WR)
            tap.holds(visit.second(), "second reply")
            tap.same(visit.rest(), b"hello" * 10000, "what came with the peer")
            sock.close()

    def resets():
        with bind(d) as visit:
            reset(peer_of(visit))
            tap.holds(visit.was_reset(), "the peer's reset reaches the client")
        visit = bind(d)
        sock = peer_of(visit)
        reset(visit.sock)
        try:
            tap.fail(f"the peer read {sock.recv(10)}")
        except ConnectionResetError:
            pass

    def strangers():
        """The last hop turns them away, and it goes on."""
        with bind(d) as visit:
            for _ in range(3):
                try:
                    with dial(visit.bound, HOME) as sock:
                        tap.same(sock.recv(1), b"")
                except ConnectionResetError:
                    pass
            tap.holds(quiet(visit.sock, 0.05), "the client does not hear of strangers")
            exchange(visit, peer_of(visit))

    for way in (SOCKS4, SOCKS4A, SOCKS5):
        yield f"BIND by a chain: {way.name} split at every byte", lambda y=way: segments(y)
        yield f"BIND by a chain: {way.name}: early data waits for the peer", lambda y=way: early(y)
    yield "BIND by a chain: the peer speaks first and ends", speaks_first
    yield "BIND by a chain: resets are passed on", resets
    yield "BIND by a chain: strangers", strangers


def at(address, port):
    """BND of a reply."""
    family, kind = (socket.AF_INET6, b"\x04") if ":" in address else (socket.AF_INET, b"\x01")
    return kind + socket.inet_pton(family, address) + struct.pack("!H", port)


def answers(w):
    """A hop that says what a row says."""
    good = socks5_reply(0, at(FAR, 4000))

    def hop(first, second=b"", glued=b"", gap=None):
        def script(peer):
            peer.socks5_greeting()
            peer.socks5_request()
            peer.drip(first, gap) if gap else peer.say(first)
            peer.drip(second + glued, gap) if gap else peer.say(second + glued)
            if not second:
                return
            peer.wait_for_end()
        return hostile.Scripted(HOME, NEAR, w.port(), script)

    def told(first, second, bound, peer, way=SOCKS5, host=ORIGIN, gap=None):
        with hop(first, second, b"early words", gap) as server:
            d = through(w, server.url("socks5h"))
            with bind(d, way, host) as visit:
                tap.same((visit.code, visit.bound), (way.good, bound), "first reply")
                tap.holds(visit.second(), f"second reply {visit.code}")
                tap.same(visit.bound, peer, "the peer")
                tap.same(visit.read(11), b"early words", "what the peer said first")

    def fails_first(first, code, way=SOCKS5, error=None):
        with hop(first) as server:
            d = through(w, server.url("socks5h"))
            with bind(d, way) as visit:
                tap.same((visit.code, visit.rest()), (code, b""), "reply, then the end")
                line = d.session(visit)
                tap.same(line["end"], "refused", "log")
                tap.holds(not error or line["error"] == error, f"{line}")

    def fails_second(second, code, way=SOCKS5, host=ORIGIN, error=None):
        with hop(good, second) as server:
            d = through(w, server.url("socks5h"))
            with bind(d, way, host) as visit:
                tap.same((visit.code, visit.bound), (way.good, (FAR, 4000)), "first reply")
                tap.holds(not visit.second(), "the second is a refusal")
                tap.same((visit.code, visit.rest()), (code, b""), "its code, then the end")
                line = d.session(visit)
                tap.same(line["end"], "refused", "log")
                tap.holds(not error or line["error"] == error, f"{line}")

    def all_at_once():
        """Both replies, the peer's words and its end are there before the daemon looks."""
        def script(hop):
            hop.socks5_greeting()
            hop.socks5_request()
            worker = d.workers()[0]
            os.kill(worker, signal.SIGSTOP)
            hop.say(good + peer + b"early words")
            hop.sock.close()
            time.sleep(0.05)
            os.kill(worker, signal.SIGCONT)

        with hostile.Scripted(HOME, NEAR, w.port(), script) as server:
            d = through(w, server.url("socks5h"))
            with bind(d) as visit:
                tap.holds(visit.ok and visit.second(), "both replies")
                tap.same(visit.rest(), b"early words", "what the peer said, and its end")

    peer = socks5_reply(0, at(ORIGIN, 20))
    came = (ORIGIN, 20)
    yield "BIND: both replies, the peer's words and its end", all_at_once
    yield "BIND: both replies at once, with the peer's words", lambda: told(good, peer, (FAR, 4000), came)
    yield "BIND: replies drip", lambda: told(good, peer, (FAR, 4000), came, gap=0.002)
    yield "BIND: no address means the hop's own", lambda: told(
        socks5_reply(0, at("0.0.0.0", 4000)), peer, (NEAR, 4000), came)
    yield "BIND: an IPv4 address in IPv6 form, for socks4", lambda: told(
        socks5_reply(0, at("::ffff:" + FAR, 4000)), socks5_reply(0, at("::ffff:" + ORIGIN, 20)), (FAR, 4000), came, SOCKS4)
    yield "BIND: a peer without address", lambda: told(
        good, socks5_reply(0, at("0.0.0.0", 0)), (FAR, 4000), ("0.0.0.0", 0))
    yield "BIND: any peer where a name was asked for", lambda: told(
        good, socks5_reply(0, at("10.2.0.77", 20)), (FAR, 4000), ("10.2.0.77", 20), host="x.test")
    yield "BIND: no port to listen at", lambda: fails_first(socks5_reply(0), 1)
    yield "BIND: a name means the hop's own address", lambda: told(
        socks5_reply(0, b"\x03\x05x.tes\x0f\xa0"), peer, (NEAR, 4000), came)
    yield "BIND: IPv6 cannot be told by socks4", lambda: fails_first(socks5_reply(0, at(FAR6, 4000)), 91, SOCKS4)
    for code, told_code in ((1, 1), (2, 2), (7, 7), (8, 8), (9, 1)):
        yield f"BIND: the hop refuses with {code}", lambda c=code, t=told_code: fails_first(socks5_reply(c), t)
    yield "BIND: the hop refuses, for socks4", lambda: fails_first(socks5_reply(7), 91, SOCKS4)
    yield "BIND: the hop ends instead", lambda: fails_first(b"", 1)
    yield "BIND: the first reply is cut", lambda: fails_first(good[:7], 1)
    yield "BIND: the first reply is nonsense", lambda: fails_first(b"HTTP/1.1 200 OK\r\n\r\n", 1)
    for code in (1, 2, 5, 6):
        yield f"BIND: the second reply is {code}", lambda c=code: fails_second(socks5_reply(c), c)
    yield "BIND: the second reply refuses, for socks4", lambda: fails_second(socks5_reply(6), 91, SOCKS4)
    yield "BIND: another peer than was asked for", lambda: fails_second(
        socks5_reply(0, at("10.2.0.77", 20)), 2, error="http_request_denied")
    yield "BIND: a peer on IPv6, for socks4", lambda: fails_second(
        socks5_reply(0, at(ORIGIN6, 20)), 91, SOCKS4A, "x.test")
    yield "BIND: the second reply is nonsense", lambda: fails_second(b"\4\0" + bytes(8), 1)


def refused(w, ours):
    def says_no(d, code, way=SOCKS5, host=ORIGIN, said="", spoken=()):
        w.forget()
        with bind(d, way, host) as visit:
            tap.same((visit.code, visit.rest()), (code, b""), "reply, then the end")
            line = d.session(visit)
            tap.same((line["command"], line["end"]), ("bind", "refused"), "log")
            tap.holds(said in line.get("said", ""), f"{line}")
        tap.same(set(w.link.take()), set(spoken), "spoken to by the daemon's host")

    def tcp(port):
        return (("tcp", NEAR, port),)

    web = servers.tinyproxy(w)
    one, two = through(w, web), through(w, ours[0], web)
    yield "BIND: the last hop is HTTP", lambda: says_no(one, 7, said="hop 1 of 1")
    yield "BIND: the last hop is HTTP, socks4", lambda: says_no(one, 91, SOCKS4)
    yield "BIND: the last of two hops is HTTP", lambda: says_no(two, 7, said="hop 2 of 2")
    dead, second = through(w, f"socks5h://{NEAR}:9"), through(w, ours[0], f"socks5h://{FAR}:9")
    yield "BIND: the hop is dead", lambda: says_no(dead, 1, said="hop 1 of 1", spoken=tcp(9))
    yield "BIND: the second hop is dead", lambda: says_no(second, 1, said="hop 2 of 2", spoken=tcp(ours[0].port))
    local = through(w, ours[0].url("socks5", first=True))
    yield "BIND: an unknown name, looked up here", lambda: says_no(
        local, 4, host="nothing.test", spoken=(("udp", NAMES, 53),))
    rules = through(w, ours[0], options=("--deny", "to=*.denied.test", "--deny", "to=10.9.0.0/16"))
    yield "BIND: rules by name", lambda: says_no(rules, 2, host="x.denied.test")
    yield "BIND: rules by address", lambda: says_no(rules, 2, host="10.9.1.1")
    none = through(w, ours[0], options=("--deny", "commands=bind"))
    yield "BIND: not this command", lambda: says_no(none, 2)


def ends(w, ours):
    hasty = through(w, ours[0], ours[1], conf="timeouts { bind = 0.4 connect = 30 }\n")
    d = through(w, ours[0], ours[1])

    def nobody(way):
        began = time.monotonic()
        with bind(hasty, way) as visit:
            bound = visit.bound
            tap.holds(not visit.second(), "the second reply is a refusal")
            tap.same((visit.code, visit.rest()), (LATE[way], b""), "its code, then the end")
            tap.holds(time.monotonic() - began > 0.35, "not before its time")
            line = hasty.session(visit)
            tap.same((line["end"], line["error"]), ("refused", "connection_timeout"), "log")
        wait_until(lambda: is_refused(bound), "the hop's port is closed")

    def silent_hop(way, code):
        """The first reply does not come: that is connect's time."""
        def script(peer):
            peer.socks5_greeting()
            peer.socks5_request()
            peer.wait_for_end()
        with hostile.Scripted(HOME, NEAR, w.port(), script) as server:
            slow = through(w, server.url("socks5h"), conf="timeouts { connect = 0.4 }\n")
            with bind(slow, way) as visit:
                tap.same((visit.code, visit.rest()), (code, b""), "reply, then the end")
                tap.holds("hop 1 of 1" in slow.session(visit)["said"], "which hop")

    def patient():
        """A hop's own limit is for its answers, not for the peer to come."""
        slow = through(w, ours[0].url(first=True) + "?timeout=0.3")
        with bind(slow) as visit:
            time.sleep(0.6)
            exchange(visit, peer_of(visit))

    def leaves(how):
        visit = bind(d)
        bound = visit.bound
        how(visit)
        tap.same(d.session(visit)["end"], "client-gone", "log")
        wait_until(lambda: is_refused(bound), "the hop's port is closed")
        visit.close()

    def killed():
        hop = servers.viaductd(w)
        mine = through(w, ours[0], hop)
        with bind(mine) as visit:
            os.killpg(hop.server.pid, signal.SIGKILL)
            tap.holds(not visit.second(), "the second reply is a refusal")
            tap.same((visit.code, visit.rest()), (1, b""), "its code, then the end")
            line = mine.session(visit)
            tap.holds(line["end"] == "refused" and "hop 2 of 2" in line["said"], f"{line}")

    def no_leak():
        pid = d.workers()[0]
        before = descriptors(pid)
        for number in range(40):
            visit = bind(d)
            if number % 4 == 0:
                peer_of(visit).close()
            elif number % 4 == 1:
                reset(visit.sock)
            visit.close()
        wait_until(lambda: descriptors(pid) <= before, f"descriptors fall back to {before}")
        with bind(d) as visit:
            used = cpu_seconds(pid)
            time.sleep(0.5)
            tap.holds(visit.ok and cpu_seconds(pid) - used < 0.1, "waiting costs nothing")

    for way in (SOCKS4, SOCKS5):
        yield f"BIND by a chain: {way.name}: nobody comes", lambda y=way: nobody(y)
    yield "BIND by a chain: the hop says nothing", lambda: silent_hop(SOCKS5, 6)
    yield "BIND by a chain: the hop says nothing, socks4", lambda: silent_hop(SOCKS4, 91)
    yield "BIND by a chain: a hop's timeout is not the peer's", patient
    yield "BIND by a chain: the client closes", lambda: leaves(lambda visit: visit.close())
    yield "BIND by a chain: the client resets", lambda: leaves(lambda visit: reset(visit.sock))
    yield "BIND by a chain: the client ends its direction", lambda: leaves(lambda v: v.sock.shutdown(socket.SHUT_WR))
    yield "BIND by a chain: a hop is killed", killed
    yield "BIND by a chain: nothing is left behind", no_leak

    def stops():
        for daemon in w.servers:
            if isinstance(daemon, Daemon):
                tap.same(daemon.stop(), 0, "exit status")

    yield "BIND by a chain: every daemon ends well", stops


def cases(w):
    ours = [servers.viaductd(w) for _ in range(3)]
    yield from carried(w, ours, servers.danted(w))
    yield from streams(w, ours)
    yield from answers(w)
    yield from refused(w, ours)
    yield from ends(w, ours)


if __name__ == "__main__":
    world.main(cases, ("danted", "tinyproxy"))
