#!/usr/bin/env python3
"""Relays that lie: what they send that is no datagram of the protocol, or of nobody that the program
spoke to, does not reach it; what is good among it does. And where nobody answers, or goes away."""

import os
import socket
import struct
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, netns, servers, tap, world
from lib.datagrams import ECHO, Echo, header
from lib.servers import chain
from lib.world import FAR, NEAR, ORIGIN, PYTHON

HEAD = f"""
import array, errno, fcntl, os, select, socket, struct, sys, termios, time
T = ({ORIGIN!r}, {ECHO})
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
"""
GOOD = header((ORIGIN, ECHO))


class Relay:
    """A hop whose relay answers each datagram with what `answers` makes of it: a list of datagrams,
    or of (datagram, socket to send by). Its last word should be a good one."""

    def __init__(self, w, answers):
        self.answers, self.heard = answers, []
        with netns.inside("proxy"):
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((NEAR, 0))
        self.other.bind((NEAR, 0))
        address = socket.inet_aton(NEAR) + struct.pack("!H", self.udp.getsockname()[1])
        self.hop = hostile.Scripted("proxy", NEAR, w.port(), lambda peer: self._control(peer, b"\x01" + address))
        threading.Thread(target=self._serve, daemon=True).start()

    def _control(self, peer, bound):
        peer.socks5_greeting()
        peer.socks5_request()
        peer.say(hostile.socks5_reply(0, bound))
        peer.wait_for_end()

    def _serve(self):
        while True:
            data, whence = self.udp.recvfrom(1 << 16)
            self.heard.append(data)
            for answer in self.answers(data[10:]):
                answer, by = answer if isinstance(answer, tuple) else (answer, self.udp)
                by.sendto(answer, whence)

    def __enter__(self):
        self.hop.__enter__()
        return self

    def __exit__(self, *_):
        self.hop.__exit__()

    def options(self):
        return chain(self.hop.url("socks5h"))


def bad_ones(payload):
    """Every kind of datagram that must not be heard."""
    whole = GOOD + payload
    yield from (whole[:end] for end in range(len(GOOD)))
    for frag in (1, 2, 127, 128, 255):
        yield GOOD[:2] + bytes([frag]) + GOOD[3:] + payload
    for kind in (0, 2, 5, 255):
        yield GOOD[:3] + bytes([kind]) + GOOD[4:] + payload
    yield b"\0\0\0\x03\0" + payload  # a name of no length
    yield b"\0\0\0\x03\xffshort"
    yield b"\0\0\0\x04" + payload[:5]
    yield b"\0\0\0\x03\x04a\0b.\0\x07" + payload
    yield b"\xff" * 600
    yield b""


def strange_ones(payload):
    """From others than the target; a socket that is not connected would hear them."""
    for target in ((ORIGIN, ECHO + 1), (FAR, ECHO), ("fd02::9", ECHO), ("other.test", ECHO)):
        yield header(target) + payload


