#!/usr/bin/env python3
"""viaductd's other listeners: unix sockets, what netfilter redirected, fixed targets; and marks."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import daemon, hostile, netns, servers, tap, world
from lib.daemon import HOME, Daemon
from lib.upstreams import VANISH
from lib.visit import HTTP, SOCKS5, dial, reset
from lib.web import Client, Web, get
from lib.world import APP, FAR, NEAR, NEAR6, ORIGIN, ORIGIN6, wait_until

HERE = "127.0.0.1"


def echo(peer):
    """Says from where it is visited and where it is, then everything back."""
    seen, own = peer.sock.getpeername()[:2], peer.sock.getsockname()[:2]
    peer.say(f"{seen[0]} {own[0]} {own[1]}\n".encode())
    peer.sock.settimeout(None)
    while data := peer.sock.recv(65536):
        peer.say(data)


def line_of(sock):
    line = b""
    while not line.endswith(b"\n"):
        byte = sock.recv(1)
        if not byte:
            return line
        line += byte
    return line


def exactly(sock, count):
    data = b""
    while len(data) < count and (more := sock.recv(count - len(data))):
        data += more
    return data


def least_of(counts, least):
    return counts if min(counts) >= least else None


def is_reset(at, ns):
    """Whether a connection is reset, maybe before it is known to stand."""
    try:
        sock = dial(at, ns)
        tap.same(sock.recv(1), None, "an end in order, or data")
    except ConnectionResetError:
        return True


class Unix:
    """A server on a unix socket that says its name."""

    def __init__(self, path, name):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.name = name.encode()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            sock, _ = self.listener.accept()
            with contextlib.suppress(BrokenPipeError), sock:  # a check has gone already
                sock.sendall(self.name + b"\n")


def unix_dial(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10)
    sock.connect(path)
    return sock


def unix_sockets(w, target):
    def listens(path, more="", **how):
        return Daemon(w, conf=f'listen u {{ url = "unix:{path}" {more} }}\n', listens=0, **how)

    def say(path, way):
        sock = unix_dial(path)
        reply = b""
        for step, wanted in zip(way.messages(target), (2, 10) if way is SOCKS5 else (39,)):
            sock.sendall(step)
            reply = exactly(sock, wanted)
        return sock, reply

    def serves():
        path = f"{w.dir}/serves.sock"
        d = listens(path, workers=2)
        wait_until(lambda: os.path.exists(path) and f"listening on mixed://unix:{path}" in d.log(), "it listens")
        tap.same(os.stat(path).st_mode & 0o777, 0o600, "permissions")
        for way, reply in ((SOCKS5, b"\5\0\0\1"), (HTTP, b"HTTP/1.1 200 Connection established\r\n\r\n")):
            for _ in range(10):
                sock, got = say(path, way)
                tap.holds(got.startswith(reply), got)
                line_of(sock)
                sock.sendall(b"ping")
                tap.same(exactly(sock, 4), b"ping")
                sock.close()
        lines = wait_until(lambda: len(d.lines("session")) == 20 and d.lines("session"), "the log")
        tap.same({(s["client"], s["local"], s["end"]) for s in lines}, {("unix", "unix", "closed")})
        sock = unix_dial(path)
        sock.sendall(b"\5\1\0\5\3\0\1\0\0\0\0\0\0")
        tap.same(exactly(sock, 4), b"\5\0\5\7", "no UDP: there is no address to send to")
        tap.same(d.stop(), 0)
        tap.holds(not os.path.exists(path), "it is gone with its daemon")

    def permissions():
        path = f"{w.dir}/open.sock"
        d = listens(path, 'permissions = "0666"')
        wait_until(lambda: os.path.exists(path), "it listens")
        tap.same(os.stat(path).st_mode & 0o777, 0o666)
        d.stop()

    def stale():
        path = f"{w.dir}/stale.sock"
        first = listens(path)
        wait_until(lambda: os.path.exists(path), "it listens")
        second = w.run(HOME, [w.viaductd, "-f", first.conf], timeout=5)
        tap.holds(second.code == 1 and b"Address already in use" in second.err, str(second))
        tap.holds(say(path, SOCKS5)[1].startswith(b"\5\0"), "the first one is not disturbed")
        for pid in (*first.workers(), first.pid):
            os.kill(pid, signal.SIGKILL)
        first.end()
        tap.holds(os.path.exists(path), "left behind")
        third = listens(path)
        wait_until(lambda: "listening" in third.log(), "the next one takes its place")
        tap.holds(say(path, SOCKS5)[1].startswith(b"\5\0"), "and serves")
        third.stop()
        for make in (lambda p: w.file("a.sock", "a file"), os.mkdir, lambda p: os.symlink("/etc/passwd", p)):
            path = f"{w.dir}/a.sock"
            make(path)
            got = w.run(HOME, [w.viaductd, "-f", w.file("u.conf", f'listen u {{ url = "unix:{path}" }}\n')], timeout=5)
            tap.holds(got.code == 1 and b"Address already in use" in got.err and os.path.lexists(path), str(got))
            os.rmdir(path) if os.path.isdir(path) else os.unlink(path)

    def queued():
        """Who stands in the queue when the end begins is served, as on other listeners."""
        path = f"{w.dir}/queued.sock"
        d = listens(path)
        wait_until(lambda: os.path.exists(path), "it listens")
        worker = wait_until(d.workers, "a worker")[0]
        os.kill(worker, signal.SIGSTOP)
        socks = [unix_dial(path) for _ in range(80)]
        for sock in socks:
            sock.sendall(b"\5\1\0")
        d.signal(signal.SIGTERM)
        time.sleep(0.1)
        os.kill(worker, signal.SIGCONT)
        for sock in socks:
            tap.same(exactly(sock, 2), b"\5\0", "an answer")
            sock.close()
        tap.same(d.end(), 0)

    def curls():
        path = f"{w.dir}/curl.sock"
        web = Web(w, "origin", ORIGIN)
        d = listens(path)
        wait_until(lambda: os.path.exists(path), "it listens")
        got = w.run(HOME, ["curl", "-sS", "-x", f"socks5h://localhost{path}", f"http://{web.at}/x"])
        tap.holds(got.code == 0 and got.out.startswith(b"/x"), str(got))
        d.stop()

    yield "a unix socket", serves
    yield "its permissions", permissions
    yield "one that was left behind, and what is none", stale
    yield "connections queued when the end begins", queued
    yield "curl through a unix socket", curls


def redirected(w, port):
    """What app sends to origin is caught on the way and arrives by viaductd."""
    w.answers_for_others()
    allow = 'allow app { from = {"10.1.0.0/24", "fd01::/64"} }\n'
    d = Daemon(w, conf=f'listen r4 {{ url = "redirect://0.0.0.0:0" }}\nlisten r6 {{ url = "redirect://[::]:0" }}\n'
                       f'deny d {{ to = {{"*:99"}} }}\n{allow}', listens=2)
    web = Web(w, "origin", ORIGIN)
    rules = "".join(f"""table {family} t {{
  chain c {{
    type nat hook prerouting priority -100
    iifname "app1" {family} daddr {net} tcp dport 1-60000 redirect to :{number}
  }}
}}
""" for family, net, number in (("ip", "10.2.0.0/24", d.ports[0]), ("ip6", "fd02::/64", d.ports[1])))
    with netns.inside(HOME):
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)

    def arrives():
        for host, far in ((ORIGIN, FAR), (ORIGIN6, "fd02::1")):
            subprocess.run(["ip", "-n", HOME, "neigh", "flush", "dev", "app1"], check=True)  # asked anew
            sock = dial((host, port), "app")
            local = sock.getsockname()
            tap.same(line_of(sock).decode().split(), [far, host, str(port)], "what the target sees")
            sock.sendall(b"ping")
            tap.same(exactly(sock, 4), b"ping")
            sock.close()
            client = f"[{local[0]}]:{local[1]}" if ":" in host else f"{local[0]}:{local[1]}"
            line = wait_until(lambda c=client: [s for s in d.lines("session") if s["client"] == c], "a line")[0]
            tap.same([line["protocol"], line["target"].rsplit(":", 1)[0].strip("[]"), line["end"]], ["TCP", host, "closed"])

    def program():
        got = w.run("app", ["curl", "-sS", f"http://{web.at}/direct"])
        tap.holds(got.code == 0 and got.out.startswith(b"/direct"), str(got))
        tap.holds("Via:" not in web.take()[0][0], "nothing is touched")

    def refused():
        for host, where in ((ORIGIN, 1), (ORIGIN, 99)):
            tap.holds(is_reset((host, where), "app"), f"{host} {where}")
        wait_until(lambda: [s["error"] for s in d.lines("session") if s["end"] == "refused"]
                   == ["connection_refused", "http_request_denied"], "the log")

    def own():
        """Who comes to the listener itself is not sent back to it."""
        for at, ns in (((NEAR, d.ports[0]), "app"), ((NEAR6, d.ports[1]), "app"), ((HERE, d.ports[0]), HOME)):
            tap.holds(is_reset(at, ns), f"{at}")
        time.sleep(0.1)
        tap.holds(len(d.lines("session")) < 20, "no loop")

    def transparent():
        """TPROXY: the same without a change of addresses; the listener itself is no target either."""
        t = Daemon(w, conf=f'listen t4 {{ url = "tproxy://0.0.0.0:0" }}\nlisten t6 {{ url = "tproxy://[::]:0" }}\n{allow}', listens=2)
        with netns.inside(HOME):
            subprocess.run(["nft", "delete", "table", "ip", "t"], check=True)
            subprocess.run(["nft", "delete", "table", "ip6", "t"], check=True)
            for ip, any_net in (("-4", "0.0.0.0/0"), ("-6", "::/0")):
                subprocess.run(["ip", ip, "rule", "add", "fwmark", "1", "lookup", "100"], check=True)
                subprocess.run(["ip", ip, "route", "add", "local", any_net, "dev", "lo", "table", "100"], check=True)
            subprocess.run(["nft", "-f", "-"], text=True, check=True, input="".join(f"""table {family} tp {{
  chain c {{
    type filter hook prerouting priority mangle
    iifname "app1" {family} daddr {net} meta l4proto tcp tproxy to :{number} meta mark set 1 accept
  }}
}}
""" for family, net, number in (("ip", "10.2.0.2", t.ports[0]), ("ip6", "fd02::2", t.ports[1]))))
        for host, far in ((ORIGIN, FAR), (ORIGIN6, "fd02::1")):
            subprocess.run(["ip", "-n", HOME, "neigh", "flush", "dev", "app1"], check=True)  # asked anew
            sock = dial((host, port), "app")
            tap.same(line_of(sock).decode().split(), [far, host, str(port)], "what the target sees")
            sock.sendall(b"ping")
            tap.same(exactly(sock, 4), b"ping")
            sock.close()
        lines = wait_until(lambda: len(t.lines("session")) == 2 and t.lines("session"), "the log")
        tap.same({line["target"] for line in lines}, {f"{ORIGIN}:{port}", f"[{ORIGIN6}]:{port}"})
        tap.holds(is_reset((NEAR, t.ports[0]), "app"), "the listener itself")

    def marked():
        """Connections of the machine itself are caught but those that bear the mark."""
        m = Daemon(w, conf=f'mark = 77\nlisten r {{ url = "redirect://127.0.0.1:0" }}\n', listens=1)
        with netns.inside(HOME):
            subprocess.run(["nft", "-f", "-"], text=True, check=True, input=f"""
