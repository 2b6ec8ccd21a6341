"""HTTP by the letter: an origin that remembers what it got, and a client of viaductd."""

import re

from . import hostile, tap
from .daemon import HOME
from .visit import dial

HERE = "127.0.0.1"
VIA = "Via: 1.1 viaductd\r\n"


class Web:
    """An origin that understands HTTP/1.1 strictly, and remembers what it got: (head, body)."""

    def __init__(self, w, ns=HOME, address=HERE, answer=None):
        self.seen, self.answer = [], answer or self.plain
        self.server = hostile.Scripted(ns, address, w.port(), self.serve)
        self.at = f"{address}:{self.server.port}"

    @staticmethod
    def plain(peer, head, body):
        text = f"{head.split()[1]} {len(body)} {peer.sock.getpeername()[1]}\n"
        peer.say(f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())

    def body(self, peer, head):
        length = re.search(r"\r\nContent-Length: (\d+)\r\n", head)
        if length:
            return peer.read(int(length[1]))
        if "\r\nTransfer-Encoding: chunked\r\n" not in head:
            return b""
        body = b""
        while size := int(peer.read_until(b"\r\n")[:-2], 16):
            body += peer.read(size)
            tap.same(peer.read(2), b"\r\n", "the end of a chunk")
        while (line := peer.read_until(b"\r\n")) != b"\r\n":
            body += line
        return body

    def serve(self, peer):
        peer.sock.settimeout(None)
        while head := peer.read_until(b"\r\n\r\n").decode("latin-1"):
            body = self.body(peer, head)
            self.seen.append((head, body))
            self.answer(peer, head, body)

    @property
    def visits(self):
        return len(self.server.peers)

    def take(self):
        seen, self.seen = self.seen, []
        return seen


def answers(text):
    """An answer as it stands here, and the connection goes on."""
    return lambda peer, head, body: peer.say(text)


class Client:
    """A connection to the daemon, responses read by the letter."""

    def __init__(self, d, at=None):
        self.sock = dial(at or d.at, HOME)
        self.local = self.sock.getsockname()[:2]
        self.rest = b""

    def say(self, text):
        self.sock.sendall(text if isinstance(text, bytes) else text.encode("latin-1"))

    def more(self):
        data = self.sock.recv(65536)
        self.rest += data
        return data

    def until(self, end):
        while end not in self.rest:
            if not self.more():
                tap.fail(f"the end came after {tap.short(self.rest)}")
        text, self.rest = self.rest.split(end, 1)
        return text + end

    def read(self, count):
        while len(self.rest) < count:
            if not self.more():
                tap.fail(f"the end came after {len(self.rest)} of {count} bytes")
        data, self.rest = self.rest[:count], self.rest[count:]
        return data

    def all(self):
        while self.more():
            pass
        data, self.rest = self.rest, b""
        return data

    def response(self, to_head=False):
        """(status, head, body); trailers stand behind the body."""
        head = self.until(b"\r\n\r\n").decode("latin-1")
        status = int(head.split()[1])
        length = re.search(r"\r\nContent-Length: (\d+)\r\n", head)
        if to_head or status < 200 or status in (204, 304):
            return status, head, b""
        if length:
            return status, head, self.read(int(length[1]))
        if "\r\nTransfer-Encoding: chunked\r\n" not in head:
            return status, head, self.all()
        body = b""
        while size := int(self.until(b"\r\n")[:-2], 16):
            body += self.read(size)
            tap.same(self.read(2), b"\r\n", "the end of a chunk")
        while (line := self.until(b"\r\n")) != b"\r\n":
            body += line
        return status, head, body

    def is_over(self):
        """Whether the connection has ended in order."""
        return self.all() == b""

    def close(self):
        self.sock.close()


def get(at, path="/", fields="", method="GET", version="1.1"):
    return f"{method} http://{at}{path} HTTP/{version}\r\nHost: {at}\r\n{fields}\r\n"


def post(at, body, path="/", fields=""):
    return get(at, path, f"{fields}Content-Length: {len(body)}\r\n", "POST").encode() + body


def chunked(at, *pieces, path="/", trailers=""):
    text = get(at, path, "Transfer-Encoding: chunked\r\n", "PUT").encode()
    for piece in pieces:
        text += f"{len(piece):x};ext=1\r\n".encode() + piece + b"\r\n"
    return text + f"0\r\n{trailers}\r\n".encode()
