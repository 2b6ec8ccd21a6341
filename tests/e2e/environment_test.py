#!/usr/bin/env python3
"""What may be wrong with the machine: /dev/shm missing, full, read-only; the disk of the log full; the time of
day put forward and back; a name server that dies, lies, or changes its answers; a worker without
descriptors for a while; a hop that is stopped or killed under a transfer. The client fails with a line and never goes past the chain; the daemon loses
nobody, and is as before when it is over."""

import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import daemon, dns, hostile, netns, servers, tap, world
from lib.daemon import HOME, Daemon
from lib.faults import Faults
from lib.servers import chain
from lib.visit import HTTP, SOCKS5, dial
from lib.world import NEAR, ORIGIN, PYTHON, wait_until

HERE = "127.0.0.1"
PICKY = "127.0.0.54"
DAY = 86400
CONNECT = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
s.sendall(b"ping")
sys.stdout.buffer.write(s.recv(4))
"""


def echo(peer):
    peer.sock.settimeout(None)
    while data := peer.sock.recv(65536):
        peer.say(data)


def echoes(visit):
    visit.sock.sendall(b"hello")
    tap.same(visit.read(5), b"hello", "echo")


def shared_memory(w, hop, target):
    """The session's home, under a mount of its own for one run."""
    def run(mount, *command):
        script = f'{mount}; exec "$0" "$@"'
        return w.run("app", ["unshare", "--mount", "sh", "-c", script, w.viaduct, *chain(hop.url(first=True)), "--",
                             *(command or (PYTHON, "-c", CONNECT, *target))])

    def refused(mount, words):
        w.forget()
        got = run(mount)
        tap.same([got.code, got.out], [125, b""], f"status and output: {got}")
        tap.holds(got.err.startswith(b"viaduct: ") and got.err.count(b"\n") == 1, f"one line: {got.err}")
        tap.holds(words in got.err, f"{words} in {got.err}")
        w.quiet()

    def filled_later():
        """Full from the moment that the session stands: what needs no room works, nothing goes direct."""
        script = f"""
import os, subprocess, sys
with open("/dev/shm/filler", "wb") as file:
    try:
        while True:
            file.write(bytes(65536))
    except OSError:
        pass
for name in ({target[0]!r}, "v4.origin.test", "other.test"):
    print(subprocess.run([sys.executable, "-c", {CONNECT!r}, name, {target[1]!r}], capture_output=True).stdout)
"""
        w.forget()
        got = run("mount -t tmpfs -o size=4m none /dev/shm", PYTHON, "-c", script)
        tap.same(got.code, 0, f"{got}")
        tap.holds(all(line in ("b'ping'", "b''") for line in got.out.decode().split()), f"{got}")
        seen = {where for _, where, _ in w.link.take()}
        tap.holds(seen <= {NEAR}, f"packets beside the hop: {seen}")
        tap.same(w.names.take(), [], "queries")

    def works():
        got = run("true")
        tap.same([got.code, got.out], [0, b"ping"], f"{got}")

    yield "/dev/shm as it is", works
    yield "/dev/shm missing", lambda: refused("mount -t tmpfs none /dev", b"/dev/shm")
    yield "/dev/shm read-only", lambda: refused("mount -t tmpfs -o ro none /dev/shm", b"Read-only")
    yield "/dev/shm full", lambda: refused("mount -t tmpfs -o size=4k none /dev/shm && head -c 4096 /dev/zero >/dev/shm/x",
                                           b"No space left")
    yield "/dev/shm without inodes", lambda: refused("mount -t tmpfs -o nr_inodes=1 none /dev/shm", b"No space left")
    yield "/dev/shm not for us", lambda: refused(
        "mount -t tmpfs -o mode=755,uid=1234 none /dev/shm && mount -t tmpfs -o ro,noexec none /dev/shm", b"Read-only")
    yield "/dev/shm filled behind the start", filled_later


def logs(w, hop, target):
    at = target[0], int(target[1])

    def client():
        """--log on a full disk: the connection works, what is said is lost."""
        got = w.run("app", [w.viaduct, "-v", "--log", "/dev/full", *chain(hop.url(first=True)), "--", PYTHON, "-c", CONNECT, *target])
        tap.same([got.code, got.out], [0, b"ping"], f"{got}")

    def server():
        """Standard error on a full disk, then a pipe that nobody reads any more: all are served."""
        for where in ("/dev/full", "closed"):
            port = w.port()
            out, into = os.pipe()
            with open("/dev/full", "wb") as full:
                proc = w.popen(HOME, [w.viaductd, "-w", "2", "-v", "-l", f"{HERE}:{port}"], stderr=full if where == "/dev/full" else into)
            os.close(into)
            wait_until(lambda p=port: netns.listening(HOME, p), "it listens")
            os.close(out)
            d = Attached(proc.pid, port)
            for _ in range(50):
                sock = dial((HERE, d.port), HOME)
                sock.sendall(b"".join(SOCKS5.messages(at)) + b"ping")
                got = b""
                while len(got) < 16 and (more := sock.recv(100)):
                    got += more
                tap.same(got[-4:], b"ping", f"a client, with the log at {where}")
                sock.close()
            tap.same(len(d.workers()), 2, "workers")
            proc.terminate()
            tap.same(proc.wait(10), 0, "exit status")

    yield "--log on a full disk", client
    yield "viaductd's log on a full disk, or a pipe without a reader", server


