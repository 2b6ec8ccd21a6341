#!/usr/bin/env python3
"""Hostile clients of viaductd, each kind beside a session of somebody else's: they reset at each byte and in
each state, drip, vanish, flood, lie about lengths, names and ports, and ask for what is inside. Behind
each the worker is the same, its descriptors are those of before, and the session beside carries bytes."""

import os
import random
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import daemon, dns, hostile, netns, tap, world
from lib.daemon import HOME, Daemon
from lib.datagrams import Association
from lib.faults import Faults
from lib.visit import HTTP, SOCKS4, SOCKS4A, SOCKS5, dial, reset
from lib.world import FAR, NEAR, ORIGIN, wait_until

HERE = "127.0.0.1"
VANISH = "10.2.0.88"  # packets to it are lost
SILENT = "127.0.0.56"  # a name server that never answers
LOGIN = ("alice", "s3cret")
OWN = 200  # addresses of this machine's


def echo(peer):
    peer.sock.settimeout(None)
    while data := peer.sock.recv(65536):
        peer.say(data)


class Mute(dns.Dns):
    """Remembers what it was asked."""

    def _reply(self, query, proto):
        super()._reply(query, proto)
        return b""


class Beside:
    """A viaductd with one worker, and a session of somebody's who has done nothing."""

    def __init__(self, w, target, *options, **how):
        self.d, self.login = Daemon(w, *options, **how), LOGIN if "-u" in options else None
        self.worker = self.d.workers()[0]
        self.d.visit(SOCKS5, target, login=self.login).close()
        self.good = self.d.visit(SOCKS5, target, login=self.login)
        self.unharmed()
        wait_until(lambda: len(daemon.sockets(HOME, self.worker)) == 2, "one session")
        self.before = self.now()

    def now(self):
        return daemon.sockets(HOME, self.worker), daemon.descriptors(self.worker)

    def unharmed(self):
        data = os.urandom(20000)
        self.good.sock.sendall(data)
        tap.holds(self.good.read(len(data)) == data, "the session beside carries other bytes")

    def settles(self, what):
        tap.same(self.d.workers(), [self.worker], f"the worker, {what}")
        self.unharmed()
        wait_until(lambda: self.now() == self.before, f"sockets and descriptors are those of before, {what}")


def read_all(sock, seconds=10):
    """All that comes to the end, however that is."""
    got = b""
    sock.settimeout(seconds)
    try:
        while data := sock.recv(65536):
            got += data
    except ConnectionResetError:
        pass
    return got


# --- resets -----------------------------------------------------------------------------------------


def resets(w, target):
    def at_each_byte(way, login):
        b = Beside(w, target, *(["-u", ":".join(LOGIN)] if login else []))
        flight = b"".join(way.messages(target, login)) + b"early bytes"
        for count in range(len(flight) + 1):
            for end in (reset, socket.socket.close):
                sock = dial(b.d.at, HOME)
                sock.sendall(flight[:count])
                end(sock)
        b.settles(way.name)

    for way, login in ((SOCKS4, None), (SOCKS4A, None), (SOCKS5, None), (SOCKS5, LOGIN), (HTTP, None), (HTTP, LOGIN)):
        yield f"a reset, and an end, at each byte: {way.name}{' with a login' if login else ''}", lambda a=(way, login): at_each_byte(*a)
    yield from resets_by_state(w, target)


