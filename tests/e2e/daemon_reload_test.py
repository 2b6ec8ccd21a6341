#!/usr/bin/env python3
"""viaductd in the hands of a service manager: reload under load, with mistakes, of every kind of
listener; what it says to sd_notify; sockets that were opened for it."""

import hashlib
import os
import re
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import daemon, hostile, netns, tap, world
from lib.daemon import HOME, Daemon, listens, reload, rewrite
from lib.visit import HTTP, SOCKS5, dial
from lib.web import Client, Web, get
from lib.world import PYTHON, wait_until

HERE = "127.0.0.1"


def echo(peer):
    peer.sock.settimeout(None)
    while data := peer.sock.recv(65536):
        peer.say(data)


def echoes(visit, data=b"hello"):
    visit.sock.sendall(data)
    tap.same(visit.read(len(data)), data, "echo")


def exactly(sock, count):
    data = b""
    while len(data) < count and (more := sock.recv(count - len(data))):
        data += more
    return data


def refused(at):
    try:
        dial(at, HOME).close()
        return False
    except ConnectionRefusedError:
        return True


def reloading(w, target):
    def listener(port, kind="mixed"):
        return f'listen l{port} {{ url = "{kind}://{HERE}:{port}" }}\n'

    def under_load():
        """200 transfers run through three reloads; connections come all the time: none is lost."""
        def source(peer):
            peer.read(1)
            for _ in range(160):
                peer.say(block)
                peer.pause(0.01)
        block = os.urandom(8192)
        server = hostile.Scripted(HOME, HERE, w.port(), source, backlog=256)
        d = Daemon(w, workers=2)
        visits = [d.visit(SOCKS5 if n % 2 else HTTP, (HERE, server.port)) for n in range(200)]
        sums, bad, count, stop = [], [], [0], threading.Event()

        def transfer(visit):
            visit.sock.sendall(b"x")
            sums.append(hashlib.sha256(visit.rest()).digest())
            visit.close()

        def arrive():
            while not stop.is_set():
                try:
                    with d.visit(SOCKS5, target) as visit:
                        echoes(visit)
                    count[0] += 1
                except Exception as error:  # pylint: disable=broad-except
                    bad.append(error)
        threads = [threading.Thread(target=transfer, args=(v,)) for v in visits] + [threading.Thread(target=arrive) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            time.sleep(0.3)
            reload(d)
        stop.set()
        for thread in threads:
            thread.join()
        tap.same(set(sums), {hashlib.sha256(block * 160).digest()}, "what arrived")
        tap.same(len(sums), 200, "transfers")
        tap.holds(count[0] > 5 and not bad, f"{count[0]} connections meanwhile, lost: {bad[:3]}")
        wait_until(lambda: len(d.workers()) == 2, "the old workers end with their sessions")
        tap.same(d.stop(), 0)

    def changes():
        """Rules, users, listeners and the number of workers are those of the file from then on."""
        one, two, three = w.port(), w.port(), w.port()
        users = w.file("reload.users", "")
        d = Daemon(w, "-u", "cli:secret", conf=listener(one) + listener(two), listens=2)
        old = d.visit(SOCKS5, target, at=(HERE, one), login=("cli", "secret"))
        tap.holds(old.ok, "before")
        d2 = reload(d, listener(one, "http") + listener(three) + f'deny d {{ to = {{"{HERE}:{target[1]}"}} }}\n')
        tap.holds(f"listening on mixed://{HERE}:{three}" in d2 and f"{HERE}:{one}" not in d2, d2)
        wait_until(lambda: refused((HERE, two)), "a listener that is gone")
        echoes(old)
        tap.same(d.visit(HTTP, target, at=(HERE, one), login=("cli", "secret")).code, 403, "the new rule")
        tap.holds(not d.visit(SOCKS5, target, at=(HERE, one), login=("cli", "secret")).ok, "one is for HTTP now")
        tap.same(d.visit(SOCKS5, target, at=(HERE, three)).code, 255, "users of the command line stay")
        hashed = os.popen("openssl passwd -6 fresh").read().strip()
        w.file("reload.users", f"new:{hashed}\n")
        reload(d, listener(one) + f'users = "{users}"\n')
        tap.holds(d.visit(SOCKS5, target, at=(HERE, one), login=("new", "fresh")).ok, "a new user")
        tap.holds(d.visit(SOCKS5, target, at=(HERE, one), login=("cli", "secret")).ok, "and the one of the command line")
        echoes(old)
        wait_until(lambda: len(d.workers()) == 2, "one old, one new")
        old.close()
        wait_until(lambda: len(d.workers()) == 1, "the old one ends")

    def removed():
        """Of 200 transfers those of users that are gone, or have another password, end; of the
        others none is cut, whatever else the file says."""
        def source(peer):
            peer.read(1)
            for n in range(160):
                peer.say(block)
                peer.pause(0.002)
                if n == 80:
                    gate.wait(30)
        block, ends, gate = os.urandom(8192), {}, threading.Event()
        server = hostile.Scripted(HOME, HERE, w.port(), source, backlog=256)
        names = ["stays", "goes", "changes", "plain"]
        hashes = {name: os.popen(f"openssl passwd -6 {name}").read().strip() for name in names}
        other = os.popen("openssl passwd -6 other").read().strip()

        def file(*left):
            return w.file("removed.users", "".join(f"{n}:{hashes[n]}\n" for n in left))
        path = file("stays", "goes", "changes")
        conf = f'users = "{path}"\n'
        d = Daemon(w, "-u", "plain:plain", workers=2, conf=conf)
        visits = [(name, d.visit(SOCKS5 if n % 2 else HTTP, (HERE, server.port), login=(name, name)))
                  for n in range(50) for name in names]
        held = d.visit(SOCKS5, target, login=("goes", "goes"))

        def transfer(number, name, visit):
            visit.sock.sendall(b"x")
            try:
                ends[number] = name, hashlib.sha256(visit.rest()).digest()
            except ConnectionResetError:
                ends[number] = name, "reset"
            visit.close()
        threads = [threading.Thread(target=transfer, args=(i, *pair)) for i, pair in enumerate(visits)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        file("stays", "goes", "changes")
        reload(d, conf)
        echoes(held)
        hashes["changes"] = other
        file("changes", "stays")
        reload(d, conf)
        file("changes", "stays", "goes")
        reload(d, conf + 'deny d { to = {"*:25"} }\n')
        gate.set()
        for thread in threads:
            thread.join()
        whole = hashlib.sha256(block * 160).digest()
        tap.same({name: {end for n, end in ends.values() if n == name} for name in names},
                 {"stays": {whole}, "plain": {whole}, "goes": {"reset"}, "changes": {"reset"}}, "how they ended")
        tap.same(len(ends), 200, "transfers")
        wait_until(lambda: len(d.workers()) == 2, "the old workers end with their sessions")
        tap.same(sorted({(s["user"], s["end"]) for s in d.lines("session")}),
                 [("changes", "user-removed"), ("goes", "user-removed"), ("plain", "closed"), ("stays", "closed")], "the log")
        tap.holds(d.visit(SOCKS5, target, login=("goes", "goes")).ok, "one who came back")
        tap.same([d.visit(SOCKS5, target, login=("changes", word)).code for word in ("changes", "other")], [1, 0])

    def mistakes():
        """A file that cannot be used changes nothing and says why."""
        port, taken = w.port(), w.port()
        with netns.inside(HOME):
            other = socket.create_server((HERE, taken))
        d = Daemon(w, conf=listener(port), listens=1)
        workers = d.workers()
        fds = daemon.descriptors(d.pid)
        for text, words in ((listener(port) + "nonsense\n", f"{d.conf}:2:"), (listener(port) + "wrong = 1\n", ":2: "),
                            (listener(port) + listener(taken), "Address already in use"),
                            ('listen x { url = "0.0.0.0:0" }\n', "open to everybody"),
                            (listener(port) + 'upstream { hops = {"http://h.test:1"}\nmode = "sometimes" }\n', ":3: "),
                            (f'listen u {{ url = "unix:/proc/nowhere" }}\n{listener(port)}', "cannot listen on")):
            said = reload(d, text, good=False)
            told = [line for line in said.splitlines() if "viaductd: session " not in line]
            tap.holds(words in told[0] and len(told) == 2, said)
            with d.visit(SOCKS5, target, at=(HERE, port)) as visit:
                echoes(visit)
        os.unlink(d.conf)
        tap.holds("No such file" in reload(d, good=False), d.log())
        tap.same([d.workers(), daemon.descriptors(d.pid)], [workers, fds], "workers and descriptors")
        other.close()
        reload(d, listener(port) + listener(taken))
        tap.holds(d.visit(SOCKS5, target, at=(HERE, taken)).ok, "and then it goes")

    def numbers():
        """More workers, and fewer; nothing is left behind after many reloads."""
        port = w.port()
        proc = w.popen(HOME, [w.viaductd, "-f", w.file("n.conf", listener(port) + "workers = 1\n")],
                       stderr=open(f"{w.dir}/n.log", "wb"))
        d = Attached(proc.pid, f"{w.dir}/n.log", f"{w.dir}/n.conf", port)
        wait_until(lambda: "listening" in d.log(), "it listens")
        for count in (3, 1, 2, 2, 1):
            reload(d, listener(port) + f"workers = {count}\n")
            wait_until(lambda n=count: len(daemon.Daemon.workers(d)) == n, f"{count} workers")
            for _ in range(6):
                sock = dial((HERE, port), HOME)
                sock.sendall(b"".join(SOCKS5.messages(target)) + b"x")
                tap.same(exactly(sock, 13)[-1:], b"x")
                sock.close()
        fds = daemon.descriptors(proc.pid)
        for _ in range(5):
            reload(d)
        wait_until(lambda: len(daemon.Daemon.workers(d)) == 1, "one worker")
        wait_until(lambda: daemon.descriptors(proc.pid) == fds, "descriptors of the parent are what they were")
        proc.terminate()
        tap.same(proc.wait(10), 0)

    def then_term():
        """A drain ends old workers too, after its limit."""
        d = Daemon(w, conf="timeouts { drain = 0.5 }\n")
        old = d.visit(SOCKS5, target)
        reload(d)
        new = d.visit(SOCKS5, target)
        began = time.monotonic()
        d.signal(signal.SIGTERM)
        time.sleep(0.1)
        for visit in (old, new):
            echoes(visit)
        tap.same(d.end(), 0)
        tap.holds(0.4 < time.monotonic() - began < 10, "in time")
        tap.same([s["end"] for s in d.lines("session")], ["drained"] * 2)

    def old_dies():
        d = Daemon(w)
        old = d.visit(SOCKS5, target)
        gone = d.workers()[0]
        reload(d)
        os.kill(gone, signal.SIGKILL)
        wait_until(lambda: gone not in d.workers(), "it is gone")
        time.sleep(0.2)
        tap.same(len(d.workers()), 1, "nobody takes an old worker's place")
        tap.holds("it is replaced" not in d.log(), d.log())
        tap.holds(d.visit(SOCKS5, target).ok, "the new one serves")
        old.close()

    def waits():
        """Who waits between two requests is let go; who is served is not."""
        web, hold = Web(w), threading.Event()
        d = Daemon(w)
        idle, busy = Client(d), Client(d)
        idle.say(get(web.at))
        tap.same(idle.response()[0], 200)

        def late(peer, head, body):
            hold.wait(5)
            web.plain(peer, head, body)
        web.answer = late
        busy.say(get(web.at))
        time.sleep(0.1)
        reload(d)
        tap.holds(idle.is_over(), "the idle one")
        hold.set()
        tap.same(busy.response()[0], 200)
        tap.holds(busy.is_over(), "that was its last")

    def to_all():
        """SIGHUP to each process, as pkill sends it, while the file is wrong: workers do not care."""
        d = Daemon(w, workers=2)
        before = d.workers()
        rewrite(d, "nonsense\n")
        for pid in (*before, d.pid):
            os.kill(pid, signal.SIGHUP)
        wait_until(lambda: "reload failed" in d.log(), "it fails")
        for _ in range(10):
            tap.holds(d.visit(SOCKS5, target).ok, "it serves")
        tap.same(d.workers(), before)

    def paths():
        """A unix socket stays, one that is no longer listened on goes, permissions change."""
        keep, go = f"{w.dir}/keep.sock", f"{w.dir}/go.sock"
        d = Daemon(w, conf=f'listen a {{ url = "unix:{keep}" }}\nlisten b {{ url = "unix:{go}" }}\n', listens=0)
        wait_until(lambda: os.path.exists(go), "it listens")
        inode = os.stat(keep).st_ino
        reload(d, f'listen a {{ url = "unix:{keep}" permissions = "0660" }}\n')
        tap.same([os.stat(keep).st_ino, os.stat(keep).st_mode & 0o777], [inode, 0o660])
        tap.holds(not os.path.exists(go), "the other one is gone")
        for _ in range(5):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(keep)
            sock.sendall(b"\5\1\0")
            tap.same(sock.recv(2), b"\5\0")
            sock.close()
        d.stop()
        tap.holds(not os.path.exists(keep), "and at the end both")

    yield "200 transfers through three reloads", under_load
    yield "what a reload changes", changes
    yield "users that are gone", removed
    yield "mistakes", mistakes
    yield "more and fewer workers", numbers
    yield "SIGTERM behind a reload", then_term
    yield "an old worker that dies", old_dies
    yield "HTTP between and within requests", waits
    yield "SIGHUP to all processes", to_all
    yield "unix sockets", paths


class Attached:
    """A daemon that was started otherwise, with what `reload` needs of it."""

    def __init__(self, pid, path, conf, port):
        self.pid, self.path, self.conf, self.port = pid, path, conf, port

    log, signal = Daemon.log, Daemon.signal


class Manager:
    """What a service manager has: a socket for sd_notify, and words behind which viaductd is started."""

    def __init__(self, w, name):
        with netns.inside(HOME):  # abstract names belong to a network namespace
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.settimeout(10)
        self.path = f"@{name}" if name.startswith("abstract") else f"{w.dir}/{name}"
        self.sock.bind(self.path.replace("@", "\0"))

    def hears(self):
        return self.sock.recv(4096).decode()


def managed(w, target):
    def notified(name):
        m = Manager(w, name)
        d = Daemon(w, words=("env", f"NOTIFY_SOCKET={m.path}"))
        tap.same(m.hears(), "READY=1")
        tap.holds(d.visit(SOCKS5, target).ok, "ready means ready")
        reload(d)
        tap.holds(re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d{6,}", m.hears()), "reloading, and when")
        tap.same(m.hears(), "READY=1")
        reload(d, "nonsense\n", good=False)
        tap.holds(m.hears().startswith("RELOADING=1"), "reloading again")
        tap.same(m.hears(), "READY=1", "ready as before")
        visit = d.visit(SOCKS5, target)
        d.signal(signal.SIGTERM)
        tap.same(m.hears(), "STOPPING=1")
        visit.close()
        tap.same(d.end(), 0)

    def nobody():
        for path in ("", "relative", "/nonexistent/socket", "@" + "x" * 200):
            d = Daemon(w, words=("env", f"NOTIFY_SOCKET={path}"))
            tap.holds(d.visit(SOCKS5, target).ok, path)
            tap.same(d.stop(), 0)

    # The sockets become descriptors 3, 4 ... of what is started, which keeps the process id.
    activate = """import os, socket, sys
paths, pid = sys.argv[1].split(","), sys.argv[2]
socks = []
for path in paths:
    sock = socket.socket(socket.AF_UNIX) if path.startswith("/") else socket.socket()
    sock.bind(path if path.startswith("/") else ("127.0.0.1", int(path)))
    sock.listen(64)
    socks.append(sock)
high = [os.dup2(sock.fileno(), 50 + n) for n, sock in enumerate(socks)]
for n, fd in enumerate(high):
    os.dup2(fd, 3 + n, inheritable=True)
    os.close(fd)
os.environ.update(LISTEN_FDS=str(len(socks)), LISTEN_PID=pid or str(os.getpid()), LISTEN_FDNAMES="x")
os.execvp(sys.argv[3], sys.argv[3:])
"""

    def activated(paths, conf="", pid="", **how):
        words = (PYTHON, "-c", activate, ",".join(map(str, paths)), pid)
        return Daemon(w, conf=conf, words=words, **how)

    def given():
        """TCP and unix sockets, two workers; a reload keeps them; their paths are not ours to remove."""
        port, path = w.port(), f"{w.dir}/given.sock"
        d = activated((port, path), listens=0, workers=2)
        wait_until(lambda: "unix:" in d.log(), "it listens")

        def serve():
            for _ in range(10):
                with d.visit(SOCKS5, target, at=(HERE, port)) as visit:
                    echoes(visit)
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(path)
            sock.sendall(b"\5\1\0")
            tap.same(sock.recv(2), b"\5\0")
            sock.close()
        serve()
        reload(d)
        serve()
        tap.same(d.stop(), 0)
        tap.holds(os.path.exists(path), "the path stays")

    def asked_for():
        """A given socket is taken by the listener of its address, whose options it gets."""
        port, own = w.port(), w.port()
        d = activated((port,), f'listen a {{ url = "http://{HERE}:{port}" }}\nlisten b {{ url = "socks://{HERE}:{own}" }}\n',
                      listens=2)
        tap.holds(d.visit(HTTP, target, at=(HERE, port)).ok, "HTTP")
        tap.holds(not d.visit(SOCKS5, target, at=(HERE, port)).ok, "and HTTP only")
        tap.holds(d.visit(SOCKS5, target, at=(HERE, own)).ok, "the other is its own")

    def not_asked_for():
        d = activated((w.port(),), f'listen a {{ url = "{HERE}:0" }}\n', wait=False)
        tap.same(d.end(), 1)
        tap.holds("no listener is configured for the socket that was given" in d.log(), d.log())

    def not_ours():
        """LISTEN_PID of another process: the descriptors are somebody else's."""
        d = activated((w.port(),), pid="1", conf=f'listen a {{ url = "{HERE}:0" }}\n', listens=1)
        tap.holds(d.visit(SOCKS5, target).ok, "it listens by itself")

    def no_socket():
        d = Daemon(w, words=("sh", "-c", 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@" 3</dev/null', "sh"), wait=False)
        tap.same(d.end(), 1)
        tap.holds("does not listen" in d.log(), d.log())

    def systemd():
        """systemd's own starter, where it is there."""
        port = w.port()
        proc = w.popen(HOME, ["systemd-socket-activate", "-l", f"{HERE}:{port}", w.viaductd, "-f", w.file("empty.conf", "")])
        try:
            wait_until(lambda: netns.listening(HOME, port), "the starter listens")
            sock = dial((HERE, port), HOME)
            sock.sendall(b"".join(SOCKS5.messages(target)) + b"ping")
            tap.same(exactly(sock, 16)[-4:], b"ping", "the connection that started it is served")
            sock.close()
        finally:
            proc.terminate()
            proc.wait(10)

    def units():
        """The sample units, as systemd reads them, with programs that are there."""
        for name in ("viaductd.service", "viaductd.socket"):
            where = f"{w.build}/docs" if name.endswith("service") else f"{w.source}/docs"
            with open(f"{where}/{name}", encoding="ascii") as file:
                text = re.sub(r"Documentation=.*\n", "", re.sub(r"ExecStart=\S+", f"ExecStart={w.viaductd}", file.read()))
            path = w.file(f"units/{name}", text)
        got = w.run(HOME, ["systemd-analyze", "verify", f"{w.dir}/units/viaductd.service", path])
        tap.same([got.code, got.err], [0, b""])
        broken = w.file("units/broken.service", "[Service]\nExecStart=/nonexistent\n")
        tap.holds(w.run(HOME, ["systemd-analyze", "verify", broken]).code != 0, "a broken unit is told")

    yield "sd_notify by a path", lambda: notified("notify.sock")
    yield "sd_notify by an abstract name", lambda: notified("abstract.notify")
    yield "sd_notify with nobody there", nobody
    yield "sockets that were given", given
    yield "a given socket and its listener", asked_for
    yield "a given socket without a listener", not_asked_for
    yield "sockets for another process", not_ours
    yield "a descriptor that is no listener", no_socket
    yield "systemd-socket-activate", systemd
    yield "units", units


def cases(w):
    server = hostile.Scripted(HOME, HERE, w.port(), echo)
    for part in (reloading, managed):
        yield from part(w, (HERE, server.port))


if __name__ == "__main__":
    world.main(cases, ("ip", "openssl", "systemd-analyze", "systemd-socket-activate"))