class Attached:
    def __init__(self, pid, port):
        self.pid, self.port = pid, port

    workers = Daemon.workers


def clocks(w, hop, target):
    """Deadlines are of time that passes: a jump of the time of day neither ends nor prolongs anything."""
    at = target[0], int(target[1])

    def server(seconds):
        faults = Faults(w, f"clock.{w.port()}")
        d = Daemon(w, conf="timeouts { handshake = 1 connect = 1 idle = 30 }\n", words=faults.words())
        visit = d.visit(SOCKS5, at)
        half = dial(d.at, HOME)
        half.sendall(b"\5")
        late = threading.Thread(target=half.recv, args=(1,))
        late.start()
        time.sleep(0.2)
        faults.clock(seconds)
        echoes(visit)
        tap.holds(d.visit(HTTP, ("v4.origin.test", at[1])).ok, "a new one, by name")
        time.sleep(0.2)
        tap.holds(late.is_alive(), "who stands in the handshake has the rest of his second")
        late.join(3)
        tap.holds(not late.is_alive(), "and no more")
        echoes(visit)
        visit.close()
        line = wait_until(lambda: [s for s in d.lines("session") if s["client"] == f"{visit.local[0]}:{visit.local[1]}"], "the log")[0]
        tap.holds(int(line["ms"]) < 10000, f"milliseconds that passed: {line['ms']}")

    def client(seconds):
        """In the middle of a handshake with a hop that answers late, and with one that never does."""
        for script, want in ((hostile.late(0.6, lambda peer: (hostile.accept_as("socks5h", peer), echo(peer))), b"ping"),
                             (hostile.silent, b"")):
            faults = Faults(w, f"clock.{w.port()}")
            with hostile.Scripted("proxy", NEAR, w.port(), script) as server_:
                jump = threading.Timer(0.4, faults.clock, (seconds,))
                jump.start()
                began = time.monotonic()
                got = w.run("app", [w.viaduct, "-q", "-t", "2", *chain(server_.url("socks5h") + "?probe=no"), "--", PYTHON, "-c", CONNECT, *target],
                            env=faults.env())
                took = time.monotonic() - began
                jump.join()
            tap.same(got.out, want, f"{got}")
            tap.holds(want or 1.8 < took < 6, f"{took:.2f} s with a limit of 2")

    for seconds, what in ((DAY, "forward"), (-DAY, "back")):
        yield f"viaductd: the clock is put a day {what}", lambda s=seconds: server(s)
        yield f"viaduct: the clock is put a day {what}", lambda s=seconds: client(s)


class Liar(dns.Dns):
    """Answers as `lie` says: a function of the query's reply."""

    lie = staticmethod(lambda query, reply: reply)

    def _reply(self, query, proto):
        return self.lie(query, super()._reply(query, proto))