def resets_by_state(w, target):
    """Each state is known to be reached before the client resets."""
    path = w.file("resolv.mute", f"nameserver {SILENT}\noptions timeout:2 attempts:1\n")
    words = ["sh", "-c", f'mount --bind {path} /etc/resolv.conf && exec "$0" "$@"']
    mute = Mute(HOME, SILENT)
    flood = hostile.Scripted(HOME, HERE, w.port(), lambda peer: peer.say(bytes(64 << 20)))
    half = hostile.Scripted(HOME, HERE, w.port(), lambda peer: (peer.sock.shutdown(socket.SHUT_WR), peer.wait_for_end()))
    plain = Beside(w, target, conf="timeouts { connect = 9 }\n")

    def state(b, begin, reached, times=8):
        """begin() gives a socket; reached(socket): the state is there."""
        socks = [begin() for _ in range(times)]
        for sock in socks:
            wait_until(lambda s=sock: reached(s), "the state")
        for sock in socks:
            reset(sock)
        b.settles("after resets")

    def asks(b, to, way=SOCKS5):
        sock = dial(b.d.at, HOME)
        sock.sendall(b"".join(way.messages(to)))
        return sock

    def resolving(way):
        b, count = Beside(w, target, words=words, conf="timeouts { connect = 9 }\n"), [0]

        def begin():
            count[0] += 1
            return asks(b, (f"n{count[0]}.{way.name}.test", 80), way)
        state(b, begin, lambda _: len([q for q in mute.log if f".{way.name}.test" in q[0]]) >= count[0])

    def dialling(way):
        def under_way():
            return len(netns.sockets(HOME, socket.IPPROTO_TCP, netns.SYN_SENT))
        state(plain, lambda: asks(plain, (VANISH, 80), way), lambda _: under_way() == 8)

    def in_the_chain(way):
        for script, heard in ((hostile.silent, 3), (hostile.talks((3, b"\5\0")), 4)):
            with hostile.Scripted(HOME, HERE, w.port(), script) as hop:
                b = Beside(w, target, conf=f'allow a {{ to = {{"{HERE}"}} upstream = "direct" }}\nallow b {{ to = {{"*"}} }}\n'
                                           f'upstream {{ hops = {{"{hop.url("socks5h")}"}} }}\ntimeouts {{ connect = 9 }}\n')
                state(b, lambda: asks(b, (ORIGIN, 80), way), lambda _: len([p for p in hop.peers if len(p.heard) >= heard]) >= 8)

    def relaying(way):
        state(plain, lambda: plain.d.visit(way, target).sock, lambda sock: True)

    def unread(way):
        """What the target sends stands in all buffers."""
        state(plain, lambda: plain.d.visit(way, (HERE, flood.port)).sock, lambda sock: sock.recv(1, socket.MSG_PEEK))

    def half_closed(way):
        def by_client():
            sock = plain.d.visit(way, (HERE, flood.port)).sock
            sock.shutdown(socket.SHUT_WR)
            return sock
        state(plain, by_client, lambda sock: sock.recv(1, socket.MSG_PEEK))
        state(plain, lambda: plain.d.visit(way, (HERE, half.port)).sock, lambda sock: sock.recv(1, socket.MSG_PEEK) == b"")

    def refused(way):
        """While the refusal waits for the client's end."""
        state(plain, lambda: asks(plain, (HERE, 1), way), lambda sock: sock.recv(1, socket.MSG_PEEK))

    for what, play in (("resolving", resolving), ("dialling", dialling), ("the chain's handshake", in_the_chain), ("relaying", relaying),
                       ("relaying what is not read", unread), ("one direction ended", half_closed), ("refused", refused)):
        for way in (SOCKS5, SOCKS4A, HTTP):
            if way is SOCKS4A and play in (dialling, in_the_chain):
                way = SOCKS4
            yield f"a reset in each state: {what}, {way.name}", lambda p=play, y=way: p(y)


# --- slow, and gone ---------------------------------------------------------------------------------