table ip m {{
  chain c {{
    type nat hook output priority -100
    meta mark != 77 ip daddr 10.2.0.0/24 tcp dport {port} redirect to :{m.port}
  }}
}}
""")
        sock = dial((ORIGIN, port), HOME)
        tap.same(line_of(sock).decode().split(), [FAR, ORIGIN, str(port)])
        sock.close()
        wait_until(lambda: len(m.lines("session")) == 1, "caught once")
        with netns.inside(HOME):
            subprocess.run(["nft", "delete", "table", "ip", "m"], check=True)

    yield "what is redirected arrives, IPv4 and IPv6", arrives
    yield "a program that knows of nothing", program
    yield "refusals are resets", refused
    yield "the listener itself is no target", own
    yield "TPROXY", transparent
    yield "a mark keeps our own connections out", marked


def forwarded(w, port):
    def names(d, count, at=None, ns=HOME):
        got = []
        for _ in range(count):
            sock = dial(at or d.at, ns)
            got.append(line_of(sock).decode().split()[-1])
            sock.close()
        return got

    def forwards(targets, more="", conf="", at=HERE, **how):
        listed = ", ".join(f'"{t}"' for t in targets)
        return Daemon(w, conf=f'listen f {{ url = "forward://{at}:0" targets = {{{listed}}} {more} }}\n{conf}', listens=1, **how)
    farm = [hostile.Scripted(HOME, HERE, w.port(), echo) for _ in range(3)]
    targets = [f"{HERE}:{server.port}" for server in farm]
    ports = [str(server.port) for server in farm]

    def one():
        d = forwards([f"origin.test:{port}"], at=NEAR)
        sock = dial((NEAR, d.port), "app")
        tap.same(line_of(sock).split()[2].decode(), str(port))
        sock.sendall(b"x" * 100000)
        sock.shutdown(socket.SHUT_WR)
        data = b""
        while more := sock.recv(65536):
            data += more
        tap.same(len(data), 100000, "bytes there and back, half-close included")

    def roundrobin():
        tap.same(names(forwards(targets), 6), ports * 2)

    def least():
        d = forwards(targets, 'balance = "leastconn"')
        held = {}
        for _ in range(3):
            sock = dial(d.at, HOME)
            held[line_of(sock).decode().split()[-1]] = sock
        tap.same(sorted(held), sorted(ports), "one each")
        free = ports[1]
        held[free].close()
        wait_until(lambda: len(d.lines("session")) == 1, "it has ended")
        tap.same(names(d, 1), [free], "the one without a connection")

    def source():
        d = forwards(targets, 'balance = "source" proxy_protocol = true', 'allow all { }\n')

        def of(host):
            sock = dial(d.at, HOME)
            sock.sendall(f"PROXY TCP4 {host} 192.0.2.1 1 1\r\n".encode())
            return line_of(sock).decode().split()[-1]
        first = {f"10.0.{n}.{n * 7 % 256}": None for n in range(60)}
        for host in first:
            first[host] = of(host)
        tap.same({host: of(host) for host in first}, first, "each client stays with its target")
        counts = [list(first.values()).count(p) for p in ports]
        tap.holds(min(counts) >= 8, f"and all have some: {counts}")

    def next_one():
        """A dead target costs nobody a connection."""
        d = forwards([f"{HERE}:1", targets[0], f"{HERE}:2", "nosuch.test:1", targets[1]])
        tap.same(names(d, 4), [ports[0], ports[1]] * 2)
        dead = forwards([f"{HERE}:1", f"{HERE}:2"])
        tap.holds(is_reset(dead.at, HOME), "a reset")
        wait_until(lambda: [s["error"] for s in dead.lines("session")] == ["connection_refused"], "the log")

    def checked():
        """A target that no longer answers is left out, and taken in again."""
        late = hostile.Scripted(HOME, HERE, w.port(), echo)
        d = forwards([targets[0], f"{HERE}:{late.port}"], "check = 0.05 rise = 2 fall = 2")
        tap.same(sorted(names(d, 4)), sorted([ports[0], str(late.port)] * 2))
        late.stop()
        wait_until(lambda: f"target {HERE}:{late.port} of f is down: connection_refused" in d.log(), "it is down")
        before = len(d.lines("session"))
        tap.same(names(d, 4), [ports[0]] * 4)
        again = hostile.Scripted(HOME, HERE, late.port, echo)
        wait_until(lambda: f"target {HERE}:{late.port} of f is up again" in d.log(), "it is up")
        tap.same(sorted(names(d, 4)), sorted([ports[0], str(late.port)] * 2))
        wait_until(lambda: len(d.lines("session")) == before + 8, "checks are nobody's sessions")
        again.stop()

    def checked_otherwise():
        """A target that swallows everything is down, too; one on a unix socket comes and goes."""
        subprocess.run(["ip", "-n", HOME, "neigh", "replace", VANISH, "lladdr", "02:00:00:00:00:99", "dev", "org1", "nud",
                        "permanent"], check=True)
        path = f"{w.dir}/checked.sock"
        server = Unix(path, "unix-target")
        d = forwards([f"{VANISH}:9", f"unix:{path}"], "check = 0.2 rise = 1 fall = 2")
        wait_until(lambda: f"target {VANISH}:9 of f is down: connection_timeout" in d.log(), "what swallows is down")
        tap.same(names(d, 3), ["unix-target"] * 3, "and left out")
        tap.holds(f"target {path} of f" not in d.log(), d.log())
        server.listener.close()
        os.unlink(path)
        wait_until(lambda: f"target {path} of f is down: " in d.log(), "nobody listens")
        Unix(path, "another")
        wait_until(lambda: f"target {path} of f is up again" in d.log(), "it is back")
        tap.same(names(d, 2), ["another"] * 2)

    def by_all():
        """Several workers take turns together, count together, and check once for all."""
        visits = []

        def counted(peer):
            visits.append(peer.sock.getsockname()[1])
            echo(peer)
        own = [hostile.Scripted(HOME, HERE, w.port(), counted) for _ in range(3)]
        ports = [str(server.port) for server in own]
        tap.same(names(forwards([f"{HERE}:{p}" for p in ports], workers=4), 24), ports * 8, "in turn")
        d = forwards([f"{HERE}:{p}" for p in ports], 'balance = "leastconn" check = 0.2', workers=4)
        before, began = list(visits), time.monotonic()
        checks = wait_until(lambda: least_of([visits[len(before):].count(int(p)) for p in ports], 5), "checks of each target")
        most = (time.monotonic() - began) / 0.2 + 2
        tap.holds(max(checks) <= most, f"checks of each target, at most {most}: {checks}")
        held, got = [], []
        for _ in range(24):
            held.append(dial(d.at, HOME))
            got.append(line_of(held[-1]).decode().split()[-1])
        tap.same([got.count(p) for p in ports], [8, 8, 8], "sessions of each target")
        gone = d.workers()[0]
        theirs = {peer for _, peer in daemon.sockets(HOME, gone)}
        os.kill(gone, signal.SIGKILL)
        wait_until(lambda: f"worker {gone} was ended by signal 9" in d.log() and len(d.workers()) == 4, "it is replaced")
        left = [p for p, sock in zip(got, held) if "{}:{}".format(*sock.getsockname()) not in theirs]
        more = 24 - len(left)
        tap.holds(0 < more < 24, f"{more} sessions ended with their worker")
        again = []
        for _ in range(more):
            again.append(dial(d.at, HOME))
            left.append(line_of(again[-1]).decode().split()[-1])
        tap.same([left.count(p) for p in ports], [8, 8, 8], "what the dead one had is not counted any more")
        for sock in held + again:
            sock.close()

    def to_unix():
        path = f"{w.dir}/target.sock"
        Unix(path, "unix-target")
        d = forwards([f"unix:{path}", targets[0]])
        tap.same(sorted(names(d, 4)), sorted(["unix-target", ports[0]] * 2))
        wait_until(lambda: [s["target"] for s in d.lines("session")].count(f"unix:{path}") == 2, "the log names it")
        from_unix = f"{w.dir}/front.sock"
        Daemon(w, conf=f'listen f {{ url = "forward://unix:{from_unix}" targets = {{"unix:{path}"}} }}\n', listens=0)
        wait_until(lambda: os.path.exists(from_unix), "it listens")
        tap.same(line_of(unix_dial(from_unix)), b"unix-target\n", "unix to unix")

    def introduced():
        """send_proxy tells the target who the client is; another viaductd reads it."""
        inner = Daemon(w, conf=f'listen f {{ url = "forward://{HERE}:0" targets = {{"{targets[0]}"}} proxy_protocol = true }}\n'
                               'allow all { }\n', listens=1)
        for version in ("v1", "v2"):
            d = forwards([f"{HERE}:{inner.port}"], f'send_proxy = "{version}"', at=NEAR)
            sock = dial((NEAR, d.port), "app")
            local = sock.getsockname()
            tap.same(line_of(sock).decode().split()[-1], ports[0])
            sock.close()
            wait_until(lambda a=local: [s for s in inner.lines("session") if s["client"] == f"{APP}:{a[1]}"], "whose it is")

    def chained():
        """To the target by the upstream, as `ssh -L` would."""
        hop = servers.viaductd(w)
        d = forwards([f"v4.origin.test:{port}"], conf=f'upstream {{ hops = {{"{hop.url()}"}} }}\n')
        tap.same(names(d, 2), [str(port)] * 2)
        line = wait_until(lambda: d.lines("session"), "its line")[0]
        tap.holds(line["via"] != "-" and line["peer"].endswith(str(hop.port)), str(line))

    def rules():
        d = forwards(targets[:1], conf='deny app { from = {"10.1.0.2"} }\n', at=NEAR)
        tap.holds(is_reset((NEAR, d.port), "app"), "a reset")
        with netns.inside(HOME):
            tap.same(names(d, 1, (NEAR, d.port)), ports[:1], "who is not denied")

    def http():
        """What passes is not looked at: HTTP stays what it was."""
        web = Web(w)
        d = forwards([web.at])
        c = Client(d)
        c.say(get(web.at))
        tap.same(c.response()[0], 200)
        tap.holds(web.take()[0][0].startswith("GET http://"), "as it came")
        reset(c.sock)

    yield "a fixed target", one
    yield "round robin", roundrobin
    yield "least connections", least
    yield "by source", source
    yield "the next one when one is dead", next_one
    yield "health checks", checked
    yield "health checks of what is silent, and of unix sockets", checked_otherwise
    yield "targets of several workers", by_all
    yield "unix sockets on either end", to_unix
    yield "send_proxy", introduced
    yield "by an upstream", chained
    yield "rules count", rules
    yield "it does not look inside", http


def cases(w):
    port = w.port()
    for address in (ORIGIN, ORIGIN6):
        hostile.Scripted("origin", address, port, echo)
    yield from unix_sockets(w, (ORIGIN, port))
    yield from forwarded(w, port)
    yield from redirected(w, port)


if __name__ == "__main__":
    world.main(cases, ("ip", "nft", "curl"))