def name_servers(w, _hop, target):
    server, port = Liar(HOME, PICKY), int(target[1])
    path = w.file("resolv.liar", f"nameserver {PICKY}\noptions timeout:1 attempts:1\n")
    words = ["sh", "-c", f'mount --bind {path} /etc/resolv.conf && exec "$0" "$@"']
    inside = hostile.Scripted(HOME, HERE, w.port(), echo)
    conf = "timeouts { connect = 2 }\n"

    def asks(d, name, where=port, **how):
        return d.visit(SOCKS5, (name, where), **how).code

    def lies():
        """Another id, another question, rubbish, a loop of compression: no such name, or no answer in
        time; never a crash, and never somebody else's address."""
        d = Daemon(w, conf=conf, words=words)
        worker = d.workers()[0]
        tap.same(asks(d, "origin.test"), 4, "a name that it does not know")
        server.know("true.test", ORIGIN)
        tap.same(asks(d, "true.test"), 0, "a true answer")
        for number, (what, lie) in enumerate((
                ("another id", lambda query, reply: bytes([reply[0] ^ 1]) + reply[1:]),
                ("another name", lambda query, reply: reply[:13] + bytes([reply[13] ^ 1]) + reply[14:]),
                ("rubbish", lambda query, reply: query[:2] + os.urandom(60)),
                ("cut short", lambda query, reply: reply[:-3]),
                ("nothing but a head", lambda query, reply: reply[:12]),
                ("65535 answers", lambda query, reply: reply[:6] + b"\xff\xff" + reply[8:]),
                ("a pointer to itself", lambda query, reply: reply[:12] + b"\xc0\x0c" + reply[14:]),
                ("an address of three bytes", lambda query, reply: reply[:-6] + struct.pack("!H", 3) + reply[-4:-1]),
                ("empty", lambda query, reply: b""))):
            name = f"lie{number}.test"
            server.know(name, ORIGIN)
            server.lie = lie
            code = asks(d, name)
            server.lie = Liar.lie
            tap.holds(code in (1, 4, 6), f"{what}: code {code}")
            tap.same(d.workers(), [worker], what)
        tap.same(asks(d, "true.test"), 0, "afterwards")

    def rebinds():
        """A name that is allowed when it is first asked for and then leads inside, and one that leads to
        both: the address that is judged is the one that is connected to."""
        d = Daemon(w, "-a", "from=10.1.0.0/24 to=*", conf=conf, words=words, listens=(f"{NEAR}:0",))
        flips = [0]

        def flip(query, reply):
            """Each answer another one, without a life to be kept for."""
            flips[0] += 1
            address = ORIGIN if flips[0] % 2 else HERE
            name, kind, end = dns._question(query)
            head = query[:2] + struct.pack("!HHHHH", 0x8580, 1, 1 if kind == "A" else 0, 0, 0) + query[12:end]
            return head + (b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) + socket.inet_aton(address) if kind == "A" else b"")
        codes = set()
        server.lie = flip
        for _ in range(12):
            visit = d.visit(SOCKS5, ("flips.test", inside.port), at=(NEAR, d.port), ns="app")
            codes.add(visit.code)
            tap.holds(visit.code != 0, "it led inside")
            visit.close()
        server.lie = Liar.lie
        tap.holds(codes <= {2, 5} and 2 in codes, f"codes {codes}")
        tap.same(inside.peers, [], "visits inside")
        for host in ("127.0.0.1", "127.1.2.3", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1", "169.254.169.254", "fe80::1", NEAR,
                     "::ffff:169.254.169.254", "64:ff9b::7f00:1", "255.255.255.255"):
            code = d.visit(SOCKS5, (host, inside.port), at=(NEAR, d.port), ns="app").code
            tap.holds(code in (2, 3, 4), f"{host}: {code}")
        for number, address in enumerate(("127.0.0.1", "::1", "169.254.169.254", "0.0.0.0", "::ffff:127.0.0.1")):
            server.know(f"in{number}.test", address)
            code = asks(d, f"in{number}.test", inside.port, at=(NEAR, d.port), ns="app")
            tap.holds(code in (2, 4), f"a name for {address}: {code}")
        tap.same(inside.peers, [], "visits inside")

    def dies():
        """It is gone in the middle of it: those who asked are told in time, all else goes on."""
        d = Daemon(w, conf=conf, words=words)
        kept = d.visit(SOCKS5, (ORIGIN, port))
        server.lie = lambda query, reply: b""
        began = time.monotonic()
        code = asks(d, "dies.test")
        tap.holds(code in (4, 6) and time.monotonic() - began < 4, f"code {code} after {time.monotonic() - began:.1f} s")
        echoes(kept)
        server.lie = Liar.lie
        server.know("dies.test", ORIGIN)
        wait_until(lambda: asks(d, "dies.test") == 0, "it is asked again when it is back")

    yield "a name server that lies", lies
    yield "names whose addresses change", rebinds
    yield "a name server that dies", dies


def descriptors(w, _hop, target):
    at = target[0], int(target[1])

    def limit():
        """At the limit less than a twentieth of a processor is spent, and within a second of relief all who
        waited are served: if not at once, the second or third time, for others want the processors too."""
        d = Daemon(w)
        took = []
        while len(took) < 3 and (not took or min(took) >= 1):
            took.append(relief(d, len(took)))
        tap.holds(min(took) < 1, f"{took} seconds until all are served")

    def relief(d, number):
        """Seconds from the relief until all who waited are served."""
        worker = d.workers()[0]
        first = d.visit(SOCKS5, at)
        enough = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        most = max(map(int, os.listdir(f"/proc/{worker}/fd"))) + 1
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (most + 6, enough[1]))
        crowd = [dial(d.at, HOME) for _ in range(300)]
        wait_until(lambda: d.log().count("accept paused") > number, "the log says so")
        spent = daemon.cpu_seconds(worker)
        time.sleep(2)
        spent = (daemon.cpu_seconds(worker) - spent) / 2
        tap.holds(spent < 0.05, f"{spent * 100:.1f} % of a processor")
        echoes(first)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, enough)
        began = time.monotonic()
        for sock in crowd:
            sock.sendall(b"\5\1\0")
        for sock in crowd:
            tap.same(sock.recv(2), b"\5\0", "one who waited")
        took = time.monotonic() - began
        print(f"# {spent * 100:.1f} % of a processor at the limit, {took:.3f} s from the relief until all are served")
        for sock in (first.sock, *crowd):
            sock.close()
        wait_until(lambda: not daemon.sockets(HOME, worker), "they are gone")
        return took

    yield "the limit of descriptors, 300 waiting", limit


