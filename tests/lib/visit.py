"""Clients of a proxy, byte by byte: what each protocol says and hears, for tests of viaductd.

    with inside("proxy"):
        visit = Visit(("127.0.0.1", 1080), SOCKS5, ("origin.test", 80))
    visit.code      the reply: REP, CD or an HTTP status; 0, 90 and 200 are good
    visit.sock      the tunnel
"""

import base64
import ipaddress
import re
import select
import socket
import struct
import time

from . import netns

PATIENCE = 10


def _ip(host):
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _exactly(sock, count):
    data = bytearray()
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise ConnectionError(f"closed after {len(data)} bytes")
        data += more
    return bytes(data)


class Socks5:
    name, good = "socks5", 0

    def messages(self, target, login=None, command=1):
        """[what the client says in one step]"""
        host, port = target
        ip = _ip(host)
        if ip is None:
            where = b"\x03" + bytes([len(host)]) + host.encode("latin-1")
        else:
            where = (b"\x01" if ip.version == 4 else b"\x04") + ip.packed
        request = bytes([5, command, 0]) + where + struct.pack("!H", port)
        if login is None:
            return [b"\5\1\0", request]
        user, password = (word.encode("latin-1") for word in login)
        rfc1929 = b"\1" + bytes([len(user)]) + user + bytes([len(password)]) + password
        return [b"\5\1\2", rfc1929, request]

    def hear(self, sock, step, visit, login):
        """Reads the answer to message number `step`; whether the next one may be sent."""
        if step == 0:
            method = _exactly(sock, 2)
            visit.code = None if method[1] != 255 else 255
            return method[1] == (0 if login is None else 2)
        if step == 1 and login is not None:
            visit.code = _exactly(sock, 2)[1]
            return visit.code == 0
        head = _exactly(sock, 4)
        size = {1: 4, 4: 16}[head[3]]
        address = ipaddress.ip_address(_exactly(sock, size))
        visit.code = head[1]
        visit.bound = str(address), struct.unpack("!H", _exactly(sock, 2))[0]
        return visit.code == self.good


class Socks4:
    name, good = "socks4", 90

    def messages(self, target, login=None, command=1):
        host, port = target
        user = login[0].encode() if login else b""
        ip = _ip(host)
        if ip is None:
            return [bytes([4, command]) + struct.pack("!H", port) + b"\0\0\0\1" + user + b"\0" + host.encode() + b"\0"]
        return [bytes([4, command]) + struct.pack("!H", port) + ip.packed + user + b"\0"]

    def hear(self, sock, _step, visit, _login):
        reply = _exactly(sock, 8)
        visit.code = reply[1]
        visit.bound = socket.inet_ntoa(reply[4:]), struct.unpack("!H", reply[2:4])[0]
        return reply[0] == 0 and visit.code == self.good


class Socks4a(Socks4):
    name = "socks4a"


class Http:
    name, good = "http", 200

    def messages(self, target, login=None, command=1):
        host, port = target
        ip = _ip(host)
        at = f"[{host}]:{port}" if ip is not None and ip.version == 6 else f"{host}:{port}"
        more = ""
        if login is not None:
            basic = base64.b64encode(":".join(login).encode("latin-1")).decode()
            more = f"Proxy-Authorization: Basic {basic}\r\n"
        return [f"CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n{more}\r\n".encode()]

    def hear(self, sock, _step, visit, _login):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += _exactly(sock, 1)
        visit.head = head.decode("latin-1")
        visit.code = int(visit.head.split()[1])
        error = re.search(r"Proxy-Status: \S+ error=(\w+)", visit.head)
        visit.error = error[1] if error else None
        return visit.code == self.good


SOCKS4, SOCKS4A, SOCKS5, HTTP = Socks4(), Socks4a(), Socks5(), Http()
WAYS = (SOCKS4, SOCKS4A, SOCKS5, HTTP)


class Visit:
    """One connection to a proxy, and its handshake, said in the way that `how` asks for:

    "steps"   each message when the answer to the one before is there
    "flight"  all at once, `early` bytes for the target included
    "drip"    byte by byte
    a number  in two pieces, the first of this many bytes, early bytes included

    `wrap` makes of the socket what is spoken through, TLS say.
    """

    def __init__(self, at, way, target, login=None, how="steps", early=b"", command=1, ns=None, wrap=None):
        self.way, self.code, self.bound, self.error, self.head = way, None, None, None, ""
        self.login = login
        self.sock = dial(at, ns)
        self.local = self.sock.getsockname()[:2]
        self.sock = wrap(self.sock) if wrap else self.sock
        self.messages = way.messages(target, login, command)
        try:
            if how == "steps":
                self._steps(early)
            else:
                self._say(b"".join(self.messages) + early, how)
                self._hear_all()
        except ConnectionError:
            pass

    def _steps(self, early):
        for step, message in enumerate(self.messages):
            self.sock.sendall(message)
            if not self.way.hear(self.sock, step, self, self.login):
                return
        if early:
            self.sock.sendall(early)

    def _say(self, flight, how):
        if how == "flight":
            self.sock.sendall(flight)
            return
        cuts = range(1, len(flight) + 1) if how == "drip" else (how, len(flight))
        last = 0
        for cut in cuts:
            self.sock.sendall(flight[last:cut])
            last = cut
            time.sleep(0.001)

    def _hear_all(self):
        for step in range(len(self.messages)):
            if not self.way.hear(self.sock, step, self, self.login):
                return

    @property
    def ok(self):
        return self.code == self.way.good

    def second(self):
        """BIND: hears the second reply, as `code` and `bound`. Whether it is good."""
        return self.way.hear(self.sock, len(self.messages) - 1, self, self.login)

    def read(self, count):
        return _exactly(self.sock, count)

    def rest(self):
        """Everything to the end; ConnectionResetError if it ends so."""
        data = bytearray()
        while more := self.sock.recv(1 << 18):
            data += more
        return bytes(data)

    def was_reset(self, seconds=PATIENCE):
        """Whether the connection ends with a reset; what comes before is skipped."""
        self.sock.settimeout(seconds)
        try:
            self.rest()
        except ConnectionResetError:
            return True
        return False

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def dial(at, ns=None):
    family = socket.AF_INET6 if ":" in at[0] else socket.AF_INET
    if ns is None:
        sock = socket.socket(family)
    else:
        with netns.inside(ns):
            sock = socket.socket(family)
    sock.settimeout(PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.connect(at)
    return sock


def reset(sock):
    """Closes with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def quiet(sock, seconds):
    """Whether nothing comes within this time."""
    return not select.select([sock], [], [], seconds)[0]
