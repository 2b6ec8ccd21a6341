"""Datagrams through a SOCKS5 relay (RFC 1928 section 7), and a server that echoes them.

    with associate(daemon) as a:
        a.send(("origin.test", 7777), b"data")
        whence, data = a.receive()
"""

import ipaddress
import os
import socket
import struct
import threading

from . import hostile, netns, tap
from .daemon import HOME
from .visit import PATIENCE, SOCKS5, Visit
from .world import NEAR, wait_until

ECHO = 7777  # a port


def header(target, frag=0):
    """What stands before a datagram to a SOCKS5 relay (RFC 1928 section 7)."""
    return bytes([0, 0, frag]) + SOCKS5.messages(target)[-1][3:]


def told(datagram):
    """((host, port), data) of what a relay sent."""
    size = {1: 4, 4: 16}[datagram[3]]
    at = 4 + size
    return (str(ipaddress.ip_address(datagram[4:at])), struct.unpack("!H", datagram[at:at + 2])[0]), datagram[at + 2:]


class Association(Visit):
    """UDP ASSOCIATE, and a socket for its datagrams beside it."""

    def __init__(self, at, target=("0.0.0.0", 0), ns=None, port=0, udp=True, **how):
        super().__init__(at, SOCKS5, target, command=3, ns=ns, **how)
        self.udp = datagram_socket((self.local[0], port), ns) if udp else None

    def send(self, target, data, frag=0):
        self.udp.sendto(header(target, frag) + data, self.bound)

    def receive(self, seconds=PATIENCE):
        """(from, data)"""
        self.udp.settimeout(seconds)
        data, whence = self.udp.recvfrom(1 << 17)
        assert whence[:2] == self.bound, f"a datagram from {whence}, not from {self.bound}"
        return told(data)

    def close(self):
        super().close()
        if self.udp:
            self.udp.close()


def datagram_socket(at, ns=None):
    family = socket.AF_INET6 if ":" in at[0] else socket.AF_INET
    if ns is None:
        sock = socket.socket(family, socket.SOCK_DGRAM)
    else:
        with netns.inside(ns):
            sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(PATIENCE)
    sock.bind(at)
    return sock


class Echo(threading.Thread):
    """Sends every datagram back to its sender; `seen` is [(sender, data)]."""

    def __init__(self, ns, address, port=ECHO):
        super().__init__(daemon=True)
        self.seen, self.at = [], (address, port)
        self.sock = datagram_socket(self.at, ns)
        self.sock.settimeout(None)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.start()

    def run(self):
        while True:
            data, whence = self.sock.recvfrom(1 << 17)
            self.seen.append((whence[:2], data))
            self.sock.sendto(data, whence)


def associate(d, at=None, ns=HOME, **how):
    return Association(at or d.at, ns=ns, **how)


def echoes(a, target, data=b"hello", whence=None):
    a.send(target, data)
    tap.same(a.receive(), (whence or target, data), f"the echo of {target}")


def is_silent(a, seconds=0.1):
    try:
        return tap.fail(f"received {a.receive(seconds)}")
    except TimeoutError:
        return True


def is_served(a, target):
    """An echo comes back, and nothing before it."""
    mark = os.urandom(12)
    a.send(target, mark)
    tap.same(a.receive()[1], mark, "what comes is the next echo")


def bound(address, port):
    """BND of a reply."""
    family, kind = (socket.AF_INET6, b"\4") if ":" in address else (socket.AF_INET, b"\1")
    return kind + socket.inet_pton(family, address) + struct.pack("!H", port)


class Relay:
    """Hops that answer as a test says: the first one, with the relay `sock`, and those behind it, all
    by one server. `bounds` are the BND of their replies to UDP ASSOCIATE, in order; `raw` is said in
    place of a reply, and then the end."""

    def __init__(self, w, *bounds, code=0, raw=None):
        self.sock = datagram_socket((NEAR, 0), HOME)
        self.at = self.sock.getsockname()
        self.code, self.raw = code, raw
        self.bounds = bounds or (bound(*self.at),)
        self.server = hostile.Scripted(HOME, NEAR, w.port(), self.play)

    def play(self, peer):
        hop = 0
        while True:
            peer.socks5_greeting()
            if peer.socks5_request()[0] == 3:
                break
            peer.say(hostile.socks5_reply(0))
            hop += 1
        if self.raw is not None:
            peer.say(self.raw)
            return
        peer.say(hostile.socks5_reply(self.code, self.bounds[hop]))
        peer.wait_for_end()

    @property
    def url(self):
        return self.server.url("socks5h")

    def hears(self):
        """(the daemon's address, what it sent)"""
        data, whence = self.sock.recvfrom(1 << 17)
        return whence, data

    def stop(self):
        self.server.stop()
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Forger(threading.Thread):
    """Sends what nobody asked for to ports of a program that is under test.

    The program's script calls tell(socket, ...), which waits until all of it was sent.
    """

    def __init__(self, w, payloads, sources):
        """sources: [(namespace, address to send to)]"""
        super().__init__(daemon=True)
        self.ports, self.done = f"{w.dir}/ports", f"{w.dir}/forged"
        self.payloads, self.sources = payloads, sources
        for path in (self.ports, self.done):
            if os.path.exists(path):
                os.unlink(path)
        self.script = f"""
def tell(*sockets):
    with open("{self.ports}.new", "w") as file:
        print(*(s.getsockname()[1] for s in sockets), file=file)
    os.rename("{self.ports}.new", "{self.ports}")
    while not os.path.exists("{self.done}"):
        time.sleep(0.01)
"""
        self.start()

    def run(self):
        wait_until(lambda: os.path.exists(self.ports), "the program tells its ports")
        with open(self.ports, encoding="ascii") as file:
            ports = [int(word) for word in file.read().split()]
        for ns, address in self.sources:
            with netns.inside(ns):
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            for data in self.payloads:
                for port in ports:
                    sock.sendto(data, (address, port))
            sock.close()
        with open(self.done, "w", encoding="ascii"):
            pass
