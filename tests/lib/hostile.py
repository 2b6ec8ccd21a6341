"""Servers that do what a script says, byte by byte: hops that are wrong, slow or silent, and
origins that speak first.

A script is a function of one Peer, a connection that was accepted, run in a thread of its own.
"""

import socket
import struct
import threading

from . import netns
from .tap import Failed


class Peer:
    """One accepted connection, as a script sees it."""

    def __init__(self, sock, gone):
        self.sock, self.gone = sock, gone
        self.heard = b""
        sock.settimeout(30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self, count):
        data = b""
        while len(data) < count:  # a socket with a time limit does not wait for all of it
            more = self.sock.recv(count - len(data))
            self.heard += more
            if not more:
                raise ConnectionError("the client left")
            data += more
        return data

    def read_until(self, end):
        data = b""
        while not data.endswith(end):
            data += self.read(1)
        return data

    def say(self, data):
        self.sock.sendall(data)

    def drip(self, data, gap):
        for byte in data:
            self.say(bytes([byte]))
            self.pause(gap)

    def pause(self, seconds):
        """Waits; not longer than the server lives."""
        if self.gone.wait(seconds):
            raise ConnectionError("the server ends")

    def wait_for_end(self):
        """Until the client closes."""
        while data := self.sock.recv(65536):
            self.heard += data

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # --- the client's messages, read exactly --------------------------------------------------

    def socks5_greeting(self, method=0):
        """Reads the greeting, chooses `method` (None: says nothing); the methods offered."""
        head = self.read(2)
        methods = self.read(head[1])
        if method is not None:
            self.say(bytes([5, method]))
        return methods

    def socks5_login(self, status=0):
        """Reads RFC 1929's login; (user, password)."""
        user = self.read(self.read(2)[1])
        password = self.read(self.read(1)[0])
        if status is not None:
            self.say(bytes([1, status]))
        return user, password

    def socks5_request(self):
        """(command, host, port)"""
        head = self.read(4)
        if head[3] == 3:
            host = self.read(self.read(1)[0]).decode("latin-1")
        else:
            family = {1: socket.AF_INET, 4: socket.AF_INET6}[head[3]]
            host = socket.inet_ntop(family, self.read(4 if head[3] == 1 else 16))
        return head[1], host, struct.unpack("!H", self.read(2))[0]

    def socks4_request(self):
        """(command, host, port, user)"""
        head = self.read(8)
        user = self.read_until(b"\0")[:-1]
        host = socket.inet_ntoa(head[4:8])
        if head[4:7] == b"\0\0\0" and head[7]:
            host = self.read_until(b"\0")[:-1].decode("latin-1")
        return head[1], host, struct.unpack("!H", head[2:4])[0], user

    def http_request(self):
        """The head, lines."""
        return self.read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")[:-2]


ANY = b"\x01\0\0\0\0\0\0"  # 0.0.0.0:0


def socks5_reply(code, bound=ANY):
    return b"\x05" + bytes([code]) + b"\0" + bound


def socks4_reply(code, version=0):
    return bytes([version, code]) + bytes(6)


def accept_as(scheme, peer, code=0, glued=b"", bound=ANY):
    """Plays the whole of a hop of `scheme`: success, with `glued` in the same segment."""
    if scheme.startswith("socks5"):
        peer.socks5_greeting()
        peer.socks5_request()
        peer.say(socks5_reply(code, bound) + glued)
    elif scheme.startswith("socks4"):
        peer.socks4_request()
        peer.say(socks4_reply(90 + code) + glued)
    else:
        peer.http_request()
        peer.say(b"HTTP/1.1 200 Connection established\r\n\r\n" + glued)


class Scripted:
    """Listens on (address, port) of a host and plays `script` for each connection."""

    def __init__(self, host, address, port, script, backlog=64):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with netns.inside(host):
            self.listener = socket.socket(family, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port))
        self.listener.listen(backlog)
        self.address, self.port, self.script = address, port, script
        self.peers, self.errors = [], []
        self.playing = 0
        self.lock = threading.Lock()
        self.gone = threading.Event()
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            if self.gone.is_set():
                sock.close()
                return
            peer = Peer(sock, self.gone)
            self.peers.append(peer)
            threading.Thread(target=self._play, args=(peer,), daemon=True).start()

    def _play(self, peer):
        with self.lock:
            self.playing += 1
        try:
            self.script(peer)
        except (OSError, Failed):
            pass
        except Exception as error:  # a mistake in the script: told by stop()
            self.errors.append(error)
        finally:
            peer.sock.close()
            with self.lock:
                self.playing -= 1

    def url(self, scheme, login=""):
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{scheme}://{login + '@' if login else ''}{address}:{self.port}"

    def stop(self):
        self.gone.set()
        # close() alone does not wake accept()
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.thread.join()
        self.listener.close()
        if self.errors:
            raise self.errors[0]


# --- scripts --------------------------------------------------------------------------------


def silent(peer):
    """Accepts and never says a word."""
    peer.wait_for_end()


def closes_at_once(_peer):
    """Accepts and closes."""


def closes_after(count):
    """Reads `count` bytes, then closes."""

    def script(peer):
        peer.read(count)

    return script


def resets_after(count):
    def script(peer):
        peer.read(count)
        peer.reset()

    return script


def says(data, then=silent):
    """Says this without listening."""

    def script(peer):
        peer.say(data)
        then(peer)

    return script


def talks(*steps, then=silent):
    """Pairs (bytes to read, answer)."""

    def script(peer):
        for count, answer in steps:
            peer.read(count)
            peer.say(answer)
        then(peer)

    return script


def http_answer(data, then=silent):
    """Reads a request's head, answers `data`."""

    def script(peer):
        peer.http_request()
        peer.say(data)
        then(peer)

    return script


def endless(data, gap=0.0):
    """Says this again and again."""

    def script(peer):
        while True:
            peer.say(data)
            if gap:
                peer.pause(gap)

    return script


def late(seconds, script):
    def wait_first(peer):
        peer.pause(seconds)
        script(peer)

    return wait_first


def hand_on(peer, host, address, port):
    """Copies both ways between the client and a server of `host` until both have ended."""
    with netns.inside(host):
        other = socket.create_connection((address, port))
    join(peer.sock, other)


def join(one, other):
    """Copies both ways until both have ended; closes `other`."""
    with other:
        back = threading.Thread(target=_copy, args=(other, one), daemon=True)
        back.start()
        _copy(one, other)
        back.join()


def _copy(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass
