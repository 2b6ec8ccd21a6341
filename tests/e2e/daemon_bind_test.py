#!/usr/bin/env python3
"""viaductd's BIND: both replies on every protocol that has it, where it listens, who is let in, and
how it ends when nobody comes or the client goes."""

import os
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, tap, world
from lib.daemon import HOME, Daemon, cpu_seconds, descriptors, socksify
from lib.visit import SOCKS4, SOCKS4A, SOCKS5, Visit, dial, quiet, reset
from lib.world import APP, FAR, FAR6, NEAR, ORIGIN, ORIGIN6, wait_until

HERE, HERE6, OTHER = "127.0.0.1", "::1", "10.2.0.9"
BIND = 2
SOCKS = (SOCKS4, SOCKS4A, SOCKS5)
LATE = {SOCKS5: 6, SOCKS4: 91, SOCKS4A: 91}
# what: (protocol, host, where it listens, namespace of the peer)
HAPPY = {
    "socks5, IPv4": (SOCKS5, ORIGIN, FAR, "origin"), "socks5, IPv6": (SOCKS5, ORIGIN6, FAR6, "origin"),
    "socks5, a name": (SOCKS5, "v4.origin.test", FAR, "origin"),
    "socks5, a name with IPv6 only": (SOCKS5, "v6.origin.test", FAR6, "origin"),
    "socks5, loopback": (SOCKS5, HERE, HERE, HOME), "socks5, loopback of IPv6": (SOCKS5, HERE6, HERE6, HOME),
    "socks4": (SOCKS4, ORIGIN, FAR, "origin"), "socks4a": (SOCKS4A, "origin.test", FAR, "origin"),
    "socks4a, localhost": (SOCKS4A, "localhost", HERE, HOME)}


def bind(d, way=SOCKS5, host=ORIGIN, port=21, **how):
    return d.visit(way, (host, port), command=BIND, **how)


def peer_of(visit, ns="origin"):
    """Comes as the server does; what the client is told of it is compared."""
    sock = dial(visit.bound, ns)
    tap.holds(visit.second(), f"second reply {visit.code}")
    tap.same(visit.bound, sock.getsockname()[:2], "the peer in the second reply")
    return sock


def exchange(visit, sock):
    data = os.urandom(5000)
    visit.sock.sendall(data)
    got = b""
    while len(got) < len(data):
        got += sock.recv(65536)
    tap.same(got, data, "to the peer")
    sock.sendall(data[::-1])
    tap.same(visit.read(len(data)), data[::-1], "from the peer")


def both_end(visit, sock):
    visit.sock.shutdown(socket.SHUT_WR)
    tap.same(sock.recv(10), b"", "the client's end, at the peer")
    sock.close()
    tap.same(visit.rest(), b"", "the peer's end")


def is_refused(at, ns="origin"):
    try:
        dial(at, ns).close()
    except ConnectionRefusedError:
        return True
    return False


def is_turned_away(at, ns):
    try:
        sock = dial(at, ns)
        sock.recv(1)
    except ConnectionResetError:
        return True
    return False


def well(w):
    d = Daemon(w)

    def happy(way, host, where, ns):
        with bind(d, way, host) as visit:
            tap.same((visit.code, visit.bound[0]), (way.good, where), "first reply")
            listens = visit.bound
            sock = peer_of(visit, ns)
            peer = sock.getsockname()[:2]
            exchange(visit, sock)
            both_end(visit, sock)
            line = d.session(visit)
        tap.same([line["command"], line["end"], line["up"], line["down"]], ["bind", "closed", "5000", "5000"], "log")
        for key, (address, port) in (("out", listens), ("peer", peer)):
            tap.same(line[key], f"[{address}]:{port}" if ":" in address else f"{address}:{port}", f"{key} in the log")
        tap.holds(is_refused(listens, ns), "the port is closed afterwards")

    def segments(way):
        length = len(b"".join(way.messages((ORIGIN, 21), None, BIND)))
        for how in ["flight", "drip", *range(1, length)]:
            with bind(d, way, how=how) as visit:
                tap.same(visit.code, way.good, f"first reply, said as {how}")
                peer_of(visit).close()

    def early(way):
        with bind(d, way, how="flight", early=b"too early") as visit:
            tap.holds(quiet(visit.sock, 0.1), "no second reply before the peer is there")
            visit.sock.sendall(b", both")
            sock = peer_of(visit)
            got = b""
            while len(got) < 15:
                got += sock.recv(100)
            tap.same(got, b"too early, both")
            sock.close()

    def speaks_first():
        with bind(d) as visit:
            sock = dial(visit.bound, "origin")
            sock.sendall(b"hello")
            sock.shutdown(socket.SHUT_WR)
            tap.holds(visit.second(), "second reply")
            tap.same(visit.rest(), b"hello", "what came with the peer")
            sock.close()

    def resets():
        with bind(d) as visit:
            reset(peer_of(visit))
            tap.holds(visit.was_reset(), "the peer's reset reaches the client")
            tap.same(d.session(visit)["end"], "reset-by-target")
        visit = bind(d)
        sock = peer_of(visit)
        reset(visit.sock)
        try:
            tap.fail(f"the peer read {sock.recv(10)}")
        except ConnectionResetError:
            pass

    def dante():
        """As FTP does: the address of an accepting socket is told on a connection, and visited.
        (dante does not know accept4, which Python calls.)"""
        def call_back(peer):
            host, port = peer.read_until(b"\n").decode().split()
            sock = dial((host, int(port)), "origin")
            sock.sendall(b"data connection")
            sock.close()

        wide = Daemon(w, "-a", "from=10.1.0.0/24", listens=(f"{NEAR}:0",))
        server = hostile.Scripted("origin", ORIGIN, w.port(), call_back)
        got = socksify(w, (NEAR, wide.port), f"""
import ctypes, socket
control = socket.create_connection(("{ORIGIN}", {server.port}))
s = socket.socket()
s.bind((control.getsockname()[0], 0))
s.listen(1)
control.sendall(("%s %d\\n" % s.getsockname()).encode())
peer, size = ctypes.create_string_buffer(128), ctypes.c_uint(128)
data = socket.socket(fileno=ctypes.CDLL(None).accept(s.fileno(), peer, ctypes.byref(size)))
print(data.getpeername()[0], data.recv(100, socket.MSG_WAITALL))
""")
        server.stop()
        tap.same((got.code, got.out), (0, f"{ORIGIN} b'data connection'\n".encode()), f"{got}\n{wide.log()}")
        line = wait_until(lambda: [x for x in wide.lines("session") if x["command"] == "bind"], "the session's line")[0]
        tap.same((line["end"], line["down"]), ("closed", "15"), "log")

    for what, row in HAPPY.items():
        yield f"BIND: {what}", lambda r=row: happy(*r)
    for way in SOCKS:
        yield f"BIND: {way.name} split at every byte", lambda y=way: segments(y)
        yield f"BIND: {way.name}: early data waits for the peer", lambda y=way: early(y)
    yield "BIND: the peer speaks first and ends", speaks_first
    yield "BIND: resets are passed on", resets
    yield "BIND: dante's client", dante


def where(w):
    d = Daemon(w, "-a", f"from={APP},{HERE}", listens=("127.0.0.1:0", f"{NEAR}:0"))

    def ip(*words):
        subprocess.run(["ip", "-n", HOME, *words], check=True)

    def as_connect():
        server = hostile.Scripted("origin", ORIGIN, w.port(), hostile.silent)
        ip("addr", "add", f"{OTHER}/24", "dev", "org1")
        try:
            with d.visit(SOCKS5, (ORIGIN, server.port)) as control:
                tap.same(control.bound[0], FAR, "CONNECT")
                ip("route", "change", "10.2.0.0/24", "dev", "org1", "src", OTHER)
                with bind(d) as visit, bind(d, host="v4.origin.test") as named:
                    tap.same([visit.bound[0], named.bound[0]], [FAR, FAR], "as the living CONNECT")
                with bind(d, host="0.0.0.0") as visit:
                    tap.same(visit.bound[0], FAR, "for anyone: as any living CONNECT")
                with bind(d, host="10.2.0.77") as visit:
                    tap.same(visit.bound[0], OTHER, "for another host: as the route says")
                with bind(d, at=(NEAR, d.ports[1]), ns="app") as visit:
                    tap.same(visit.bound[0], OTHER, "for another client: as the route says")
            d.session(control)
            with bind(d) as visit:
                tap.same(visit.bound[0], OTHER, "without one: as the route says")
        finally:
            ip("route", "change", "10.2.0.0/24", "dev", "org1", "src", FAR)
            ip("addr", "del", f"{OTHER}/24", "dev", "org1")
            server.stop()

    yield "BIND: listens where a CONNECT of the same client to the same host came from", as_connect


