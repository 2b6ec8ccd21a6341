#!/usr/bin/env python3
"""Datagrams that viaductd finds many of at once, and gives to the kernel together: each arrives as it
was sent, in order, whatever their sizes and the path."""

import contextlib
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import servers, tap, world
from lib.daemon import HOME, Daemon
from lib.datagrams import Echo, associate, echoes
from lib.world import ORIGIN, ORIGIN6

MIXED = [1200, 1200, 1200, 700, 1200, 0, 0, 5, 5, 5, 6, 1200, 1452, 1452, 1453, 1453, 1472, 1472, 9000, 9000, 1, 1, 0, 1]


@contextlib.contextmanager
def links_of(mtu):
    def change(number):
        for ns, device in ((HOME, "org1"), ("origin", "org0")):
            subprocess.run(["ip", "-n", ns, "link", "set", device, "mtu", str(number)], check=True)

    change(mtu)
    try:
        yield
    finally:
        change(1500)


def at_once(d, act):
    """The daemon finds it all when it looks."""
    os.kill(d.workers()[0], signal.SIGSTOP)
    act()
    time.sleep(0.02)
    os.kill(d.workers()[0], signal.SIGCONT)


def together(d, server, sizes, mtu=1500):
    data = [os.urandom(size) for size in sizes]
    with links_of(mtu), associate(d) as a:
        echoes(a, server.at)
        out, seen = server.seen[-1][0], len(server.seen)
        at_once(d, lambda: [a.send(server.at, one) for one in data])
        tap.same([a.receive()[1] for _ in data], data, "echoes")
        tap.same([one for _, one in server.seen[seen:]], data, "what the target saw")
        at_once(d, lambda: [server.sock.sendto(one, out) for one in data])
        tap.same([a.receive()[1] for _ in data], data, "what the target sent")


def several(d, server, other):
    """To two targets in turn."""
    with associate(d) as a:
        at_once(d, lambda: [a.send((server, other)[number // 3 % 2].at, b"%04d" % number) for number in range(40)])
        got = [a.receive() for _ in range(40)]
        for one, rest in ((server, 0), (other, 1)):
            want = [b"%04d" % number for number in range(40) if number // 3 % 2 == rest]
            tap.same([data for whence, data in got if whence == one.at], want, f"echoes of {one.at}")


def cases(w):
    server, six = Echo("origin", ORIGIN), Echo("origin", ORIGIN6)
    other = Echo("origin", ORIGIN, server.at[1] + 1)
    hop = servers.viaductd(w)
    for name, d in (("directly", Daemon(w)), ("by a hop", Daemon(w, "-x", hop.url()))):
        yield f"{name}: many of a size", lambda d=d: together(d, server, [1200] * 40)
        yield f"{name}: many of mixed sizes", lambda d=d: together(d, server, MIXED)
        yield f"{name}: many where the path takes less", lambda d=d: together(d, server, [1400] * 40 + [100] * 5, 1300)
        yield f"{name}: IPv6", lambda d=d: together(d, six, MIXED)
        yield f"{name}: IPv6 where the path takes less", lambda d=d: together(d, six, [1400] * 40 + [100] * 5, 1300)
        yield f"{name}: two targets", lambda d=d: several(d, server, other)

    def stops():
        for daemon in w.servers:
            if isinstance(daemon, Daemon):
                tap.same(daemon.stop(), 0, "exit status")

    yield "every daemon ends well", stops


if __name__ == "__main__":
    world.main(cases, ("ip",))
