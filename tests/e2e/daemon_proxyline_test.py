#!/usr/bin/env python3
"""viaductd and the PROXY protocol: in, behind HAProxy and by the letter; out, to its first hop."""

import os
import signal
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, tap, world
from lib.daemon import HOME, Daemon
from lib.visit import HTTP, SOCKS4A, SOCKS5, dial
from lib.web import Web
from lib.world import APP, APP6, NEAR, NEAR6, ORIGIN, wait_until

SIGN = b"\r\n\r\n\0\r\nQUIT\n"
HERE = "127.0.0.1"
ALLOW = 'allow app { from = {"10.1.0.0/24", "fd01::/64"} to = {"*"} }\n'


def listener(at=HERE, more=""):
    return f'listen farm {{ url = "{at}:0" proxy_protocol = true }}\n{more}'


def v1(source, target=("192.0.2.1", 1080)):
    return f"PROXY TCP4 {source[0]} {target[0]} {source[1]} {target[1]}\r\n".encode()


def v2(source, target=("192.0.2.1", 1080), command=0x21, more=b""):
    body = socket.inet_aton(source[0]) + socket.inet_aton(target[0]) + struct.pack("!HH", source[1], target[1]) + more
    return SIGN + bytes([command, 0x11]) + struct.pack("!H", len(body)) + body


def echo(peer):
    peer.sock.settimeout(None)
    while data := peer.sock.recv(65536):
        peer.say(data)


def haproxy(w, name, text):
    """HAProxy on the proxy host; its first port is waited for."""
    conf = w.file(f"{name}.cfg", "global\n  maxconn 2000\ndefaults\n  mode tcp\n  timeout connect 1s\n  timeout client 20s\n"
                                 f"  timeout server 20s\n  retries 3\n  option redispatch\n{text}")
    port = int(text.split("bind ", 1)[1].split()[0].rsplit(":", 1)[1])
    return w.serve(name, HOME, ["haproxy", "-db", "-f", conf], port)


