#!/usr/bin/env python3
"""A process is killed while its connection through a chain is set up, right after each system call of the
handshake and of its end in turn; its child, which has the socket too, gets what it would have got: a
connection that works, or the error. The hop is far away, so that the fork is done
long before."""

import concurrent.futures
import errno
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import wire
from lib import hostile, tap, world
from lib.faults import DIES, Faults
from lib.servers import chain

WORD = 25
AT_ONCE = 16
FEWEST = 20  # places to die at; there are more
tap.CASE_SECONDS = 110
WANTED = {"up": (0, WORD), "refused": (errno.ECONNREFUSED, 0)}


def serve(peer, code):
    peer.socks5_greeting()
    peer.socks5_request()
    peer.say(hostile.socks5_reply(code))
    while code == 0 and (data := peer.sock.recv(4096)):
        peer.say(data)


def cases(w):
    wire.lay()
    hops = {name: hostile.Scripted("origin", wire.FAR, w.port(), lambda peer, code=code: serve(peer, code))
            for name, code in (("up", 0), ("refused", 5))}
    target = hostile.Scripted("origin", wire.FAR, w.port(), hostile.silent)  # is told nothing but by the hop, which does not
    numbers, lock = iter(range(10000)), threading.Lock()

    def play(outcome, how, call=None, skip=0):
        """(errno, bytes) of the orphan, how its parent ended, how often each call was made, whether it was the last."""
        with lock:
            faults = Faults(w, f"faults.{next(numbers)}")
        if call:
            faults.order(call, DIES, skip)
        argv = [f"{w.build}/tests/async/orphan", how, wire.FAR, str(target.port)]
        got = w.run("proxy", [w.viaduct, "-q", *chain(hops[outcome].url("socks5h")), "--", *argv], env=faults.env(), timeout=40)
        lines = got.out.decode().splitlines()
        tap.holds(len(lines) == 2, f"{call} {skip}: {got}")
        return tuple(map(int, lines[0].split())), lines[1], faults.seen(), call and faults.fired(call)

    def one(outcome, how, call, skip):
        result, end, _, fired = play(outcome, how, call, skip)
        if not fired or end != "killed":  # it went another way this time, or all was over by then
            return None
        return [] if result == WANTED[outcome] else [f"killed by {call} number {skip + 1}: {result}"]

    def all_places(outcome, how):
        result, end, seen, _ = play(outcome, how)
        tap.same((result, end), (WANTED[outcome], "ended"), "nobody is killed")
        places = [(call, skip) for call, made in sorted(seen.items()) for skip in range(made)]
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            results = list(pool.map(lambda place: one(outcome, how, *place), places))
        died = sum(result is not None for result in results)
        print(f"# {died} of {len(places)} places, in {sorted(seen)}")
        tap.same([line for result in results for line in result or []], [], "what went wrong")
        tap.holds(died >= FEWEST, f"the parent was killed at {died} places of {places}")
        tap.same(len(target.peers), 0, "direct connections")

    for outcome in WANTED:
        for how in ("poll", "epoll"):
            yield f"the child goes on: {outcome}, {how}", lambda outcome=outcome, how=how: all_places(outcome, how)


if __name__ == "__main__":
    world.main(cases)