def who(w):
    d = Daemon(w)
    wide = Daemon(w, "--deny", "from=10.1.0.0/24 to=10.2.0.0/24:99 commands=bind",
                  "-a", "from=10.1.0.0/24 to=*", listens=(f"{NEAR}:0",))

    def strangers():
        with bind(d) as visit:
            for _ in range(12):
                tap.holds(is_turned_away(visit.bound, HOME), "a stranger is reset")
            tap.holds(quiet(visit.sock, 0.05), "the client does not hear of strangers")
            exchange(visit, peer_of(visit))
            line = [x for x in d.lines("bind-stranger") if x["client"] == f"{visit.local[0]}:{visit.local[1]}"]
            tap.same(len(line), 8, "lines about strangers, at most")
            tap.holds(line[0]["peer"].startswith(FAR) and line[0]["target"] == f"{ORIGIN}:21", str(line[0]))

    def one_only():
        with bind(d) as visit:
            at = visit.bound
            sock = peer_of(visit)
            tap.holds(is_refused(at), "the second peer finds nobody")
            exchange(visit, sock)

    def refused(server, code, host=ORIGIN, port=21, way=SOCKS5, ns=HOME):
        with Visit((NEAR if server is wide else HERE, server.port), way, (host, port), command=BIND, ns=ns) as visit:
            tap.same(visit.code, code, "reply")
            tap.same(visit.rest(), b"", "and then the end")
            line = server.session(visit)
            tap.same((line["command"], line["end"]), ("bind", "refused"), "log")

    def anyone():
        with bind(d, host="0.0.0.0", port=0) as visit:
            tap.same(visit.bound[0], HERE, "the address where the client came")
            exchange(visit, peer_of(visit, HOME))
        named = Daemon(w, "--deny", f"from=* to={APP}", "-a", "from=10.1.0.0/24 to=0.0.0.0 commands=bind",
                       listens=(f"{NEAR}:0",))
        with Visit((NEAR, named.port), SOCKS4, ("0.0.0.0", 0), command=BIND, ns="app") as visit:
            tap.same((visit.code, visit.bound[0]), (90, NEAR), "allowed by a rule that names it")
            tap.holds(is_turned_away(visit.bound, "app"), "rules judge who comes")
            exchange(visit, peer_of(visit, HOME))

    def commands():
        server = hostile.Scripted("origin", ORIGIN, w.port(), hostile.silent)
        only = Daemon(w, "-a", "commands=connect")
        with only.visit(SOCKS5, (ORIGIN, server.port)) as visit:
            tap.same(visit.code, 0, "CONNECT")
        refused(only, 2)
        server.stop()

    def login():
        private = Daemon(w, "-u", "alice:secret", "--deny", "users=bob", "-a", "users=alice commands=bind")
        with bind(private, login=("alice", "secret")) as visit:
            exchange(visit, peer_of(visit))
        with bind(private, login=("alice", "wrong")) as visit:
            tap.same((visit.code, visit.bound), (1, None), "a wrong password")
        with bind(private, SOCKS4) as visit:
            tap.same(visit.code, 91, "SOCKS4 has no password")

    yield "BIND: strangers are reset, and it goes on", strangers
    yield "BIND: one peer, then the port is closed", one_only
    yield "BIND: 0.0.0.0", anyone
    yield "BIND: 0.0.0.0 from elsewhere", lambda: refused(wide, 2, "0.0.0.0", ns="app")
    yield "BIND: loopback from elsewhere", lambda: refused(wide, 2, HERE, ns="app")
    yield "BIND: localhost from elsewhere", lambda: refused(wide, 2, "localhost", ns="app")
    yield "BIND: a rule that denies", lambda: refused(wide, 2, ORIGIN, 99, ns="app")
    yield "BIND: a rule that denies a name", lambda: refused(Daemon(w, "--deny", "to=*.origin.test"), 2, "v4.origin.test")
    yield "BIND: rules tell commands apart", commands
    yield "BIND: with a login", login
    yield "BIND: an unknown name", lambda: refused(d, 4, "nothing.test")
    yield "BIND: no route", lambda: refused(d, 3, "2001:db8::1")
    yield "BIND: socks4a cannot tell an IPv6 address", lambda: refused(d, 91, "v6.origin.test", way=SOCKS4A)


