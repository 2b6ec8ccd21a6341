#!/usr/bin/env python3
"""viaductd when system calls fail in sessions over TLS, and in datagrams and BIND through a hop: what
faults_daemon_test.py asks of the others."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, servers, tap, world
from lib.daemon import HOME, Daemon
from lib.datagrams import Echo
from lib.fault_bench import GIVEN, HERE, Bench, bound, datagrams, giving, plain, play_all
from lib.tls import Authority
from lib.visit import SOCKS5


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

    def inside():
        """The port of TLS is the second one."""
        bench = Bench(w, "inside TLS", conf=f'listen p {{ url = "{HERE}:0" }}\n'
                      f'listen t {{ url = "https://{HERE}:0" cert = "{cert}" key = "{key}" }}\n', listens=2)
        play_all(bench, lambda: tunnel(bench, at=(HERE, bench.d.ports[1]), wrap=ca.wrap()))
        tap.same(bench.d.stop(), 0, "exit status")

    yield "each call fails in turn: inside TLS", inside
    yield plain(w, "over a hop in TLS", tunnel, "-x", f"https://{HERE}:{far.port}?ca={ca.path}")
    yield plain(w, "UDP ASSOCIATE over a hop", datagrams, "-x", hop.url())
    yield plain(w, "BIND over a hop", bound, "-x", hop.url())


if __name__ == "__main__":
    world.main(cases, ("ip", "ss", "openssl"))
