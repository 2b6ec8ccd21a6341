"""What the tests of faults in viaductd share: one that can be made to fail with a session beside it, and the
plays in which each call fails in turn."""

import errno
import os
import socket
import time

from . import daemon, hostile, netns, tap
from .daemon import HOME, Daemon
from .datagrams import ECHO, Association
from .faults import SHORT, Faults
from .visit import SOCKS5, dial
from .world import wait_until

HERE = "127.0.0.1"
FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# A worker handles no signal, so that its calls that do not wait are never interrupted.
IN = (errno.EAGAIN, errno.ENOMEM, errno.ECONNRESET, SHORT)
OUT = (errno.EAGAIN, errno.ENOBUFS, errno.ECONNRESET, SHORT)
ERRORS = {
    "accept4": (*FULL, errno.EINTR, errno.EAGAIN, errno.ECONNABORTED), "bind": (errno.ENOMEM,), "calloc": (errno.ENOMEM,),
    "close": (errno.EINTR,), "connect": (errno.ENOMEM, errno.ECONNRESET, errno.EADDRNOTAVAIL),
    "epoll_ctl": (errno.ENOMEM, errno.ENOSPC), "epoll_wait": (errno.EINTR,), "getsockname": (errno.ENOBUFS,),
    "getsockopt": (errno.ENOBUFS,), "listen": (errno.ENOBUFS,), "malloc": (errno.ENOMEM,), "open": (errno.EMFILE,),
    "open64": (errno.EMFILE,), "pipe2": FULL[:2], "read": IN, "realloc": (errno.ENOMEM,), "recv": IN,
    "recv datagram": (errno.ENOMEM,), "recvfrom": IN, "recvfrom datagram": (errno.EAGAIN, errno.ENOMEM), "recvmmsg": IN[:-1],
    "send": OUT, "send datagram": (errno.ENOBUFS,), "sendmmsg": OUT[:-1], "sendto": OUT, "sendto datagram": (errno.ENOBUFS,),
    "setsockopt": (errno.ENOMEM,), "socket": FULL, "splice": IN, "write": OUT}
HARMLESS = (errno.EINTR, errno.EAGAIN, SHORT)
PLACES = 3  # so many calls of a kind fail in turn, the first ones
TRIES = 8  # a transfer may be too slow for pipes, or they are kept, or for some time not tried for
DEADLINES = "timeouts { handshake = 1 connect = 1 idle = 30 half_closed = 2 bind = 2 }\n"
GIVEN = os.urandom(1 << 20)


def name_of(error):
    return "one byte" if error == SHORT else errno.errorcode[error]


def giving(peer):
    """Takes a word, gives a megabyte, and takes what comes."""
    peer.sock.settimeout(10)
    peer.read(4)
    peer.say(GIVEN)
    peer.sock.shutdown(socket.SHUT_WR)
    peer.wait_for_end()


def echo(peer):
    peer.sock.settimeout(None)
    while data := peer.sock.recv(65536):
        peer.say(data)


