#!/usr/bin/env python3
"""What hops may answer to viaductd's UDP ASSOCIATE, and what their relays may send: right, wrong and
forged."""

import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import tap, world
from lib.daemon import HOME, through
from lib.datagrams import ECHO, Relay, associate, bound, datagram_socket, header
from lib.world import APP, FAR, NEAR, ORIGIN, ORIGIN6

HERE = "127.0.0.1"
TARGET = (ORIGIN, ECHO)


def client(d, **how):
    return associate(d, ns="app", **how)


def datagrams(w):
    """What a relay sends."""
    good = header(TARGET) + b"data"
    other, far = (ORIGIN, ECHO + 1), ("10.2.0.77", ECHO)

    def answered(conf, rows):
        """rows: [(what the relay sends, what the client gets of it: (from, data) or None)]"""
        with Relay(w) as relay, client(through(w, relay.url, conf=conf)) as a:
            a.send(TARGET, b"hello")
            whence, data = relay.hears()
            tap.same(data, header(TARGET) + b"hello", "what the relay gets")
            for datagram, want in rows:
                relay.sock.sendto(datagram, whence)
                if want:
                    tap.same(a.receive(), want)
                relay.sock.sendto(good, whence)
                tap.same(a.receive(), (TARGET, b"data"), f"after {datagram[:20]}")
            a.sock.close()
            tap.same(int(w.servers[-1].session(a)["dropped"]), sum(want is None for _, want in rows), "dropped")

    bad = [good[:n] for n in range(10)] + [header((ORIGIN6, ECHO))[:n] for n in range(10, 22)]
    bad += [header(TARGET, frag=n) + b"x" for n in (1, 127, 128, 255)]
    bad += [b"\0\0\0" + bytes([kind]) + bytes(30) for kind in (0, 2, 5, 255)]
    bad += [b"\0\0\0\3\0\0\1x", b"\0\0\0\3\5a\0bcd\0\1x", b"", b"\0"]
    yield "a relay's bad datagrams", lambda: answered("", [(data, None) for data in bad])
    yield "RSV that is not 0, and no data", lambda: answered(
        "", [(b"\7\7" + good[2:], (TARGET, b"data")), (header(TARGET), (TARGET, b""))])
    rows = {"host": (True, False), "port": (False, False), "any": (True, True)}
    for name, (same_host, any_host) in rows.items():
        yield f"udp_filter = {name}", lambda n=name, s=same_host, o=any_host: answered(
            f'udp_filter = "{n}"\n', [(header(other) + b"x", (other, b"x") if s else None),
                                      (header(far) + b"y", (far, b"y") if o else None)])

    def by_name():
        """Whom a name stands for the hop knows: it lets in whom it likes."""
        with Relay(w) as relay, client(through(w, relay.url)) as a:
            a.send(("x.test", ECHO), b"hello")
            whence, data = relay.hears()
            tap.same(data, header(("x.test", ECHO)) + b"hello", "what the relay gets")
            relay.sock.sendto(header(far) + b"x", whence)
            tap.same(a.receive(), (far, b"x"))
            relay.sock.sendto(header(("x.test", ECHO)) + b"x", whence)
            tap.same(a.udp.recvfrom(999)[0], header(("x.test", ECHO)) + b"x", "a name as the source")

    def strangers():
        """The relay's own port alone is heard."""
        with Relay(w) as relay, client(through(w, relay.url)) as a:
            a.send(TARGET, b"hello")
            whence, _ = relay.hears()
            for ns, address in ((HOME, NEAR), ("app", APP)):
                with datagram_socket((address, 0), ns) as sock:
                    sock.sendto(good, whence)
            relay.sock.sendto(header(TARGET) + b"mark", whence)
            tap.same(a.receive(), (TARGET, b"mark"), "what comes first")

    def nested():
        """By two hops: the outer header must be from the second hop's relay."""
        second = (FAR, 4321)
        with Relay(w) as relay:
            relay.bounds += (bound(*second),)
            d = through(w, relay.url, f"socks5h://{FAR}:999")
            with client(d) as a:
                a.send(TARGET, b"hello")
                whence, data = relay.hears()
                tap.same(data, header(second) + header(TARGET) + b"hello", "what the first relay gets")
                for outer in ((FAR, 4322), (NEAR, 4321), TARGET):
                    relay.sock.sendto(header(outer) + header(TARGET) + b"forged", whence)
                relay.sock.sendto(header(second) + b"short", whence)
                relay.sock.sendto(header(second) + header(TARGET) + b"right", whence)
                tap.same(a.receive(), (TARGET, b"right"), "what comes first")
                a.sock.close()
                tap.same(d.session(a)["dropped"], "4", "dropped")

    def noise():
        rng = random.Random(seed := random.randrange(1 << 30))
        tap.note(f"seed {seed}")
        with Relay(w) as relay, client(through(w, relay.url, conf='udp_filter = "any"\n')) as a:
            a.send(TARGET, b"hello")
            whence, _ = relay.hears()
            for _ in range(3000):
                data = bytearray(good) if rng.random() < 0.7 else bytearray(rng.randbytes(rng.randrange(40)))
                for _ in range(rng.randrange(3)):
                    if data:
                        data[rng.randrange(min(len(data), 10))] = rng.randrange(256)
                relay.sock.sendto(data, whence)
            a.udp.settimeout(0.3)
            try:
                while True:
                    a.udp.recvfrom(1 << 17)
            except TimeoutError:
                pass
            relay.sock.sendto(header(TARGET) + b"last", whence)
            tap.same(a.receive(), (TARGET, b"last"), "it goes on")

    yield "a target by name", by_name
    yield "strangers at the socket towards the relay", strangers
    yield "forged headers of a second hop", nested
    yield "random datagrams", noise