def slow(w, target):
    def loris():
        """A byte now and then, without end: the limit is of the whole handshake, not of the silence in it."""
        b = Beside(w, target, "-u", ":".join(LOGIN), conf="timeouts { handshake = 1 idle = 60 }\n")
        texts = [b"\5\xff" + bytes(300), b"\5\1\2\1\xff" + b"u" * 255 + b"\xff" + b"p" * 255, b"\4\1\0\x50\1\2\3\4" + b"u" * 600,
                 b"\4\1\0\x50\0\0\0\1u\0" + b"n" * 250, b"CONNECT " + b"h" * 250, b"GET http://x/ HTTP/1.1\r\n" + b"A: b\r\n" * 200]
        socks = [(dial(b.d.at, HOME), text) for text in texts for _ in range(20)]
        lives, at = list(socks), 0
        while lives:
            for sock, text in list(lives):
                try:
                    sock.sendall(text[at:at + 1])
                    if sock.recv(100, socket.MSG_DONTWAIT) == b"":
                        lives.remove((sock, text))
                except BlockingIOError:
                    pass
                except OSError:
                    lives.remove((sock, text))
            at += 1
            time.sleep(0.02)
            tap.holds(at < 250, f"{len(lives)} of {len(socks)} are let drip on")
            if at % 10 == 0:
                b.unharmed()
        for sock, _ in socks:
            sock.close()
        wait_until(lambda: [s["end"] for s in b.d.lines("session")].count("handshake-timeout") == len(socks), "the log")
        b.settles("after those who drip")

    def vanish():
        """Clients whose packets stop coming: in a handshake, in a tunnel, and with much that they do not take."""
        flood = hostile.Scripted(HOME, HERE, w.port(), lambda peer: peer.say(bytes(8 << 20)))
        b = Beside(w, target, "-a", f"to={HERE}", conf="timeouts { handshake = 1 idle = 2 half_closed = 1 }\n",
                   listens=("127.0.0.1:0", f"{NEAR}:0"))
        at = NEAR, b.d.ports[1]
        socks = []
        for _ in range(5):
            visits = [b.d.visit(SOCKS5, to, at=at, ns="app") for to in (target, (HERE, flood.port))]
            tap.holds(all(visit.ok for visit in visits), "replies")
            socks += [dial(at, "app"), *(visit.sock for visit in visits)]
            for sock in socks[-3:]:
                sock.sendall(b"\5\1\0")
        with netns.inside(HOME):
            subprocess.run(["nft", "-f", "-"], text=True, check=True, input="""table inet vanish {
  chain in { type filter hook prerouting priority raw; iifname "app1" drop; }
  chain out { type filter hook output priority 0; oifname "app1" drop; }
}
""")
        try:
            deadline = time.monotonic() + 30
            while b.now() != b.before:
                b.unharmed()
                tap.holds(time.monotonic() < deadline, f"left: {b.now()}, at first {b.before}")
                time.sleep(0.2)
            tap.same({s["end"] for s in b.d.lines("session") if s["client"].startswith("10.1.")}, {"handshake-timeout", "idle-timeout"})
        finally:
            with netns.inside(HOME):
                subprocess.run(["nft", "delete", "table", "inet", "vanish"], check=True)
        b.settles("after those who vanished")

    def flood():
        """Connections that say nothing, that end at once, that are reset at once, and garbage."""
        b, chance = Beside(w, target), random.Random(7)
        for number in range(2000):
            sock = dial(b.d.at, HOME)
            if number % 4 == 0:
                sock.sendall(chance.randbytes(chance.choice((1, 3, 100, 5000))))
            (reset if number % 2 else socket.socket.close)(sock)
            if number % 200 == 0:
                b.unharmed()
        b.settles("after the flood")

    def datagrams():
        """Strangers that send to an association's port, and to no one's."""
        b = Beside(w, target)
        with Association(b.d.at, ns=HOME) as a:
            with netns.inside(HOME):
                socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(20)]
            a.send(("127.0.0.1", 9), b"the first is the client")
            for number in range(4000):
                socks[number % 20].sendto(os.urandom(number % 1400), a.bound)
            for sock in socks:
                sock.close()
            b.unharmed()
        b.settles("after strangers' datagrams")

    yield "slow-loris: the handshake has one limit", loris
    yield "half-open: clients that vanish", vanish
    yield "a flood of connections, and garbage", flood
    yield "a flood of strangers' datagrams", datagrams


# --- words that lie -----------------------------------------------------------------------------------

LONG = b"n" * 255 + b"x"  # a byte more than any name has
V5, V4 = b"\5\1\0", b"\4\1"
BAD = b"HTTP/1.1 400 "
# what is said: the beginnings that its answer may have ("": nothing but the end)
FIELDS = {
    "no method": (b"\5\0", b"\5\xff"),
    "253 methods, none of them good": (b"\5\xfd" + bytes({*range(256)} - {0, 2, 255}), b"\5\xff"),
    "an empty name": (V5 + b"\5\1\0\3\0\0\x50", b"\5\0"),
    "a name with a NUL": (V5 + b"\5\1\0\3\x0einside\0.origin\0\x50", b"\5\0"),
    "a name of NULs": (V5 + b"\5\1\0\3\4\0\0\0\0\0\x50", b"\5\0"),
    "a name with a line's end": (V5 + b"\5\1\0\3\6a\r\nb.c\0\x50", b"\5\0"),
    "a name of 255 bytes": (V5 + b"\5\1\0\3\xff" + b"n" * 255 + b"\0\x50", b"\5\0"),
    "an unknown kind of address": (V5 + b"\5\1\0\2abcd\0\x50", b"\5\0"),
    "port 0": (V5 + b"\5\1\0\1\x7f\0\0\1\0\0", b"\5\0"),
    "SOCKS4, port 0": (V4 + b"\0\0\x7f\0\0\1\0", b"\0\x5b"),
    "SOCKS4, a user of 256 bytes": (V4 + b"\0\x50\1\2\3\4" + LONG + b"\0", b"\0\x5b"),
    "SOCKS4, a user without end": (V4 + b"\0\x50\1\2\3\4" + b"u" * 70000, b"\0\x5b"),
    "SOCKS4a, a name of 256 bytes": (V4 + b"\0\x50\0\0\0\1\0" + LONG + b"\0", b"\0\x5b"),
    "SOCKS4a, an empty name": (V4 + b"\0\x50\0\0\0\1\0\0", b"\0\x5b"),
    "CONNECT, a name of 256 bytes": (b"CONNECT " + LONG + b":80 HTTP/1.1\r\nHost: x\r\n\r\n", BAD),
    "CONNECT, a name with a NUL": (b"CONNECT a\0b:80 HTTP/1.1\r\nHost: x\r\n\r\n", BAD),
    "GET, a name with a NUL": (b"GET http://a\0b/ HTTP/1.1\r\nHost: x\r\n\r\n", BAD),
    "GET, port 65616": (b"GET http://127.0.0.1:65616/ HTTP/1.1\r\nHost: 127.0.0.1:65616\r\n\r\n", BAD),
    **{f"CONNECT, port {port!r}": (f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), BAD)
       for port in ("", "0", "65536", "65616", "4294967376", "18446744073709551696", "99999999999999999999999", "-1", "+80", "0x50",
                    "80a", " 80", "8 0", "80:80", "１")},
}


