#!/usr/bin/env python3
"""Every answer that a hop can give, to a program that blocks, polls, or waits by epoll of either kind: all
256 codes of SOCKS5 and SOCKS4, HTTP from 100 to 599, answers that end at each byte, by a close and by a
reset, glued to what the target says, with names and IPv6 in them; all 256 values of versions, methods,
kinds of addresses and words on a login; ends after each byte that was heard; drips; heads of all sizes. For
each the errno, the bytes, and that it was told in time. And what curl makes of some.

One program asks for one target after the other: its port says what the hop does. So a row is one
connection, and all of them share a process that must bear it."""

import contextlib
import errno
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, tap, world
from lib.hostile import socks4_reply, socks5_reply
from lib.servers import chain
from lib.world import NEAR, ORIGIN, PYTHON

NAME = "far.test"
EARLY = b"early bytes of the target"
PROGRAM = """
import errno, select, socket, sys, time
how, host, first, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
def connect(s, to):
    number = s.connect_ex(to)
    if number != errno.EINPROGRESS:
        return number
    if how == "poll":
        waits = select.poll()
        waits.register(s, select.POLLOUT)
    else:
        waits = select.epoll()
        waits.register(s, select.EPOLLOUT | (select.EPOLLET if how == "edge" else 0))
    assert waits.poll(20000 if how == "poll" else 20), "no event"
    return s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
info = socket.getaddrinfo(host, first, type=socket.SOCK_STREAM)[0]
for port in range(first, last):
    began = time.monotonic()
    s = socket.socket(info[0])
    s.setblocking(how == "blocking")
    number = connect(s, (info[4][0], port))
    data = b""
    if number == 0:
        s.setblocking(True)
        s.settimeout(5)
        while more := s.recv(100):
            data += more
    s.close()
    print(port, number, data.hex() or "-", time.monotonic() - began)
"""
WAYS = ("blocking", "poll", "epoll", "edge")
REFUSED, NONE, DENIED, LATE = errno.ECONNREFUSED, errno.ENETUNREACH, errno.EACCES, errno.ETIMEDOUT
SOCKS5 = {0: 0, 2: DENIED, 3: NONE, 4: errno.EHOSTUNREACH, 6: LATE, 7: errno.EOPNOTSUPP, 8: errno.EAFNOSUPPORT}
SOCKS4 = {90: 0, 92: DENIED, 93: DENIED}
HTTP = {401: DENIED, 403: DENIED, 407: DENIED, 504: LATE}
BOUNDS = {"IPv6": b"\x04" + bytes(16) + b"\0\x50", "a name": b"\x03\x04here\0\x50", "an empty name": b"\x03\x00\0\x50",
          "a name with a NUL": b"\x03\x03a\0b\0\x50", "a long name": b"\x03\xff" + b"n" * 255 + b"\0\x50"}


LOGIN = "alice:s3cret"


def answered(peer, reply):
    peer.socks5_request()
    peer.say(reply + EARLY)


def chooses(version, method):
    def script(number, peer):
        peer.socks5_greeting(None)
        peer.say(bytes([version(number), method(number)]))
        answered(peer, socks5_reply(0))
    return script


def replies(reply):
    def script(number, peer):
        peer.socks5_greeting()
        answered(peer, reply(number))
    return script


def judges_login(number, peer):
    peer.socks5_greeting(2)
    peer.socks5_login(number)
    answered(peer, socks5_reply(0))


# What a byte may be: what the hop does with a value of it, and the errno.
VALUES = {
    "every version of the choice": (chooses(lambda n: n, lambda n: 0), lambda n: 0 if n == 5 else NONE),
    "every method": (chooses(lambda n: 5, lambda n: n), lambda n: {0: 0, 255: DENIED}.get(n, NONE)),
    "every version of the reply": (replies(lambda n: bytes([n]) + socks5_reply(0)[1:]), lambda n: 0 if n == 5 else NONE),
    "every kind of address": (replies(lambda n: b"\5\0\0" + BOUND_OF.get(n, bytes([n]) + bytes(6))),
                              lambda n: 0 if n in BOUND_OF else NONE),
    "every word on a login": (judges_login, lambda n: 0 if n == 0 else DENIED),
}
BOUND_OF = {1: b"\1" + bytes(6), 3: b"\3\3xyz\0\0", 4: b"\4" + bytes(18)}


def http_errno(status):
    if 200 <= status < 300:
        return 0
    return NONE if status < 200 else HTTP.get(status, REFUSED)


LIMIT = 5  # seconds for -t


def target_of(scheme, peer):
    """Reads the request; the port that is asked for."""
    if scheme == "socks5h":
        peer.socks5_greeting()
        return peer.socks5_request()[2]
    if scheme == "socks4a":
        return peer.socks4_request()[2]
    return int(peer.http_request()[0].split()[1].rpartition(":")[2])


