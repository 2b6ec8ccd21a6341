#!/usr/bin/env python3
"""viaductd's status page, JSON and metrics: right under load, over crashes and reloads; who may read
them; bad requests. Screenshots of the page under load stay in the build directory."""

import base64
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import daemon, hostile, netns, tap, world
from lib.daemon import HOME, Daemon, reload
from lib.visit import HTTP, SOCKS4A, SOCKS5, dial
from lib.world import NEAR, wait_until

HERE = "127.0.0.1"
CHROMIUM = ["chromium", "--headless", "--disable-gpu", "--no-first-run", "--no-sandbox", "--hide-scrollbars"]


def echo(peer):
    peer.sock.settimeout(None)
    while data := peer.sock.recv(65536):
        peer.say(data)


def echoes(visit, data=b"hello"):
    visit.sock.sendall(data)
    tap.same(visit.read(len(data)), data, "echo")


class Admin(Daemon):
    """A viaductd with a status page, whose port is the last one it tells."""

    def __init__(self, w, *options, listens=(f"{HERE}:0",), admin=f"{HERE}:0", **how):
        super().__init__(w, *options, "--admin", admin, listens=listens, **how)
        wait_until(lambda: re.search(r"listening on admin://\S+\n", self.log()), "the status page")
        port = re.search(r"listening on admin://\S+:(\d+)\n", self.log())
        self.page = (HERE, int(port[1])) if port else None

    def raw(self, data, at=None, ns=HOME, patience=None):
        """The answer to these bytes, which may be a list of pieces."""
        sock = dial(at or self.page, ns)
        sock.settimeout(patience or sock.gettimeout())
        for piece in [data] if isinstance(data, bytes) else data:
            sock.sendall(piece)
        got = b""
        while more := sock.recv(65536):
            got += more
        sock.close()
        return got

    def get(self, path, method="GET", host=HERE, fields="", **how):
        """(status, fields, body)"""
        got = self.raw(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode(), **how)
        head, _, body = got.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        return int(lines[0].split()[1]), dict(line.split(": ", 1) for line in lines[1:]), body

    def status(self):
        code, _, body = self.get("/status.json")
        tap.same(code, 200)
        return json.loads(body)

    def metrics(self):
        """{name with labels: value}"""
        text = self.get("/metrics")[2].decode()
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
        tap.same(len(lines), len(dict(lines)), "each line once")
        return {name: float(value) for name, value in lines}

    def pids(self):
        return [worker["pid"] for worker in self.status()["workers"]]