def lies(w, target):
    def field(text, answer):
        reply = read_all(say(text))
        tap.holds(reply.startswith(answer), f"answered {tap.short(reply)}")
        if answer == b"\5\0":
            tap.holds(reply[2:4] not in (b"", b"\5\0"), f"a refusal: {tap.short(reply)}")

    def say(text):
        sock = dial(b.d.at, HOME)
        try:
            sock.sendall(text)
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        return sock

    def overflowed():
        """No port was taken for another one, and nothing was visited."""
        tap.same([s for s in b.d.lines("session") if s["end"] not in ("refused", "client-gone") and s["client"] != first], [], "sessions that were not refused")
        b.settles("after all that")

    b = Beside(w, target)
    wait_until(lambda: b.d.lines("session"), "its first session's line")
    first = b.d.lines("session")[0]["client"]
    for what, row in FIELDS.items():
        yield f"fields: {what}", lambda r=row: field(*r)
    yield "fields: nothing came of it", overflowed


# --- what is inside -------------------------------------------------------------------------------------

INSIDE = ("127.0.0.1", "127.0.0.2", "127.255.255.254", "0.0.0.0", "0.1.2.3", "169.254.169.254", "255.255.255.255", "224.0.0.1", NEAR, FAR,
          "::1", "::", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:0.0.0.0", "::ffff:10.1.0.1", "fe80::1", "fe80::1%lo", "ff02::1",
          "::127.0.0.1", "::ffff:169.254.169.254", "fd01::1", "fd02::1", "localhost", "LOCALHOST", "localhost.", "a.localhost",
          "127.1", "2130706433", "0x7f.1", "0x7f000001", "017700000001", "0177.0.0.1", "127.0.0.1.", "0", "0x0", "inside.test", "inside6.test",
          "mapped.test", "zero.test", "link.test", "own.test", "late-own.test")


