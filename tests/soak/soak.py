#!/usr/bin/env python3
"""soak.py BUILD_DIR MINUTES OUT: mixed load, good and hostile, for so long, on two viaductd of two workers
each: one that is reloaded every ten seconds, and one that never is, where nothing hides what grows.

Good: tunnels one after the other and many at once (tests/bench/tunnels), curl by HTTP and SOCKS, programs
under viaduct, datagrams, and tunnels that stay open from the first moment to the last and say something
every second. Hostile: handshakes with mistakes, half of a handshake and then silence, resets in each
state, garbage, requests that are never read.

Each second memory (PSS), descriptors, threads and processor time of both are noted in OUT.csv and drawn
in OUT.svg. Flat means: no good client has failed, no worker has died, and with the load gone descriptors
are those of the beginning, and memory of their own is at most a MiB more for each."""

import os
import random
import re
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
from lib.datagrams import ECHO, Association, Echo
from lib.visit import HTTP, SOCKS4A, SOCKS5, dial, reset
from lib.world import NEAR, ORIGIN, wait_until

HERE = "127.0.0.1"
RELOAD_S, SAMPLE_S, WARM_S, GROWTH_KIB = 10, 1, 20, 1024
CONF = ('listen here {{ url = "127.0.0.1:{}" }}\nlisten near {{ url = "10.1.0.1:{}" }}\n'
        "timeouts {{ handshake = 3 connect = 3 idle = 120 half_closed = 5 drain = 10 }}\n"
        'allow app {{ from = {{"10.1.0.0/24", "127.0.0.0/8"}} to = {{"*", "127.0.0.1"}} }}\n')


class Tally:
    """What the clients of a kind came to; their mistakes are kept."""

    def __init__(self):
        self.good, self.bad, self.lock = {}, [], threading.Lock()

    def note(self, kind, error=None, count=1):
        with self.lock:
            if error is None:
                self.good[kind] = self.good.get(kind, 0) + count
            else:
                self.bad.append(f"{kind}: {error}")


class Under:
    """A viaductd under load, and what it takes."""

    def __init__(self, w, name):
        self.name, self.port = name, w.port()
        self.d = Daemon(w, "-q", conf=CONF.format(self.port, self.port), listens=0, workers=2, wait=False)
        self.d.ports = [self.port]
        wait_until(lambda: netns.listening(HOME, self.port) and len(self.d.workers()) == 2, "viaductd listens")

    def own_kib(self):
        return sum(map(daemon.own_kib, (self.d.pid, *self.d.workers())))

    def sample(self):
        """(KiB, descriptors, threads, processor seconds) of all its processes."""
        kib = fds = threads = 0
        cpu = 0.0
        for pid in (self.d.pid, *self.d.workers()):
            try:
                kib += daemon.own_kib(pid)
                fds += daemon.descriptors(pid)
                threads += len(os.listdir(f"/proc/{pid}/task"))
                cpu += daemon.cpu_seconds(pid)
            except (FileNotFoundError, ProcessLookupError, TypeError):
                continue  # one of an earlier generation has just ended
        return kib, fds, threads, cpu


def echo(peer):
    peer.sock.settimeout(None)
    while data := peer.sock.recv(65536):
        peer.say(data)


