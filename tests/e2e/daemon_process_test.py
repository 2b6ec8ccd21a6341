#!/usr/bin/env python3
"""viaductd as a process: start and refusal to start, options, workers that die, drain, limits and
deadlines, load; and the way out: happy eyeballs, name servers, upstream chains."""

import contextlib
import hashlib
import os
import re
import resource
import signal
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import daemon, hostile, netns, servers, tap, world
from lib.daemon import HOME, Daemon
from lib.visit import HTTP, SOCKS5, WAYS, Visit, dial, quiet, reset
from lib.world import FAR, NEAR, ORIGIN, ORIGIN6, wait_until

HERE = "127.0.0.1"
VANISH, VANISH6 = "10.2.0.88", "fd02::88"  # packets to them are lost


def echo(peer):
    peer.sock.settimeout(None)
    while data := peer.sock.recv(65536):
        peer.say(data)


def echoes(visit, data=b"hello"):
    visit.sock.sendall(data)
    tap.same(visit.read(len(data)), data, "echo")


def elapsed(action):
    began = time.monotonic()
    result = action()
    return result, time.monotonic() - began


class Place:
    """What all cases share."""

    def __init__(self, w):
        self.w = w
        self.echo = hostile.Scripted(HOME, HERE, w.port(), echo)
        self.target = HERE, self.echo.port
        for address, family in ((VANISH, "-4"), (VANISH6, "-6")):
            subprocess.run(["ip", "-n", HOME, family, "neigh", "add", address, "lladdr", "02:00:00:00:00:99", "dev",
                            "org1", "nud", "permanent"], check=True)

    def run(self, *argv, conf=None, env=None):
        """viaductd with arguments that make it end; Result."""
        words = [] if conf is None else ["-f", self.w.file("run.conf", conf, 0o600)]
        return self.w.run(HOME, [self.w.viaductd, *words, *argv], env=env, timeout=10)


def starting(p):
    w = p.w

    def ports():
        d = Daemon(w, listens=("mixed://127.0.0.1:0", "http://127.0.0.1:0", "socks://[::1]:0"), workers=2)
        tap.holds(len(set(d.ports)) == 3 and 0 not in d.ports, f"ports {d.ports}")
        tap.holds(re.search(r"listening on http://127.0.0.1:\d+\n.*listening on socks://\[::1\]:\d+\n", d.log()), d.log())
        tap.holds(d.visit(HTTP, p.target, at=(HERE, d.ports[1])).ok, "HTTP on the HTTP port")
        tap.holds(not d.visit(SOCKS5, p.target, at=(HERE, d.ports[1])).ok, "no SOCKS on the HTTP port")
        tap.holds(d.visit(SOCKS5, p.target, at=("::1", d.ports[2])).ok, "SOCKS over IPv6")
        tap.holds(not d.visit(HTTP, p.target, at=("::1", d.ports[2])).ok, "no HTTP on the SOCKS port")
        tap.same(len(d.workers()), 2, "workers")

    def default():
        proc = w.popen(HOME, [w.viaductd], stderr=subprocess.PIPE)
        tap.same(proc.stderr.readline(), b"viaductd: listening on mixed://127.0.0.1:1080\n")
        workers = open(f"/proc/{proc.pid}/task/{proc.pid}/children", encoding="ascii").read().split()
        tap.same(len(workers), os.cpu_count(), "a worker per core")
        second = p.run()
        proc.send_signal(signal.SIGINT)
        tap.same(proc.wait(5), 0, "exit status after SIGINT")
        proc.stderr.close()
        tap.same([second.code, second.err],
                 [1, b"viaductd: cannot listen on mixed://127.0.0.1:1080: Address already in use; end who listens there, or take another port\n"])

    def quietly():
        d = Daemon(w, quiet=True)
        tap.holds(d.visit(SOCKS5, p.target).ok, "reply")
        d.signal(signal.SIGTERM)
        tap.same([d.end(), d.log()], [0, ""], "exit status and log")

    def taken():
        """By one that shares its port with others, and by one that does not; nothing is left open."""
        for share in (0, 1):
            with netns.inside(HOME):
                other = socket.socket()
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, share)
            other.bind((HERE, 0))
            other.listen()
            free = w.port()
            got = p.run("-l", f"{HERE}:{free}", "-l", f"{HERE}:{other.getsockname()[1]}", "-w", "2")
            other.close()
            tap.same(got.code, 1)
            tap.holds(re.fullmatch(rb"viaductd: cannot listen on \S+: Address already in use; end who listens there, or take another port\n", got.err), got.err)
            tap.holds(not netns.listening(HOME, free), "the first port is closed again")

    def open_proxy():
        for at in ("0.0.0.0", "[::]", NEAR, f"mixed://{FAR}", "[::ffff:10.1.0.1]"):
            got = p.run("-l", f"{at}:0")
            tap.same(got.code, 1, at)
            tap.holds(b"open to everybody; give --user" in got.err and got.err.count(b"\n") == 1, got.err)
        deny = p.run("-l", f"{NEAR}:0", "--deny", "to=10.0.0.0/8")
        tap.holds(deny.code == 1 and b"open to everybody" in deny.err, "a deny rule is not enough")
        for more in (("-u", "a:b"), ("-a", "from=10.1.0.0/24")):
            Daemon(w, *more, listens=("0.0.0.0:0",)).stop()

    def passwords():
        d = Daemon(w, "-u", "alice:hidden1", "--user=bob:hidden2", "-x", "socks5h://carol:hidden3@127.0.0.1:9",
                   "--proxy=http://dave:hidden4@[::1]:9")
        for pid in (d.pid, *d.workers()):
            for name in ("cmdline", "environ"):
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    tap.holds(b"hidden" not in file.read(), f"a password in {name}")
        tap.holds(d.visit(SOCKS5, p.target, login=("alice", "hidden1")).code == 1, "login right, hop dead")

    yield "listeners and their kinds", ports
    yield "no option at all, and a second one beside it", default
    yield "-q says nothing", quietly
    yield "a port that is taken", taken
    yield "no open proxy by accident", open_proxy
    yield "passwords are not seen", passwords


