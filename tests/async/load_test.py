#!/usr/bin/env python3
"""Many connections through a chain: a thousand at once, threads, forks, ten thousand in a row; and
one where there is nothing left to make it with."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import wire
from conformance_test import ECHO, Echo
from lib import netns, servers, tap, world
from lib.servers import chain
from lib.world import ORIGIN

TRIP = 2 * wire.DELAY
TABLES_KIB = 4608  # a whole table of sockets: filled once, entries of those that are gone are taken again
TUNNELS = int(os.environ.get("VIADUCT_TEST_TUNNELS", "10000"))  # the long run has 100,000
tap.CASE_SECONDS = max(60, TUNNELS // 100)


class Load:
    def __init__(self, w):
        self.w, self.hop = w, servers.viaductd(w, options=())

    def run(self, what, count, options=(), at=(wire.FAR, ECHO), timeout=60):
        """What the program printed: {name: value}, and the result."""
        argv = [f"{self.w.build}/tests/async/async_load", at[0], str(at[1]), what, str(count)]
        self.w.forget()
        words = [*options, *chain(self.hop.url("socks5h", first=True))]
        result = self.w.via(words, argv, timeout=timeout)
        tap.same(result.code, 0, f"exit code\n{result}")
        self.w.quiet(self.hop.at(first=True))
        lines = (line.split(maxsplit=1) for line in result.out.decode().splitlines())
        return {name: value for name, value in lines}, result


def at_once(load, what):
    got, result = load.run(what, 1000)
    tap.same((got["up"], got["good"]), ("1000", "1000"), f"connections\n{result}")
    # Had each waited for the one before, it would have been a trip for each.
    tap.holds(float(got["begun"]) < 10 * TRIP, f"connect() waited: {got['begun']} s")
    tap.holds(float(got["took"]) < 20 * TRIP, f"took {got['took']} s")


def threads(load):
    got, result = load.run("threads", 64)
    tap.same(got["good"], got["wanted"], f"connections\n{result}")


def forks(load):
    got, result = load.run("forks", 200)
    tap.same((got["up"], got["good"], got["failed"]), ("50", "50", "0"), f"connections\n{result}")


def sequence(load):
    netns.write("app", "/proc/sys/net/ipv4/tcp_tw_reuse", "1")  # there are fewer ports
    got, result = load.run("sequence", TUNNELS, at=(ORIGIN, 80), timeout=tap.CASE_SECONDS)
    tap.same(got["good"], str(TUNNELS), f"connections\n{result}")
    for what in ("descriptors", "threads", "mappings"):
        tap.same(got[f"{what}_after"], got[f"{what}_before"], f"{what}\n{result}")
    grown = {what: int(got[f"{what}_after"]) - int(got[f"{what}_before"]) for what in ("memory", "session")}
    print(f"# memory grew by {grown['memory']} KiB, the tables of the session by {grown['session']} KiB")
    tap.holds(grown["memory"] < 1024 and grown["session"] < TABLES_KIB, f"KiB: {grown}")


def degrades(load, what):
    """It waits inside connect(), says so at -v, and is connected all the same."""
    got, result = load.run(what, 1, ["-v"])
    tap.same((got["connect"], got["up"], got["good"]), ("0 -", "1", "1"), f"{result}")
    tap.holds(float(got["returned"]) > TRIP * 0.8, f"connect() took {got['returned']} s")
    tap.holds(b"connect() waits" in result.err, f"a line says so\n{result}")


def cases(w):
    wire.lay()
    Echo()
    servers.Nginx(w)
    load = Load(w)
    yield "1,000 under way at once, epoll", lambda: at_once(load, "pending")
    yield "1,000 under way at once, poll()", lambda: at_once(load, "polled")
    yield "64 threads with blocking connections", lambda: threads(load)
    yield "200 forks while 50 are under way", lambda: forks(load)
    yield f"{TUNNELS} in a row leave nothing behind", lambda: sequence(load)
    yield "no thread can be started", lambda: degrades(load, "nothread")
    yield "no thread is allowed by RLIMIT_NPROC", lambda: degrades(load, "nproc")
    yield "no descriptor is left", lambda: degrades(load, "nofile")


if __name__ == "__main__":
    world.main(cases)
