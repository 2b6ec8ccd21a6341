#!/usr/bin/env python3
"""UDP of supervised programs: through the chain by SOCKS5 associations, refused where a hop cannot, or
answered where it is a question for names. The sniffer looks on."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import servers, supervised, tap, world
from lib.datagrams import Echo
from lib.servers import chain
from lib.world import APP, FAR, NEAR, ORIGIN, wait_until

NAME = "v4.origin.test"
KINDS = ("datagram", "datagram-musl")


def cases(w):
    hop, second = servers.viaductd(w), servers.viaductd(w)
    tcp_only = servers.microsocks(w)
    options = chain(hop.url("socks5h", first=True))
    programs = supervised.Programs(w)
    servers.Nginx(w)
    for name in (*KINDS, "datagram-dynamic", "go"):
        programs[name]
    one, two = w.port(), w.port()
    echo, echo2 = Echo("origin", ORIGIN, one), Echo("origin", ORIGIN, two)
    dns = Echo("origin", ORIGIN, 53)
    near = Echo("proxy", NEAR, w.port())

    def via(name, how, *words, more=(), before=(), opts=options):
        w.forget()
        for e in (echo, echo2, dns, near):
            e.seen.clear()
        return w.via([*opts, *more], [*before, programs[name], how, *map(str, words)], timeout=15)

    def only_the_hop():
        """app spoke to the hop's host alone, and asked nobody for names."""
        beside = [where for where in w.link.take() if where[1] != NEAR]
        tap.same((beside, w.names.take()), ([], []), "beside the hop")

    def carried(name, how):
        for host in (NAME, ORIGIN):
            got = via(name, how, host, one)
            tap.same((got.code, got.err), (0, b""), f"{how} {host}")
            shown = r"198\.1[89]\.\d+\.\d+" if host == NAME else re.escape(ORIGIN)
            tap.holds(re.fullmatch(rf"{re.escape(host)} {shown} {one}\n", got.out.decode()), f"{how}: {got.out}")
            tap.same({whence[0] for whence, _ in echo.seen}, {FAR}, "who came")
            only_the_hop()

    def many_targets(name):
        """One socket, several targets: each answer comes from where it was sent."""
        got = via(name, "loose", NAME, one, ORIGIN, two, ORIGIN, 53)
        tap.same((got.code, got.err), (0, b""))
        heard = sorted(tuple(line.split()) for line in got.out.decode().splitlines())
        tap.same([(words[0], words[2]) for words in heard], sorted([(NAME, str(one)), (ORIGIN, str(two)), (ORIGIN, "53")]))
        tap.same({words[1] for words in heard if words[0] == ORIGIN}, {ORIGIN}, "who answered")
        tap.holds([words[1] for words in heard if words[0] == NAME][0].startswith("198."), f"{heard}")
        only_the_hop()

    def through_two():
        for how in ("connected", "loose"):
            got = via("datagram", how, NAME, one, opts=chain(hop.url("socks5h", first=True), second.url("socks5h")))
            tap.same((got.code, got.err, got.out.split()[:1]), (0, b"", [NAME.encode()]), how)
            only_the_hop()

    def own_address():
        got = via("datagram", "own", ORIGIN, one)
        tap.holds(re.fullmatch(rf"own {APP} \d+\n", got.out.decode()), f"{got.out}")

    def alone():
        """Who sends and ends has sent."""
        got = via("datagram", "alone", ORIGIN, one)
        tap.same((got.code, got.out, got.err), (0, b"", b""))
        wait_until(lambda: echo.seen, "the datagram comes")
        only_the_hop()

    def foreign_server():
        """A name server that the user names is a target like any other."""
        got = via("datagram", "loose", ORIGIN, 53)
        tap.same(got.out, f"{ORIGIN} {ORIGIN} 53\n".encode())
        only_the_hop()

    def direct():
        """A rule lets it pass; also on a socket that has sent through the chain."""
        for how in ("connected", "loose"):
            got = via("datagram", how, NEAR, near.at[1], more=["-b", NEAR])
            tap.same(got.out, f"{NEAR} {NEAR} {near.at[1]}\n".encode(), how)
            tap.same({whence[0] for whence, _ in near.seen}, {APP}, "who came")
        got = via("datagram", "loose", ORIGIN, one, NEAR, near.at[1], more=["-b", NEAR])
        tap.same(sorted(got.out.splitlines()), sorted([f"{ORIGIN} {ORIGIN} {one}".encode(),
                                                       f"{NEAR} {NEAR} {near.at[1]}".encode()]))
        tap.same({whence[0] for whence, _ in near.seen}, {APP}, "who came")

    def hop_cannot():
        """A hop without UDP ASSOCIATE: a line, and the program hears of it."""
        opts = chain(tcp_only.url("socks5h", first=True))
        for how in ("connected", "loose"):
            got = via("datagram", how, ORIGIN, one, opts=opts)
            tap.holds(b"UDP" in got.err, f"a line: {got.err}")
            tap.holds(got.out.startswith((b"send: ", b"recvfrom: ")), f"{got.out}")
        got = via("datagram", "loose", ORIGIN, one, opts=chain(f"http://{NEAR}:{hop.port}"))
        tap.same(got.out, b"send: Permission denied\n")
        tap.holds(b"UDP is refused: hop 1 of 1" in got.err, f"{got.err}")
        only_the_hop()

    def below_a_static_shell():
        """A program with the library that a supervised one has started does all by itself."""
        for how in ("connected", "loose"):
            got = via("datagram-dynamic", how, NAME, one, before=["busybox", "env"])
            tap.same((got.code, got.err, got.out.split()[:1]), (0, b"", [NAME.encode()]), how)
            only_the_hop()

    def no_room():
        """Where nobody may make namespaces names are answered to connected sockets, the rest is refused."""
        limit = "echo 0 > /proc/sys/user/max_net_namespaces || exit 9; exec \"$@\""
        before = ["unshare", "--user", "--map-root-user", "sh", "-c", limit, "sh", w.viaduct, *options, "--"]
        w.forget()
        got = w.run("app", [*before, programs["datagram"], "loose", ORIGIN, str(one)])
        tap.same(got.out, b"send: Permission denied\n")
        tap.holds(b"lets nobody make a network namespace" in got.err, f"{got.err}")
        w.quiet()
        got = w.run("app", [*before, programs["go"], f"http://{NAME}/whoami", "1"])
        tap.same(got.out.split()[4:5], [b"1"], f"Go's resolver does not look at who answers: {got}")
        only_the_hop()

    for name in KINDS:
        for how in ("connected", "loose", "message"):
            yield f"{name}: {how}", lambda n=name, h=how: carried(n, h)
        yield f"{name}: many targets", lambda n=name: many_targets(n)
    yield "through two hops", through_two
    yield "the own address", own_address
    yield "a datagram of a program that ends", alone
    yield "a name server that the user names", foreign_server
    yield "what a rule lets pass", direct
    yield "a hop that cannot", hop_cannot
    yield "below a static shell", below_a_static_shell
    yield "without namespaces", no_room


if __name__ == "__main__":
    world.main(cases, ("busybox", "cc", "go", "microsocks", "musl-gcc", "nginx"))
