#!/usr/bin/env python3
"""What viaductd lets clients and users have: sessions, new ones, bytes for each second; over all
workers, on every protocol, and after a worker was killed."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import daemon, hostile, netns, tap, world
from lib.daemon import HOME, Daemon, reload
from lib.datagrams import Echo, associate
from lib.visit import HTTP, SOCKS4, SOCKS4A, SOCKS5, dial
from lib.world import NEAR, ORIGIN, wait_until

HERE = "127.0.0.1"


def echo(peer):
    peer.sock.settimeout(None)
    while data := peer.sock.recv(65536):
        peer.say(data)


def echoes(visit, data=b"hello"):
    visit.sock.sendall(data)
    tap.same(visit.read(len(data)), data, "echo")


def raw(d, data, at=None, ns=HOME):
    """What is answered to these bytes, until the end."""
    sock = dial(at or d.at, ns)
    sock.sendall(data)
    got = b""
    while more := sock.recv(65536):
        got += more
    sock.close()
    return got


def many(d, target, count, login=None, way=SOCKS5):
    return [d.visit(way, target, login=login) for _ in range(count)]


def counting(w, target):
    def in_all():
        """`sessions` holds over all workers: whoever comes later waits for his turn."""
        d = Daemon(w, conf="sessions = 6\n", workers=3)
        held = many(d, target, 6)
        late = dial(d.at, HOME)
        late.sendall(b"".join(SOCKS5.messages(target)) + b"x")
        late.settimeout(0.4)
        try:
            tap.fail(f"an answer: {late.recv(100)}")
        except TimeoutError:
            pass
        echoes(held[0])
        held[1].close()
        late.settimeout(20)
        tap.same(late.recv(2), b"\5\0", "when one has left")
        tap.holds("accept paused with" in d.log(), d.log())
        late.close()

    def of_client():
        """Too many of one address are told so in their own protocol; others are not hindered."""
        d = Daemon(w, conf='limit crowd { sessions = 3 }\nallow all { }\n', listens=("0.0.0.0:0",), workers=2)
        held = many(d, target, 3)
        tap.same(many(d, target, 2)[1].code, 2, "SOCKS5: not allowed")
        tap.same([d.visit(SOCKS4, target).code, d.visit(SOCKS4A, ("a.test", 9)).code], [91, 91], "SOCKS4")
        got = raw(d, f"CONNECT {HERE}:{target[1]} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        tap.holds(got.startswith(b"HTTP/1.1 429 Too Many Requests\r\n") and b"\r\nRetry-After: 5\r\n" in got, got)
        got = raw(d, f"GET http://{HERE}:{target[1]}/ HTTP/1.1\r\nHost: {HERE}\r\n\r\n".encode())
        tap.holds(got.startswith(b"HTTP/1.1 429 Too Many Requests\r\n") and b"\r\nRetry-After: 5\r\n" in got, got)
        tap.same(d.visit(SOCKS5, ("origin.test", 9), at=(NEAR, d.port), ns="app").code != 2, True, "another address")
        lines = wait_until(lambda: len(d.lines("limit refused")) == 6 and d.lines("limit refused"), "lines for fail2ban")
        tap.same({(line["limit"], line["what"], line["user"]) for line in lines}, {("crowd", "sessions", "-")})
        tap.holds(all(line["client"].startswith(HERE) for line in lines), lines)
        tap.same(sorted({line["protocol"] for line in lines}), ["HTTP", "SOCKS4", "SOCKS4a", "SOCKS5"])
        held.pop().close()
        wait_until(lambda: d.visit(SOCKS5, target).ok, "one that left makes room")

    def of_network():
        """Of IPv6 addresses all of one /64 are one client; what comes by unix sockets is one, too."""
        for ip in ("fd09:0:0:1::a", "fd09:0:0:1::b", "fd09:0:0:2::a"):
            subprocess.run(["ip", "-n", HOME, "addr", "add", f"{ip}/128", "dev", "lo", "nodad"], check=True)
        path, far = f"{w.dir}/limited.sock", hostile.Scripted("origin", ORIGIN, w.port(), echo)
        d = Daemon(w, conf=f'limit crowd {{ sessions = 2 }}\nallow all {{ }}\nlisten a {{ url = "mixed://[::1]:0" }}\n'
                   f'listen u {{ url = "mixed://unix:{path}" }}\n', listens=1)

        def come(at, source=None):
            """Whether it is let in."""
            with netns.inside(HOME):
                sock = socket.socket(socket.AF_INET6 if source else socket.AF_UNIX)
            sock.settimeout(10)
            if source:
                sock.bind((source, 0))
            sock.connect(at)
            held.append(sock)
            sock.sendall(b"".join(SOCKS5.messages((ORIGIN, far.port))))
            return sock.recv(4, socket.MSG_WAITALL)[3] == 0
        held, here = [], ("::1", d.port)
        tap.same([come(here, f"fd09:0:0:1::{host}") for host in "aba"], [True, True, False], "one network")
        tap.same(come(here, "fd09:0:0:2::a"), True, "another")
        tap.same([come(path) for _ in range(3)], [True, True, False], "unix sockets")
        lines = wait_until(lambda: len(d.lines("limit refused")) == 2 and d.lines("limit refused"), "both are told")
        tap.same([(line["limit"], line["client"].split("]")[0]) for line in lines], [("crowd", "[fd09:0:0:1::a"), ("crowd", "unix")])
        for sock in held:
            sock.close()

    def of_user():
        d = Daemon(w, "-u", "a:1", "-u", "b:2", "-u", "c:3", workers=3, conf='limit x { per = "user" sessions = 2 users = {"a", "b"} }\n')
        held = many(d, target, 2, ("a", "1")) + many(d, target, 2, ("b", "2"))
        tap.holds(all(v.ok for v in held), "two of each")
        tap.same([d.visit(SOCKS5, target, login=("a", "1")).code, d.visit(SOCKS5, target, login=("b", "2")).code], [2, 2])
        tap.holds(all(v.ok for v in many(d, target, 6, ("c", "3"))), "whom it is not about")
        tap.same([line["user"] for line in d.lines("limit refused")], ["a", "b"], "the log")

    def of_all():
        d = Daemon(w, "--limit", "per=all sessions=2", workers=2)
        held = many(d, target, 2)
        tap.same([d.visit(SOCKS5, target).code, d.visit(HTTP, target).code], [1, 503], "for all: the proxy's limit")
        echoes(held[1])

    def killed():
        """What a worker had that was killed is not counted any more, at once."""
        d = Daemon(w, "--limit", "sessions=12", workers=3)
        held = many(d, target, 12)
        tap.same(d.visit(SOCKS5, target).code, 2, "full")
        for _ in range(3):
            busy = max(d.workers(), key=lambda pid: len(daemon.sockets(HOME, pid)))
            os.kill(busy, signal.SIGKILL)
            wait_until(lambda pid=busy: pid not in d.workers() and len(d.workers()) == 3, "another worker")
            left = [v for v in held if alive(v)]
            tap.holds(len(left) < len(held), "its sessions ended")
            more = many(d, target, 12 - len(left))
            tap.holds(all(v.ok for v in more), "as many as ended can come")
            tap.same(d.visit(SOCKS5, target).code, 2, "and not one more")
            held = left + more
            time.sleep(1.1)  # a worker that lived shorter is replaced later

    def reloaded():
        """Sessions from before a reload count on; the new file's limits hold for new ones."""
        d = Daemon(w, conf="limit x { sessions = 4 }\n", workers=2)
        held = many(d, target, 3)
        reload(d, "limit x { sessions = 5 }\n")
        held += many(d, target, 2)
        tap.holds(all(v.ok for v in held) and d.visit(SOCKS5, target).code == 2, "five of both")
        for visit in held[:3]:
            visit.close()
        wait_until(lambda: d.visit(SOCKS5, target).ok, "the old ones left")
        echoes(held[4])

    def kept_alive():
        """Several requests on a connection are one session; another user's is another one's."""
        d = Daemon(w, "-u", "a:1", "-u", "b:2", conf='limit x { per = "user" sessions = 1 }\n')
        one = d.visit(SOCKS5, target, login=("a", "1"))
        server = hostile.Scripted(HOME, HERE, w.port(), answers)

        def ask(client, login):
            client.sendall(f"GET http://{HERE}:{server.port}/ HTTP/1.1\r\nHost: {HERE}:{server.port}\r\n"
                           f"Proxy-Authorization: Basic {login}\r\n\r\n".encode())
            got = b""
            while not got.endswith(b"\r\n\r\n") and (more := client.recv(4096)):
                got += more
            return int(got.split()[1])
        client = dial(d.at, HOME)
        tap.same([ask(client, "Yjoy"), ask(client, "Yjoy"), ask(client, "YTox")], [204, 204, 429], "b, b, a")
        client.close()
        one.close()
        wait_until(lambda: d.visit(SOCKS5, target, login=("a", "1")).ok, "a has room again")

    yield "sessions in all", in_all
    yield "sessions of a client", of_client
    yield "sessions of a network and of unix sockets", of_network
    yield "sessions of a user", of_user
    yield "sessions of all by a limit", of_all
    yield "a worker is killed", killed
    yield "a reload", reloaded
    yield "requests on a kept connection", kept_alive


