#!/usr/bin/env python3
"""viaductd when system calls fail in sessions over TLS, and in datagrams and BIND through a hop: what
faults_daemon_test.py asks of the others."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from faults_daemon_test import GIVEN, HERE, Bench, giving, play_all
from lib import hostile, servers, tap, world
from lib.daemon import HOME, Daemon
from lib.datagrams import ECHO, Association, Echo
from lib.tls import Authority
from lib.visit import SOCKS5, dial


def cases(w):
    target = hostile.Scripted(HOME, HERE, w.port(), giving)
    Echo(HOME, HERE)
    ca = Authority(w)
    cert, key = ca.sign(HERE)
    hop = servers.viaductd(w)
    far = Daemon(w, conf=f'listen t {{ url = "https://{HERE}:0" cert = "{cert}" key = "{key}" }}\nallow all {{ }}\n', listens=1)

    def tunnel(bench, at=None, **how):
        try:
            visit = bench.d.visit(SOCKS5, (HERE, target.port), at=at, **how)
        except OSError:  # in the TLS handshake
            return "cut"
        with visit:
            if not visit.ok:
                return "refused" if visit.code is not None else "cut"
            visit.sock.sendall(b"give")
            try:
                got = b""
                while len(got) < len(GIVEN) and (more := visit.sock.recv(1 << 16)):
                    got += more
                visit.sock.sendall(b"rest")
            except OSError:
                return "cut"
            return "well" if got == GIVEN else "cut"

    def datagrams(bench):
        with Association(bench.d.at, ns=HOME) as a:
            if not a.ok:
                return "refused"
            for _ in range(4):  # a datagram may get lost
                a.send((HERE, ECHO), b"datagram")
                try:
                    return "well" if a.receive(0.3)[1] == b"datagram" else "cut"
                except TimeoutError:
                    continue
            return "cut"

    def bound(bench):
        with bench.d.visit(SOCKS5, (HERE, 0), command=2) as visit:
            if not visit.ok:
                return "refused"
            try:
                peer = dial(visit.bound, HOME)
            except ConnectionRefusedError:
                return "lied" if visit.second() else "refused"
            with peer:
                if not visit.second():
                    return "refused"
                peer.sendall(b"hello")
                return "well" if visit.read(5) == b"hello" else "cut"

    def plain(name, play, *options, conf=""):
        def case():
            bench = Bench(w, name, *options, conf=conf)
            play_all(bench, lambda: play(bench))
            tap.same(bench.d.stop(), 0, "exit status")
        return f"each call fails in turn: {name}", case

    def inside():
        """The port of TLS is the second one."""
        bench = Bench(w, "inside TLS", conf=f'listen p {{ url = "{HERE}:0" }}\n'
                      f'listen t {{ url = "https://{HERE}:0" cert = "{cert}" key = "{key}" }}\n', listens=2)
        play_all(bench, lambda: tunnel(bench, at=(HERE, bench.d.ports[1]), wrap=ca.wrap()))
        tap.same(bench.d.stop(), 0, "exit status")

    yield "each call fails in turn: inside TLS", inside
    yield plain("over a hop in TLS", tunnel, "-x", f"https://{HERE}:{far.port}?ca={ca.path}")
    yield plain("UDP ASSOCIATE over a hop", datagrams, "-x", hop.url())
    yield plain("BIND over a hop", bound, "-x", hop.url())


if __name__ == "__main__":
    world.main(cases, ("ip", "ss", "openssl"))