def cases(w):
    def table(scheme, answer, want, first, last, how):
        """answer(port): bytes, and how it ends; want(port): the errno, and what the program reads."""
        def script(_number, peer):
            port = target_of(scheme, peer)
            data, end = answer(port)
            peer.say(data)
            if end == "reset":
                peer.pause(0.002)  # or it would overtake the bytes
                peer.reset()
        rows_of(scheme, script, want, first, last, how)

    def rows_of(scheme, script, want, first, last, how, login=""):
        """script(number, peer): what the hop does; number is the row's. How often it was dialled."""
        hop = hostile.Scripted("proxy", NEAR, w.port(), lambda peer: script(first + hop.peers.index(peer), peer))
        with hop:
            w.forget()
            url = f"{hop.url(scheme, login)}?probe=no&pipeline=off"
            got = w.via(["-q", "-t", str(LIMIT), *chain(url)], [PYTHON, "-c", PROGRAM, how, NAME, str(first), str(last)], timeout=50)
            tap.same([got.code, got.err], [0, b""], f"the program: {got}")
            rows, took = {}, {}
            for port, number, data, seconds in map(str.split, got.out.decode().splitlines()):
                rows[int(port)] = int(number), b"" if data == "-" else bytes.fromhex(data)
                took[int(port)] = float(seconds)
            tap.same([port for port in took if took[port] > LIMIT], [], "rows that took longer than they may")
            tap.same(sorted(rows), list(range(first, last)), "rows")
            wrong = [f"{port}: {name(rows[port])}, want {name(want(port))}" for port in rows if rows[port] != want(port)]
            tap.same(wrong, [], "wrong rows")
            w.quiet((NEAR, hop.port))
            return len(hop.peers)

    def name(row):
        return errno.errorcode.get(row[0], str(row[0])), row[1]

    def early(number):
        return number, EARLY if number == 0 else b""

    def head(status):
        return f"HTTP/1.1 {status} Words\r\nX: y\r\n\r\n".encode()

    codes = {
        "socks5h": (1, 256, lambda port: (socks5_reply(port) + EARLY, "close"), lambda port: early(SOCKS5.get(port, REFUSED))),
        "socks4a": (1, 256, lambda port: (socks4_reply(port) + EARLY, "close"), lambda port: early(SOCKS4.get(port, REFUSED))),
        "http": (100, 600, lambda port: (head(port) + EARLY, "close"), lambda port: early(http_errno(port)))}
    whole = {"socks5h": socks5_reply(0, BOUNDS["a name"]), "socks4a": socks4_reply(90), "http": head(200)}

    for how in WAYS:
        for scheme, (first, last, answer, want) in codes.items():
            yield f"{scheme}, every code, {how}", lambda a=(scheme, answer, want, first, last, how): table(*a)
        for scheme, text in whole.items():
            for end in ("close", "reset"):
                yield f"{scheme}, a yes that ends at each byte by a {end}, {how}", lambda s=scheme, t=text, e=end, h=how: table(
                    s, lambda port: (t[:port - 1], e), lambda port: (NONE, b""), 1, len(t) + 1, h)
    bounds = list(BOUNDS.values())
    for how in WAYS:
        yield f"socks5h, addresses of all forms in the answer, {how}", lambda h=how: table(
            "socks5h", lambda port: (socks5_reply(0, bounds[port - 1]) + EARLY, "close"),
            lambda port: early(0), 1, len(bounds) + 1, h)

    def short_replies(pause, times, how):
        """With a name of 0 to 4 letters as the bound address: 7 to 11 bytes, where most replies have 10. A
        program is never told less than the target said; the hop may be dialled a second time for that."""
        def script(_number, peer):
            length = target_of("socks5h", peer) - 1
            peer.say(socks5_reply(0, bytes([3, length]) + b"x" * length + b"\0\x50") + (b"" if pause else EARLY))
            if pause:
                peer.pause(pause)
                peer.say(EARLY)
        tap.same(rows_of("socks5h", script, lambda _: (0, EARLY), 1, 6, how), times, "times that it was dialled")

    for how in WAYS:
        yield f"socks5h, replies shorter than most, bytes of the target glued to them, {how}", lambda h=how: short_replies(0, 8, h)
        yield f"socks5h, replies shorter than most, bytes of the target later, {how}", lambda h=how: short_replies(0.2, 5, h)

    def heads(number, peer):
        """Up to 60 kB in one head, and informational ones before it."""
        peer.http_request()
        peer.say(b"HTTP/1.1 100 Continue\r\n\r\n" * (number % 4) + b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (number * 250) + b"\r\n" + EARLY)

    def drips(scheme):
        def script(_number, peer):
            target_of(scheme, peer)
            peer.drip(whole[scheme] + EARLY, 0.001)
        return script

    def ends_after(end):
        """When it has heard so many bytes."""
        def script(number, peer):
            peer.sock.settimeout(LIMIT)
            for at in range(1, number):
                peer.read(1)
                if peer.heard == b"\5\1\0":
                    peer.say(b"\5\0")
            end(peer)
        return script

    for how in WAYS[::3]:
        for what, (script, good) in VALUES.items():
            yield f"socks5h, {what}, {how}", lambda s=script, g=good, h=how, x=LOGIN if "login" in what else "": rows_of(
                "socks5h", lambda number, peer: s(number - 1, peer), lambda number: early(g(number - 1)), 1, 257, h, x)
        yield f"socks4a, every version of the answer, {how}", lambda h=how: rows_of(
            "socks4a", lambda number, peer: (peer.socks4_request(), peer.say(bytes([number - 1, 90]) + bytes(6) + EARLY)),
            lambda number: early(0 if number - 1 in (0, 4) else NONE), 1, 257, h)
    for how in WAYS:
        for scheme in whole:
            yield f"{scheme}, answers that drip, {how}", lambda s=scheme, h=how: rows_of(s, drips(s), lambda _: (0, EARLY), 1, 6, h)
            # shorter than what is said in all
            for what, end in (("close", hostile.closes_at_once), ("reset", hostile.Peer.reset)):
                yield f"{scheme}, a {what} after each byte that it heard, {how}", lambda s=scheme, e=end, h=how: rows_of(
                    s, ends_after(e), lambda _: (NONE, b""), 1, 17, h)
        yield f"http, heads of up to 60 kB, {how}", lambda h=how: rows_of("http", heads, lambda _: (0, EARLY), 1, 41, h)

    def by_curl(scheme, data, want):
        def script(peer):
            target_of(scheme, peer)
            peer.say(data)
            if want == 28:
                hostile.silent(peer)
            if want == 52:  # what is not read would make the end a reset
                peer.read_until(b"\r\n\r\n")
        with hostile.Scripted("proxy", NEAR, w.port(), script) as hop:
            w.forget()
            got = w.via(["-q", "-t", "1", *chain(f"{hop.url(scheme)}?probe=no")], ["curl", "-sS", "-m", "5", f"http://{NAME}/"])
            tap.same([got.code, got.out], [want, b""], f"curl: {got}")
            w.quiet((NEAR, hop.port))

    def short_reply_told(pipeline):
        """What a person is told of a hop whose reply is short, in a flight as well."""
        def script(peer):
            hostile.accept_as("socks5", peer, glued=b"HTTP/1.0 200 OK\r\n\r\nglued", bound=BOUNDS["an empty name"])
            with contextlib.suppress(ConnectionError):  # the first time nothing is asked
                peer.read_until(b"\r\n\r\n")  # what is not read would make the end a reset
        with hostile.Scripted("proxy", NEAR, w.port(), script) as hop:
            w.forget()
            url = f"{hop.url('socks5h')}?probe=no&pipeline={pipeline}"
            got = w.via(["-vv", *chain(url)], ["curl", "-sS", "-m", "5", f"http://{NAME}/"])
            tap.same([got.code, got.out], [0, b"glued"], f"curl: {got}")
            tap.same(got.err.count(b"gave a shorter reply than most"), 1, f"the line: {got}")
            tap.same(len(hop.peers), 2, "times that it was dialled")
            w.quiet((NEAR, hop.port))

    def short_reply_before_another():
        """A hop before the last whose reply is short, and the next one's choice, too early, glued to it."""
        def script(peer):
            peer.socks5_greeting()
            peer.socks5_request()
            peer.say(socks5_reply(0, BOUNDS["an empty name"]) + b"\5\0")
            with contextlib.suppress(ConnectionError):  # the first time all is dropped
                peer.read(3)
                peer.socks5_request()
                peer.say(socks5_reply(0) + EARLY)
        with hostile.Scripted("proxy", NEAR, w.port(), script) as hop:
            w.forget()
            hops = [f"{hop.url('socks5h')}?probe=no&pipeline=off", "socks5h://10.1.0.9:1080?probe=no&pipeline=off"]
            got = w.via(["-q", "-t", str(LIMIT), *chain(*hops)], [PYTHON, "-c", PROGRAM, "blocking", NAME, "80", "81"])
            tap.same([got.code, got.out.split()[:3]], [0, [b"80", b"0", EARLY.hex().encode()]], f"the program: {got}")
            tap.same(len(hop.peers), 2, "times that it was dialled")
            w.quiet((NEAR, hop.port))

    yield "socks5h, a short reply before another hop", short_reply_before_another
    for pipeline in ("off", "lead"):
        yield f"curl, a short reply with the page glued to it, pipeline={pipeline}", lambda p=pipeline: short_reply_told(p)
    for scheme, data, want in (
            ("socks5h", socks5_reply(5), 7), ("socks5h", socks5_reply(2), 7), ("socks5h", b"\5", 7), ("socks5h", b"\5\0\0", 28),
            ("socks4a", socks4_reply(91), 7), ("socks4a", b"", 7), ("http", head(403), 7), ("http", head(502), 7),
            ("http", b"SSH-2.0-x\r\n", 7), ("http", b"HTTP/1.1 200 OK\r\n", 28), ("socks5h", socks5_reply(0), 52),
            ("http", head(200), 52)):
        yield f"curl, {scheme} hop that says {data[:20]!r}", lambda a=(scheme, data, want): by_curl(*a)


if __name__ == "__main__":
    world.main(cases, ("curl", PYTHON))
