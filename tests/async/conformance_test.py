#!/usr/bin/env python3
"""connect() through a chain against the kernel's own: the conformance program runs directly, where
the target can be reached, through one hop and two, and through one with all its calls by syscall(); what
it observes must be the same, line by line, but for what is listed here."""

import difflib
import os
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import wire
from lib import netns, servers, tap, world
from lib.servers import chain

# Lines that may differ: part of the case's name, the line directly, the line through a chain, why.
ALLOWED = []

ECHO, CLOSED = 7, 9
AGAIN = 3


class Echo:
    """Sends back what it gets, and closes when the other end does."""

    def __init__(self):
        for family, address in ((socket.AF_INET, wire.FAR), (socket.AF_INET6, wire.FAR6)):
            with netns.inside("origin"):
                listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, ECHO))
            listener.listen(2048)  # all that the load tests open at once
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener):
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    @staticmethod
    def _serve(sock):
        try:
            with sock:
                while data := sock.recv(65536):
                    sock.sendall(data)
        except OSError:
            pass


def words(w, program="conformance"):
    return [f"{w.build}/tests/async/{program}", wire.FAR, wire.FAR6, wire.SILENT, wire.SILENT6, str(ECHO), str(CLOSED)]


def chosen(w, *program):
    """The program and its arguments; $CONFORMANCE_CASE names a part of the cases, for a start."""
    part = os.environ.get("CONFORMANCE_CASE")
    return words(w, *program) + ([part] if part else [])


def by_case(result):
    """{case: [line]}"""
    cases = {}
    for line in result.out.decode("utf-8", "replace").splitlines():
        name, _, text = line.partition(": ")
        cases.setdefault(name, []).append(text)
    return cases


def allowed(name, direct, chained):
    return any(part in name and direct == d and chained == c for part, d, c, _ in ALLOWED)


def differences(name, direct, chained):
    """The lines of a unified difference; none if all that differs is allowed."""
    if len(direct) == len(chained) and all(
        d == c or allowed(name, d, c) for d, c in zip(direct, chained)
    ):
        return []
    return [line for line in difflib.unified_diff(direct, chained, "direct", "chain", n=3, lineterm="")]


def compare(w, runs, way, name):
    """The kernel itself is not always of one mind (how often an edge is told of, say): what is seen
    through a chain must be one of the things that are seen directly."""
    direct, chained = runs["direct"].get(name), runs[way].get(name, [])
    tap.holds(direct, "the case said something directly")
    first = bad = differences(name, direct, chained)
    for _ in range(AGAIN):
        if not bad:
            return
        again = by_case(w.run("proxy", [*words(w), name], timeout=40))
        bad = differences(name, again.get(name, []), chained)
    if bad:
        tap.fail("\n".join(first))


def ways(w):
    """How the program runs: {way: function that gives its result}."""
    one, two = servers.viaductd(w), servers.viaductd(w)  # others do not pass a half-closed end on
    hops = {
        "1 hop": [one.url("socks5h", first=True)],
        "2 hops": [one.url("http", first=True), two.url("socks5h")],
    }
    found = {"direct": lambda: w.run("proxy", chosen(w), timeout=100)}
    for way, urls in hops.items():
        found[way] = lambda urls=urls: w.via(["-q", *chain(*urls)], chosen(w), timeout=100)
    found["by number"] = lambda: w.via(["-q", *chain(*hops["1 hop"])], chosen(w, "conformance_by_number"), timeout=100)
    return found


def run_all(w, runs):
    """At once, but for the last: most of the time is spent waiting."""
    all_ways = ways(w)
    last, results = all_ways.pop("by number"), {}
    threads = [
        threading.Thread(target=lambda way=way, run=run: results.update({way: run()}))
        for way, run in all_ways.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results["by number"] = last()
    for way, result in results.items():
        tap.same(result.code, 0, f"{way}: exit code\n{result}")
        runs[way] = by_case(result)


def cases(w):
    wire.lay()
    Echo()
    runs = {}
    tap.CASE_SECONDS = 110
    yield "the program runs, directly and through chains", lambda: run_all(w, runs)
    yield "it said much", lambda: tap.holds(
        os.environ.get("CONFORMANCE_CASE") or sum(map(len, runs["direct"].values())) > 3000,
        f"{sum(map(len, runs['direct'].values()))} lines",
    )
    for name in runs.get("direct", ()):
        for way in ("1 hop", "2 hops", "by number"):
            yield f"{name}, {way}", lambda way=way, name=name: compare(w, runs, way, name)


if __name__ == "__main__":
    world.main(cases)