def incoming(w, target):
    d = Daemon(w, conf=listener(more=ALLOW), listens=1)

    def says(line, how="flight", way=SOCKS5):
        """What a client's handshake behind this line gets; the log's line."""
        sock = dial(d.at, HOME)
        text = line + b"".join(way.messages(target)) + b"early"
        for piece in (text,) if how == "flight" else (text[:how], text[how:]):
            sock.sendall(piece)
            time.sleep(0.001 if how != "flight" else 0)
        return sock

    def heard(sock):
        data = b""
        try:
            while not data.endswith(b"early") and (more := sock.recv(4096)):
                data += more
        except ConnectionResetError:
            pass
        sock.close()
        return data

    def versions():
        for number, (line, client) in enumerate(((v1((APP, 40001)), f"{APP}:40001"), (v2((APP, 40002)), f"{APP}:40002"),
                                                 (v2((APP, 40003), more=b"\x04\0\x01x" * 100), f"{APP}:40003"),
                                                 (b"PROXY TCP6 fd01::9 fd01::1 40004 1080\r\n", "[fd01::9]:40004"))):
            for way in (SOCKS5, SOCKS4A, HTTP):
                got = heard(says(line, way=way))
                tap.holds(got.endswith(b"early"), f"{number}: {got}")
            wait_until(lambda: sum(s["client"] == client for s in d.lines("session")) == 3, f"lines of {client}")

    def segments():
        for line in (v1((APP, 41000)), v2((APP, 41001), more=b"\x04\0\x01x")):
            for cut in range(1, len(line) + 30):
                tap.holds(heard(says(line, how=cut)).endswith(b"early"), f"split at {cut}")

    def judged():
        """The address told is the one that counts: allowed, not allowed, and no longer this machine's."""
        tap.holds(heard(says(v1((APP, 42000)))).endswith(b"early"), "allowed")
        tap.same(heard(says(v1(("10.9.0.1", 42001))))[:4], b"\5\0\5\2", "not allowed")
        guarded = Daemon(w, conf=listener(more='allow all { }\n'), listens=1)
        sock = dial(guarded.at, HOME)
        sock.sendall(v2((APP, 42002)) + b"".join(SOCKS5.messages((HERE, target[1]))))
        tap.same(heard(sock)[:4], b"\5\0\5\2", "loopback, for who came from elsewhere")

    def local():
        """LOCAL and UNKNOWN leave the connection's own address."""
        own = Daemon(w, conf=listener(more='allow me { from = {"127.0.0.1"} }\n'), listens=1)
        for line in (v2((APP, 43000), command=0x20), SIGN + b"\x20\0\0\0", b"PROXY UNKNOWN\r\n", SIGN + b"\x21\0\0\0"):
            sock = dial(own.at, HOME)
            sock.sendall(line + b"".join(SOCKS5.messages(target)) + b"early")
            tap.holds(heard(sock).endswith(b"early"), f"{line}")

    def refused(line):
        sock = dial(d.at, HOME)
        host, port = sock.getsockname()
        sock.sendall(line + b"".join(SOCKS5.messages(target)) + b"early")
        tap.same(heard(sock), b"", "not a word")
        line = wait_until(lambda: [s for s in d.lines("session") if s["client"] == f"{host}:{port}"], "a line")[0]
        tap.same([line["end"], line["protocol"]], ["bad-proxy-line", "unknown"])

    def late():
        t = Daemon(w, conf=listener(more=ALLOW + "timeouts { handshake = 0.3 }\n"), listens=1)
        for text in (b"", b"PROXY TCP4 10.1", SIGN, v1((APP, 1))):
            sock = dial(t.at, HOME)
            began = time.monotonic()
            sock.sendall(text)
            tap.same(heard(sock), b"")
            tap.holds(0.25 < time.monotonic() - began < 5, "in time")
        wait_until(lambda: [s["end"] for s in t.lines("session")] == ["handshake-timeout"] * 4, "the log")

    def never_by_itself():
        plain = Daemon(w)
        sock = dial(plain.at, HOME)
        sock.sendall(v1((APP, 44000)) + b"".join(SOCKS5.messages(target)))
        tap.holds(b"400 Bad Request" in heard(sock), "where no line is awaited it is nonsense")

    def open_to_all():
        for more in ("", 'deny x { to = {"*:25"} }\n'):
            got = w.run(HOME, [w.viaductd, "-f", w.file("open.conf", listener(more=more))], timeout=5)
            tap.holds(got.code == 1 and b"open to everybody" in got.err, got.err)

    yield "both versions", versions
    yield "split at every byte", segments
    yield "the address that was told is judged", judged
    yield "LOCAL and UNKNOWN", local
    for line in (b"", b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", b"proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n", b"PROXY " + b"x" * 200,
                 SIGN + b"\x22\x11\0\x0c" + b"x" * 12, SIGN + b"\x21\x12\0\x0c" + b"x" * 12,
                 SIGN + b"\x21\x11\xff\xff" + b"x" * 100, b"GET http://a/ HTTP/1.1\r\n"):
        yield f"instead of a line {ascii(line[:24])}", lambda x=line: refused(x)
    yield "a line that does not come", late
    yield "it is never recognized by itself", never_by_itself
    yield "on loopback too somebody says for whom it is", open_to_all


def balancers(w, target):
    def behind(version, check):
        """HAProxy before viaductd: IPv4 and IPv6, and its health checks, which are nobody's sessions."""
        d = Daemon(w, conf=listener(more=ALLOW), listens=1)
        port = w.port()
        haproxy(w, f"ha.{port}", f"listen in\n  bind 0.0.0.0:{port}\n  bind [::]:{port} v6only\n"
                                 f"  server a 127.0.0.1:{d.port} {version} {check}\n")
        for at, client in ((NEAR, APP), (NEAR6, f"[{APP6}]")):
            for way in (SOCKS5, HTTP):
                visit = d.visit(way, target, at=(at, port), ns="app")
                tap.holds(visit.ok, f"{way.name} through {at}")
                visit.sock.sendall(b"ping")
                tap.same(visit.read(4), b"ping")
                line_of = f"{client}:{visit.local[1]}"
                visit.close()
                wait_until(lambda: [s for s in d.lines("session") if s["client"] == line_of], f"a line of {line_of}")
        if check:
            time.sleep(0.4)
            tap.holds(d.running() and not [s for s in d.lines("session") if s["end"] == "bad-proxy-line"], d.log())

    def one_of_two():
        """Two viaductd behind HAProxy, one of them killed under load: new connections all succeed."""
        farm = [Daemon(w, conf=listener(more=ALLOW), listens=1) for _ in range(2)]
        port = w.port()
        lines = "".join(f"  server s{i} 127.0.0.1:{d.port} send-proxy-v2 check inter 100ms\n" for i, d in enumerate(farm))
        haproxy(w, f"ha.{port}", f"listen in\n  bind 0.0.0.0:{port}\n  balance roundrobin\n{lines}")
        good, bad, stop = [], [], threading.Event()

        def load():
            while not stop.is_set():
                began = time.monotonic()
                try:
                    visit = farm[0].visit(SOCKS5, target, at=(NEAR, port), ns="app")
                    visit.sock.sendall(b"ping")
                    ok = visit.ok and visit.read(4) == b"ping"
                    visit.close()
                except OSError:
                    ok = False
                (good if ok else bad).append(began)
        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.7)
        gone = farm[0].workers()
        farm[0].signal(signal.SIGKILL)
        wait_until(lambda: not any(os.path.exists(f"/proc/{pid}/exe") for pid in gone), "its workers are gone")
        killed = time.monotonic()
        time.sleep(1.5)
        stop.set()
        for thread in threads:
            thread.join()
        after = [t for t in bad if t > killed + 0.05]
        tap.holds(len(good) > 50 and not after, f"{len(good)} good; after the end of one {len(after)} failed")
        for d in farm:
            tap.holds(all(s["client"].startswith(APP) for s in d.lines("session") if s["end"] == "closed"), "whose they are")

    yield "behind HAProxy, send-proxy", lambda: behind("send-proxy", "")
    yield "behind HAProxy, send-proxy-v2, with its checks", lambda: behind("send-proxy-v2", "check inter 50ms")
    yield "behind HAProxy, one of two killed", one_of_two