def told(w, target):
    def numbers():
        """All three tell the same, and what was done."""
        d = Admin(w, "-u", "alice:1", "-u", "bob:2", "--deny", "to=*:25", workers=2)
        held = [d.visit(SOCKS5, target, login=("alice", "1")) for _ in range(3)]
        held.append(d.visit(HTTP, target, login=("bob", "2")))
        for visit in held:
            echoes(visit, b"x" * 1000)
        for _ in range(4):
            with d.visit(SOCKS5, target, login=("bob", "2")) as visit:
                echoes(visit, b"y" * 500)
        d.visit(SOCKS5, target, login=("alice", "wrong"))
        d.visit(HTTP, (HERE, 25), login=("alice", "1"))
        d.visit(SOCKS5, (HERE, 1), login=("alice", "1"))
        wait_until(lambda: len(d.lines("session")) == 7, "the log")
        s = wait_until(lambda: (now := d.status())["totals"]["bytes_up"] >= 6000 and now["open"] == 4 and
                       len(now["sessions"]) == 4 and now, "the sums of running sessions")
        totals = s["totals"]
        tap.same([totals["accepted"], totals["ended"], totals["logins_refused"], totals["bytes_up"], totals["bytes_down"]],
                 [11, 7, 1, 6000, 6000])
        tap.same(totals["results"]["SOCKS5"], {"closed": 4, "refused": 2})
        tap.same(totals["results"]["HTTP"], {"refused": 1})
        tap.same(totals["errors"], {"http_request_denied": 2, "connection_refused": 1})
        rows = {(r["user"], r["protocol"], r["command"], r["target"], r["chain"], r["up"], r["down"]) for r in s["sessions"]}
        at = f"{HERE}:{target[1]}"
        tap.same(rows, {("alice", "SOCKS5", "connect", at, "", 1000, 1000), ("bob", "HTTP", "connect", at, "", 1000, 1000)})
        tap.same({r["client"] for r in s["sessions"]}, {f"{v.local[0]}:{v.local[1]}" for v in held})
        tap.holds(all(0 <= r["age_ms"] < 60000 for r in s["sessions"]), s["sessions"])
        users = {u["name"]: (u["sessions"], u["total"], u["up"], u["down"]) for u in s["users"]}
        tap.same(users, {"alice": (3, 5, 3000, 3000), "bob": (1, 5, 3000, 3000)}, "users")
        tap.same([(c["name"], c["sessions"]) for c in s["clients"]], [(HERE, 4)])
        tap.same([(r["kind"], r["refused"]) for r in s["rules"]], [("rule", 1)])
        m = d.metrics()
        tap.same([m["viaductd_sessions"], m["viaductd_accepted_total"], m['viaductd_bytes_total{direction="up"}']], [4, 11, 6000])
        tap.same(m['viaductd_sessions_total{protocol="SOCKS5",end="refused"}'], 2)
        tap.same(m['viaductd_user_sessions{user="alice"}'], 3)
        tap.same(m['viaductd_user_bytes_total{user="bob",direction="down"}'], 3000)
        page = d.get("/")[2].decode()
        for text in ("alice", "bob", at, "12.0 kB", "http", "refused", "SOCKS5"):
            tap.holds(text in page, f"the page tells {text}")

    def promtool():
        d = Admin(w, "-u", 'a"\\b:1', "--limit", "sessions=1", conf='listen f { url = "forward://127.0.0.1:0" '
                  f'targets = {{"{HERE}:1", "{HERE}:{target[1]}"}} check = 0.1 }}\n', listens=1)
        held = [d.visit(SOCKS5, target, at=(HERE, d.ports[0]), login=('a"\\b', "1")) for _ in range(0)]
        dial((HERE, d.ports[0]), HOME).close()
        wait_until(lambda: d.lines("session"), "a session")
        text = d.get("/metrics")
        tap.same(text[1]["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
        got = subprocess.run(["promtool", "check", "metrics"], input=text[2], capture_output=True, check=False)
        tap.same([got.returncode, got.stdout, got.stderr], [0, b"", b""], "promtool check metrics")
        broken = subprocess.run(["promtool", "check", "metrics"], input=text[2] + b"a{ 1\n", capture_output=True, check=False)
        tap.holds(broken.returncode != 0, "and it can fail")
        del held

    def hops():
        """Targets with their state, from all workers."""
        dead = w.port()
        d = Admin(w, conf=f'listen f {{ url = "forward://{HERE}:0" targets = {{"{HERE}:{dead}", "{HERE}:{target[1]}"}} '
                  'check = 0.05 rise = 1 fall = 2 }\n', listens=1, workers=2)
        wait_until(lambda: "is down" in d.log(), "a dead target")
        held = [dial((HERE, d.ports[0]), HOME) for _ in range(4)]
        s = wait_until(lambda: (now := d.status())["open"] == 4 and sum(h["sessions"] for h in now["hops"]) == 4 and now, "sessions")
        rows = {h["hop"]: h for h in s["hops"]}
        tap.same(sorted(rows), sorted([f"{HERE}:{dead}", f"{HERE}:{target[1]}"]))
        down, up = rows[f"{HERE}:{dead}"], rows[f"{HERE}:{target[1]}"]
        tap.same([down["up"], down["sessions"], down["last_error"], down["group"]], [False, 0, "connection_refused", "f"])
        tap.same([up["up"], up["sessions"], up["tries"], up["last_error"]], [True, 4, 4, ""])
        m = d.metrics()
        tap.same([m[f'viaductd_hop_up{{group="f",hop="{name}"}}'] for name in sorted(rows)],
                 [float(rows[name]["up"]) for name in sorted(rows)])
        for sock in held:
            sock.close()

    def names():
        """Lookups, how long they took, and those in vain; a name that is kept is asked once."""
        d = Admin(w, workers=1)
        for name in ("origin.test", "origin.test", "no.such.test"):
            d.visit(SOCKS5, (name, 9)).close()
        s = d.status()["totals"]
        tap.same([s["lookups"], s["lookups_failed"]], [2, 1])
        text = d.get("/metrics")[2].decode()
        tap.holds('viaductd_dns_lookup_seconds_bucket{le="+Inf"} 2\n' in text and "viaductd_dns_lookup_seconds_count 2\n" in text, text)
        tap.holds(s["lookups_ms"] < 5000, s)

    def bytes_of_names():
        """What a client says stands there escaped, on all three, and changes nothing else."""
        evil = '<script>alert(1)</script>"&\'\\\x7f'
        d = Admin(w, "-u", f"{evil}:1")
        held = d.visit(SOCKS5, target, login=(evil, "1"))
        echoes(held)
        wait_until(lambda: d.status()["sessions"], "a row")
        page = d.get("/")[2].decode()
        tap.holds("<script" not in page and "&lt;script&gt;" in page, "escaped")
        shown = d.status()["sessions"][0]["user"]
        tap.holds(shown.startswith("<script>") and shown.isascii() and "\x7f" not in shown, shown)
        tap.same(d.status()["users"][0]["sessions"], 1)
        got = subprocess.run(["promtool", "check", "metrics"], input=d.get("/metrics")[2], capture_output=True, check=False)
        tap.same(got.returncode, 0, got.stderr)

    def many():
        """More sessions than rows: the newest of each worker; the page says so."""
        d = Admin(w, workers=1)
        held = [d.visit(SOCKS5, target) for _ in range(300)]
        s = wait_until(lambda: (now := d.status()) and f":{held[-1].local[1]}'" in str(now["sessions"]) and now, "the newest")
        tap.same([s["open"], len(s["sessions"])], [300, 256], "sessions and rows")
        tap.holds("the newest 200 of 300" in d.get("/")[2].decode(), "the page")
        for visit in held:
            visit.close()
        wait_until(lambda: (now := d.status())["open"] == 0 and not now["sessions"], "none is left")

    def crowd():
        """More clients than there are rows for them: the busiest, and how many there are in all."""
        d = Admin(w)

        def come(number):
            with netns.inside(HOME):
                sock = socket.socket()
            sock.bind((f"127.1.{number // 250}.{number % 250 + 1}", 0))
            sock.connect(d.at)
            sock.sendall(b"".join(SOCKS5.messages(target)))
            tap.same(sock.recv(2, socket.MSG_WAITALL), b"\5\0")
            return sock
        held = [come(number) for number in range(300)]
        held += [come(number) for number in range(100, 150)]
        s = wait_until(lambda: (now := d.status())["open"] == 350 and now, "all are there")
        tap.same([client["sessions"] for client in s["clients"]], [2] * 50 + [1] * 206, "the busiest")
        tap.holds("the busiest 50 of 300" in d.get("/")[2].decode(), "the page")
        for sock in held:
            sock.close()

    yield "numbers", numbers
    yield "promtool", promtool
    yield "hops and targets", hops
    yield "names that were asked for", names
    yield "bytes that mean something", bytes_of_names
    yield "many sessions", many
    yield "many clients", crowd


def lives(w, target):
    def killed():
        """A worker that was killed has no sessions, right afterwards, and what it carried stays."""
        d = Admin(w, "-u", "a:1", workers=2)
        held = [d.visit(SOCKS5, target, login=("a", "1")) for _ in range(30)]
        for visit in held:
            echoes(visit, b"z" * 100)
        s = wait_until(lambda: (now := d.status())["totals"]["bytes_up"] == 3000 and now, "all is counted")
        gone = max(s["workers"], key=lambda worker: worker["sessions"])
        os.kill(gone["pid"], signal.SIGKILL)
        wait_until(lambda: f"worker {gone['pid']} was ended" in d.log(), "its end")
        s = d.status()
        left = 30 - gone["sessions"]
        tap.same([s["open"], s["users"][0]["sessions"], s["clients"][0]["sessions"]], [left] * 3, "open sessions")
        tap.holds(len(s["sessions"]) == left, f"rows: {len(s['sessions'])}")
        tap.same([s["totals"]["accepted"], s["totals"]["bytes_up"]], [30, 3000], "sums")
        wait_until(lambda: gone["pid"] not in d.pids() and len(d.pids()) == 2, "another worker")
        for visit in held:
            visit.close()
        wait_until(lambda: (now := d.status())["open"] == 0 and now["users"][0]["sessions"] == 0, "none is left")
        tap.same(d.status()["totals"]["ended"], left, "and the others' ends")

    def page_killed():
        """The page's process comes back with its history; nobody else notices."""
        d = Admin(w, workers=1)
        held = d.visit(SOCKS5, target)
        page = [pid for pid in d.workers() if pid not in d.pids()]
        tap.same(len(page), 1, "processes beside the workers")
        os.kill(page[0], signal.SIGKILL)
        wait_until(lambda: "the status page ended; it is replaced" in d.log(), "the log")
        tap.same(wait_until(lambda: d.status()["open"] == 1, "it serves again"), True)
        echoes(held)

    def reloads():
        """Sums go on over a reload; old workers are shown until they end; the page may move, go, come."""
        d = Admin(w, workers=1, conf="")
        held = d.visit(SOCKS5, target)
        before = d.status()
        reload(d, 'limit x { sessions = 100 }\n')
        s = wait_until(lambda: (now := d.status()) and len(now["workers"]) == 2 and now, "old and new")
        tap.same(sorted(worker["draining"] for worker in s["workers"]), [False, True])
        tap.same([s["open"], s["totals"]["accepted"]], [1, before["totals"]["accepted"]])
        tap.holds("ends with its sessions" in d.get("/")[2].decode(), "the page")
        held.close()
        wait_until(lambda: len(d.status()["workers"]) == 1, "one")
        one, other = w.port(), w.port()
        d2 = Daemon(w, conf=f'admin = "{HERE}:{one}"\n')
        wait_until(lambda: netns.listening(HOME, one), "from the file")
        reload(d2, f'admin = "{HERE}:{other}"\n')
        wait_until(lambda: netns.listening(HOME, other) and not netns.listening(HOME, one), "it moves")
        reload(d2, "")
        wait_until(lambda: not netns.listening(HOME, other) and len(d2.workers()) == 1, "it goes")

    def drain():
        """It tells of a drain to its end, and is no reason to stay."""
        d = Admin(w, workers=1)
        held = d.visit(SOCKS5, target)
        d.signal(signal.SIGTERM)
        wait_until(lambda: d.status()["workers"][0]["draining"], "a drain")
        held.close()
        tap.same(d.end(), 0)
        wait_until(lambda: not netns.listening(HOME, d.page[1]), "no process is left")

    def confined():
        d = Admin(w, workers=1, conf='user = "nobody"\n')
        page = [pid for pid in d.workers() if pid not in d.pids()][0]
        with open(f"/proc/{page}/status", encoding="ascii") as file:
            text = file.read()
        status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        tap.same([status["Uid"].split(), status["NoNewPrivs"], status["CapEff"]], [["65534"] * 4, "1", "0" * 16])
        if not daemon.is_sanitized(w):
            tap.same(status["Seccomp"], "2")

        def sockets():
            try:
                links = [os.readlink(f"/proc/{page}/fd/{fd}") for fd in os.listdir(f"/proc/{page}/fd")]
            except FileNotFoundError:  # closed meanwhile
                return None
            return len([link for link in links if link.startswith("socket:")])
        wait_until(lambda: sockets() == 1, "its own door alone is left")

    yield "a worker is killed", killed
    yield "the page's process is killed", page_killed
    yield "reloads", reloads
    yield "a drain", drain
    yield "its process is confined", confined


def asked(w, _target):
    def requests():
        d = Admin(w)
        want = {"/": 200, "/?x=1": 200, "/status.json": 200, "/metrics": 200, "/metrics/": 404, "/favicon.ico": 404, "//": 404,
                "/..": 404, "/status.json%00": 404, f"http://{HERE}/": 400, "*": 400, "": 400, "metrics": 400}
        tap.same({path: d.get(path)[0] for path in want}, want, "paths")
        want = {"GET": 200, "HEAD": 200, "POST": 405, "PUT": 405, "DELETE": 405, "OPTIONS": 405, "get": 405, "TRACE": 400,
                "G ET": 400, "CONNECT": 405}
        tap.same({method: d.get("/", method)[0] for method in want}, want, "methods")
        tap.same(d.get("/", "POST")[1]["Allow"], "GET, HEAD")
        code, fields, body = d.get("/", "HEAD")
        tap.holds(code == 200 and int(fields["Content-Length"]) > 1000 and body == b"", "HEAD has no body")
        policy = d.get("/")[1]["Content-Security-Policy"]
        nonce = re.search(r"style-src 'nonce-([^']{22,})'; ", policy)[1]
        tap.holds("default-src 'none'" in policy and "frame-ancestors 'none'" in policy, policy)
        tap.holds(nonce not in d.get("/")[1]["Content-Security-Policy"], "a nonce for each")
        for path in ("/", "/status.json", "/nothing"):
            fields = d.get(path)[1]
            tap.same([fields["Cache-Control"], fields["X-Content-Type-Options"], fields["Connection"]], ["no-store", "nosniff", "close"])

    def pieces():
        """A head in pieces of every size; a request with a body; more than a head."""
        d = Admin(w)
        head = f"GET /metrics HTTP/1.1\r\nHost: {HERE}\r\nX: y\r\n\r\n".encode()
        for size in (1, 2, 3, 7, 20):
            got = d.raw([head[i:i + size] for i in range(0, len(head), size)])
            tap.holds(got.startswith(b"HTTP/1.1 200 OK\r\n") and b"viaductd_sessions 0\n" in got, f"pieces of {size}")
        got = d.raw(head.replace(b"GET", b"POST").replace(b"X: y", b"Content-Length: 100000") + b"z" * 100000)
        tap.holds(got.startswith(b"HTTP/1.1 405 "), "the refusal arrives, whatever follows")
        tap.holds(d.raw(head + head).count(b"HTTP/1.1 ") == 1, "one request for a connection")

    def bad():
        d = Admin(w)
        host = f"Host: {HERE}\r\n"
        rows = [("GET / HTTP/1.1\r\n\r\n", 400, "no Host"), ("GET / HTTP/1.0\r\n\r\n", 200, "HTTP/1.0 needs none"),
                (f"GET / HTTP/1.1\r\n{host}{host}\r\n", 400, "two"), (f"GET / HTTP/2.0\r\n{host}\r\n", 505, "a version"),
                (f"GET / HTTP/1.1\n{host}\r\n", 400, "a bare LF"), (f"GET / HTTP/1.1\r\nX: \x01\r\n{host}\r\n", 400, "a control byte"),
                (f"GET / HTTP/1.1\r\n{host} folded\r\n\r\n", 400, "a folded line"),
                (f"GET / HTTP/1.1\r\n{host}Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "two lengths"),
                (f"GET / HTTP/1.1\r\n{host}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "two framings"),
                (f"GET / HTTP/1.1\r\n{host}X: {'x' * 9000}\r\n\r\n", 431, "a long field"), ("\x05\x01\x00\r\n\r\n", 400, "SOCKS5"),
                (f"GET /{'x' * 9000} HTTP/1.1\r\n", 431, "a long line"), (f"GET / HTTP/1.1\r\n{host}" + "X:y\r\n" * 300 + "\r\n", 431, "many")]
        for text, status, name in rows:
            got = d.raw(text.encode("latin-1"))
            tap.same(int(got.split()[1]) if got else None, status, name)
        silent = [dial(d.page, HOME) for _ in range(40)]
        for sock in silent[:20]:
            sock.sendall(b"GET / HT")
        for sock in silent:
            sock.close()
        tap.same(d.get("/")[0], 200, "forty that said nothing")

    def late():
        """Who says nothing or half a head is told so and let go; nobody waits for them for ever."""
        d = Admin(w)
        silent = [dial(d.page, HOME) for _ in range(32)]
        for sock in silent[:16]:
            sock.sendall(b"GET / HTTP/1.1\r\n")
        for sock in silent:
            sock.settimeout(40)
        tap.holds(d.raw(b"GET / HTTP/1.0\r\n\r\n", patience=40).startswith(b"HTTP/1.1 200 "), "behind them")
        for sock in silent:
            tap.same(sock.recv(26, socket.MSG_WAITALL), b"HTTP/1.1 408 Request Timeo", "who was too late")
        page = next(pid for pid in d.workers() if pid not in d.pids())
        for sock in silent:
            sock.close()
        wait_until(lambda: daemon.descriptors(page) < 16, "all are gone")

    def rebinding():
        """A name that somebody leads here is not served; an address and localhost are."""
        d = Admin(w)
        want = {HERE: 200, f"{HERE}:{d.page[1]}": 200, "localhost": 200, "LocalHost:1": 200, "[::1]:80": 200, "10.0.0.1": 200,
                "evil.example": 421, f"evil.example:{d.page[1]}": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example": 421,
                "": 421, "@": 421}
        tap.same({host: d.get("/status.json", host=host)[0] for host in want}, want)
        tap.same({host: d.get("/", host=host)[0] for host in want}, want)

    def unix():
        path = f"{w.dir}/admin.sock"
        d = Admin(w, admin=f"unix:{path}")
        tap.same(os.stat(path).st_mode & 0o777, 0o600)
        got = w.run(HOME, ["curl", "-sf", "--unix-socket", path, "http://localhost/metrics"])
        tap.holds(got.code == 0 and b"\nviaductd_sessions 0\n" in got.out, got)
        tap.same(d.stop(), 0)
        tap.holds(not os.path.exists(path), "its path is removed")

    def wider():
        """What others can reach needs a login; so it does without, on loopback, if there is one."""
        for place in ("0.0.0.0:0", "[::]:0", f"{NEAR}:0"):
            got = w.run(HOME, [w.viaductd, "--admin", place, "--check-config"])
            tap.holds(got.code == 1 and b"everybody could read the status page" in got.err, got)
        for text in ("h:x", "unix:x", "1.2.3.4:70000", "http://1.2.3.4:5", ""):
            got = w.run(HOME, [w.viaductd, "--admin", text, "--check-config"])
            tap.holds(got.code == 1 and b"--admin: bad admin `" in got.err, got)
        hashed = os.popen("openssl passwd -6 se:cret").read().strip()
        d = Admin(w, admin=f"{NEAR}:0", conf=f'admin_login = "root:{hashed}"\n')
        at = (NEAR, d.page[1])

        def ask(login, path="/", host=NEAR):
            fields = f"Authorization: Basic {base64.b64encode(login.encode()).decode()}\r\n" if login else ""
            return d.get(path, host=host, fields=fields, at=at, ns="app")
        tap.same([ask(None)[0], ask(None, "/nothing")[0], ask("root:se:cret")[0], ask("root:se:cret", "/nothing")[0]], [401, 401, 200, 404])
        tap.same(ask(None)[1]["WWW-Authenticate"], 'Basic realm="viaductd"')
        tap.same([ask(login)[0] for login in ("root:secret", "root:", "root", ":se:cret", "roo:se:cret", "roott:se:cret", "root:se:cret\0",
                                              "x" * 300 + ":y")], [401] * 8)
        tap.same(ask("root:se:cret", host="gw.example")[0], 200, "a name is no way in without the login")
        printed = w.run(HOME, [w.viaductd, "-f", d.conf, "--admin", f"{NEAR}:1", "--print-config"])
        tap.holds(hashed.encode() not in printed.out and f'admin = "{NEAR}:1"'.encode() in printed.out, printed)

    def secrets():
        """No password, of a user or of a hop, on any of them."""
        d = Admin(w, "-u", "alice:hidden1", "-x", f"socks5h://bob:hidden2@{HERE}:{w.port()}")
        d.visit(SOCKS5, ("a.test", 80), login=("alice", "hidden1"))
        d.visit(SOCKS5, ("a.test", 80), login=("alice", "hidden3"))
        text = b"".join(d.get(path)[2] for path in ("/", "/status.json", "/metrics")) + d.log().encode()
        tap.holds(b"alice" in text and b"hidden" not in text, "a secret")

    yield "requests", requests
    yield "requests in pieces", pieces
    yield "bad requests", bad
    yield "late requests", late
    yield "names that lead here", rebinding
    yield "a unix socket", unix
    yield "a wider address", wider
    yield "secrets", secrets


PICTURE_S = int(os.environ.get("VIADUCT_TEST_PICTURE", "6"))  # of load; more for a picture to look at


def pixels(path):
    """(width, height, colours) of a PNG with 8 bits a channel, as far as its rows need no neighbours to tell."""
    with open(path, "rb") as file:
        data = file.read()
    tap.holds(data.startswith(b"\x89PNG\r\n\x1a\n"), "a PNG")
    width, height = struct.unpack("!II", data[16:24])
    at, packed = 8, b""
    while at < len(data):
        size, kind = struct.unpack("!I4s", data[at:at + 8])
        packed += data[at + 8:at + 8 + size] if kind == b"IDAT" else b""
        at += size + 12
    return width, height, len(set(zlib.decompress(packed)))


def seen(w, target):
    def shown():
        """In a browser, under load, light and dark: the page is drawn, by its own style, and nothing of it is refused."""
        block, stop = os.urandom(1 << 16), threading.Event()

        def source(peer):
            peer.sock.settimeout(None)
            while not stop.is_set():
                peer.say(block)
        flood, dead = hostile.Scripted(HOME, HERE, w.port(), source, backlog=64), w.port()
        conf = (f'listen main {{ url = "mixed://{HERE}:0" }}\n'
                f'listen db {{ url = "forward://{HERE}:0" targets = {{"{HERE}:{target[1]}", "{HERE}:{dead}"}} check = 0.5 fall = 1 }}\n'
                'deny smtp { to = {"*:25"} }\nlimit crowd { per = "user" users = {"carol"} sessions = 2 }\n'
                'limit pace { per = "session" rate = "3M" }\n')
        d = Admin(w, *[word for name in ("alice", "bob", "carol") for word in ("-u", f"{name}:1")], conf=conf, listens=2, workers=2)

        def stream(name):
            with d.visit(SOCKS5, (HERE, flood.port), login=(name, "1")) as visit:
                while not stop.is_set() and visit.sock.recv(1 << 16):
                    pass

        def visits(way, port, login=None, gap=0.02):
            while not stop.is_set():
                try:
                    with d.visit(way, (HERE, port), login=login) as visit:
                        if visit.ok:
                            echoes(visit, b"q" * 3000)
                except OSError:
                    pass
                stop.wait(gap)
        jobs = [(stream, (name,)) for name in ("alice", "alice", "bob")]
        jobs += [(visits, (SOCKS5, target[1], ("alice", "1"), 0.01)), (visits, (HTTP, target[1], ("bob", "1"))),
                 (visits, (SOCKS5, 25, ("bob", "1"), 0.3)), (visits, (SOCKS4A, target[1], None, 0.5)),
                 (visits, (SOCKS5, target[1], ("bob", "wrong"), 0.4)), (visits, (HTTP, dead, ("alice", "1"), 0.3))]
        threads = [threading.Thread(target=job, args=args) for job, args in jobs]
        for thread in threads:
            thread.start()
        held = [d.visit(SOCKS5, target, login=("carol", "1")) for _ in range(4)]
        idle = [dial((HERE, d.ports[1]), HOME) for _ in range(3)]
        time.sleep(PICTURE_S)
        try:
            for mode, words in (("light", []), ("dark", ["--blink-settings=preferredColorScheme=0"])):
                home = f"{w.dir}/chromium.{mode}"
                os.mkdir(home)
                path = f"{w.build}/status-{mode}.png"
                if os.path.exists(path):
                    os.unlink(path)
                got = w.run(HOME, [*CHROMIUM, *words, f"--user-data-dir={home}/profile", "--window-size=1280,1500", "--enable-logging=stderr",
                                   f"--screenshot={path}", f"http://{HERE}:{d.page[1]}/"], env={"HOME": home}, cwd=home, timeout=50)
                tap.same(got.code, 0, f"exit code of {got}")
                tap.holds(b"Content Security Policy" not in got.err and b"Refused to" not in got.err, got)
                width, height, colours = pixels(path)
                tap.same([width, height], [1280, 1500])
                tap.holds(colours > 60, f"{colours} colours: a picture")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        s = d.status()
        tap.holds(s["rates"]["bytes_down"] > 0 and s["totals"]["accepted"] > 100, s["rates"])
        del held, idle

    yield "in a browser, under load", shown


def cases(w):
    server = hostile.Scripted(HOME, HERE, w.port(), echo, backlog=512)
    for part in (told, lives, asked, seen):
        yield from part(w, (HERE, server.port))


if __name__ == "__main__":
    world.main(cases, ("chromium", "curl", "openssl", "promtool"))
