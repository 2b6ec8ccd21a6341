"""Links with a delay: a TCP relay that hands every byte on a fixed time after it came.

The connection itself is made at once, so that what a handshake costs in round trips is seen alone:
one takes twice `seconds`.
"""

import contextlib
import queue
import socket
import threading
import time

from . import netns


class Delayed:
    """Listens on (address, port) of `host` and relays to (to_address, to_port) of it. Without a host
    it is the caller's own."""

    def __init__(self, host, address, port, to, seconds):
        self.where = netns.inside if host else contextlib.nullcontext
        with self.where(host):
            self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port))
        self.listener.listen(64)
        self.host, self.at, self.to, self.seconds = host, self.listener.getsockname(), to, seconds
        self.port = self.at[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def url(self, scheme="socks5h", login="", options=""):
        return f"{scheme}://{login + '@' if login else ''}{self.at[0]}:{self.port}{options}"

    def stop(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                with self.where(self.host):
                    far = socket.create_connection(self.to)
            except OSError:
                near.close()
                continue
            for sock in (near, far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, sink in ((near, far), (far, near)):
                line = queue.SimpleQueue()
                threading.Thread(target=self._take, args=(source, line), daemon=True).start()
                threading.Thread(target=_hand_on, args=(line, sink), daemon=True).start()

    def _take(self, source, line):
        data = b"."
        while data:
            try:
                data = source.recv(65536)
            except OSError:
                data = b""
            line.put((time.monotonic() + self.seconds, data))


def _hand_on(line, sink):
    data = b"."
    while data:
        due, data = line.get()
        time.sleep(max(0, due - time.monotonic()))
        try:
            if data:
                sink.sendall(data)
            else:
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            return