def ends(w):
    d = Daemon(w)
    hasty = Daemon(w, conf="timeouts { bind = 0.4 connect = 30 }\n")

    def nobody(way):
        began = time.monotonic()
        with bind(hasty, way) as visit:
            at = visit.bound
            tap.holds(not visit.second(), "the second reply is a refusal")
            took = time.monotonic() - began
            tap.same(visit.code, LATE[way], "its code")
            tap.holds(0.35 < took < 10, f"after {took:.2f} s")
            tap.same(visit.rest(), b"", "then the end")
            tap.holds(is_refused(at), "the port is closed")
            line = hasty.session(visit)
            tap.same((line["end"], line["error"]), ("refused", "connection_timeout"), "log")

    def leaves(how):
        visit = bind(d)
        at = visit.bound
        how(visit)
        tap.same(d.session(visit)["end"], "client-gone", "log")
        tap.holds(is_refused(at), "the port is closed")
        visit.close()

    def leaves_at_once():
        """The end comes with the request."""
        sock = dial(d.at, HOME)
        sock.sendall(b"".join(SOCKS5.messages((ORIGIN, 21), None, BIND)))
        sock.shutdown(socket.SHUT_WR)
        client = f"{HERE}:{sock.getsockname()[1]}"
        line = wait_until(lambda: [x for x in d.lines("session") if x["client"] == client], "the session's line")[0]
        tap.same(line["end"], "client-gone", "log")
        sock.close()

    def in_time():
        """The limit is for the peer to come, not for the connection."""
        with bind(hasty) as visit:
            sock = peer_of(visit)
            time.sleep(0.6)
            exchange(visit, sock)

    def no_leak():
        def round_trip(number):
            visit = bind(d, host="localhost" if number % 5 == 4 else ORIGIN)
            if number % 5 == 0:
                peer_of(visit).close()
            elif number % 5 == 1:
                reset(visit.sock)
            elif number % 5 == 2:
                is_turned_away(visit.bound, HOME)
            visit.close()

        for number in range(5):
            round_trip(number)
        pid = d.workers()[0]
        wait_until(lambda: len(d.lines("session")) > 0, "lines")
        before = wait_until(lambda: descriptors(pid), "descriptors")
        for number in range(100):
            round_trip(number)
        wait_until(lambda: descriptors(pid) <= before, f"descriptors fall back to {before}")
        used = cpu_seconds(pid)
        with bind(d) as visit:
            time.sleep(0.5)
            tap.same(visit.code, 0)
        tap.holds(cpu_seconds(pid) - used < 0.1, "waiting costs nothing")

    def descriptors_run_out():
        words = ["sh", "-c", 'ulimit -n 80 && exec "$0" "$@"']
        short = Daemon(w, words=words)
        pid = short.workers()[0]
        with bind(short) as visit:
            subprocess.run(["prlimit", f"--pid={pid}", f"--nofile={descriptors(pid)}:80"], check=True)
            tap.holds(is_turned_away(visit.bound, "origin"), "the peer is reset")
            tap.holds(not visit.second(), "the second reply is a refusal")
            tap.same(visit.code, 1, "its code")
            subprocess.run(["prlimit", f"--pid={pid}", "--nofile=80"], check=True)

    for way in SOCKS:
        yield f"BIND: {way.name}: nobody comes", lambda y=way: nobody(y)
    yield "BIND: the client closes", lambda: leaves(lambda visit: visit.close())
    yield "BIND: the client resets", lambda: leaves(lambda visit: reset(visit.sock))
    yield "BIND: the client ends its direction", lambda: leaves(lambda visit: visit.sock.shutdown(socket.SHUT_WR))
    yield "BIND: the client ends its direction with the request", leaves_at_once
    yield "BIND: the tunnel outlives the limit", in_time
    yield "BIND: no descriptor for the peer", descriptors_run_out
    yield "BIND: nothing is left behind", no_leak

    def stops():
        for daemon in w.servers:
            tap.same(daemon.stop(), 0, "exit status")

    yield "BIND: every daemon ends well", stops


def cases(w):
    for part in (well, where, who, ends):
        yield from part(w)


if __name__ == "__main__":
    world.main(cases, ("ip", "prlimit", "socksify"))