class Load:
    """Clients of all kinds, each in a thread, until the time is over."""

    def __init__(self, w, under):
        self.w, self.under, self.tally = w, under, Tally()
        self.over = threading.Event()
        self.ends, self.web = 0, servers.Nginx(w)
        self.big = self.web.big(size=4 << 20)
        self.echoing = hostile.Scripted(HOME, HERE, w.port(), echo, backlog=512)
        self.target = HERE, self.echoing.port
        Echo(HOME, HERE)
        self.threads, self.program = [], f"{w.build}/tests/bench/tunnels"

    def start(self):
        self.over.clear()
        self.threads.clear()
        for under in self.under:
            for kind in (self.tunnels, self.curls, self.viaduct, self.datagrams, self.lasting, self.mistakes, self.silence,
                         self.resets, self.unread):
                self.threads.append(threading.Thread(target=self._repeat, args=(kind, under), daemon=True))
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(70)

    def _repeat(self, kind, under):
        while not self.over.is_set():
            try:
                kind(under)
            except Exception as error:  # pylint: disable=broad-except
                self.tally.note(kind.__name__, repr(error))
                time.sleep(0.5)

    def run(self, kind, argv, want=None):
        """A program on app; kind.bad if it does not end well with these bytes."""
        with self.w.popen("app", argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as proc:
            out, err = proc.communicate(timeout=60)
        good = proc.returncode == 0 and (want is None or out == want)
        self.tally.note(kind, None if good else f"exit code {proc.returncode}, {len(out)} bytes, {err[-200:]}")

    # --- good ones ---------------------------------------------------------------------------

    def tunnels(self, under):
        for more in (("--sequential", "300", "--clients", "4"), ("--scheme", "http", "--sequential", "200"),
                     ("--parallel", "100", "--echo", "4096")):
            argv = ["ip", "netns", "exec", HOME, self.program, "--proxy", f"{HERE}:{under.port}", "--target",
                    f"{HERE}:{self.target[1]}", *more]
            got = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
            count = int(re.search(r"tunnels=(\d+)", got.stdout)[1]) if got.returncode == 0 else 0
            self.tally.note("tunnels", None if got.returncode == 0 else got.stdout + got.stderr, count)
            time.sleep(0.2)

    def curls(self, under):
        for scheme, words in (("http", []), ("http", ["-p"]), ("socks5h", []), ("socks4a", [])):
            self.run("curl", ["curl", "-sS", "-m", "30", *words, "-x", f"{scheme}://{NEAR}:{under.port}", "http://origin.test/big"],
                     self.big)
            time.sleep(0.2)

    def viaduct(self, under):
        url = f"socks5h://{NEAR}:{under.port}"
        self.run("viaduct", [self.w.viaduct, "-q", "-x", url, "--", "curl", "-sS", "-m", "30", "http://origin.test/"], self.web.page)
        self.run("viaduct", [self.w.viaduct, "-q", "-x", url, "-x", url.replace("socks5h", "http"), "--", "sh", "-c",
                             "for i in 1 2 3; do curl -sS http://origin.test/ >/dev/null & done; wait"], b"")
        time.sleep(0.3)

    def datagrams(self, under):
        with Association((HERE, under.port), ns=HOME) as a:
            for number in range(100):
                data = struct.pack("!I", number) * 100
                a.send((HERE, ECHO), data)
                tap.same(a.receive()[1], data, "a datagram")
            self.tally.note("datagrams", count=100)
        time.sleep(0.2)

    def lasting(self, under):
        """Open from the beginning to the end."""
        visits = [under.d.visit(way, self.target, at=(HERE, under.port)) for way in (SOCKS5, HTTP, SOCKS4A)]
        while not self.over.wait(1):
            for visit in visits:
                visit.sock.sendall(b"still here")
                tap.same(visit.read(10), b"still here", "a lasting tunnel")
                self.tally.note("lasting")
        for visit in visits:
            visit.close()

    # --- hostile ones ------------------------------------------------------------------------

    def mistakes(self, under):
        chance = random.Random(time.monotonic_ns())
        way = chance.choice((SOCKS5, SOCKS4A, HTTP))
        text = bytearray(b"".join(way.messages(self.target)) + b"early")
        for _ in range(chance.randint(1, 4)):
            text[chance.randrange(len(text))] = chance.randrange(256)
        if chance.random() < 0.2:
            text[chance.randrange(len(text)):] = os.urandom(chance.choice((10, 3000, 70000)))
        sock = dial((HERE, under.port), HOME)
        try:
            sock.settimeout(0.2)
            sock.sendall(text)
            sock.recv(100)
        except OSError:
            pass
        sock.close()
        self.tally.note("mistakes")
        time.sleep(0.01)

    def silence(self, under):
        """Two hundred at a time that stop in the middle, and let it end them."""
        socks = [dial((HERE, under.port), HOME) for _ in range(200)]
        for number, sock in enumerate(socks):
            sock.sendall((b"", b"\5", b"\5\1\0", b"\4\1\0", b"CONNECT x:1 HTTP/1.1\r\n")[number % 5])
        for sock in socks:
            sock.settimeout(10)
            try:
                while sock.recv(100):
                    pass
            except ConnectionResetError:
                pass
            sock.close()
        self.tally.note("silence", count=len(socks))
        self.over.wait(1)

    def resets(self, under):
        for way in (SOCKS5, SOCKS4A, HTTP):
            messages = way.messages(self.target)
            for step in range(len(messages) + 1):
                sock = dial((HERE, under.port), HOME)
                sock.sendall(b"".join(messages[:step]))
                time.sleep(0.005)
                reset(sock)
                self.tally.note("resets")

    def unread(self, under):
        """Asks for much and reads nothing of it."""
        at = f"{ORIGIN}:80"
        sock = dial((HERE, under.port), HOME)
        sock.sendall(f"GET http://{at}/big HTTP/1.1\r\nHost: {at}\r\n\r\n".encode() * 20)
        self.over.wait(3)
        reset(sock)
        self.tally.note("unread")


def watch(load, out):
    """Samples and reloads until the time is over; how often it was reloaded."""
    reloads, next_reload, began = 0, time.monotonic() + RELOAD_S, time.monotonic()
    with open(f"{out}.csv", "w", encoding="ascii") as file:
        names = [f"{u.name}_{what}" for u in load.under for what in ("kib", "descriptors", "threads", "cpu_s")]
        print("seconds", *names, "sessions", sep=",", file=file)
        while time.monotonic() < load.ends:
            time.sleep(SAMPLE_S)
            rows = [value for u in load.under for value in u.sample()]
            sessions = sum(name.startswith("viaduct-") for name in os.listdir("/dev/shm"))
            print(f"{time.monotonic() - began:.1f}", *rows, sessions, sep=",", file=file, flush=True)
            if time.monotonic() >= next_reload:
                load.under[0].d.signal(signal.SIGHUP)
                reloads, next_reload = reloads + 1, next_reload + RELOAD_S
    return reloads


def plot(load, out):
    """Four pictures in one, a line for each viaductd."""
    titles = ("memory (PSS), KiB", "descriptors", "threads", "processor, s")
    text = f'set terminal svg size 1000,1000\nset output "{out}.svg"\nset datafile separator ","\nset multiplot layout 4,1\n'
    text += 'set key left top\nset xlabel "s"\n'
    for number, title in enumerate(titles):
        lines = ", ".join(f'"{out}.csv" skip 1 using 1:{2 + number + 4 * n} with lines title "{u.name}"'
                          for n, u in enumerate(load.under))
        text += f'set title "{title}"\nplot {lines}\n'
    subprocess.run(["gnuplot"], input=text + "unset multiplot\n", text=True, check=True)


def settle(load):
    load.stop()
    wait_until(lambda: all(len(u.d.workers()) == 2 for u in load.under), "earlier workers end", 20)
    time.sleep(5)


def soak(w, minutes, out):
    under = [Under(w, "reloaded"), Under(w, "left alone")]
    load = Load(w, under)
    load.start()  # what is made for the first clients is no growth
    time.sleep(WARM_S / 2)
    under[0].d.signal(signal.SIGHUP)
    time.sleep(WARM_S / 2)
    settle(load)
    first = [(u.own_kib(), *u.sample()[1:]) for u in under]
    load.ends = time.monotonic() + minutes * 60
    load.start()
    reloads = watch(load, out)
    settle(load)
    print("#", *(f"{count} {kind}," for kind, count in sorted(load.tally.good.items())), f"{reloads} reloads")
    yield "no good client has failed", lambda: tap.same(load.tally.bad[:5], [], f"{len(load.tally.bad)} failures")
    for u, before in zip(under, first):
        def flat(u=u, before=before):
            tap.holds("was ended by signal" not in u.d.log() and "anitizer" not in u.d.log(), u.d.log()[-1000:])
            after = u.own_kib(), *u.sample()[1:]
            print(f"# {u.name}: {before[0]} KiB, {before[1]} descriptors, {before[2]} threads at first; "
                  f"{after[0]}, {after[1]}, {after[2]} at last; {after[3]:.0f} s of processor in what lives now")
            tap.same(after[1:3], before[1:3], "descriptors and threads")
            tap.holds(after[0] - before[0] < GROWTH_KIB, f"{after[0] - before[0]} KiB more")
        yield f"flat: the one that is {u.name}", flat
    yield "drawn", lambda: plot(load, out)
    yield "they end well", lambda: tap.same([u.d.stop() for u in under], [0, 0], "exit status")


if __name__ == "__main__":
    if len(sys.argv) == 4:  # world.main() starts this file once more, inside
        os.environ["SOAK"] = f"{float(sys.argv[2])} {os.path.abspath(sys.argv[3])}"
        del sys.argv[2:]
    if "SOAK" not in os.environ:
        sys.exit(f"usage: {sys.argv[0]} BUILD_DIR MINUTES OUT")
    MINUTES, OUT = os.environ["SOAK"].split(" ", 1)
    world.main(lambda w: soak(w, float(MINUTES), OUT), ("curl", "gnuplot", "ip", "nginx", "ss"))
