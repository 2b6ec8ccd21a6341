#!/usr/bin/env python3
"""How connections with TLS end, and what is in front of it: half-close, resets, much data both ways,
clients that do not read; PROXY lines, unix sockets, drain and confinement."""

import errno
import hashlib
import os
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import daemon, hostile, tap, tls, world
from lib.daemon import HOME, Daemon
from lib.tls import Authority
from lib.visit import SOCKS5, Visit, dial
from lib.world import wait_until

HERE = "127.0.0.1"
BIG = 50 << 20


def ends(w, ca, cert):
    def both_ways():
        """50 MB each way at once, checksums equal, then the end."""
        up, down = hashlib.sha256(), hashlib.sha256()
        block = os.urandom(1 << 20)
        expected = hashlib.sha256(block * (BIG >> 20)).hexdigest()

        def serve(peer):
            peer.sock.settimeout(None)
            sender = threading.Thread(target=lambda: [peer.say(block) for _ in range(BIG >> 20)], daemon=True)
            sender.start()
            while data := peer.sock.recv(1 << 18):
                up.update(data)
            sender.join()
            peer.sock.shutdown(socket.SHUT_WR)
        server = hostile.Scripted(HOME, HERE, w.port(), serve)
        d = tls.secure(ca, cert)
        port = w.port()
        conf = w.file("pump.conf", f"foreground = yes\npid =\n[s]\nclient = yes\naccept = {HERE}:{port}\n"
                      f"connect = {HERE}:{d.port}\nCAfile = {ca.path}\nverifyChain = yes\n")
        w.serve("stunnel", HOME, ["stunnel4", conf], port)  # does both directions at once
        with Visit((HERE, port), SOCKS5, (HERE, server.port), ns=HOME) as visit:
            tap.holds(visit.ok, visit.code)
            visit.sock.settimeout(60)

            def send():
                for _ in range(BIG >> 20):
                    visit.sock.sendall(block)
                visit.sock.shutdown(socket.SHUT_WR)
            sender = threading.Thread(target=send, daemon=True)
            sender.start()
            while data := visit.sock.recv(1 << 18):
                down.update(data)
            sender.join()
        line = wait_until(lambda: d.lines("session"), "the session ends")[0]
        tap.same([up.hexdigest(), down.hexdigest()], [expected] * 2)
        tap.same([line["up"], line["down"], line["end"]], [str(BIG), str(BIG), "closed"])

    def half_close():
        """close_notify is FIN to the target, which may go on; FIN is close_notify to the client."""
        heard = {}

        def client_first(peer):
            peer.sock.settimeout(None)
            heard["all"] = b""
            while data := peer.sock.recv(4096):
                heard["all"] += data
            peer.say(b"after your end")

        def target_first(peer):
            peer.say(b"before")
            peer.sock.shutdown(socket.SHUT_WR)
            heard["late"] = peer.read(5)

        d = tls.secure(ca, cert)
        server = hostile.Scripted(HOME, HERE, w.port(), client_first)
        with tls.inside(ca, d, SOCKS5, (HERE, server.port)) as visit:
            visit.sock.sendall(b"question")
            visit.sock.finish()
            tap.same(visit.rest(), b"after your end")
            tap.same(heard["all"], b"question")
            tap.same(d.session(visit)["end"], "closed")
        server = hostile.Scripted(HOME, HERE, w.port(), target_first)
        with tls.inside(ca, d, SOCKS5, (HERE, server.port)) as visit:
            tap.same(visit.rest(), b"before")
            tap.same(visit.sock.sock.recv(1), b"", "FIN behind close_notify")
            visit.sock.sendall(b"later")
            wait_until(lambda: heard.get("late") == b"later", "what is sent behind the target's end arrives")
            visit.sock.finish()
            tap.same(d.session(visit)["end"], "closed")

    def resets():
        """Both ways, and an end without close_notify is no end in order."""
        ended = {}

        def serve(peer):
            peer.sock.settimeout(10)
            try:
                while peer.sock.recv(4096):
                    pass
                ended["how"] = "end"
            except ConnectionResetError:
                ended["how"] = "reset"

        d = tls.secure(ca, cert)
        for how, want in (("reset", "reset"), ("bare_end", "reset"), ("finish", "end")):
            ended.clear()
            server = hostile.Scripted(HOME, HERE, w.port(), serve)
            visit = tls.inside(ca, d, SOCKS5, (HERE, server.port))
            visit.sock.sendall(b"x" * 100)
            time.sleep(0.05)
            getattr(visit.sock, how)()
            wait_until(lambda: ended, f"the target hears of {how}")
            tap.same(ended["how"], want, how)
            if how == "finish":
                visit.close()
            line = d.session(visit)
            tap.same(line["end"], "closed" if how == "finish" else "reset-by-client")
            tap.same(line.get("said"), {"bare_end": '"the connection ended without close_notify"',
                                        "reset": '"Connection reset by peer"'}.get(how), how)

        def breaks(peer):
            peer.read(1)
            peer.say(b"some")
            peer.pause(0.1)
            peer.reset()
        server = hostile.Scripted(HOME, HERE, w.port(), breaks)
        visit = tls.inside(ca, d, SOCKS5, (HERE, server.port))
        visit.sock.sendall(b"x")
        try:
            while visit.sock.recv(100):
                pass
            tap.fail("close_notify, though the target has reset the connection")
        except ConnectionError:
            pass
        tap.same(d.session(visit)["end"], "reset-by-target")

    def bare_end():
        """Who was told of our end may close without a word."""
        server = hostile.Scripted(HOME, HERE, w.port(), lambda peer: peer.say(b"all"))
        d = tls.secure(ca, cert)
        visit = tls.inside(ca, d, SOCKS5, (HERE, server.port))
        tap.same(visit.rest(), b"all")
        visit.sock.bare_end()
        tap.same(d.session(visit)["end"], "closed")

    def crowd():
        """Those who do not go when they were refused are few at any time, and none after a while."""
        d = tls.secure(ca, cert, "--deny", f"to={HERE}")
        pid = d.workers()[0]
        tls.inside(ca, d, SOCKS5, (HERE, 1)).close()
        wait_until(lambda: d.lines("session"), "the first one ends")
        base = daemon.descriptors(pid)
        begun, visits = [], []
        for _ in range(640):
            begun.append(time.monotonic())
            visits.append(tls.inside(ca, d, SOCKS5, (HERE, 1)))
        tap.same({visit.code for visit in visits}, {2})
        wait_until(lambda: daemon.descriptors(pid) <= base + 512, "as many as are let wait", 5)
        held, now = daemon.descriptors(pid) - base, time.monotonic()
        young = sum(now - at < 4 for at in begun)  # of five seconds that each has
        tap.holds(held >= min(young, 500), f"{held} are let wait, of {young} that have come just now")
        wait_until(lambda: daemon.descriptors(pid) <= base, "descriptors", 20)
        for visit in visits:
            visit.close()

    def slow_reader():
        """What the daemon holds for a client that does not read is bounded; idle costs no time."""
        def flood(peer):
            peer.sock.settimeout(None)
            while True:
                peer.say(bytes(1 << 20))
        server = hostile.Scripted(HOME, HERE, w.port(), flood)
        d = tls.secure(ca, cert)
        before = daemon.own_kib(d.workers()[0])
        visits = [tls.inside(ca, d, SOCKS5, (HERE, server.port)) for _ in range(8)]
        time.sleep(1)
        busy = daemon.cpu_seconds(d.workers()[0])
        time.sleep(0.5)
        tap.holds(daemon.cpu_seconds(d.workers()[0]) - busy < 0.1, "it waits")
        tap.holds(daemon.own_kib(d.workers()[0]) - before < 8 * 600 + 2000 or daemon.is_sanitized(w), "memory is bounded")
        for visit in visits:
            tap.same(len(visit.read(1 << 20)), 1 << 20)
            visit.close()

    def leftovers():
        """Nothing is left of many connections that ended in every way."""
        server = hostile.Scripted(HOME, HERE, w.port(), tls.echo)
        d = tls.secure(ca, cert)
        tls.inside(ca, d, SOCKS5, (HERE, server.port)).close()
        wait_until(lambda: d.lines("session"), "the first one ends")
        fds = daemon.descriptors(d.workers()[0])
        for n in range(60):
            visit = tls.inside(ca, d, SOCKS5, (HERE, server.port))
            if n % 4 == 0:
                tls.echoes(visit, bytes(300_000))
            (visit.sock.finish, visit.sock.reset, visit.close, lambda: None)[n % 4]()
            visit.close()
        wait_until(lambda: len(d.lines("session")) == 61, "all are logged")
        wait_until(lambda: daemon.descriptors(d.workers()[0]) <= fds, "descriptors", 8)

    yield "50 MB both ways at once", both_ways
    yield "half-close", half_close
    yield "resets", resets
    yield "an end without a word", bare_end
    yield "clients that do not read", slow_reader
    yield "clients that do not go", crowd
    yield "nothing is left", leftovers