def cases(w):
    def run(options, text, **how):
        w.forget()
        got = w.via(options, [PYTHON, "-c", HEAD + text], **how)
        tap.same(got.code, 0, "exit code")
        tap.same({what[1] for what in w.link.take()}, {NEAR}, "on the link")
        tap.same(w.names.take(), [], "names asked")
        return [line.split("]: ", 1)[1] for line in got.err.decode().splitlines() if "]: " in line]

    talk = """
if CONNECTS:
    s.connect(T)
for number in range(3):
    data = b"number %d" % number
    s.send(data) if CONNECTS else s.sendto(data, T)
    if number == 1:
        assert select.select([s], [], [], 5)[0]
        time.sleep(0.1)
        count = array.array("i", [0])
        fcntl.ioctl(s, termios.FIONREAD, count)
        assert count[0] == len(data), count
        assert s.recv(99, socket.MSG_PEEK) == data
    room = bytearray(b"." * 99)
    n, whence = s.recvfrom_into(room)
    assert (bytes(room[:n]), whence) == (data, T), (bytes(room[:n]), whence)
s.setblocking(False)
time.sleep(0.1)
try:
    raise SystemExit(f"heard {s.recv(99)}")
except BlockingIOError:
    pass
"""

    def malformed():
        with Relay(w, lambda payload: [*bad_ones(payload), GOOD + payload, *bad_ones(payload)]) as relay:
            for connects in ("True", "False"):
                run(relay.options(), talk.replace("CONNECTS", connects))

    def from_strangers():
        with Relay(w, lambda payload: [*strange_ones(payload), GOOD + payload]) as relay:
            run(relay.options(), talk.replace("CONNECTS", "True"))

    def from_other_ports():
        """Of the relay's host, but not of the relay."""
        def answers(payload):
            return [*((GOOD + payload + b"!", relay.other) for _ in range(5)), GOOD + payload]

        with Relay(w, answers) as relay:
            for connects in ("True", "False"):
                run(relay.options(), talk.replace("CONNECTS", connects))

    def other_headers():
        """Longer and shorter headers than expected: the payload comes out right, whatever is behind."""
        long_name = ("n" * 60 + ".") * 4 + "test"
        heads = [GOOD, header(("fd02::2", ECHO)), header((long_name, ECHO)), header(("x", ECHO)), GOOD]

        def answers(payload):
            number = int.from_bytes(payload[:2], "big")
            return [heads[number % len(heads)] + payload]

        with Relay(w, answers) as relay:
            run(
                relay.options(),
                """
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.settimeout(5)
T = ("::ffff:" + T[0], T[1])
for size in (2, 3, 9, 10, 11, 244, 245, 246, 300, 600, 1200, 9000):
    for number in range(10):
        data = number.to_bytes(2, "big") + os.urandom(size - 2)
        s.sendto(data, T)
        sizes = ([2000], [20000], [size], [1, 5, 3, 700, 20000], [size // 2], [0, 1])[number % 6]
        parts = [bytearray(b"." * n) for n in sizes]
        n, _, flags, whence = s.recvmsg_into(parts)
        room = sum(sizes)
        assert n == min(size, room), (n, size, sizes)
        assert bool(flags & socket.MSG_TRUNC) == (size > room), flags
        assert b"".join(parts)[:n] == data[:n], (size, number)
        assert whence[1] == T[1], whence
""",
            )

    def time_limit():
        """What is dropped does not make a call wait longer, or return early."""
        with Relay(w, lambda payload: bad_ones(payload)) as relay:
            run(
                relay.options(),
                """
for connects in (False, True):
    if connects:
        s.connect(T)
    s.settimeout(None)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 300000))
    s.send(b"x") if connects else s.sendto(b"x", T)
    began = time.monotonic()
    try:
        raise SystemExit(f"heard {s.recv(99)}")
    except BlockingIOError:
        took = time.monotonic() - began
    assert 0.25 < took < 0.9, took
""",
            )

    def silent():
        """An association that is never made: sends are held, then dropped; nothing hangs."""
        with hostile.Scripted("proxy", NEAR, w.port(), hostile.silent) as hop:
            run(
                ["-t", "1", *chain(hop.url("socks5h"))],
                """
s.settimeout(0.2)
s.connect(T)
for _ in range(200):
    try:
        s.send(bytes(1000))
    except OSError as error:
        assert error.errno in (errno.ENOBUFS, errno.ETIMEDOUT, errno.ENETUNREACH, errno.ECONNREFUSED), error
try:
    raise SystemExit(f"heard {s.recv(99)}")
except OSError:
    pass
""",
            )

    def goes_away():
        """The control connection ends: the next datagrams make the association anew."""
        hop = servers.viaductd(w)
        text = """
s.connect(T)
s.settimeout(0.5)
s.send(b"one")
assert s.recv(99) == b"one"
open("GO", "w").close()
while not os.path.exists("BACK"):
    time.sleep(0.01)
deadline = time.monotonic() + 15
while True:
    try:
        s.send(b"two")
        assert s.recv(99) == b"two"
        break
    except OSError:
        assert time.monotonic() < deadline, "never again"
        time.sleep(0.1)
""".replace("GO", f"{w.dir}/stop").replace("BACK", f"{w.dir}/back")

        def restart():
            world.wait_until(lambda: os.path.exists(f"{w.dir}/stop"), "the program is served")
            hop.server.stop(0.2)
            servers.viaductd(w, port=hop.port)
            open(f"{w.dir}/back", "w", encoding="ascii").close()

        helper = threading.Thread(target=restart)
        helper.start()
        run(chain(hop.url(first=True)), text)
        helper.join()

    Echo("origin", ORIGIN)
    yield "malformed datagrams", malformed
    yield "strangers, as the relay tells", from_strangers
    yield "another port of the relay's host", from_other_ports
    yield "headers of every length", other_headers
    yield "dropped datagrams and time limits", time_limit
    yield "a hop that stays silent", silent
    yield "a hop that is started again", goes_away


if __name__ == "__main__":
    world.main(cases, (PYTHON,))