class Bench:
    """A viaductd with one worker that can be made to fail, and a session beside."""

    def __init__(self, w, name, *options, conf="", **how):
        self.w, self.faults = w, Faults(w, f"faults.{name.replace(' ', '-')}")
        self.d = Daemon(w, *options, conf=DEADLINES + conf, words=self.faults.words(), **how)
        self.worker = self.d.workers()[0]
        self.echoing = hostile.Scripted(HOME, HERE, w.port(), echo)
        self.beside = self.d.visit(SOCKS5, (HERE, self.echoing.port)) if not options else None
        self.fds, self.felt = None, []

    def sessions_end(self):
        """But for the one beside; and all that their ends bring with them is done."""
        want, at = (1 if self.beside else 0), f":{self.d.port}"

        def ended():
            left = daemon.sockets(HOME, self.worker, *netns.CONNECTED)
            return sum(pair[0].endswith(at) for pair in left) <= want and daemon.waits(self.worker)
        wait_until(ended, "sessions end", 5)

    def settled(self):
        """Nothing but the session beside is there, and no descriptor more than at first."""
        self.sessions_end()
        if self.fds is None:
            time.sleep(0.6)  # pipes and resolvers are given back
            self.fds = daemon.descriptors(self.worker)
        wait_until(lambda: daemon.descriptors(self.worker) <= self.fds, f"descriptors are back at {self.fds}", 5)

    def beside_lives(self):
        if self.beside:
            self.beside.sock.sendall(b"beside")
            tap.same(self.beside.read(6), b"beside", "the session beside")

    def learn(self, play):
        """The calls of a session that goes well: {call: how often}."""
        for _ in range(2):
            tap.same(play(), "well", "without a fault")
        self.settled()
        self.faults.reset()
        self.faults.arm(pid=self.worker)
        tap.same(play(), "well", "without a fault")
        self.settled()
        seen = self.faults.seen()
        self.faults.reset()
        return seen

    def one(self, play, call, error, skip):
        """What a session comes to in which that call fails; None when it was not made so often this time."""
        what = f"{call} number {skip + 1} with {name_of(error)}"
        self.faults.reset()
        self.faults.order(call, error, skip)
        self.faults.arm(pid=self.worker)
        began = time.monotonic()
        try:
            got = play()
        except OSError as broken:
            got = f"broken: {broken}"
        took = time.monotonic() - began
        self.sessions_end()
        fired = self.faults.fired(call)
        self.faults.reset()
        if os.environ.get("VIADUCT_TEST_TALKS"):
            print(f"# {what}: {got}, {fired}, {took:.3f} s")
        tap.holds(took < 6, f"{what}: {took:.2f} s")
        lied = got == "lied" or f"Errno {errno.EINVAL}" in got  # an address that is none
        if got != "well" and (not fired or error in HARMLESS or lied):
            self.felt.append(f"{what}: {got}")
        tap.same(self.d.workers(), [self.worker], f"{what}: the worker")
        self.beside_lives()
        if fired:
            return got
        return None


def play_all(bench, play, calls=None):
    """Each call in turn; then it serves as before, and ends well."""
    seen = bench.learn(play)
    came = {}
    for call, made in sorted(seen.items()):
        for error in ERRORS.get(call, ()):
            for skip in range(min(made, PLACES)):
                got = bench.one(play, call, error, skip)
                for _ in range(TRIES):
                    if got or skip:
                        break
                    time.sleep(1.1)
                    got = bench.one(play, call, error, skip)
                tap.holds(got or skip, f"{call} was not made to fail")
                came[got] = came.get(got, 0) + 1
        bench.settled()
    print(f"# {sum(n for got, n in came.items() if got)} faults in {len(seen)} calls: {came}")
    tap.same(bench.felt, [], "what is no error but was felt")
    tap.same(play(), "well", "after all that")


def bound(bench):
    """A listener by BIND, the peer that comes to it, and a word from the peer."""
    with bench.d.visit(SOCKS5, (HERE, 0), command=2) as visit:
        if not visit.ok:
            return "refused"
        try:
            peer = dial(visit.bound, HOME)
        except ConnectionRefusedError:
            return "lied" if visit.second() else "refused"
        with peer:
            if not visit.second():
                return "refused"
            peer.sendall(b"hello")
            return "well" if visit.read(5) == b"hello" else "cut"


def datagrams(bench):
    """An association, and a datagram there and back."""
    with Association(bench.d.at, ns=HOME) as a:
        if not a.ok:
            return "refused"
        for _ in range(4):  # a datagram may get lost
            a.send((HERE, ECHO), b"datagram")
            try:
                return "well" if a.receive(0.3)[1] == b"datagram" else "cut"
            except TimeoutError:
                continue
        return "cut"


def plain(w, name, play, *options, conf=""):
    """A case: play(bench) with each call failing in turn."""
    def case():
        bench = Bench(w, name, *options, conf=conf)
        play_all(bench, lambda: play(bench))
        tap.same(bench.d.stop(), 0, "exit status")
    return f"each call fails in turn: {name}", case