def outgoing(w, target):
    def upstream(version, hop):
        return Daemon(w, conf=f'listen a {{ url = "{NEAR}:0" }}\nallow all {{ to = {{"0.0.0.0/0"}} }}\n'
                              f'upstream {{ hops = {{"{hop}"}} proxy_protocol = "{version}" }}\n', listens=1)

    def exact(version):
        heard = []

        def script(peer):
            heard.append(peer.read_until(b"\r\n") if version == "v1" else peer.read(28))
            hostile.accept_as("socks5h", peer)
            echo(peer)
        server = hostile.Scripted(HOME, HERE, w.port(), script)
        d = upstream(version, f"socks5h://{HERE}:{server.port}")
        visit = d.visit(SOCKS5, target, at=(NEAR, d.port), ns="app")
        tap.holds(visit.ok, "reply")
        visit.sock.sendall(b"ping")
        tap.same(visit.read(4), b"ping")
        line = (v1 if version == "v1" else v2)(visit.local, (NEAR, d.port))
        tap.same(heard, [line])

    def chained():
        """viaductd to viaductd: the second knows the client; requests for URLs too."""
        second = Daemon(w, conf=listener(more='allow app { from = {"10.1.0.0/24"} to = {"0.0.0.0/0"} }\n'), listens=1)
        d = upstream("v2", f"socks5h://{HERE}:{second.port}")
        visit = d.visit(HTTP, target, at=(NEAR, d.port), ns="app")
        tap.holds(visit.ok, "reply")
        visit.close()
        tap.same(second.session(visit)["client"], f"{visit.local[0]}:{visit.local[1]}")
        web = Web(w, "origin", ORIGIN)
        got = w.run("app", ["curl", "-sS", "-x", f"http://{NEAR}:{d.port}", f"http://{web.at}/", f"http://{web.at}/2"])
        tap.holds(got.code == 0 and got.out.count(b"\n") == 2, str(got))

    def to_haproxy():
        """HAProxy's accept-proxy reads what we write."""
        inner = Daemon(w, conf=listener(more=ALLOW), listens=1)
        port = w.port()
        haproxy(w, f"ha.{port}", f"listen in\n  bind {HERE}:{port} accept-proxy\n  server a 127.0.0.1:{inner.port} send-proxy\n")
        for version in ("v1", "v2"):
            d = upstream(version, f"http://{HERE}:{port}")
            visit = d.visit(SOCKS5, target, at=(NEAR, d.port), ns="app")
            tap.holds(visit.ok, f"{version}: reply")
            visit.close()
            tap.same(inner.session(visit)["client"], f"{visit.local[0]}:{visit.local[1]}")

    for version in ("v1", "v2"):
        yield f"to a hop, {version}", lambda v=version: exact(v)
    yield "viaductd to viaductd", chained
    yield "to HAProxy", to_haproxy


def cases(w):
    server = hostile.Scripted("origin", ORIGIN, w.port(), echo)
    for part in (incoming, balancers, outgoing):
        yield from part(w, (ORIGIN, server.port))


if __name__ == "__main__":
    world.main(cases, ("ip", "haproxy", "curl"))