# Takes what the target gives until the end: how it ended, how much it was, and whether it was right so far.
TAKE = """
import socket, sys
s, got, end = socket.create_connection((sys.argv[1], int(sys.argv[2])), 30), 0, "end"
want, right = bytes(range(256)) * 512, True
try:
    while data := s.recv(65536):
        right = right and data == want[got % 256:got % 256 + len(data)]
        got += len(data)
        if got - len(data) < 300000 <= got:
            print("under way", flush=True)
except OSError as error:
    end = type(error).__name__
print(end, got, right)
"""
PIECES = 100


def hops(w, _hop, target):
    """A hop that is stopped or killed under a program's feet, and one that stands behind another."""
    given = bytes(range(256)) * 64

    def give(peer):
        for _ in range(PIECES):
            peer.say(given)
            peer.pause(0.02)
    source = hostile.Scripted("origin", ORIGIN, w.port(), give)

    def pids_of(hop):
        with open(f"/proc/{hop.server.pid}/task/{hop.server.pid}/children", encoding="ascii") as file:
            return [hop.server.pid, *map(int, file.read().split())]

    def send(hop, number):
        for pid in pids_of(hop):
            os.kill(pid, number)

    def under_way(urls, *options):
        proc = w.popen("app", [w.viaduct, *options, *chain(*urls), "--", PYTHON, "-c", TAKE, ORIGIN, str(source.port)], stdout=subprocess.PIPE)
        tap.same(proc.stdout.readline(), b"under way\n")
        return proc

    def outcome(proc):
        out = proc.communicate(timeout=20)[0].decode().split()
        return out[0], int(out[1]), out[2] == "True"

    def killed(place, *options):
        pair = [servers.viaductd(w) for _ in range(2)]
        urls = [pair[0].url(first=True), pair[1].url()]
        w.forget()
        proc = under_way(urls, *options)
        send(pair[place], signal.SIGKILL)
        end, got, right = outcome(proc)
        tap.holds(end in ("end", "ConnectionResetError") and right and 300000 <= got < len(given) * PIECES, f"{end} after {got}, {right}")
        w.quiet(pair[0].at(first=True))

    def stopped(*options):
        hop = servers.viaductd(w)
        w.forget()
        proc = under_way([hop.url(first=True)], *options)
        send(hop, signal.SIGSTOP)
        time.sleep(0.3)
        still = proc.poll() is None
        send(hop, signal.SIGCONT)
        tap.same((still, *outcome(proc)), (True, "end", len(given) * PIECES, True))
        w.quiet(hop.at(first=True))

    def stopped_before():
        """The deadline holds; and the next one is served when the hop goes on."""
        hop = servers.viaductd(w, options=("-v", "-w", "1"))
        connect = [w.viaduct, "-q", "-t", "1", *chain(hop.url(first=True) + "?probe=no"), "--", PYTHON, "-c", CONNECT, *target]
        w.forget()
        tap.same(w.run("app", connect).out, b"ping")  # it listens before it has a worker
        send(hop, signal.SIGSTOP)
        got = w.run("app", connect)
        send(hop, signal.SIGCONT)
        tap.holds(got.code == 1 and b"Connection timed out" in got.err and not got.out, f"{got}")
        tap.holds(got.seconds < 4, f"{got.seconds:.1f} s with a limit of 1")
        tap.same(w.run("app", connect).out, b"ping")
        w.quiet(hop.at(first=True))

    for engine in ("preload", "supervise"):
        for place in (0, 1):
            yield f"hop {place + 1} of 2 is killed under a transfer, {engine}", lambda p=place, e=engine: killed(p, "--engine", e)
        yield f"a hop is stopped under a transfer and goes on, {engine}", lambda e=engine: stopped("--engine", e)
    yield "a hop is stopped before the handshake", stopped_before


def cases(w):
    hop = servers.viaductd(w)
    target = hostile.Scripted("origin", ORIGIN, w.port(), echo, backlog=512)
    hostile.Scripted("origin", ORIGIN, w.port(), echo)
    for part in (shared_memory, logs, clocks, name_servers, descriptors, hops):
        yield from part(w, hop, (ORIGIN, str(target.port)))


if __name__ == "__main__":
    world.main(cases, ("ip", "mount", "ss", "unshare", PYTHON))
