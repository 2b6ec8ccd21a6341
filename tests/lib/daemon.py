"""viaductd as its own tests start it: ports chosen by the kernel, loopback of one namespace unless
a test asks for more; what it logs, as dictionaries; its processes."""

import os
import re
import signal
import socket
import subprocess
import time

from . import netns, tap
from .servers import chain
from .visit import Visit
from .world import PYTHON, wait_until

HOME = "proxy"  # the namespace
# What a sanitizer keeps of freed memory would be taken for a leak; and it wants to be the first library,
# where faults are preloaded.
ENV = {"ASAN_OPTIONS": "verify_asan_link_order=0:quarantine_size_mb=0:thread_local_quarantine_size_kb=0"}


class Daemon:
    """A viaductd. Its configuration file holds `conf`; `listens` are URLs with port 0, or the number
    of those in `conf`. A `quiet` one does not tell its port: it gets one."""

    def __init__(self, w, *options, conf="", listens=("127.0.0.1:0",), ns=HOME, wait=True, quiet=False, workers=1,
                 words=()):
        self.w, self.ns = w, ns
        if quiet:
            self.ports = [w.port()]
            options, listens, wait = (*options, "-q"), (f"127.0.0.1:{self.port}",), False
        path = w.file(f"daemon.{w.port()}.conf", conf, 0o600)
        self.path = path + ".log"
        argv = [w.viaductd, "-f", path, "-w", str(workers)]
        self.conf, count = path, listens if isinstance(listens, int) else len(listens)
        for url in () if isinstance(listens, int) else listens:
            argv += ["-l", url]
        with open(self.path, "wb") as log:
            self.proc = w.popen(ns, [*words, *argv, *options], env=ENV, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        w.servers.append(self)
        if quiet:
            wait_until(lambda: netns.listening(ns, self.port) and len(self.workers()) == workers, "viaductd listens")
        elif wait:
            wait_until(lambda: self._listens(count) is not None or self.proc.poll() is not None, f"viaductd listens: {argv}")
            if self.proc.poll() is not None:
                tap.fail(f"viaductd ended with {self.proc.returncode}: {self.log()}")
            self.ports = self._listens(count)
        if quiet or wait:
            self._has_begun()

    def _has_begun(self):
        """Its workers wait for events, so that what is counted of them from now on is not their start. Where
        the kernel does not tell what a process waits for, they had their time."""
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline and not all(map(waits, self.workers())):
            time.sleep(0.001)

    def _listens(self, count):
        ports = re.findall(r"viaductd: listening on \w+://\S+:(\d+)\n", self.log())
        told = "viaductd: listening on" in self.log()
        return [int(port) for port in ports] if told and len(ports) >= count else None

    @property
    def pid(self):
        return self.proc.pid

    @property
    def port(self):
        return self.ports[0]

    @property
    def at(self):
        return "127.0.0.1", self.port

    def visit(self, way, target, at=None, ns=None, **how):
        return Visit(at or self.at, way, target, ns=ns or self.ns, **how)

    def log(self):
        with open(self.path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def lines(self, event):
        """The lines of an event, each a dictionary."""
        found = []
        for line in self.log().splitlines():
            if line.startswith(f"viaductd: {event} "):
                found.append(dict(re.findall(r'(\w+)=("[^"]*"|\S+)', line)))
        return found

    def session(self, visit, event="session"):
        """The line of this visit; it is waited for."""
        client = f"{visit.local[0]}:{visit.local[1]}"
        # the kernel may have given the same port to an earlier visit
        visits = self.__dict__.setdefault("visits", {}).setdefault((event, client), [])
        if visit not in visits:
            visits.append(visit)
        number = visits.index(visit)
        lines = wait_until(
            lambda: [s for s in self.lines(event) if s["client"] == client][number:], f"{event} of {client}"
        )
        tap.same(len(lines), len(visits) - number, f"lines {event} of one session")
        return lines[0]

    def workers(self):
        """Their process ids."""
        with open(f"/proc/{self.pid}/task/{self.pid}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]

    def running(self):
        return self.proc.poll() is None

    def signal(self, number):
        os.kill(self.pid, number)

    def end(self, seconds=10):
        """Its exit status, once it ends by itself or by a signal already sent."""
        try:
            return self.proc.wait(seconds)
        except subprocess.TimeoutExpired:
            tap.fail(f"viaductd does not end: {self.log()[-2000:]}")

    def stop(self):
        """Drains for a moment, ends; its exit status. What a sanitizer said fails the test."""
        if self.running():
            self.signal(signal.SIGTERM)
            try:
                self.proc.wait(0.3)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGTERM)
        status = self.end()
        bad = re.search(r".*(Sanitizer|runtime error).*", self.log())
        if bad:
            tap.fail(f"a sanitizer: {self.log()[bad.start():][:3000]}")
        return status


def waits(pid):
    """Whether a process waits for events, and has none. Where the kernel does not tell: yes."""
    try:
        with open(f"/proc/{pid}/wchan", encoding="ascii") as file:
            return "poll" in file.read()
    except OSError:
        return True


def through(w, *hops, conf="", options=()):
    """A viaductd in app with an upstream of these hops, or URLs: whatever it did by itself would be
    seen on app's link."""
    urls = [hop if isinstance(hop, str) else hop.url(first=hop is hops[0]) for hop in hops]
    return Daemon(w, *chain(*urls), *options, ns="app", conf=conf)


def rewrite(d, text):
    with open(d.conf, "w", encoding="utf-8") as file:
        file.write(text)


def listens(pid):
    """Whether a process has a socket that listens, by TCP."""
    inodes = {f"socket:[{s.inode}]" for s in netns.sockets(HOME, socket.IPPROTO_TCP, netns.LISTEN)}
    try:
        return any(os.readlink(f"/proc/{pid}/fd/{fd}") in inodes for fd in os.listdir(f"/proc/{pid}/fd"))
    except FileNotFoundError:
        return listens(pid) if os.path.exists(f"/proc/{pid}/exe") else False


def reload(d, text=None, good=True):
    """A reload, waited for, until the old workers accept no more; what it said."""
    if text is not None:
        rewrite(d, text)
    before, old = len(d.log()), Daemon.workers(d)
    d.signal(signal.SIGHUP)
    wait_until(lambda: ("reloaded" if good else "reload failed") in d.log()[before:], f"the reload: {d.log()[before:]}")
    wait_until(lambda: not good or not any(listens(pid) for pid in old), "the old workers accept no more")
    return d.log()[before:]


def socksify(w, at, program):
    """Runs a program of Python under dante's client in the namespace app: what is for origin's network goes
    to the SOCKS5 server `at`."""
    conf = w.file(f"socks.{w.port()}.conf",
                  f"route {{ from: 0.0.0.0/0 to: 10.2.0.0/24 via: {at[0]} port = {at[1]} protocol: tcp udp\n"
                  "proxyprotocol: socks_v5\ncommand: connect udpassociate bind\nmethod: none }\n")
    return w.run("app", ["socksify", PYTHON, "-c", program], env={"SOCKS_CONF": conf})


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_ns(pid):
    """Nanoseconds that a process of one thread has had of a processor: what others took does not count."""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[0])


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def own_kib(pid):
    """What a process has written and shares with no file: pages of programs come and go by themselves,
    and weigh more when another process ends that had them too."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return sum(int(size) for size in re.findall(r"^Pss_(?:Anon|Shmem):\s+(\d+)", file.read(), re.MULTILINE))


def sockets(ns, pid, *states):
    """{(local, peer)} of the TCP sockets of a process: the established ones, or those in these states."""
    own = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            own.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            continue
    known = netns.sockets(ns, socket.IPPROTO_TCP, *(states or (netns.ESTABLISHED,)))
    return {(s.local, s.peer) for s in known if f"socket:[{s.inode}]" in own}


def is_sanitized(w):
    """Built with AddressSanitizer, which keeps memory of its own."""
    with open(w.viaductd, "rb") as file:
        return b"__asan_init" in file.read()
