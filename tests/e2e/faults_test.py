#!/usr/bin/env python3
"""A program under viaduct while system calls fail below the library: each call that the library makes for a
connection fails in turn, with each error that it may have, for a program that blocks, one that polls, with
epoll by level and by edge, by name, and by datagrams.

The connection stands, or fails with an errno that fits, before the deadline; nothing leaves the machine
but to the first hop; and the same once more, without a fault, works."""

import errno
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, servers, tap, world
from lib.datagrams import ECHO, Echo
from lib.faults import SHORT, Faults
from lib.servers import chain
from lib.world import ORIGIN

NAME = "v4.origin.test"
LIMIT = 2  # seconds for -t
WORD = 25  # bytes
FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
IN = (errno.EINTR, errno.EAGAIN, errno.ENOMEM, errno.ECONNRESET, SHORT)
OUT = (errno.EINTR, errno.EAGAIN, errno.ENOBUFS, errno.ECONNRESET, SHORT)
ERRORS = {
    "bind": (errno.ENOMEM,), "close": (errno.EINTR,), "connect": (errno.EINTR, errno.ENOMEM, errno.EAGAIN, errno.ECONNRESET),
    "epoll_create1": FULL[:2], "epoll_ctl": (errno.ENOMEM, errno.ENOSPC), "epoll_wait": (errno.EINTR,), "eventfd": FULL[:2],
    "getpeername": (errno.ENOBUFS,), "getsockname": (errno.ENOBUFS,), "getsockopt": (errno.ENOBUFS,), "malloc": (errno.ENOMEM,),
    "open": FULL[:2], "open64": FULL[:2], "poll": (errno.EINTR, errno.ENOMEM), "ppoll": (errno.EINTR, errno.ENOMEM),
    "read": IN, "recv": IN, "recv datagram": (errno.EAGAIN, errno.ENOMEM), "recvfrom datagram": (errno.EAGAIN, errno.ENOMEM),
    "recvmsg": (errno.EINTR, errno.EAGAIN, errno.ENOMEM), "send": OUT, "send datagram": (errno.ENOBUFS,),
    "sendmsg": (errno.EINTR, errno.EAGAIN, errno.ENOBUFS), "sendto datagram": (errno.ENOBUFS,), "setsockopt": (errno.ENOMEM,),
    "socket": FULL, "timerfd_create": FULL[:2]}
HARMLESS = (errno.EINTR, errno.EAGAIN, SHORT)
TRIES = 5  # until a call is made that is not made always
PLACES, LONG = 24, int(os.environ.get("VIADUCT_TEST_PLACES", "2"))  # so many calls of a kind fail in turn, the first ones
tap.CASE_SECONDS = max(60, 30 * LONG)
# What connect() may say of a first hop that cannot be reached, and of this machine's own want.
FITTING = {0, errno.ENETUNREACH, errno.ETIMEDOUT, errno.ENOMEM, errno.ENOBUFS}
MORE_FITTING = {"getsockopt": {errno.EACCES}, "malloc": {errno.EHOSTUNREACH}}  # a socket that does not say what it is


def name_of(error):
    return "one byte" if error == SHORT else errno.errorcode[error]


def echo(peer):
    peer.sock.settimeout(None)
    while data := peer.sock.recv(65536):
        peer.say(data)


def cases(w):
    hop = servers.viaductd(w)
    target = hostile.Scripted("origin", ORIGIN, w.port(), echo)
    Echo("origin", ORIGIN)
    faults = Faults(w)
    probe = w.probe("faults_probe")

    def play(how, host):
        """[(errno, bytes)] with and without faults, and what was said."""
        port = ECHO if how == "datagram" else target.port
        w.link.take()
        got = w.run("app", [w.viaduct, "-t", str(LIMIT), *chain(hop.url(first=True)), "--", probe, how, host, str(port)],
                    env=faults.env(), timeout=LIMIT * 2 + 6)
        beside = [what for what in w.link.take() if what[1] != hop.at(first=True)[0]]
        outcomes = [tuple(map(int, line.split())) for line in got.out.decode().splitlines()]
        return outcomes, beside + w.names.take(), got.err.decode()

    def one(how, host, call, error, skip):
        what = f"{call} number {skip + 1} with {name_of(error)}"
        faults.reset()
        faults.order(call, error, skip)
        began = time.monotonic()
        outcomes, beside, said = play(how, host)
        if len(outcomes) < 2:
            return [f"{what}: it hangs or died, with {outcomes} {said}"]
        outcome, again = outcomes
        took = time.monotonic() - began
        if os.environ.get("VIADUCT_TEST_TALKS"):
            print(f"# {how}: {what}: {outcome}, {again}, {faults.fired(call)}, {took:.2f} s, {said.strip()}")
        if not faults.fired(call):
            return None
        bad = [f"beside the hop: {beside}"] if beside else []
        number, count = outcome
        if number == 0 and count != WORD:
            bad.append("the word did not come back")
        if number not in FITTING | MORE_FITTING.get(call, set()):
            bad.append(f"errno {errno.errorcode[number]}")
        if number and error in HARMLESS and not (call == "connect" and error == errno.EAGAIN):
            bad.append(f"no error, but felt as {errno.errorcode[number]}")
        own = call == "malloc" or (call == "getsockopt" and number == error)  # the program's own, or getaddrinfo()'s
        if number and how != "datagram" and not own and f"{host}:{target.port}: " not in said:
            bad.append(f"no line: {said}")
        if again != (0, WORD):
            bad.append(f"afterwards {again}")
        if took > LIMIT * 2 + 2:
            bad.append(f"{took:.1f} s")
        return [f"{what}: {', '.join(bad)}"] if bad else []

    def calls_of(how, host):
        """Those that are made every time: which thread comes first decides about some."""
        runs = []
        for _ in range(3):
            faults.reset()
            learned, _, _ = play(how, host)
            tap.same(learned, [(0, WORD)] * 2, "without faults")
            runs.append(dict(faults.seen()))
        return {call: min(run[call] for run in runs) for call in runs[0] if all(call in run for run in runs)}

    def all_calls(how, host):
        seen, wrong, count = calls_of(how, host), [], 0
        for call, made in sorted(seen.items()):
            for error in ERRORS.get(call, ()):
                for skip in range(min(made, LONG if how == "datagram" else PLACES)):
                    bad = one(how, host, call, error, skip)
                    tries = TRIES if skip == 0 else 0
                    while bad is None and tries > 0:
                        bad, tries = one(how, host, call, error, skip), tries - 1
                    tap.holds(bad is not None or skip > 0, f"{call} was not made to fail")
                    wrong += bad or []
                    count += bad is not None
        print(f"# {how}: {count} faults in {sorted(seen)}")
        tap.same(wrong, [], "what went wrong")

    for how in ("blocking", "poll", "epoll", "edge"):
        yield f"each call fails in turn: {how}", lambda h=how: all_calls(h, ORIGIN)
    yield "each call fails in turn: name", lambda: all_calls("name", NAME)
    yield "each call fails in turn: datagram", lambda: all_calls("datagram", ORIGIN)


if __name__ == "__main__":
    world.main(cases)