def behind(w, ca, cert, target):
    def line():
        """A PROXY line is never encrypted; TLS begins behind it, in one segment or byte by byte."""
        d = tls.secure(ca, cert, more="proxy_protocol = true", conf='allow all { from = {"192.0.2.7", "127.0.0.0/8"} }\n')
        text = b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 1080\r\n"

        def wrap(sock, gap):
            sock.sendall(text) if not gap else [(sock.sendall(bytes([b])), time.sleep(0.001)) for b in text]
            return ca.wrap()(sock)
        for gap in (False, True):
            with Visit(d.at, SOCKS5, target, ns=HOME, wrap=lambda sock, g=gap: wrap(sock, g)) as visit:
                tap.same(visit.code, 2, "from outside to loopback is refused: the address is the line's")
        sock = dial(d.at, HOME)
        hello = tls.hello(ca)
        sock.sendall(text + hello)
        tap.same(sock.recv(1), b"\x16", "one segment")
        sock.close()
        lines = wait_until(lambda: d.lines("session")[2:], "all are logged")
        tap.same({s["client"] for s in lines}, {"192.0.2.7:4711"})

    def unix():
        path = f"{w.dir}/tls.sock"
        d = Daemon(w, conf=f'listen u {{ url = "https://unix:{path}" cert = "{cert[0]}" key = "{cert[1]}" }}\n', listens=0)
        wait_until(lambda: os.path.exists(path), "it listens")
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(10)
        sock.connect(path)
        tls = ca.wrap()(sock)
        tls.sendall(b"\5\1\0")
        tap.same(tls.recv(2), b"\5\0")
        tls.close()

    def drain():
        """SIGTERM waits for what is under way inside TLS."""
        d = tls.secure(ca, cert)
        visit = tls.inside(ca, d, SOCKS5, target)
        d.signal(15)
        wait_until(lambda: "draining" in d.log(), "it drains")
        tls.echoes(visit, bytes(500_000))
        visit.sock.finish()
        tap.same(visit.rest(), b"")
        visit.close()
        tap.same(d.end(), 0)
        tap.same(d.session(visit)["end"], "closed")

    def confined():
        """A worker with TLS that was taken over can do as little as any other; one with a sanitizer is
        not confined."""
        if daemon.is_sanitized(w):
            return
        escape = f"{w.dir}/escape"
        text = f'listen t {{ url = "https://{HERE}:0" cert = "{cert[0]}" key = "{cert[1]}" }}\n'
        words = ("env", f"ESCAPE={escape}", f"LD_PRELOAD={w.probe('confine_probe.so')}")
        d = Daemon(w, conf=text, listens=1, words=words)
        with tls.inside(ca, d, SOCKS5, target) as visit:
            tls.echoes(visit, bytes(200_000))
        got = dict(line.split()[1:] for line in d.log().splitlines() if line.startswith("probe "))
        want = {"read": 0, "make": errno.EACCES, "write": errno.EACCES}
        want |= dict.fromkeys(("remove", "mkdir", "execute", "trace", "unshare", "signal", "root"), errno.ENOSYS)
        tap.same({name: int(got[name]) for name in want}, want)
        tap.holds(not os.path.exists(escape), "nothing was made")

    yield "a PROXY line, then TLS", line
    yield "TLS on a unix socket", unix
    yield "draining", drain
    yield "a worker with TLS is confined", confined


def cases(w):
    server = hostile.Scripted(HOME, HERE, w.port(), tls.echo)
    ca = Authority(w)
    cert = ca.sign(HERE, "localhost")
    yield from ends(w, ca, cert)
    yield from behind(w, ca, cert, (HERE, server.port))


if __name__ == "__main__":
    world.main(cases, ("openssl", "stunnel4"))