def answers(peer):
    peer.sock.settimeout(None)
    while peer.read_until(b"\r\n\r\n"):
        peer.say(b"HTTP/1.1 204 No Content\r\n\r\n")


def alive(visit):
    try:
        echoes(visit)
        return True
    except (OSError, tap.Failed):
        return False


def starting(w, target):
    def burst():
        """So many new ones in so much time; a place comes back with time, not with an end."""
        d = Daemon(w, "--limit", "new=5/min", workers=2)
        codes = []
        for _ in range(8):
            with d.visit(SOCKS5, target) as visit:
                codes.append(visit.code)
        tap.same(codes, [0] * 5 + [2] * 3)
        got = raw(d, f"CONNECT {HERE}:{target[1]} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        wait = int(re.search(rb"\r\nRetry-After: (\d+)\r\n", got)[1])
        tap.holds(1 <= wait <= 12, f"when to come again: {got}")
        tap.same({line["what"] for line in d.lines("limit refused")}, {"new"})

    def again():
        d = Daemon(w, "--limit", "new=10/s")
        codes = [visit.code for visit in many(d, target, 20)]
        tap.holds(codes[:10] == [0] * 10 and 2 in codes[10:], codes)
        wait_until(lambda: d.visit(SOCKS5, target).ok, "time brings another one")

    def logins():
        """Who is not who he says he is uses up nobody's share."""
        d = Daemon(w, "-u", "a:1", "--limit", "per=user new=2/h")
        for _ in range(4):
            tap.same(d.visit(SOCKS5, target, login=("a", "x")).code, 1)
        tap.same([v.code for v in many(d, target, 3, ("a", "1"))], [0, 0, 2])

    def handshakes():
        """Those that never end make room for those that do."""
        d = Daemon(w, conf="handshakes = 20\n", workers=2)
        stuck = [dial(d.at, HOME) for _ in range(100)]
        for _ in range(30):
            with d.visit(SOCKS5, target) as visit:
                echoes(visit)
        crowded = wait_until(lambda: [s for s in d.lines("session") if s["end"] == "handshake-crowded"], "lines")
        tap.holds(70 <= len(crowded) <= 130, f"{len(crowded)} ended")
        tap.holds(d.running(), "it lives")
        for sock in stuck:
            sock.close()

    yield "a burst", burst
    yield "a rate of new ones", again
    yield "wrong logins", logins
    yield "handshakes under way", handshakes


def slowed(w, target):
    """Rates are compared with what the same time may bring: never more, and not much less."""
    block = bytes(range(256)) * 256

    def source(peer):
        peer.sock.settimeout(None)
        while True:
            peer.say(block)
    flood = hostile.Scripted(HOME, HERE, w.port(), source)

    def draw(sock, seconds):
        """(bytes, seconds) that came."""
        began, got = time.monotonic(), 0
        while time.monotonic() - began < seconds and (data := sock.recv(1 << 20)):
            got += len(data)
        return got, time.monotonic() - began

    def within(got, took, rate, buffers=1):
        """`buffers`: portions that may lie in the kernel's; a tenth of a second is the credit."""
        portion = max(1024, min(rate // 20, 256 * 1024))
        most = rate * (took + 0.12) + 2 * portion * buffers
        tap.holds(got <= most, f"{got} bytes in {took:.2f} s, at {rate} bytes/s at most {most:.0f}")
        tap.holds(got >= rate * took / 2, f"{got} bytes in {took:.2f} s, at {rate} bytes/s")

    def tunnel():
        """A download and an upload, each slowed down, without a busy loop."""
        d = Daemon(w, "--limit", "per=session rate=400K")
        with d.visit(SOCKS5, (HERE, flood.port)) as visit:
            before = daemon.cpu_seconds(d.workers()[0])
            got, took = draw(visit.sock, 1.5)
            used = daemon.cpu_seconds(d.workers()[0]) - before
        within(got, took, 400000)
        tap.holds(used < took / 4, f"{used} s of the processor in {took} s")
        line = d.session(visit)
        tap.holds(int(line["down"]) >= got, line)

    def both_ways():
        """Two directions share a rate, and none of them starves."""
        d = Daemon(w, "--limit", "per=session rate=300K")
        with d.visit(SOCKS5, target) as visit:
            stop = threading.Event()

            def push():
                try:
                    while not stop.is_set():
                        visit.sock.sendall(block)
                except OSError:
                    pass
            thread = threading.Thread(target=push)
            thread.start()
            got, took = draw(visit.sock, 1.5)
            stop.set()
            visit.sock.close()
            thread.join()
        tap.holds(got <= 300000 * (took + 0.3), f"{got} came back in {took}")
        tap.holds(got >= 300000 * took / 8, f"{got} came back in {took}")

    def spliced():
        """A rate that a pipe carries."""
        d = Daemon(w, "--limit", "per=session rate=30M")
        with d.visit(SOCKS5, (HERE, flood.port)) as visit:
            draw(visit.sock, 0.5)
            fds = [os.readlink(f"/proc/{d.workers()[0]}/fd/{fd}") for fd in os.listdir(f"/proc/{d.workers()[0]}/fd")]
            got, took = draw(visit.sock, 1)
        tap.holds(any(fd.startswith("pipe:") for fd in fds), f"a pipe: {fds}")
        within(got, took, 30000000, 20)

    def shared():
        """One rate for all sessions of a user, in several workers; each session has its share."""
        d = Daemon(w, "-u", "a:1", "-u", "b:2", "--limit", "per=user users=a rate=600K", workers=2)
        got, free = [], []

        def pull(login, into):
            with d.visit(SOCKS5, (HERE, flood.port), login=login) as visit:
                into.append(draw(visit.sock, 2))
        threads = [threading.Thread(target=pull, args=(("a", "1"), got)) for _ in range(6)]
        threads.append(threading.Thread(target=pull, args=(("b", "2"), free)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = max(seconds for _, seconds in got)
        within(sum(n for n, _ in got), took, 600000, 12)
        tap.holds(min(n for n, _ in got) >= 600000 * took / 6 / 4, f"a share for each: {got}")
        tap.holds(free[0][0] > 4 * 600000 * took, f"another user: {free}")

    def forwarded():
        """HTTP requests too."""
        def answer(peer):
            peer.read_until(b"\r\n\r\n")
            peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
            source(peer)
        server = hostile.Scripted(HOME, HERE, w.port(), answer)
        d = Daemon(w, "--limit", "per=client rate=400K")
        sock = dial(d.at, HOME)
        sock.sendall(f"GET http://{HERE}:{server.port}/ HTTP/1.1\r\nHost: {HERE}:{server.port}\r\n\r\n".encode())
        before = daemon.cpu_seconds(d.workers()[0])
        got, took = draw(sock, 1.5)
        used = daemon.cpu_seconds(d.workers()[0]) - before
        sock.close()
        within(got, took, 400000, 3)
        tap.holds(used < took / 4, f"{used} s of the processor in {took} s")

    def ends():
        """What is slow still ends in order, with all its bytes; what was granted comes back."""
        data = os.urandom(150000)

        def once(peer):
            peer.say(data)
        server = hostile.Scripted(HOME, HERE, w.port(), once)
        d = Daemon(w, "--limit", "per=client rate=300K")
        with d.visit(SOCKS5, (HERE, server.port)) as visit:
            tap.same(visit.rest() == data, True, "all of it")
        tap.same(d.session(visit)["end"], "closed")
        began = time.monotonic()
        for _ in range(200):  # with a portion each it would be ten seconds
            with d.visit(SOCKS5, target) as visit:
                echoes(visit)
        tap.holds(time.monotonic() - began < 8, "small ones do not use up a portion each")

    def datagrams():
        """They cannot wait: what is too much is dropped, both directions together."""
        server = Echo(HOME, HERE)
        d = Daemon(w, "--limit", "per=session rate=400K")
        with associate(d) as a:
            began, got, sent = time.monotonic(), 0, 0
            a.udp.setblocking(False)
            while (passed := time.monotonic() - began) < 1.5:
                while sent <= 1500 * passed:  # nearly four times as much as is let pass
                    a.send(server.at, bytes(1000))
                    sent += 1
                time.sleep(0.0005)
                try:
                    while True:
                        got += len(a.udp.recv(2000)) - 10
                except BlockingIOError:
                    pass
            took = time.monotonic() - began
            a.sock.close()
            line = d.session(a)
        within(int(line["up"]) + int(line["down"]), took, 400000)
        tap.holds(int(line["dropped"]) > sent / 4 and got > 50000, line)
        tap.same(int(line["datagrams_up"]), len(server.seen), "what the target saw")

    yield "a tunnel", tunnel
    yield "datagrams", datagrams
    yield "both ways at once", both_ways
    yield "with splice", spliced
    yield "one rate for several sessions", shared
    yield "forwarded requests", forwarded
    yield "the end of what is slow", ends


def cases(w):
    server = hostile.Scripted(HOME, HERE, w.port(), echo, backlog=256)
    for part in (counting, starting, slowed):
        yield from part(w, (HERE, server.port))


if __name__ == "__main__":
    world.main(cases, ())
