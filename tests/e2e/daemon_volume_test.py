#!/usr/bin/env python3
"""Much through viaductd, and what may happen meanwhile: as much both ways at once, by SOCKS and HTTP,
directly and over an upstream, with equal sums; a worker killed under load; a drain under load; what
paces it.

VIADUCT_TEST_MIB says how much each way (128 MiB; the long run is 1024)."""

import contextlib
import hashlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import daemon, hostile, netns, servers, tap, world
from lib.daemon import HOME, Daemon
from lib.visit import HTTP, SOCKS4A, SOCKS5, dial
from lib.world import NEAR, ORIGIN, PYTHON, wait_until

HERE = "127.0.0.1"
MIB = int(os.environ.get("VIADUCT_TEST_MIB", "128"))
BLOCK = os.urandom(1 << 20)
tap.CASE_SECONDS = max(60, MIB // 4)


def send(sock, count, word):
    """A stream that says where it is, then the end of this direction."""
    for number in range(count):
        sock.sendall(struct.pack("!4sI", word, number) + BLOCK)
    sock.shutdown(socket.SHUT_WR)


def received(sock):
    digest, room = hashlib.sha256(), bytearray(1 << 18)
    while count := sock.recv_into(room):
        digest.update(memoryview(room)[:count])
    return digest.hexdigest()


def wanted(count, word):
    digest = hashlib.sha256()
    for number in range(count):
        digest.update(struct.pack("!4sI", word, number) + BLOCK)
    return digest.hexdigest()


def volume(w):
    heard = {}

    def script(peer):
        """Sends its own stream while it takes the client's: neither waits for the other."""
        peer.sock.settimeout(30)
        writer = threading.Thread(target=send, args=(peer.sock, MIB, b"down"))
        writer.start()
        whence = peer.sock.getpeername()
        heard[whence] = received(peer.sock)
        writer.join()
    target = hostile.Scripted("origin", ORIGIN, w.port(), script)
    down, up = wanted(MIB, b"down"), wanted(MIB, b"upup")

    def both(d, ways):
        visits = [d.visit(way, (ORIGIN, target.port), at=(NEAR, d.port), ns="app") for way in ways]
        heard.clear()
        writers = [threading.Thread(target=send, args=(visit.sock, MIB, b"upup")) for visit in visits]
        for writer in writers:
            writer.start()
        for visit in visits:
            visit.sock.settimeout(30)
        sums = [received(visit.sock) for visit in visits]
        for writer in writers:
            writer.join()
        tap.same(sums, [down] * len(ways), "what the client got")
        wait_until(lambda: len(heard) == len(ways), "the target has it all")
        tap.same(list(heard.values()), [up] * len(ways), "what the target got")
        for visit in visits:
            line = d.session(visit)
            tap.same([line["end"], line["up"], line["down"]], ["closed"] + [str(MIB * (len(BLOCK) + 8))] * 2, "the log")

    def daemon_by(*options):
        return Daemon(w, *options, conf='allow app { from = {"10.1.0.0/24"} }\n', listens=(f"{NEAR}:0",))
    hop = servers.viaductd(w)
    direct = daemon_by()
    for way in (SOCKS5, HTTP):
        yield f"{way.name}: {MIB} MiB each way at once", lambda y=way: both(direct, (y,))
        for scheme in ("socks5h", "http"):
            yield f"{way.name} over {scheme}: {MIB} MiB each way at once", lambda y=way, s=scheme: both(
                daemon_by("-x", hop.url(s)), (y,))
    yield f"both at a time: {MIB} MiB each way", lambda: both(direct, (SOCKS5, HTTP))


class Trickle:
    """A target that gives a known stream slowly, so that transfers are under way whenever one looks."""

    def __init__(self, w, seconds=2.0, pieces=100):
        piece = os.urandom(20000)
        self.sum = hashlib.sha256(piece * pieces).hexdigest()

        def script(peer):
            peer.read(1)
            for _ in range(pieces):
                peer.say(piece)
                peer.pause(seconds / pieces)
        self.server = hostile.Scripted(HOME, HERE, w.port(), script, backlog=256)
        self.target = HERE, self.server.port

    def start(self, d, count):
        """Transfers under way: [(visit, its thread, [sum or the error])]"""
        transfers = []
        for number in range(count):
            visit = d.visit((SOCKS5, HTTP, SOCKS4A)[number % 3], self.target)
            tap.holds(visit.ok, "reply")
            visit.sock.sendall(b"x")
            transfers.append((visit, result := []))
            thread = threading.Thread(target=self._take, args=(visit, result))
            thread.start()
            result.append(thread)
        return transfers

    def _take(self, visit, result):
        try:
            result.append(received(visit.sock))
        except OSError as error:
            result.append(error)
        visit.close()


def echo(peer):
    peer.sock.settimeout(None)
    while data := peer.sock.recv(65536):
        peer.say(data)


def results(transfers):
    """The sum or the error of each, waited for."""
    for _, result in transfers:
        result[0].join()
    return [result[1] for _, result in transfers]


def killed(w):
    source = Trickle(w)
    echoing = hostile.Scripted(HOME, HERE, w.port(), echo, backlog=256)

    def under_load():
        """kill -9: the dead worker's sessions end, each of the other's arrives whole, and of those who
        stand in its queue none is reset."""
        d = Daemon(w, workers=2)
        transfers = source.start(d, 60)
        gone, other = d.workers()
        theirs = daemon.sockets(HOME, gone)
        owned = [(f"127.0.0.1:{d.port}", f"{v.local[0]}:{v.local[1]}") in theirs for v, _ in transfers]
        tap.holds(10 < sum(owned) < 50, f"{sum(owned)} of 60 are the victim's")
        os.kill(gone, signal.SIGSTOP)
        queued = [dial(d.at, HOME) for _ in range(40)]
        for sock in queued:
            sock.sendall(b"".join(SOCKS5.messages((HERE, echoing.port))) + b"ping")
        os.kill(gone, signal.SIGKILL)
        for sock in queued:
            got = b""
            while len(got) < 16 and (more := sock.recv(100)):
                got += more
            tap.same(got[-4:], b"ping", "one who stood in a queue")
            sock.close()
        for mine, got in zip(owned, results(transfers)):
            if mine:
                tap.holds(got != source.sum, "a session of the dead worker has ended")
            else:
                tap.same(got, source.sum, "a session of the other one")
        wait_until(lambda: len(d.workers()) == 2, "two workers")
        tap.holds(other in d.workers() and gone not in d.workers(), "a new one has taken the place")
        wait_until(lambda: sum(s["end"] == "closed" for s in d.lines("session")) == 40 + 60 - sum(owned), "the log")
        tap.same(d.stop(), 0, "exit status")

    def drained():
        """SIGTERM under 200 transfers: all arrive whole, nobody is let in any more, then it ends."""
        d = Daemon(w, workers=2, conf="timeouts { drain = 30 }\n")
        transfers = source.start(d, 200)
        d.signal(signal.SIGTERM)
        wait_until(lambda: not netns.listening(HOME, d.port), "the listeners close")
        tap.holds(d.running(), "it waits for its sessions")
        tap.same(set(results(transfers)), {source.sum}, "what arrived")
        tap.same(d.end(), 0, "exit status")

    def stopped_hop():
        """A hop that is stopped holds up its own sessions only, and they go on when it does."""
        hop = servers.viaductd(w)
        through, beside = Daemon(w, "-x", hop.url()), Daemon(w)
        slow, quick = source.start(through, 10), source.start(beside, 10)
        pids = [hop.server.pid, *children(hop.server.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            tap.same(set(results(quick)), {source.sum}, "beside it")
            time.sleep(0.2)
            tap.holds(all(result[0].is_alive() for _, result in slow), "through it nothing ends")
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        tap.same(set(results(slow)), {source.sum}, "through it, later")

    def killed_hop():
        """A hop that is killed under way: an end to each of its sessions, not a hang, and to no other."""
        hop = servers.viaductd(w)
        d = Daemon(w, "-x", hop.url())
        beside = Daemon(w)
        slow, quick = source.start(d, 20), source.start(beside, 20)
        time.sleep(0.2)
        for pid in [hop.server.pid, *children(hop.server.pid)]:
            os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        tap.holds(all(got != source.sum for got in results(slow)), "they are cut")
        tap.holds(time.monotonic() - began < 8, "without a hang")
        tap.same(set(results(quick)), {source.sum}, "the others")
        wait_until(lambda: len(d.lines("session")) == 20, "a line for each")
        tap.holds(d.running() and len(d.workers()) == 1, "viaductd lives on")
        tap.same(d.visit(SOCKS5, source.target).code, 1, "and says that the hop is gone")

    yield "kill -9 of a worker under load", under_load
    yield "a drain under 200 transfers", drained
    yield "a hop that is stopped and goes on", stopped_hop
    yield "a hop that is killed", killed_hop


CONTROL = "/proc/sys/net/ipv4/tcp_congestion_control"


def controls(pid):
    """{(local, peer): congestion control} of the TCP connections of a process."""
    with netns.inside(HOME):
        text = subprocess.run(["ss", "-HtniOp"], capture_output=True, text=True, check=True).stdout
    words = [line.split() for line in text.splitlines() if f"pid={pid}," in line and line.startswith("ESTAB")]
    return {(line[3], line[4]): line[6] for line in words}


def pacing(w):
    """Where congestion control paces (bbr, if the kernel has it), it does not do so on loopback."""
    usual = netns.read(HOME, CONTROL)
    with contextlib.suppress(OSError):
        netns.write(HOME, CONTROL, "bbr")
    general = netns.read(HOME, CONTROL).strip()
    near = general if general in ("reno", "cubic") else "reno"
    far = hostile.Scripted("origin", ORIGIN, w.port(), echo)
    here, here6 = (hostile.Scripted(HOME, at, w.port(), echo) for at in (HERE, "::1"))

    def control(d, host, port, at=HERE, ns=HOME, number=0):
        """(of the client's connection, of the target's)"""
        with d.visit(SOCKS5, (host, port), at=(at, d.ports[number]), ns=ns) as visit:
            tap.holds(visit.ok, "reply")
            of = controls(d.workers()[0])
            client = "[{}]:{}" if ":" in visit.local[0] else "{}:{}"
            client = client.format(*visit.local[:2])
            return [next(how for (_, peer), how in of.items() if (peer == client) == clients) for clients in (True, False)]

    def ours():
        d = Daemon(w, conf='allow all { }\n', listens=(f"{HERE}:0", "[::1]:0", f"{NEAR}:0"))
        tap.same(control(d, HERE, here.port), [near, near], "loopback")
        tap.same(control(d, "::1", here6.port, at="::1", number=1), [near, near], "loopback, IPv6")
        tap.same(control(d, ORIGIN, far.port), [near, general], "a target elsewhere")
        tap.same(control(d, ORIGIN, far.port, at=NEAR, ns="app", number=2), [general, general], "a client elsewhere")

    def given():
        d = Daemon(w, listens=1, words=(*GIVE_ONE, str(port := w.port())), conf=f'listen a {{ url = "{HERE}:{port}" }}\n')
        tap.same(control(d, HERE, here.port), [near, near])

    yield "no pacing on loopback", ours
    yield "nor by a socket that was given", given
    netns.write(HOME, CONTROL, usual)


# A listening socket becomes descriptor 3 of what is started, as service managers do it.
GIVE_ONE = (PYTHON, "-c", """import os, socket, sys
sock = socket.create_server(("127.0.0.1", int(sys.argv[1])))
os.dup2(os.dup2(sock.fileno(), 50, False), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execvp(sys.argv[2], sys.argv[2:])""")


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def cases(w):
    yield from volume(w)
    yield from killed(w)
    yield from pacing(w)


if __name__ == "__main__":
    world.main(cases, ("ip", "ss"))
