#!/usr/bin/env python3
"""Streams whose receiver is slower than their sender, in each way: nothing wakes the worker in vain, nothing
is lost however often they stop, the other direction goes on, and both kinds of end are passed on."""

import contextlib
import fcntl
import os
import random
import re
import socket
import struct
import sys
import termios
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, tap, world
from lib.daemon import HOME, Daemon
from lib.visit import SOCKS5, reset
from lib.world import wait_until

HERE = "127.0.0.1"
PIECE = os.urandom(1 << 18)
PIECES, GAP = 60, 0.004
WINDOW = 65536


class Ends:
    """A stream's two ends, `source` and `sink`, of which one is the client and the other the target."""

    def __init__(self, w, d, way):
        self.done = threading.Event()
        server = hostile.Scripted(HOME, HERE, 0, lambda peer: self.done.wait(30))
        server.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
        self.visit = d.visit(SOCKS5, (HERE, server.listener.getsockname()[1]))
        tap.holds(self.visit.ok, "reply")
        peer = wait_until(lambda: server.peers, "the target is visited")[0]
        client, target = self.visit.sock, peer.sock
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
        self.source, self.sink = (target, client) if way == "down" else (client, target)
        for end in self.source, self.sink:
            end.settimeout(20)
        self.worker = d.workers()[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.done.set()
        self.visit.close()

    def fill(self):
        """Until some of it stays in the worker's pipe: the receiver's side is full, the sender's is not. What
        was said."""
        said = bytearray()
        while not piped(self.worker):
            self.source.sendall(PIECE)
            said += PIECE
            time.sleep(0.01)
        time.sleep(0.1)
        tap.holds(piped(self.worker), "it stays there")
        return bytes(said)

    def rest(self, count):
        data = bytearray()
        while len(data) < count:
            more = self.sink.recv(min(1 << 18, count - len(data)))
            tap.holds(more, f"the stream ends after {len(data)} bytes")
            data += more
        return bytes(data)


def wakes(pid):
    """How often a process has slept."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", file.read(), re.M)[1])


def piped(pid):
    """How many bytes are in the pipes of a process."""
    total = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            path = f"/proc/{pid}/fd/{name}"
            if not os.readlink(path).startswith("pipe:"):
                continue
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            total += struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0]
            os.close(fd)
    return total


def cases(w):
    d = Daemon(w, "-v")

    def sleeps(way):
        """Of what comes while nothing can be passed on the worker is not told."""
        with Ends(w, d, way) as ends:
            said = ends.fill()
            before = wakes(ends.worker)
            for i in range(PIECES):
                ends.source.sendall(bytes([i]) * 1000)
                time.sleep(GAP)
            woken = wakes(ends.worker) - before
            tap.holds(woken < PIECES / 2, f"woken {woken} times by {PIECES} segments")
            said += b"".join(bytes([i]) * 1000 for i in range(PIECES))
            tap.holds(ends.rest(len(said)) == said, "all of it")
            for i in range(5):
                ends.source.sendall(b"%d" % i)
                tap.same(ends.rest(1), b"%d" % i, "it is told again")

    def stops_and_goes_on(way):
        with Ends(w, d, way) as ends:
            data, dice = PIECE * 72, random.Random(7)
            writer = threading.Thread(target=ends.source.sendall, args=(data,), daemon=True)
            writer.start()
            got = bytearray()
            while len(got) < len(data):
                got += ends.rest(min(dice.randrange(1 << 22), len(data) - len(got)))
                time.sleep(dice.choice((0, 0.001, 0.02, 0.1)))
            writer.join(10)
            tap.holds(bytes(got) == data, "all of it")

    def other_direction(way):
        with Ends(w, d, way) as ends:
            said = ends.fill()
            for i in range(50):
                ends.sink.sendall(b"%03d" % i)
                tap.same(ends.source.recv(16), b"%03d" % i)
            ends.sink.sendall(PIECE)
            got = bytearray()
            while len(got) < len(PIECE):
                got += ends.source.recv(1 << 18)
            tap.holds(bytes(got) == PIECE, "a stream the other way")
            tap.holds(ends.rest(len(said)) == said, "and this one")

    def ends_full(way):
        with Ends(w, d, way) as ends:
            said = ends.fill()
            ends.source.shutdown(socket.SHUT_WR)
            time.sleep(0.05)
            tap.holds(ends.rest(len(said)) == said, "all of it")
            tap.same(ends.sink.recv(1), b"", "and the end")
            ends.sink.sendall(b"late")
            tap.same(ends.source.recv(4), b"late", "the other direction")

    def source_resets(way):
        with Ends(w, d, way) as ends:
            ends.fill()
            reset(ends.source)
            try:
                while ends.sink.recv(1 << 18):
                    pass
                tap.fail("an orderly end in place of a reset")
            except ConnectionResetError:
                pass
            tap.same(d.session(ends.visit)["end"], "reset-by-target" if way == "down" else "reset-by-client")

    def sink_resets(way):
        with Ends(w, d, way) as ends:
            ends.fill()
            reset(ends.sink)
            try:
                while ends.source.send(b"x"):
                    time.sleep(0.01)
            except (ConnectionResetError, BrokenPipeError):
                pass
            tap.same(d.session(ends.visit)["end"], "reset-by-client" if way == "down" else "reset-by-target")

    for way in ("down", "up"):
        for what in (sleeps, stops_and_goes_on, other_direction, ends_full, source_resets, sink_resets):
            yield f"{what.__name__.replace('_', ' ')}, {way}", lambda f=what, x=way: f(x)


if __name__ == "__main__":
    world.main(cases)