def replies(w):
    def refused(told, *bounds, said="hop 1 of 1", hops=(), **how):
        with Relay(w, *bounds, **how) as relay:
            d = through(w, relay.url, *hops)
            w.forget()
            with client(d, udp=False) as a:
                tap.same((a.code, a.rest()), (told, b""), "reply, then the end")
                line = d.session(a)
                tap.holds(line["end"] == "refused" and said in line["said"], f"{line}")
            tap.same(set(w.link.take()), {("tcp", NEAR, relay.server.port)}, "spoken to")

    for code, told in ((1, 1), (2, 2), (7, 7), (9, 1)):
        yield f"a hop refuses with {code}", lambda c=code, t=told: refused(t, code=c)
    for address in (HERE, "::1", "224.0.0.1", "255.255.255.255", "169.254.1.1", "ff02::1", "fe80::1"):
        yield f"a relay at {address}", lambda x=address: refused(1, bound(x, 4000), said="wants datagrams sent to")
    yield "a relay without a port", lambda: refused(1, bound(NEAR, 0), said="no port")
    yield "a relay at a name", lambda: refused(1, b"\3\5x.tes\x0f\xa0", said="gives a name")
    yield "a reply cut short", lambda: refused(1, raw=b"\5\0\0\1\1\2")
    yield "a reply that is none", lambda: refused(1, raw=b"HTTP/1.1 200 OK\r\n\r\n")
    named = [f"socks5h://{('n' * 62 + '.') * 3}{number}.test:9" for number in range(4)]
    yield "headers that would be too long", lambda: refused(
        1, bound(NEAR, 4000), *[bound("0.0.0.0", 4000)] * 4, hops=named, said="is too far")

    def own_address():
        """No address means the hop's own, as it is known here."""
        with Relay(w) as relay:
            relay.bounds = (bound("0.0.0.0", relay.at[1]), bound("0.0.0.0", 4000), bound("::", 4001))
            with client(through(w, relay.url, f"socks5h://{FAR}:9", "socks5h://hop.test:9")) as a:
                a.send(TARGET, b"hello")
                whence, data = relay.hears()
                nested = header((FAR, 4000)) + header(("hop.test", 4001)) + header(TARGET)
                tap.same(data, nested + b"hello", "what the first relay gets")
                relay.sock.sendto(header((FAR, 4000)) + header((ORIGIN, 4001)) + header(TARGET) + b"data", whence)
                tap.same(a.receive(), (TARGET, b"data"))

    yield "no address", own_address


def cases(w):
    yield from datagrams(w)
    yield from replies(w)


if __name__ == "__main__":
    world.main(cases)