def inside(w, target):
    """A client from elsewhere; a server of this machine's that nobody may visit, on all its addresses."""
    with netns.inside(HOME):
        listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", 0))
    listener.listen(100)
    listener.setblocking(False)
    port = listener.getsockname()[1]
    for name, address in (("inside.test", HERE), ("inside6.test", "::1"), ("mapped.test", "::ffff:127.0.0.1"), ("zero.test", "0.0.0.0"),
                          ("link.test", "169.254.169.254"), ("own.test", FAR), ("late-own.test", "10.99.0.200")):
        w.far_names.know(name, address)
    own = [f"10.99.0.{n}" for n in range(1, OWN + 1)]
    subprocess.run(["ip", "-n", HOME, "-batch", "-"], text=True, check=True, input="".join(f"addr add {a}/32 dev lo\n" for a in own))
    d = Daemon(w, "-a", "from=10.1.0.0/24 to=*", conf="timeouts { connect = 3 }\n", listens=(f"{NEAR}:0",))

    def nobody_came(what):
        try:
            _, peer = listener.accept()
            tap.fail(f"{what}: visited by {peer}")
        except BlockingIOError:
            pass

    def asked(at, text):
        sock = dial(at, "app")
        sock.sendall(text)
        sock.shutdown(socket.SHUT_WR)
        reply = read_all(sock)
        sock.close()
        return reply

    def messages(way, host):
        if way == "GET":
            at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            return [f"GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\n\r\n".encode()]
        return way.messages((host, port))

    def guarded(way, hosts, at):
        for host in hosts:
            reply = asked(at, b"".join(messages(way, host)))
            nobody_came(f"{host}")
            # refused in the protocol's own words: nothing else answers here
            good = reply[:2] == b"\5\0" and reply[2:4] not in (b"", b"\5\0") if way is SOCKS5 else \
                reply[:2] == b"\0\x5b" if way in (SOCKS4, SOCKS4A) else reply[:10] in (b"HTTP/1.1 4", b"HTTP/1.1 5")
            tap.holds(good, f"{host}: {tap.short(reply)}")

    def addresses_unknown():
        """When this machine's addresses cannot be read, the guard takes none for another's."""
        faults = Faults(w, "own.addresses")
        faults.order("getifaddrs", 24, times=1000000)
        faults.arm()
        f = Daemon(w, "-a", "from=10.1.0.0/24 to=*", conf="timeouts { connect = 3 }\n", listens=(f"{NEAR}:0",), words=faults.words())
        guarded(SOCKS5, (NEAR, FAR, own[0], "own.test"), (NEAR, f.port))
        tap.holds(faults.fired("getifaddrs"), "the addresses could not be read")
        faults.reset()
        tap.same(f.visit(SOCKS5, (ORIGIN, 9), at=(NEAR, f.port), ns="app").code, 5, "as soon as they can, others are reached")

    def not_a_byte(what):
        """Who came was gone at once, and without a word."""
        listener.settimeout(0.2)
        try:
            while True:
                with listener.accept()[0] as sock:
                    sock.settimeout(5)
                    tap.same(read_all(sock), b"", what)
        except TimeoutError:
            listener.setblocking(False)

    def came_late():
        """Addresses that came up since they were read, and an IPv4 network that is routed here as a whole."""
        tap.same(d.visit(SOCKS5, (ORIGIN, target[1]), at=at, ns="app").code, 0, "they were read just now")
        for words in ("addr add 10.99.1.1/32 dev lo", "route add local 10.99.2.0/24 dev lo", "-6 addr add fd99::7/128 dev lo nodad"):
            subprocess.run(["ip", "-n", HOME, *words.split()], check=True)
        for host in ("10.99.1.1", "10.99.2.7", "fd99::7"):
            for way, refusal in ((SOCKS5, b"\5\0\5\2"), (HTTP, b"HTTP/1.1 403"), ("GET", b"HTTP/1.1 403")):
                reply = asked(at, b"".join(messages(way, host)))
                tap.same(reply[:len(refusal)], refusal, f"{host}: {tap.short(reply)}")
                not_a_byte(host)
        tap.same(Daemon(w).visit(SOCKS5, ("10.99.2.7", port)).code, 0, "from here itself")

    at = NEAR, d.port
    for way, name in ((SOCKS5, "SOCKS5"), (HTTP, "CONNECT"), ("GET", "GET")):
        yield f"what is inside: {name}", lambda y=way: guarded(y, INSIDE, at)
    yield "what is inside: SOCKS4a", lambda: guarded(SOCKS4A, [h for h in INSIDE if ":" not in h], at)
    yield "what is inside: SOCKS4", lambda: guarded(SOCKS4, [HERE, "127.0.0.2", "0.1.2.3", "169.254.169.254", NEAR, FAR], at)
    yield f"what is inside: {OWN} addresses of this machine", lambda: guarded(SOCKS5, own, at)
    yield "what is inside: this machine's addresses cannot be read", addresses_unknown
    yield "what is inside: addresses that came late", came_late
    yield "what is inside: another host is reached", lambda: tap.same(
        d.visit(SOCKS5, (ORIGIN, target[1]), at=at, ns="app").code, 0)


def cases(w):
    subprocess.run(["ip", "-n", HOME, "neigh", "add", VANISH, "lladdr", "02:00:00:00:00:99", "dev", "org1", "nud", "permanent"], check=True)
    server = hostile.Scripted(HOME, HERE, w.port(), echo, backlog=512)
    hostile.Scripted("origin", ORIGIN, server.port, echo)
    for part in (resets, slow, lies, inside):
        yield from part(w, (HERE, server.port))


if __name__ == "__main__":
    world.main(cases, ("ip", "nft", "ss"))