TUNNELS = int(os.environ.get("VIADUCT_TEST_TUNNELS", "10000"))  # the long run has 100,000
tap.CASE_SECONDS = max(60, TUNNELS // 100)

WRONG = {
    ("--nope",): b"unknown option `--nope`", ("-z",): b"unknown option `-z`", ("-l",): b"option `-l` needs a value",
    ("--users",): b"option `--users` needs a value", ("word",): b"unexpected argument `word`",
    ("-w", "0"): b"1 to 1024", ("-w", "x"): b"1 to 1024", ("-w", "1025"): b"1 to 1024",
    ("--log-format", "xml"): b"allowed: text, json", ("--admin", "0.0.0.0:0"): b"everybody could read",
    ("--admin", "x:y"): b"--admin: ", ("--limit", "per=host rate=1M"): b"--limit: ",
    ("-l", "127.0.0.1:99999"): b"--listen: ", ("-l", "tls://x:1"): b"--listen: ", ("-l", "https://127.0.0.1:1"): b"no certificate",
    ("-l", "forward://127.0.0.1:1"): b"needs targets", ("-l", "redirect://0.0.0.0:0", "-u", "a:b"): b"open to everybody",
    ("-l", "no.such.host.test:0"): b"listener no.such.host.test:0: ", ("-l", "203.0.113.9:0", "-u", "a:b"): b"cannot listen on",
    ("-x", "socks9://h:1"): b"--proxy: ", ("-x", "https://h.test:1?verify=maybe"): b"--proxy: ",
    ("-u", "alice"): b"--user: ", ("-u", "alice:p", "-u", "alice:q"): b"--user: ", ("--users", "/nonexistent"): b"--users: ",
    ("-a", "frm=1.2.3.4"): b"--allow: ", ("--deny", ""): b"--deny: ", ("-f", "/nonexistent"): b"/nonexistent"}

FILES = {
    'listen a { url = "mixed://127.0.0.1:70000" }\n': b":1: ", "workers = 2\nwrong = 1\n": b":2: ",
    "workers = none\n": b":1: ", 'upstream { hops = {"socks5h://h:1"}\n mode = "sometimes" }\n': b":2: ",
    "listen a {": b"run.conf:", 'users = "/nonexistent"\n': b":1: "}


def options(p):
    w = p.w

    def wrong(argv, words):
        got = p.run(*argv, conf=None if argv[0] == "-f" else "")
        tap.same(got.code, 1)
        tap.holds(got.err.startswith(b"viaductd: ") and got.err.count(b"\n") == 1 and words in got.err, f"{got.err}, want {words}")

    def wrong_file(text, words):
        for argv in ((), ("--check-config",)):
            got = p.run(*argv, conf=text)
            tap.same(got.code, 1)
            tap.holds(got.err.count(b"\n") == 1 and words in got.err, f"{got.err}, want {words}")

    def environment():
        path = p.w.file("environment.conf", 'listen a { url = "mixed://203.0.113.77:1" }\nallow all { }\n')
        got = p.run(env={"VIADUCTD_CONF": path})
        tap.holds(got.code == 1 and b"203.0.113.77:1" in got.err, got.err)

    def printed():
        users = p.w.file("print.users", "bob:$6$saltsalt$" + "x" * 86 + "\n", 0o600)
        conf = ('listen a { url = "mixed://127.0.0.1:0" }\nlisten b { url = "http://[::1]:3128" proxy_protocol = true }\n'
                'listen c { url = "forward://unix:/run/c" permissions = "0660" targets = {"a.test:1", "unix:/run/d"} balance = "source"\n'
                ' send_proxy = "v1" check = 1.5 rise = 4 fall = 5 }\nlisten e { url = "tproxy://0.0.0.0:7" }\nmark = 9\nuser = "nobody"\n'
                f'users = "{users}"\nallow lan {{ from = {{"10.0.0.0/8"}} to = {{"*.test:80", "fd00::/8"}} commands = {{"connect"}} users = {{"bob"}} }}\n'
                'deny all { }\nupstream { hops = {"socks5h://carol:hidden@h.test:1", "http://10.0.0.1:3128"} proxy_protocol = "v2" }\n'
                'timeouts { handshake = 1.5 bind = 60 idle = 7 }\nworkers = 3\nudp_filter = "port"\nlog_format = "json"\n')
        first = p.run("--print-config", conf=conf)
        tap.same([first.code, first.err], [0, b""])
        for secret in (b"hidden", b"xxxx"):
            tap.holds(secret not in first.out, f"{secret} in {first.out}")
        again = p.run("--print-config", "--users", users, conf=first.out.decode())
        tap.same([again.code, again.out], [0, first.out], "what is printed can be read again")
        for line in (b'url = "http://[::1]:3128"', b'from = {"10.0.0.0/8"}', b"handshake = 1.500", b"workers = 3", b"bind = 60.000",
                     b'udp_filter = "port"', b'proxy_protocol = true', b'targets = {"a.test:1", "unix:/run/d"}', b"check = 1.500",
                     b'url = "forward://unix:/run/c"', b'proxy_protocol = "v2"', b"mark = 9", b'user = "nobody"', b'permissions = "0660"'):
            tap.holds(line in first.out, f"{line} in {first.out}")
        given = p.run("--print-config", "-l", "127.0.0.1:7", "-x", "http://x.test:1", "-w", "5", "--log-format", "text", conf=conf)
        tap.holds(b"mixed://127.0.0.1:7" in given.out and b"3128" not in given.out, "-l and -x stand in place of the file's")
        tap.holds(b"workers = 5" in given.out and b'"text"' in given.out, given.out)

    def printed_rest():
        """Limits, hops with addresses, name servers, the page on a socket: all that the first has not."""
        conf = ('listen a { url = "mixed://127.0.0.1:0" }\nadmin = "unix:/run/page"\nsessions = 100\nhandshakes = 50\nexplain = true\n'
                'limit one { per = "client" sessions = 5 new = "3/s" from = {"10.0.0.0/8"} }\n'
                'limit two { per = "user" new = "9/min" rate = "2M" users = {"b\\\\\\"ob"} }\nlimit three { per = "all" new = "7/h" }\n'
                'nameservers = {"10.0.0.53", "[fd00::53]:5353"}\n'
                'proxy near { url = "socks5h://carol:hidden@n.test:1" addresses = {"10.0.0.1", "fd00::1"} }\n'
                'upstream { hops = {near, "http://10.0.0.1:3128"} mode = "random" pick = 2 }\n')
        first = p.run("--print-config", conf=conf)
        tap.same([first.code, first.err, b"hidden" in first.out], [0, b"", False])
        tap.same(p.run("--print-config", conf=first.out.decode()).out, first.out, "what is printed can be read again")
        for line in (b'per = "client" sessions = 5 new = "3/s" from = {"10.0.0.0/8"}', b'per = "user" new = "9/min" rate = "2000000"',
                     b'users = {"b\\\\\\"ob"}', b'per = "all" new = "7/h"', b'{"10.0.0.53:53", "[fd00::53]:5353"}',
                     b'addresses = {"10.0.0.1", "fd00::1"}', b'mode = "random"  pick = 2', b'admin = "unix:/run/page"',
                     b"sessions = 100\n", b"handshakes = 50\n", b"explain = true\n"):
            tap.holds(line in first.out, f"{line} in {first.out}")

    def piped():
        """A configuration from the standard input serves, and cannot be read again: a reload says so."""
        at, log = f"{HERE}:{w.port()}", w.file("piped.log", "")
        with open(log, "wb") as out:
            proc = w.popen(HOME, [w.viaductd, "-f", "-"], stdin=subprocess.PIPE, stdout=out, stderr=out)
        proc.stdin.write(f'listen a {{ url = "mixed://{at}" }}\nworkers = 1\n'.encode())
        proc.stdin.close()

        def said(words):
            with open(log, encoding="ascii") as text:
                return words in text.read()
        wait_until(lambda: said("listening on"), "it listens")
        proc.send_signal(signal.SIGHUP)
        wait_until(lambda: said("viaductd: the configuration came from the standard input: it is there no more\n"
                                "viaductd: reload failed: everything stays as it was\n"), "the reason")
        tap.holds(Visit((HERE, int(at.rsplit(":", 1)[1])), SOCKS5, p.target, ns=HOME).ok, "it serves as before")
        proc.send_signal(signal.SIGQUIT)
        tap.same(proc.wait(5), 0, "exit status")

    def others():
        check = p.run("--check-config", conf="workers = 2\n")
        tap.same([check.code, check.out, check.err], [0, b"viaductd: the configuration is good\n", b""])
        tap.holds(re.fullmatch(rb"viaductd \d+\.\d+\.\d+\n", p.run("-V").out), "-V")
        text = p.run("--help").out.decode()
        known = set(re.findall(r"(?<![\w-])--?[a-zA-Z][a-z-]*", text))
        for option in ("-l", "--listen", "-x", "-u", "--users", "-a", "--deny", "-f", "--check-config", "--print-config", "-w",
                       "-q", "-v", "--log-format", "-V", "-h"):
            tap.holds(option in known, f"{option} in --help")

    for argv, words in WRONG.items():
        yield f"wrong: {' '.join(argv)}", lambda a=argv, x=words: wrong(a, x)
    for text, words in FILES.items():
        yield f"wrong file: {text!r}", lambda t=text, x=words: wrong_file(t, x)
    yield "$VIADUCTD_CONF", environment
    yield "--print-config", printed
    yield "--print-config: the rest", printed_rest
    yield "a configuration from the standard input", piped
    yield "--check-config, --version, --help", others


def workers(p):
    w = p.w

    def replaced():
        """Its own sessions end, those of the other go on; who comes meanwhile is served."""
        d = Daemon(w, workers=2)
        before = d.workers()
        visits = [d.visit(SOCKS5, p.target) for _ in range(16)]
        gone = before[0]
        os.kill(gone, signal.SIGKILL)
        waiting = [dial(d.at, HOME) for _ in range(16)]
        wait_until(lambda: len(d.workers()) == 2 and gone not in d.workers(), "a new worker")
        for sock in waiting:
            sock.sendall(b"".join(SOCKS5.messages(p.target)) + b"ping")
            tap.same(sock.recv(2, socket.MSG_WAITALL), b"\5\0", "a connection made meanwhile")
        alive = 0
        for visit in visits:
            visit.sock.settimeout(1)
            try:
                echoes(visit)
                alive += 1
            except (ConnectionError, TimeoutError):
                pass
        tap.holds(0 < alive < 16, f"{alive} of 16 sessions live on")
        tap.holds(f"worker {gone} was ended by signal 9" in d.log(), "the log says so")

    def again_and_again():
        d = Daemon(w)
        for _ in range(2):
            gone = d.workers()
            os.kill(gone[0], signal.SIGABRT)
            _, took = elapsed(lambda: wait_until(lambda: d.workers() not in ([], gone), "a new worker"))
            tap.holds(took < 1.5, f"{took:.2f} s")
        tap.holds(d.visit(SOCKS5, p.target).ok, "it serves")
        wait_until(lambda: d.log().count("it is replaced") == 2, "the log says so twice")

    def orphans():
        d = Daemon(w, workers=2)
        pids = d.workers()
        d.signal(signal.SIGKILL)
        wait_until(lambda: not any(os.path.exists(f"/proc/{pid}/exe") for pid in pids), "no worker without a parent")

    def drain():
        d = Daemon(w, workers=2)
        visits = [d.visit(way, p.target) for way in WAYS[2:] for _ in range(4)]
        d.signal(signal.SIGTERM)
        wait_until(lambda: not netns.listening(HOME, d.port), "the listeners close")
        for visit in visits:
            echoes(visit)
        again = Daemon(w, listens=(f"127.0.0.1:{d.port}",))
        tap.holds(d.running(), "it waits for its sessions")
        for visit in visits:
            visit.close()
        tap.same(d.end(3), 0, "exit status")
        tap.same(again.stop(), 0)

    def drain_limit():
        d = Daemon(w, conf="timeouts { drain = 0.3 }\n")
        visit = d.visit(SOCKS5, p.target)
        d.signal(signal.SIGTERM)
        status, took = elapsed(d.end)
        tap.holds(status == 0 and 0.25 < took < 1.5, f"status {status} after {took:.2f} s")
        tap.same(d.session(visit)["end"], "drained")

    def second_term():
        d = Daemon(w)
        visit = d.visit(SOCKS5, p.target)
        d.signal(signal.SIGTERM)
        wait_until(lambda: "draining" in d.log(), "it drains")
        echoes(visit)
        d.signal(signal.SIGTERM)
        status, took = elapsed(d.end)
        tap.holds(status == 0 and took < 1, f"status {status} after {took:.2f} s")

    def queued():
        """Who stands in the queue when draining begins is served."""
        d = Daemon(w)
        worker = d.workers()[0]
        os.kill(worker, signal.SIGSTOP)
        socks = [dial(d.at, HOME) for _ in range(200)]  # more than it accepts at a time
        for sock in socks:
            sock.sendall(b"".join(SOCKS5.messages(p.target)) + b"ping")
        d.signal(signal.SIGTERM)
        time.sleep(0.1)
        os.kill(worker, signal.SIGCONT)
        for sock in socks:
            tap.same(sock.recv(12, socket.MSG_WAITALL)[:4], b"\5\0\5\0", "an answer")
            tap.same(sock.recv(4, socket.MSG_WAITALL), b"ping", "the echo")
            sock.close()
        tap.same(d.end(), 0)

    yield "a worker killed is replaced", replaced
    yield "a worker that dies often", again_and_again
    yield "no worker outlives its parent", orphans
    yield "SIGTERM drains", drain
    yield "a drain has a limit", drain_limit
    yield "a second SIGTERM", second_term
    yield "connections queued when draining begins", queued


def limits(p):
    w = p.w

    def descriptors():
        """Out of descriptors: accept pauses without spinning, those who are in are served, and it
        goes on when there are some again."""
        d = Daemon(w)
        worker = d.workers()[0]
        first = d.visit(SOCKS5, p.target)
        enough = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        most = max(map(int, os.listdir(f"/proc/{worker}/fd"))) + 1
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (most + 4, enough[1]))
        crowd = [dial(d.at, HOME) for _ in range(20)]
        wait_until(lambda: "accept paused" in d.log(), "the log says so")
        spent = daemon.cpu_seconds(worker)
        time.sleep(1)
        spent = daemon.cpu_seconds(worker) - spent
        tap.holds(spent < 0.05, f"{spent} s of CPU in a second of pause")
        echoes(first)
        for sock in crowd[:12]:
            sock.close()
        time.sleep(0.1)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, enough)
        for sock in crowd[12:]:
            sock.sendall(b"".join(SOCKS5.messages(p.target)))
            tap.same(sock.recv(4, socket.MSG_WAITALL), b"\5\0\5\0", "one who waited")
        tap.same(d.log().count("accept paused"), 1, "said once")

    def dial_without():
        """A descriptor for the client, none for the target: a refusal, not a hang."""
        d = Daemon(w)
        worker = d.workers()[0]
        sock = dial(d.at, HOME)
        wait_until(lambda: daemon.sockets(HOME, worker), "it is accepted")
        enough = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (3, enough[1]))
        sock.sendall(b"".join(SOCKS5.messages(p.target)))
        tap.same(sock.recv(4, socket.MSG_WAITALL), b"\5\0\5\1", "general failure")
        resource.prlimit(worker, resource.RLIMIT_NOFILE, enough)

    def sessions():
        d = Daemon(w, conf="sessions = 3\n")
        visits = [d.visit(SOCKS5, p.target) for _ in range(3)]
        more = dial(d.at, HOME)
        more.sendall(b"\5\1\0")
        tap.holds(quiet(more, 0.3), "the fourth waits")
        visits[0].close()
        tap.same(more.recv(2), b"\5\0", "until there is room")

    def deadlines():
        d = Daemon(w, conf="timeouts { handshake = 0.3 connect = 0.5 idle = 0.6 half_closed = 0.3 }\n")

        def ends(sock, least, most, end):
            local = "{}:{}".format(*sock.getsockname()[:2])
            _, took = elapsed(lambda: [None for _ in iter(lambda: sock.recv(4096), b"")])
            tap.holds(least <= took <= most, f"{end} after {took:.2f} s")
            line = wait_until(lambda: [s for s in d.lines("session") if s["client"] == local], "the line")
            tap.same(line[0]["end"], end)
        for said in (b"", b"\5", b"\5\1\0", b"\5\1\0\5\1\0\1\x7f", b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n", b"\4\1\0\1\x7f\0\0\1me"):
            sock = dial(d.at, HOME)
            sock.sendall(said)
            ends(sock, 0.2, 1.2, "handshake-timeout")
        ends(d.visit(SOCKS5, p.target).sock, 0.5, 1.5, "idle-timeout")
        half = d.visit(SOCKS5, (HERE, deaf.port))
        half.sock.shutdown(socket.SHUT_WR)
        ends(half.sock, 0.2, 1.2, "half-closed-timeout")
        busy = d.visit(SOCKS5, p.target)
        for _ in range(6):
            time.sleep(0.2)
            echoes(busy)
        ends(busy.sock, 0.4, 1.5, "idle-timeout")
        late, took = elapsed(lambda: d.visit(SOCKS5, (VANISH, 80)))
        tap.holds(late.code == 6 and 0.4 < took < 1.5, f"code {late.code} after {took:.2f} s")

    deaf = hostile.Scripted(HOME, HERE, w.port(), lambda peer: peer.pause(60))

    def crowd():
        """A thousand clients stuck in the handshake cost others nothing."""
        both = Daemon(w), Daemon(w)  # the first has the crowd; in turns, since the machine has other things to do
        stuck = [dial(both[0].at, HOME) for _ in range(1000)]
        for number, sock in enumerate(stuck):
            sock.sendall((b"\5", b"\4\1", b"CONNECT ")[number % 3])

        def cost(d):
            """Of a visit, in microseconds of the worker's time."""
            before = daemon.cpu_ns(d.workers()[0])
            for _ in range(50):
                d.visit(SOCKS5, p.target).close()
            return (daemon.cpu_ns(d.workers()[0]) - before) / 50000
        ratio = statistics.median(cost(both[0]) / cost(both[1]) for _ in range(9))
        for sock in stuck:
            sock.close()
        tap.holds(ratio < 1.5, f"a visit costs {ratio:.2f} times as much beside them")

    yield "no descriptors", descriptors
    yield "no descriptor for the target", dial_without
    yield "as many sessions as allowed", sessions
    yield "deadlines", deadlines
    yield "a thousand stuck clients", crowd


def load(p):
    w = p.w
    program = f"{w.build}/tests/bench/tunnels"
    with netns.inside(HOME):
        pass
    server = w.popen(HOME, [program, "--serve", f"{HERE}:0"], stdout=subprocess.PIPE)
    w.servers.append(world.Server("echo", server, os.devnull))
    target = f"{HERE}:{server.stdout.readline().split()[1].decode()}"

    def state(d):
        pids = d.workers()
        return sum(map(daemon.own_kib, pids)), sum(map(daemon.descriptors, pids))

    def tunnels(d, *argv):
        got = w.run(HOME, [program, "--proxy", f"{HERE}:{d.port}", "--target", target, *argv], timeout=tap.CASE_SECONDS)
        tap.holds(got.code == 0 and b"errors=0 " in got.out, str(got))
        return got.out.decode()

    @contextlib.contextmanager
    def held(d, count):
        """So many tunnels, open and echoed through, that carry nothing."""
        holder = w.popen(HOME, [program, "--proxy", f"{HERE}:{d.port}", "--target", target, "--parallel", str(count),
                                "--hold", "60000"], stdout=subprocess.PIPE)
        with holder:
            try:
                tap.same(holder.stdout.readline(), b"held\n")
                yield
            finally:
                holder.kill()

    def many():
        # Memory is compared while as many tunnels are open: how much of theirs the allocator gives back
        # to the kernel afterwards is chance. One worker: how two of them share is chance as well.
        d = Daemon(w, quiet=True, workers=1)
        fds = state(d)[1]
        tunnels(d, "--parallel", "500", "--echo", "4096")
        tunnels(d, "--parallel", "500", "--scheme", "http")
        with held(d, 500):
            kib = state(d)[0]
        said = [tunnels(d, "--sequential", f"{TUNNELS * 8 // 10}", "--clients", "8"),
                tunnels(d, "--scheme", "http", "--sequential", f"{TUNNELS * 2 // 10}"),
                tunnels(d, "--parallel", "500", "--echo", "4096"), tunnels(d, "--parallel", "500", "--scheme", "http")]
        with held(d, 500):
            grown = state(d)[0] - kib
        wait_until(lambda: state(d)[1] <= fds, "descriptors are back at the start value")
        print("# " + "# ".join(said) + f"# memory grew by {grown} KiB in all, descriptors by {state(d)[1] - fds}")
        tap.holds(grown <= (16384 if daemon.is_sanitized(w) else 256), f"{grown} KiB more than at the start")
        tap.same(d.stop(), 0, "exit status")

    def idle():
        """What an open tunnel that carries nothing costs."""
        d = Daemon(w, quiet=True)
        before = state(d)[0]
        with held(d, 2000):
            each = (state(d)[0] - before) / 2000
        print(f"# {each:.2f} KiB of memory for each of 2,000 open tunnels")
        tap.holds(each <= 4 or daemon.is_sanitized(w), f"{each:.2f} KiB for each")

    def streams():
        """Much data both ways at once, four tunnels; equal sums; pipes are given back."""
        d = Daemon(w, quiet=True)
        worker = d.workers()[0]
        echoes(d.visit(SOCKS5, p.target))
        fds = wait_until(lambda: not daemon.sockets(HOME, worker) and daemon.descriptors(worker), "an idle worker")
        block = os.urandom(1 << 20)
        count, sums, most = 48, [], []

        def send(sock):
            for number in range(count):
                sock.sendall(struct.pack("!I", number) + block)
            sock.shutdown(socket.SHUT_WR)

        def both(way):
            visit = d.visit(way, p.target)
            writer = threading.Thread(target=send, args=(visit.sock,))
            writer.start()
            digest = hashlib.sha256()
            while data := visit.sock.recv(1 << 18):
                digest.update(data)
                most.append(daemon.descriptors(worker)) if len(most) < 2000 else None
            writer.join()
            sums.append(digest.digest())
        threads = [threading.Thread(target=both, args=(way,)) for way in (SOCKS5, HTTP, SOCKS5, HTTP)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        want = hashlib.sha256()
        for number in range(count):
            want.update(struct.pack("!I", number) + block)
        tap.same(sums, [want.digest()] * 4, "sums")
        tap.holds(max(most) > fds + 8, "pipes were used")
        wait_until(lambda: daemon.descriptors(worker) <= fds, "pipes are given back")

    def pauses():
        """A stream that pauses gives its pipes back, and goes on."""
        d = Daemon(w, quiet=True)
        worker = d.workers()[0]
        visit = d.visit(SOCKS5, p.target)
        echoes(visit)
        fds = daemon.descriptors(worker)
        for _ in range(2):
            writer = threading.Thread(target=visit.sock.sendall, args=(bytes(8 << 20),))
            writer.start()
            most = 0
            for _ in range(32):
                visit.read(1 << 18)
                most = max(most, daemon.descriptors(worker))
            tap.holds(most >= fds + 2, "a pipe is used")
            writer.join()
            wait_until(lambda: daemon.descriptors(worker) == fds, "the pipes are closed", 2)
            echoes(visit)

    def slow_reader():
        """A client that does not read costs the worker no memory, and nothing is lost."""
        data = os.urandom(1 << 20) * 40
        source = hostile.Scripted(HOME, HERE, w.port(), lambda peer: peer.say(data))
        d = Daemon(w)
        worker = d.workers()[0]
        before = daemon.own_kib(worker)
        visits = [d.visit(SOCKS5, (HERE, source.port)) for _ in range(4)]
        time.sleep(0.5)
        grown = daemon.own_kib(worker) - before
        tap.holds(grown < 4 * 1024 + 512, f"{grown} KiB for 4 sessions whose clients do not read")
        for visit in visits:
            tap.holds(visit.rest() == data, "all of it")

    yield f"{TUNNELS} tunnels in a row, 500 at once", many
    yield "2,000 open tunnels", idle
    yield "streams both ways", streams
    yield "a stream that pauses", pauses
    yield "clients that do not read", slow_reader


def cases(w):
    p = Place(w)
    for part in (starting, options, workers, limits, load):
        yield from part(p)


if __name__ == "__main__":
    world.main(cases, ("ss", "ip"))
